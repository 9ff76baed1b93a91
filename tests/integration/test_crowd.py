# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Twenty commands of all kinds at once, of one user, of root for this user, and of another user: each ends with a sentence, and nothing is broken."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from invariants import leftovers, problems, settles
from logic import Logic
from world import LAN_IP, TIMEOUT, Me, World, account, place_for

ROUNDS = int(os.environ.get("REPOMAN_ROUNDS", "1"))
SEED = os.environ.get("REPOMAN_SEED", "0")
TYPED, PROCESSES = 8, 4
"""Commands as typed, and modules of each of the three at once."""
NAMES = ["one", "two", "three", "four"]
CODES = {0, 1, 3, 4, 130}
VERBS = [
    ["new", "NAME", "--image", "busybox"], ["new", "--all"], ["start", "NAME"], ["stop", "NAME"], ["restart", "NAME"], ["remove", "NAME", "--yes"],
    ["shell", "NAME", "--", "true"], ["list"], ["list", "--git"], ["status"], ["status", "NAME"], ["doctor"], ["setup", "--non-interactive"],
    ["sync"], ["sync", "NAME"], ["sync", "--full"], ["sync", "--verify"], ["restore", "NAME"], ["restore", "NAME", "--overwrite"],
    ["restore", "--all"], ["restore", "--settings"], ["profile", "list"], ["profile", "install", "--all"], ["profile", "install", "mine"],
    ["profile", "remove", "mine"], ["profile", "copy", "llm-share"], ["sync", "--list-versions", "NAME"],
]  # fmt: skip
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("project", {"projects": [{"name": "NAME", "image": "busybox"}], "state": "started"}),
    ("project", {"projects": [{"name": name, "image": "busybox"} for name in NAMES], "state": "present"}),
    ("project", {"projects": [{"name": "NAME"}], "state": "stopped"}),
    ("project", {"projects": [{"name": "NAME"}], "state": "restarted", "create": False}),
    ("project", {"projects": [{"name": "NAME"}], "state": "absent"}),
    ("project_info", {"status": True, "vcs": True}),
    ("profile", {"all": True}),
    ("profile", {"names": ["mine"], "state": "absent"}),
    ("profile", {"names": ["dotfiles"], "state": "copied"}),
    ("profile_info", {}),
    ("registry", {}),
    ("registry", {"defaults": {"stale_after": "3d"}}),
    ("sync", {}),
    ("sync", {"names": ["NAME"]}),
    ("sync", {"verify": True}),
    ("restore", {"name": "NAME", "overwrite": True}),
    ("restore", {"all": True}),
    ("restore", {"settings": True}),
    ("restore", {"name": "NAME", "objects": True}),
]


class Person:
    """A user who runs commands.

    :param world: whose home, registry and target they use.
    :param params: of each of their modules.
    """

    def __init__(self, world: World, me: Me, params: dict[str, Any], stack: ExitStack) -> None:
        self.world, self.params = world, params
        self.home = stack.enter_context(place_for("repoman-r")) if me.uid == 0 else world.home
        self.logics = [stack.enter_context(Logic(me, world.bin_dir)) for _each in range(PROCESSES)]

    def call(self, number: int, module: str, params: dict[str, Any], check: bool = False) -> Any:
        """Run a module in one of the processes."""
        env = self.world.env(HOME=str(self.home))
        return self.logics[number].run(module, self.params | params, env=env, cwd=self.home, check=check).data


def filled(value: Any, name: str) -> Any:
    """Return a verb or options with a name in its place."""
    if isinstance(value, dict):
        return {key: filled(each, name) for key, each in value.items()}
    return [filled(each, name) for each in value] if isinstance(value, list) else name if value == "NAME" else value


def furnish(person: Person) -> Path:
    """Set up, with repositories, a template and a first backup; return the target."""
    world = person.world
    assert person.call(0, "registry", {})["changed"]
    target = world.mkdir(world.home / "backup")
    text = world.registry.read_text().replace('"/nfs/repos"', f'"{target}"').replace('lan_ip = ""', f'lan_ip = "{LAN_IP}"')
    world.write(world.registry, "# mine\n" + text)
    for name in NAMES:
        world.git_repository(name)
        world.write(world.repos / name / "file", f"{name} of {world.me.name}\n")
    world.template("mine", "name: mine\ndescription: Mine.\nconfig: {}\ndevices: {}\n")
    assert person.call(0, "sync", {"init": True, "allow_local": True})["changed"]
    return target


