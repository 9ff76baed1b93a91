# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kind of repository in a home that is backed up, and the witnesses, which are programs of others: rsync, git, hg."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import quickhg
from backup_fixture import BackupHome
from newest import newest
from zoo.kind import PRELUDE, Damage, Kind

SAME_LINES = 40
ITEMIZED = len(">f+++++++++ ")
"""Characters before the path in a line of ``rsync -i``."""
GIT_SETTINGS = {
    "protocol.file.allow": "always",
    "gc.autoDetach": "false",
    "maintenance.autoDetach": "false",
    "safe.directory": "*",
    "core.fsync": "none",
}
GIT_QUESTIONS = (
    ("status", "--porcelain=v2", "--branch", "--ignored"),
    ("log", "--all", "--reflog", "--format=%H %D %s"),
    ("worktree", "list", "--porcelain"),
)
SLOW = ("dirstate-v2", "revlog.persistent-nodemap", "fileindex")
"""What Mercurial reads only if told so where it has no compiled code for it."""
HG_QUESTIONS = (("status", "--all"), ("log", "--hidden", "-T", "{rev}:{node} {phase} {branch} {bookmarks} {tags} {desc}\\n"))


def run(*command: str, cwd: Path, env: dict[str, str]) -> tuple[int, str]:
    """Run a command; return its status and what it wrote."""
    done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode, (done.stdout + done.stderr).decode(errors="backslashreplace")


def ask(*command: str, cwd: Path, env: dict[str, str]) -> tuple[int, list[str]]:
    """Run a command; return its status and its lines, sorted: git lists commits of one second in the order that a directory is read in."""
    status, output = run(*command, cwd=cwd, env=env)
    return status, sorted(output.splitlines())


def copy_tree(source: Path, to: Path) -> Path:
    """Copy a tree with all that belongs to it."""
    subprocess.run(["cp", "-a", "-T", "--", str(source), str(to)], check=True)
    return to


def copy_trees(sources: Sequence[Path], into: Path) -> None:
    """Copy trees with all that belongs to them into a new directory."""
    into.mkdir()
    subprocess.run(["cp", "-a", "--", *map(str, sources), str(into)], check=True)


def remove_tree(path: Path) -> None:
    """Remove a tree, whatever its modes are."""
    if os.geteuid() != 0:
        subprocess.run(["chmod", "-R", "u+rwX", "--", str(path)], check=False, capture_output=True)
    subprocess.run(["rm", "-rf", "--", str(path)], check=True)  # trees may be deeper than Python recurses


def tree_differences(one: Path, other: Path, *options: str) -> list[str]:
    """Let rsync say how two trees differ, in contents and all else."""
    command = ["rsync", "-aHnci", "--delete", "--numeric-ids", *options, f"{one}/", f"{other}/"]
    return subprocess.run(command, check=True, capture_output=True).stdout.decode(errors="backslashreplace").splitlines()


def trees_differences(names: Sequence[str], one: Path, other: Path, *options: str) -> dict[str, list[str]]:
    """Let rsync say how trees differ that have the same names in two directories, as :func:`tree_differences` does of two trees."""
    command = ["rsync", "-aHnci", "--delete", "--numeric-ids", *options, "--", *(str(one / name) for name in names), f"{other}/"]
    lines = subprocess.run(command, check=True, capture_output=True).stdout.decode(errors="backslashreplace").splitlines()
    differences: dict[str, list[str]] = {name: [] for name in names}
    for line in lines:
        name, _slash, path = line[ITEMIZED:].partition("/")
        differences[name].append(line[:ITEMIZED] + (path or "./"))
    return differences


