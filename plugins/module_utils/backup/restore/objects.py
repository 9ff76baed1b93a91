# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Putting back the objects of a repository that are missing or damaged, from its mirror, and touching nothing else.

Damaged files are moved to the local state directory; in a repository the next run would back them up.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import Backup
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import scan_in_memory
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git import object_restore as git_mend
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg import file_restore as hg_mend
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repositories import find_stores
from ansible_collections.homelab.repoman.plugins.module_utils.backup.progress_display import counted
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotKnownError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, Step
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command, shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

MAX_NAMED = 3


class GitMender:
    """Mends git directories; see ``git_mend``."""

    def __init__(self, source: bytes, mirror: bytes, scratch: str) -> None:
        self.source, self.mirror, self.scratch = source, mirror, scratch

    def plan(self, store: bytes) -> Any:
        """Return what mending a git directory takes."""
        return git_mend.plan_mend(self.source, self.mirror, store)

    def apply(self, plan: Any, saved: bytes) -> Iterator[Any]:
        """Put back what was planned."""
        return git_mend.apply_mend(self.source, self.mirror, plan, saved, self.scratch)


class HgMender(GitMender):
    """Mends ``.hg`` directories; see ``hg_mend``."""

    def plan(self, store: bytes) -> Any:
        """Return what mending a ``.hg`` takes."""
        return hg_mend.plan_mend(self.source, self.mirror, store, self.scratch)

    def apply(self, plan: Any, saved: bytes) -> Iterator[Any]:
        """Put back what was planned."""
        return hg_mend.apply_mend(self.source, plan, saved)


MENDERS: dict[str, Any] = {"git": GitMender, "hg": HgMender}
"""What mends each kind of repository."""


@dataclass
class Store:
    """A repository's store, and what mending it takes.

    :param path: relative to the unit.
    """

    path: bytes
    mender: Any
    plan: Any


