# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of repository that people have: backed up, proven by programs of others, changed, lost, and restored."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from backup_fixture import BackupHome
from zoo import damages, git_formats, git_layouts, hg_kinds, odd_trees
from zoo.enclosure import Enclosure, copy_tree, remove_tree, tree_differences
from zoo.kind import Damage, Kind

pytestmark = pytest.mark.engine

WHOLE_ZOO = bool(os.environ.get("REPOMAN_ZOO"))
KINDS = [*git_formats.KINDS, *git_layouts.KINDS, *hg_kinds.KINDS, *odd_trees.KINDS]


def cases(kinds: list[Kind] | list[Damage], missing: str = "xfail") -> list[object]:
    """Return the kinds as parameters; what is known to be missing is marked, and has to be unmarked once it is there.

    :param missing: the field that says what is missing.
    """
    return [
        pytest.param(kind, id=kind.name, marks=[pytest.mark.xfail(strict=True, reason=why)] if (why := getattr(kind, missing)) else [])
        for kind in kinds
        if WHOLE_ZOO or not getattr(kind, "long", False)
    ]


@pytest.fixture
def world(empty_world: BackupHome) -> BackupHome:
    """An empty home."""
    return empty_world


def test_kinds_have_names_of_their_own() -> None:
    """No kind hides another."""
    names = [kind.name for kind in [*KINDS, *damages.KINDS]]
    assert len(names) == len(set(names)) > 150


def is_mirrored(enclosure: Enclosure) -> None:
    """The mirror is the source, and the programs say of the one what they say of the other."""
    assert tree_differences(enclosure.unit, enclosure.mirror, *enclosure.excludes()) == []
    assert enclosure.verdicts(enclosure.mirror) == enclosure.verdicts(enclosure.unit)


def paths_of(kind: Kind, unit: Path) -> list[str]:
    """Return the paths that are restored alone."""
    names = sorted(os.listdir(unit))
    return list(kind.paths) or [*dict.fromkeys([names[0], names[-1]])]


def path_differences(one: Path, other: Path, path: str, *options: str) -> list[str]:
    """Let rsync say how what was restored alone differs."""
    if (one / path).is_dir() and not (one / path).is_symlink():
        return tree_differences(one / path, other / path, "-AX", *options)
    only = re.sub(r"([*?\[\\])", r"\\\1", Path(path).name)
    return tree_differences(
        (one / path).parent, (other / path).parent, "-AX", f"--include=/{only}", "--exclude=*", "--omit-dir-times", "--no-perms"
    )


@pytest.mark.parametrize("kind", cases(KINDS))
def test_a_kind_of_repository(kind: Kind, world: BackupHome, tmp_path: Path) -> None:
    """Backed up, and again; changed, and backed up; lost, and restored whole, by path, by time: always identical."""
    if kind.root and os.geteuid() != 0:
        pytest.skip("only root can make such a tree")
    enclosure = Enclosure(world, kind)
    enclosure.shell(kind.build)
    try:
        takes_its_course(enclosure, kind, tmp_path)
    finally:
        if kind.left_out:
            enclosure.shell(f"umount --lazy {kind.left_out} || true")
        remove_tree(world.root / "repos")
        remove_tree(world.root / "backup")


def takes_its_course(enclosure: Enclosure, kind: Kind, tmp_path: Path) -> None:
    """See a kind through all that can become of a backup."""
    unit, world = enclosure.unit, enclosure.world
    enclosure.state()  # git and hg write what they have computed: before the backup, not after it
    first = world.init()
    line = enclosure.line(first)
    message = str(line)
    assert line["action"] == "synced", message
    is_mirrored(enclosure)
    assert ("could not be verified" in message) == kind.unproven, message
    assert kind.left_out in " ".join(first["warnings"])
    assert enclosure.sync()[0] == "unchanged"
    assert enclosure.sync(full=True)[0] == "unchanged"
    verified = world.sync(verify=True)
    assert enclosure.line(verified)["action"] == "same", verified
    before = copy_tree(unit, tmp_path / "before")
    versions_before = set(enclosure.kept_times())
    enclosure.shell(kind.change)
    state = enclosure.state()
    action, message = enclosure.sync()
    assert action == "synced", message
    while action == "synced":  # what a gc removed goes a run later
        action, message = enclosure.sync()
    assert action == "unchanged", message
    times = enclosure.kept_times()
    is_mirrored(enclosure)
    if kind.left_out:
        return
    after = copy_tree(unit, tmp_path / "after")
    remove_tree(unit)
    lost = world.sync()
    assert (enclosure.line(lost)["action"], lost["exit_code"]) == ("failed", 4), lost
    world.restore(kind.name)
    excluded = enclosure.excludes()
    assert tree_differences(after, unit, "-AX", *excluded) == []
    assert enclosure.state() == state or excluded
    for number, path in enumerate(paths_of(kind, after)):
        to = tmp_path / f"path{number}"
        world.restore(kind.name, paths=[path], to=str(to))
        assert path_differences(after, to, path, *excluded) == []
    for when in sorted(set(times) - versions_before)[:1]:  # none where only modes and times changed, which are as in the mirror
        world.restore(kind.name, **{"from": when, "to": str(tmp_path / "old")})
        lines = tree_differences(before, tmp_path / "old", *excluded)
        assert [text for text in lines if not text.startswith((".", "h"))] == []


