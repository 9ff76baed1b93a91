# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every request of every verb that changes something in Incus goes wrong in every way that the table of faults has.

``make test`` takes a few cases, those that ``REPOMAN_SEED`` chooses; ``REPOMAN_FAULTS=1`` takes all of them, and 10 every tenth.
``REPOMAN_FAULT=lost-answer@7`` runs one case of each verb; ``-k`` chooses the verb.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import KINDS, LIMITS, LONG, QUICK, SHORT, Fault, Kind
from faulty_verbs import HAND_MADE, LAST, VERBS, Verb, furnish, is_lost, of_others, parts, pending, settle_down
from invariants import leftovers, problems, settles
from lab import private_incus, restart_incus
from logic import Logic
from proxy import RecordingProxy
from world import TIMEOUT, Me, Result, SetUp, World, home_of

EVERY = int(os.environ.get("REPOMAN_FAULTS", "0"))
"""Of the table of each verb, one in this many cases; 0 for a few cases of a few verbs."""
SAMPLE = 2
SEED = int(os.environ.get("REPOMAN_SEED", "0"))
ONLY = os.environ.get("REPOMAN_FAULT", "")
BOUND = 60
"""Seconds in which a run with a fault must end; each of its limits is shorter."""
ADMITS = re.compile(r"could not undo|could not start|was deleted, but|if the profile was replaced|it is stopped; fix|may have deleted")
"""Hints and messages that say what was not undone."""
UNKNOWN = re.compile(
    r"(closed the connection during|did not answer) (POST|PUT|DELETE)|does not speak Incus's protocol|incus refused: not in a test"
)
"""Messages about a request that changes something, after which nobody knows whether Incus has done it, unless that is undone."""
RESTARTS = {"restart"}
"""Verbs that change something each time."""


class Case:
    """One fault at one request of a verb.

    :param wanted: what there is of the verb's projects and profiles after a run without a fault.
    """

    def __init__(self, world: World, proxy: RecordingProxy, verb: Verb, wanted: dict[str, Any]) -> None:
        self.world, self.proxy, self.verb, self.wanted = world, proxy, verb, wanted
        self.found: list[str] = []

    def run(self, kind: Kind, at: int) -> tuple[str, str]:
        """Run it, and return the request that failed. Problems are added to ``found``."""
        world, verb, proxy = self.world, self.verb, self.proxy
        verb.prepare(world)
        settle_down(world)
        before, others = parts(world, verb.names), of_others(world)
        fault = Fault(world, kind, at)
        proxy.on_request(fault)
        began = time.monotonic()
        result = self._call(kind)
        seconds = time.monotonic() - began
        fault.over.set()
        proxy.settle()
        proxy.on_request(None)
        if seconds > BOUND:
            self.found.append(f"took {seconds:.0f} s")
        self._judge(result, kind, before)
        self.found += problems(world)
        if verb.name == "install":
            self.found += [f"{name} is lost" for name, body in (("second", HAND_MADE), ("last", LAST)) if is_lost(world, name, body)]
        settle_down(world)
        self._next_run()
        if of_others(world) != others:
            self.found.append(f"what is somebody else's has changed: {difference(others, of_others(world))}")
        return fault.request

    def _call(self, kind: Kind) -> Result:
        world, verb = self.world, self.verb
        assert world.logic
        params = verb.params | {"timeout": SHORT if kind.is_silent else LONG}
        limits = LIMITS | (QUICK if kind.is_silent else {})
        return world.logic.outcome(verb.module, params, env=world.env(), cwd=world.home, constants=limits)

    def _judge(self, result: Result, kind: Kind, before: dict[str, Any]) -> None:
        """Check that a run ended with a sentence and a hint, and that what it says is so."""
        if kind.kills and result.code == -signal.SIGKILL:
            return
        if result.code or "Traceback" in result.out + result.err:
            self.found.append(f"exit status {result.code}: {result.err}")
            return
        document = json.loads(result.out)
        failed = bool(document.get("failed"))
        if failed and not (document["exit_code"] in (1, 3, 4) and document["msg"].strip().endswith(".") and document["hints"]):
            self.found.append(f"no sentence with a hint: {document}")
        now = parts(self.world, self.verb.names)
        items = {item["name"]: item for item in document.get("projects", document.get("profiles", ()))}
        for name in self.verb.names:
            item = items.get(name, document)
            if item.get("failed") or item.get("action") == "failed" or (name not in items and failed):
                said = " ".join([item["msg"], *item["hints"]])
                if now[name] != before[name] and not ADMITS.search(said) and (self.verb.undoes or not UNKNOWN.search(item["msg"])):
                    self.found.append(f"{name}: {difference(before[name], now[name])}, and it says: {said}")
            elif now[name] != self.wanted[name] and kind.name != "404":  # whoever is told that nothing is there has nothing to do
                self.found.append(f"{name} after success: {difference(self.wanted[name], now[name])}: {item}")

    def _next_run(self) -> None:
        world, verb = self.world, self.verb

        def run(check: bool) -> Any:
            return world.module(verb.module, check=check, **verb.params)

        try:
            if verb.name in RESTARTS:
                result = run(False)
                if result.get("failed"):
                    raise AssertionError(json.dumps(result))
            else:
                settles(run)
        except AssertionError as error:
            said = re.sub("'diff': .*?'account'", "", str(error))
            self.found.append(f"the next run: {said}")
        now = parts(world, verb.names)
        if now != self.wanted:
            self.found.append(f"after the next run: {difference(self.wanted, now)}")
        self.found += [f"left: {each}" for each in leftovers(world)]
        settle_down(world)


