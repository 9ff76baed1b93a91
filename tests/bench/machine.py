# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""On what it was measured: the machine, the commit, the versions of the programs. No names of machines, no paths."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = {
    "incus": ("incus", "--version"),
    "rsync": ("rsync", "--version"),
    "restic": ("restic", "version"),
    "borg": ("borg", "--version"),
    "rclone": ("rclone", "version"),
    "git": ("git", "--version"),
}
NUMBER = re.compile(r"\d+(?:\.\d+)+")


@dataclass(frozen=True)
class Machine:
    """A kind of machine: figures are compared with those of the same kind only."""

    cores: int
    cpu: str
    kernel: str
    python: str

    @property
    def kind(self) -> str:
        """Return what decides about speed, as a name in the history."""
        return f"{self.cores} x {self.cpu}"


def this_machine() -> Machine:
    """Describe this one."""
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"(?m)^(?:model name|Model)\s*:\s*(.+)$", text)
    cpu = " ".join(model[1].split()) if model else platform.machine()
    release = NUMBER.match(platform.release())
    return Machine(len(os.sched_getaffinity(0)), cpu, release[0] if release else "unknown", platform.python_version())


def versions(ansible_playbook: Path | None = None) -> dict[str, str]:
    """Return the versions of the programs that are installed, by name.

    :param ansible_playbook: whose version of ansible-core is asked for, too.
    """
    commands = VERSIONS | ({"ansible-core": (str(ansible_playbook), "--version")} if ansible_playbook else {})
    return {name: number for name, command in commands.items() if (number := _version(command))}


def _version(command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    found = NUMBER.search(done.stdout)
    return found[0] if found else ""


def commit() -> str:
    """Return the commit that was measured, with ``+`` if files differ from it; empty outside a checkout."""
    done = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False)
    return done.stdout.strip()
