# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The repository's directory, held open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.projects.pinned_directory import PinnedDirectory


def test_it_stays_with_the_directory_and_notices_a_replacement(tmp_path: Path) -> None:
    """Whatever takes its place, even if a directory above it becomes a link."""
    repo = tmp_path / "a/b"
    repo.mkdir(parents=True)
    pinned = PinnedDirectory(str(tmp_path), str(repo))
    pinned.open()
    assert pinned.is_unchanged()
    (repo / "file").touch()
    repo.rename(tmp_path / "aside")
    assert not pinned.is_unchanged() and os.listdir(pinned.fd_path) == ["file"]
    repo.symlink_to(tmp_path / "aside")
    pinned.close()
    with pytest.raises(ConflictError, match="replaced"):
        pinned.open()
    repo.unlink()
    (tmp_path / "a").rmdir()
    (tmp_path / "a").symlink_to(tmp_path / "aside")
    (tmp_path / "aside/b").mkdir()
    with pytest.raises(ConflictError):
        pinned.open()
    assert pinned.fd == -1
