# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks of the backup: real directories, marks and locks."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import state
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.host_lock import describe_process
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import iso_time
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.backup_checks import check_age, check_locks, check_target
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.check import Status
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.context import DoctorContext
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.process import python_probe
from ansible_collections.homelab.repoman.plugins.module_utils.registry import sync_times

MakeContext = Callable[..., DoctorContext]


@pytest.fixture
def backup(me: Account) -> Path:
    """A directory for the backup, without a mark."""
    path = Path(me.home, "backup")
    (path / ".repoman").mkdir(parents=True)
    return path


@pytest.fixture
def marked(backup: Path) -> Path:
    """A target of this host and user."""
    (backup / ".repoman/mirror.toml").write_text(f'format = 1\nid = "0123abcd"\nhost = "{socket.gethostname()}"\nuser = "alice"\n')
    return backup


def registry(backup: Path, last_sync: str = "", more: str = "") -> str:
    """Return a registry with a project and this target."""
    return f'[defaults]\nbackup_root = "{backup}"\n[[project]]\nname = "demo"\nrepo = "demo"\nlast_sync = "{last_sync}"\n{more}'


def test_target(make_context: MakeContext, marked: Path) -> None:
    """In order; of another user; a marker that cannot be read."""
    outcome = check_target(make_context(registry(marked)))
    assert outcome.status == Status.OK and outcome.message.startswith("backup target ~/backup, ") and outcome.message.endswith(" free")
    marker = marked / ".repoman/mirror.toml"
    marker.write_text(marker.read_text().replace("alice", "bob"))
    foreign = check_target(make_context(registry(marked)))
    assert (foreign.status, foreign.message) == (Status.FAIL, f"backup target ~/backup is the backup of bob on {socket.gethostname()}")
    assert foreign.hints[0].startswith("repoman sync --take-over   # ") and foreign.hints[1].startswith(
        "another place: [defaults].backup_root"
    )
    marker.write_text("nonsense")
    broken = check_target(make_context(registry(marked)))
    assert broken.status == Status.FAIL and "cannot be read (.repoman/mirror.toml is not TOML)" in broken.message


def test_target_of_another_host(make_context: MakeContext, marked: Path) -> None:
    """Its mark names the other host."""
    marker = marked / ".repoman/mirror.toml"
    marker.write_text(marker.read_text().replace(socket.gethostname(), "elsewhere"))
    assert check_target(make_context(registry(marked))).message == "backup target ~/backup is the backup of alice on elsewhere"


@pytest.mark.parametrize("place", ["", "missing"])
def test_target_that_is_not_there(make_context: MakeContext, backup: Path, place: str) -> None:
    """Before the first backup it is a warning, with the command that begins; later it is a failure."""
    path = backup / place if place else backup
    first = check_target(make_context(registry(path)))
    assert first.status == Status.WARN and "repoman sync --init   # for the first backup" in first.hints
    later = check_target(make_context(registry(path, "2026-11-01T00:00:00Z")))
    assert later.status == Status.FAIL and not any("--init" in hint for hint in later.hints)
    assert ("does not exist" in later.message) == bool(place) and later.hints[0] == f"findmnt --target {path}   # is it mounted?"


