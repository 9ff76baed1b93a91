# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same commands for minutes, with hundreds of projects: nothing grows, and nothing is left."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from invariants import leftovers, problems
from world import World

SECONDS = int(os.environ.get("REPOMAN_SOAK", "0"))
PROJECTS = int(os.environ.get("REPOMAN_SOAK_PROJECTS", "500"))
ROUND = [["list"], ["status"], ["sync"], ["start", "p0"], ["stop", "p0"], ["shell", "p1", "--", "true"], ["profile", "list"]]
GROWTH = 1.1
"""Memory of the last third of the commands, in relation to the first."""
SLOWDOWN = 2.0
"""The same for times: other work on the machine slows some of them down."""
DAEMON_FDS = 20
"""Open files of the daemon that come and go."""
DAEMON_GROWTH = 1.25
"""Smallest memory of the daemon in the last third of the rounds, in relation to the first: its garbage collector lets it vary."""


def furnish(world: World) -> Path:
    """Make many projects with stopped containers, quickly: as copies of one that repoman made; one of them runs."""
    target = world.mkdir(world.home / "backup")
    world.write(world.registry, world.registry.read_text().replace('"/nfs/repos"', f'"{target}"'))
    world.git_repository("p0")
    world.new("p0")
    made = world.instances()["p0"]
    names = [f"p{number}" for number in range(1, PROJECTS)]
    text = world.registry.read_text()
    for name in names:
        path = world.repos / name
        marks = {key: value.replace(f"{world.repos}/p0", str(path)) for key, value in made["config"].items() if key.startswith("user.")}
        devices = {key: {**each, "source": str(path), "path": str(path)} for key, each in made["devices"].items() if key == "repo"}
        body = {"config": marks | {"user.repoman.project": name}, "devices": devices, "source": {"type": "image", "alias": "busybox"}}
        subprocess.run(["cp", "-a", world.repos / "p0", path], check=True)
        world.api("POST", "/1.0/instances?project=repoman", {"name": name, "profiles": made["profiles"]} | body)
        text += f'\n[[project]]\nname = "{name}"\n'
    world.write(world.registry, text)
    world.new("p1")
    assert world.module("sync", init=True, allow_local=True)["changed"]
    return target


def held(world: World) -> dict[str, Any]:
    """Return what a command must not leave behind."""
    pid = world.api("GET", "/1.0")["environment"]["server_pid"]
    operations = world.api("GET", "/1.0/operations?all-projects=true")
    places = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))
    files = [str(path) for place in places for path in place.iterdir() if path.lstat().st_uid == world.me.uid and path != world.home]
    processes = subprocess.run(["pgrep", "-c", "-U", str(world.me.uid)], capture_output=True, text=True, check=False).stdout
    return {
        "operations": {
            state: each for state, each in operations.items() if state not in {"success", "failure", "cancelled"}
        },  # Incus keeps them for 5 s
        "files": sorted(files),
        "ansible": sorted(str(path) for path in (world.home / ".ansible/tmp").glob("*")),
        "processes": int(processes),
        "mounts": Path("/proc/self/mountinfo").read_text().count(str(world.home)),
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "state": len(list((world.home / ".local/state/repoman").rglob("*"))),
    }


def daemon_memory(world: World) -> int:
    """Return the memory of Incus in kB."""
    pid = world.api("GET", "/1.0")["environment"]["server_pid"]
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])


def timed(world: World, verb: list[str]) -> tuple[float, int]:
    """Run a command; return its seconds and its peak memory in kB."""
    start = time.monotonic()
    command = world.me.command(["repoman", *verb], world.env())
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=world.home)
    assert process.stderr
    errors = process.stderr.read().decode()
    _pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    assert process.returncode == 0, (verb, errors)
    return time.monotonic() - start, usage.ru_maxrss


@pytest.mark.skipif(not SECONDS, reason="takes minutes: make test-long")
def test_soak(ready: World) -> None:
    """Memory and time of each verb stay what they were, and no operation, file, process, mount or descriptor is left."""
    target = furnish(ready)
    for verb in ROUND:
        timed(ready, verb)
    before, deadline = held(ready), time.monotonic() + SECONDS
    figures: dict[str, list[tuple[float, int]]] = {verb[0]: [] for verb in ROUND}
    memory = []
    while time.monotonic() < deadline:
        ready.write(ready.repos / "p2/file", f"{time.monotonic()}\n")
        for verb in ROUND:
            figures[verb[0]].append(timed(ready, verb))
        memory.append(daemon_memory(ready))
    after = held(ready)
    grown, report = {}, []
    for verb, runs in figures.items():
        third = max(1, len(runs) // 3)
        first, last = ([statistics.median(run[at] for run in part) for at in (0, 1)] for part in (runs[:third], runs[-third:]))
        report.append(
            f"{verb:8} {len(runs):4} runs  {first[0]:.2f} s, then {last[0]:.2f} s  {first[1] / 1024:.0f} MB, then {last[1] / 1024:.0f} MB"
        )
        if last[1] > first[1] * GROWTH or (len(runs) >= 9 and last[0] > first[0] * SLOWDOWN):
            grown[verb] = (first, last)
    report.append(f"incusd   {' '.join(str(each >> 10) for each in memory)} MB")
    sys.stdout.write("\n".join([*report, json.dumps({"before": before, "after": after}), ""]))
    assert not grown, grown
    states = [each.pop("state") for each in (before, after)]
    descriptors = [each.pop("descriptors") for each in (before, after)]
    assert before == after
    assert descriptors[1] <= descriptors[0] + DAEMON_FDS, descriptors
    third = max(1, len(memory) // 3)
    assert min(memory[-third:]) <= min(memory[:third]) * DAEMON_GROWTH, memory
    assert states[1] <= states[0] + 60, states  # logs of the last 50 runs
    assert not [*problems(ready, target if PROJECTS < 20 else None), *leftovers(ready, target)]
