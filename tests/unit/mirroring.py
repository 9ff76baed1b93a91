# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A place with sources and a target for the tests of mirroring, and the judges that are not ours: rsync, git and hg."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import quickhg
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import scan_units
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.diff_unit import diff_unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.mirror_units import mirror_units
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.options import MirrorOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.progress import Progress
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.result import MirrorResult
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_diff import UnitDiff
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.work_directories import prepare_directories

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "HGRCPATH": "",
    "HGUSER": "a",
}


def outcome_of(*command: str, cwd: Path | str = "/") -> subprocess.CompletedProcess[str]:
    """Run a command in an environment without anyone's configuration."""
    environment = ENVIRONMENT
    if Path(command[0]).name == "hg" and not {"init", "-R"} <= set(command):  # chg does not take -R for what is not there yet
        environment = ENVIRONMENT | quickhg.environment(program=command[0] if command[0] != "hg" else "")
        command = ("hg", *command[1:])
    return subprocess.run(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )


def run(*command: str, cwd: Path | str = "/", check: bool = True) -> str:
    """Run a command in an environment without anyone's configuration, and return what it wrote."""
    done = outcome_of(*command, cwd=cwd)
    if check and done.returncode:
        raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def git(where: Path, *arguments: str, check: bool = True) -> str:
    """Run git in a repository."""
    return run("git", "-c", "protocol.file.allow=always", "-C", str(where), *arguments, check=check)


def hg(where: Path, *arguments: str, check: bool = True) -> str:
    """Run hg in a repository."""
    return run("hg", "-R", str(where), "--cwd", str(where), "--noninteractive", *arguments, check=check)


class MirrorSandbox:
    """Sources, a target and what is remembered between runs.

    :param base: an empty directory.
    """

    def __init__(self, base: Path, **settings: Any) -> None:
        self.repos, self.target, self.state, self.scratch = base / "repos", base / "target", base / "state", base / "scratch"
        for each in (self.repos, self.target, self.state):
            each.mkdir(exist_ok=True)
        self.settings = settings
        self.runs = 0

    def kept(self) -> Path:
        """Return where the last run kept what it replaced."""
        return self.target / ".repoman" / "kept" / f"run{self.runs}"

    def options(self, **more: Any) -> MirrorOptions:
        """Return the settings of a run."""
        return MirrorOptions(
            target=str(self.target),
            history=str(self.kept()),
            work=str(self.target / ".repoman" / "work"),
            scratch=str(self.scratch),
            **{"jobs": 1, **self.settings, **more},
        )

    def units(self) -> list[Unit]:
        """Return all units of the source."""
        units = [
            Unit(os.fsdecode(each), os.fsdecode(os.path.join(bytes(self.repos), each))) for each in sorted(os.listdir(bytes(self.repos)))
        ]
        return [
            Unit("loose files", str(self.repos), is_top_level=True),
            *(each for each in units if os.path.isdir(each.source) and not os.path.islink(each.source)),
        ]

    def plans(self, options: MirrorOptions) -> list[UnitDiff]:
        """Scan, and plan what differs."""
        units = self.units()
        saved = {unit.name: str(self.state / f"{number_of(unit)}.manifest") for unit in units}
        digests = {name: manifest.digest for name, path in saved.items() if not options.full and (manifest := Manifest.load(path))}
        plans = []
        for scan in scan_units(units, digests, str(self.scratch), processes=1):
            if scan.error:
                raise scan.error
            if scan.path:
                path = saved[scan.unit.name]
                plans.append(
                    diff_unit(scan.unit, Manifest.load(path), scan.manifest(), options, manifest_path=path, unreadable=scan.unreadable)
                )
        return plans

    def sync(self, *, meanwhile: Callable[[list[UnitDiff]], None] = lambda _plans: None, **more: Any) -> dict[str, MirrorResult]:
        """Run once, and return the outcomes of the units that differed.

        :param meanwhile: called when everything is scanned and planned, and nothing is mirrored.
        """
        self.runs += 1
        options = self.options(**{"started_ns": time.time_ns(), **more})
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir()
        prepare_directories(options)
        outcomes = {}
        plans = self.plans(options)
        meanwhile(plans)
        for outcome in mirror_units(plans, options, Progress()):
            outcomes[outcome.unit.name] = outcome
            if outcome.manifest:
                shutil.move(outcome.manifest, self.state / f"{number_of(outcome.unit)}.manifest")
        return outcomes

    def settled(self, **more: Any) -> dict[str, MirrorResult]:
        """Run once, and see that every unit was mirrored unchanged."""
        outcomes = self.sync(**more)
        for outcome in outcomes.values():
            assert outcome.error is None, (outcome.error.message, outcome.error.hints)
            assert outcome.state in {"synced", "up to date"}
        differences = self.differences()
        assert not differences, differences
        return outcomes

    def differences(self) -> str:
        """Let rsync say where a mirror is not as its source (hard links are kept within a unit)."""
        command = ["rsync", "-n", "-a", "-H", "-c", "-i", "--delete", "--numeric-ids"]
        output = run(*command, "--exclude=/*/", f"{self.repos}/", f"{self.target}/")
        for unit in self.units():
            if not unit.is_top_level:
                output += run(*command, f"{unit.source}/", f"{self.target}/{unit.name}/")
        return "".join(each for each in output.splitlines(keepends=True) if each != ".d..t...... ./\n")


def number_of(unit: Unit) -> str:
    """Return a file name for a unit, whatever its name is."""
    return unit.name.encode("utf-8", "surrogateescape").hex()


def git_problems(where: Path) -> str:
    """Return what git has to say against a repository; nothing if it is whole."""
    done = subprocess.run(
        ["git", "-C", str(where), "fsck", "--full", "--no-dangling", "--no-progress"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else f"{done.returncode} {done.stdout}{done.stderr}"


def hg_problems(where: Path, *, dirstate: bool = True) -> str:
    """Return what hg has to say against a copy of a repository (it takes a lock there); nothing if it is whole.

    :param dirstate: false if what is checked out may be missing; only newer versions of hg look.
    """
    with tempfile.TemporaryDirectory() as base:
        shutil.copytree(where / ".hg", Path(base, ".hg"), symlinks=True)
        if not dirstate:
            Path(base, ".hg/dirstate").unlink()
        done = outcome_of("hg", "-R", base, "--noninteractive", "verify")
    return "" if done.returncode == 0 else f"{done.returncode} {done.stdout}{done.stderr}"
