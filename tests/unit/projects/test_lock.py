# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run at a time works on a project."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import get_account
from ansible_collections.homelab.repoman.plugins.module_utils.projects.lock import project_lock, remove_abandoned_locks


def test_lock_excludes_other_runs_and_is_removed(tmp_path: Path) -> None:
    """Another run is refused after its timeout; another project is free; no lock file is left."""
    path = str(tmp_path / "repoman.toml")
    with project_lock(path, "a", get_account(), 0) as waited, project_lock(path, "b", get_account(), 0):
        assert not waited
        assert (tmp_path / "locks").stat().st_mode & 0o777 == 0o700 and (tmp_path / "locks/a.lock").stat().st_mode & 0o777 == 0o600
        with pytest.raises(ConflictError, match="another run is working on the project 'a'"), project_lock(path, "a", get_account(), 0.1):
            pass
    assert list((tmp_path / "locks").iterdir()) == []
    with project_lock(path, "a", get_account(), 0):
        pass


def test_lock_of_a_killed_run_is_free(tmp_path: Path) -> None:
    """A leftover file does not matter: only a held lock does."""
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/a.lock").touch()
    with project_lock(str(tmp_path / "repoman.toml"), "a", get_account(), 0) as waited:
        assert not waited


def test_lock_that_has_to_wait_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project may have changed in the meantime."""
    (tmp_path / "locks").mkdir()
    other = os.open(tmp_path / "locks/a.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    monkeypatch.setattr("time.sleep", lambda seconds: fcntl.flock(other, fcntl.LOCK_UN))
    with project_lock(str(tmp_path / "repoman.toml"), "a", get_account(), 60) as waited:
        assert waited
    os.close(other)


def test_lock_that_cannot_be_created(tmp_path: Path) -> None:
    """The error names it; a link in its place is not followed."""
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/a.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RepomanError, match="cannot lock"), project_lock(str(tmp_path / "repoman.toml"), "a", get_account(), 0):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_locks_of_killed_runs_are_removed(tmp_path: Path) -> None:
    """Only locks that no run holds are removed. Other files and links stay, and a missing directory is not an error."""
    path = str(tmp_path / "repoman.toml")
    remove_abandoned_locks(path, get_account())
    locks = tmp_path / "locks"
    with project_lock(path, "held", get_account(), 0):
        (locks / "left.lock").touch()
        (locks / "note").touch()
        (locks / "link.lock").symlink_to(locks / "note")
        remove_abandoned_locks(path, get_account())
        (locks / "full.lock").write_text("not a lock")
        (locks / "flake_x.lock").touch()
        (locks / "theirs.lock").touch()
        if os.geteuid() == 0:
            os.chown(locks / "theirs.lock", 1, 1)
        remove_abandoned_locks(path, get_account())
        left = {"held.lock", "link.lock", "note", "full.lock", "flake_x.lock"} | ({"theirs.lock"} if os.geteuid() == 0 else set())
        assert {file.name for file in locks.iterdir()} == left
        other = tmp_path / "other"
        other.mkdir()
        (other / "Cargo.lock").touch()
        (other / "locks").symlink_to(other)
        remove_abandoned_locks(str(other / "repoman.toml"), get_account())
        assert (other / "Cargo.lock").exists()
        with pytest.raises(ConflictError), project_lock(path, "held", get_account(), 0):
            pass
