# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The directories on the target in which a run works."""

from __future__ import annotations

import os
import stat
from collections.abc import Container
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror import target_traits
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.options import MirrorOptions
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import make_private, remove_tree


def prepare_directories(settings: MirrorOptions, unfinished: Container[str] | None = None) -> None:
    """Create the directories of a run, and remove the leftovers of killed runs; an unfinished first copy stays, so that it can be continued.

    Temporary files of other runs are not touched: these runs may still be active.

    :param unfinished: units whose unfinished first copy is kept; None for all.
    """
    new = os.path.join(settings.work, "new")
    make_private(new)
    for directory in (settings.work, os.path.dirname(settings.history)):  # made by an earlier version, they may be open to others
        with suppress(FileNotFoundError, PermissionError):
            if stat.S_IMODE(os.stat(directory).st_mode) & 0o077:
                os.chmod(directory, 0o700)
    if not settings.temporaries:
        _clear(settings.work, ("new",))
    target_traits.find_out(settings.work, settings.temporaries or settings.work)
    if unfinished is not None:
        _clear(new, unfinished)


def _clear(directory: str, unfinished: Container[str]) -> None:
    """Remove the entries of one of our directories, except some."""
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in os.listdir(directory_fd):
            if name not in unfinished:
                remove_tree(os.fsencode(name), directory_fd)
    finally:
        os.close(directory_fd)
