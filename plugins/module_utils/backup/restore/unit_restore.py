# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore one unit, or a project's repository in it: plan, look at the result, apply."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import BackupContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.contents import data_size
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore import space
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.destination import Destination
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.operation import RestoreOperation
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.options import RestoreOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.planner import RestorePlanner
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import format_bytes, plural
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, Step
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.process.child import Report

_logger = get_logger("restore")


class UnitRestore:
    """The restore of one unit. :meth:`plan` comes first.

    :param options: with the name of the unit, or of its project.
    :param path: of the repository, in ``repos_root``.
    :param stack: closes what the restore opens.
    :ivar planned: the steps.
    :ivar files: number of files to restore.
    :ivar size: their bytes.
    """

    def __init__(self, context: BackupContext, target: Target, options: RestoreOptions, path: str, stack: ExitStack) -> None:
        self.context, self.options, self.stack = context, options, stack
        self.unit, _slash, subpath = path.partition("/")
        self._planner = RestorePlanner(context, target, options, self.unit, os.fsencode(subpath))
        self.planned = Plan()
        self.files = self.size = 0
        self.operation: RestoreOperation

    def plan(self, before_planning: Callable[[Destination], None] = lambda _destination: None) -> None:
        """Read the backup and the destination, and plan.

        :param before_planning: called with the destination before its contents are read.
        :raises RepomanError: the restore is not possible.
        """
        items = self._planner.read_items()
        destination = self._planner.resolve_destination()
        self.stack.callback(destination.close)
        before_planning(destination)
        self.operation = operation = self._planner.plan(items, destination, self.stack)
        self.files = sum(not item.is_directory for item in operation.items.values())
        self.size = sum(data_size(item.status) for item in operation.items.values() if stat.S_ISREG(item.status.st_mode))
        if operation.differs:
            self.planned.add(
                Step(
                    operation.description(self.files),
                    operation.apply,
                    undo=operation.undo,
                    target=escape_path(destination.path),
                    before=operation.before,
                    after=operation.after,
                )
            )
        _logger.debug("planned: %s", "; ".join(self.planned.descriptions) or "nothing to do")

    @property
    def space_needs(self) -> space.SpaceNeeds:
        """The space that the planned steps need."""
        return space.measure(self.operation.copies()) if self.planned.changed else {}

    def apply(self, report: Report) -> None:
        """Apply the plan.

        :raises RepomanError: it failed; the destination is unchanged.
        """
        for step in self.saving_steps:  # before anything is replaced
            report(step.replace("save ", "saving ", 1))
        report(f"restoring {self.name}: {plural(self.files)}, {format_bytes(self.size)}")
        self.planned.apply()

    # Result

    @property
    def name(self) -> str:
        """The name, for messages."""
        return escape_path(os.fsencode(self.options.name))

    @property
    def to(self) -> str:
        """The directory that is restored."""
        subpath, path = self._planner.subpath, self.operation.destination.path
        return escape_path(os.path.join(path, subpath) if subpath else path)

    @property
    def saving_steps(self) -> list[str]:
        """The step that saves replaced files; empty if nothing is replaced."""
        return self.operation.saving_step() if self.planned.changed else []

    @property
    def notes(self) -> list[str]:
        """Warnings."""
        operation = self.operation
        return [*self._planner.notes, *(operation.all_notes() if self.planned.changed else operation.place_notes())]

    @property
    def diff(self) -> list[dict[str, str]]:
        """The changed listings, if the options request them."""
        return self.planned.diff if self.options.diff else []

    def facts(self) -> dict[str, Any]:
        """Return what the results of one unit and of several have in common."""
        changed, is_subpath = self.planned.changed, bool(self._planner.subpath)
        return {
            "to": self.to,
            "files": self.files,
            "bytes": self.size,
            "saved": self.operation.saved if changed else "",
            "has_container": self._has_container(is_subpath),
            "replaces_directory": changed and self._replaces_directory(is_subpath),
        }

    def _has_container(self, is_subpath: bool) -> bool:
        """Return whether the restore replaced a directory that a container may have mounted."""
        source = os.path.join(os.path.realpath(self.context.roots.repos_root), self.unit)
        return (
            self._replaces_directory(is_subpath)
            and self.operation.destination.path == os.fsencode(source)
            and self.unit in {self.context.project_directory(project) for project in self.context.projects}
        )

    def _replaces_directory(self, is_subpath: bool) -> bool:
        """Return whether the restore replaces the directory itself, and not only files in it."""
        return self.operation.is_whole or (is_subpath and self.options.has_all_paths)
