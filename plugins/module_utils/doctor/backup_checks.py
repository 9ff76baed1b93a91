# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks of the backup: its target, its age, and locks."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.host_lock import LockHolder, describe_process
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.marker import marker_path
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.state import lock_path, read_lock
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import format_age, format_bytes, format_duration, plural
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import SyncState, seconds_since
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.check import Check, Outcome, fail, listing, ok, warn
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.context import DoctorContext
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.host.hung_mounts import SERVED_MOUNTS, hung_mount, hung_mount_error
from ansible_collections.homelab.repoman.plugins.module_utils.host.locks import held_locks, is_locked
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandError

NOTHING = "there is nothing to back up"
CLOCK_HINTS = ("timedatectl   # is the clock right?", "repoman sync   # if it is: the next backup has the right time")
FIRST_BACKUP = "repoman sync --init   # for the first backup"


def check_target(context: DoctorContext) -> Outcome:
    """Check that the backup target is there, and belongs to this host and user."""
    target = context.target
    if target["state"] in ("missing", "unmarked") and not _last_backups(context):
        return ok(f"no backup target is needed: {NOTHING}")
    path, state, shown = target["path"], target["state"], context.short(target["path"])
    if state == "ready":
        return ok(f"backup target {shown}, {format_bytes(target['free'])} free")
    detail = f" ({target['detail']})" if target["detail"] else ""
    mounted = f"findmnt --target {shell_word(path)}   # is it mounted?"  # not for one that does not answer: it would hang, too
    elsewhere = f"another place: [defaults].backup_root in {context.short(context.registry_path)}"
    if state in ("missing", "unmarked"):
        problem = "does not exist" if state == "missing" else "is not a backup of repoman yet"
        is_used = _was_used(context)
        first = [] if is_used else [FIRST_BACKUP]
        outcome = fail if is_used else warn
        return outcome(f"backup target {shown} {problem}", mounted, *first, elsewhere)
    if state == "foreign":
        return fail(
            f"backup target {shown} is the backup {target['detail']}",
            "repoman sync --take-over   # if this host and user go on with it",
            elsewhere,
        )
    if state == "unreachable":
        mount = hung_mount(path)
        return fail(f"backup target {shown} {target['detail']}", *(hung_mount_error(path, mount).hints if mount else [SERVED_MOUNTS]))
    return fail(f"backup target {shown} cannot be read{detail}", f"ls -la {shell_word(str(marker_path(path).parent))}")


def check_age(context: DoctorContext) -> Outcome:
    """Check that each project and directory was backed up not long ago, and that the times are not in the future."""
    times, backups = context.backup_times, _last_backups(context)
    ages = [(name, seconds_since(time, times.now) or 0, times.state(time)) for name, time in backups]
    future = [name for name, _age, state in ages if state is SyncState.FUTURE]
    never = [name for name, _age, state in ages if state is SyncState.NEVER]
    old = sorted(((age, name) for name, age, state in ages if state is SyncState.OLD), reverse=True)
    parts = [f"no backup yet of {listing(never)}"] if never else []
    parts += [f"no backup {listing(f'of {name} for {format_duration(age)}' for age, name in old)}"] if old else []
    if not parts and times.state(times.newest) is SyncState.OLD:
        parts = [f"the last backup was {format_age(seconds_since(times.newest, times.now) or 0)}"]
    if future:
        return warn("; ".join([f"the last backup of {listing(future)} is in the future", *parts]), *CLOCK_HINTS)
    if parts:
        return warn("; ".join(parts), _backup_hint(context))
    if not backups:
        return ok(NOTHING)
    if context.registry.defaults.stale_seconds is None:
        return ok("the age of backups is not checked: stale_after is 'never'")
    noun = "repository" if times.other_directories else "project"
    return ok(f"{plural(len(ages), noun)} backed up, the oldest {format_age(max(age for _name, age, _state in ages))}")


def _last_backups(context: DoctorContext) -> list[tuple[str, str]]:
    """Return name and time of the last backup of each project that is backed up, and of each other directory that ``sync`` backs up."""
    times = context.backup_times
    projects = [(name, times.of_project(name)) for name, project in times.backup.projects.items() if project.backup]
    return [*projects, *((escape_path(os.fsencode(name)), time) for name, time in times.other_directories.items())]


def _was_used(context: DoctorContext) -> bool:
    return any(project.last_sync for project in context.registry.projects.values())


def _backup_hint(context: DoctorContext) -> str:
    """Return how the next backup is made: with a target that cannot be used, its own check has the remedies."""
    if context.target["state"] == "ready":
        return "repoman sync"
    if context.target["state"] in ("missing", "unmarked") and not _was_used(context):
        return FIRST_BACKUP
    return "see the backup target above; then: repoman sync"


def check_locks(context: DoctorContext) -> Outcome:
    """Check that no killed run, and no other host, has left a lock. Locks of the kernel end with their run, so they are never stale."""
    working = _local_runs(context)
    if context.target["state"] == "ready":
        path = Path(lock_path(context.target["path"]))
        try:
            text = read_lock(str(path), context.account)
        except CommandError as error:
            return fail(f"{path}: {error.message}", f"ls -l {shell_word(str(path))}")
        holder = LockHolder.of_text(text, describe_process())
        if text and holder.has_ended:
            return warn(f"a run that was killed has left {path}", "repoman sync   # removes it")
        if text and not holder.is_same_host:
            conflict = holder.error(path)
            return warn(conflict.message.rstrip("."), *conflict.hints)
        working += [f"{holder.who} on the backup"] if text else []
    return ok(f"no stale locks; at work: {listing(working)}" if working else "no stale locks")


def _local_runs(context: DoctorContext) -> list[str]:
    """Return what runs of this host are working on: the registry, and projects."""
    real = os.path.realpath(context.registry_path)
    locks = {"the registry": f"{real}.lock"}
    directory = os.path.join(os.path.dirname(real), "locks")
    with suppress(OSError):
        locks |= {name.removesuffix(".lock"): os.path.join(directory, name) for name in sorted(os.listdir(directory))}
    with suppress(OSError):
        held = held_locks()
        return [subject for subject, path in locks.items() if is_locked(path, held)]
    return []


CHECKS = (
    Check("backup", "the backup target", check_target),
    Check("backup_age", "the age of the backup", check_age),
    Check("locks", "locks", check_locks),
)
