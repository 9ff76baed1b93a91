# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Incus, a real account and a real installation for the tests.

``make test`` starts the daemon and sets ``REPOMAN_SMOKE``. A plain ``pytest`` reports these tests as skipped.
"""

from __future__ import annotations

import fcntl
import grp
import os
import pwd
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

import pytest
from installed import install
from lab import private_incus
from logic import Logic
from proxy import RecordingProxy
from world import ADMINS, LAN_IP, Me, SetUp, World, account, home_of, place_for, remove

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so would all they start
os.umask(0o022)  # what root makes here the user must be able to read, whoever runs the tests


SHARED = {"built", "cluster", "collections"}
"""Fixtures that cost seconds and serve all tests of a file: those run in one process."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with these tests, the longest ones; skip, and say so, where there is no Incus."""
    items.sort(key=lambda item: "integration" not in item.path.parts)
    for item in items:
        if isinstance(item, pytest.Function) and SHARED & set(item.fixturenames):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    if os.environ.get("REPOMAN_SMOKE") == "1" and os.environ.get("INCUS_DIR"):
        return
    skip = pytest.mark.skip(reason="needs a private Incus: run 'make test'")
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def incus() -> Iterator[Path]:
    """The directory of an Incus that no other process of this run uses; the first process has the one that ``dev-incus run`` started."""
    if os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0":
        yield Path(os.environ["INCUS_DIR"])
        return
    with private_incus("busybox debian debian-cloud") as socket, pytest.MonkeyPatch.context() as patch:
        place = Path(socket).parent
        patch.setenv("INCUS_DIR", str(place))
        patch.setenv("INCUS_CONF", str(place / "client"))
        yield place


@pytest.fixture(scope="session")
def me(incus: Path) -> Iterator[Me]:
    """An account: this user's, or a temporary one where the tests run as root."""
    if os.geteuid() != 0:
        entry = pwd.getpwuid(os.getuid())
        yield Me(entry.pw_name, entry.pw_uid, entry.pw_gid)
        return
    with account("t", home="/nonexistent") as me:
        socket = incus / "unix.socket"
        os.chown(socket, 0, grp.getgrnam(ADMINS).gr_gid)
        socket.chmod(0o660)
        yield me


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The ``bin`` of a virtual environment with the wheel installed, where any user can run it; one for all processes of a run."""
    base = tmp_path_factory.getbasetemp()
    with ((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "installation").open("a+") as ledger:
        place = _enter(ledger)
        try:
            yield place / "venv/bin"
        finally:
            _leave(ledger, place)


def _enter(ledger: TextIO) -> Path:
    """Return the directory that the ledger names, and one more process uses; made now where there is none."""
    fcntl.flock(ledger, fcntl.LOCK_EX)
    users, _newline, name = _read(ledger).partition("\n")
    place = Path(name) if name else install()
    _write(ledger, f"{int(users or 0) + 1}\n{place}")
    return place


def _leave(ledger: TextIO, place: Path) -> None:
    """Remove the directory if this was the last process that used it."""
    fcntl.flock(ledger, fcntl.LOCK_EX)
    users = int(_read(ledger).partition("\n")[0]) - 1
    _write(ledger, f"{users}\n{place}" if users else "")
    if not users:
        remove(place)


def _read(ledger: TextIO) -> str:
    ledger.seek(0)
    return ledger.read()


def _write(ledger: TextIO, text: str) -> None:
    """Write, and let the next one in."""
    ledger.seek(0)
    ledger.truncate()
    ledger.write(text)
    ledger.flush()
    fcntl.flock(ledger, fcntl.LOCK_UN)


@pytest.fixture(scope="session")
def logic(me: Me, installation: Path) -> Iterator[Logic]:
    """The modules without Ansible."""
    with Logic(me, installation) as logic:
        yield logic


@pytest.fixture
def world(me: Me, installation: Path, incus: Path, logic: Logic) -> Iterator[World]:
    """A fresh home; instances, project and profiles are taken away again."""
    with home_of(me) as home:
        world = World(me, home, installation, str(incus / "unix.socket"), logic)
        yield world
        world.clean()


@pytest.fixture(scope="session")
def set_up(me: Me, installation: Path, incus: Path) -> Iterator[SetUp]:
    """What ``setup`` leaves; it is run once."""
    with home_of(me) as home:
        yield SetUp.of(World(me, home, installation, str(incus / "unix.socket")))


@pytest.fixture
def ready(world: World, set_up: SetUp) -> World:
    """A home, and an Incus, in which ``setup`` was run."""
    set_up.copy_to(world)
    world.write(world.registry, world.registry.read_text().replace('lan_ip = ""', f'lan_ip = "{LAN_IP}"'))  # on a machine that is offline
    return world


@pytest.fixture
def proxy(world: World) -> Iterator[RecordingProxy]:
    """A recording proxy in front of Incus, which the world's commands then use."""
    with RecordingProxy(world.socket) as proxy:
        os.chmod(proxy.path, 0o666)
        os.chmod(os.path.dirname(proxy.path), 0o755)
        world.socket = proxy.path
        yield proxy


@pytest.fixture
def places(me: Me) -> Iterator[Callable[[bool], Path]]:
    """Makes a directory for a home and a copy of it; in memory if there is room, and if no container mounts anything of it."""
    with ExitStack() as stack:

        def make(mounted: bool) -> Path:
            place = stack.enter_context(place_for("repoman-f", "/var/tmp" if mounted else os.environ.get("TEST_TMP", "/var/tmp")))
            for name in ("home", "before"):
                (place / name).mkdir()
                os.chown(place / name, me.uid, me.gid)
            return place

        yield make
