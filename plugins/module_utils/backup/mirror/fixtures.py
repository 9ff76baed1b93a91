# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Directories in a work tree that look like repositories and are data of the repository around them, such as broken test fixtures.

A project that works on repositories has many of them in its tests, damaged on purpose. They are files like any others.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import unpack_block
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.broken_files import REFERENCE
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.config import minimal_config
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.run_as import run_as
from ansible_collections.homelab.repoman.plugins.module_utils.files import source_files
from ansible_collections.homelab.repoman.plugins.module_utils.process.bounded import run_lines
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.environment import hardened_environment

POINTER_BYTES = 16 << 10
"""The largest ``.git`` that is a file; it holds one path."""
_MORE_NAMES = frozenset({b"config", b"packed-refs", b"index", b"logs", b"shallow", b"reftable", b"worktrees", b"commondir"})
"""Entries that a git directory has in addition to ``HEAD``, ``objects`` and ``refs``."""
_FANOUT = re.compile(rb"[0-9a-f]{2}")
DIRSTATE_OVERLAP = 4096
LIST_SECONDS = 60


def work_tree_pointers(manifest: Manifest) -> set[bytes]:
    """Return the directories with a ``.git`` that is a file: submodules and linked work trees."""
    return {
        directory
        for directory, block in manifest.blocks()
        if b".git" in block and any(entry.name == b".git" and entry.type == "f" for entry in unpack_block(directory, block))
    }


def work_tree_of(path: bytes, stores: Mapping[bytes, str], pointers: set[bytes]) -> bytes | None:
    """Return the directory of the innermost work tree that a path lies in; None if it lies in none, or in a git or ``.hg`` directory.

    :param stores: of the unit.
    :param pointers: as :func:`work_tree_pointers` returns them.
    """
    above = path
    while above:
        above, _slash, name = above.rpartition(b"/")
        if name in {b".git", b".hg"}:
            return None
        prefix = above + b"/" if above else b""
        if prefix + b".git" in stores or prefix + b".hg" in stores or above in pointers:
            return above
    return None


def may_be_fixture(store: bytes, stores: Mapping[bytes, str], pointers: set[bytes]) -> bool:
    """Return whether a repository can be a fixture: it lies in a work tree and is not called ``.git``, as that of a clone would be."""
    return store.rpartition(b"/")[2] not in {b".git", b".hg"} and work_tree_of(store, stores, pointers) is not None


def is_hollow(top: bytes, store: bytes) -> bool | None:
    """Return whether a directory only has the names of a repository: ``HEAD`` refers to nothing, and there are no objects, references or configuration.

    A damaged real repository has more than that. Without a ``HEAD`` this cannot be decided; return None.

    :param top: a tree.
    :param store: a directory in it.
    """
    try:
        top_fd = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    prefix = store + b"/" if store else b""

    def names(inner: bytes) -> set[bytes]:
        try:
            return set(source_files.names(top_fd, prefix + inner))
        except (FileNotFoundError, NotADirectoryError):
            return set()

    try:
        entry_names = names(b"")
        if b"HEAD" not in entry_names:
            return None
        head = source_files.read_regular(top_fd, prefix + b"HEAD", POINTER_BYTES)
        if not entry_names.isdisjoint(_MORE_NAMES) or not head or not head.strip(b"\0") or REFERENCE.fullmatch(head):
            return False
        objects = any(_FANOUT.fullmatch(name) for name in names(b"objects/")) or names(b"objects/pack/")
        return not objects and not any(names(b"refs/" + kind) for kind in (b"heads/", b"tags/", b"remotes/"))
    except OSError:
        return False
    finally:
        os.close(top_fd)


@dataclass
class FixtureLookup:
    """Finds the repositories of a unit that are only data: the surrounding repository tracks files in them, or they were never valid.

    :param source: the unit's directory.
    :param scratch: a local directory.
    :param account: uid and gid that git runs as, if this process is root.
    :param mirror: the unit's mirror, which may not exist: a repository there stays a repository.
    """

    source: bytes
    scratch: str
    account: tuple[int, int] | None = None
    mirror: bytes = b""
    verdicts: dict[bytes, bool] = field(default_factory=dict)

    def is_data(self, store: bytes, stores: Mapping[bytes, str], pointers: set[bytes]) -> bool:
        """Return whether one repository is data; the surrounding repository is asked once.

        :param stores: of the unit.
        :param pointers: as :func:`work_tree_pointers` returns them.
        """
        if store.rpartition(b"/")[2] not in {b".git", b".hg"}:
            is_hollow_in = {is_hollow(self.source, store), is_hollow(self.mirror, store)}
            if True in is_hollow_in and False not in is_hollow_in:
                return True
        if not may_be_fixture(store, stores, pointers):
            return False
        if store not in self.verdicts:
            scratch = os.path.join(self.scratch, f"tracked.{os.getpid()}.{threading.get_ident()}")
            self.verdicts[store] = _is_tracked(store, stores, pointers, self.source, scratch, self.account)
        return self.verdicts[store]

    def data_among(self, stores: Mapping[bytes, str], candidates: Iterable[bytes], manifest: Manifest) -> set[bytes]:
        """Return the repositories among the candidates that are data.

        :param manifest: with the unit's ``.git`` files.
        """
        nested = [store for store in candidates if store.rpartition(b"/")[2] not in {b".git", b".hg"}]
        if not nested:
            return set()
        pointers = work_tree_pointers(manifest)
        return {store for store in nested if self.is_data(store, stores, pointers)}