def difference(before: Any, now: Any, path: str = "") -> str:
    """Return what differs, briefly."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted({*before, *now})
        return "; ".join(difference(before.get(key), now.get(key), f"{path}/{key}") for key in keys if before.get(key) != now.get(key))
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return "; ".join(
            difference(*pair, f"{path}/{number}") for number, pair in enumerate(zip(before, now, strict=True)) if pair[0] != pair[1]
        )
    return f"{path}: {str(before)[:80]} -> {str(now)[:80]}"


def cases(verb: Verb, requests: list[tuple[str, str]]) -> list[tuple[Kind, int]]:
    """Return the cases of a verb, or a sample of them."""
    if ONLY:
        name, _at, number = ONLY.partition("@")
        return [(kind, int(number)) for kind in KINDS if kind.name == name]
    table = [(kind, at) for at, (_method, target) in enumerate(requests) for kind in KINDS if kind.part in target]
    random.Random(f"{SEED} {verb.name}").shuffle(table)  # noqa: S311 - no secret
    return table[::EVERY] if EVERY else table[:SAMPLE]


SAMPLED = VERBS if EVERY or ONLY else random.Random(SEED).sample(VERBS, SAMPLE)  # noqa: S311 - no secret


@pytest.mark.parametrize("verb", SAMPLED, ids=lambda verb: verb.name)
def test_a_fault_at_any_request(ready: World, proxy: RecordingProxy, verb: Verb) -> None:
    """It ends in time with a sentence that is true; nothing of anybody else's is touched, and the next run finishes the work."""
    furnish(ready)
    verb.prepare(ready)
    settle_down(ready)
    proxy.clear()
    result = ready.module(verb.module, **verb.params)
    assert not result.get("failed") and result["changed"], result
    proxy.settle()
    requests = proxy.requests
    wanted = parts(ready, verb.names)
    report = []
    for kind, at in cases(verb, requests):
        case = Case(ready, proxy, verb, wanted)
        request = case.run(kind, at)
        if case.found:
            told = "\n    ".join(case.found)
            report.append(f"REPOMAN_FAULT={kind.name}@{at} -k {verb.name}  # {' '.join(request)}\n    {told}")
            sys.stderr.write(f"{report[-1]}\n")
    assert not report, "\n".join(report)
    assert pending(ready) == []


