# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Incus, a real account and a real installation for the tests.

``make test`` starts the daemon and sets ``REPOMAN_SMOKE``. A plain ``pytest`` reports these tests as skipped.
"""

from __future__ import annotations

import grp
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from proxy import RecordingProxy
from world import ADMINS, CHECKOUT, LAN_IP, Me, World, account, home_of, remove

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so would all they start
os.umask(0o022)  # what root makes here the user must be able to read, whoever runs the tests


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests in one process, as they share an Incus; skip, and say so, where there is none."""
    items.sort(key=lambda item: "integration" not in item.path.parts)  # the longest piece of work first
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker(pytest.mark.xdist_group("incus"))
    if os.environ.get("REPOMAN_SMOKE") == "1" and os.environ.get("INCUS_DIR"):
        return
    skip = pytest.mark.skip(reason="needs a private Incus: run 'make test'")
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def me() -> Iterator[Me]:
    """An account: this user's, or a temporary one where the tests run as root."""
    if os.geteuid() != 0:
        entry = pwd.getpwuid(os.getuid())
        yield Me(entry.pw_name, entry.pw_uid, entry.pw_gid)
        return
    with account("t", home="/nonexistent") as me:
        socket = Path(os.environ["INCUS_DIR"], "unix.socket")
        os.chown(socket, 0, grp.getgrnam(ADMINS).gr_gid)
        socket.chmod(0o660)
        yield me


@pytest.fixture(scope="session")
def installation() -> Iterator[Path]:
    """The ``bin`` of a virtual environment with the wheel installed, where any user can run it."""
    place = Path(tempfile.mkdtemp(prefix="repoman-t", dir="/var/tmp"))
    place.chmod(0o755)
    pip = [str(CHECKOUT / "scripts/thrice"), str(place / "venv/bin/python"), "-m", "pip", "-qq", "--disable-pip-version-check", "install"]
    engine = f"ansible-core=={os.environ['REPOMAN_ANSIBLE_CORE']}.*" if os.environ.get("REPOMAN_ANSIBLE_CORE") else "ansible-core"
    try:
        subprocess.run([sys.executable, "-m", "venv", str(place / "venv")], check=True)
        subprocess.run([*pip, engine, str(CHECKOUT)], check=True)
        yield place / "venv/bin"
    finally:
        remove(place)


@pytest.fixture
def world(me: Me, installation: Path) -> Iterator[World]:
    """A fresh home; instances, project and profiles are taken away again."""
    with home_of(me) as home:
        world = World(me, home, installation, os.path.join(os.environ["INCUS_DIR"], "unix.socket"))
        yield world
        world.clean()


@pytest.fixture
def ready(world: World) -> World:
    """A home in which ``setup`` was run."""
    world.repoman("setup", "--non-interactive")
    world.write(world.registry, world.registry.read_text().replace('lan_ip = ""', f'lan_ip = "{LAN_IP}"'))
    return world


@pytest.fixture
def proxy(world: World) -> Iterator[RecordingProxy]:
    """A recording proxy in front of Incus, which the world's commands then use."""
    with RecordingProxy(world.socket) as proxy:
        os.chmod(proxy.path, 0o666)
        os.chmod(os.path.dirname(proxy.path), 0o755)
        world.socket = proxy.path
        yield proxy
