# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of repository that people have: backed up, proven by programs of others, changed, lost, and restored."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from zoo import damages, git_formats, git_layouts, hg_kinds, odd_trees
from zoo.enclosure import Enclosure, remove_tree, tree_differences
from zoo.kind import Damage, Kind
from zoo.together import Homes, Life, homes, repoman

pytestmark = pytest.mark.engine

WHOLE_ZOO = bool(os.environ.get("REPOMAN_ZOO"))
ALL_KINDS = [*git_formats.KINDS, *git_layouts.KINDS, *hg_kinds.KINDS, *odd_trees.KINDS]
KINDS = [kind for kind in ALL_KINDS if WHOLE_ZOO or not kind.long]


def cases(kinds: Sequence[Kind] | Sequence[Damage], group: str, missing: str = "xfail") -> list[object]:
    """Return the kinds as parameters; what is known to be missing is marked, and has to be unmarked once it is there.

    :param group: names the groups of tests that share a home.
    :param missing: the field that says what is missing.
    """
    numbers = homes(kinds)
    return [
        pytest.param(
            kind,
            id=kind.name,
            marks=[
                pytest.mark.xdist_group(f"zoo-{group}-{numbers[kind.name]}"),
                *([pytest.mark.xfail(strict=True, reason=why)] if (why := getattr(kind, missing)) else []),
            ],
        )
        for kind in kinds
    ]


def needs_root(kind: Kind | Damage) -> bool:
    """Return whether this user cannot make such a tree."""
    return isinstance(kind, Kind) and kind.root and os.geteuid() != 0


