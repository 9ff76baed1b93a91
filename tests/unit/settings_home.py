# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A home whose settings are backed up."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from backup_fixture import BackupHome

SECRET = "hunter2-do-not-show"  # noqa: S105 - a test's
NOBODY = 65534
OVERRIDE = f'[config]\n"environment.TOKEN" = "{SECRET}"\n'


class SettingsHome(BackupHome):
    """A home with two projects, an override and two templates."""

    def __init__(self, root: Path, user: str | None = None) -> None:
        super().__init__(root, user)
        self.overrides, self.templates = root / "repos.d", root / ".config/repoman/profiles.d"
        self.stored = self.backup / ".repoman/settings"
        self.overrides.mkdir()
        self.templates.mkdir(parents=True)
        (self.overrides / "isurus.toml").write_text(OVERRIDE)
        (self.templates / "llm.yml").write_text(f"config: {{x: {SECRET}}}\n")
        (self.templates / "dots.yaml").write_text("config: {}\n")
        for name in ("isurus", "lamna"):
            self.write(f"{name}/file")
            self.project(name)

    def files(self) -> dict[str, str]:
        """Return the settings on the target."""
        found = [path for path in self.stored.rglob("*") if path.is_file() and path.name != "owner.json" and path.name[0] != "."]
        return {str(path.relative_to(self.stored)): path.read_text() for path in found}

    def owner(self) -> dict[str, Any]:
        """Return whose settings the target has."""
        loaded: dict[str, Any] = json.loads((self.stored / "owner.json").read_text())
        return loaded

    def versions(self) -> list[str]:
        """Return the names of the versions in the history."""
        return history.version_names(Target(str(self.backup), ""))

    def saved(self) -> dict[str, str]:
        """Return what the history has of the settings, without the owner, the newest version of each."""
        saved = {}
        for name in self.versions():
            directory = self.backup / ".repoman/kept" / name / "(settings)"
            saved |= {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("[!.]*") if path.is_file()}
        saved.pop("owner.json", None)
        return saved

    def here(self) -> dict[str, str]:
        """Return the settings of this host."""
        found = {f"repos.d/{path.name}": path for path in self.overrides.glob("*.toml")}
        found |= {f"profiles.d/{path.name}": path for path in self.templates.glob("*.y*ml")}
        return {name: path.read_text() for name, path in found.items()} | {"repoman.toml": self.registry.read_text()}


def settings_of(result: dict[str, Any]) -> dict[str, Any]:
    """Return the result of the settings."""
    found: dict[str, Any] = result["settings"]
    return found


@contextmanager
def home_of_nobody(user: str | None = "nobody") -> Iterator[SettingsHome]:
    """Make a home that belongs to the user without privileges, in a place where that user can reach it.

    :param user: whom root serves; None if the test becomes that user.
    """
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        root = Path(name)
        root.chmod(0o755)
        world = SettingsHome(root, user=user)
        for path in [root, *root.rglob("*")] if os.geteuid() == 0 else ():
            os.chown(path, NOBODY, NOBODY)
        yield world
