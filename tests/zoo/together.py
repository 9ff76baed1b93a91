# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds that live in one home: each run of the engine serves all of them, and each kind has a verdict of its own.

A run costs more than the work on one small unit. A life is a generator: it yields the name of what all kinds of the home need next,
and gets the answer. A life that raises has failed; all others continue.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from backup_fixture import BackupHome
from zoo.enclosure import Enclosure, copy_trees, remove_tree, trees_differences
from zoo.kind import Damage, Kind

Life = Generator[str, Any, None]
HOME_SIZE = 12
"""Kinds in one home: a process of pytest-xdist runs all of them, so that homes which are too large leave processors idle."""
MAX_RUNS = 20


def homes(kinds: Sequence[Kind] | Sequence[Damage]) -> dict[str, int]:
    """Return the number of each kind's home; neighbours in the table, which are alike, are in different homes."""
    together = [kind for kind in kinds if not lives_alone(kind)]
    alone = [kind for kind in kinds if lives_alone(kind)]
    count = -(-len(together) // HOME_SIZE)
    numbers = {kind.name: number % count for number, kind in enumerate(together)}
    return numbers | {kind.name: count + number for number, kind in enumerate(alone)}


def lives_alone(kind: Kind | Damage) -> bool:
    """Return whether a kind needs a home of its own: a mount is a warning of the whole run, and rsync may give up on very long paths."""
    return isinstance(kind, Kind) and (bool(kind.left_out) or kind.name == "very-deep")


def repoman(world: BackupHome, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as its user does."""
    places = os.pathsep.join(path for path in sys.path if path)
    environment = {"PATH": os.environ["PATH"], "HOME": str(world.root), "USER": "alice", "LANG": "C.UTF-8", "PYTHONPATH": places}
    return subprocess.run(
        [sys.executable, "-m", "repoman", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd=world.root,
        env=environment,
    )


class Together:
    """A home with several kinds, and what their lives have in common.

    :param base: an empty directory.
    """

    def __init__(self, base: Path, kinds: Iterable[Kind] | Iterable[Damage]) -> None:
        self.base, self.world = base, BackupHome(base)
        self.enclosures = {kind.name: Enclosure(self.world, kind) for kind in kinds}

    def outcomes(self, life: Callable[[Enclosure], Life]) -> dict[str, BaseException | None]:
        """Live each kind's life; return for each what it failed with."""
        lives = {name: life(enclosure) for name, enclosure in self.enclosures.items()}
        outcomes: dict[str, BaseException | None] = {}
        waiting: dict[str, str] = {}

        def go_on(name: str, step: Callable[[], str]) -> None:
            waiting.pop(name, None)
            try:
                waiting[name] = step()
            except StopIteration:
                outcomes[name] = None
            except (Exception, pytest.fail.Exception) as error:
                outcomes[name] = error

        for name, one in lives.items():
            go_on(name, partial(next, one))
        while waiting:
            (phase,) = set(waiting.values())
            try:
                answers = self.answers(phase, list(waiting))
            except Exception as error:
                for name in list(waiting):
                    go_on(name, partial(lives[name].throw, error))
            else:
                for name in list(waiting):
                    go_on(name, partial(lives[name].send, answers[name]))
        return outcomes

    def answers(self, phase: str, names: list[str]) -> Mapping[str, Any]:
        """Do what all of these kinds wait for: a run of the engine, or a tool that takes several trees at once."""
        if phase.startswith("copy "):
            copy_trees([self.enclosures[name].unit for name in names], self.base / phase.removeprefix("copy "))
            return dict.fromkeys(names)
        if phase.startswith("compare "):
            one, other, *options = phase.split()[1:]
            return self._differences(names, self.base / one, self.base / other, *options)
        if phase.startswith("repoman "):
            return dict.fromkeys(names, repoman(self.world, *phase.split()[1:]))
        runs: dict[str, Callable[[], Any]] = {
            "init": self.world.init,
            "sync": self.world.sync,
            "full": lambda: self.world.sync(full=True),
            "verify": lambda: self.world.sync(verify=True),
            "settle": lambda: self._settle(names),
        }
        return dict.fromkeys(names, runs[phase]())

    def _settle(self, names: list[str]) -> list[dict[str, Any]]:
        """Back up until nothing is copied any more; return the results of the runs."""
        results = []
        for _run in range(MAX_RUNS):
            results.append(self.world.sync())
            if all(self.enclosures[name].line(results[-1])["action"] != "synced" for name in names):
                break
        return results

    def _differences(self, names: list[str], one: Path, other: Path, *options: str) -> dict[str, list[str]]:
        """Let rsync say how trees of the same names differ in two directories."""
        differences: dict[str, list[str]] = {}
        for excludes, group in itertools.groupby(sorted(names, key=self._excludes), self._excludes):
            differences |= trees_differences(list(group), one, other, *options, *excludes)
        return differences

    def _excludes(self, name: str) -> list[str]:
        return self.enclosures[name].excludes()


class Homes:
    """The homes of one test function; each is lived in when the first of its kinds is wanted.

    :param life: returns the life of a kind.
    :param selected: names of the kinds that are tested.
    """

    def __init__(self, make: Callable[[], Path], kinds: Sequence[Kind] | Sequence[Damage], life: Callable[[Enclosure], Life]) -> None:
        self.make, self.kinds, self.life = make, kinds, life
        self.numbers = homes(kinds)
        self._outcomes: dict[str, BaseException | None] = {}

    def see(self, kind: Kind | Damage, selected: set[str]) -> None:
        """Raise what the life of a kind failed with.

        :param selected: names of the kinds whose tests run.
        """
        if kind.name not in self._outcomes:
            number = self.numbers[kind.name]
            kinds = [each for each in self.kinds if each.name in selected and self.numbers[each.name] == number]
            self._outcomes |= self._live(kinds)
        if error := self._outcomes[kind.name]:
            raise error

    def _live(self, kinds: Sequence[Kind | Damage]) -> dict[str, BaseException | None]:
        base = self.make()
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("HOME", str(base))
                patch.setenv("USER", "alice")
                together = Together(base, kinds)  # type: ignore[arg-type]
                try:
                    return together.outcomes(self.life)
                finally:
                    for enclosure in together.enclosures.values():
                        enclosure.end()
        finally:
            remove_tree(base)
