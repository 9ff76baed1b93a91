# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run git on untrusted repositories: git never sees the repository's own git directory.

A container can write its repository, and on the host a plain ``git status`` runs what ``.git/config`` names: a file system monitor,
filters, a pager, another repository's hooks. So git gets a scratch git directory: a temporary one with a configuration of repoman, copies of
the state (``HEAD``, references, index), and the real objects.
"""

from __future__ import annotations

import mmap
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandRunner
from ansible_collections.homelab.repoman.plugins.module_utils.vcs import borrowed_objects
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.confined_tree import (
    COPY_BYTES,
    ConfinedTree,
    TemporaryFilesError,
    VcsError,
    temporary_files,
)
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git import scratch_place
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.config import config_section, minimal_config, read_config
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.environment import account_environment
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.location import GitLocation
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.refs import copy_refs, copy_reftable
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.scratch import ScratchGitDir

SHARED_INDEX = re.compile(rb"link(?=.{4}(.{32}))", re.DOTALL)
"""Matches the name of the shared part of a split index, and by chance other bytes; source: git's documentation of the index's format, ``link``."""
MAX_SHARED_INDEX_MATCHES = 1 << 20


@contextmanager
def open_git(
    location: GitLocation, tree: ConfinedTree, runner: CommandRunner, settings: Mapping[str, str] | None = None
) -> Iterator[ScratchGitDir]:
    """Yield a scratch git directory of a repository, in which git runs nothing that the repository configures.

    It has the checked out branch and its upstream, the index, the ignore rules and a minimal configuration, and uses the repository's
    objects.

    :param settings: of the user, as :func:`read_user_settings` returns them.
    :raises VcsError: a file cannot be copied, or leads outside.
    """
    with ExitStack() as stack:
        objects = stack.enter_context(hold_objects(location, tree))
        configured = read_config(location, tree, runner)
        make = partial(_make_scratch, location, tree, runner, objects, configured, settings)
        yield _make_in_memory(stack, tree, make) or stack.enter_context(make(None))


def _make_in_memory(
    stack: ExitStack, tree: ConfinedTree, make: Callable[[str | None], AbstractContextManager[ScratchGitDir]]
) -> ScratchGitDir | None:
    """Make a scratch git directory in memory; return ``None`` if it is too large for that, or cannot be made there.

    :param make: makes it in a directory, by default in that for temporary files.
    """
    parent = stack.enter_context(scratch_place.memory())
    if parent is None:
        return None
    allowed = tree.remaining_bytes
    memory_bytes = min(allowed, scratch_place.MEMORY_BYTES)
    tree.remaining_bytes = memory_bytes
    try:
        scratch = stack.enter_context(make(parent))
    except TemporaryFilesError:
        tree.remaining_bytes = allowed
        return None
    tree.remaining_bytes += allowed - memory_bytes
    return scratch


@contextmanager
def _make_scratch(
    location: GitLocation,
    tree: ConfinedTree,
    runner: CommandRunner,
    objects: borrowed_objects.HeldObjects,
    configured: Mapping[str, list[str]],
    settings: Mapping[str, str] | None,
    parent: str | None,
) -> Iterator[ScratchGitDir]:
    """Yield a scratch git directory in ``parent``, by default that for temporary files; see :func:`open_git`.

    :raises TemporaryFilesError: it cannot be made there, or is larger than ``tree`` allows.
    """
    with ExitStack() as stack:
        with temporary_files():
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix=scratch_place.prefix(), dir=parent))
        scratch = ScratchGitDir(location, Path(directory), runner, objects)
        scratch.has_extensions = any(key.startswith("extensions.") for key in configured)
        scratch.environment = account_environment(runner.account) | {
            "GIT_DIR": directory,
            **({"GIT_WORK_TREE": location.work_tree} if location.work_tree else {}),
        }
        with temporary_files():
            (scratch.path / "refs/heads").mkdir(parents=True)
            objects.link_own_into(os.fsencode(scratch.path / "objects"))
            borrowed = objects.link_into(os.fsencode(scratch.path / "borrowed"))
        if borrowed:
            scratch.environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = borrowed_objects.alternates_variable(borrowed)
        _copy_index(scratch, tree)
        tree.copy(os.path.join(location.git_dir, "info", "sparse-checkout"), scratch.path / "info/sparse-checkout")
        for name in ("info/exclude", "info/attributes", "shallow"):
            tree.copy(os.path.join(location.common_dir, name), scratch.path / name)
        text = minimal_config(configured, bare=not location.work_tree, settings=settings)
        scratch.write("config", text)
        if configured.get("extensions.refstorage", ["files"])[-1].lower() == "reftable":
            copy_reftable(scratch, tree, configured)
        else:
            copy_refs(scratch, tree, configured)
        if scratch.upstream:
            text += config_section("branch", scratch.head.removeprefix("refs/heads/"), {"remote": ".", "merge": scratch.upstream})
            scratch.write("config", text)
        with temporary_files():
            runner.grant_read(scratch.path)
        yield scratch


@contextmanager
def hold_objects(location: GitLocation, tree: ConfinedTree) -> Iterator[borrowed_objects.HeldObjects]:
    """Open and check the object directory of a repository and those that it borrows objects from.

    :raises VcsError: it, or one of its alternates, is outside the tree, or there are too many.
    """
    objects = tree.resolve(os.path.join(location.common_dir, "objects"))
    listed = tree.read(os.path.join(objects, "info", "alternates"), borrowed_objects.LIST_BYTES) or b""
    lines = borrowed_objects.parse_alternates(listed)
    try:
        with borrowed_objects.hold_all(os.fsencode(objects), lines, os.fsencode(tree.root)) as held:
            try:
                yield held
            finally:
                held.recheck()
    except borrowed_objects.BorrowedError as error:
        raise VcsError(error.message) from error


def _copy_index(scratch: ScratchGitDir, tree: ConfinedTree) -> None:
    """Copy the index and, if it is split, its shared part."""
    copied = scratch.path / "index"
    names = {name for name in tree.names(scratch.location.git_dir) if name.startswith("sharedindex.")}
    if not tree.copy(os.path.join(scratch.location.git_dir, "index"), copied, COPY_BYTES) or not names or not copied.stat().st_size:
        return
    with copied.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as index:
        for match in islice(SHARED_INDEX.finditer(index), MAX_SHARED_INDEX_MATCHES):
            for digits in (40, 64):
                name = f"sharedindex.{match[1].hex()[:digits]}"
                if name in names:
                    tree.copy(os.path.join(scratch.location.git_dir, name), scratch.path / name, COPY_BYTES)
                    names.remove(name)
