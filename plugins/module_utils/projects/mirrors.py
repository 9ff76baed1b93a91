# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mirror of a project's repository, as far as verbs about containers need it."""

from __future__ import annotations

import os

from ansible_collections.homelab.repoman.plugins.module_utils.host.hung_mounts import hung_mount
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.registry import sync_times
from ansible_collections.homelab.repoman.plugins.module_utils.registry.backup_root import backup_root


def find_mirror(context: RunContext, repo: str) -> str:
    """Return the path of the mirror of a repository; empty if it does not exist, or if its file system does not answer.

    :param repo: path in ``repos_root``.
    """
    if os.path.isabs(repo):
        return ""
    path = os.path.join(backup_root(context.registry.defaults, context.account), repo.split("/", maxsplit=1)[0])
    return path if not hung_mount(path) and os.path.lexists(path) else ""


def last_sync_of_mirror(context: RunContext, repo: str) -> str:
    """Return the time of the last backup of a repository, which may be of a project that was removed; empty if it has no mirror.

    :param repo: path in ``repos_root``.
    """
    if not find_mirror(context, repo):
        return ""
    defaults = context.registry.defaults
    logdir, root = context.account.expand(defaults.logdir), backup_root(defaults, context.account)
    return sync_times.read(logdir, root).get(repo.split("/", maxsplit=1)[0], "")
