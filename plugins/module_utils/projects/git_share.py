# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The git directory of a linked worktree or a submodule, which is outside its repository, for the container.

A container can write the file ``.git``, so the git directory is shared only if it names the working tree in return: git writes that into
``worktrees/NAME/gitdir`` or ``core.worktree``. Otherwise a container could make its repository a worktree of any other one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import host_mount, mount_targets
from ansible_collections.homelab.repoman.plugins.module_utils.projects.repository import Repository
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.confined_tree import ConfinedTree, VcsError
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.location import GitLocation, decode_line, locate_git_dir

GIT_DEVICE = "repo-git"
MAX_FILE_BYTES = 1 << 20

_WORK_TREE = re.compile(rb'^[ \t]*worktree[ \t]*=[ \t]*"?([^"\r\n]*?)"?[ \t]*\r?$', re.MULTILINE)


@dataclass(frozen=True)
class GitShare:
    """How a repository's git works in its container.

    :param devices: that it needs, by name.
    :param note: why it does not work, and what to do; empty if it does.
    """

    devices: dict[str, dict[str, str]] = field(default_factory=dict)
    note: str = ""


def share_git_directory(name: str, repository: Repository, other_devices: Iterable[Mapping[str, str]]) -> GitShare:
    """Return what a repository needs so that git works in the container.

    :param name: of the project.
    :param other_devices: of the instance; if one of them has the git directory, nothing is needed.
    """
    tree = ConfinedTree("/")
    targets = [*mount_targets(other_devices), repository.container_path]
    pointer = os.path.join(repository.host_path, ".git")
    try:
        if not os.path.islink(pointer) and os.path.isfile(pointer):
            return _share_common_directory(name, repository, targets, tree)
        return GitShare(note=_borrowing_note(name, repository, targets, tree))
    except (VcsError, OSError):  # status reports what is wrong with the repository
        return GitShare()


def _share_common_directory(name: str, repository: Repository, targets: list[str], tree: ConfinedTree) -> GitShare:
    """Share the common directory of a repository whose ``.git`` is a file.

    :param targets: paths in the instance at which something is mounted.
    :raises VcsError: it cannot be read.
    """
    pointer = os.path.join(repository.host_path, ".git")
    location = locate_git_dir(repository.host_path, tree)
    if location is None or _is_below(location.common_dir, repository.host_path):
        return GitShare()
    is_confirmed = _is_confirmed(location, pointer, tree)
    written = decode_line(tree.read(pointer, MAX_FILE_BYTES)).removeprefix("gitdir: ")
    root = repository.container_path.removesuffix(f"/{repository.relative_path}")
    real_root = os.path.realpath(root)
    source = _shared_directory(location)
    path = source
    if _is_below(source, real_root) and (not os.path.isabs(written) or _is_below(written, root)):
        path = os.path.normpath(os.path.join(root, os.path.relpath(source, real_root)))  # as the user names it
    if any(_is_below(path, target) for target in targets):
        return GitShare()
    device = host_mount(source, path)
    if is_confirmed and _is_below(source, real_root):
        return GitShare({GIT_DEVICE: device})
    reason = f"is outside {root}" if is_confirmed else "does not name this repository as its working tree"
    return GitShare(note=_note(name, "git", location.common_dir, f"it {reason}", device))


def _borrowing_note(name: str, repository: Repository, targets: list[str], tree: ConfinedTree) -> str:
    """Return a note about a directory from which a repository borrows objects (git) or its store (Mercurial); empty if there is none.

    They do not name their borrowers in return, so they are never shared unasked.

    :raises VcsError: it cannot be read.
    """
    host_path = repository.host_path
    objects = os.path.join(host_path, ".git/objects")
    alternates = (tree.read(os.path.join(objects, "info/alternates"), MAX_FILE_BYTES) or b"").splitlines()
    borrowed = [("git", os.path.join(objects, os.fsdecode(line))) for line in alternates if line and not line.startswith(b"#")]
    if shared := decode_line(tree.read(os.path.join(host_path, ".hg/sharedpath"), MAX_FILE_BYTES)):
        borrowed.append(("hg", os.path.join(host_path, ".hg", shared)))
    for program, path in borrowed:
        directory = os.path.normpath(path)
        is_there = _is_below(directory, host_path) or any(_is_below(directory, target) for target in targets)
        if not is_there and os.path.isdir(directory):
            return _note(name, program, directory, "the repository borrows from it", host_mount(directory, directory))
    return ""


def _note(name: str, program: str, directory: str, reason: str, device: Mapping[str, str]) -> str:
    remedy = share_by_hand(name, GIT_DEVICE, device)
    return f"{program} does not work in the container, because {directory} is not shared: {reason}; {remedy}"


def share_by_hand(project: str, key: str, device: Mapping[str, str]) -> str:
    """Return how the user shares a directory with a project's container, for a note.

    :param key: name of the device, in quotes if TOML needs them.
    """
    settings = ", ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in device.items())
    return f"to share it, begin repos.d/{project}.toml with: devices.{key} = {{ {settings} }}"


def _shared_directory(location: GitLocation) -> str:
    """Return the directory to mount: the common git directory, or the repository that it is in.

    A container of that repository could replace its ``.git`` by a link, but not the repository itself, which is a mount there. The git
    directory of a submodule is deeper; a project of its superproject would overlap this one anyway.
    """
    directory = location.common_dir
    return os.path.dirname(directory) if os.path.basename(directory) == ".git" else directory


def _is_confirmed(location: GitLocation, pointer: str, tree: ConfinedTree) -> bool:
    """Return whether the git directory names the working tree.

    :param pointer: path of the file ``.git``.
    """
    if location.git_dir != location.common_dir:
        if os.path.dirname(location.git_dir) != os.path.join(location.common_dir, "worktrees"):
            return False
        named = decode_line(tree.read(os.path.join(location.git_dir, "gitdir"), MAX_FILE_BYTES))
        return bool(named) and os.path.realpath(os.path.join(location.git_dir, named)) == os.path.realpath(pointer)
    match = _WORK_TREE.search(tree.read(os.path.join(location.git_dir, "config"), MAX_FILE_BYTES) or b"")
    return match is not None and os.path.realpath(os.path.join(location.git_dir, os.fsdecode(match[1]))) == os.path.dirname(pointer)


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory.rstrip('/')}/")
