# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Locks on files."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.files.lock import FileLock, try_flock
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import get_account


def test_one_exclusive_or_many_shared(tmp_path: Path) -> None:
    """A shared lock becomes exclusive only when nobody shares it."""
    with FileLock(tmp_path / "lock", get_account()) as one, FileLock(tmp_path / "lock", get_account()) as other:
        assert one.try_acquire(shared=True) and other.try_acquire(shared=True)
        assert not one.try_acquire()
        other.release()
        assert one.try_acquire() and not other.try_acquire(shared=True)
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_a_timeout_ends_the_wait(tmp_path: Path) -> None:
    """Without time to wait, one attempt is made."""
    with FileLock(tmp_path / "lock", get_account()) as one, FileLock(tmp_path / "lock", get_account()) as other:
        assert not one.acquire(0)
        with pytest.raises(TimeoutError):
            other.acquire(0)


def test_a_file_that_its_holder_removed_is_created_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes must not hold locks on two files of one name, of which one is gone."""
    with FileLock(tmp_path / "lock", get_account()) as one, FileLock(tmp_path / "lock", get_account()) as other:
        assert not one.acquire(0)

        def end(_seconds: float) -> None:
            one.remove()
            one.release()

        monkeypatch.setattr("time.sleep", end)
        assert other.acquire(60)
        assert os.path.samestat(os.fstat(other.fd), (tmp_path / "lock").stat())
        assert not one.try_acquire() or not os.path.samestat(os.fstat(one.fd), os.fstat(other.fd))


def test_a_directory_can_be_locked(tmp_path: Path) -> None:
    """The lock belongs to the open file, not to the process."""
    fds = [os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY) for _number in range(2)]
    assert [try_flock(fd) for fd in fds] == [True, False]
    for fd in fds:
        os.close(fd)


def test_a_lock_that_cannot_be_opened_again_is_closed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of opening it arrives, and not one of a descriptor that is closed twice."""
    monkeypatch.setattr(time, "sleep", lambda _seconds: shutil.rmtree(tmp_path / "d"))
    (tmp_path / "d").mkdir()
    with FileLock(tmp_path / "d/lock", get_account()) as holder:
        assert holder.try_acquire()
        with pytest.raises(FileNotFoundError), FileLock(tmp_path / "d/lock", get_account()) as other:
            other.acquire(5)