def test_target_that_does_not_answer(
    make_context: MakeContext, backup: Path, dead_mount: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs one time limit, the hints do not hang on it, and its lock is not looked for."""
    dead_mount(backup)
    monkeypatch.setattr(python_probe, "PROBE_TIMEOUT", 1.0)
    context = make_context(registry(backup))
    outcome = check_target(context)
    assert (outcome.status, outcome.message) == (Status.FAIL, "backup target ~/backup did not answer within 1 s")
    assert outcome.hints == (
        f"findmnt {backup}   # shows its server",
        f"sudo umount -l {backup}   # if the server does not come back",
    )
    monkeypatch.setattr(state, "run_python", None)
    assert check_locks(context).message == "no stale locks"


def test_target_that_is_slow(make_context: MakeContext, marked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No message names the program that reads it."""
    context = make_context(registry(marked))
    assert check_target(context).status == Status.OK
    monkeypatch.setattr(python_probe, "PROBE_TIMEOUT", 0.0)
    lock = marked / ".repoman/lock"
    assert check_locks(context).message == f"{lock}: did not answer within 0 s"
    outcome = check_target(make_context(registry(marked)))
    assert outcome.message == "backup target ~/backup did not answer within 0 s"
    assert outcome.hints == ("findmnt -t nfs,nfs4,cifs   # is the server up?",)


def test_lock_that_is_a_link(make_context: MakeContext, marked: Path) -> None:
    """It is not followed."""
    (marked / ".repoman/lock").symlink_to("/etc/hostname")
    outcome = check_locks(make_context(registry(marked)))
    assert outcome.message == f"{marked}/.repoman/lock: Too many levels of symbolic links"


def test_age(make_context: MakeContext, marked: Path) -> None:
    """New, old and missing backups, each with its own age; projects without a backup do not count, and need no target."""
    now = datetime.now(timezone.utc)
    recent, old, older = (iso_time(now - timedelta(hours=hours)) for hours in (3, 80, 24 * 30))
    assert check_age(make_context(registry(marked, recent))).message == "1 project backed up, the oldest 3 hours ago"
    other = f'[[project]]\nname = "b"\nrepo = "b"\nlast_sync = "{older}"\n'
    stale = check_age(make_context(registry(marked, old, other)))
    assert (stale.status, stale.message) == (Status.WARN, "no backup of b for 30 days, of demo for 3 days")
    assert stale.hints == ("repoman sync",)
    assert check_age(make_context(registry(marked))).message == "no backup yet of demo"
    none = make_context(registry(Path("/nonexistent"), "", "backup = false\n"))
    assert check_age(none).message == "there is nothing to back up"
    assert (check_target(none).status, check_target(none).message) == (
        Status.OK,
        "no backup target is needed: there is nothing to back up",
    )
    context = make_context(registry(marked))
    override = Path(context.registry_path).parent / "repos.d/demo.toml"
    override.parent.mkdir()
    override.write_text("backup = false\n", encoding="utf-8")
    assert check_age(context).message == "there is nothing to back up"


def test_age_of_directories(make_context: MakeContext, marked: Path, me: Account) -> None:
    """Directories without a project count, too, and need a target."""
    (Path(me.home) / "repos/attic").mkdir(parents=True)
    text = f'[defaults]\nbackup_root = "{marked}"\n'
    outcome = check_age(make_context(text))
    assert (outcome.status, outcome.message, outcome.hints) == (Status.WARN, "no backup yet of attic", ("repoman sync",))
    assert check_target(make_context(text.replace("backup_root", "logdir"))).status == Status.WARN
    now = datetime.now(timezone.utc)
    for days, message in ((1, "1 repository backed up, the oldest 1 day ago"), (5, "no backup of attic for 5 days")):
        sync_times.write(f"{me.home}/.local/state/repoman", str(marked), ["attic"], iso_time(now - timedelta(days=days)), me)
        assert check_age(make_context(text)).message == message
    assert check_age(make_context(f'{text}stale_after = "1w"\n')).status == Status.OK
    off = check_age(make_context(f'{text}stale_after = "never"\n'))
    assert (off.status, off.message) == (Status.OK, "the age of backups is not checked: stale_after is 'never'")
    (Path(me.home) / "repos/attic").rmdir()
    assert check_age(make_context(text)).message == "the last backup was 5 days ago"


def test_backup_in_the_future(make_context: MakeContext, marked: Path) -> None:
    """It is not called recent; the hints tell a wrong clock from one that was wrong."""
    outcome = check_age(make_context(registry(marked, "2126-01-01T00:00:00Z", '[[project]]\nname = "b"\n')))
    assert (outcome.status, outcome.message) == (Status.WARN, "the last backup of demo is in the future; no backup yet of b")
    assert outcome.hints == ("timedatectl   # is the clock right?", "repoman sync   # if it is: the next backup has the right time")


@pytest.mark.parametrize(
    ("last_sync", "marker", "hint"),
    [
        ("", None, "repoman sync --init   # for the first backup"),
        ("2026-01-01T00:00:00Z", None, "see the backup target above; then: repoman sync"),
        ("", 'host = "elsewhere"', "see the backup target above; then: repoman sync"),
    ],
)
def test_age_if_the_target_cannot_be_used(make_context: MakeContext, backup: Path, last_sync: str, marker: str | None, hint: str) -> None:
    """No hint is refused when pasted."""
    if marker:
        (backup / ".repoman/mirror.toml").write_text(marker)
    outcome = check_age(make_context(registry(backup, last_sync)))
    assert (outcome.status, outcome.hints) == (Status.WARN, (hint,))


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({}, "ok", "no stale locks; at work: process {pid} of {host} since "),
        ({"started": "1"}, "warn", "a run that was killed has left "),
        ({"boot": "another"}, "warn", "a run that was killed has left "),
        ({"host": "elsewhere"}, "warn", "lock says that process"),
    ],
)
def test_lock_on_the_target(make_context: MakeContext, marked: Path, change: dict[str, Any], status: str, message: str) -> None:
    """A run of this host that goes on is in order; one that has ended, or another host's, is not. The lock is never changed."""
    lock = marked / ".repoman/lock"
    text = json.dumps(describe_process() | change)
    lock.write_text(text, encoding="utf-8")
    outcome = check_locks(make_context(registry(marked)))
    expected = message.format(pid=os.getpid(), host=socket.gethostname())
    assert outcome.status == status and expected in outcome.message and lock.read_text(encoding="utf-8") == text
    hints = {"killed": "repoman sync   # removes it", "says": f"if you are sure that it is not: rm {lock}"}
    assert list(outcome.hints) == [hint for word, hint in hints.items() if word in outcome.message]


@pytest.mark.parametrize("text", ["", "nonsense", "[]"])
def test_lock_that_cannot_be_read(make_context: MakeContext, marked: Path, text: str) -> None:
    """It may be another host's."""
    (marked / ".repoman/lock").write_text(text)
    outcome = check_locks(make_context(registry(marked)))
    assert outcome.status == Status.WARN and "an unknown run is working there" in outcome.message


def test_locks_of_this_host(make_context: MakeContext, backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Projects that a run works on are named; a file that a killed run left is not, and stays. No lock is taken from a run that starts."""
    context = make_context(registry(backup))
    directory = Path(context.registry_path).parent / "locks"
    directory.mkdir()
    (directory / "left.lock").touch()
    with (directory / "demo.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        monkeypatch.delattr(fcntl, "flock")
        assert check_locks(context).message == "no stale locks; at work: demo"
    assert check_locks(context).message == "no stale locks" and sorted(os.listdir(directory)) == ["demo.lock", "left.lock"]
