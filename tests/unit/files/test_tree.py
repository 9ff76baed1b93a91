# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Walking and removing trees."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import remove_tree, walk_beneath


def test_a_walk_yields_directories_before_their_contents_and_follows_no_link(tmp_path: Path) -> None:
    """The entries of one directory come sorted."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").touch()
    (tmp_path / "link").symlink_to("a")
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert [path for path, _status in walk_beneath(fd)] == [b"a", b"link", b"a/b", b"a/b/c"]
    finally:
        os.close(fd)


def test_a_removed_tree_may_be_deep_and_forbid_it(tmp_path: Path) -> None:
    """A path longer than PATH_MAX, a directory without write permission, a link to a directory outside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    os.mkdir(b"tree", 0o700, dir_fd=fd)
    here = os.open(b"tree", os.O_RDONLY, dir_fd=fd)
    try:
        for _level in range(300):
            os.mkdir(b"d" * 100, 0o700, dir_fd=here)
            inner = os.open(b"d" * 100, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
        os.symlink(outside, b"link", dir_fd=here)
        os.chmod(tmp_path / "tree", 0o500)
        remove_tree(b"tree", fd)
    finally:
        os.close(here)
        os.close(fd)
    assert sorted(os.listdir(tmp_path)) == ["outside"]
    assert os.listdir(outside) == ["file"]
