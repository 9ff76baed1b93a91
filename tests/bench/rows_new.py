# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new container, and its alternative: ``incus launch`` of the same image."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager

from bench.pairs import Pair, Round, Row, Series, contest
from bench.worlds import Bench

IMAGES = {"busybox": (5, 12), "debian": (3, 6)}
"""Image, and number of rounds: at least, at most."""
HOW = (
    "The time of repoman new, minus the time of a second run that has nothing to do; the alternative is incus launch of the same image in the same"
    " Incus project. The containers are deleted after each run; that time does not count."
)


def row_of(image: str) -> Row:
    """Return the row of an image."""
    return Row(f"new.{image}", f"repoman new, {image}", "incus launch", HOW, 1.3)


def opener(image: str) -> Callable[[Bench], AbstractContextManager[Round]]:
    """Return what prepares the row of an image."""

    @contextmanager
    def open_new(bench: Bench) -> Iterator[Round]:
        world = bench.main
        world.git_repository("fresh")
        new = ("repoman", "new", "fresh", "--image", image)

        def ours() -> float:
            made = bench.run(world, *new).seconds
            again = bench.run(world, *new).seconds
            world.repoman("remove", "--yes", "fresh")
            return made - again

        def alternative() -> float:
            took = bench.run(world, "incus", "launch", image, "launched", "--project", "repoman").seconds
            world.incus("delete", "--force", "--project", "repoman", "launched")
            return took

        def measure(number: int, _wanted: Collection[str]) -> dict[str, Pair]:
            took = contest({"ours": ours, "alternative": alternative}, number)
            return {row_of(image).key: (took["ours"], took["alternative"])}

        alternative()  # Incus unpacks an image when it is used for the first time
        ours()
        yield measure

    return open_new


SERIES = tuple(Series(f"A new container, {image}", (row_of(image),), opener(image), least, most) for image, (least, most) in IMAGES.items())
