# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Detect the kind of a repository by the entries of its directory.

Two modules have another rule on purpose:

- ``projects/protect`` treats a directory as a bare git repository even without ``refs``: the container could create it later.
- ``backup/mirror/repositories`` and ``backup/manifest`` look for repositories in listings and manifests that they have read anyway, at any
  depth, and distinguish repositories that share the store of another one.
"""

from __future__ import annotations

import os


def detect_vcs(path: str) -> str:
    """Return ``git`` or ``hg``, of a work tree or a bare repository; empty if it is neither.

    Its validity is not checked: a directory with a broken ``.git`` counts as git, and so does one with both.
    """
    if os.path.lexists(os.path.join(path, ".git")):
        return "git"
    if os.path.lexists(os.path.join(path, ".hg")):
        return "hg"
    return "git" if is_git_directory(path) else ""


def is_git_directory(path: str) -> bool:
    """Return whether a directory has the required entries of a git directory; ``HEAD`` may be a link to a branch without commits."""
    return os.path.lexists(os.path.join(path, "HEAD")) and all(os.path.isdir(os.path.join(path, name)) for name in ("objects", "refs"))
