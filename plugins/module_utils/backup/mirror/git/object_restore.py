# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put git objects that are missing or damaged in a source back from its mirror, and touch nothing else.

The source is hostile: directories are opened part by part without following links, files are written under names of ours and renamed
into place. What is put there is checked while it is written. Doing it again, or going on after an interruption, does what is left.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import Check, UnsoundError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.git_mirror import git_environment, give, own_config
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_checks import LOOSE
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_copy import READ, kind_name
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.packs import ObjectStore, extracted_object
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.open_trees import split_path
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.beneath import open_below
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1 << 20
FEW = 50
"""Up to this number of objects, and at most half of the pack, is extracted from a pack of the mirror; beyond that the whole pack is copied."""
MISSING = "it is missing"


@dataclass(frozen=True)
class Mend:
    """One file to be put into the source.

    :param path: relative to the unit.
    :param reason: ``it is missing``, or a description of the damage.
    :param replaces: there is a damaged file, which is moved to the directory for what is saved.
    :param packed: the mirror has the object in a pack.
    """

    path: bytes
    reason: str
    replaces: bool
    packed: bool = False


@dataclass
class MendPlan:
    """What mending one git directory takes.

    :param store: the git directory, relative to the unit.
    :param mends: files to be put into the source, in this order.
    :param left: damage that the mirror cannot repair: path relative to the unit, and reason.
    """

    store: bytes
    mends: list[Mend] = field(default_factory=list)
    left: list[tuple[bytes, str]] = field(default_factory=list)


def plan_mend(source: bytes, mirror: bytes, store: bytes) -> MendPlan:
    """Check every object, pack and index of a git directory of the source, and see what of the damaged and missing its mirror has sound.

    Changes nothing. For ``--check`` show ``mends`` and ``left``; otherwise go on with :func:`apply_mend`.

    :param source: the unit's directory.
    :param mirror: the unit's mirror.
    :param store: the git directory, relative to the unit, as :func:`mirror.find_stores` names it.
    """
    plan = MendPlan(store)
    with ObjectStore(source, store) as ours, ObjectStore(mirror, store) as theirs:
        ours.check_all()
        _plan_packs(plan, ours, theirs)
        _plan_loose(plan, ours, theirs)
        mended = {each.path for each in plan.mends}
        for inner, reason in sorted(ours.damaged.items()):
            path = ours.prefix + inner
            if path in mended:
                continue
            name = _object_name(inner)
            if name and theirs.has_in_pack(name):
                plan.mends.append(_packed(ours, name))
            else:
                plan.left.append((path, reason))
    return plan


def _object_name(inner: bytes) -> str:
    found = LOOSE.fullmatch(inner)
    return (found[1] + found[2]).decode() if found else ""


def _plan_packs(plan: MendPlan, ours: ObjectStore, theirs: ObjectStore) -> None:
    """Plan the packs, each before its index: damaged or incomplete packs of the source, and packs with objects that the source lacks."""
    for stem in theirs.packs():
        parts = [stem + b".pack", stem + b".idx"]
        wrong = {part: ours.damaged.get(part, MISSING) for part in parts if part in ours.damaged or part not in ours.files}
        if not wrong or any(theirs.problem(part) for part in parts):
            continue
        if len(wrong) == len(parts) and not any(part in ours.files for part in parts):
            lacking = list(islice((name for name in theirs.names_in(stem) if not ours.has(name)), FEW + 1))
            if len(lacking) <= FEW and 2 * len(lacking) <= theirs.count(stem):
                plan.mends += [_packed(ours, name) for name in lacking if not theirs.has_loose(name)]
                continue
            if stem + b".promisor" in theirs.files and stem + b".promisor" not in ours.files:
                parts.insert(0, stem + b".promisor")
                wrong[parts[0]] = MISSING
        plan.mends += [Mend(ours.prefix + part, wrong[part], part in ours.files) for part in parts if part in wrong]


def _packed(ours: ObjectStore, name: str) -> Mend:
    inner = f"objects/{name[:2]}/{name[2:]}".encode()
    return Mend(ours.prefix + inner, ours.damaged.get(inner, MISSING), inner in ours.files, packed=True)


def _plan_loose(plan: MendPlan, ours: ObjectStore, theirs: ObjectStore) -> None:
    coming = [split_path(each.path)[1].rpartition(b".")[0] for each in plan.mends if not each.packed]
    stems = [b"objects/pack/" + each for each in dict.fromkeys(coming)]
    for inner in sorted(theirs.files):
        name = _object_name(inner)
        if not name or (inner in ours.files and inner not in ours.damaged):
            continue
        if inner not in ours.files and (ours.has(name) or any(theirs.names(stem, name) for stem in stems)):
            continue
        if not theirs.problem(inner):
            plan.mends.append(Mend(ours.prefix + inner, ours.damaged.get(inner, MISSING), inner in ours.files))


