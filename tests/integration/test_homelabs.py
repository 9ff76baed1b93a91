# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Six homelab repositories, each with another structure, in which the roles and modules stand among other work.

Each runs on fresh hosts in check mode, for real, for real again and in check mode again. The variables of each have names that a role or a
module may not read by mistake.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lab import Lab, lab
from world import Me, Result, World

HOMELABS = Path(__file__).parent / "homelabs"
CHANGES = re.compile(r"changed=(\d+)|\"changed\": (\d+)")
ONE_LINE = re.compile(r"^\S+ \| CHANGED", re.MULTILINE)


@dataclass(frozen=True)
class Homelab:
    """A repository with playbooks, and what its hosts have afterwards.

    :param containers: running ones by name, each with some of its configuration.
    :param files: in the home.
    :param argv: of ``ansible-playbook``.
    """

    name: str
    containers: dict[str, dict[str, str]]
    files: tuple[str, ...]
    argv: tuple[str, ...] = ()


LOCAL = (
    Homelab(
        "merged", {"demo": {"user.everywhere": "yes", "user.here": "yes", "user.token": "from the vault"}}, ("told", "backup/demo/.git")
    ),
    Homelab("serial", {"demo-one": {}, "demo-two": {}}, ("one.toml", "two.toml")),
    Homelab("free", {}, ("one.toml", "two.toml", "one.changed", "two.changed", "one.rescued", "two.rescued")),
    Homelab("tags", {"demo": {"user.tagged": "yes"}}, ("changed", "backup/demo/.git"), ("--tags", "homelab,containers,backup")),
    Homelab("modules", {"demo": {"user.looped": "0"}, "other": {"user.looped": "1"}}, ("own.toml", "backup/other/.git")),
)
REMOTE = Homelab("remote", {"demo": {"user.token": "from the vault"}}, ("homelab.toml", "changed", "backup/demo/.git"))


def changes(result: Result) -> int:
    """Return how many tasks changed something, from what any of the callbacks prints."""
    return sum(int(one or other) for one, other in CHANGES.findall(result.out)) + len(ONE_LINE.findall(result.out))


def in_home(world: World, homelab: Homelab) -> Callable[..., Result]:
    """Copy a repository into a home; return what runs its site.yml."""
    place = world.home / homelab.name
    shutil.copytree(HOMELABS / homelab.name, place)
    subprocess.run(["chown", "-R", f"{world.me.uid}:{world.me.gid}", place], check=True)

    def run(*argv: str) -> Result:
        result = world.run("ansible-playbook", "site.yml", *homelab.argv, *argv, cwd=place)
        assert result.code == 0, result
        return result

    return run


def assert_untouched(world: World) -> None:
    """Check that a host has nothing that a playbook makes."""
    assert world.instances() == {} and list(world.profiles()) == ["default"] and "repoman" not in world.projects()
    assert not world.registry.exists() and not list(world.home.glob("*.toml")) and not (world.home / "backup").exists()


def assert_made(world: World, homelab: Homelab) -> None:
    """Check that a host has the expected containers, files and profiles."""
    found: dict[str, Any] = {name: instance for name, instance in world.instances().items() if instance["status"] == "Running"}
    assert set(found) == set(homelab.containers)
    for name, config in homelab.containers.items():
        assert config.items() <= found[name]["config"].items()
    assert [name for name in homelab.files if not (world.home / name).exists()] == []
    assert "dotfiles" in world.profiles() or homelab is REMOTE


@pytest.mark.parametrize("homelab", LOCAL, ids=lambda homelab: homelab.name)
def test_homelab_on_this_host(world: World, homelab: Homelab) -> None:
    """Hash merge, serial, strategies, tags, module defaults and other callbacks."""
    run = in_home(world, homelab)
    assert changes(run("--check")) > 0
    assert_untouched(world)
    assert changes(run()) > 0
    assert_made(world, homelab)
    if homelab.name == "tags":  # the project came after the backup, so the registry is backed up once more
        assert changes(run()) == 1
    assert changes(run()) == 0
    assert changes(run("--check")) == 0
    assert_made(world, homelab)


@pytest.fixture(scope="module")
def built(me: Me, installation: Path) -> Iterator[Lab]:
    """Two other hosts."""
    with lab(me, installation) as built:
        yield built
        for host in built.hosts.values():
            host.clean()


def test_homelab_over_ssh(built: Lab) -> None:
    """Two hosts over ssh, one of them with become."""
    run = in_home(built.controller, REMOTE)
    on = ("-i", built.inventory(**{name: {"homelab_home": str(host.home)} for name, host in built.hosts.items()}))
    assert changes(run(*on, "--check")) > 0
    for host in built.hosts.values():
        assert_untouched(host)
    assert changes(run(*on)) > 0
    for host in built.hosts.values():
        assert_made(host, REMOTE)
        assert (host.home / "homelab.toml").stat().st_uid == host.me.uid
    assert changes(run(*on)) == 0
    assert changes(run(*on, "--check")) == 0
