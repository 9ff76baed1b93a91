# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore the missing or damaged objects of a repository from its mirror, and touch nothing else.

Damaged files are moved to the local state directory; inside the repository, the next run would back them up.
"""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import BackupContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import scan_in_memory
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git import object_restore
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg import file_restore
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repositories import find_repositories
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.source_repair import Repair, RepairPlan
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.items import NotInBackupError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import first_of, plural
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, Step
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command, shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

MAX_NAMED = 3


class StoreRepair(ABC):
    """The repair of one repository.

    :param source: the unit's directory.
    :param mirror: the unit's mirror.
    :param store: the repository's git or ``.hg`` directory, relative to the unit.
    :param scratch: private directory that stays until the repair is complete.
    """

    plan: RepairPlan

    def __init__(self, source: bytes, mirror: bytes, store: bytes, scratch: str) -> None:
        self.source, self.mirror, self.store, self.scratch = source, mirror, store, scratch

    @abstractmethod
    def apply(self, saved: bytes) -> Iterator[Repair]:
        """Replace files in the source, and yield each one once it is complete.

        :param saved: directory for the damaged files.
        """


class GitRepair(StoreRepair):
    """The repair of a git directory."""

    def __init__(self, source: bytes, mirror: bytes, store: bytes, scratch: str) -> None:
        super().__init__(source, mirror, store, scratch)
        self.plan = object_restore.plan_repair(source, mirror, store)

    def apply(self, saved: bytes) -> Iterator[Repair]:
        """Replace files in the source."""
        return object_restore.apply_repair(self.source, self.mirror, self.plan, saved, self.scratch)


class HgRepair(StoreRepair):
    """The repair of a ``.hg`` directory."""

    def __init__(self, source: bytes, mirror: bytes, store: bytes, scratch: str) -> None:
        super().__init__(source, mirror, store, scratch)
        self.plan: file_restore.HgRepairPlan = file_restore.plan_repair(source, mirror, store, scratch)

    def apply(self, saved: bytes) -> Iterator[Repair]:
        """Replace files in the source."""
        return file_restore.apply_repair(self.source, self.plan, saved)


REPAIRS: dict[str, type[StoreRepair]] = {"git": GitRepair, "hg": HgRepair}
"""How to repair each kind of repository."""


@dataclass
class ObjectsRestore:
    """The restore of the objects of one project or directory.

    :param name: the requested name.
    :param unit: the directory in ``repos_root``.
    :param inside: the project's path in the unit; empty for the whole unit.
    :param scratch: private directory that outlives the restore.
    """

    context: BackupContext
    target: Target
    name: str
    unit: str
    inside: bytes
    scratch: str
    notes: list[str] = field(default_factory=list)
    repairs: list[StoreRepair] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.source = os.path.join(os.path.realpath(self.context.roots.repos_root), self.unit)
        self.mirror = str(self.target.mirror(self.unit))
        when = datetime.now(timezone.utc).strftime(history.VERSION_FORMAT)
        self.saved = str(self.context.state(self.target) / "damaged" / when / self.unit)

    def plan(self) -> Plan:
        """Return the planned repairs.

        :raises RepomanError: the repository is missing in the source or in the mirror.
        """
        self._plan_repairs()
        plan = Plan()
        if files := self._files:
            before = "".join(f"{escape_path(file.path)}: {file.reason}\n" for file in files)
            after = "".join(f"{escape_path(file.path)}: sound, from the mirror\n" for file in files)
            plan.add(Step(self._description(files), self._apply, target=self.source, before=before, after=after))
        return plan

    @property
    def _files(self) -> list[Repair]:
        return [file for repair in self.repairs for file in repair.plan.repairs]

    def _description(self, files: list[Repair]) -> str:
        damaged = sum(file.replaces for file in files)
        sentence = f"restore {plural(len(files), 'object')} in {escape_path(os.fsencode(self.name))}"
        if not damaged:
            return sentence
        return f"{sentence}, saving {plural(damaged, 'damaged file')} in {escape_path(os.fsencode(self.saved))}"

    def _plan_repairs(self) -> None:
        try:
            manifest = scan_in_memory(Unit(self.unit, self.mirror))
        except FileNotFoundError as error:
            raise NotInBackupError(
                f"there is no backup of {escape_path(os.fsencode(self.name))} in {self.target.root}.",
                repoman_command("sync", [], ("--list-versions", self.name)),
                f"ls {self.target.root}",
            ) from error
        if not os.path.isdir(self.source) or os.path.islink(self.source):
            raise ConflictError(
                f"{escape_path(os.fsencode(self.source))} is not a directory: there is no repository to restore objects to.",
                f"to get all of it back: {repoman_command('restore', [self.name])}",
            )
        prefix = self.inside + b"/" if self.inside else b""
        repositories = {path: vcs for path, vcs in find_repositories(manifest).items() if (path + b"/").startswith(prefix)}
        if not repositories:
            raise NotInBackupError(
                f"there is no repository in the backup of {escape_path(os.fsencode(self.name))}.",
                f"to get files back: {repoman_command('restore', [self.name], ('--path', 'PATH'), '--overwrite')}",
            )
        for path, vcs in sorted(repositories.items()):
            if vcs in REPAIRS:
                self._plan_repair(path, REPAIRS[vcs])

    def _plan_repair(self, store: bytes, repair_type: type[StoreRepair]) -> None:
        path = os.path.join(os.fsencode(self.source), store)
        try:
            self.repairs.append(repair_type(os.fsencode(self.source), os.fsencode(self.mirror), store, self.scratch))
        except (FileNotFoundError, NotADirectoryError):
            self.notes.append(
                f"{escape_path(path)} is no longer a repository, so no objects were restored to it. To restore it:"
                f" {repoman_command('restore', [self.unit], ('--path', store), '--overwrite')}"
            )
        except OSError as error:
            unreadable_path = error.filename if isinstance(error.filename, (str, bytes)) else b""
            which = f" ({escape_path(os.fsencode(unreadable_path))})" if unreadable_path else ""
            raise RepomanError(
                f"{escape_path(path)} cannot be read: {error.strerror or error}{which}; nothing was restored.",
                f"find {shell_word(path)} ! -readable -o -type d ! -executable",
            ) from error

    @property
    def unrepairable(self) -> list[tuple[bytes, str]]:
        """Objects that are damaged or missing in the source and in the mirror, with a description."""
        return [unrepairable for repair in self.repairs for unrepairable in repair.plan.unrepairable]

    def _apply(self) -> None:
        """Replace the files in the source.

        :raises RepomanError: the source, or the directory for damaged files, cannot be written. Repairs already done stay.
        """
        done = 0
        try:
            for repair in self.repairs:
                if repair.plan.repairs:
                    for _file in repair.apply(os.fsencode(self.saved)):
                        done += 1
        except OSError as error:
            filename = error.filename2 or error.filename
            path = os.fsencode(filename) if isinstance(filename, (str, bytes)) else b""
            where = os.path.join(os.fsencode(self.source), path).rstrip(b"/")
            raise RepomanError(
                f"{escape_path(where)} cannot be written: {error.strerror or error}; {plural(done, 'object')} put back before that.",
                f"df -h {shell_word(self.source)} {shell_word(os.path.dirname(os.path.dirname(self.saved)))}",
                f"go on with it: {repoman_command('restore', [self.name], '--objects')}",
            ) from error

    def check_unrepairable(self, restored: int) -> None:
        """Report damage that the mirror cannot repair.

        :param restored: number of restored objects.
        :raises RepomanError: something is damaged in both.
        """
        if not self.unrepairable:
            return
        named = first_of([f"{escape_path(path)} ({reason})" for path, reason in self.unrepairable], MAX_NAMED)
        raise RepomanError(
            f"{escape_path(os.fsencode(self.name))}: neither it nor its mirror has sound: {named}; {plural(restored, 'object')} put back.",
            f"an earlier version may have them: {repoman_command('sync', [], ('--list-versions', self.name))}",
        )

    def result(self, plan: Plan, diff: bool) -> dict[str, Any]:
        """Return the module's result."""
        files = self._files
        return {
            "changed": plan.changed,
            "steps": plan.descriptions,
            "notes": self.notes,
            "diff": plan.diff if diff else [],
            "restored": {
                "name": escape_path(os.fsencode(self.name)),
                "to": escape_path(os.path.join(os.fsencode(self.source), self.inside) if self.inside else os.fsencode(self.source)),
                "from": "",
                "files": len(files),
                "bytes": 0,
                "saved": self.saved if any(file.replaces for file in files) else "",
                "has_container": False,
                "replaces_directory": False,
                "objects": [escape_path(file.path) for file in files],
            },
        }


def restore_objects(context: BackupContext, target: Target, name: str, path: str, *, check: bool, diff: bool) -> dict[str, Any]:
    """Restore the objects of a project or directory; return the module's result.

    :param path: its path in ``repos_root``.
    :raises RepomanError: it is not possible, or something is damaged in source and mirror.
    """
    unit, _slash, inside = path.partition("/")
    with tempfile.TemporaryDirectory(prefix="repoman-") as scratch:
        operation = ObjectsRestore(context, target, name, unit, os.fsencode(inside), scratch)
        plan = operation.plan()
        if not check and plan.changed:
            plan.apply()
        operation.check_unrepairable(0 if check else sum(len(repair.plan.repairs) for repair in operation.repairs))
        return operation.result(plan, diff)
