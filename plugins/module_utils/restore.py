# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Getting a repository, or some paths of it, back from its mirror, or as it was at an earlier time.

The state of an earlier time is put together from layers: the mirror, and over it what each later run replaced or
removed, newest first; what those runs created is left out. Everything is first copied to a directory beside the
destination, which then takes its place at once. Nothing of the repository is run or read as configuration.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
import subprocess
import tempfile
from collections.abc import Container, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

from ansible_collections.homelab.repoman.plugins.module_utils import backup, progress, target, watch
from ansible_collections.homelab.repoman.plugins.module_utils.backup import Backup, listing, shown
from ansible_collections.homelab.repoman.plugins.module_utils.copying import exchange, movable
from ansible_collections.homelab.repoman.plugins.module_utils.errors import ConflictError, NotKnownError, RepomanError, UsageError
from ansible_collections.homelab.repoman.plugins.module_utils.plan import Plan, Step
from ansible_collections.homelab.repoman.plugins.module_utils.show import amount, counted
from ansible_collections.homelab.repoman.plugins.module_utils.target import Target

RSYNC = ("rsync", "-lptgoD", "--hard-links", "--sparse", "--numeric-ids", "--relative", "--no-implied-dirs", "--from0", "--files-from=-")
"""Copies what is named and is no directory; directories are there already."""
PARTIAL = b".repoman-partial"


