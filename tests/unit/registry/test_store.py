# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writing the registry: modes, locks, crashes, concurrency."""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import write_atomic
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store as registry
from ansible_collections.homelab.repoman.plugins.module_utils.registry.edit import DEFAULT_TEXT
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import (
    Data,
)
from ansible_collections.homelab.repoman.plugins.module_utils.registry.store import edit_file
from registry_texts import SCHEMA_2, SCHEMA_3, nothing, read, set_lan_ip, write

importlib.import_module("tomlkit")  # the registry loads it when it writes: too late for a child process that may not read it


def test_the_first_write_makes_the_file_private(path: str, me: Account) -> None:
    """File and directories are the user's alone, and the text is the documented one."""
    os.rmdir(os.path.dirname(path))
    edit_file(path, nothing, me)
    assert read(path) == DEFAULT_TEXT
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700


def test_nothing_to_write_writes_nothing(path: str, me: Account) -> None:
    """Not even the same text."""
    write(path, SCHEMA_3)
    before = os.stat(path)
    edit_file(path, nothing, me)
    assert (os.stat(path).st_ino, os.stat(path).st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o660])
def test_the_mode_stays(mode: int, path: str, me: Account) -> None:
    """Whatever the user chose."""
    write(path, SCHEMA_3)
    os.chmod(path, mode)
    edit_file(path, set_lan_ip("10.0.0.2"), me)
    assert stat.S_IMODE(os.stat(path).st_mode) == mode
    assert registry.load(path).lan_ip == "10.0.0.2"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_stays_and_a_new_file_is_the_accounts(path: str, me: Account) -> None:
    """Root writes on behalf of somebody."""
    somebody = Account(name="somebody", uid=1500, gid=1501, group="somebody", home=me.home, shell="/bin/sh")
    os.removedirs(os.path.dirname(path))
    edit_file(path, nothing, somebody)
    for made in (path, f"{path}.lock", os.path.dirname(path), os.path.dirname(os.path.dirname(path))):
        assert (os.stat(made).st_uid, os.stat(made).st_gid) == (1500, 1501)
    os.chown(path, 1600, 1601)
    edit_file(path, set_lan_ip("10.0.0.2"), somebody)
    assert (os.stat(path).st_uid, os.stat(path).st_gid) == (1600, 1601)


def test_a_link_stays_a_link(path: str, me: Account, tmp_path: Path) -> None:
    """The registry may live in a repository of dotfiles."""
    dotfiles = tmp_path / "dotfiles"
    dotfiles.mkdir()
    target = dotfiles / "repoman.toml"
    target.write_text(SCHEMA_3)
    target.chmod(0o640)
    os.symlink(os.path.relpath(target, os.path.dirname(path)), path)
    edit_file(path, set_lan_ip("10.0.0.2"), me)
    assert os.path.islink(path)
    assert registry.load(path).lan_ip == "10.0.0.2"
    assert 'lan_ip = "10.0.0.2" # of br0' in target.read_text()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_the_old_file_is_kept_once(path: str, me: Account) -> None:
    """The first write after a migration keeps what was there; a later one does not overwrite it."""
    write(path, SCHEMA_2)
    edit_file(path, set_lan_ip("10.0.0.2"), me)
    backup = f"{path}.schema2.bak"
    assert read(backup) == SCHEMA_2
    assert registry.load(path).schema == 3
    write(path, SCHEMA_2.replace("isurus", "other"))
    edit_file(path, nothing, me)
    assert read(backup) == SCHEMA_2
    assert "other" in registry.load(path).projects
    assert not os.path.exists(f"{path}.schema1.bak")


def test_a_file_of_schema_3_is_not_kept(path: str, me: Account) -> None:
    """Only a migration is worth a copy."""
    write(path, SCHEMA_3)
    edit_file(path, set_lan_ip("10.0.0.2"), me)
    assert sorted(os.listdir(os.path.dirname(path))) == ["repoman.toml", "repoman.toml.lock"]


