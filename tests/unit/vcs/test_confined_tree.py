# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading an untrusted directory that changes during the look."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.files import beneath
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.confined_tree import ConfinedTree, VcsError


class ExchangedTree(ConfinedTree):
    """A tree in which a directory becomes a link that leads outside, right after each look at where a path leads."""

    def __init__(self, root: Path, directory: Path, outside: Path) -> None:
        super().__init__(str(root))
        self.directory, self.outside = directory, outside

    def resolve(self, path: str) -> str:
        """Return the path as it was."""
        real = super().resolve(path)
        shutil.rmtree(self.directory)
        self.directory.symlink_to(self.outside)
        return real


@pytest.fixture
def tree(tmp_path: Path) -> ExchangedTree:
    """Return a tree whose directory ``a/b`` will be exchanged."""
    outside, root = tmp_path / "outside", tmp_path / "root"
    for path in (outside / "c/secret", root / "a/b/c/file"):
        path.parent.mkdir(parents=True)
        path.write_text("hush")
    return ExchangedTree(root, root / "a/b", outside)


@pytest.mark.parametrize("is_old_kernel", [False, True])
def test_no_link_is_followed(tree: ExchangedTree, is_old_kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither to read a file nor to list a directory."""
    if is_old_kernel:
        monkeypatch.setattr(beneath, "_syscall", None)
    assert tree.read(f"{tree.root}/a/b/c/secret") is None


@pytest.mark.parametrize("path", ["a/b", "a/b/c"])
def test_no_link_is_listed(tree: ExchangedTree, path: str) -> None:
    """A directory that is gone has no names."""
    assert tree.names(f"{tree.root}/{path}") == []


def test_what_is_there(tmp_path: Path) -> None:
    """Files, names, links that lead inside; the directory itself is no file."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_text("text")
    (tmp_path / "link").symlink_to("a/b")
    os.mkfifo(tmp_path / "pipe")
    tree = ConfinedTree(str(tmp_path))
    assert tree.read(f"{tmp_path}/link/file") == b"text" and tree.read(f"{tmp_path}/a/missing/x") is None
    assert tree.names(str(tmp_path)) == ["a", "link", "pipe"] and tree.names(f"{tmp_path}/link") == ["file"]
    assert tree.names(f"{tmp_path}/pipe") == []
    for path in (str(tmp_path), f"{tmp_path}/a", f"{tmp_path}/pipe"):
        with pytest.raises(VcsError, match="is not a file"):
            tree.read(path)