@pytest.fixture
def people(world: World, installation: Path) -> Iterator[list[Person]]:
    """A user; root, who works for this user; and another user. The first two share registry and target, all of them Incus."""
    if os.geteuid():
        pytest.skip("only root can make another account")
    with ExitStack() as stack:
        accounts = [stack.enter_context(account(mark)) for mark in "co"]
        one, other = (World(me, Path(me.home), installation, world.socket) for me in accounts)
        stack.callback(world.clean)  # while the accounts still exist
        yield [
            Person(one, one.me, {}, stack),
            Person(one, Me("root", 0, 0), {"user": one.me.name}, stack),
            Person(other, other.me, {}, stack),
        ]


def typed(world: World, verb: list[str]) -> str:
    """Run a command as typed; return what is wrong with how it ended."""
    with world.start("repoman", *verb) as process:
        try:
            out, err = (each.decode() for each in process.communicate(timeout=TIMEOUT))
        except subprocess.TimeoutExpired:
            process.kill()
            return f"{verb} hangs"
    said = any(line.startswith(("repoman: error: ", "repoman: ")) for line in err.splitlines()) or verb[0] in {"doctor", "status"}
    fine = process.returncode in CODES and "Traceback" not in out + err and (process.returncode == 0 or said)
    return "" if fine else f"{verb} of {world.me.name}: {process.returncode} {out} {err}"


def called(person: Person, number: int, module: str, params: dict[str, Any]) -> str:
    """Run a module; return what is wrong with how it ended."""
    result = person.call(number, module, params)
    for each in (result, *result.get("projects", ()), *result.get("units", ())):
        if each.get("failed") and not (each.get("exit_code") in CODES and each["msg"].endswith(".") and each.get("hints")):
            return f"{module} {params} {person.params}: {each}"
    return ""


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_crowd(people: list[Person], number: int) -> None:
    """Each command ends as if it had been alone, or says who is in its way; afterwards, everything settles."""
    choose = random.Random(f"{SEED} {number}")  # noqa: S311 - the same choices again for the same seed
    worlds = [people[0].world, people[2].world]
    targets = [furnish(people[0]), furnish(people[2])]
    jobs = []
    with ThreadPoolExecutor(TYPED + len(people) * PROCESSES) as pool:
        for _each in range(TYPED):
            verb = filled(choose.choice(VERBS), choose.choice(NAMES))
            jobs.append((verb, pool.submit(typed, choose.choice([*worlds, worlds[0]]), verb)))
        for at in range(len(people) * PROCESSES):
            module, params = choose.choice(CALLS)
            params = filled(params, choose.choice(NAMES))
            jobs.append(((module, params), pool.submit(called, people[at % len(people)], at // len(people), module, params)))
        wrong = [said for _job, job in jobs if (said := job.result(TIMEOUT * 2))]
    case = f"REPOMAN_SEED={SEED}, round {number}: {[job for job, _result in jobs]}"
    assert not wrong, (case, wrong)
    for world, target in zip(worlds, targets, strict=True):
        found = [*problems(world, target), *leftovers(world, target)]
        assert not found, (case, found)
        assert world.registry.read_text().startswith("# mine\n"), case
        for name in NAMES:
            assert (world.repos / name / "file").read_text() == f"{name} of {world.me.name}\n", case
    for person in people:
        for module, params in ENDS:
            try:
                settles(partial(end, person, module, params))
            except AssertionError as error:
                raise AssertionError((case, module, person.params)) from error


ENDS: list[tuple[str, dict[str, Any]]] = [
    ("registry", {}),
    ("profile", {"all": True}),
    ("sync", {}),
    ("project", {"all": True, "state": "started"}),
]
"""What must settle afterwards, for each person."""


def end(person: Person, module: str, params: dict[str, Any], check: bool) -> Any:
    """Run a module that must settle. It may refuse containers of other users."""
    result = person.call(0, module, params, check)
    lines = result.get("projects", [])
    if lines and all("belongs to the user" in line["msg"] for line in lines if line.get("failed")):
        return {"projects": [line["action"] for line in lines], "changed": result["changed"]}
    return result
