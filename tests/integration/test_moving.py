# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving house, with the commands of the guide: to another host, another ``repos_root``, another ``backup_root``."""

from __future__ import annotations

import functools
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from backup_fixture import differences
from world import CHECKOUT, Me, World, home_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be two hosts")

GUIDE = CHECKOUT / "docs/docsite/rst/moving.rst"
HOSTS_GUIDE = CHECKOUT / "docs/docsite/rst/several_hosts.rst"


@dataclass(frozen=True)
class MeOn(Me):
    """The user on a host with another name.

    :param host: its name.
    """

    host: str = ""

    def command(self, argv: list[str], env: dict[str, str]) -> list[str]:
        """Return what runs ``argv`` there."""
        return ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.host, *super().command(argv, env)]


def on_host(world: World, host: str, home: Path | None = None) -> World:
    """Return a world on a host with another name, with the same Incus; by default with the same home."""
    me = MeOn(world.me.name, world.me.uid, world.me.gid, host=host)
    return World(me, home or world.home, world.bin_dir, world.socket)


@pytest.fixture
def target(ready: World) -> Iterator[Path]:
    """A directory of the user's for a backup."""
    with tempfile.TemporaryDirectory(prefix="repoman-target-", dir="/var/tmp") as path:
        os.chown(path, ready.me.uid, ready.me.gid)
        yield Path(path)


def set_default(world: World, **values: str) -> None:
    """Change keys of ``[defaults]`` in a registry."""
    text = world.registry.read_text()
    for key, value in values.items():
        text, count = re.subn(rf'(?m)^{key} = ".*"$', f'{key} = "{value}"', text)
        assert count == 1
    world.write(world.registry, text)


def section(page: Path, title: str) -> list[str]:
    """Return the command lines of a section of a guide."""
    text = re.split(rf"(?m)^{re.escape(title)}\n[-~]+\n", page.read_text(encoding="utf-8"))[1]
    return re.findall(r"(?m)^ +\$ (.*)$", re.split(r"(?m)^(?:---+|~~~+)$", text)[0])


def follow(world: World, lines: list[str], replace: dict[str, str]) -> None:
    """Run command lines of a guide, with other directories."""
    assert lines
    for line in lines:
        command = functools.reduce(lambda text, pair: text.replace(*pair), replace.items(), line)
        done = world.run("bash", "-c", command)
        assert done.code == 0, (command, done)


def synced(world: World, *words: str, code: int = 0) -> dict[str, Any]:
    """Run sync; return its document."""
    return world.repoman("--json", "sync", *words, code=code).data


def nothing_copied(result: dict[str, Any]) -> bool:
    """Return whether a run found every mirror up to date."""
    return {unit["action"] for unit in result["units"]} == {"unchanged"} and result["summary"]["bytes"] == result["summary"]["files"] == 0


def check_mirrors(world: World, target: Path) -> None:
    """Check that rsync finds no difference between repositories and mirrors, contents and all."""
    lines = differences(world.repos, target, "--exclude=/.repoman")
    assert [line for line in lines if not line.endswith(" ./")] == []  # mode and time of the target itself are the user's


def needs_nothing(world: World) -> bool:
    """Return whether ``status`` has nothing to say of the backup and of containers."""
    status = world.repoman("--json", "status").data
    return status["host"]["backup"]["state"] == "ready" and all(
        project["repo_exists"] and not project["stale_mount"] and not project["differences"] for project in status["projects"]
    )


def versions(world: World, name: str) -> list[str]:
    """Return the times of the versions of a project."""
    return [version["time"] for version in synced(world, "--list-versions", name)["kept"]]


def first_backup(world: World, target: Path) -> str:
    """Make a backup with one earlier version of ``isurus/README``, which was ``old``; return its time."""
    for name in ("isurus", "lamna"):
        world.git_repository(name)
    world.write(world.repos / "isurus/README", "old\n")
    world.write(world.repos / "notes.txt", "notes\n")
    set_default(world, backup_root=str(target))
    assert synced(world, "--init", "--allow-local")["changed"]
    world.write(world.repos / "isurus/README", "new\n")
    synced(world)
    (time,) = versions(world, "isurus")
    return time


def old_readme(world: World, time: str) -> str:
    """Return the README of ``isurus`` of an earlier time."""
    with tempfile.TemporaryDirectory(dir=world.home) as place:
        os.chown(place, world.me.uid, world.me.gid)
        world.repoman("restore", "isurus", "--from", time, "--to", f"{place}/isurus")
        return Path(place, "isurus/README").read_text()


