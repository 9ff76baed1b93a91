# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Getting a repository, or some paths of it, back from its mirror, or as it was at an earlier time.

The state of an earlier time is put together from layers (``restore_layers``). Everything is first copied to a directory beside the
destination (``restore_copy``), which then takes its place at once (``restore_operation``), or, in a directory that cannot be
exchanged itself, path by path (``restore_paths``). Nothing of the repository is run or read as configuration.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup import context as backup
from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import Backup
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import shown
from ansible_collections.homelab.repoman.plugins.module_utils.backup.progress_display import amount, counted
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.cover import SAVED_INSIDE
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.destination import Boundaries, Destination, resolve
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.layers import (
    Items,
    drop_nested,
    layers_of,
    merge_layers,
    parse_time,
    select_paths,
    subtree,
    validate_path,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.objects import restore_objects
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.operation import DirectoryRestore, present_at
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.paths import PathsRestore
from ansible_collections.homelab.repoman.plugins.module_utils.backup.staging import Identity, identity, sweep
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.checks import open_for_reading
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.lock import RESTORES, RunLocks, unit_locked
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.core import progress
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotKnownError, UsageError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, Step
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command
from ansible_collections.homelab.repoman.plugins.module_utils.process import child as watch

SMALL = 4096
LOOSE_SAVED = b"loose-files"


def run(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Do what the module ``repoman_restore`` is asked to; see its documentation.

    :raises RepomanError: it cannot be done; source and destination are as they were.
    """
    context = backup.of(params)
    request = Request.of(params)
    found: tuple[Target, str] = context.ask(lambda report: open_for_reading(context.place), params["probe_timeout"])

    def work(report: watch.Report) -> dict[str, Any]:
        with ExitStack() as stack:
            restoring = Restoring(context, found[0], request, stack)
            return restoring.run_objects(check) if request.objects else restoring.run(check, report)

    result: dict[str, Any] = context.ask(work, params["patience"], alive=True, on_report=lambda text: progress.phase(str(text)))
    progress.clear()
    if warnings := [each for each in (found[1], *result.pop("notes")) if each]:
        result["warnings"] = warnings
    return result


@dataclass(frozen=True)
class Request:
    """What is asked for.

    :param since: the name of the first run to take back; None for none.
    :param paths: paths in the repository; empty for the whole repository.
    """

    name: str
    to: str | None
    typed_from: str | None
    since: str | None
    typed_paths: list[str]
    paths: list[bytes]
    overwrite: bool
    objects: bool
    diff: bool

    @classmethod
    def of(cls, params: dict[str, Any]) -> Request:
        """Return the request of a module's parameters.

        :raises UsageError: a time or path cannot be one, or options exclude each other.
        """
        objects = bool(params.get("objects"))
        if objects and (others := [each for each in ("to", "from", "paths", "overwrite") if params[each]]):
            raise UsageError(
                f"objects cannot be combined with {others[0]}.",
                repoman_command("restore", [params["name"]], "--objects"),
            )
        since = parse_time(params["from"]) if params["from"] else None
        typed = params["paths"] or []
        paths = [validate_path(path) for path in typed]
        return cls(
            params["name"], params["to"], params["from"], since, typed, paths, params["overwrite"], objects, params.get("_diff", True)
        )

    @property
    def is_whole(self) -> bool:
        """Whether all of the repository is asked for."""
        return not self.paths or b"" in self.paths

    def command(self, *options: str | tuple[str, str]) -> str:
        """Return the command for this request with other options."""
        again = [("--from", self.typed_from)] if self.typed_from else []
        return repoman_command("restore", [self.name], *again, *(("--path", path) for path in self.typed_paths), *options)


class Restoring:
    """One restore, in the process that may touch the target.

    :param stack: what is held is let go of with it.
    """

    def __init__(self, context: Backup, found: Target, request: Request, stack: ExitStack) -> None:
        self.context, self.target, self.request, self.stack = context, found, request, stack
        self.notes: list[str] = []
        self.locks: RunLocks | None = None

    def run(self, check: bool, report: watch.Report) -> dict[str, Any]:
        """Plan, and unless ``check`` do it; return the module's result."""
        request = self.request
        inside = self.context.path_of(request.name, [*backup.mirrors(self.target), *_kept_units(self.target), backup.LOOSE])
        unit, _slash, rest = inside.partition("/")
        if not check:
            self._lock(unit)
        everything = self._items(unit, os.fsencode(rest))
        destination = self._destination(unit)
        self.stack.callback(destination.close)
        if not check:
            self._sweep(destination)
        operation, within = self._operation(unit, os.fsencode(rest), everything, destination)
        items = operation.items
        files = sum(not item.is_directory for item in items.values())
        size = sum(_data_size(item.status) for item in items.values())
        plan = Plan()
        if operation.differs:
            plan.add(
                Step(
                    operation.description(files),
                    operation.apply,
                    operation.undo,
                    shown(destination.path),
                    operation.before,
                    operation.after,
                )
            )
        if not check and plan.changed:
            report(f"restoring {shown(os.fsencode(request.name))}: {counted(files)}, {amount(size)}")
            plan.apply()
        return {
            "changed": plan.changed,
            "steps": plan.descriptions,
            "notes": [*self.notes, *(operation.all_notes() if plan.changed else operation.place_notes())],
            "diff": plan.diff if request.diff else [],
            "restored": {
                "name": shown(os.fsencode(request.name)),
                "to": shown(os.path.join(destination.path, within) if within else destination.path),
                "from": request.since or "",
                "files": files,
                "bytes": size,
                "saved": operation.saved if plan.changed else "",
                "has_container": self._is_containers(unit, destination, operation, bool(within)),
            },
        }

    def run_objects(self, check: bool) -> dict[str, Any]:
        """Plan to put back objects, and unless ``check`` do it; return the module's result."""
        inside = self.context.path_of(self.request.name, backup.mirrors(self.target))
        if not check:
            self._lock(inside.partition("/")[0])
        result = restore_objects(self.context, self.target, self.request.name, inside, check=check, diff=self.request.diff)
        return result | {"notes": [*self.notes, *result["notes"]]}

    def _is_containers(self, unit: str, destination: Destination, operation: DirectoryRestore, is_part: bool) -> bool:
        """Whether a directory that a container may have mounted was replaced."""
        own = os.path.join(os.path.realpath(self.context.place.repos_root), unit)
        return (
            (operation.is_whole or (is_part and self.request.is_whole))
            and destination.path == os.fsencode(own)
            and unit in {self.context.directory(project) for project in self.context.projects}
        )

    def _lock(self, unit: str) -> None:
        """Be the only run at this unit, as far as this machine has a place to say so: a restore needs none."""
        state = self.context.state(self.target)
        try:
            if state.is_dir():
                self.locks = self.stack.enter_context(unit_locked(self.target, state, self.context.me, unit))
        except OSError as error:
            self.notes.append(f"{state} cannot be written ({error.strerror}): restored without a lock against other runs.")

    def _items(self, unit: str, inside: bytes) -> Items:
        """Return all that the unit held.

        :raises NotKnownError: there is no backup of it.
        """
        request = self.request
        is_loose = unit == backup.LOOSE
        names, known = set[bytes](), False
        if is_loose:
            with suppress(OSError):
                names, known = backup.loose_names(self.context.state(self.target), self.target)
        everything = merge_layers(layers_of(self.target, unit, request.since), is_loose, names if known else None)
        if not everything or (inside and not (inside in everything and everything[inside].is_directory)):
            when = f" as of {request.typed_from}" if request.since else ""
            raise NotKnownError(
                f"there is no backup of {shown(os.fsencode(request.name))}{when} in {self.target.root}.",
                repoman_command("sync", [], ("--list-kept", request.name)),
                f"ls {self.target.root}",
            )
        past = history.load(self.target, time.time())
        oldest = past.oldest
        if request.since and request.since < oldest and request.since not in past.names:
            self.notes.append(f"The history begins at {oldest}; this is the oldest version.")
        return everything

    def _check_holds_nothing_else(self, operation: DirectoryRestore) -> None:
        """Refuse to replace a directory that holds the backup, all repositories, or a home.

        :raises ConflictError: it does.
        """
        path = os.fsdecode(operation.destination.path)
        place, me = self.context.place, self.context.me
        for what, inside in (("the backup", place.backup_root), ("your repositories", place.repos_root), ("your home", me.home)):
            if _holds(path, inside):
                name = os.path.basename(self.request.name) or "DIR"
                raise ConflictError(
                    f"{shown(operation.destination.path)} holds {what} and would be replaced completely; nothing was restored.",
                    f"into a directory in it: {self.request.command(('--to', os.path.join(path, name)))}",
                )

    def _destination(self, unit: str) -> Destination:
        """Return the directory to restore to.

        :raises ConflictError: it is in the backup, or something is in the way.
        """
        place = self.context.place
        if self.request.to:
            path = os.path.abspath(self.context.me.expand(self.request.to))
        else:
            path = place.repos_root if unit == backup.LOOSE else os.path.join(place.repos_root, unit)
        boundaries = Boundaries(
            roots=_identities([place.repos_root]),
            repositories=_identities(self.context.repositories.values()),
            backup=_identities([place.backup_root]),
        )
        if unit == backup.LOOSE and not self.request.to:
            path = os.path.realpath(path)
        return resolve(os.fsencode(path), boundaries)

    def _sweep(self, destination: Destination) -> None:
        """Clean up after killed restores next to the destination, or inside it if it is a separate file system."""
        with self.locks.alone(RESTORES) if self.locks else nullcontext(False) as alone:
            saved = self._swept(destination, alone)
        if self.locks:
            self.stack.enter_context(self.locks.using(RESTORES))
        self.notes += [
            f"A restore that was killed had replaced a directory; its previous contents are in {shown(os.path.join(above, name))}."
            for above, name in saved
        ]

    def _swept(self, destination: Destination, alone: bool) -> list[tuple[bytes, bytes]]:
        """Return where killed restores had put away what they replaced.

        :param alone: no other restore is under way.
        """
        saved = []
        if not destination.missing:
            saved += [(os.path.dirname(destination.path), name) for name in sweep(destination.parent_fd, alone)]
        status = destination.status
        if status is not None and stat.S_ISDIR(status.st_mode):
            saved += [(destination.path, name) for name in sweep(destination.fd, alone)]
        return saved

    def _operation(self, unit: str, inside: bytes, everything: Items, destination: Destination) -> tuple[DirectoryRestore, bytes]:
        """Return the planned operation, and the path in the destination for messages.

        :raises ConflictError: the destination is there, and may not be overwritten.
        """
        request = self.request
        paths = [_meant(path, subtree(everything, inside)) for path in request.paths]
        name = shown(os.fsencode(request.name))
        items = select_paths(subtree(everything, inside), paths, request.name)
        within = inside if not request.to else b""
        status = destination.status
        if status is not None and not stat.S_ISDIR(status.st_mode):
            raise ConflictError(
                f"{shown(destination.path)} is not a directory; nothing was restored.",
                f"to another directory: {request.command(('--to', 'DIR'))}",
            )
        if within:
            paths = [within] if request.is_whole else [within + b"/" + path for path in paths]
            items = select_paths(everything, paths, request.name)
            if b"" in everything and not destination.is_filled:
                items[b""] = everything[b""]
        is_loose = unit == backup.LOOSE
        if is_loose and request.is_whole:
            paths = sorted(items)
        operation = self._choose(shown(os.fsencode(unit)) if within else name, destination, items, drop_nested(paths), is_loose)
        if isinstance(operation, PathsRestore):
            self.stack.callback(operation.close)
            operation.within = within
        self._check_overwrite(operation)
        return operation, within

    def _choose(self, of: str, destination: Destination, items: Items, paths: list[bytes], is_loose: bool) -> DirectoryRestore:
        """Return the way to restore.

        :param of: what the paths are of, for messages.
        """
        name = shown(os.fsencode(self.request.name))
        if destination.status is None:
            return DirectoryRestore(name, destination, items, present_at(destination, [], items))
        paths = paths if destination.is_filled or (is_loose and not self.request.to) else []
        present = present_at(destination, paths, items)
        in_place = destination.is_own_place or not destination.takes_neighbours
        if not paths and not in_place and not present.places:
            return DirectoryRestore(name, destination, items, present)
        base = LOOSE_SAVED if is_loose else SAVED_INSIDE
        return PathsRestore(of if paths else name, destination, items, present, paths or [b""], in_place=in_place, base=base)

    def _check_overwrite(self, operation: DirectoryRestore) -> None:
        """Refuse to replace what may not be replaced.

        :raises ConflictError: it is there and may not be overwritten, or holds more than a repository.
        """
        if operation.replaces and not (isinstance(operation, PathsRestore) and not operation.whole):
            self._check_holds_nothing_else(operation)
        if operation.replaces and operation.differs and not self.request.overwrite:
            raise ConflictError(
                f"{shown(operation.found())} exists; nothing was restored.",
                f"to another directory: {self.request.command(('--to', 'DIR'))}",
                f"to replace it (it is saved first): {self.request.command('--overwrite')}",
            )


def _meant(path: bytes, items: Items) -> bytes:
    """Decode a path argument: a path that is not UTF-8 may be given in its escaped form."""
    if path in items or b"\\" not in path:
        return path
    found = [each for each in items if os.fsdecode(path) in backup.spellings(each)]
    return found[0] if len(found) == 1 else path


def _holds(directory: str, path: str) -> bool:
    """Whether a path is a directory, or lies in it; links resolved."""
    return f"{os.path.realpath(path)}/".startswith(f"{directory.rstrip('/')}/")


def _kept_units(found: Target) -> set[str]:
    """Return the units of which runs kept something."""
    units: set[str] = set()
    for name in history.state_names(found):
        with suppress(FileNotFoundError, NotADirectoryError):
            units.update(os.listdir(found.ours("kept", name)))
    return units


def _identities(paths: Any) -> frozenset[Identity]:
    """Return what tells directories from others; without those that are not there."""
    found = set()
    for path in paths:
        with suppress(OSError):
            found.add(identity(os.stat(path)))
    return frozenset(found)


def _data_size(status: os.stat_result) -> int:
    """Return the size of a file without its holes."""
    if not stat.S_ISREG(status.st_mode):
        return 0
    return status.st_size if status.st_size <= SMALL else min(status.st_size, status.st_blocks * 512)
