# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup with ``sync``, and its alternatives: rsync, and programs that people use for backups."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.contenders import Borg, Contender, Ours, Rclone, Restic, Rsync
from bench.latency import NEEDS, SlowDirectory, slow_directory
from bench.machine import VERSIONS
from bench.pairs import Pair, Round, Row, Series, contest
from bench.worlds import Bench

REPOSITORIES, FEW = 200, 20
PHASES = {"first": "first copy", "unchanged": "unchanged", "changed": "1 % changed"}
TOOLS = (Restic, Borg, Rclone)
RSYNC = "rsync -a --delete"
LOCAL = (
    f"{REPOSITORIES} generated git repositories with 89 000 entries on one disk, each program with a separate target: the first copy,"
    " a second run, and a third run after 1 % of the files changed. Earlier writes are flushed to the disk before each run."
)
BEST = (
    f"{LOCAL} The alternative is the quickest of restic (init and backup), borg (init --encryption none and create) and rclone"
    " (sync --links), with their defaults."
)
SLOW = (
    "The same trees, and targets on a file system on which every operation takes 0.5 ms more. The first copy is that of"
    f" {FEW} repositories, because rsync would take many minutes for all."
)
REAL = "The repositories in the directory that was named, which is only read; the targets are temporary."


def rows_of(
    kind: str, alternative: str, how: str, marks: tuple[float | None, ...], phases: Collection[str] = tuple(PHASES)
) -> tuple[Row, ...]:
    """Return the rows of a kind of target, one for each phase."""
    return tuple(
        Row(f"sync.{kind}.{phase}", f"repoman sync, {PHASES[phase]}", alternative, how, mark)
        for phase, mark in zip(phases, marks, strict=True)
    )


RSYNC_ROWS = rows_of("rsync", RSYNC, LOCAL, (1.15, 0.8, 1.2))
BEST_ROWS = rows_of("best", "best of restic, borg, rclone", BEST, (1.0, 0.8, 1.0))
SLOW_ROWS = rows_of("latency", RSYNC, SLOW, (0.12, 0.03, 0.06))
TREE_ROWS = rows_of("tree", RSYNC, REAL, (1.15, 0.8), ("first", "unchanged"))


def race(contenders: Collection[Contender], number: int) -> dict[str, float]:
    """Run each contender once, after what was written before has reached the disk; return seconds by name."""

    def settled(contender: Contender) -> Callable[[], float]:
        def run() -> float:
            os.sync()
            return contender.run()

        return run

    return contest({each.name: settled(each) for each in contenders}, number)


def warm_up(bench: Bench, kinds: Collection[type[Contender]]) -> None:
    """Run each program once without a task: what the disk then holds in memory must not depend on who begins the first round."""
    world = bench.world("none")
    for kind in kinds:
        bench.run(world, *(VERSIONS.get(kind.name) or (kind.name, "--version")))


def pairs_of(took: dict[str, float], phase: str) -> dict[str, Pair]:
    """Return the pairs of a phase: with rsync, and with the best of the backup programs if they ran."""
    best = [seconds for name, seconds in took.items() if name not in {Ours.name, Rsync.name}]
    pairs = {f"sync.rsync.{phase}": (took[Ours.name], took[Rsync.name])} if Rsync.name in took else {}
    return pairs | ({f"sync.best.{phase}": (took[Ours.name], min(best))} if best else {})


@contextmanager
def open_local(bench: Bench) -> Iterator[Round]:
    """Make the trees."""
    source = bench.source
    warm_up(bench, (Ours, Rsync, *TOOLS))

    def measure(number: int, wanted: Collection[str]) -> dict[str, Pair]:
        kinds: list[type[Contender]] = [Ours]
        kinds += [Rsync] if any(key.startswith("sync.rsync") for key in wanted) else []
        kinds += TOOLS if any(key.startswith("sync.best") for key in wanted) else ()
        contenders = [kind(bench, source, bench.fresh_directory(kind.name)) for kind in kinds]
        found: dict[str, Pair] = {}
        for phase in PHASES:
            if phase == "changed":
                bench.change(source)
            found |= pairs_of(race(contenders, number), phase)
        return found

    yield measure


@contextmanager
def open_latency(bench: Bench) -> Iterator[Round]:
    """Make the trees, and mount a directory for the targets."""
    warm_up(bench, (Ours, Rsync))
    source, few = bench.source, bench.place / "few"
    bench.trees("build", few, FEW)

    def contenders(slow: SlowDirectory, name: str, of: Path) -> list[Contender]:
        targets = [bench.make_directory(slow.path / f"{name}-{kind}") for kind in ("ours", "rsync")]
        return [Ours(bench, of, targets[0]), Rsync(bench, of, targets[1])]

    def measure(number: int, wanted: Collection[str]) -> dict[str, Pair]:
        found: dict[str, Pair] = {}
        with slow_directory(bench) as slow:
            if "sync.latency.first" in wanted:
                found["sync.latency.first"] = pair_of(race(contenders(slow, "few", few), number))
            if set(wanted) - {"sync.latency.first"}:
                both = contenders(slow, "all", source)
                with slow.fast():
                    race(both, number)
                found["sync.latency.unchanged"] = pair_of(race(both, number))
                bench.change(source)
                found["sync.latency.changed"] = pair_of(race(both, number))
        return found

    yield measure


def pair_of(took: dict[str, float]) -> Pair:
    """Return ours and rsync's."""
    return took[Ours.name], took[Rsync.name]


@contextmanager
def open_tree(bench: Bench) -> Iterator[Round]:
    """Use a tree of the person's."""
    source = bench.options.tree.expanduser().resolve()
    warm_up(bench, (Ours, Rsync))

    def measure(number: int, _wanted: Collection[str]) -> dict[str, Pair]:
        contenders = [kind(bench, source, bench.fresh_directory(kind.name)) for kind in (Ours, Rsync)]
        return {f"sync.tree.{phase}": pair_of(race(contenders, number)) for phase in ("first", "unchanged")}

    yield measure


SERIES = (
    Series("Backup on one disk", (*RSYNC_ROWS, *BEST_ROWS), open_local, least=2, most=5, needs=("rsync", *(each.name for each in TOOLS))),
    Series("Backup of a tree of your own", TREE_ROWS, open_tree, least=3, most=5, flag="tree", needs=("rsync",)),
    Series("Backup over a slow file system", SLOW_ROWS, open_latency, least=2, most=3, needs=("rsync", *NEEDS)),
)
