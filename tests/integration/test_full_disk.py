# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file system that is full, or read-only, at each place that a verb writes to: the sentence names it, and nothing is written by half.

The place is a small one in memory, with room for so many pages more. ``make test`` takes a few cases, ``REPOMAN_FAULTS=1`` all of them;
``REPOMAN_FAULT='install state 2'`` runs one.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faulty_verbs import HAND_MADE, SEVERAL, forget, furnish, parts, settle_down
from invariants import leftovers, problems
from world import World

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems")

EVERY = int(os.environ.get("REPOMAN_FAULTS", "0"))
SAMPLE = 3
SEED = int(os.environ.get("REPOMAN_SEED", "0"))
ONLY = os.environ.get("REPOMAN_FAULT", "")
PAGE = 4096
READ_ONLY = -1
"""In place of the room."""
ROOMS = (0, 1, 2, 3, 5, 8, READ_ONLY)
"""Pages that are free."""
NAMES = ("demo", "first", "second")
Run = Callable[[World], Any]


@dataclass(frozen=True)
class Verb:
    """A verb that writes to files.

    :param prepare: makes the state that it begins with. :param run: runs its module.
    :param places: that it writes to.
    """

    name: str
    prepare: Callable[[World], None]
    run: Run
    places: tuple[str, ...]


def places(world: World) -> dict[str, Path]:
    """Return the directories by the names that the table has."""
    return {
        "registry": world.registry.parent,
        "state": world.home / ".local/state/repoman",
        "target": world.home / "backup",
        "repos": world.repos,
        "elsewhere": world.home / "elsewhere",
    }


@contextmanager
def small(world: World, place: Path, room: int) -> Iterator[Callable[[], None]]:
    """Mount a file system with the same content, and with so many free pages; yields what makes room.

    :param room: :data:`READ_ONLY` for one that is read-only.
    """
    world.mkdir(place)
    options = f"size=24m,mode=0700,uid={world.me.uid},gid={world.me.gid}"
    new = Path(f"{place}.small")
    new.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "small", str(new)], check=True)
    subprocess.run(["cp", "-a", f"{place}/.", str(new)], check=True)
    filler = new / ".filler"
    if room != READ_ONLY:
        _fill(filler, room)
    subprocess.run(["mount", "--bind", str(new), str(place)], check=True)
    if room == READ_ONLY:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)

    def make_room() -> None:
        if room == READ_ONLY:
            subprocess.run(["mount", "-o", "remount,bind,rw", str(place)], check=True)
        else:
            filler.unlink()

    try:
        yield make_room
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
        filler.unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(new, place, symlinks=True)
        subprocess.run(["cp", "-a", f"{new}/.", str(place)], check=True)
        subprocess.run(["umount", "--lazy", str(new)], check=True)
        new.rmdir()


def _fill(filler: Path, room: int) -> None:
    with filler.open("wb", buffering=0) as file:
        size = 0
        try:
            while True:
                size += file.write(bytes(PAGE))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        file.truncate(max(0, size - room * PAGE))


def _no_demo(world: World) -> None:
    forget(world, "demo")


def _demo(world: World) -> None:
    settle_down(world)
    world.new("demo", profiles=["default"])


def _profiles(world: World) -> None:
    for name in ("first", "second"):
        if name in world.profiles():
            world.api("DELETE", f"/1.0/profiles/{name}?project=default")
    world.api("POST", "/1.0/profiles?project=default", {"name": "first"} | HAND_MADE)
    subprocess.run(["rm", "-rf", str(world.home / ".local/state/repoman/replaced")], check=True)


def _repositories(world: World) -> None:
    """Have repositories with content, and no target."""
    subprocess.run(["rm", "-rf", str(world.home / "backup")], check=True)
    for name, text in (("demo", "first\n" * 4000), ("one", "x" * 9000)):
        world.write(world.repos / name / "file", text)


def _target(world: World) -> None:
    """Have a target, and repositories that have changed since."""
    _repositories(world)
    assert _sync(world)["changed"]
    for name in ("demo", "one"):
        world.write(world.repos / name / "file", f"{name} again\n" * 4000)
        world.write(world.repos / name / "another", "more\n" * 2000)


def _lost(world: World) -> None:
    """Have a target, and a repository less."""
    _target(world)
    assert not _sync(world).get("failed")
    shutil.rmtree(world.repos / "demo")
    subprocess.run(["rm", "-rf", str(world.home / "elsewhere")], check=True)


def _sync(world: World) -> Any:
    return world.module("sync", init=True, allow_local=True)


def _restore(world: World) -> Any:
    return world.module("restore", names=["demo"])


def _restore_elsewhere(world: World) -> Any:
    return world.module("restore", names=["demo"], to=str(world.home / "elsewhere"))


def _new(world: World) -> Any:
    return world.module("project", projects=[{"name": "demo", "image": "busybox", "profiles": ["default"]}], state="started")


def _remove(world: World) -> Any:
    return world.module("project", projects=[{"name": "demo"}], state="absent")


def _install(world: World) -> Any:
    return world.module("profile", names=["first", "second"])


def _copy(world: World) -> Any:
    return world.module("profile", names=["dotfiles"], state="copied")


def _no_copy(world: World) -> None:
    (world.user_dir / "dotfiles.yml").unlink(missing_ok=True)


def _setup(world: World) -> Any:
    return world.module("registry", host={"lan_ip": "192.0.2.99"})


def _old_setup(world: World) -> None:
    assert not world.module("registry", host={"lan_ip": "192.0.2.10"}).get("failed")