def test_a_failing_edit_changes_nothing(path: str, me: Account) -> None:
    """And the lock is free again."""
    write(path, SCHEMA_2)

    def edit(data: Data) -> None:
        data.clear()
        raise RepomanError("no")

    with pytest.raises(RepomanError, match="no"):
        edit_file(path, edit, me)
    assert read(path) == SCHEMA_2
    edit_file(path, set_lan_ip("10.0.0.2"), me)
    assert registry.load(path).lan_ip == "10.0.0.2"


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python process that knows the registry and an owner."""
    prelude = """
        import os, resource, signal, sys
        from ansible_collections.homelab.repoman.plugins.module_utils.registry.edit import DEFAULT_TEXT, edit_text, put_project, remove_project
        from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Project
        from ansible_collections.homelab.repoman.plugins.module_utils.registry.store import edit_file
        from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
        from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
        path = sys.argv[1]
        me = Account("alice", os.getuid(), os.getgid(), "alice", "/home/alice", "/bin/sh")
        """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    command = [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(code), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_many_writers_at_once_lose_nothing(path: str, me: Account) -> None:
    """Each process adds projects of its own and drops every other one again; a reader never sees half a file."""
    write(path, SCHEMA_2)
    code = """
        for number in range(6):
            name = f"p{sys.argv[2]}-{number}"
            edit_file(path, lambda data: put_project(data, Project(name, name)), me)
            if number % 2:
                edit_file(path, lambda data: remove_project(data, name), me)
        """
    writers = [start(code, path, str(number)) for number in range(5)]
    while any(writer.poll() is None for writer in writers):
        registry.load(path)
    assert [writer.communicate()[1] for writer in writers] == [""] * len(writers)
    known = registry.load(path)
    assert set(known.projects) == {"isurus"} | {f"p{writer}-{number}" for writer in range(5) for number in (0, 2, 4)}
    assert known.lan_ip == "192.168.168.124"
    assert read(f"{path}.schema2.bak") == SCHEMA_2
    assert sorted(os.listdir(os.path.dirname(path))) == ["repoman.toml", "repoman.toml.lock", "repoman.toml.schema2.bak"]


def test_a_writer_waits_for_the_lock_but_not_forever(path: str, me: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the lock, and nothing is written."""
    write(path, SCHEMA_3)
    monkeypatch.setattr(registry, "LOCK_SECONDS", 0.1)
    with registry.locked(f"{path}.lock", me), pytest.raises(RepomanError, match=r"repoman\.toml\.lock") as caught:
        edit_file(path, set_lan_ip("10.0.0.2"), me)
    assert caught.value.hints
    assert read(path) == SCHEMA_3


def test_a_writer_takes_over_when_the_lock_is_free(path: str, me: Account) -> None:
    """What the other wrote meanwhile is read again before the edit."""
    write(path, SCHEMA_3)
    with registry.locked(f"{path}.lock", me):
        waiting = threading.Thread(target=edit_file, args=(path, set_lan_ip("10.0.0.2"), me))
        waiting.start()
        time.sleep(0.1)
        assert read(path) == SCHEMA_3
        write_atomic(path, SCHEMA_3.replace("attic", "cellar"), me)
    waiting.join()
    assert read(path) == SCHEMA_3.replace("attic", "cellar").replace("10.0.0.1", "10.0.0.2")


def test_a_lock_that_is_a_link_is_not_followed(path: str, me: Account, tmp_path: Path) -> None:
    """Root must not be led to make or change a file elsewhere."""
    victim = tmp_path / "victim"
    os.symlink(victim, f"{path}.lock")
    with pytest.raises(RepomanError, match="lock"):
        edit_file(path, nothing, me)
    assert not victim.exists()


@pytest.mark.parametrize("moment", ["rename", "fsync"])
def test_a_kill_in_the_middle_leaves_the_old_file(moment: str, path: str, me: Account) -> None:
    """The next write works, and nothing of the dead one stays behind."""
    write(path, SCHEMA_3)
    code = f"""
        os.{moment} = os.replace = lambda *arguments, **options: os.kill(os.getpid(), signal.SIGKILL)
        edit_file(path, lambda data: put_project(data, Project("lost", "lost")), me)
        """
    process = start(code, path)
    process.communicate()
    assert process.returncode == -9
    assert read(path) == SCHEMA_3
    edit_file(path, set_lan_ip("10.0.0.2"), me)
    assert read(path) == SCHEMA_3.replace("10.0.0.1", "10.0.0.2")
    assert sorted(os.listdir(os.path.dirname(path))) == ["repoman.toml", "repoman.toml.lock"]