def test_as_typed(ready: World, proxy: RecordingProxy) -> None:
    """The command says it on standard error, with a hint, and has undone what it began; typed again, it works."""
    furnish(ready)
    kinds = {kind.name: kind for kind in KINDS}
    before = parts(ready, ("demo",))
    for kind, at in (("lost-answer", 4), ("always-garbage", 0), ("always-500", 4)):
        proxy.on_request(fault := Fault(ready, kinds[kind], at))
        err = ready.refused("new", "demo", "--image", "busybox", code=1)
        fault.over.set()
        proxy.on_request(None)
        assert err.count("repoman: error:") == 1 and parts(ready, ("demo",)) == before, (kind, err)
    ready.repoman("new", "demo", "--image", "busybox")
    assert not problems(ready) and not leftovers(ready)
    kept = parts(ready, ("demo",))
    proxy.on_request(Fault(ready, kinds["gone"], 3))
    ready.refused("remove", "demo", "--yes", code=1)
    proxy.on_request(None)
    settle_down(ready)
    now = parts(ready, ("demo",))
    assert now["demo"][1:] == kept["demo"][1:] and now["demo"][0][1:] == kept["demo"][0][1:]
    ready.repoman("remove", "demo", "--yes")
    assert parts(ready, ("demo",)) == before


@pytest.mark.skipif(EVERY == 0, reason="takes half a minute")
def test_incus_loses_its_file_server(ready: World, proxy: RecordingProxy) -> None:
    """Its socket is gone between two directories, as when Incus cleans up at a bad moment; the container is created with both."""
    furnish(ready)
    new, lost = VERBS[0], []

    def lose(method: str, target: str) -> None:
        if method == "POST" and "/files?" in target:
            for server in Path(os.environ["INCUS_DIR"], "run").glob("repoman_demo/forkfile.sock"):
                if not lost:
                    server.unlink()
                    lost.append(server)

    proxy.on_request(lose)
    result = ready.module(new.module, **new.params)
    proxy.on_request(None)
    assert len(lost) == 1, "a second directory was expected"
    assert not result.get("failed"), result
    assert not problems(ready) and not leftovers(ready)
    settles(lambda check: ready.module(new.module, check=check, **new.params))


@pytest.mark.skipif(EVERY == 0, reason="takes a minute")
def test_incus_is_restarted(me: Me, installation: Path, logic: Logic, set_up: SetUp) -> None:
    """In the middle of what a run waits for, as for an upgrade of its package; the next run finishes the work."""
    moments = (
        ("POST", "/1.0/instances?"),
        ("GET", "/wait"),
        ("PUT", "/state"),
        ("POST", "/exec"),
        ("GET", "/websocket"),
        ("PATCH", "demo"),
    )
    with private_incus() as socket, home_of(me) as home, RecordingProxy(socket) as proxy:
        os.chmod(proxy.path, 0o666)
        os.chmod(os.path.dirname(proxy.path), 0o755)
        world = World(me, home, installation, socket, logic)
        set_up.copy_to(world)
        world.socket = proxy.path
        furnish(world)
        new = VERBS[0]
        report = []
        for method, part in moments:
            new.prepare(world)
            once, is_up = iter([socket]), threading.Event()

            def restart(
                asked: str,
                target: str,
                moment: tuple[str, str] = (method, part),
                once: Iterator[str] = once,
                is_up: threading.Event = is_up,
            ) -> None:
                if asked == moment[0] and moment[1] in target:
                    for each in once:
                        restart_incus(each, "upgrade")
                        is_up.set()

            proxy.on_request(restart)
            result = world.module(new.module, **new.params, constants=LIMITS)
            proxy.on_request(None)
            assert is_up.wait(TIMEOUT), (method, part)
            if result.get("failed") and not result["hints"]:
                report.append(f"{method} {part}: no hint: {result}")
            report += [f"{method} {part}: {each}" for each in problems(world)]
            settles(lambda check: world.module(new.module, check=check, **new.params))
            report += [f"{method} {part}: left: {each}" for each in leftovers(world)]
            settle_down(world)
        assert not report, "\n".join(report)
