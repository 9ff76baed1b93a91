# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the parts of a git repository: its git directory, its common directory, its working tree."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ansible_collections.homelab.repoman.plugins.module_utils.vcs.confined_tree import ConfinedTree, VcsError
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.detect import is_git_directory


@dataclass(frozen=True)
class GitLocation:
    """The parts of a git repository; paths have their links resolved.

    :param git_dir: the git directory of this working tree: ``HEAD`` and the index.
    :param common_dir: the git directory that all its working trees share: refs, objects, configuration.
    :param work_tree: empty for a bare repository.
    """

    git_dir: str
    common_dir: str
    work_tree: str


def locate_git_dir(path: str, tree: ConfinedTree) -> GitLocation | None:
    """Return the location of the git repository at ``path``; ``None`` if there is none.

    A ``.git`` that is a file, as in linked working trees and submodules, is followed inside the tree. ``core.worktree`` is
    not followed.

    :raises VcsError: it leads outside, or is not a git repository.
    """
    real = tree.resolve(path)
    git_dir, work_tree = os.path.join(real, ".git"), real
    if not os.path.lexists(git_dir):
        if not is_git_directory(real):
            return None
        git_dir, work_tree = real, ""
    elif not os.path.isdir(tree.resolve(git_dir)):
        pointer = decode_line(tree.read(git_dir))
        if not pointer.startswith("gitdir: "):
            raise VcsError(f"{git_dir} is neither a directory nor does it name one")
        git_dir = os.path.join(real, pointer.removeprefix("gitdir: "))
    git_dir = tree.resolve(git_dir)
    pointer_to_common = decode_line(tree.read(os.path.join(git_dir, "commondir")))
    common_dir = tree.resolve(os.path.join(git_dir, pointer_to_common)) if pointer_to_common else git_dir
    if not os.path.lexists(os.path.join(git_dir, "HEAD")) or not os.path.isdir(os.path.join(common_dir, "objects")):
        raise VcsError(f"{git_dir} is not a git repository")
    return GitLocation(git_dir, common_dir, work_tree)


def decode_line(content: bytes | None) -> str:
    """Return the text of a file of one line, without the end of the line; bytes that are not UTF-8 are kept as surrogates."""
    return os.fsdecode(content or b"").rstrip("\r\n")