def test_another_directory_of_repositories_and_another_target(ready: World, target: Path) -> None:
    """Containers follow the repositories; then the backup moves to another target, and there into a directory of its host."""
    time = first_backup(ready, target)
    ready.new("isurus", "lamna")
    follow(ready, section(GUIDE, "To another directory of repositories"), {})
    ready.repos = ready.home / "src"
    for name, instance in ready.instances().items():
        path = str(ready.repos / name)
        assert (instance["devices"]["repo"]["source"], instance["devices"]["repo"]["path"]) == (path, path)
        assert instance["config"]["user.repoman.repo"] == path and instance["status"] == "Running"
    seen = ready.repoman("shell", "isurus", "cat", "README", cwd=ready.repos / "isurus", env={"INCUS_CONF": str(ready.home / "client")})
    assert seen.out == "new\n"
    check_mirrors(ready, target)
    assert nothing_copied(synced(ready)) and needs_nothing(ready)
    assert not ready.repoman("--json", "new", "--all").data["changed"]
    assert old_readme(ready, time) == "old\n"

    with tempfile.TemporaryDirectory(prefix="repoman-target-", dir="/dev/shm") as place:
        os.chown(place, ready.me.uid, ready.me.gid)
        other = Path(place)
        trees = [path.name for path in (target, *target.rglob("*"))]
        follow(ready, section(GUIDE, "To another target"), {"/nfs/repos": str(target), "/mnt/backup": place})
        assert len(trees) == len([path.name for path in (target, *target.rglob("*"))])
        check_mirrors(ready, other)
        assert nothing_copied(synced(ready, "--full")) and needs_nothing(ready)
        assert versions(ready, "isurus") == [time] and old_readme(ready, time) == "old\n"
        assert not ready.repoman("--json", "sync").data["changed"]

        on = on_host(ready, "nas1.lan")
        synced(on, "--take-over")
        on.repos = ready.repos
        follow(on, section(HOSTS_GUIDE, "Backups on one file system"), {"/nfs/repos": place})
        assert sorted(os.listdir(other)) == ["nas1.lan"]
        check_mirrors(on, other / "nas1.lan")
        assert nothing_copied(synced(on, "--full")) and needs_nothing(on)
        assert versions(on, "isurus") == [time] and old_readme(on, time) == "old\n"
        assert "lies inside" not in on.refused("sync", "--init", "--allow-local", "--take-over", code=2)


def test_another_host(ready: World, target: Path) -> None:
    """With both alive: who owns the backup is asked and shown; nothing is copied again; the old host is refused, and can take it back."""
    old = on_host(ready, "old")
    time = first_backup(old, target)
    marker, user = target / ".repoman/mirror.toml", ready.me.name
    old.write(old.registry, old.registry.read_text() + "".join(f'[[project]]\nname = "{name}"\n' for name in ("isurus", "lamna")))
    leave, arrive = (section(GUIDE, "To another host")[part] for part in (slice(1), slice(1, None)))
    arrive.remove("repoman profile install --all")  # needs what all vendor profiles share: make drill runs it
    follow(old, leave, {})
    with home_of(ready.me) as home:
        new = on_host(ready, "new", home)
        cut = arrive.index("repoman sync --take-over")
        follow(new, arrive[:cut], {"/nfs/repos": str(target)})
        set_default(new, default_image="busybox")
        assert (new.repos / "notes.txt").read_text() == "notes\n"
        error = new.refused("sync", code=4)
        assert f"{target} is the backup of {user} on old, and this is {user} on new; nothing was written." in error
        assert "hint: repoman sync --take-over   # " in error
        assert f"{target} is the backup of {user} on old; to go on" in " ".join(new.repoman("status", "--all").out.split())
        assert "repoman sync --take-over" in new.repoman("doctor", code=1).out
        question = f"would take over the backup of {user} on old (last run less than a minute ago)"
        asked = new.on_terminal("repoman sync --take-over", "n\n")
        assert asked.code == 1 and question in asked.out and "Proceed? [y/N]" in asked.out and "nothing was changed" in asked.out
        assert 'host = "old"' in marker.read_text()
        asked = new.on_terminal("repoman sync --take-over", "y\n")
        assert asked.code == 0 and f"==> took over the backup of {user} on old" in asked.out and 'host = "new"' in marker.read_text()
        follow(new, arrive[cut:], {})  # on its own backup, without a question
        check_mirrors(new, target)
        assert nothing_copied(synced(new, "--full")) and needs_nothing(new)
        assert new.instances()["isurus"]["devices"]["repo"]["source"] == str(new.repos / "isurus")
        assert versions(new, "isurus") == [time] and old_readme(new, time) == "old\n"

        new.write(new.repos / "isurus/README", "of the new host\n")
        new.write(new.repos / "more.txt", "more\n")
        new.run("rm", str(new.repos / "isurus/.git/COMMIT_EDITMSG"))
        synced(new)
        before = marker.read_text(), (target / ".repoman/stamps.json").read_text()
        assert f"is the backup of {user} on new" in old.refused("sync", code=4)
        assert (marker.read_text(), (target / ".repoman/stamps.json").read_text()) == before
        back = synced(old, "--take-over")
        check_mirrors(old, target)
        assert back["previous_owner"]["host"] == "new"
        assert old_readme(old, versions(old, "isurus")[-1]) == "of the new host\n"
        assert new.refused("sync", code=4) and not synced(old)["changed"]