def run(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Do what the module ``repoman_restore`` is asked to; see its documentation.

    :raises RepomanError: it cannot be done; source and destination are as they were.
    """
    whole = backup.of(params)
    since = moment(params["from"]) if params["from"] else None
    paths = [checked(path) for path in params["paths"] or []]
    found: tuple[Target, str] = whole.ask(lambda report: target.open_for_reading(whole.place), params["probe_timeout"])

    def work(report: watch.Report) -> dict[str, Any]:
        return _restore(whole, found[0], params, since, paths, check, report)

    result: dict[str, Any] = whole.ask(work, params["patience"], alive=True, on_report=lambda text: progress.phase(str(text)))
    progress.clear()
    if warnings := [each for each in (found[1], *result.pop("notes")) if each]:
        result["warnings"] = warnings
    return result


@dataclass(frozen=True)
class Layer:
    """A directory that files are taken from.

    :param root: absolute.
    :param name: the run that kept it; empty for the mirror.
    """

    root: bytes
    name: str


@dataclass(frozen=True)
class Item:
    """A file to restore.

    :param layer: where it is taken from.
    """

    layer: Layer
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.status.st_mode)


Items = dict[bytes, Item]
"""What to restore, by path relative to the unit; the empty path is the unit's directory."""


def moment(text: str) -> str:
    """Return the name that a run at that time has.

    :param text: ISO 8601, or as ``--list-kept`` prints it; without a zone it is local time.
    :raises UsageError: it is no time.
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is no time.",
            "as 'repoman sync --list-kept NAME' prints it: 20261125T120000Z",
            "or 2026-11-25, or '2026-11-25 12:00'",
        ) from None
    return when.astimezone(timezone.utc).strftime(target.KEPT_FORM)


def checked(path: str) -> bytes:
    """Return a path in a repository, normalised.

    :raises UsageError: it leads out of it.
    """
    normal = os.path.normpath(path)
    if not path or os.path.isabs(path) or ".." in normal.split("/") or "\0" in path:
        raise UsageError(f"{path!r} is no path inside a repository.", "give it relative to the repository: src/main.c")
    return b"" if normal == "." else os.fsencode(normal)


# ---- what to restore -----------------------------------------------------------------------------------------------------------


def layers_of(found: Target, unit: str, since: str | None) -> list[tuple[Layer, list[bytes] | None]]:
    """Return the layers of a unit, the mirror first, then runs from the newest back; each with what it created.

    ``None`` for what it created is everything.

    :param since: the first run to take back; None takes back none.
    """
    mirror = found.root if unit == backup.LOOSE else str(found.mirror(unit))
    layers: list[tuple[Layer, list[bytes] | None]] = [(Layer(os.fsencode(mirror), ""), [])]
    if since is not None:
        for name in reversed([name for name in target.kept_times(found) if name >= since]):
            layers.append((Layer(os.fsencode(found.ours("kept", name, unit)), name), target.created_of(found, name, unit)))
    return layers


def merged(layers: Iterable[tuple[Layer, list[bytes] | None]], loose: bool, ours: Container[bytes] | None = None) -> Items:
    """Return what the layers come to, the later over the earlier; a path's parents are directories, whatever came before.

    :param loose: take no directories.
    :param ours: take only these from the mirror; None for all.
    """
    items: Items = {}
    for layer, created in layers:
        if created is None:
            items.clear()
        elif created:
            new = set(created)
            items = {path: item for path, item in items.items() if path not in new and new.isdisjoint(_parents(path))}
        for path, status in _walk(layer.root, loose):
            if ours is not None and not layer.name and path not in ours:
                continue
            old = items.get(path)
            if layer.name and old is not None and old.is_directory and stat.S_ISDIR(status.st_mode):
                continue  # a directory of a kept file: the mirror's own is nearer to what it was
            if old is not None and old.is_directory:
                _drop(items, path)
            items[path] = Item(layer, status)
            for parent in _parents(path):
                if parent in items and not items[parent].is_directory:
                    del items[parent]
    return items


def _drop(items: Items, path: bytes) -> None:
    """Take a path out, with what is below it."""
    item = items.pop(path, None)
    if item is not None and item.is_directory:
        for each in [each for each in items if each.startswith(path + b"/")]:
            del items[each]


def _parents(path: bytes) -> Iterable[bytes]:
    """Yield the directories above a path, the nearest first, without the top."""
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        yield path


def _walk(root: bytes, loose: bool) -> Iterable[tuple[bytes, os.stat_result]]:
    """Yield what is in a directory, following no link, parents first."""
    try:
        top = os.lstat(root)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(top.st_mode):
        return
    if not loose:
        yield b"", top
    stack = [b""]
    while stack:
        directory = stack.pop()
        with os.scandir(os.path.join(root, directory) if directory else root) as entries:
            for entry in entries:
                path = directory + b"/" + entry.name if directory else entry.name
                status = entry.stat(follow_symlinks=False)
                is_directory = stat.S_ISDIR(status.st_mode)
                if (is_directory and loose) or entry.name == PARTIAL:
                    continue
                yield path, status
                if is_directory:
                    stack.append(path)


def only(items: Items, paths: list[bytes], name: str) -> Items:
    """Return of ``items`` those in ``paths`` or below them, with the directories above.

    :raises NotKnownError: a path is not in there.
    """
    if not paths or b"" in paths:
        return items
    chosen: set[bytes] = set()
    for path in paths:
        if path not in items:
            raise NotKnownError(
                f"there is no {shown(path)!r} in the backup of {name} of that time.",
                f"what runs replaced or removed, and when: repoman sync --list-kept {shlex.quote(name)}",
            )
        chosen.update(_parents(path), {path}, (each for each in items if each.startswith(path + b"/")))
    return {path: item for path, item in items.items() if path in chosen}


def below(items: Items, path: bytes) -> Items:
    """Return what lies below a directory of ``items``, relative to it; all of it where the path is empty."""
    if not path:
        return items
    layers = {item.layer: Layer(os.path.join(item.layer.root, path), item.layer.name) for item in items.values()}
    begin = path + b"/"
    return {
        each[len(begin) :]: Item(layers[item.layer], item.status) for each, item in items.items() if each == path or each.startswith(begin)
    }


def outermost(paths: list[bytes]) -> list[bytes]:
    """Return of some paths those that lie in no other of them, each once; none where all of the repository is among them."""
    named = set(paths)
    return [] if b"" in named else [path for path in dict.fromkeys(paths) if named.isdisjoint(_parents(path))]


# ---- doing it ------------------------------------------------------------------------------------------------------------------


def _restore(
    whole: Backup, found: Target, params: dict[str, Any], since: str | None, paths: list[bytes], check: bool, report: watch.Report
) -> dict[str, Any]:
    """Plan, and unless ``check`` do it; in the child process."""
    name = params["name"]
    with ExitStack() as stack:
        state = whole.state(found)
        locked = state.is_dir() and not check
        if locked:
            stack.enter_context(target.locked(found, state, whole.me))
        inside = whole.path_of(name, [*backup.mirrors(found), *_kept_units(found), backup.LOOSE])
        unit, _slash, rest = inside.partition("/")
        sub = os.fsencode(rest)
        loose = unit == backup.LOOSE
        names, known = backup.loose_names(state, found) if loose else (set(), False)
        everything = merged(layers_of(found, unit, since), loose, names if known else None)
        if not everything or (sub and not (sub in everything and everything[sub].is_directory)):
            when = f" as of {params['from']}" if since else ""
            raise NotKnownError(
                f"there is no backup of {name}{when} in {found.root}.", f"repoman sync --list-kept {shlex.quote(name)}", f"ls {found.root}"
            )
        oldest = next(iter(target.kept_times(found)), datetime.now(timezone.utc).strftime(target.KEPT_FORM))
        notes = [f"Nothing is kept from before {oldest}: this is the oldest state there is."] if since and since < oldest else []
        wanted = _destination(whole, unit, params)
        is_whole = not paths or b"" in paths
        items = only(below(everything, sub), paths, name)
        within = sub if not params["to"] else b""
        if within:
            paths = [within] if is_whole else [within + b"/" + path for path in paths]
            items = only(everything, paths, name)
            if b"" in everything and not (os.path.lexists(wanted) and not _is_empty(wanted)):
                items[b""] = everything[b""]
        if loose and is_whole:
            paths = sorted(items)
        deed = _deed(unit if within else name, wanted, items, outermost(paths), params)
        files = sum(not item.is_directory for item in items.values())
        size = sum(item.status.st_size for item in items.values() if stat.S_ISREG(item.status.st_mode))
        saved = shown(os.path.join(deed.saved, within) if within else deed.saved) if deed.replaces and deed.differs() else ""
        plan = Plan()
        if deed.differs():
            plan.add(Step(deed.description(files), deed.apply, deed.undo, shown(wanted), deed.before(), deed.after()))
        if not check and plan.changed:
            if locked:
                _sweep(os.path.dirname(wanted))
            report(f"restoring {name}: {counted(files)}, {amount(size)}")
            plan.apply()
    return {
        "changed": plan.changed,
        "steps": plan.descriptions,
        "notes": notes,
        "diff": plan.diff if params.get("_diff", True) else [],
        "restored": {
            "name": name,
            "to": shown(os.path.join(wanted, within) if within else wanted),
            "from": since or "",
            "files": files,
            "bytes": size,
            "saved": saved,
            "has_container": (deed.is_whole or (bool(within) and is_whole))
            and wanted == _destination(whole, unit, params | {"to": None})
            and unit in {whole.directory(project) for project in whole.projects},
        },
    }


def _sweep(parent: bytes) -> None:
    """Remove what a restore that was killed left of its copy; the lock says that none is under way."""
    with suppress(FileNotFoundError), os.scandir(os.fsdecode(parent)) as entries:
        for entry in entries:
            if entry.name.startswith(backup.RESTORING) and entry.is_dir(follow_symlinks=False):
                with suppress(PermissionError):
                    target.discard(Path(entry.path))


def _kept_units(found: Target) -> set[str]:
    """Return the units of which runs kept something."""
    units: set[str] = set()
    for name in target.kept_times(found):
        with suppress(FileNotFoundError):
            units.update(os.listdir(found.ours("kept", name)))
    return units


def _destination(whole: Backup, unit: str, params: dict[str, Any]) -> bytes:
    """Return the directory to restore to, its parents' links resolved.

    :raises ConflictError: it is in the backup.
    """
    if params["to"]:
        path = os.path.abspath(whole.me.expand(params["to"]))
    else:
        path = whole.place.repos_root if unit == backup.LOOSE else os.path.join(whole.place.repos_root, unit)
    real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    root = os.path.realpath(whole.place.backup_root)
    if real == root or real.startswith(f"{root}/"):
        raise ConflictError(f"{path} lies in the backup itself.", "restore to another directory: --to DIR")
    return os.fsencode(real)


@dataclass
class Deed:
    """A whole directory, made or replaced at once.

    :param root: the directory.
    :param items: what it is to hold.
    :param saved: where what it replaces goes.
    """

    name: str
    root: bytes
    items: Items
    saved: bytes
    is_whole: ClassVar[bool] = True

    @property
    def replaces(self) -> bool:
        """Whether there is something to save."""
        return os.path.lexists(self.root) and not _is_empty(self.root)

    def differs(self) -> bool:
        """Whether the destination is not what it is to be."""
        return self.before() != self.after()

    def description(self, files: int) -> str:
        """Return what is done, as a sentence."""
        what = f"restore {self.name} to {shown(self.root)} ({counted(files)})"
        return f"{what}, saving what it replaces as {shown(self.saved)}" if self.replaces else what

    def before(self) -> str:
        """Return a list of what the destination holds."""
        return _listed({path: status for path, status in _walk(self.root, loose=False) if path})

    def after(self) -> str:
        """Return a list of what it is to hold."""
        return _listed({path: item.status for path, item in self.items.items() if path})

    def apply(self) -> None:
        """Copy beside the destination; then let that take its place."""
        parent, _name = os.path.split(self.root)
        os.makedirs(parent, mode=0o700, exist_ok=True)
        staging = os.fsencode(tempfile.mkdtemp(prefix=backup.RESTORING, dir=os.fsdecode(parent)))
        try:
            copy(self.items, staging)
            if not os.path.lexists(self.root):
                os.rename(staging, self.root)
            elif not self.replaces:
                os.rmdir(self.root)
                os.rename(staging, self.root)
            else:
                copied, staging = staging, b""  # from here on what lies there may be the old directory
                os.rename(copied, self.saved)
                _exchange(self.saved, self.root)
        finally:
            if staging and os.path.lexists(staging):
                target.discard(Path(os.fsdecode(staging)))

    def undo(self) -> None:
        """Do nothing: the destination changes in the last step, and at once."""


@dataclass
class PathsDeed(Deed):
    """Some paths in a directory that is there; each takes its place at once.

    :param paths: relative to the directory.
    :param begun: what was, or was about to be, put into its place: path, what was there, and what takes its place.
    :param made: directories that were made for it.
    """

    paths: list[bytes]
    begun: list[tuple[bytes, os.stat_result | None, os.stat_result]] = field(default_factory=list)
    made: list[bytes] = field(default_factory=list)
    is_whole: ClassVar[bool] = False

    @property
    def replaces(self) -> bool:
        """Whether one of the paths is there."""
        return any(_status_at(self.root, path) is not None for path in self.paths)

    def description(self, files: int) -> str:
        """Return what is done, as a sentence."""
        what = f"restore {', '.join(shown(path) for path in self.paths)} of {self.name} in {shown(self.root)} ({counted(files)})"
        return f"{what}, saving what it replaces in {shown(self.saved)}" if self.replaces else what

    def before(self) -> str:
        """Return a list of what the paths are."""
        seen: dict[bytes, os.stat_result] = {}
        for path in self.paths:
            status = _status_at(self.root, path)
            if status is not None:
                seen[path] = status
                if stat.S_ISDIR(status.st_mode):
                    below = _walk(os.path.join(self.root, path), loose=False)
                    seen |= {path + b"/" + each: found for each, found in below if each}
        return _listed(seen)

    def after(self) -> str:
        """Return a list of what the paths are to be."""
        parents = {parent for path in self.paths for parent in _parents(path)} - set(self.paths)
        return _listed({path: item.status for path, item in self.items.items() if path and path not in parents})

    def apply(self) -> None:
        """Copy beside the destination; then move each path into its place, and what was there to where it is saved."""
        parent = os.fsdecode(os.path.dirname(self.root))
        staging = os.fsencode(tempfile.mkdtemp(prefix=backup.RESTORING, dir=parent))
        try:
            copy(self.items, staging)
            for path in self.paths:
                try:
                    self._put(staging, path)
                except OSError as error:
                    place = shown(os.path.join(self.root, path))
                    raise RepomanError(
                        f"{place} cannot be put into its place: {error.strerror}; nothing was restored.", f"ls -ld {shlex.quote(place)}"
                    ) from error
        finally:
            target.discard(Path(os.fsdecode(staging)))

    def _put(self, staging: bytes, path: bytes) -> None:
        above, name = os.path.split(path)
        self.made += [parent for parent in _parents(path) if _status_at(self.root, parent) is None]
        there = _open_below(self.root, above, make=True)
        try:
            old = _lstat_at(name, there)
            new = os.path.join(staging, path)
            self.begun.append((path, old, os.lstat(new)))
            with movable(os.path.dirname(new), new, *_reached(there, name)):
                if old is None:
                    os.rename(new, name, dst_dir_fd=there)
                    return
                kept = os.path.join(self.saved, path)
                os.makedirs(os.path.dirname(kept), mode=0o700, exist_ok=True)
                os.rename(new, kept)
                _exchange(kept, name, there)
        finally:
            os.close(there)

    def undo(self) -> None:
        """Give each path back what was there.

        :raises RepomanError: that cannot be done; the error says where it was saved.
        """
        try:
            for path, old, new in reversed(self.begun):
                self._take_back(path, old, new)
            for parent in sorted(self.made, reverse=True):
                with suppress(OSError):
                    os.rmdir(os.path.join(self.root, parent))
        except OSError as error:
            raise RepomanError(f"{error.strerror}; what was there before is in {shown(self.saved)}.") from error
        for path, old, _new in self.begun:
            if old is not None and (kept := _status_at(self.saved, path)) is not None and os.path.samestat(kept, old):
                place = shown(os.path.join(self.root, path))
                raise RepomanError(f"{place} was changed meanwhile; what was there before is in {shown(self.saved)}.")
        if os.path.lexists(self.saved):  # the new things that took the places
            target.discard(Path(os.fsdecode(self.saved)))

    def _take_back(self, path: bytes, old: os.stat_result | None, new: os.stat_result) -> None:
        above, name = os.path.split(path)
        kept = os.path.join(self.saved, path)
        there = _open_below(self.root, above)
        try:
            now = _lstat_at(name, there)
            with movable(kept, *_reached(there, name)):
                if now is not None and os.path.samestat(now, new):
                    if old is not None:
                        _exchange(kept, name, there)
                    else:
                        os.makedirs(os.path.dirname(kept), mode=0o700, exist_ok=True)
                        os.rename(name, kept, src_dir_fd=there)
                elif now is None and old is not None:
                    os.rename(kept, name, dst_dir_fd=there)
        finally:
            os.close(there)


def _deed(of: str, root: bytes, items: Items, paths: list[bytes], params: dict[str, Any]) -> Deed:
    """Return what is to be done.

    :param of: what the paths are of.
    :raises ConflictError: the destination is there, and may not be overwritten.
    """
    name = params["name"]
    if os.path.lexists(root) and not stat.S_ISDIR(os.lstat(root).st_mode):
        raise ConflictError(
            f"{shown(root)} is not a directory; nothing was restored.", f"beside it: repoman restore {shlex.quote(name)} --to DIR"
        )
    there = os.path.lexists(root) and not _is_empty(root)
    saved = _free_name(root + b".before-" + datetime.now(timezone.utc).strftime(target.KEPT_FORM).encode())
    into = there and bool(paths)
    deed = PathsDeed(of, root, items, saved, paths) if into else Deed(name, root, items, saved)
    if there and deed.replaces and deed.differs() and not params["overwrite"]:
        found = next((os.path.join(root, path) for path in paths if _status_at(root, path) is not None), root) if into else root
        typed = [f"--from {shlex.quote(params['from'])}"] if params["from"] else []
        again = " ".join(["repoman restore", shlex.quote(name), *typed, *(f"--path {shlex.quote(path)}" for path in params["paths"] or ())])
        raise ConflictError(
            f"{shown(found)} exists; nothing was restored.",
            f"beside it: {again} --to DIR",
            f"over it, what is there being saved first: {again} --overwrite",
        )
    return deed


def _free_name(path: bytes) -> bytes:
    """Return ``path``, or with a number after it where that is taken."""
    names = [path, *(path + b"-%d" % number for number in range(2, 1000))]
    return next(name for name in names if not os.path.lexists(name))


def copy(items: Items, to: bytes) -> None:
    """Copy items to a directory of ours, with modes, times, links and, as far as this user may, owners.

    :raises RepomanError: it cannot be done.
    """
    directories = sorted({parent for path in items for parent in _parents(path)} | {path for path in items if items[path].is_directory})
    for path in directories:
        if path:
            os.mkdir(os.path.join(to, path), 0o700)
    by_layer: dict[Layer, list[bytes]] = {}
    for path, item in sorted(items.items()):
        if not item.is_directory:
            by_layer.setdefault(item.layer, []).append(path)
    for layer, paths in by_layer.items():
        command = [*RSYNC, "--", os.fsdecode(layer.root + b"/"), os.fsdecode(to + b"/")]
        done = subprocess.run(command, input=b"\0".join(paths), capture_output=True, check=False)
        if done.returncode:
            lines = done.stderr.decode(errors="backslashreplace").strip().splitlines()
            reason = lines[0] if lines else f"rsync ended with {done.returncode}"
            raise RepomanError(f"cannot copy from the backup: {reason}; nothing was restored.", f"df -h {shown(os.path.dirname(to))}")
    for path, item in items.items():
        if not item.is_directory and not stat.S_ISREG(item.status.st_mode):  # of these rsync looks at whole seconds only
            os.utime(os.path.join(to, path), ns=(item.status.st_atime_ns, item.status.st_mtime_ns), follow_symlinks=False)
    for path in reversed(directories):  # what is made in a directory changes its time
        if path in items:
            _dress(os.path.join(to, path) if path else to, items[path].status)


def _dress(path: bytes, status: os.stat_result) -> None:
    """Give a directory of ours the owner, as far as this user may, the mode and the times it had."""
    with suppress(PermissionError):
        os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)
    os.chmod(path, stat.S_IMODE(status.st_mode))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


# ---- paths that nobody may turn ------------------------------------------------------------------------------------------------


def _open_below(root: bytes, path: bytes, make: bool = False) -> int:
    """Open a directory below ``root``, following no link on the way.

    :param make: make what is missing.
    :raises ConflictError: something on the way is no directory.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(root, flags)
    for part in path.split(b"/") if path else ():
        try:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=handle)
            below = os.open(part, flags, dir_fd=handle)
        except OSError as error:
            os.close(handle)
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise ConflictError(
                    f"{shown(part)!r} on the way to {shown(path)!r} in {shown(root)} is no directory.", "restore it elsewhere: --to DIR"
                ) from error
            raise
        os.close(handle)
        handle = below
    return handle