VERBS = (
    Verb("new", _no_demo, _new, ("registry", "repos")),
    Verb("remove", _demo, _remove, ("registry",)),
    Verb("install", _profiles, _install, ("state",)),
    Verb("copy", _no_copy, _copy, ("registry",)),
    Verb("setup", _old_setup, _setup, ("registry",)),
    Verb("first-sync", _repositories, _sync, ("registry", "state", "target")),
    Verb("sync", _target, _sync, ("registry", "state", "target")),
    Verb("restore", _lost, _restore, ("registry", "state", "repos", "target")),
    Verb("restore-elsewhere", _lost, _restore_elsewhere, ("elsewhere", "state")),
)


def cases() -> list[tuple[Verb, str, int]]:
    """Return the cases, or a sample of them."""
    table = [(verb, place, room) for verb in VERBS for place in verb.places for room in ROOMS]
    if ONLY:
        return [case for case in table if f"{case[0].name} {case[1]} {case[2]}" == ONLY]
    random.Random(SEED).shuffle(table)  # noqa: S311 - no secret
    return table[::EVERY] if EVERY else table[:SAMPLE]


def _run(world: World, verb: Verb, place: str, room: int) -> Iterator[str]:
    """Run a case; yields what is wrong."""
    for name in SEVERAL:
        if not (world.repos / name).exists():
            world.git_repository(name)
    verb.prepare(world)
    path = places(world)[place]
    backup = world.home / "backup"
    before = parts(world, NAMES)
    with small(world, path, room) as make_room:
        result = verb.run(world)
        text = " ".join([result.get("msg", ""), *result.get("hints", ()), *result.get("warnings", ())])
        if result.get("failed"):
            if str(path) not in text and str(path).replace(str(world.home), "~") not in text:
                yield f"the message does not name {path}: {result}"
            if not result["hints"]:
                yield f"no hint: {result}"
            if verb.name in ("new", "setup") and parts(world, NAMES) != before:
                yield f"not undone: {text}"
        yield from problems(world, backup)
        yield from (f"left: {each}" for each in leftovers(world, backup if place != "target" else None))
        make_room()
        again = verb.run(world)
        if again.get("failed"):
            yield f"the next run: {again}"
        if (last := verb.run(world)).get("failed") or (last["changed"] and verb.name not in ("sync", "first-sync")):
            yield f"the run after that: {last}"
        yield from problems(world, backup)
        yield from (f"left after the next run: {each}" for each in leftovers(world, backup))


def test_a_place_that_is_full(ready: World) -> None:
    """Whatever is full, and by how much: a sentence that names the place, nothing by half, and the next run succeeds."""
    furnish(ready)
    ready.write(ready.registry, ready.registry.read_text().replace('"/nfs/repos"', f'"{ready.home}/backup"'))
    report = []
    for verb, place, room in cases():
        if found := list(_run(ready, verb, place, room)):
            told = "\n    ".join(found)
            report.append(f"REPOMAN_FAULT='{verb.name} {place} {room}'\n    {told}")
            sys.stderr.write(f"{report[-1]}\n")
    assert not report, "\n".join(report)


@pytest.mark.parametrize("room", [0, READ_ONLY] if EVERY else [READ_ONLY])
def test_temporary_directories(ready: World, room: int) -> None:
    """What only reads works, whatever is full; what writes does its work, or says what is full and works later."""
    ready.git_repository("demo")
    ready.write(ready.registry, ready.registry.read_text().replace('"/nfs/repos"', f'"{ready.home}/backup"'))
    with ExitStack() as stack:
        tmp = ready.home / "tmp"
        rooms = [stack.enter_context(small(ready, place, room)) for place in (tmp, ready.home / ".ansible", ready.home / ".local")]
        env = {"TMPDIR": str(tmp)}
        for argv in (("list",), ("status",), ("doctor",), ("profile", "list"))[: None if EVERY else 1]:
            result = ready.run("repoman", *argv, env=env)
            assert result.code in (0, 1, 3) and (result.code == 0 or "repoman: error: " in result.err or argv == ("doctor",)), (
                argv,
                result,
            )
        for argv in (("new", "demo", "--image", "busybox"), ("sync", "--init", "--allow-local"), ("remove", "demo", "--yes")):
            result = ready.run("repoman", *argv, env=env)
            if result.code:
                assert "repoman: error: " in result.err and "hint: " in result.err, result
                assert str(ready.home) in result.err or "~/" in result.err, result
        for make_room in rooms:
            make_room()
        for argv in (("new", "demo", "--image", "busybox"), ("sync", "--init", "--allow-local"), ("remove", "demo", "--yes")):
            ready.repoman(*argv, env=env)
        assert not problems(ready, ready.home / "backup") and not leftovers(ready, ready.home / "backup")


def test_a_full_storage_pool(ready: World) -> None:
    """Incus's words about its own disk, nothing left in it, and the same command works when there is room."""
    ready.git_repository("demo")
    place = Path(tempfile.mkdtemp(prefix="repoman-pool.", dir="/var/tmp"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "small", str(place)], check=True)
    try:
        (place / "pool").mkdir()
        ready.incus("storage", "create", "small", "dir", f"source={place}/pool")
        for room in (0, 20, 300):
            _fill(place / "filler", room)
            asked = {"devices": {"root": {"type": "disk", "path": "/", "pool": "small"}}, "image": "busybox"}
            result = ready.module("project", projects=[{"name": "demo"} | asked], state="started")
            assert result.get("failed") and result["hints"] and "space" in result["msg"], (room, result)
            assert ready.instances() == {} and not problems(ready) and not leftovers(ready)
            (place / "filler").unlink()
        assert not ready.module("project", projects=[{"name": "demo"} | asked], state="started").get("failed")
        ready.remove("demo")
    finally:
        ready.incus("storage", "delete", "small", check=False)
        subprocess.run(["umount", "--lazy", str(place)], check=True)
        place.rmdir()
