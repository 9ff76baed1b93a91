# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""However a tree changes between runs, each version in the history is the tree of that time."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from backup_fixture import BackupHome, actions, differences
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("REPOMAN_EXAMPLES", "1"))
NAMES = st.sampled_from(["a", "b", "c", "sub", "-n", "ä b", "new\nline"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
CHANGES = st.one_of(
    st.tuples(st.just("write"), PATHS, st.integers(0, 5)),
    st.tuples(st.just("write"), PATHS, st.integers(0, 5)),
    st.tuples(st.just("directory"), PATHS),
    st.tuples(st.just("link"), PATHS, NAMES),
    st.tuples(st.just("hard link"), PATHS, PATHS),
    st.tuples(st.just("remove"), PATHS),
    st.tuples(st.just("rename"), PATHS, PATHS),
    st.tuples(st.just("mode"), PATHS, st.sampled_from([0o600, 0o644, 0o755, 0o444])),
)
RUNS = st.lists(st.lists(CHANGES, max_size=5), min_size=2, max_size=6)


def gone(path: Path) -> None:
    """Remove whatever is at a path."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def change(root: Path, kind: str, path: str, *values: Any) -> None:
    """Change a tree; a change that cannot be is left out."""
    place = root / path
    with suppress(FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, OSError):
        if kind == "remove" or kind in {"link", "write"} or (kind == "hard link" and (root / values[0]).is_file()):
            gone(place)
        if kind not in {"remove", "mode"}:
            place.parent.mkdir(parents=True, exist_ok=True)
        if kind == "write":
            place.write_text(f"{values[0]}\n" * values[0])
        elif kind == "directory":
            place.mkdir()
        elif kind == "link":
            place.symlink_to(values[0])
        elif kind == "hard link":
            place.hardlink_to(root / values[0])
        elif kind == "rename":
            place.rename(root / values[0])
        elif kind == "mode" and place.is_file() and not place.is_symlink():
            place.chmod(values[0])


def contents(root: Path) -> dict[str, tuple[object, ...]]:
    """Return what a version keeps of a tree: all but permissions and times, which are not copied to the history if the content is the same."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = (os.readlink(path),)
        elif path.is_dir():
            found[name] = ()
        else:
            found[name] = (path.read_bytes(),)
    return found


def foreseen(world: BackupHome) -> None:
    """Compare the prediction of a run with that of rsync: rsync mentions neither the directories whose time a run changes, nor the other names of a file."""
    said = {
        path: sign
        for each in world.sync(check=True)["diff"]
        for sign, _space, path in (line.partition(" ") for line in each["prepared"].splitlines())
    }
    wanted = {}
    for line in world.differences("--modify-window=-1"):
        kind, _space, path = line.partition(" ")
        path = path.strip() if kind == "*deleting" else path
        path = path.partition(" => " if kind[0] == "h" else " -> ")[0]  # no name here contains it; a link may have several names
        wanted[path.replace("\\#012", "\\n").rstrip("/")] = "-" if kind == "*deleting" else "+" if kind.endswith("+++") else "~"
    more = {path for path in said.keys() - wanted.keys() if not path.endswith("/")}
    linked = {path for path in more if any((root / path.replace("\\n", "\n")).lstat().st_nlink > 1 for root in (world.repos, world.backup))}
    assert more == linked, (
        said,
        wanted,
        [((root / path.replace("\\n", "\n")).lstat(), path) for path in more - linked for root in (world.repos, world.backup)],
    )
    assert wanted.keys() <= said.keys() | {path.rstrip("/") for path in said}, (said, wanted)
    for path in wanted.keys() & said.keys():
        is_new = wanted[path] == "+" and not os.path.lexists(world.backup / path.replace("\\n", "\n"))
        assert said[path] == ("+" if is_new else "-" if wanted[path] == "-" else "~"), (path, said, wanted)


@settings(max_examples=8 * EXAMPLES, phases=[Phase.explicit, Phase.generate], database=None)
@given(RUNS)
def test_each_version_is_the_tree_before_its_run(runs: list[list[Any]]) -> None:
    """All of it, a path of it, and all units; also after runs that changed nothing, and if several runs were in one second."""
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", root)
        world = BackupHome(Path(root))
        unit = world.repos / "unit"
        world.write("unit/stays")
        world.init()
        trees = {}
        for at, changes in enumerate(runs):
            before = contents(world.backup / "unit")
            for each in changes:
                change(unit, *each)
            foreseen(world)
            assert actions(world.sync(full=at % 3 == 2))["unit"] in {"synced", "unchanged"}
            assert world.differences() == []
            for version in world.sync(list_versions="unit")["kept"]:
                trees.setdefault(version["time"], before)
            if contents(world.backup / "unit") != before and any(
                path not in contents(unit) or contents(unit)[path] != value for path, value in before.items()
            ):
                assert before in trees.values()
        for number, (time, tree) in enumerate(trees.items()):
            to = Path(root) / f"to{number}"
            world.restore("unit", **{"from": time, "to": str(to)})
            assert contents(to) == tree, time
            for path in list(tree)[:2]:
                part = Path(root) / f"part{number}"
                world.restore("unit", **{"from": time, "to": str(part), "paths": [path]})
                wanted = {
                    name: value
                    for name, value in tree.items()
                    if name == path or name.startswith(f"{path}/") or path.startswith(f"{name}/")
                }
                assert contents(part) == wanted, (time, path)
                shutil.rmtree(part)
        if trees:
            time = min(trees)
            world.restore("unit", **{"from": time, "overwrite": True})
            assert contents(unit) == trees[time]
            world.sync()
            assert differences(unit, world.backup / "unit") == []
