# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts with the oldest and the newest git and Mercurial back up repositories that the oldest and the newest made.

``make test`` has hosts with other programs; ``REPOMAN_ZOO`` (``make test-long``) also has this machine's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git import formats
from backup_fixture import BackupHome, actions, differences
from newest import newest

pytestmark = pytest.mark.engine

HOSTS = ["newest-git oldest-hg", "newest-git newest-hg", *([""] if os.environ.get("REPOMAN_ZOO") else [])]
"""What a host has instead of the machine's own programs."""
MACHINE = {name: shutil.which(name) or name for name in ("git", "hg")}


@dataclass(frozen=True)
class Maker:
    """A program that makes repositories.

    :param program: ``git`` or ``hg``: the machine's; or a name for :func:`newest`.
    :param options: of ``init``.
    """

    program: str
    options: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """``git`` or ``hg``."""
        return self.program.rpartition("-")[2]

    def run(self, where: Path, *arguments: str) -> str:
        """Run the program, without a configuration of the user's."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(where),
            "HGRCPATH": "",
            "HGUSER": "a",
            **{f"GIT_CONFIG_{each}": os.devnull for each in ("GLOBAL", "SYSTEM")},
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "maintenance.auto",
            "GIT_CONFIG_VALUE_0": "false",
            **{f"GIT_{role}_{key}": "a" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")},
        }
        return subprocess.run(
            [path_of(self.program), *arguments], cwd=where, env=environment, check=True, capture_output=True, text=True
        ).stdout

    def make(self, where: Path) -> None:
        """Make a repository with what the program likes to have in one."""
        where.mkdir()
        self.run(where, "init", "-q", *self.options, ".")
        self.commit(where, "first")
        if self.kind == "git":
            for command in (
                "repack -q -a -d",
                "tag -a t -m t",
                "commit-graph write --reachable --changed-paths",
                "update-index --split-index",
            ):
                self.run(where, *command.split())
            self.commit(where, "loose")
            for command in ("repack -q -d", "multi-pack-index write"):
                self.run(where, *command.split())
        else:
            self.run(where, "bookmark", "here")

    def commit(self, where: Path, name: str) -> None:
        """Commit a file."""
        (where / name).write_text(f"{name}\n" * 400)
        if self.kind == "git":
            self.run(where, "add", name)
        self.run(where, "commit", "-q", "-m", name, *(["-A"] if self.kind == "hg" else []))

    def accepts(self, where: Path) -> bool:
        """Return whether the program knows a repository's format, and finds nothing wrong."""
        try:
            self.check(where)
        except subprocess.CalledProcessError:
            return False
        return True

    def check(self, where: Path) -> None:
        """Let the program check a repository."""
        self.run(where, *(("verify", "-q") if self.kind == "hg" else ("-c", "safe.directory=*", "fsck", "--full", "--strict")))

    def damage(self, where: Path) -> None:
        """Damage what the last commit wrote."""
        files = list(where.glob(".hg/store/data/changed.i" if self.kind == "hg" else ".git/objects/??/*"))
        assert files
        for path in files:
            content = bytearray(path.read_bytes())
            content[-3] ^= 0xFF
            path.chmod(0o644)
            path.write_bytes(content)


MAKERS = {
    "git": Maker("git"),
    "git-sha256": Maker("git", ("--object-format=sha256",)),
    "git-newest": Maker("newest-git"),
    "git-newest-sha256": Maker("newest-git", ("--object-format=sha256",)),
    "git-newest-reftable": Maker("newest-git", ("--ref-format=reftable",)),
    "hg": Maker("hg"),
    "hg-oldest": Maker("oldest-hg"),
    "hg-newest": Maker("newest-hg"),
    "hg-newest-format": Maker("newest-hg", ("--config", "format.use-delta-info-flags=yes")),
}


def path_of(program: str) -> str:
    """Return the path of a program, or skip the test if this machine cannot have it."""
    age, _dash, name = program.rpartition("-")
    return str(newest(name if age == "newest" else program)) if age else MACHINE[name]


@pytest.fixture
def _no_known_git() -> Iterator[None]:
    """A process asks git only once what it knows, and tests that ran in this one had another git."""
    known = (formats.git_version, formats.ask_git)
    for each in known:
        each.cache_clear()
    yield
    for each in known:
        each.cache_clear()


@pytest.mark.usefixtures("_no_known_git")
@pytest.mark.parametrize("host", HOSTS)
def test_hosts_and_makers(empty_world: BackupHome, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """What one makes, another backs up, verifies and restores; damage does not reach the mirror."""
    world, programs = empty_world, host.split()
    for name, maker in MAKERS.items():
        maker.make(world.repos / name)
    path = [str(Path(path_of(each)).parent) for each in programs]
    monkeypatch.setenv("PATH", os.pathsep.join([*path, os.environ["PATH"]]))
    kinds = {maker.kind: next((each for each in programs if each.endswith(maker.kind)), maker.kind) for maker in MAKERS.values()}
    unverified = {name for name, maker in MAKERS.items() if not Maker(kinds[maker.kind]).accepts(world.repos / name)}
    check_run(world.init(), unverified)
    assert not world.sync()["changed"]
    for name, maker in MAKERS.items():
        maker.commit(world.repos / name, "changed")
    check_run(world.sync(), unverified)
    verified = world.sync(verify=True)
    assert set(actions(verified).values()) == {"same"}, verified
    assert world.differences() == []
    for name, maker in MAKERS.items():
        world.restore(name, to=str(world.root / f"to-{name}"))
        assert differences(world.repos / name, world.root / f"to-{name}") == []
        maker.check(world.root / f"to-{name}")
    for name, maker in MAKERS.items():
        maker.damage(world.repos / name)
    result = world.sync()
    good = {name for name, action in actions(result).items() if action != "failed"}
    assert good <= unverified, result
    for name, maker in MAKERS.items():
        if name not in good:
            maker.check(world.backup / name)


def check_run(result: dict[str, Any], unverified: set[str]) -> None:
    """A run took all, and verified those whose format the host knows."""
    failed = {unit["name"]: unit.get("msg") for unit in result["units"] if unit["action"] != "synced"}
    assert failed == {}, result
    assert set(actions(result)) == set(MAKERS)
    assert result["summary"]["unverified"] == len(unverified), (unverified, [(unit["name"], unit.get("notes")) for unit in result["units"]])
