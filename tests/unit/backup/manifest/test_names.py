# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shortcuts in reading manifests give what the entries give, and a plan reads each manifest once."""

from __future__ import annotations

import builtins
import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry, names_in_block, unpack_block
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import scan_in_memory
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.diff_unit import diff_unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.path_class import classify_path, loose_object_length
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.options import MirrorOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.transient import TRANSIENT_HINT, TransientFilter
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_diff import UnitDiff
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.one_of(
    st.sampled_from(
        [b"lock", b"index.lock", b"lock\n", b"gc.pid", b"tmp_obj_1", b"x.tmp-1", b"incoming-7", b"journal", b"a~", b"packed-refs.new"]
    ),
    st.binary(min_size=1, max_size=9).filter(lambda name: b"/" not in name and b"\0" not in name and name not in {b".", b".."}),
)
DIRECTORIES = st.sampled_from([b"", b".git", b".git/objects", b".git/objects/incoming-1", b"objects/tmp_objdir", b".hg/store", b"block"])


@given(st.lists(st.tuples(st.binary(max_size=12).filter(lambda name: b"/" not in name), st.binary(max_size=12)), max_size=6), DIRECTORIES)
def test_names_of_a_block(listed: list[tuple[bytes, bytes]], directory: bytes) -> None:
    """They are those of the entries, also with links, and for the unit's own directory."""
    prefix = directory + b"/" if directory else b""
    block = b"".join(Entry(prefix + name, 0o100644, 1, 2, 3, 4, 5, 6, 1, link).record() for name, link in listed)
    entries = list(unpack_block(directory, block))
    assert (
        names_in_block(block) == [b"" if entry.path == directory else entry.name for entry in entries] == [name for name, _link in listed]
    )


@given(DIRECTORIES, st.lists(NAMES, max_size=5))
def test_no_transient_path_is_overlooked(directory: bytes, names: list[bytes]) -> None:
    """If one path passes the test of paths, the directory and its names pass that of directories."""
    paths = [directory + b"/" + name if directory else name for name in names]
    assert TransientFilter.may_apply(directory, names) or not any(TRANSIENT_HINT.search(path) for path in paths)


def test_an_ordinary_directory_has_nothing_transient() -> None:
    """The quick test must not pass everything."""
    assert not TransientFilter.may_apply(b".git/objects/4f", [b"0123456789abcdef0123456789abcdef012345"])
    assert not TransientFilter.may_apply(b"src", [b"main.py", b"setup.cfg", b"locks.txt"])


@pytest.mark.parametrize("store", [b"", b".git", b"module/.git"])
@pytest.mark.parametrize(
    "inner", [b"", b"objects", b"objects/00", b"objects/in", b"objects/info", b"objects/pack", b"refs/heads", b"objects/0"]
)
def test_loose_objects_are_known_by_the_length_of_their_paths(store: bytes, inner: bytes) -> None:
    """Every path of that length in that directory is an object; no other directory has such a length."""
    directory = b"/".join(part for part in (store, inner) if part)
    length = loose_object_length(directory, store)
    assert (length > 0) == (inner in {b"objects/00", b"objects/in"})
    for name in (b"a" * 38, b"tmp_obj_" + b"a" * 30, b"info/" + b"a" * 33):
        path = directory + b"/" + name if directory else name
        if len(path) == length:
            assert classify_path(path[len(store) + 1 if store else 0 :]) == "object"
    assert length not in {0, len(directory)}, "the entry of the directory itself would count"


def test_a_first_copy_counts_no_locks(tmp_path: Path) -> None:
    """Locks and unfinished files are not counted, everything else is."""
    subprocess.run(["git", "init", "-q", str(tmp_path / "tree")], check=True)
    for name in (".git/index.lock", ".git/objects/tmp_obj_1", "src/x.lock", "src/file"):
        (tmp_path / "tree" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "tree" / name).write_text("")
    manifest = scan_in_memory(Unit("tree", str(tmp_path / "tree")))
    changes = UnitDiff(Unit("tree", str(tmp_path / "tree")), manifest, Manifest(), is_first_copy=True)
    changes.count()
    listed = [path for _change, path in changes.items()]
    assert changes.created == len(listed) == sum(1 for _entry in manifest.entries()) - 2
    assert {b"src/x.lock", b"src/file"} <= set(listed)
    assert not {b".git/index.lock", b".git/objects/tmp_obj_1"} & set(listed)


def test_a_plan_reads_each_manifest_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository, its mirror and a changed file: the manifests are small, so they stay in memory while the unit is planned."""
    source, target = tmp_path / "tree", tmp_path / "target"
    subprocess.run(["git", "init", "-q", str(source)], check=True)
    (target / "tree").mkdir(parents=True)
    manifests = []
    for number in range(2):
        (source / "file").write_text(str(number))
        scan_in_memory(Unit("tree", str(source))).save(str(tmp_path / f"{number}.manifest"))
        manifest = Manifest.load(str(tmp_path / f"{number}.manifest"))
        assert manifest is not None
        manifests.append(manifest)
    opened: Counter[str] = Counter()
    real = builtins.open

    def counting(file: object, *arguments: object, **options: object) -> object:
        opened[os.path.basename(str(file))] += 1
        return real(file, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(builtins, "open", counting)
    options = MirrorOptions(str(target), str(tmp_path / "history"), str(tmp_path / "work"), str(tmp_path))
    changes = diff_unit(Unit("tree", str(source)), manifests[0], manifests[1], options)
    assert changes.changed
    assert {name: opened[name] for name in ("0.manifest", "1.manifest")} == {"0.manifest": 1, "1.manifest": 1}