@pytest.mark.parametrize("kind", cases(damages.KINDS))
def test_damage_does_not_spread(kind: Damage, world: BackupHome, tmp_path: Path) -> None:
    """The mirror is as sound after as before, the run names what is damaged, and all else is backed up."""
    enclosure = Enclosure(world, kind)
    enclosure.shell(kind.build)
    world.init()
    sound = enclosure.verdicts(enclosure.mirror)
    assert {status for _what, status, _lines in sound} == {0}
    enclosure.shell(f"({kind.damage}); echo precious >written-since")
    for _turn in range(2):
        result = world.sync()
        line = enclosure.line(result)
        assert (line["action"], result["exit_code"]) == ("failed", 1), line
        message = "\n".join([line["msg"], *line["hints"]])
        assert re.search(kind.names, message), message
        assert (f"repoman restore {kind.name}" in message) >= kind.known, message
        assert {status for _what, status, _lines in enclosure.verdicts(enclosure.mirror)} == {0}
        assert (enclosure.mirror / "written-since").read_text() == "precious\n"
    remove_tree(enclosure.unit)
    world.restore(kind.name)
    assert {status for _what, status, _lines in enclosure.verdicts(enclosure.unit)} == {0}


@pytest.mark.parametrize("kind", cases([kind for kind in damages.KINDS if kind.mends], "xfail_mended"))
def test_damage_is_mended(kind: Damage, world: BackupHome) -> None:
    """What the hint says puts the damaged objects back, and nothing else; then all is well."""
    enclosure = Enclosure(world, kind)
    enclosure.shell(kind.build)
    world.init()
    enclosure.shell(f"({kind.damage}); echo mine >all")
    action, message = enclosure.sync()
    assert (action, f"repoman restore {kind.name} --objects" in message) == ("failed", True), message
    world.restore(kind.name, objects=True)
    assert {status for _what, status, _lines in enclosure.verdicts(enclosure.unit)} == {0}
    assert (enclosure.unit / "all").read_text() == "mine\n"
    action, message = enclosure.sync()
    assert action in {"synced", "unchanged"}, message


def repoman(enclosure: Enclosure, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as its user does."""
    home, places = enclosure.world.root, os.pathsep.join(path for path in sys.path if path)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "USER": "alice", "LANG": "C.UTF-8", "PYTHONPATH": places}
    return subprocess.run(
        [sys.executable, "-m", "repoman", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd=home,
        env=environment,
    )


@pytest.mark.parametrize("name", ["git", "git-submodule-nested", "hg-share", "names-with-a-dash", "hard-links"])
def test_a_kind_by_the_command(name: str, world: BackupHome, tmp_path: Path) -> None:
    """What a person types does the same."""
    enclosure = Enclosure(world, next(kind for kind in KINDS if kind.name == name))
    registry = tmp_path / ".config/repoman/repoman.toml"
    registry.parent.mkdir(parents=True)
    registry.write_text(world.registry.read_text())
    enclosure.shell(enclosure.kind.build)
    done = repoman(enclosure, "sync", "--init", "--allow-local")
    assert done.returncode == 0, done.stdout + done.stderr
    is_mirrored(enclosure)
    before = copy_tree(enclosure.unit, tmp_path / "before")
    remove_tree(enclosure.unit)
    assert repoman(enclosure, "sync").returncode == 4
    done = repoman(enclosure, "restore", "--", name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert tree_differences(before, enclosure.unit, "-AX") == []
    assert repoman(enclosure, "sync", "--verify").returncode == 0
