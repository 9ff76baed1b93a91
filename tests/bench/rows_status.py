# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``status`` of many repositories on a terminal: when the first line appears, and when the last one does."""

from __future__ import annotations

import errno
import os
import pty
import re
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from world import World

from bench.contenders import REGISTRY
from bench.pairs import Pair, Round, Row, Series, contest
from bench.processes import ended
from bench.worlds import ERRORS_SHOWN, Bench, BenchError

FIRST = Row(
    "status.first",
    "repoman status, first project",
    "ansible-playbook, one ping",
    "200 generated repositories, each with a project, on a terminal: the time until the first line that names one of them,"
    " in the page or in what is shown before it.",
    1.0,
)
END = Row(
    "status.end",
    "repoman status, to its end",
    "git status in a loop",
    "The same run until it ends; the alternative is git status --porcelain --branch in each of the 200 repositories.",
)
NAMES_A_PROJECT = re.compile(rb"repo\d{3}[^\n]*\n")
LOOP = 'for each in "$1"/*; do git -C "$each" status --porcelain --branch || exit; done'
CHUNK = 65536


def on_terminal(bench: Bench, world: World, *argv: str) -> tuple[float, float]:
    """Run a command on a terminal; return the seconds until a project is named, and until the end."""
    terminal, end = pty.openpty()
    try:
        process, began = bench.start(world, argv, end, None, {"REPOMAN_PAGER": "cat", "TERM": "xterm"}, output=end)
    finally:
        os.close(end)
    seen, first = b"", 0.0
    with ended(process), open(terminal, "rb", buffering=0) as screen:
        while True:
            try:
                part = screen.read(CHUNK)
            except OSError as error:
                if error.errno != errno.EIO:  # the error of Linux if no process has the other end any more
                    raise
                break
            seen += part
            if not first and NAMES_A_PROJECT.search(seen):
                first = time.perf_counter() - began
        code = process.wait()
        last = time.perf_counter() - began
    if code or not first:
        raise BenchError(f"{' '.join(argv)} ended with {code}, after it had printed: {seen[-ERRORS_SHOWN:].decode(errors='replace')}")
    return first, last


@contextmanager
def open_status(bench: Bench) -> Iterator[Round]:
    """Make the trees, and a registry with a project for each repository."""
    world, source = bench.world(), bench.source
    text = REGISTRY.format(source=source, target=bench.place / "no-backup", home=world.home)
    names = sorted(each.name for each in source.iterdir())
    world.write(world.registry, text + "".join(f'[[project]]\nname = "{name}"\nrepo = "{name}"\n' for name in names))
    ping = bench.side(world, *bench.playbook(world))
    git = bench.side(world, "sh", "-c", LOOP, "sh", str(source))
    last = (0.0, 0.0)

    def ours() -> float:
        nonlocal last
        last = on_terminal(bench, world, "repoman", "status")
        return last[1]

    def measure(number: int, wanted: Collection[str]) -> dict[str, Pair]:
        sides = {FIRST.key: ping, END.key: git}
        took = contest({"ours": ours} | {key: side for key, side in sides.items() if key in wanted}, number)
        return {key: (last[key == END.key], took[key]) for key in sides if key in took}

    ours()
    ping()
    bench.run(world, "git", "--version")
    yield measure


SERIES = (Series("Status of 200 repositories", (FIRST, END), open_status, least=3, most=9),)
