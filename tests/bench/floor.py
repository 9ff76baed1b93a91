# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the time of ``list`` divides into parts, and how long Ansible itself takes to start.

Python tells a hook, loaded before anything else, about each import, fork and connection; the hook writes down when. Nothing of the product
is changed or known, except the names of packages.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from world import World

from bench.report import Table
from bench.worlds import Bench

HOOK = """\
import os, sys, time

def record():
    fd = os.open(os.environ["BENCH_EVENTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(text):
        os.write(fd, f"{time.perf_counter()} {os.getpid()} {text}\\n".encode())

    def hook(event, arguments):
        if event == "import" and arguments[0].startswith(("ansible", "repoman")):
            write(f"import {arguments[0]}")
        elif event in ("os.fork", "socket.connect"):
            write(event)

    write("python")
    sys.addaudithook(hook)

record()
"""
RUNS = 5
COLLECTION = "import ansible_collections.homelab.repoman.plugins.module"
ANSIBLE = "import ansible."
IMPORTS = "from ansible.cli.playbook import PlaybookCLI; from ansible.executor import playbook_executor, task_queue_manager"
ABOUT = (
    f"Medians of {RUNS} runs of repoman list, in milliseconds. A hook of Python's writes down when imports, forks and connections happen,"
    " which makes the run a little slower. A part that this version does not have is left out."
)
ABOUT_FLOOR = (
    f"Medians of {RUNS} runs, in milliseconds. What Python, the imports of Ansible and a play without tasks take is not repoman's; an"
    " ordinary ansible-playbook cannot be quicker."
)


@dataclass(frozen=True)
class Event:
    """Something that happened. :param at: seconds, on the clock of ``perf_counter``. :param process: its number."""

    at: float
    process: int
    what: str


def events(text: str) -> list[Event]:
    """Return the events of a file that the hook wrote."""
    parts = (line.split(" ", 2) for line in text.splitlines())
    return [Event(float(at), int(process), what) for at, process, what in parts]


def phases(found: Sequence[Event], began: float, ended: float) -> dict[str, float]:
    """Return how many seconds each part of a run took, in their order.

    A part ends with an event, the first of its kind. Its time is the time since the part before it. If the event did not happen, or not
    later than that, the part is left out.
    """
    ends = {
        "python starts": _first(found, "python"),
        "repoman, up to its first import of ansible": _first(found, ANSIBLE),
        "ansible: imports, settings, playbook, plugins": _first(found, COLLECTION),
        "imports of the collection, up to the worker": _first(found, "os.fork"),
        "up to the connection to Incus": _first(found, "socket.connect"),
        "Incus answers, the result is printed, all ends": ended,
    }
    took, last = {}, began
    for name, at in ends.items():
        if at is not None and at > last:
            took[name], last = at - last, at
    return took


def _first(found: Iterable[Event], what: str) -> float | None:
    """Return when something happened for the first time. :param what: how its text begins."""
    return next((each.at for each in found if each.what.startswith(what)), None)


def observed(bench: Bench, world: World, number: int) -> dict[str, float]:
    """Run ``list`` with the hook; return its parts."""
    hook = world.write(world.home / "hook/sitecustomize.py", HOOK)
    record = world.home / f"events{number}"
    began = time.perf_counter()
    run = bench.run(world, "repoman", "list", PYTHONPATH=str(hook.parent), BENCH_EVENTS=str(record))
    return phases(events(record.read_text()), began, began + run.seconds)


def median_table(title: str, about: str, runs: Sequence[dict[str, float]]) -> Table:
    """Return a table with the medians of several runs, and their sum."""
    medians = {name: statistics.median(run[name] for run in runs if name in run) for name in runs[0]}
    whole = sum(medians.values())
    rows = [["part", "ms", "share"], *([name, f"{each * 1000:.0f}", f"{each / whole:.0%}"] for name, each in medians.items())]
    return Table(title, about, [*rows, ["all", f"{whole * 1000:.0f}", "100%"]])


def tables(bench: Bench) -> Iterator[Table]:
    """Yield the table of start-up times, and the table of the parts of ``list``."""
    world = bench.main
    python = str(bench.bin_dir / "python")
    commands = {
        "python that does nothing": (python, "-c", "pass"),
        "python with the imports of ansible-playbook": (python, "-c", IMPORTS),
        "ansible-playbook, a play without tasks": bench.playbook(world, "[]"),
        "ansible-playbook, one ping": bench.playbook(world),
        "repoman list": ("repoman", "list"),
    }
    runs: dict[str, list[float]] = {name: [] for name in commands}
    parts = []
    for number in range(RUNS + 1):
        for name, command in commands.items():
            runs[name].append(bench.run(world, *command).seconds)
        parts.append(observed(bench, world, number))
    medians = [[name, f"{statistics.median(each[1:]) * 1000:.0f}"] for name, each in runs.items()]
    yield Table("The floor: what Ansible takes", ABOUT_FLOOR, [["command", "ms"], *medians])
    yield median_table("The parts of repoman list", ABOUT, parts[1:])