def apply_mend(
    source: bytes, mirror: bytes, plan: MendPlan, saved: bytes, scratch: str, *, account: tuple[int, int] | None = None
) -> Iterator[Mend]:
    """Put into the source what was planned, and yield each file once it is there.

    :param saved: directory that damaged files are moved to, under their paths in the unit; it is made when it is needed.
    :param scratch: local directory, ours alone, for git (only used where an object is taken out of a pack).
    :param account: uid and gid for git if repoman runs as root.
    :raises RepomanError: the mirror's file is damaged, or the path in the source is taken. Repairs already yielded stay.
    :raises OSError: the source cannot be written.
    """
    with ObjectStore(source, plan.store) as ours, ObjectStore(mirror, plan.store) as theirs:
        for mend in plan.mends:
            inner = mend.path[len(ours.prefix) :]
            if mend.packed:
                with _git_over(theirs, scratch, account) as (environment, how):
                    pieces = extracted_object(theirs, _object_name(inner), environment, how)
                    _put(ours, inner, pieces, ours.check_of(inner), saved)
            else:
                with theirs.opened(inner) as file:
                    _put(ours, inner, _pieces(file), theirs.check_of(inner), saved)
            yield mend


@contextmanager
def _git_over(store: ObjectStore, scratch: str, account: tuple[int, int] | None) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    """Create a private git directory for the objects of a store; return its environment and a function that starts processes as the account."""
    place = os.path.join(scratch, f"mend.{os.getpid()}")
    os.makedirs(os.path.join(place, "refs"))
    try:
        with open(os.path.join(place, "HEAD"), "w", encoding="ascii") as file:
            file.write("ref: refs/heads/none\n")
        with open(os.path.join(place, "config"), "w", encoding="ascii") as file:
            file.write(own_config(store.config, derived=False))
        yield {**git_environment(place), "GIT_OBJECT_DIRECTORY": os.fsdecode(store.place)}, give(place, account)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _pieces(file: int) -> Iterator[bytes]:
    left = os.fstat(file).st_size
    while left and (chunk := os.read(file, min(_PIECE, left))):
        left -= len(chunk)
        yield chunk


def _put(ours: ObjectStore, inner: bytes, pieces: Iterator[bytes], check: Check | None, saved: bytes) -> None:
    """Write a file beside its place, check it, and put it there."""
    parent, name = split_path(inner)
    owner = os.fstat(ours.directory)
    directory = _open_parent(ours, parent, owner, saved)
    temporary = b"tmp_obj_" + secrets.token_hex(8).encode()
    try:
        out = os.open(temporary, _NEW, 0o400, dir_fd=directory)
        try:
            _write_checked(out, inner, pieces, check)
            if os.geteuid() == 0:
                os.fchown(out, owner.st_uid, owner.st_gid)
            os.fchmod(out, 0o444)
            os.fsync(out)
        finally:
            os.close(out)
        _save(directory, name, saved, ours.prefix + inner)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
    finally:
        os.close(directory)


def _write_checked(out: int, inner: bytes, pieces: Iterator[bytes], check: Check | None) -> None:
    try:
        for piece in pieces:
            if check is not None:
                check.update(piece)
            view = memoryview(piece)
            while view:
                view = view[os.write(out, view) :]
        reason = check.finish() if check is not None else ""
    except UnsoundError as error:
        reason = str(error)
    if reason:
        raise RepomanError(f"the mirror's {kind_name(inner)} is damaged: {reason}; it was not restored.", "run the command again")


def _open_parent(ours: ObjectStore, parent: bytes, owner: os.stat_result, saved: bytes) -> int:
    """Open the directory of an object file, below the git directory; make it if it is missing, or something else is in its place."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return open_below(ours.directory, parent, _DIRECTORY)
    above, name = split_path(parent)
    held = open_below(ours.directory, above, _DIRECTORY)
    try:
        _save(held, name, saved, ours.prefix + parent)
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=held)
            made = os.open(name, _DIRECTORY, dir_fd=held)
            try:
                if os.geteuid() == 0:
                    os.fchown(made, owner.st_uid, owner.st_gid)
                os.fchmod(made, stat.S_IMODE(os.fstat(held).st_mode))
            finally:
                os.close(made)
        return os.open(name, _DIRECTORY, dir_fd=held)
    finally:
        os.close(held)


def _save(directory: int, name: bytes, saved: bytes, path: bytes) -> None:
    """Move away what is in an object's place, if anything is. Across file systems it is copied, then removed."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    place = os.path.join(saved, path)
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    number = 0
    while os.path.lexists(place):
        number += 1
        place = os.path.join(saved, path) + b".~%d~" % number
    try:
        os.rename(name, place, src_dir_fd=directory)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    if stat.S_ISDIR(found.st_mode):
        raise RepomanError(f"{escape_path(path)} is a directory, so the object cannot be written there.", "look at it, then move it away")
    if stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(name, dir_fd=directory), place)
    elif stat.S_ISREG(found.st_mode):
        file = os.open(name, READ, dir_fd=directory)
        try:
            with open(place, "xb", opener=lambda at, flags: os.open(at, flags, 0o600)) as out:
                for piece in _pieces(file):
                    out.write(piece)
        finally:
            os.close(file)
    os.unlink(name, dir_fd=directory)