def _is_tracked(
    store: bytes, stores: Mapping[bytes, str], pointers: set[bytes], source: bytes, scratch: str, account: tuple[int, int] | None
) -> bool:
    work_tree = work_tree_of(store, stores, pointers)
    if work_tree is None:
        return False
    prefix = work_tree + b"/" if work_tree else b""
    top_fd = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if prefix + b".git" in stores:
            return _in_index(top_fd, prefix + b".git", prefix + b".git", store[len(prefix) :], scratch, account)
        if prefix + b".hg" in stores:
            return _in_dirstate(top_fd, prefix + b".hg/dirstate", store[len(prefix) :])
        git_dir = read_pointer(top_fd, prefix + b".git", source)
        common_dir = None if git_dir is None else _common(git_dir, stores)
        return (
            git_dir is not None
            and common_dir is not None
            and _in_index(top_fd, git_dir, common_dir, store[len(prefix) :], scratch, account)
        )
    finally:
        os.close(top_fd)


def read_pointer(top_fd: int, path: bytes, source: bytes) -> bytes | None:
    """Return the path in the unit that a ``.git`` file names; None if it names none, or one outside the unit."""
    data = source_files.read_regular(top_fd, path, POINTER_BYTES)
    if data is None or not data.startswith(b"gitdir: "):
        return None
    named = os.path.normpath(os.path.join(source, path.rpartition(b"/")[0], data[8:].rstrip(b"\r\n")))
    relative_path = os.path.relpath(named, source)
    return None if relative_path == b".." or relative_path.startswith(b"../") else relative_path


def _common(git_dir: bytes, stores: Mapping[bytes, str]) -> bytes | None:
    """Return the repository whose git directory, or directory of a linked work tree, this is."""
    while git_dir and git_dir not in stores:
        git_dir = git_dir.rpartition(b"/")[0]
    return git_dir if git_dir in stores else None


def _in_index(top_fd: int, git_dir: bytes, common_dir: bytes, inner: bytes, scratch: str, account: tuple[int, int] | None) -> bool:
    """Ask git whether an index has entries in a directory; git works on private copies.

    :param git_dir: git directory with the index.
    :param common_dir: git directory with the configuration.
    """
    git_dir, common_dir = (path + b"/" if path else b"" for path in (git_dir, common_dir))
    base = os.fsencode(scratch)
    shutil.rmtree(base, ignore_errors=True)
    try:
        for name in (b"refs", b"objects"):
            os.makedirs(os.path.join(base, name))
        if not source_files.copy_regular(top_fd, git_dir + b"index", os.path.join(base, b"index")):
            return False
        with suppress(OSError):
            for name in source_files.names(top_fd, git_dir):
                if name.startswith(b"sharedindex."):
                    source_files.copy_regular(top_fd, git_dir + name, os.path.join(base, name))
        config = source_files.read_regular(top_fd, common_dir + b"config", source_files.CONFIG_BYTES) or b""
        with open(os.path.join(base, b"config"), "w", encoding="ascii") as file:
            file.write(minimal_config(config, derived=False))
        with open(os.path.join(base, b"HEAD"), "wb") as head:
            head.write(b"ref: refs/heads/main\n")
        environment = hardened_environment(os.environ.get("PATH", os.defpath), GIT_DIR=scratch)
        run_lines(
            [b"git", b"ls-files", b"--sparse", b"-z", b"--", inner],
            env=environment,
            seconds=LIST_SECONDS,
            out=_found,
            end=b"\0",
            cwd=scratch,
            **run_as(scratch, account),
        )
        return False
    except _FoundError:
        return True
    except OSError:
        return False
    finally:
        shutil.rmtree(base, ignore_errors=True)


class _FoundError(Exception):
    """Raised once an index is known to name something: the rest of the list, which may be long, is not needed."""


def _found(_path: bytes) -> None:
    raise _FoundError


def _in_dirstate(top_fd: int, path: bytes, inner: bytes) -> bool:
    """Return whether Mercurial's dirstate names a file in a directory: both of its formats have complete paths."""
    prefix = inner + b"/"
    carry = b""
    with source_files.opened_regular(top_fd, path) as fd:
        for part in () if fd is None else source_files.parts(fd, source_files.METADATA_BYTES):
            if prefix in carry + part:
                return True
            carry = part[-DIRSTATE_OVERLAP:]
    return False
