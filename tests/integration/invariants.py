# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold after each command, whatever happened to it: judged by programs that are not ours."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

from world import TIMEOUT, World

STATES = {"creating", "ready"}
FLEETING = re.compile(r"\.(?:repoman-(?:probe|clone|restore)-|.*\.new$)")
"""Names of files that only exist while a command runs."""
TIMES = {"time", "seconds", "duration", "last_sync", "log", "took", "until", "since", "age"}
"""Keys of results that differ from run to run."""
Run = Callable[[bool], Any]
"""Runs a command, in check mode or for real, and returns its result as JSON."""


def problems(world: World, backup: Path | None = None, *, damaged: bool = False, except_for: Container[str] = ()) -> list[str]:
    """Return what does not hold, in sentences; an empty list is what a test wants.

    :param backup: the target, if the world has one.
    :param except_for: names of mirrors that need not be sound: first copies of sources that could not be read completely.
    :param damaged: whether sources could not be read: then objects may be missing that no reference of the mirror needs.
    """
    found = [*_registry(world), *_instances(world)]
    if backup is not None:
        found += _mirrors(backup, damaged, except_for)
    return found


def leftovers(world: World, backup: Path | None = None) -> list[str]:
    """Return the files that interrupted commands left. A command that ends by itself leaves none."""
    config, state = world.registry.parent, world.home / ".local/state/repoman"
    found = [str(path) for root in (config, state, world.user_dir) for path in root.rglob(".*") if FLEETING.match(path.name)]
    found += [str(path) for path in (config / "locks").glob("*")]
    found += [str(path) for path in world.repos.glob(".repoman-*")]
    if backup is not None:
        own = backup / ".repoman"
        found += [str(path) for path in (own / "work").rglob("*") if not path.is_dir()]
        found += [str(path) for place in (own, own / "created", own / "settings") for path in place.glob(".*") if FLEETING.match(path.name)]
    return sorted(set(found))


def settles(run: Run) -> Any:
    """Run a command in the four ways, after whatever happened before; return the result of the run that may change something.

    The prediction says what the run then does, and neither the second run nor a prediction after it has anything to do.
    """
    predicted, done, again, after = run(True), run(False), run(False), run(True)
    for result in (predicted, done, again, after):
        assert not result.get("failed"), result
    assert without_times(predicted.get("projects", predicted["changed"])) == without_times(done.get("projects", done["changed"])), (
        predicted,
        done,
    )
    assert not again["changed"] and not after["changed"], (again, after)
    return done


def without_times(value: Any) -> Any:
    """Return a result without what differs from run to run."""
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key not in TIMES}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def _registry(world: World) -> Iterator[str]:
    """The registry parses, and names each project once."""
    try:
        text = world.registry.read_text()
        names = [entry["name"] for entry in tomllib.loads(text).get("project", [])]
    except FileNotFoundError:
        return
    except (ValueError, KeyError) as error:
        yield f"the registry does not parse: {error}"
        return
    if len(set(names)) != len(names):
        yield f"the registry names a project twice: {names}"


def _instances(world: World) -> Iterator[str]:
    """Each instance that repoman made has an owner and a state that it knows."""
    for name, instance in world.instances().items():
        config = instance["config"]
        marks = {key for key in config if key.startswith("user.repoman.")}
        if not marks:
            continue  # somebody made it by hand
        if missing := {"user.repoman.owner", "user.repoman.uid", "user.repoman.project"} - marks:
            yield f"{name} has no {sorted(missing)}"
        if config.get("user.repoman.state") not in STATES:
            yield f"{name} has the state {config.get('user.repoman.state')!r}"
        try:
            json.loads(config.get("user.repoman.applied", "{}"))
        except ValueError as error:
            yield f"{name} does not say what was applied: {error}"


def _mirrors(backup: Path, damaged: bool, except_for: Container[str]) -> Iterator[str]:
    """Git and Mercurial accept each mirror."""
    how = "--connectivity-only" if damaged else "--full"
    for path in sorted(backup.iterdir()) if backup.exists() else ():
        if path.name not in except_for:
            yield from mirror_problems(path, how)


def mirror_problems(path: Path, how: str = "--full") -> Iterator[str]:
    """Yield what git or Mercurial finds wrong in one mirror.

    :param how: option of ``git fsck``.
    """
    if (path / ".git").exists():
        yield from _said(path, "git", "-c", "safe.directory=*", "fsck", how, "--strict", "--no-progress")
    elif (path / ".hg").exists():
        with tempfile.TemporaryDirectory() as place:  # it takes locks, which change times that a full run would set right
            copy = Path(place) / path.name
            subprocess.run(["cp", "-a", path, copy], check=True)
            yield from _said(copy, "hg", "verify", "--quiet")


def _said(place: Path, *command: str) -> Iterator[str]:
    env = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "HGRCPATH": ""}
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if done.returncode:
        yield f"{place.name}: {' '.join(command)}: {done.stdout}{done.stderr}"
