# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is unusual about a repository in its container: for the warnings of ``new``, and for ``status``."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import first_of
from ansible_collections.homelab.repoman.plugins.module_utils.host.hung_mounts import hung_mount, served_mounts_below
from ansible_collections.homelab.repoman.plugins.module_utils.host.mounts import PSEUDO, mounts_below
from ansible_collections.homelab.repoman.plugins.module_utils.projects.desired import DesiredInstance
from ansible_collections.homelab.repoman.plugins.module_utils.projects.git_share import share_by_hand
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import PROTECTED_KEY, host_mount, mount_targets
from ansible_collections.homelab.repoman.plugins.module_utils.projects.protected_record import changed_behind
from ansible_collections.homelab.repoman.plugins.module_utils.projects.repository import Repository

MAX_NAMED = 3
"""Paths that one note names."""
SCAN_SECONDS = 2.0
"""Time that a run may search for set-user-ID files, in all repositories together."""
SCAN_DEPTH = 100
"""Levels below a repository that are searched."""


def repository_notes(desired: DesiredInstance) -> list[str]:
    """Return what does not work in the container as it does on the host."""
    notes = [desired.git_share.note] if desired.git_share.note else []
    devices = desired.with_profile_devices(desired.settings.devices)
    return notes + [_mount_note(desired, path) for path in _unshared_mounts(desired.repository, devices)]


def set_user_id_note(repository: str, seconds: float = SCAN_SECONDS) -> str:
    """Return a note about files of a repository that run as their owner, whoever starts them; empty if none was found.

    Root in the container can create them, also such that belong to root on the host.

    :param seconds: that the search may take.
    """
    paths, is_complete = find_set_user_id_files(repository, seconds)
    if not paths:
        return ""
    scope = "" if is_complete else " (the search was cut short)"
    return f"set-user-ID or set-group-ID files, which run as their owner: {first_of(paths, MAX_NAMED)}{scope}"


def protection_note(desired: DesiredInstance, instance: Mapping[str, Any], accepts: bool = False) -> str:
    """Return a note about protected hooks and settings that have changed since the last ``new``; empty if there are none.

    :param instance: as Incus describes it.
    :param accepts: whether this run accepts the change.
    """
    config, devices = desired.config_and_devices()
    names = changed_behind(instance["config"].get(PROTECTED_KEY, ""), config.get(PROTECTED_KEY, ""))
    changed = sorted(devices[name]["source"] for name in names if name in instance["devices"])
    if not changed:
        return ""
    remedy = "this run accepts it" if accepts else f"to accept it: repoman new {desired.name}"
    return (
        f"protected, and changed since the last 'repoman new': {', '.join(changed[:MAX_NAMED])}; if it was not you, it was root in the container."
        f" Look at it before you run git or hg there; {remedy}"
    )


def find_set_user_id_files(repository: str, seconds: float = SCAN_SECONDS) -> tuple[list[str], bool]:
    """Return the paths of the executable regular files with a set-user-ID or set-group-ID bit, and whether all files were seen.

    :param seconds: that the search may take.
    """
    search = _Search(repository, time.monotonic() + seconds)
    return sorted(search.paths), search.is_complete


class _Search:
    """A search for set-user-ID files. It reads no directory beyond its time: a container can make one with millions of entries.

    :param repository: directory to search.
    :param deadline: of the monotonic clock.
    """

    def __init__(self, repository: str, deadline: float) -> None:
        self.deadline = deadline
        self.paths: list[str] = []
        self.is_complete = True
        self.device: int | None = None
        if hung_mount(repository):
            self.is_complete = False
            return
        self.served = served_mounts_below(repository)
        self._search(repository, None, repository, 0)

    def _search(self, name: str, parent: int | None, path: str, depth: int) -> None:
        """Search a directory, unless it is on another file system than the repository.

        What another machine or process serves is not even opened, so that the search is incomplete: it may not answer. Nothing is looked
        up by its path, in which the container can put a link.

        :param parent: the open directory that ``name`` is in.
        """
        if depth > SCAN_DEPTH or (depth and path in self.served):
            self.is_complete = False
            return
        try:
            directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | (os.O_NOFOLLOW if depth else 0) | os.O_CLOEXEC, dir_fd=parent)
        except OSError:
            self.is_complete = False
            return
        try:
            device = os.fstat(directory).st_dev
            self.device = device if self.device is None else self.device
            if device == self.device:
                with os.scandir(directory) as entries:
                    self._search_entries(entries, directory, path, depth)
        except OSError:
            self.is_complete = False
        finally:
            os.close(directory)

    def _search_entries(self, entries: Iterator[os.DirEntry[str]], directory: int, path: str, depth: int) -> None:
        for entry in entries:
            if time.monotonic() > self.deadline:
                self.is_complete = False
                return
            if entry.is_dir(follow_symlinks=False):
                self._search(entry.name, directory, os.path.join(path, entry.name), depth + 1)
            elif not entry.is_symlink():
                with suppress(OSError):
                    mode = entry.stat(follow_symlinks=False).st_mode
                    if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID) and mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH):
                        self.paths.append(os.path.join(path, entry.name))


def _unshared_mounts(repository: Repository, devices: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the mounts inside a repository, relative to it, over which no device of the container mounts anything."""
    targets = mount_targets(devices.values())
    mounts = {os.fsdecode(path): fstype for path, fstype in mounts_below(os.fsencode(repository.host_path)).items()}
    return sorted(
        path for path, fstype in mounts.items() if fstype not in PSEUDO and os.path.join(repository.container_path, path) not in targets
    )


def _mount_note(desired: DesiredInstance, path: str) -> str:
    repository = desired.repository
    device = host_mount(os.path.join(repository.host_path, path), os.path.join(repository.container_path, path))
    remedy = share_by_hand(desired.name, json.dumps(path, ensure_ascii=False), device)
    return f"{device['path']} is a separate file system, and empty in the container; {remedy}"
