# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs that make a backup, each as people type it, each with a separate target."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from world import World

from bench.worlds import Bench

REGISTRY = """\
[repoman]
schema = 3
[defaults]
repos_root = "{source}"
backup_root = "{target}"
logdir = "{home}/log"
"""


class Contender(ABC):
    """A program with its target. The first run makes what it needs there.

    The target stays until the bench ends. For minutes after files were deleted, ext4 does not use their inodes, and passes over them each
    time that it looks for one (``recently_deleted`` in Linux's ``fs/ext4/ialloc.c``): a copy of 89 000 entries then takes up to four times
    as long.

    :param source: directory of the repositories. :param target: an empty directory.
    """

    name: ClassVar[str]

    def __init__(self, bench: Bench, source: Path, target: Path) -> None:
        self.bench, self.source, self.target = bench, source, target
        self.world: World = bench.world(bench.socket if isinstance(self, Ours) else "none")
        self.runs = 0
        self.megabytes = 0.0
        self.prepare()

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Do what a person did long ago."""

    @abstractmethod
    def commands(self, first: bool) -> list[list[str]]:
        """Return what is typed."""

    def run(self, *options: str) -> float:
        """Run once, with options more; return the seconds."""
        seconds = 0.0
        for command in self.commands(not self.runs):
            done = self.bench.run(self.world, *command, *options)
            seconds += done.seconds
            self.megabytes = max(self.megabytes, done.megabytes)
        self.runs += 1
        return seconds


class Ours(Contender):
    """repoman sync."""

    name = "repoman"

    def prepare(self) -> None:
        """Write a registry."""
        self.world.write(self.world.registry, REGISTRY.format(source=self.source, target=self.target, home=self.world.home))

    def commands(self, first: bool) -> list[list[str]]:
        """Return what is typed."""
        return [["repoman", "sync", *(["--init", "--allow-local"] if first else [])]]


class Rsync(Contender):
    """rsync, which keeps nothing of the past."""

    name = "rsync"

    def commands(self, first: bool) -> list[list[str]]:
        """Return what is typed."""
        return [["rsync", "-a", "--delete", f"{self.source}/", f"{self.target}/"]]


class Rclone(Contender):
    """rclone between two directories."""

    name = "rclone"

    def commands(self, first: bool) -> list[list[str]]:
        """Return what is typed."""
        return [["rclone", "sync", "--links", str(self.source), str(self.target)]]


class Restic(Contender):
    """restic, which always encrypts."""

    name = "restic"

    def prepare(self) -> None:
        """Write the file with the password."""
        self.password = self.world.write(self.world.home / "password", "a password")

    def commands(self, first: bool) -> list[list[str]]:
        """Return what is typed."""
        restic = ["restic", "--repo", str(self.target), "--password-file", str(self.password)]
        return [*([[*restic, "init"]] if first else []), [*restic, "backup", str(self.source)]]


class Borg(Contender):
    """borg without encryption."""

    name = "borg"

    def commands(self, first: bool) -> list[list[str]]:
        """Return what is typed."""
        init = [["borg", "init", "--encryption", "none", str(self.target)]] if first else []
        return [*init, ["borg", "create", f"{self.target}::backup{self.runs}", str(self.source)]]
