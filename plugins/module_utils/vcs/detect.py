# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What kind of repository a directory is, by its entries.

Two places have a rule of their own on purpose:

- ``projects/protect`` takes a directory for a bare git repository even without ``refs``: the container could add what is missing later.
- ``backup/mirror/repositories`` and ``backup/manifest`` look for repositories in listings and manifests that they have read anyway, at any
  depth, and tell those with a store of their own from those that share another's.
"""

from __future__ import annotations

import os


def detect_vcs(path: str) -> str:
    """Return ``git`` or ``hg``, of a work tree or a bare repository; empty if it is neither.

    Whether it is in order is not checked: a broken ``.git`` is git's. If both are there, it is git's.
    """
    if os.path.lexists(os.path.join(path, ".git")):
        return "git"
    if os.path.lexists(os.path.join(path, ".hg")):
        return "hg"
    return "git" if is_git_directory(path) else ""


def is_git_directory(path: str) -> bool:
    """Return whether a directory has what git demands of a git directory; ``HEAD`` may be a link to a branch without commits."""
    return os.path.lexists(os.path.join(path, "HEAD")) and all(os.path.isdir(os.path.join(path, name)) for name in ("objects", "refs"))
