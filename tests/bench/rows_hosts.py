# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same verb on many hosts of an inventory."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import private_incus
from world import World

from bench.pairs import Pair, Round, Row, Series, contest
from bench.worlds import LIBRARY, Bench, BenchError

COUNTS, FORKS, PROFILES = (2, 8, 32), 4, 3
CONNECTION = Path(__file__).parent / "slow_connection.py"
HOW = (
    "An inventory of hosts that are all this machine, reached by a connection on which each operation takes 50 ms more; each has a registry"
    f" and {PROFILES} templates that no other host has, none installed, and one run of the module. With --forks {FORKS}."
)
TIME = f"the time, with --forks {FORKS}"
TIMES = {count: Row(f"hosts.{count}", f"install --all, {count} hosts", TIME, HOW, unit="s") for count in COUNTS}
EACH = {count: Row(f"hosts.{count}.each", f"for each of {count} hosts", TIME, HOW, unit="s") for count in COUNTS}
GROWTH = Row(
    "hosts.growth",
    "each turn of 32 hosts more",
    "each turn of 8 hosts more",
    f"With --forks {FORKS}, so many hosts have their turn at once: 2 hosts take 1 turn, 8 take 2, 32 take 8. The time for each turn more than 1:"
    " both less the time of the run with 2 hosts, so that the start, which all have, hides no growth.",
    1.2,
)
STARTED = "module: profiles.run with options"


class Hosts:
    """The hosts, all with one Incus.

    :param world: the controller, which is also each of them.
    """

    def __init__(self, bench: Bench, world: World) -> None:
        self.bench, self.world = bench, world
        self.plugins = world.write(world.home / "connection/slow_connection.py", CONNECTION.read_text()).parent
        self.empty = world.mkdir(world.home / "empty")
        for number in range(max(COUNTS)):
            for profile in range(PROFILES):
                world.write(self._place(number) / f"profiles.d/h{number:02}-{profile}.yml", LIBRARY.format(number=profile))
            world.write(self._place(number) / "repoman.toml", "[repoman]\nschema = 3\n")

    def _place(self, number: int) -> Path:
        return self.world.home / f"hosts/{number:02}"

    def inventory(self, count: int) -> str:
        """Write the inventory of the first hosts; return its path."""
        hosts = {
            f"host{number:02}": {
                "ansible_connection": "slow_connection",
                "ansible_python_interpreter": str(self.bench.bin_dir / "python"),
                "repoman_registry_path": str(self._place(number) / "repoman.toml"),
                "repoman_user_dir": str(self._place(number) / "profiles.d"),
                "repoman_vendor_dir": str(self.empty),
                "repoman_socket": self.world.socket,
            }
            for number in range(count)
        }
        return str(self.world.write(self.world.home / f"hosts{count}.json", json.dumps({"all": {"hosts": hosts}})))

    def install(self, count: int, **more: Any) -> float:
        """Remove all profiles, and install them on the first hosts; return the seconds."""
        for name in self.world.profiles():
            if name.startswith("h"):
                self.world.api("DELETE", f"/1.0/profiles/{name}?project=default")
        command = ("repoman", "-i", self.inventory(count), "--forks", str(FORKS), "profile", "install", "--all")
        took = self.bench.run(self.world, *command, ANSIBLE_CONNECTION_PLUGINS=str(self.plugins), **more).seconds
        if (installed := len(self.world.profiles()) - 1) != count * PROFILES:
            raise BenchError(f"{installed} profiles are there after an installation on {count} hosts")
        return took

    def count_runs(self, count: int) -> None:
        """Make sure that the module runs once a host."""
        trace = self.world.home / f"trace{count}"
        self.install(count, REPOMAN_LOG=str(trace))
        runs = trace.read_text().count(STARTED)
        if runs != count:
            raise BenchError(f"the module ran {runs} times on {count} hosts")


def growth(took: Mapping[int, float]) -> Pair:
    """Return the time for each turn more, of most hosts and of fewer, from the seconds by number of hosts."""
    few, middle, most = COUNTS
    return (took[most] - took[few]) / (_turns(most) - _turns(few)), (took[middle] - took[few]) / (_turns(middle) - _turns(few))


def _turns(hosts: int) -> int:
    return math.ceil(hosts / FORKS)


@contextmanager
def open_hosts(bench: Bench) -> Iterator[Round]:
    """Prepare the hosts."""
    with private_incus(" ") as socket:
        hosts = Hosts(bench, bench.set_up(socket))
        hosts.count_runs(COUNTS[1])

        def measure(number: int, _wanted: Collection[str]) -> dict[str, Pair]:
            took = contest({str(count): lambda count=count: hosts.install(count) for count in COUNTS}, number)  # type: ignore[misc]
            values = {TIMES[count].key: (took[str(count)], 1.0) for count in COUNTS}
            values |= {EACH[count].key: (took[str(count)] / count, 1.0) for count in COUNTS}
            return values | {GROWTH.key: growth({count: took[str(count)] for count in COUNTS})}

        yield measure


SERIES = (Series("Many hosts", (*TIMES.values(), *EACH.values(), GROWTH), open_hosts, least=2, most=5),)
