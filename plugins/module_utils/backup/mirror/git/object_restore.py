# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore git objects that are missing or damaged in a source from its mirror, and touch nothing else.

Objects are verified while they are written. After an interruption, a second run does the rest.
"""

from __future__ import annotations

import os
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
    :param store: the git directory, relative to the unit, as :func:`repositories.find_repositories` names it.
    """
    plan = RepairPlan(store)
    with ObjectStore(source, store) as source_store, ObjectStore(mirror, store) as mirror_store:
        source_store.check_all(mirror_store)
        _plan_packs(plan, source_store, mirror_store)
        _plan_loose(plan, source_store, mirror_store)
        repaired = {each.path for each in plan.repairs}
        for inner, reason in sorted(source_store.damaged.items()):
            path = source_store.prefix + inner
            if path in repaired:
                continue
            name = _object_name(inner)
            if name and mirror_store.has_in_pack(name):
                plan.repairs.append(_packed(source_store, name))
            else:
                plan.unrepairable.append((path, reason))
    return plan


def _object_name(inner: bytes) -> str:
    match = LOOSE.fullmatch(inner)
    return (match[1] + match[2]).decode() if match else ""


def _plan_packs(plan: RepairPlan, source_store: ObjectStore, mirror_store: ObjectStore) -> None:
    """Plan the packs, each before its index: damaged or incomplete packs of the source, and packs with objects that the source lacks."""
    for stem in mirror_store.packs():
        parts = [stem + b".pack", stem + b".idx"]
        bad_parts = {
            part: source_store.damaged.get(part, MISSING)
            for part in parts
            if part in source_store.damaged or part not in source_store.files
        }
        if not bad_parts or any(mirror_store.problem(part) for part in parts):
            continue
        if len(bad_parts) == len(parts) and not any(part in source_store.files for part in parts):
            lacking = list(islice((name for name in mirror_store.names_in(stem) if not source_store.has(name)), FEW + 1))
            if len(lacking) <= FEW and 2 * len(lacking) <= mirror_store.count(stem):
                plan.repairs += [_packed(source_store, name) for name in lacking if not mirror_store.has_loose(name)]
                continue
            if stem + b".promisor" in mirror_store.files and stem + b".promisor" not in source_store.files:
                parts.insert(0, stem + b".promisor")
                bad_parts[parts[0]] = MISSING
        plan.repairs += [
            Repair(source_store.prefix + part, bad_parts[part], part in source_store.files) for part in parts if part in bad_parts
        ]


def _packed(source_store: ObjectStore, name: str) -> Repair:
    inner = f"objects/{name[:2]}/{name[2:]}".encode()
    return Repair(source_store.prefix + inner, source_store.damaged.get(inner, MISSING), inner in source_store.files, packed=True)


def _plan_loose(plan: RepairPlan, source_store: ObjectStore, mirror_store: ObjectStore) -> None:
    new_packs = [split_path(each.path)[1].rpartition(b".")[0] for each in plan.repairs if not each.packed]
    stems = [b"objects/pack/" + each for each in dict.fromkeys(new_packs)]
    for inner in sorted(mirror_store.files):
        name = _object_name(inner)
        if not name or (inner in source_store.files and inner not in source_store.damaged):
            continue
        if inner not in source_store.files and (source_store.has(name) or any(mirror_store.names(stem, name) for stem in stems)):
            continue
        if not mirror_store.problem(inner):
            plan.repairs.append(Repair(source_store.prefix + inner, source_store.damaged.get(inner, MISSING), inner in source_store.files))


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
    with ObjectStore(source, plan.store) as source_store, ObjectStore(mirror, plan.store) as mirror_store:
        for repair in plan.repairs:
            inner = repair.path[len(source_store.prefix) :]
            if repair.packed:
                with _git_over(mirror_store, scratch, account) as (environment, how):
                    pieces = extracted_object(mirror_store, _object_name(inner), environment, how)
                    _put(source_store, inner, pieces, source_store.check_of(inner), saved)
            else:
                with mirror_store.open_file(inner) as file:
                    _put(source_store, inner, _pieces(file), mirror_store.check_of(inner), saved)
            yield repair


@contextmanager
def _git_over(store: ObjectStore, scratch: str, account: tuple[int, int] | None) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    """Create a private git directory for the objects of a store; return its environment and a function that starts processes as the account."""
    git_dir = os.path.join(scratch, f"repair.{os.getpid()}")
    os.makedirs(os.path.join(git_dir, "refs"))
    try:
        with open(os.path.join(git_dir, "HEAD"), "w", encoding="ascii") as file:
            file.write("ref: refs/heads/none\n")
        with open(os.path.join(git_dir, "config"), "w", encoding="ascii") as file:
            file.write(minimal_config(store.config, derived=False))
        yield {**git_environment(git_dir), "GIT_OBJECT_DIRECTORY": os.fsdecode(store.path)}, run_as(git_dir, account)
    finally:
        shutil.rmtree(git_dir, ignore_errors=True)


def _pieces(file: int) -> Iterator[bytes]:
    remaining = os.fstat(file).st_size
    while remaining and (chunk := os.read(file, min(_PIECE, remaining))):
        remaining -= len(chunk)
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
        # git removes these if they are old, and the next run this one. It must not look like an index of a pack.
        temporary = b"tmp_obj_" + name.replace(b".", b"_")
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