def test_a_full_disk_leaves_the_old_file(path: str) -> None:
    """The kernel refuses the write; the error names the file, and no temporary file stays."""
    write(path, SCHEMA_3)
    code = """
        edit_text(DEFAULT_TEXT, path, lambda data: data["host"].update(lan_ip="x"))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            edit_file(path, lambda data: put_project(data, Project("lost", "lost")), me)
        except RepomanError as error:
            print(error.exit_code, error.message)
        """
    process = start(code, path)
    said, problems = process.communicate()
    assert problems == ""
    assert said.startswith(f"1 cannot write {path}")
    assert read(path) == SCHEMA_3
    assert sorted(os.listdir(os.path.dirname(path))) == ["repoman.toml", "repoman.toml.lock"]


@pytest.mark.parametrize("locked_before", [True, False])
def test_a_directory_that_cannot_be_written_leaves_the_old_file(
    locked_before: bool, short_dir: Path, unprivileged: Callable[[Callable[[], object]], str]
) -> None:
    """The error is a sentence that names the file."""
    path = str(short_dir / "repoman.toml")
    write(path, SCHEMA_3)
    os.chmod(path, 0o644)
    if locked_before:
        write(f"{path}.lock", "")
        os.chmod(f"{path}.lock", 0o666)
    short_dir.chmod(0o555)

    def attempt() -> object:
        me = Account(name="nobody", uid=os.getuid(), gid=os.getgid(), group="nogroup", home="/", shell="/bin/sh")
        try:
            edit_file(path, set_lan_ip("10.0.0.2"), me)
        except RepomanError as error:
            return f"{type(error).__name__}: {error.message}"
        return "written"

    said = unprivileged(attempt)
    short_dir.chmod(0o755)
    assert said.startswith("RepomanError: cannot ")
    assert path in said
    assert read(path) == SCHEMA_3
    assert sorted(set(os.listdir(short_dir)) - {"repoman.toml.lock"}) == ["repoman.toml"]


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path, me: Account) -> None:
    """A file is in its way."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RepomanError, match=str(tmp_path / "file")):
        edit_file(str(tmp_path / "file" / "repoman" / "repoman.toml"), nothing, me)


def test_a_registry_that_is_a_pipe_is_not_waited_for(path: str) -> None:
    """Nor are other files that may never end; a link to a file is a file."""
    os.mkfifo(path)
    with pytest.raises(RepomanError, match="not a regular file"):
        registry.load(path)
    os.unlink(path)
    os.symlink("/dev/zero", path)
    with pytest.raises(RepomanError, match="not a regular file"):
        registry.load(path)
    os.unlink(path)
    write(f"{path}.real", DEFAULT_TEXT)
    os.symlink(f"{path}.real", path)
    assert registry.load(path).text == DEFAULT_TEXT


def test_a_lock_that_cannot_be_taken_has_hints(path: str, me: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither opened nor locked: the error says where to look."""

    def fail(*_arguments: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    for place, name in ((os, "open"), (fcntl, "flock")):
        with monkeypatch.context() as patch, pytest.raises(RepomanError, match="cannot lock") as caught:
            patch.setattr(place, name, fail)
            with registry.locked(f"{path}.lock", me):
                pass
        assert caught.value.hints == [f"ls -ld {os.path.dirname(path)}", f"df -h {os.path.dirname(path)}"]


def test_what_a_killed_write_left_is_removed(path: str, me: Account) -> None:
    """By a run that does not write the registry, too; not while another one writes it."""
    write(path, DEFAULT_TEXT)
    staged = os.path.join(os.path.dirname(path), ".repoman.toml.new")
    registry.remove_unfinished(path, me)
    write(staged, "half")
    with registry.locked(f"{path}.lock", me):
        registry.remove_unfinished(path, me)
        assert os.path.exists(staged)
    registry.remove_unfinished(path, me)
    assert not os.path.exists(staged) and read(path) == DEFAULT_TEXT
