# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests: what is kept in memory, and how often their files are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest import manifest as manifests
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.compare import differing_blocks, differing_entries
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import scan_in_memory
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror import unit_diff
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_diff import UnitDiff


def saved(tree: Path, path: Path) -> Manifest:
    """Scan a tree, and return its manifest in a file."""
    scan_in_memory(Unit("tree", str(tree))).save(str(path))
    manifest = Manifest.load(str(path))
    assert manifest is not None
    return manifest


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Manifest, Manifest]:
    """The manifests of a tree before and after a file in it changed, one was removed, and a directory was made."""
    tree = tmp_path / "tree"
    for name in ("one/file", "two/file", "three/file"):
        (tree / name).parent.mkdir(parents=True)
        (tree / name).write_text("")
    before = saved(tree, tmp_path / "before")
    (tree / "one/file").write_text("more")
    (tree / "two/file").unlink()
    (tree / "new").mkdir()
    return before, saved(tree, tmp_path / "now")


def test_a_plan_with_few_changes_does_not_read_the_manifests_again(
    pair: tuple[Manifest, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks that differ are kept if they are few; otherwise the files are compared again. Both give the same."""
    before, now = pair
    expected = [differing_entries(*blocks) for blocks in differing_blocks(before, now)]
    assert [directory for directory, _pairs in expected] == [b"", b"new", b"one", b"two"]
    changes = UnitDiff(Unit("tree", "/nonexistent"), now, before)
    changes.count()
    monkeypatch.setattr(unit_diff, "NOTED_BYTES", 10)
    many = UnitDiff(Unit("tree", "/nonexistent"), now, before)
    many.count()
    assert list(many.differences()) == expected
    for manifest in pair:
        os.unlink(manifest.path)
    assert list(changes.differences()) == expected
    with pytest.raises(FileNotFoundError):
        list(many.differences())


def test_a_held_manifest_is_read_once(pair: tuple[Manifest, Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside the ``with``, and only there, the blocks of a small manifest are in memory, those of a large one never."""
    manifest = pair[0]
    entries = list(manifest.entries())
    with monkeypatch.context() as small, manifest.held():
        small.setattr(manifests, "HELD_LIMIT", 10)
        with manifest.held(), pair[1].held():
            os.rename(pair[1].path, f"{pair[1].path}.aside")
            with pytest.raises(FileNotFoundError):
                pair[1].has_several_entries()
        os.rename(manifest.path, f"{manifest.path}.aside")
        assert list(manifest.entries()) == entries
        assert manifest.has_several_entries()
    with pytest.raises(FileNotFoundError):
        list(manifest.entries())
