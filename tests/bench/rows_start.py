# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that are over at once: reading verbs, help, completion, a shell."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from bench.pairs import Pair, Round, Row, Series, Side, contest
from bench.worlds import Bench

PING = "ansible-playbook, one ping"
READING = (
    "A playbook with the one task ansible.builtin.ping on this machine, run by the ansible-playbook of the same environment."
    " It runs twice among the commands of a round, and the mean of both is what each is compared with."
)
HELP = f"{READING} The command only prints."
COMMANDS = {
    "list": ("list",),
    "profile-list": ("profile", "list"),
    "profile-show": ("profile", "show", "dotfiles"),
    "profile-diff": ("profile", "diff", "dotfiles"),
    "help": ("--help",),
    "completion": ("completion", "--complete", "bash", "--", " \t\n\"'><=;|&(:", "repoman shell d"),
    "shell": ("shell", "demo", "true"),
}
TITLES = {"completion": "a TAB in bash"}
MARKS = {"help": 0.08, "completion": 0.08, "shell": 0.25}
ROWS = tuple(
    Row(
        f"start.{name}",
        TITLES.get(name) or f"repoman {' '.join(argv)}",
        PING,
        HELP if MARKS.get(name) == MARKS["help"] else READING,
        MARKS.get(name, 0.5),
    )
    for name, argv in COMMANDS.items()
)
EXEC = Row(
    "start.exec",
    "repoman shell demo true",
    "incus exec demo -- true",
    "The same program in the same running container, started by the incus client of the same user.",
    4,
)


def with_the_same_alternative(sides: Mapping[str, Side], alternative: Side, number: int) -> dict[str, Pair]:
    """Measure several commands with the same alternative, which runs twice among them; return the pairs with its mean.

    The load of the machine changes during a round, so a single run of the alternative would not fit most of them.
    """
    names = list(sides)
    half = len(names) // 2
    first, second = ({name: sides[name] for name in part} for part in (names[:half], names[half:]))
    took = contest({"alternative": alternative, **first, "alternative again": alternative, **second}, number)
    mean = (took["alternative"] + took["alternative again"]) / 2
    return {name: (took[name], mean) for name in names}


@contextmanager
def open_start(bench: Bench) -> Iterator[Round]:
    """Prepare a home with three profiles and one running container."""
    world = bench.main
    ping = bench.side(world, *bench.playbook(world))
    for argv in COMMANDS.values():
        bench.run(world, "repoman", *argv)
    ping()

    def measure(number: int, wanted: Collection[str]) -> dict[str, Pair]:
        sides = {row.key: bench.side(world, "repoman", *COMMANDS[row.key.removeprefix("start.")]) for row in ROWS if row.key in wanted}
        return with_the_same_alternative(sides, ping, number)

    yield measure


@contextmanager
def open_exec(bench: Bench) -> Iterator[Round]:
    """Prepare the same."""
    world = bench.main
    ours = bench.side(world, "repoman", "shell", "demo", "true")
    alternative = bench.side(world, "incus", "exec", "--project", "repoman", "demo", "--", "true")
    ours()
    alternative()

    def measure(number: int, _wanted: Collection[str]) -> dict[str, Pair]:
        took = contest({"ours": ours, "alternative": alternative}, number)
        return {EXEC.key: (took["ours"], took["alternative"])}

    yield measure


SERIES = (
    Series("Start-up", ROWS, open_start, least=9, most=25),
    Series("A command in a running container", (EXEC,), open_exec, least=9, most=25),
)
