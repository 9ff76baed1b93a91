# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Classes of paths in a git directory."""

from __future__ import annotations

import re
from functools import lru_cache

GIT_DIR_ENTRIES = re.compile(
    rb"([A-Z]+_)*HEAD|refs|logs|packed-refs|index|sharedindex\..*|shallow|worktrees|reftable|config|config\.worktree|info|objects|commondir"
    rb"|gitdir|rebase-apply|rebase-merge|sequencer|(BISECT|MERGE|NOTES_MERGE)_\w+|AUTO_MERGE|SQUASH_MSG|gc\.(pid|log)|next-index-\d+"
)
"""Names directly in a git directory that make up the state of a repository. All others are mirrored like other files: hooks, repositories of
submodules, and worktrees in a bare repository."""

LOOSE_OBJECT = len(b"objects/00/") + 38
"""Length of the path of a loose object named by SHA-1: nearly all paths are of this kind."""

_TRANSIENT = re.compile(rb"\.lock$|^gc\.pid$|^packed-refs\.new$|^objects/(.*/)?(tmp_|\.tmp-|incoming-)")
_SUFFIX = re.compile(rb"\.(lock|new)$")


def classify_path(path: bytes) -> str:
    """Return the class of a path in a git directory.

    :param path: relative to the git directory.
    :return: ``object``, ``derived`` (files that git computes from objects, and the lists of further object directories), ``reference`` (all files
        that are read first), ``plain``, or ``transient`` (locks and unfinished files: never mirrored).
    """
    if len(path) == LOOSE_OBJECT and path[:8] == b"objects/" and path[10:11] == b"/":
        return "object"
    first, slash, rest = path.partition(b"/")
    if not _is_git_dir_entry(first if slash else _SUFFIX.sub(b"", first)):
        return "plain"
    if _TRANSIENT.search(path):
        return "transient"
    if first == b"objects":
        return "derived" if rest.startswith(b"info/") or b"/multi-pack-index" in path else "object"
    return "reference"


@lru_cache(maxsize=1024)
def _is_git_dir_entry(name: bytes) -> bool:
    return GIT_DIR_ENTRIES.fullmatch(name) is not None


def loose_object_length(directory: bytes, store: bytes) -> int:
    """Return the length of the paths of loose objects in a directory; paths of this length in it need no other test. -1 if it holds none.

    :param store: path of the git directory that contains it.
    """
    inner = directory[len(store) + 1 :] if store else directory
    return len(directory) + 39 if len(inner) == len(b"objects/00") and inner.startswith(b"objects/") else -1
