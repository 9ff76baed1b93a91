# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Locks in the kernel's list."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.host import locks

HOLD = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, int(sys.argv[2])); print(flush=True); sys.stdin.read()"


@pytest.mark.parametrize("kind", [fcntl.LOCK_EX, fcntl.LOCK_SH])
def test_lock_of_another_process(tmp_path: Path, kind: int) -> None:
    """It counts while it is held, of its file only, and looking at it takes no lock."""
    path, other = tmp_path / "a", tmp_path / "b"
    path.touch()
    other.touch()
    with subprocess.Popen([sys.executable, "-c", HOLD, path, str(kind)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        held = locks.held_locks()
        assert locks.is_locked(str(path), held) and not locks.is_locked(str(other), held) and locks.held_locks() == held
        process.stdin.close()
        process.wait()
    assert not locks.is_locked(str(path), locks.held_locks()) and not locks.is_locked(str(tmp_path / "none"), held)


def test_locks_that_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of another kind, and processes that wait."""
    table = tmp_path / "locks"
    table.write_text(
        "1: POSIX  ADVISORY  WRITE 7 08:01:1 0 EOF\n2: FLOCK  ADVISORY  WRITE 8 fe:1a:2 0 EOF\n2: -> FLOCK  ADVISORY  WRITE 9 08:01:3 0 EOF\n"
        "3: FLOCK  ADVISORY  READ  -1 00:2b:4 0 EOF\n4: LEASE  ACTIVE    READ  7 08:01:5 0 EOF\n"
    )
    monkeypatch.setattr(locks, "LOCKS", table)
    assert locks.held_locks() == {(0xFE, 0x1A, 2), (0, 0x2B, 4)}


def test_device_of_a_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On btrfs, the list has the device of the mount, and not the one of stat."""
    path = tmp_path / "a"
    path.touch()
    fd = os.open(path, os.O_RDONLY)
    mount_id = next(line.split()[1] for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines() if line.startswith("mnt_id"))
    os.close(fd)
    table = tmp_path / "mountinfo"
    table.write_text(f"1{mount_id} 0 9:1 / / rw - x x rw\n{mount_id} 0 0:43 / / rw - btrfs x rw\n")
    monkeypatch.setattr(locks, "MOUNTINFO", table)
    assert locks.is_locked(str(path), frozenset({(0, 43, path.stat().st_ino)}))
    assert not locks.is_locked(str(path), frozenset({(9, 1, path.stat().st_ino)}))
