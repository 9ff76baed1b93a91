# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copy the references of a repository that git needs into a scratch git directory."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ansible_collections.homelab.repoman.plugins.module_utils.vcs.confined_tree import ConfinedTree, VcsError, temporary_files
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.location import GitLocation, decode_line
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.scratch import ScratchGitDir

REFS_BYTES = 64 << 20
REF_TABLES = 100
"""Tables of refs in the reftable format, of which git keeps about a dozen."""
SYMBOLIC_DEPTH = 5
"""How deep git follows symbolic references."""
OBJECT_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
REF_NAME = re.compile(r"refs(?:/(?!\.)(?:(?!\.\.|@\{)[^\x00-\x20\x7f~^:?*\[\\/])+(?<!\.lock)(?<!\.))+\Z")
"""A ref's full name; source: ``git help check-ref-format``."""


def copy_refs(scratch: ScratchGitDir, tree: ConfinedTree, configured: Mapping[str, list[str]]) -> None:
    """Copy ``HEAD`` and, resolved, the refs of the branch and of its upstream."""
    packed = tree.read(os.path.join(scratch.location.common_dir, "packed-refs"), REFS_BYTES) or b""
    head = decode_line(tree.read(os.path.join(scratch.location.git_dir, "HEAD")))
    if head.startswith("ref:"):
        scratch.head = head.removeprefix("ref:").strip()
        _check_ref(scratch.head)
        commit = _resolve_ref(scratch.head, scratch.location, tree, packed)
        scratch.write("HEAD", f"ref: {scratch.head}\n")
        _write_ref(scratch, scratch.head, commit)
        scratch.commit, scratch.has_commits = commit, bool(commit)
        scratch.upstream = _upstream(scratch.head, configured)
        if scratch.upstream:
            _write_ref(scratch, scratch.upstream, _resolve_ref(scratch.upstream, scratch.location, tree, packed))
    elif OBJECT_ID.match(head):
        scratch.head, scratch.commit, scratch.has_commits = head, head, True
        scratch.write("HEAD", f"{head}\n")
    else:
        raise VcsError("its HEAD names neither a branch nor a commit")


def copy_reftable(scratch: ScratchGitDir, tree: ConfinedTree, configured: Mapping[str, list[str]]) -> None:
    """Copy the tables of references, which only git can read, and let it read them."""
    if scratch.location.git_dir != scratch.location.common_dir:
        raise VcsError("a linked working tree whose refs are in the reftable format is not known here")
    scratch.write("HEAD", "ref: refs/heads/.invalid\n")
    (scratch.path / "refs/heads").rmdir()
    scratch.write("refs/heads", "this repository uses the reftable format\n")
    tables = tree.names(os.path.join(scratch.location.git_dir, "reftable"))
    if len(tables) > REF_TABLES:
        raise VcsError(f"its refs are in more than {REF_TABLES} tables")
    for name in tables:
        tree.copy(os.path.join(scratch.location.git_dir, "reftable", name), scratch.path / "reftable" / name, REFS_BYTES)
    with temporary_files():
        scratch.runner.grant_read(scratch.path)
    head = scratch.runner.run(["git", "symbolic-ref", "--quiet", "HEAD"], scratch.environment, str(scratch.path))
    commit = scratch.runner.run(["git", "rev-parse", "--verify", "--quiet", "HEAD"], scratch.environment, str(scratch.path))
    if head.code and commit.code:
        raise VcsError(f"git says: {head.error_summary() if head.err else commit.error_summary()}")
    scratch.has_commits = not commit.code
    scratch.head = decode_line(commit.out if head.code else head.out)
    scratch.upstream = _upstream(scratch.head, configured) if not head.code else ""


def _resolve_ref(name: str, location: GitLocation, tree: ConfinedTree, packed: bytes) -> str:
    """Return the object ID of a reference; empty if it does not exist."""
    for _step in range(SYMBOLIC_DEPTH):
        _check_ref(name)
        loose = None
        if not os.path.isdir(os.path.join(location.common_dir, name)):
            loose = tree.read(os.path.join(location.common_dir, name))
        if loose is None:
            match = re.search(rb"^([0-9a-f]{40,64}) " + re.escape(os.fsencode(name)) + rb"$", packed, re.MULTILINE)
            return match[1].decode() if match else ""
        value = decode_line(loose)
        if not value.startswith("ref:"):
            if not OBJECT_ID.match(value):
                raise VcsError(f"its ref {name} is broken")
            return value
        name = value.removeprefix("ref:").strip()
    raise VcsError(f"its ref {name} is part of a chain of too many symbolic references")


def _write_ref(scratch: ScratchGitDir, name: str, commit: str) -> None:
    if commit:
        scratch.write(name, f"{commit}\n")


def _check_ref(name: str) -> None:
    if not REF_NAME.match(name):
        raise VcsError(f"{name!r} cannot be the name of a ref")


def _upstream(head: str, configured: Mapping[str, list[str]]) -> str:
    """Return the ref that a branch follows, by the repository's configuration; empty if there is none, or its name is invalid."""
    branch = head.removeprefix("refs/heads/")
    remote, merge = (configured.get(f"branch.{branch}.{key}", [""])[-1] for key in ("remote", "merge"))
    upstream = ""
    if remote == ".":
        upstream = merge
    elif remote and merge:
        for spec in configured.get(f"remote.{remote}.fetch", []):
            source, _colon, target = spec.removeprefix("+").partition(":")
            before, star, after = source.partition("*")
            if source == merge and target:
                upstream = target
            elif star and merge.startswith(before) and merge.endswith(after) and len(merge) >= len(before) + len(after):
                upstream = target.replace("*", merge[len(before) : len(merge) - len(after)], 1)
    return upstream if REF_NAME.match(upstream) and upstream != head else ""
