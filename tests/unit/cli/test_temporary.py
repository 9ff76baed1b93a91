# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible's temporary directories: what killed runs leave is removed, what others use is not; a home without room is no obstacle."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_environment import environment

from repoman import temporary
from repoman.errors import CliError

OLD = time.time() - 2 * temporary.UNLOCKED_LIFETIME
ENDED = 2**22 + 1
"""A process ID that no process has: the kernel's limit is below it."""


def directory(parent: Path, pid: int, end: str, modified: float = 0.0) -> Path:
    """Make a temporary directory as Ansible names it."""
    path = parent / f"ansible-local-{pid}{end:_>8}"
    path.mkdir(parents=True)
    if modified:
        os.utime(path, (modified, modified))
    return path


def claim_and_die(path: Path) -> None:
    """Let a process claim a directory and be killed."""
    child = os.fork()
    if not child:
        temporary._claimed.clear()
        temporary.claim(str(path))
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)


def test_leftovers_of_killed_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only directories whose run has ended are removed; without a lock file, only if they are old."""
    monkeypatch.setattr(temporary, "_claimed", {})
    killed = directory(tmp_path, 1, "killed")
    claim_and_die(killed)
    running = directory(tmp_path, ENDED, "running")
    temporary.claim(str(running))
    (running / "file").touch()
    stays = {
        running,
        directory(tmp_path, ENDED, "recent"),
        directory(tmp_path, os.getpid(), "running", OLD),
        directory(tmp_path, ENDED, "A", OLD),
        directory(tmp_path / "elsewhere", ENDED, "old", OLD),
    }
    old = directory(tmp_path, ENDED, "old", OLD)
    link = tmp_path / f"ansible-local-{ENDED}____link"
    link.symlink_to(tmp_path / "elsewhere")
    (own,) = [directory(tmp_path, ENDED, "own")]
    locked = list(temporary._claimed.values())
    temporary._claimed.clear()
    try:
        temporary.claim(str(own))
        assert not killed.exists() and not old.exists()
        assert all(path.is_dir() for path in stays) and link.is_symlink()
    finally:
        for fd in (*locked, *temporary._claimed.values()):
            os.close(fd)


def list_in(home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ``repoman list``."""
    argv = [sys.executable, "-m", "repoman", "list"]
    return subprocess.run(argv, env=environment(home) | more, cwd="/", check=False, capture_output=True, text=True)


@pytest.fixture
def full_home(tmp_path: Path) -> Path:
    """A home with ``~/.ansible/tmp`` in which there is room for directories, but not for files."""
    if os.geteuid() != 0:
        pytest.skip("needs to mount a file system")
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize("options", ["size=64k", "nr_inodes=4", "ro"])
def test_home_without_room(full_home: Path, short_dir: Path, options: str) -> None:
    """The run uses the system's temporary directory, and leaves nothing there."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "repoman-test", full_home], check=True)
    try:
        (full_home / ".ansible/tmp").mkdir(parents=True)
        subprocess.run(["mount", "-o", f"remount,{options}", full_home], check=True)
        if options == "size=64k":
            subprocess.run(["dd", "if=/dev/zero", f"of={full_home}/full", "status=none"], check=False, stderr=subprocess.DEVNULL)
        done = list_in(full_home, TMPDIR=str(short_dir))
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.splitlines()[1:] == ["hint: repoman setup"]
        assert list(short_dir.iterdir()) == []
    finally:
        subprocess.run(["umount", full_home], check=True)


def test_no_room_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one sentence."""
    (tmp_path / "tmp").touch()
    monkeypatch.setattr(temporary.tempfile, "tempdir", None)
    monkeypatch.setattr(temporary.tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "tmp")])
    with pytest.raises(CliError, match=r"needs a temporary directory, and neither .*/tmp/.ansible nor /tmp can have one: Not a directory"):
        temporary.find_parent(tmp_path / "tmp/.ansible")


def test_the_current_directory_is_no_temporary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would take it as the last resort, such as a repository; if it is named, it is one."""
    (tmp_path / "full").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(temporary.tempfile, "_candidate_tempdir_list", lambda: [os.getcwd()])
    monkeypatch.setattr(temporary.tempfile, "tempdir", None)
    monkeypatch.delenv("TMPDIR", raising=False)
    with pytest.raises(CliError, match="nor /tmp can have one"):
        temporary.find_parent(tmp_path / "full/.ansible")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert temporary.find_parent(tmp_path / "full/.ansible") == str(tmp_path)
