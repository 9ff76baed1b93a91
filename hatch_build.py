# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the collection into the wheel, in a directory in which ansible-core finds it.

A built wheel carries ``ansible_collections/homelab/repoman``. An editable install links that
path back to the checkout, so that an edit is live.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COLLECTION = "ansible_collections/homelab/repoman"
CONTENT = ("galaxy.yml", "README.md", "COPYING", "docs/output.schema.json", "meta", "plugins", "roles", "playbooks", "profiles")


class CollectionHook(BuildHookInterface):  # type: ignore[type-arg]
    """Map the checkout onto ``ansible_collections/<namespace>/<name>``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the collection's files to the wheel, or link to them when editable."""
        if version == "editable":
            link = Path(self.root, ".dev", COLLECTION)
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to("../../..", target_is_directory=True)
            return
        build_data["force_include"].update({name: f"{COLLECTION}/{name}" for name in CONTENT})
