# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks with a probe file that the container writes to the intended repository."""

from __future__ import annotations

import os
import re
import stat
import time
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError, RunInterruptedError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.projects.account import EXEC_TIMEOUT, InstanceAccount
from ansible_collections.homelab.repoman.plugins.module_utils.projects.control import InstanceControl
from ansible_collections.homelab.repoman.plugins.module_utils.projects.pinned_directory import PinnedDirectory
from ansible_collections.homelab.repoman.plugins.module_utils.projects.repository import Repository

PROBE_NAME = re.compile(r"\.repoman-probe-[0-9a-f]{16}")
PROBE_LIFETIME = 2 * EXEC_TIMEOUT
"""Seconds after which a probe cannot belong to a run that is still checking."""


def verify_mount(instance: InstanceControl, repository: Repository, directory: PinnedDirectory) -> None:
    """Check that the account can write to the repository, and that the mounted directory is ``directory``.

    :param directory: directory of the repository, already open.
    :raises RepomanError: it cannot write.
    :raises ConflictError: another directory was mounted instead.
    """
    before = os.stat(directory.fd_path)
    try:
        remove_leftover_probes(directory.fd_path, instance.context.account, PROBE_LIFETIME)
        _verify_write_access(instance, repository, directory)
    finally:
        with suppress(OSError):  # probes change the time of the directory, which the backup compares
            os.utime(directory.fd_path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _verify_write_access(instance: InstanceControl, repository: Repository, directory: PinnedDirectory) -> None:
    try:
        InstanceAccount(instance).verify_write_access(repository.container_path, directory.fd_path)
    except RepomanError as error:
        if isinstance(error, RunInterruptedError):
            raise
        with suppress(RepomanError):  # the probe may have been written to another directory
            instance.exec(["/bin/sh", "-c", 'rm -f -- "$0"/.repoman-probe-*', repository.container_path], EXEC_TIMEOUT)
        if not directory.is_unchanged():
            raise directory.replaced_error() from error
        error.message = error.message.replace(directory.fd_path, repository.host_path)
        error.hints = [hint.replace(directory.fd_path, repository.host_path) for hint in error.hints]
        raise


def remove_leftover_probes(directory: str, account: Account, min_age: float) -> None:
    """Remove the probes that killed runs left in a repository, if it can be read.

    :param min_age: see :func:`leftover_probes`.
    """
    with suppress(OSError):
        for path in leftover_probes(directory, account, min_age):
            os.unlink(path)


def leftover_probes(directory: str, account: Account, min_age: float) -> list[str]:
    """Return the paths of the probes that killed runs left in a repository.

    :param min_age: minimum age in seconds: newer ones may belong to another run.
    :raises OSError: the directory cannot be read.
    """
    paths = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if PROBE_NAME.fullmatch(entry.name):
                status = entry.stat(follow_symlinks=False)
                is_probe = stat.S_ISREG(status.st_mode) and not status.st_size and status.st_uid == account.uid
                if is_probe and status.st_mtime <= time.time() - min_age:
                    paths.append(entry.path)
    return paths