@dataclass
class ObjectsRestore:
    """Objects of one project or directory.

    :param name: the requested name.
    :param unit: the directory in ``repos_root``.
    :param inside: the project's path in the unit; empty for the whole unit.
    :param scratch: private directory that stays after the restore.
    """

    context: Backup
    found: Target
    name: str
    unit: str
    inside: bytes
    scratch: str
    notes: list[str] = field(default_factory=list)
    stores: list[Store] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.source = os.path.join(os.path.realpath(self.context.place.repos_root), self.unit)
        self.mirror = str(self.found.mirror(self.unit))
        when = datetime.now(timezone.utc).strftime(history.STATE_FORMAT)
        self.saved = str(self.context.state(self.found) / "damaged" / when / self.unit)

    def plan(self) -> Plan:
        """Return the planned repairs.

        :raises RepomanError: the repository is missing in the source or in the mirror.
        """
        self._find()
        plan = Plan()
        mends = [mend for store in self.stores for mend in store.plan.mends]
        if mends:
            before = "".join(f"{escape_path(mend.path)}: {mend.reason}\n" for mend in mends)
            after = "".join(f"{escape_path(mend.path)}: sound, from the mirror\n" for mend in mends)
            plan.add(Step(self._description(mends), self._apply, target=self.source, before=before, after=after))
        return plan

    def _description(self, mends: list[Any]) -> str:
        damaged = sum(mend.replaces for mend in mends)
        what = f"restore {counted(len(mends), 'object')} in {escape_path(os.fsencode(self.name))}"
        return f"{what}, saving {counted(damaged, 'damaged file')} in {escape_path(os.fsencode(self.saved))}" if damaged else what

    def _find(self) -> None:
        try:
            manifest = scan_in_memory(Unit(self.unit, self.mirror))
        except FileNotFoundError as error:
            raise NotKnownError(
                f"there is no backup of {escape_path(os.fsencode(self.name))} in {self.found.root}.",
                repoman_command("sync", [], ("--list-versions", self.name)),
                f"ls {self.found.root}",
            ) from error
        if not os.path.isdir(self.source) or os.path.islink(self.source):
            raise ConflictError(
                f"{escape_path(os.fsencode(self.source))} is not a directory: there is no repository to restore objects to.",
                f"to get all of it back: {repoman_command('restore', [self.name])}",
            )
        begin = self.inside + b"/" if self.inside else b""
        stores = {path: kind for path, kind in find_stores(manifest).items() if not begin or (path + b"/").startswith(begin)}
        if not stores:
            raise NotKnownError(
                f"there is no repository in the backup of {escape_path(os.fsencode(self.name))}.",
                f"to get files back: {repoman_command('restore', [self.name], ('--path', 'PATH'), '--overwrite')}",
            )
        for path, kind in sorted(stores.items()):
            if kind in MENDERS:
                self._plan_store(path, MENDERS[kind](os.fsencode(self.source), os.fsencode(self.mirror), self.scratch))

    def _plan_store(self, path: bytes, mender: Any) -> None:
        try:
            plan = mender.plan(path)
        except (FileNotFoundError, NotADirectoryError):
            place = os.path.join(os.fsencode(self.source), path)
            self.notes.append(
                f"{escape_path(place)} is no longer a repository, so no objects were restored to it. To restore it:"
                f" {repoman_command('restore', [self.unit], ('--path', path), '--overwrite')}"
            )
            return
        except OSError as error:
            shown_place = escape_path(os.path.join(os.fsencode(self.source), path))
            inner = error.filename if isinstance(error.filename, (str, bytes)) else b""
            which = f" ({escape_path(os.fsencode(inner))})" if inner else ""
            raise RepomanError(
                f"{shown_place} cannot be read: {error.strerror or error}{which}; nothing was restored.",
                f"find {shell_word(os.path.join(os.fsencode(self.source), path))} ! -readable -o -type d ! -executable",
            ) from error
        self.stores.append(Store(path, mender, plan))

    @property
    def left(self) -> list[tuple[bytes, str]]:
        """What neither the source nor its mirror has sound, with what is wrong."""
        return [each for store in self.stores for each in store.plan.left]

    def _apply(self) -> None:
        """Put back what was planned.

        :raises RepomanError: the source, or the directory for damaged files, cannot be written. Repairs already done stay.
        """
        done = 0
        try:
            for store in self.stores:
                for _mend in store.mender.apply(store.plan, os.fsencode(self.saved)) if store.plan.mends else ():
                    done += 1
        except OSError as error:
            where = error.filename2 or error.filename
            path = os.fsencode(where) if isinstance(where, (str, bytes)) and where else os.fsencode(self.source)
            place = path if path.startswith(b"/") else os.path.join(os.fsencode(self.source), path)
            raise RepomanError(
                f"{escape_path(place)} cannot be written: {error.strerror or error}; {counted(done, 'object')} put back before that.",
                f"df -h {shell_word(self.source)} {shell_word(os.path.dirname(os.path.dirname(self.saved)))}",
                f"go on with it: {repoman_command('restore', [self.name], '--objects')}",
            ) from error

    def check_left(self, put_back: int) -> None:
        """Report damage that the mirror cannot repair.

        :raises RepomanError: something is damaged in both.
        """
        if not self.left:
            return
        named = ", ".join(f"{escape_path(path)} ({reason})" for path, reason in self.left[:MAX_NAMED])
        more = f" and {len(self.left) - MAX_NAMED} more" if len(self.left) > MAX_NAMED else ""
        raise RepomanError(
            f"{escape_path(os.fsencode(self.name))}: neither it nor its mirror has sound: {named}{more}; {counted(put_back, 'object')} put back.",
            f"an earlier version may have them: {repoman_command('sync', [], ('--list-versions', self.name))}",
        )

    def result(self, plan: Plan, diff: bool) -> dict[str, Any]:
        """Return the module's result."""
        mends = [mend for store in self.stores for mend in store.plan.mends]
        return {
            "changed": plan.changed,
            "steps": plan.descriptions,
            "notes": self.notes,
            "diff": plan.diff if diff else [],
            "restored": {
                "name": escape_path(os.fsencode(self.name)),
                "to": escape_path(os.path.join(os.fsencode(self.source), self.inside) if self.inside else os.fsencode(self.source)),
                "from": "",
                "files": len(mends),
                "bytes": 0,
                "saved": self.saved if any(mend.replaces for mend in mends) else "",
                "has_container": False,
                "objects": [escape_path(mend.path) for mend in mends],
            },
        }


def restore_objects(context: Backup, found: Target, name: str, inside: str, *, check: bool, diff: bool) -> dict[str, Any]:
    """Put back the objects of a project or directory; return the module's result.

    :param inside: its path in ``repos_root``.
    :raises RepomanError: it cannot be done, or something is damaged in source and mirror.
    """
    unit, _slash, rest = inside.partition("/")
    with tempfile.TemporaryDirectory(prefix="repoman-") as scratch:
        operation = ObjectsRestore(context, found, name, unit, os.fsencode(rest), scratch)
        plan = operation.plan()
        if not check and plan.changed:
            plan.apply()
        operation.check_left(0 if check else sum(len(store.plan.mends) for store in operation.stores))
        return operation.result(plan, diff)
