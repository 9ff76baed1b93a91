# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the git and Mercurial repositories of a scanned tree, and classify the paths in them."""

from __future__ import annotations

from collections.abc import Container, Mapping

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry, unpack_block
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.path_class import classify_path
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.store_files import is_transient


def find_repositories(manifest: Manifest, known: Mapping[bytes, str] | None = None) -> dict[bytes, str]:
    """Return the git directories and ``.hg`` directories of a tree, with ``git`` or ``hg``.

    A git directory's references and reflogs contain no repositories, even if branches such as ``x/HEAD``, ``x/objects/y`` and ``x/refs/z``
    make them look like some. A clone there has a ``config``.

    :param known: repositories that the tree has or had: what is in their references is judged as theirs even if their ``HEAD`` is lost.
    """
    repositories: dict[bytes, str] = {}
    without_config = set()
    for directory, block in manifest.blocks():
        if b"objects" in block and b"HEAD" in block and b"refs" in block:
            types = {entry.name: entry.type for entry in unpack_block(directory, block) if entry.path != directory or not directory}
            if types.get(b"objects") == "d" == types.get(b"refs") and types.get(b"HEAD") in {"f", "l"}:
                repositories[directory] = "git"
                if b"config" not in types:
                    without_config.add(directory)
        if (directory == b".hg" or directory.endswith(b"/.hg")) and b"store" in block and b"requires" in block:
            types = {entry.name: entry.type for entry in unpack_block(directory, block)}
            if types.get(b"store") == "d" and types.get(b"requires") == "f":
                repositories[directory] = "hg"
    holders = {**(known or {}), **repositories}
    for directory in [each for each in without_config if _is_in_references(each, holders)]:
        del repositories[directory]
    return repositories


def _is_in_references(path: bytes, repositories: Mapping[bytes, str]) -> bool:
    """Return whether a directory is, or is in, the references or reflogs of a git directory, or of a linked work tree in one."""
    above = path
    while above:
        above, _slash, name = above.rpartition(b"/")
        holder, _slash, worktrees = above.rpartition(b"/")[0].rpartition(b"/")
        if name in {b"refs", b"logs"} and "git" in {repositories.get(above), repositories.get(holder) if worktrees == b"worktrees" else ""}:
            return True
    return False


def find_shares(manifest: Manifest) -> dict[bytes, str]:
    """Return the ``.hg`` directories without a store of their own, as ``hg share`` makes them, with ``share``."""
    shares = {}
    for directory, block in manifest.blocks():
        if (directory == b".hg" or directory.endswith(b"/.hg")) and b"sharedpath" in block and b"requires" in block:
            types = {entry.name: entry.type for entry in unpack_block(directory, block)}
            if types.get(b"sharedpath") == "f" == types.get(b"requires") and types.get(b"store") != "d":
                shares[directory] = "share"
    return shares


def nearest_ancestor(tops: Container[bytes], directory: bytes) -> bytes | None:
    """Return the innermost of some directories that is, or contains, a directory."""
    while True:
        if directory in tops:
            return directory
        if not directory:
            return None
        directory = directory.rpartition(b"/")[0]


def kind_in(stores: Mapping[bytes, str], store: bytes, path: bytes) -> str:
    """Return the class of a path in a repository, such as ``object`` or ``transient``."""
    inner = path[len(store) + 1 :] if store else path
    if stores[store] in {"hg", "share"}:
        return "transient" if is_transient(inner) else "hg"
    return classify_path(inner)


def owns(stores: Mapping[bytes, str], store: bytes, entry: Entry) -> bool:
    """Return whether an entry is copied by its repository's code instead of the plain copier."""
    return bool(entry.path) and entry.path != store and kind_in(stores, store, entry.path) not in {"plain", "transient"}
