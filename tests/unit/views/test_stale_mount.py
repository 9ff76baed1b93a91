# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command that ends a stale mount."""

from __future__ import annotations

from typing import Any

from ansible_collections.homelab.repoman.plugins.plugin_utils.views.projects import stale_mount


def test_a_missing_directory_cannot_be_mounted() -> None:
    """It has to come back first; one that was made again is mounted by ``new``."""
    project: Any = {"name": "demo", "repo_exists": True}
    assert stale_mount(project).endswith("; to mount it again: repoman new demo")
    assert stale_mount(project | {"repo_exists": False}).endswith("; if it was backed up: repoman restore demo")
