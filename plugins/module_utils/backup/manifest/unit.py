# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A unit of the backup."""

from __future__ import annotations

from dataclasses import dataclass, field

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.tree_rules import TreeRules

TOP_LEVEL_FILES = "(loose files)"
"""Name of the unit of all files directly in ``repos_root``."""


@dataclass(frozen=True)
class Unit:
    """A directory directly in ``repos_root``, or all files directly in ``repos_root``; it is backed up as a whole.

    :param name: the directory's name; for top-level files the name :data:`TOP_LEVEL_FILES`.
    :param source: absolute path of the directory.
    :param is_top_level: only entries that are not directories count; the mirror is the root of the backup.
    :param rules: rules for skipped paths.
    """

    name: str
    source: str
    is_top_level: bool = False
    rules: TreeRules = field(default_factory=TreeRules)
