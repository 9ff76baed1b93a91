# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put files of a Mercurial repository that are missing or damaged in a source back from its mirror, and touch nothing else.

A log gets the mirror's revisions back and keeps its own newer ones. The repaired repository is built in a
directory of ours and proven by hg before anything of the source is touched. The source is hostile: directories are opened part by
part without following links, files are written under names of ours and renamed into place.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.build import append
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.proof import Verdict
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.revlog import common_length
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.store_files import index_file
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.verified_build import VerifiedBuild
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.open_trees import directory, split_path
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.beneath import open_below
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
MISSING = "it is missing"
TRIES = 3


@dataclass(frozen=True)
class HgMend:
    """One file to be put into the source.

    :param path: relative to the unit.
    :param reason: why.
    :param replaces: there is a file, which is moved to the directory for what is saved.
    """

    path: bytes
    reason: str
    replaces: bool


@dataclass
class HgMendPlan:
    """What mending one ``.hg`` takes.

    :param store: the ``.hg``, relative to the unit.
    :param mends: files to be put into the source, in this order.
    :param left: damage that the mirror cannot repair: path relative to the unit, and reason.
    :param built: directory with the verified repaired repository, below the scratch directory.
    :param seen: what the source was when that was built.
    """

    store: bytes
    mends: list[HgMend] = field(default_factory=list)
    left: list[tuple[bytes, str]] = field(default_factory=list)
    built: bytes = b""
    seen: dict[bytes, Entry] = field(default_factory=dict)


def plan_mend(source: bytes, mirror: bytes, store: bytes, scratch: str, *, account: tuple[int, int] | None = None) -> HgMendPlan:
    """Let hg check a ``.hg`` of the source, and see what of the damaged and missing its mirror has; what would be there is proven.

    Changes nothing but ``scratch``. For ``--check`` show ``mends`` and ``left``; otherwise go on with :func:`apply_mend`.

    :param source: the unit's directory.
    :param mirror: the unit's mirror.
    :param store: the ``.hg``, relative to the unit, as the mirror has it.
    :param scratch: directory, ours alone, that outlives the plan; best on the mirror's file system, where little is copied then.
    :param account: uid and gid for hg if repoman runs as root.
    :raises ConflictError: the source is being written.
    """
    plan = HgMendPlan(store)
    copier = Copier(source, mirror, history=None, work=os.fsencode(scratch), is_first_copy=False)
    try:
        verified = VerifiedBuild(store, copier, mirrored={}, scratch_dir=os.path.join(scratch, "proof"), account=account)
        plan.built = verified.build.path = os.path.join(os.fsencode(scratch), b"mend." + secrets.token_hex(8).encode())
        os.mkdir(plan.built, 0o700)
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
            and current.kind == entry.kind == "f"
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


def _plan(plan: HgMendPlan, verified: VerifiedBuild, verdict: Verdict) -> None:
    build, prefix = verified.build, plan.store + b"/"
    plan.seen = dict(verified.source_copy.listed)
    repaired = verified.repair_from_mirror(verdict)
    before = {(each.path, each.rev, each.text) for each in verdict.problems}
    rest = repaired.problems if repaired is not None else verdict.problems
    is_better = repaired is not None and {(each.path, each.rev, each.text) for each in rest} < before
    plan.left = [(prefix + each.path if each.path else plan.store, each.text) for each in rest]
    if not is_better:
        return
    reasons = {each.path: each.text for each in verdict.problems}
    for path in sorted(build.from_mirror & build.entries.keys(), key=lambda each: (not each.endswith(b".d"), each)):
        entry = plan.seen.get(path)
        new = build.build_path(path)
        old = os.path.join(verified.copier.source_path, plan.store, path)
        if entry is not None and entry.kind == "f" and entry.size == os.stat(new).st_size == common_length(old, new):
            continue
        reason = MISSING if entry is None else reasons.get(path) or reasons.get(index_file(path)) or "it differs from the mirror's copy"
        plan.mends.append(HgMend(prefix + path, reason, entry is not None))


def apply_mend(source: bytes, plan: HgMendPlan, saved: bytes) -> Iterator[HgMend]:
    """Apply the plan to the source and yield each file when it is done, while holding hg's own locks.

    :param saved: directory that damaged files are moved to, under their paths in the unit; it is made when it is needed.
    :raises RepomanError: a file changed since the plan was made, or its path is taken. Files already yielded stay.
    :raises OSError: the source cannot be written.
    """
    top = os.open(source, _DIRECTORY)
    try:
        with _locked(top, plan.store):
            for mend in plan.mends:
                _check_unchanged(top, mend, plan)
            for mend in plan.mends:
                _put(top, mend, os.path.join(plan.built, mend.path[len(plan.store) + 1 :]), saved)
                yield mend
    finally:
        os.close(top)


