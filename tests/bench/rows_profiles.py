# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many profiles: installing 200 of them, and listing them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from lab import private_incus
from world import World

from bench.pairs import Pair, Round, Row, Series, contest
from bench.worlds import COLLECTION, LIBRARY, Bench

MANY, FEW, MORE = 200, 10, 30
INSTALL = Row(
    "install.client",
    f"profile install --all, {MANY} new",
    "incus client in a loop",
    "A library of 200 templates beside those of the vendor, none installed; the alternative is incus profile create and edit <FILE for each in sh, "
    "a loop that can be run again, as ours can.",
    0.10,
)
MODULE = Row(
    "install.module",
    "the same",
    "lxd_profile in a loop",
    f"community.general.lxd_profile in a loop of {FEW} and in one of {MORE}, with the socket of Incus as its url: the time of the first, and"
    f" what the difference gives for each of the {MANY - FEW} other profiles. So the start of ansible-playbook counts once, as in ours.",
    0.10,
)
LIST = Row(
    "profiles.list",
    f"profile list, {MANY} installed",
    "the same, 3 installed",
    "The same command in two homes, each with a separate Incus.",
    1.2,
)
LOOP = """for file in "$1"/*.yml; do
    name=${file##*/} name=${name%.yml}
    incus profile create -q "$name" 2>/dev/null
    incus profile edit "$name" <"$file" || exit
done"""


def write_library(world: World, count: int) -> None:
    """Write templates p000, p001 and so on."""
    for number in range(count):
        world.template(f"p{number:03}", LIBRARY.format(number=number))


def remove_profiles(world: World) -> None:
    """Delete those that were installed from the library."""
    for name in world.profiles():
        if name.startswith("p"):
            world.api("DELETE", f"/1.0/profiles/{name}?project=default")


def all_in_a_loop(few: float, more: float) -> float:
    """Return what a loop of all profiles takes, from the times of two shorter loops: the start counts once."""
    return few + (more - few) / (MORE - FEW) * (MANY - FEW)


def module_command(bench: Bench, world: World, count: int) -> list[str]:
    """Return the command that makes the first profiles with the module of community.general."""
    collection = world.mkdir(world.home / ".ansible/collections/ansible_collections/community") / "general"
    if not collection.exists():  # where the user can read it, also if nobody else may read the checkout
        shutil.copytree(bench.collections / "community/general", collection)
    profile = {"name": "{{ item }}", "config": {"environment.NUMBER": "1"}, "description": "profile", "url": f"unix:{world.socket}"}
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": str(bench.bin_dir / "python")},
        "tasks": [{"community.general.lxd_profile": profile, "loop": [f"p{number:03}" for number in range(count)]}],
    }
    return ["ansible-playbook", str(world.write(world.home / f"module{count}.yml", json.dumps([play])))]


@contextmanager
def open_install(bench: Bench) -> Iterator[Round]:
    """Prepare a library."""
    with private_incus(" ") as socket:
        world = bench.set_up(socket)
        write_library(world, MANY)

        def fresh(*argv: str) -> float:
            remove_profiles(world)
            return bench.run(world, *argv).seconds

        sides = {
            "ours": lambda: fresh("repoman", "profile", "install", "--all"),
            INSTALL.key: lambda: fresh("sh", "-c", LOOP, "sh", str(world.user_dir)),
        }

        def measure(number: int, wanted: Collection[str]) -> dict[str, Pair]:
            chosen = {name: side for name, side in sides.items() if name == "ours" or name in wanted}
            if MODULE.key in wanted:
                chosen[MODULE.key] = lambda: all_in_a_loop(*(fresh(*command) for command in modules))
            took = contest(chosen, number)
            return {key: (took["ours"], took[key]) for key in chosen if key != "ours"}

        bench.run(world, "repoman", "profile", "install", "--all")
        bench.run(world, "incus", "--version")
        modules = [module_command(bench, world, count) for count in (FEW, MORE)]
        fresh(*modules[0])
        yield measure


@contextmanager
def open_list(bench: Bench) -> Iterator[Round]:
    """Prepare two homes."""
    with private_incus(" ") as socket:
        many = bench.set_up(socket)
        write_library(many, MANY)
        many.repoman("profile", "install", "--all")
        sides = {"many": bench.side(many, "repoman", "profile", "list"), "few": bench.side(bench.main, "repoman", "profile", "list")}
        contest(sides, 0)

        def measure(number: int, _wanted: Collection[str]) -> dict[str, Pair]:
            took = contest(sides, number)
            return {LIST.key: (took["many"], took["few"])}

        yield measure


SERIES = (
    Series(f"Installing {MANY} profiles", (INSTALL, MODULE), open_install, least=2, most=6, needs=(COLLECTION,)),
    Series("Many profiles and few", (LIST,), open_list, least=9, most=25),
)
