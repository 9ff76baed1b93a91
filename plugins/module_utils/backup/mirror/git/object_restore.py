# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore git objects that are missing or damaged in a source from its mirror, and touch nothing else.

Objects are verified while they are written. After an interruption, a second run does the rest.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import Check, UnsoundError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.config import minimal_config
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_checks import LOOSE
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_copy import kind_name
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.packs import ObjectStore, extracted_object
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.run_git import git_environment
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.open_trees import split_path
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.run_as import run_as
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.source_repair import (
    MISSING,
    Repair,
    RepairPlan,
    open_or_create_directory,
    replace_file,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError

_PIECE = 1 << 20
FEW = 50
"""Up to this number of objects, and at most half of the pack, is extracted from a pack of the mirror; beyond that the whole pack is copied."""


def plan_repair(source: bytes, mirror: bytes, store: bytes) -> RepairPlan:
    """Verify every object, pack and index of a git directory of the source, and plan which ones its mirror can replace.

    This changes nothing.

    :param source: the unit's directory.
    :param mirror: the unit's mirror.
    :param store: the git directory, relative to the unit, as :func:`mirror.find_stores` names it.
    """
    plan = RepairPlan(store)
    with ObjectStore(source, store) as ours, ObjectStore(mirror, store) as theirs:
        ours.check_all()
        _plan_packs(plan, ours, theirs)
        _plan_loose(plan, ours, theirs)
        repaired = {each.path for each in plan.repairs}
        for inner, reason in sorted(ours.damaged.items()):
            path = ours.prefix + inner
            if path in repaired:
                continue
            name = _object_name(inner)
            if name and theirs.has_in_pack(name):
                plan.repairs.append(_packed(ours, name))
            else:
                plan.unrepairable.append((path, reason))
    return plan


def _object_name(inner: bytes) -> str:
    found = LOOSE.fullmatch(inner)
    return (found[1] + found[2]).decode() if found else ""


def _plan_packs(plan: RepairPlan, ours: ObjectStore, theirs: ObjectStore) -> None:
    """Plan the packs, each before its index: damaged or incomplete packs of the source, and packs with objects that the source lacks."""
    for stem in theirs.packs():
        parts = [stem + b".pack", stem + b".idx"]
        wrong = {part: ours.damaged.get(part, MISSING) for part in parts if part in ours.damaged or part not in ours.files}
        if not wrong or any(theirs.problem(part) for part in parts):
            continue
        if len(wrong) == len(parts) and not any(part in ours.files for part in parts):
            lacking = list(islice((name for name in theirs.names_in(stem) if not ours.has(name)), FEW + 1))
            if len(lacking) <= FEW and 2 * len(lacking) <= theirs.count(stem):
                plan.repairs += [_packed(ours, name) for name in lacking if not theirs.has_loose(name)]
                continue
            if stem + b".promisor" in theirs.files and stem + b".promisor" not in ours.files:
                parts.insert(0, stem + b".promisor")
                wrong[parts[0]] = MISSING
        plan.repairs += [Repair(ours.prefix + part, wrong[part], part in ours.files) for part in parts if part in wrong]


def _packed(ours: ObjectStore, name: str) -> Repair:
    inner = f"objects/{name[:2]}/{name[2:]}".encode()
    return Repair(ours.prefix + inner, ours.damaged.get(inner, MISSING), inner in ours.files, packed=True)


def _plan_loose(plan: RepairPlan, ours: ObjectStore, theirs: ObjectStore) -> None:
    coming = [split_path(each.path)[1].rpartition(b".")[0] for each in plan.repairs if not each.packed]
    stems = [b"objects/pack/" + each for each in dict.fromkeys(coming)]
    for inner in sorted(theirs.files):
        name = _object_name(inner)
        if not name or (inner in ours.files and inner not in ours.damaged):
            continue
        if inner not in ours.files and (ours.has(name) or any(theirs.names(stem, name) for stem in stems)):
            continue
        if not theirs.problem(inner):
            plan.repairs.append(Repair(ours.prefix + inner, ours.damaged.get(inner, MISSING), inner in ours.files))


def apply_repair(
    source: bytes, mirror: bytes, plan: RepairPlan, saved: bytes, scratch: str, *, account: tuple[int, int] | None = None
) -> Iterator[Repair]:
    """Write the planned files into the source, and yield each one once it is complete.

    :param saved: directory for the damaged files, under their paths in the unit; it is created if needed.
    :param scratch: private local directory for git; only needed to extract objects from packs.
    :param account: uid and gid for git if repoman runs as root.
    :raises RepomanError: the mirror's file is damaged, or a directory has the file's name. Repairs already yielded stay.
    :raises OSError: the source cannot be written.
    """
    with ObjectStore(source, plan.store) as ours, ObjectStore(mirror, plan.store) as theirs:
        for repair in plan.repairs:
            inner = repair.path[len(ours.prefix) :]
            if repair.packed:
                with _git_over(theirs, scratch, account) as (environment, how):
                    pieces = extracted_object(theirs, _object_name(inner), environment, how)
                    _put(ours, inner, pieces, ours.check_of(inner), saved)
            else:
                with theirs.opened(inner) as file:
                    _put(ours, inner, _pieces(file), theirs.check_of(inner), saved)
            yield repair


@contextmanager
def _git_over(store: ObjectStore, scratch: str, account: tuple[int, int] | None) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    """Create a private git directory for the objects of a store; return its environment and a function that starts processes as the account."""
    place = os.path.join(scratch, f"repair.{os.getpid()}")
    os.makedirs(os.path.join(place, "refs"))
    try:
        with open(os.path.join(place, "HEAD"), "w", encoding="ascii") as file:
            file.write("ref: refs/heads/none\n")
        with open(os.path.join(place, "config"), "w", encoding="ascii") as file:
            file.write(minimal_config(store.config, derived=False))
        yield {**git_environment(place), "GIT_OBJECT_DIRECTORY": os.fsdecode(store.place)}, run_as(place, account)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _pieces(file: int) -> Iterator[bytes]:
    left = os.fstat(file).st_size
    while left and (chunk := os.read(file, min(_PIECE, left))):
        left -= len(chunk)
        yield chunk


def _put(source: ObjectStore, inner: bytes, pieces: Iterator[bytes], check: Check | None, saved_dir: bytes) -> None:
    """Write an object file into the source, verified; the file that it replaces is saved."""
    parent, name = split_path(inner)
    owner = os.fstat(source.directory)

    def write(out: int) -> None:
        _write_checked(out, inner, pieces, check)
        if os.geteuid() == 0:
            os.fchown(out, owner.st_uid, owner.st_gid)
        os.fchmod(out, 0o444)

    directory_fd = open_or_create_directory(source.directory, parent, os.path.join(saved_dir, source.prefix))
    try:
        temporary = b"tmp_obj_" + secrets.token_hex(8).encode()  # git removes these if they are old
        replace_file(directory_fd, name, temporary, write, os.path.join(saved_dir, source.prefix + inner))
    finally:
        os.close(directory_fd)


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