class Enclosure:
    """A unit of one kind.

    :param world: its home.
    """

    def __init__(self, world: BackupHome, kind: Kind | Damage) -> None:
        self.world, self.kind = world, kind
        self.newest = kind.newest if isinstance(kind, Kind) else ""
        self.unit, self.mirror, self.outside = world.repos / kind.name, world.backup / kind.name, world.root / "outside" / kind.name
        self.environment = self._environment()
        self.unit.mkdir()
        self.outside.mkdir(parents=True)
        world.write("beside.txt")  # repositories are never all gone

    def _environment(self) -> dict[str, str]:
        settings = {
            f"GIT_CONFIG_{part}_{n}": text
            for n, pair in enumerate(GIT_SETTINGS.items())
            for part, text in zip(("KEY", "VALUE"), pair, strict=True)
        }
        extensions = self.kind.extensions if isinstance(self.kind, Kind) else ()
        programs = quickhg.environment(
            "[ui]\ntimeout = 1\n[storage]\n"
            + "".join(f"{each}.slow-path = allow\n" for each in SLOW)
            + "[extensions]\n"
            + "".join(f"{each} =\n" for each in extensions),
            str(newest("hg")) if self.newest == "hg" else "",
        )
        if self.newest == "git":
            programs["PATH"] = f"{newest('git').parent}:{programs['PATH']}"
        people = {
            f"GIT_{role}_{what}": text for role in ("AUTHOR", "COMMITTER") for what, text in (("NAME", "a"), ("EMAIL", "a@example.org"))
        }
        return {
            "HOME": str(self.world.root), "OUT": str(self.outside), "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_COUNT": str(len(GIT_SETTINGS)),
            "GIT_CEILING_DIRECTORIES": f"{self.world.repos}:{self.world.backup}:{self.world.root}", "GIT_OPTIONAL_LOCKS": "0", "GIT_EDITOR": "true",
            "HGUSER": "a", "HGPLAIN": "1", "HGEDITOR": "true", **programs, **people, **settings,
        }  # fmt: skip

    def shell(self, script: str) -> None:
        """Run a kind's lines in the unit."""
        status, output = run("sh", "-c", PRELUDE + script, "/etc/hostname", cwd=self.unit, env=self.environment)
        assert status == 0, f"{self.kind.name}: {script}\n{output}"

    def repositories(self, root: Path) -> tuple[list[Path], list[Path]]:
        """Return the git and the hg repositories below a copy of the unit."""
        return [root / each for each in self.kind.git], [root / each for each in self.kind.hg]

    # ---- what the witnesses say ---------------------------------------------------------------------------------------------------

    def verdicts(self, root: Path) -> list[tuple[str, int, list[str]]]:
        """Let git and hg say what they think of the unit, or of its mirror, by a copy: they write into what they look at."""
        copy = copy_tree(root, self.world.root / "witnessed")
        for name in self.transient:
            subprocess.run(["find", str(copy), "-depth", "-name", name, "-exec", "rm", "-rf", "{}", "+"], check=True)
        gits, hgs = self.repositories(copy)
        self._point_to(copy)
        clone = self.world.root / "clone"
        verdicts = [self._said(copy, path, "hg", "verify") for path in hgs]
        for path in gits:
            verdicts.append(self._said(copy, path, "git", "fsck", "--full", "--no-progress"))
            verdicts.append(self._said(copy, path, "git", "clone", "-q", "--bare", "--no-local", path.as_uri(), str(clone)))
            shutil.rmtree(clone, ignore_errors=True)
        remove_tree(copy)
        return verdicts

    @property
    def transient(self) -> tuple[str, ...]:
        """Names that are not backed up."""
        return self.kind.transient if isinstance(self.kind, Kind) else ()

    def _point_to(self, copy: Path) -> None:
        """Let what names its place by an absolute path be looked at in a copy, not in the source."""
        pointers = [f"--include={name}" for name in (".git", "gitdir", "alternates", "sharedpath")]
        done = subprocess.run(["grep", "-rlZF", *pointers, "-e", str(self.unit), str(copy)], capture_output=True, check=False)
        for name in filter(None, done.stdout.split(b"\0")):
            path = Path(os.fsdecode(name))
            path.chmod(path.stat().st_mode | 0o200)
            path.write_text(path.read_text().replace(str(self.unit), str(copy)))

    def _said(self, root: Path, path: Path, *command: str) -> tuple[str, int, list[str]]:
        status, output = run(*command, cwd=path, env=self.environment)
        lines = sorted(output.replace(str(root), "UNIT").splitlines())
        return " ".join(command[:2]), status, lines[:SAME_LINES]

    def state(self) -> list[tuple[int, list[str]]]:
        """Return what git and hg tell of the source."""
        gits, hgs = self.repositories(self.unit)
        return [ask("git", *question, cwd=path, env=self.environment) for path in gits for question in GIT_QUESTIONS] + [
            ask("hg", *question, cwd=path, env=self.environment) for path in hgs for question in HG_QUESTIONS
        ]

    def excludes(self) -> list[str]:
        """Return rsync's options for what is not backed up."""
        left_out = self.kind.left_out if isinstance(self.kind, Kind) else ""
        return [f"--exclude={each}" for each in (*self.transient, *filter(None, [left_out]))]

    # ---- the backup ---------------------------------------------------------------------------------------------------------------

    def line(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return what a run tells of the unit."""
        (line,) = [each for each in result["units"] if each["name"] == self.kind.name]
        return line

    def told(self, result: dict[str, Any]) -> tuple[str, str]:
        """Return the action of the unit in a run, and all its messages."""
        line = self.line(result)
        return line["action"], "\n".join([line.get("msg", ""), *line.get("hints", []), *line.get("notes", [])])

    def kept_times(self) -> list[str]:
        """Return the times of the runs that kept or created something of the unit."""
        own = self.world.backup / ".repoman"
        kept = [path.parent.name for path in own.glob(f"kept/*/{self.kind.name}")]
        created = [path.name for path in own.glob("created/*") if self.kind.name in json.loads(path.read_text())]
        return sorted({name[:16] for name in (*kept, *created)})

    def end(self) -> None:
        """Unmount what the kind mounted."""
        if isinstance(self.kind, Kind) and self.kind.left_out:
            self.shell(f"umount --lazy {self.kind.left_out} || true")