def _reached(there: int, name: bytes) -> tuple[bytes, bytes]:
    """Return paths of an open directory and of something in it."""
    held = b"/proc/self/fd/%d/" % there
    return held + b".", held + name


def _status_at(root: bytes, path: bytes) -> os.stat_result | None:
    """Return what is at a path below ``root``, following no link on the way; None where nothing is."""
    above, name = os.path.split(path)
    try:
        there = _open_below(root, above)
    except FileNotFoundError:
        return None
    try:
        return _lstat_at(name, there)
    finally:
        os.close(there)


def _lstat_at(name: bytes, there: int) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=there)
    except FileNotFoundError:
        return None


def _exchange(one: bytes, other: bytes, there: int | None = None) -> None:
    """Exchange two names at once; where the file system cannot, one after the other.

    :param there: directory that ``other`` is relative to.
    """
    if exchange(one, other, there):
        return
    aside = one + b".new"
    os.rename(one, aside)
    os.rename(other, one, src_dir_fd=there)
    os.rename(aside, other, dst_dir_fd=there)


def _is_empty(path: bytes) -> bool:
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        return False
    with os.scandir(path) as entries:
        return next(entries, None) is None


def _listed(seen: dict[bytes, os.stat_result]) -> str:
    """Return what was seen, sorted, one a line."""
    return "".join(f"{listing(path, status)}\n" for path, status in sorted(seen.items()))