@contextmanager
def _locked(top: int, store: bytes) -> Iterator[None]:
    """Hold hg's locks, the working directory's before the store's, as hg takes them."""
    taken: list[tuple[int, bytes]] = []
    owner = f"repoman:{os.getpid()}"
    try:
        for path in (store, store + b"/store"):
            name = b"wlock" if path == store else b"lock"
            held = _open_parent(top, path)
            try:
                os.symlink(owner, name, dir_fd=held)
            except FileExistsError:
                os.close(held)
                where = escape_path(os.path.join(path, name))
                raise ConflictError(
                    f"{where} exists, so something may be writing to the repository.",
                    "wait for hg to finish; if it was killed, run in that repository: hg debuglocks --force-free-lock --force-free-wlock",
                ) from None
            taken.append((held, name))
        yield
    finally:
        for held, name in reversed(taken):
            with suppress(OSError):
                if os.readlink(name, dir_fd=held) == os.fsencode(owner):
                    os.unlink(name, dir_fd=held)
            os.close(held)


def _check_unchanged(top: int, mend: HgMend, plan: HgMendPlan) -> None:
    parent, name = split_path(mend.path)
    seen = plan.seen.get(mend.path[len(plan.store) + 1 :])
    now: tuple[int, ...] | None = None
    with suppress(FileNotFoundError, NotADirectoryError):
        held = open_below(top, parent, _DIRECTORY)
        try:
            found = os.stat(name, dir_fd=held, follow_symlinks=False)
        finally:
            os.close(held)
        now = (found.st_mode, found.st_size, found.st_mtime_ns, found.st_ino)
    if now != (None if seen is None else (seen.mode, seen.size, seen.mtime_ns, seen.inode)):
        raise ConflictError(f"{escape_path(mend.path)} changed during the repair, so it was not repaired.", "run the command again")


def _put(top: int, mend: HgMend, built: bytes, saved: bytes) -> None:
    """Write a file beside its place, save what is there, and put it there."""
    parent, name = split_path(mend.path)
    held = _open_parent(top, parent)
    temporary = b".repoman-" + secrets.token_hex(8).encode() + b"~"
    try:
        out = os.open(temporary, _NEW, 0o600, dir_fd=held)
        try:
            with open(os.open(built, _READ), "rb") as file:
                found = os.fstat(file.fileno())
                append(out, file.fileno(), 0, found.st_size)
            _give(out, held, name, found)
            os.fsync(out)
        finally:
            os.close(out)
        if mend.replaces:
            _save(held, name, os.path.join(saved, mend.path))
        os.rename(temporary, name, src_dir_fd=held, dst_dir_fd=held)
        os.fsync(held)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=held)
        raise
    finally:
        os.close(held)


def _give(out: int, held: int, name: bytes, built: os.stat_result) -> None:
    """Give a file the owner and mode of the one that it replaces, or of its directory."""
    try:
        old = os.stat(name, dir_fd=held, follow_symlinks=False)
        owner, mode = (old.st_uid, old.st_gid), old.st_mode if stat.S_ISREG(old.st_mode) else built.st_mode
    except FileNotFoundError:
        above = os.fstat(held)
        owner, mode = (above.st_uid, above.st_gid), built.st_mode
    if os.geteuid() == 0:
        os.fchown(out, *owner)
    os.fchmod(out, stat.S_IMODE(mode) & 0o777)


def _save(held: int, name: bytes, place: bytes) -> None:
    """Copy a file to the directory of saved files, so that its own path always exists."""
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    free, number = place, 0
    while os.path.lexists(free):
        number += 1
        free = place + b".~%d~" % number
    found = os.stat(name, dir_fd=held, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode):
        if stat.S_ISDIR(found.st_mode):
            with suppress(OSError):
                os.rename(name, free, src_dir_fd=held)
                return
            raise RepomanError(
                f"{escape_path(place)} is a directory, but the repository has a file of that name.", "look at it, then move it away"
            )
        if stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(name, dir_fd=held), free)
        return
    with open(os.open(name, _READ, dir_fd=held), "rb") as file, open(os.open(free, _NEW, 0o600), "wb") as out:
        append(out.fileno(), file.fileno(), 0, found.st_size)


def _open_parent(top: int, path: bytes) -> int:
    """Open a directory of the source; it and those above it are made if they are missing, with the owner and mode of the one above."""
    try:
        return open_below(top, path, _DIRECTORY)
    except FileNotFoundError:
        if not path:
            raise
    above, name = split_path(path)
    held = _open_parent(top, above)
    try:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=held)
            made = os.open(name, _DIRECTORY, dir_fd=held)
            try:
                found = os.fstat(held)
                if os.geteuid() == 0:
                    os.fchown(made, found.st_uid, found.st_gid)
                os.fchmod(made, stat.S_IMODE(found.st_mode) & 0o777)
            finally:
                os.close(made)
        return os.open(name, _DIRECTORY, dir_fd=held)
    finally:
        os.close(held)
