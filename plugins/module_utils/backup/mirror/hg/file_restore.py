# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore files of a Mercurial repository that are missing or damaged in a source from its mirror, and touch nothing else.

A revlog gets the mirror's revisions back and keeps its own newer ones. The repaired repository is built in a scratch directory and
verified by hg before anything in the source changes.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.proof import Verdict
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.revlog import common_length
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.store_files import index_file
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.verified_build import VerifiedBuild
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.open_trees import directory, split_path
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.source_repair import (
    MISSING,
    READ_FLAGS,
    Repair,
    RepairPlan,
    open_or_create_directory,
    replace_file,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.files.append import append
from ansible_collections.homelab.repoman.plugins.module_utils.files.beneath import open_beneath
from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import LIST
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

TRIES = 3


@dataclass
class HgRepairPlan(RepairPlan):
    """The repairs of one ``.hg``.

    :param build_path: the verified repaired repository, below the scratch directory.
    :param listed: the source's entries when that was built.
    """

    build_path: bytes = b""
    listed: dict[bytes, Entry] = field(default_factory=dict)


def plan_repair(source: bytes, mirror: bytes, store: bytes, scratch: str, *, account: tuple[int, int] | None = None) -> HgRepairPlan:
    """Verify a ``.hg`` of the source, and plan which of its files the mirror can replace.

    This changes nothing but ``scratch``.

    :param source: the unit's directory.
    :param mirror: the unit's mirror.
    :param store: the ``.hg``, relative to the unit.
    :param scratch: private directory that must outlive the plan; on the mirror's file system, little is copied.
    :param account: uid and gid for hg if repoman runs as root.
    :raises ConflictError: the source is being written to.
    """
    plan = HgRepairPlan(store)
    copier = Copier(source, mirror, history=None, work=os.fsencode(scratch), is_first_copy=False)
    try:
        verified = VerifiedBuild(store, copier, mirrored={}, scratch_dir=os.path.join(scratch, "proof"), account=account)
        plan.build_path = verified.build.path = os.path.join(os.fsencode(scratch), b"repair." + secrets.token_hex(8).encode())
        os.mkdir(plan.build_path, 0o700)
        with directory(copier.source_fd, store) as source_fd, directory(copier.mirror_fd, store) as mirror_fd:
            source_path = b"/proc/self/fd/%d/." % source_fd
            verified.build.mirrored.update(_mirrored_entries(verified, source_path, b"/proc/self/fd/%d/." % mirror_fd))
            verdict = _verify_source(verified, source_path)
            if verdict.problems:
                _plan(plan, verified, verdict)
        verified.source_copy.close()
    finally:
        copier.close()
    return plan


def _mirrored_entries(verified: VerifiedBuild, source_path: bytes, mirror_path: bytes) -> dict[bytes, Entry]:
    """Return the mirror's entries; files with equal contents get the source's entry, so that they are linked instead of copied."""
    source, entries = verified.source_copy.list_entries(source_path), {}
    for path, entry in verified.source_copy.list_entries(mirror_path).items():
        current = source.get(path)
        if (
            current is not None
            and current.type == entry.type == "f"
            and current.size == entry.size == common_length(os.path.join(source_path, path), os.path.join(mirror_path, path))
        ):
            entries[path] = current
        else:
            entries[path] = entry._replace(ctime_ns=0)
    return entries


def _verify_source(verified: VerifiedBuild, source_path: bytes) -> Verdict:
    """Verify the source; damage must be found twice in the same state.

    :raises ConflictError: the source is being written to.
    """
    previous = None
    for _attempt in range(TRIES):
        try:
            verdict = verified.copy_and_verify(source_path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        listed = verified.source_copy.listed
        if not verdict.problems or listed == previous:
            return verdict
        previous = listed
    raise ConflictError(
        f"{verified.where} is being written to, so it cannot be repaired now.",
        "wait until nothing writes to it, then run the command again",
    )


def _plan(plan: HgRepairPlan, verified: VerifiedBuild, verdict: Verdict) -> None:
    build, prefix = verified.build, plan.store + b"/"
    plan.listed = dict(verified.source_copy.listed)
    repaired = verified.repair_from_mirror(verdict)
    problems_before = {(each.path, each.rev, each.text) for each in verdict.problems}
    remaining = repaired.problems if repaired is not None else verdict.problems
    is_better = repaired is not None and {(each.path, each.rev, each.text) for each in remaining} < problems_before
    plan.unrepairable = [(prefix + each.path if each.path else plan.store, each.text) for each in remaining]
    if not is_better:
        return
    reasons = {each.path: each.text for each in verdict.problems}
    for path in sorted(build.from_mirror & build.entries.keys(), key=lambda each: (not each.endswith(b".d"), each)):
        entry = plan.listed.get(path)
        new = build.build_path(path)
        old = os.path.join(verified.copier.source_path, plan.store, path)
        if entry is not None and entry.type == "f" and entry.size == os.stat(new).st_size == common_length(old, new):
            continue
        reason = MISSING if entry is None else reasons.get(path) or reasons.get(index_file(path)) or "it differs from the mirror's copy"
        plan.repairs.append(Repair(prefix + path, reason, entry is not None))


def apply_repair(source: bytes, plan: HgRepairPlan, saved: bytes) -> Iterator[Repair]:
    """Write the planned files into the source, holding hg's own locks, and yield each one once it is complete.

    :param saved: directory for the damaged files, under their paths in the unit; it is created if needed.
    :raises RepomanError: a file changed since it was planned, or a directory has its name. Files already yielded stay.
    :raises OSError: the source cannot be written.
    """
    top_fd = os.open(source, LIST)
    try:
        with _locked(top_fd, plan.store):
            for repair in plan.repairs:
                _check_unchanged(top_fd, repair, plan)
            for repair in plan.repairs:
                _put(top_fd, repair, os.path.join(plan.build_path, repair.path[len(plan.store) + 1 :]), saved)
                yield repair
    finally:
        os.close(top_fd)


@contextmanager
def _locked(top_fd: int, store: bytes) -> Iterator[None]:
    """Hold hg's locks, the working directory's before the store's, as hg takes them."""
    locks: list[tuple[int, bytes]] = []
    owner = f"repoman:{os.getpid()}"
    try:
        for path in (store, store + b"/store"):
            name = b"wlock" if path == store else b"lock"
            directory_fd = open_or_create_directory(top_fd, path)
            try:
                os.symlink(owner, name, dir_fd=directory_fd)
            except FileExistsError:
                os.close(directory_fd)
                lock = escape_path(os.path.join(path, name))
                raise ConflictError(
                    f"{lock} exists, so something may be writing to the repository.",
                    "wait for hg to finish; if it was killed, run in that repository: hg debuglocks --force-free-lock --force-free-wlock",
                ) from None
            locks.append((directory_fd, name))
        yield
    finally:
        for directory_fd, name in reversed(locks):
            with suppress(OSError):
                if os.readlink(name, dir_fd=directory_fd) == os.fsencode(owner):
                    os.unlink(name, dir_fd=directory_fd)
            os.close(directory_fd)


def _check_unchanged(top_fd: int, repair: Repair, plan: HgRepairPlan) -> None:
    parent, name = split_path(repair.path)
    expected = plan.listed.get(repair.path[len(plan.store) + 1 :])
    current: tuple[int, ...] | None = None
    with suppress(FileNotFoundError, NotADirectoryError):
        directory_fd = open_beneath(top_fd, parent, LIST)
        try:
            status = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
        finally:
            os.close(directory_fd)
        current = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino)
    if current != (None if expected is None else (expected.mode, expected.size, expected.mtime_ns, expected.inode)):
        raise ConflictError(f"{escape_path(repair.path)} changed during the repair, so it was not repaired.", "run the command again")


def _put(top_fd: int, repair: Repair, build_path: bytes, saved_dir: bytes) -> None:
    """Write a repaired file into the source; the file that it replaces is saved."""
    parent, name = split_path(repair.path)
    directory_fd = open_or_create_directory(top_fd, parent)

    def write(out: int) -> None:
        with open(os.open(build_path, READ_FLAGS), "rb") as file:
            status = os.fstat(file.fileno())
            append(out, file.fileno(), 0, status.st_size)
        _copy_owner_and_mode(out, directory_fd, name, status)

    try:
        temporary = b".repoman-" + sha256(name).hexdigest()[:8].encode() + b"~"  # sync ignores files of this form
        replace_file(directory_fd, name, temporary, write, os.path.join(saved_dir, repair.path))
    finally:
        os.close(directory_fd)


def _copy_owner_and_mode(out: int, directory_fd: int, name: bytes, built: os.stat_result) -> None:
    """Give a new file the owner and mode of the file that it replaces, or of its directory and the repaired file."""
    try:
        current = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
        mode = current.st_mode if stat.S_ISREG(current.st_mode) else built.st_mode
    except FileNotFoundError:
        current, mode = os.fstat(directory_fd), built.st_mode
    if os.geteuid() == 0:
        os.fchown(out, current.st_uid, current.st_gid)
    os.fchmod(out, stat.S_IMODE(mode) & 0o777)