def selected(request: pytest.FixtureRequest) -> set[str]:
    """Return the names of the kinds for which this test runs."""
    kinds = [
        item.callspec.params["kind"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == request.function.__name__ and item.path == request.path
    ]
    return {kind.name for kind in kinds if not needs_root(kind)}


def test_kinds_have_names_of_their_own() -> None:
    """No kind hides another."""
    names = [kind.name for kind in [*ALL_KINDS, *damages.KINDS]]
    assert len(names) == len(set(names)) > 150


def is_mirrored(enclosure: Enclosure) -> Life:
    """The mirror is the source, and the programs say of the one what they say of the other."""
    assert (yield "compare repos backup") == []
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


def takes_its_course(enclosure: Enclosure) -> Life:
    """See a kind through all that can become of a backup."""
    unit, world, kind = enclosure.unit, enclosure.world, enclosure.kind
    assert isinstance(kind, Kind)
    enclosure.shell(kind.build)
    enclosure.state()  # git and hg write what they have computed: before the backup, not after it
    first = yield "init"
    line = enclosure.line(first)
    message = str(line)
    assert line["action"] == "synced", message
    yield from is_mirrored(enclosure)
    assert ("could not be verified" in message) == kind.unproven, message
    assert kind.left_out in " ".join(first["warnings"])
    assert enclosure.told((yield "sync"))[0] == "unchanged"
    assert enclosure.told((yield "full"))[0] == "unchanged"
    verified = enclosure.line((yield "verify"))
    assert verified["action"] == "same", verified
    yield "copy before"
    versions_before = set(enclosure.kept_times())
    enclosure.shell(kind.change)
    state = enclosure.state()
    outcomes = [enclosure.told(result) for result in (yield "settle")]
    assert outcomes[0][0] == "synced", outcomes
    kinds_of_outcome = [action for action, _outcomes in itertools.groupby(action for action, _message in outcomes)]
    assert kinds_of_outcome == ["synced", "unchanged"], outcomes  # what a gc removed goes a run later
    times = enclosure.kept_times()
    yield from is_mirrored(enclosure)
    if kind.left_out:
        return
    yield "copy after"
    after = world.root / "after" / kind.name
    remove_tree(unit)
    lost = yield "sync"
    line = enclosure.line(lost)
    assert (line["action"], line["exit_code"], lost["exit_code"]) == ("failed", 4, 4), line
    world.restore(kind.name)
    assert (yield "compare after repos -AX") == []
    excluded = enclosure.excludes()
    assert enclosure.state() == state or excluded
    places = world.root / "places" / kind.name
    for number, path in enumerate(paths_of(kind, after)):
        to = places / f"path{number}"
        world.restore(kind.name, paths=[path], to=str(to))
        assert path_differences(after, to, path, *excluded) == []
    for when in sorted(set(times) - versions_before)[:1]:  # none where only modes and times changed, which are as in the mirror
        world.restore(kind.name, **{"from": when, "to": str(places / "old")})
        lines = tree_differences(world.root / "before" / kind.name, places / "old", *excluded)
        assert [text for text in lines if not text.startswith((".", "h"))] == []


@pytest.fixture(scope="module")
def courses(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    """The homes of all kinds."""
    return Homes(lambda: tmp_path_factory.mktemp("zoo"), KINDS, takes_its_course)


@pytest.mark.parametrize("kind", cases(KINDS, "kinds"))
def test_a_kind_of_repository(kind: Kind, courses: Homes, request: pytest.FixtureRequest) -> None:
    """Backed up, and again; changed, and backed up; lost, and restored whole, by path, by time: always identical."""
    if needs_root(kind):
        pytest.skip("only root can make such a tree")
    courses.see(kind, selected(request))


def damaged(enclosure: Enclosure) -> Life:
    """Damage a repository twice backed up, and get its mirror back."""
    kind, world = enclosure.kind, enclosure.world
    assert isinstance(kind, Damage)
    enclosure.shell(kind.build)
    yield "init"
    sound = enclosure.verdicts(enclosure.mirror)
    assert {status for _what, status, _lines in sound} == {0}
    enclosure.shell(f"({kind.damage}); echo precious >written-since")
    for _turn in range(2):
        result = yield "sync"
        line = enclosure.line(result)
        assert (line["action"], line["exit_code"], result["exit_code"]) == ("failed", 1, 1), line
        message = "\n".join([line["msg"], *line["hints"]])
        assert re.search(kind.names, message), message
        assert (f"repoman restore {kind.name}" in message) >= kind.known, message
        assert {status for _what, status, _lines in enclosure.verdicts(enclosure.mirror)} == {0}
        assert (enclosure.mirror / "written-since").read_text() == "precious\n"
    remove_tree(enclosure.unit)
    world.restore(kind.name)
    assert {status for _what, status, _lines in enclosure.verdicts(enclosure.unit)} == {0}


@pytest.fixture(scope="module")
def damaged_homes(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    """The homes of what is damaged."""
    return Homes(lambda: tmp_path_factory.mktemp("damaged"), damages.KINDS, damaged)


@pytest.mark.parametrize("kind", cases(damages.KINDS, "damaged"))
def test_damage_does_not_spread(kind: Damage, damaged_homes: Homes, request: pytest.FixtureRequest) -> None:
    """The mirror is as sound after as before, the run names what is damaged, and all else is backed up."""
    damaged_homes.see(kind, selected(request))


def mended(enclosure: Enclosure) -> Life:
    """Damage a repository, and repair it."""
    kind, world = enclosure.kind, enclosure.world
    assert isinstance(kind, Damage)
    enclosure.shell(kind.build)
    yield "init"
    enclosure.shell(f"({kind.damage}); echo mine >all")
    action, message = enclosure.told((yield "sync"))
    assert (action, f"repoman restore {kind.name} --objects" in message) == ("failed", True), message
    world.restore(kind.name, objects=True)
    assert {status for _what, status, _lines in enclosure.verdicts(enclosure.unit)} == {0}
    assert (enclosure.unit / "all").read_text() == "mine\n"
    action, message = enclosure.told((yield "sync"))
    assert action in {"synced", "unchanged"}, message


MENDING = [kind for kind in damages.KINDS if kind.mends]


@pytest.fixture(scope="module")
def mended_homes(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    """The homes of damaged repositories that can be repaired."""
    return Homes(lambda: tmp_path_factory.mktemp("mended"), MENDING, mended)


@pytest.mark.parametrize("kind", cases(MENDING, "mended", "xfail_mended"))
def test_damage_is_mended(kind: Damage, mended_homes: Homes, request: pytest.FixtureRequest) -> None:
    """What the hint says puts the damaged objects back, and nothing else; then all is well."""
    mended_homes.see(kind, selected(request))


COMMANDED = [kind for kind in KINDS if kind.name in {"git", "git-submodule-nested", "hg-share", "names-with-a-dash", "hard-links"}]


def commanded(enclosure: Enclosure) -> Life:
    """Back a kind up, lose it and restore it, all by the command."""
    name, world = enclosure.kind.name, enclosure.world
    registry = world.root / ".config/repoman/repoman.toml"
    registry.parent.mkdir(parents=True, exist_ok=True)
    registry.write_text(world.registry.read_text())
    enclosure.shell(enclosure.kind.build)
    done = yield "repoman sync --init --allow-local"
    assert done.returncode == 0, done.stdout + done.stderr
    yield from is_mirrored(enclosure)
    yield "copy before"
    remove_tree(enclosure.unit)
    done = yield "repoman sync"
    assert done.returncode == 4
    assert name in done.stdout + done.stderr
    done = repoman(world, "restore", "--", name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (yield "compare before repos -AX") == []
    done = yield "repoman sync --verify"
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def commanded_homes(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    """The home whose repositories the command backs up."""
    return Homes(lambda: tmp_path_factory.mktemp("commanded"), COMMANDED, commanded)


@pytest.mark.parametrize("kind", cases(COMMANDED, "commanded"))
def test_a_kind_by_the_command(kind: Kind, commanded_homes: Homes, request: pytest.FixtureRequest) -> None:
    """What a person types does the same."""
    commanded_homes.see(kind, selected(request))
