# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prove with git that a mirror has every object that the staged state of the source needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.config import PLAIN_CONFIG, minimal_config
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.run_git import NO_GIT, git_environment, run_git
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.source_state import FSCK_PATHS, GitSource
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.staging import (
    Data,
    Piece,
    in_full,
    write_file,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.run_as import run_as
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.files.source_files import MEMORY_BYTES
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.borrowed_objects import (
    LIST_BYTES,
    BorrowedError,
    HeldObjects,
    OutsideError,
    alternates_variable,
    hold_borrowed,
    parse_alternates,
)
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git import formats as git_formats

IN_MEMORY = 64 << 20
"""Size limit of a pack index that is rebuilt, and of a sparse index."""
SPARSE_REFS = b"refs/repoman-sparse"
"""References that only the proof has: to the trees that a sparse index names."""


class GitProof(GitSource):
    """Proves the staged state, in a git directory of repoman."""

    def check(self) -> str:
        """Let git check every object of a repository at rest; return its first error, or an empty string."""
        self.stage()
        listed = self.list_objects()
        self.objects = self.listed = {each: entry for each, entry in listed.items() if entry.type == "f"}
        self.staged |= {each: (entry, None) for each, entry in listed.items() if entry.type not in "df"}
        if self.unreadable:
            return next(iter(self.unreadable.values())).message
        return self.prove(derived=True, full=True)

    def prove(self, *, derived: bool, full: bool = False, everything: bool = False) -> str:
        """Let git walk from all staged files to every object they need.

        :param derived: also check files that git derives from objects.
        :param full: also check the contents of objects.
        :param everything: show git all objects of the mirror, including those that the source no longer has.
        :return: an empty string if all objects exist, or git's error.
        """
        self.missing = set()
        config = self.config
        self.unproven = git_formats.unknown_format(config)
        if self.unproven:
            return ""
        excused = self.excused if full else None
        arguments = ["fsck", "--full" if full else "--connectivity-only", "--no-dangling", "--no-progress"]
        try:
            with self._borrowed() as borrowed:
                environment, links = self._prepare_proof(borrowed, derived=derived, everything=everything)
                problem = run_git(
                    arguments, environment, self.account, self.scratch_dir, self.missing, excused=excused, pass_fds=borrowed.descriptors
                )
                borrowed.recheck()
                for linked_path, source_path in links.items():
                    problem = problem.replace(escape_path(linked_path), escape_path(source_path))
                if problem and borrowed.missing:
                    problem += f"; {escape_path(borrowed.missing[0])}, from which it borrows objects, does not exist"
        except OutsideError as error:
            self.unproven = error.message
            return ""
        except BorrowedError as error:
            return error.message
        finally:
            shutil.rmtree(self.scratch_dir, ignore_errors=True)
        if problem == NO_GIT:
            self.unproven, problem = NO_GIT, ""
        elif problem and git_formats.UNKNOWN.search(os.fsencode(problem)):
            self.unproven, problem = f"{git_formats.git_version()} does not know it: {problem}", ""
        return problem

    def config_problem(self) -> str:
        """Return the problem of the staged configuration; empty if git can read it."""
        config = self.config
        if PLAIN_CONFIG.fullmatch(config):
            return ""
        if config not in self._config_problems:
            shutil.rmtree(self.scratch_dir, ignore_errors=True)
            os.makedirs(self.scratch_dir)
            config_path = os.path.join(self.scratch_dir, "config")
            with open(config_path, "wb") as file:
                file.write(config)
            problem = run_git(
                ["config", "--file", config_path, "--no-includes", "--list"],
                git_environment("/nonexistent"),
                self.account,
                self.scratch_dir,
            )
            self._config_problems[config] = "git cannot read it" if problem and problem != NO_GIT else ""
            shutil.rmtree(self.scratch_dir, ignore_errors=True)
        return self._config_problems[config]

    @contextmanager
    def over_objects(self) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
        """Make a git directory that sees all objects of the mirror; yield its environment, and the arguments that start a process as the account."""
        try:
            with self._borrowed() as borrowed:
                environment, _links = self._prepare_proof(borrowed, derived=False, everything=True)
                yield environment, {**run_as(self.scratch_dir, self.account), "pass_fds": borrowed.descriptors}
                borrowed.recheck()
        finally:
            shutil.rmtree(self.scratch_dir, ignore_errors=True)

    @contextmanager
    def over_copy(self, objects: str) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
        """Make a git directory like :meth:`over_objects`, but with only the objects in one directory of repoman."""
        shutil.rmtree(self.scratch_dir, ignore_errors=True)
        try:
            os.makedirs(os.path.join(self.scratch_dir, "refs"))
            for name, text in (("HEAD", "ref: refs/heads/main\n"), ("config", minimal_config(self.config, derived=False))):
                with open(os.path.join(self.scratch_dir, name), "w", encoding="ascii") as file:
                    file.write(text)
            run_as(objects, self.account)
            yield {**git_environment(self.scratch_dir), "GIT_OBJECT_DIRECTORY": objects}, run_as(self.scratch_dir, self.account)
        finally:
            shutil.rmtree(self.scratch_dir, ignore_errors=True)

    def index_of_pack(self, path: bytes) -> bytes | None:
        """Let git make the index of a pack in the mirror; None if it cannot."""
        shutil.rmtree(self.scratch_dir, ignore_errors=True)
        os.makedirs(self.scratch_dir)
        index_path = os.path.join(self.scratch_dir, "made.idx")
        pack = os.path.join(self.copier.mirror_path, path)
        arguments = [
            "-c",
            "pack.writeReverseIndex=false",
            "index-pack",
            f"--object-format={self.algorithm}",
            "-o",
            index_path,
            os.fsdecode(pack),
        ]
        try:
            if (
                run_git(arguments, git_environment("/nonexistent"), self.account, self.scratch_dir)
                or os.stat(index_path).st_size > IN_MEMORY
            ):
                return None
            with open(index_path, "rb") as file:
                return file.read()
        except OSError:
            return None
        finally:
            shutil.rmtree(self.scratch_dir, ignore_errors=True)

    def _prepare_proof(self, borrowed: HeldObjects, *, derived: bool, everything: bool) -> tuple[dict[str, str], dict[bytes, bytes]]:
        """Make the git directory for a proof; return its environment, and its links to other object directories, each with its target."""
        config = self.config
        shutil.rmtree(self.scratch_dir, ignore_errors=True)
        os.makedirs(os.path.join(self.scratch_dir, "refs"))
        base = os.fsencode(self.scratch_dir)
        dangling = self._unresolved_symrefs()
        for path, (_entry, data) in self.staged.items():
            inner = path[len(self.prefix) :]
            first = inner.partition(b"/")[0]
            if (
                data is not None
                and path not in dangling
                and (first in FSCK_PATHS or first.startswith(b"sharedindex.") or inner == b"info/grafts")
            ):
                if git_formats.is_index(inner):
                    self._put_index(base, inner, data)
                else:
                    write_file(os.path.join(base, inner), data)
        head = self.staged.get(self.prefix + b"HEAD")
        if head is not None and head[0].type == "l":  # as git once made it, and still reads it
            write_file(os.path.join(base, b"HEAD"), b"ref: " + head[0].link + b"\n")
        paths = self.objects if everything else self.listed
        removed = self.objects.keys() - paths.keys()
        mirrored = {
            each: (entry.size, entry.mtime_ns, entry.inode)
            for each, entry in self.mirrored.items()
            if self._is(each, "derived") and entry.type == "f"
        }
        staged = {
            each: (entry.size, entry.mtime_ns, entry.inode)
            for each, (entry, _data) in self.staged.items()
            if self._is(each, "derived") and entry.type == "f"
        }
        odd_files = any(self._is(each, "object") for each in self.staged)  # such as links, which git would follow
        if removed or mirrored != staged or odd_files or not derived or self.prefix + b"objects/info/alternates" in self.staged:
            objects = os.path.join(base, b"objects")
            self._link_objects(objects, paths, derived=derived)
        else:
            objects = os.path.join(self.copier.mirror_path, self.prefix, b"objects")
        with open(os.path.join(self.scratch_dir, "config"), "w", encoding="ascii") as file:
            file.write(minimal_config(config, derived=bool(borrowed.named or (derived and staged))))
        environment = {**git_environment(self.scratch_dir), "GIT_OBJECT_DIRECTORY": os.fsdecode(objects)}
        links = borrowed.link_into(os.path.join(base, b"borrowed"))
        if links:
            environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = alternates_variable(links)
        return environment, links

    def _put_index(self, base: bytes, inner: bytes, data: Data) -> None:
        """Give the proof an index with which git writes nothing, and references to the trees that the index has for directories."""
        trees: list[str] = []
        if len(data) <= IN_MEMORY:
            data, trees = git_formats.without_sparse_directories(in_full(data, IN_MEMORY), self.algorithm)
        write_file(os.path.join(base, inner), data)
        git_formats.add_index_hash(os.path.join(base, inner), self.algorithm)
        for tree in trees:
            if tree.strip("0"):
                write_file(os.path.join(base, SPARSE_REFS, tree.encode()), tree.encode() + b"\n")

    def _is_torn(self) -> bool:
        """Return whether the list of reftables names one that was not read, because git was writing it during the copy."""
        for path, (_entry, data) in self.staged.items():
            if path.endswith(b"reftable/tables.list") and data is not None:
                directory = path.rpartition(b"/")[0] + b"/"
                if any(directory + line not in self.staged for line in in_full(data, MEMORY_BYTES).splitlines() if line):
                    return True
        return False

    def _unresolved_symrefs(self) -> set[bytes]:
        """Return the symbolic references that name no reference, such as a remote's HEAD after a branch was renamed: no object is lost by them."""
        start = self.prefix + b"refs/"
        loose = {
            path: in_full(data, MEMORY_BYTES) for path, (entry, data) in self.staged.items() if entry.type == "f" and path.startswith(start)
        }
        symbolic = {path: self.prefix + data[4:].strip() for path, data in loose.items() if data.startswith(b"ref:")}
        if not symbolic:
            return set()
        packed = self.staged.get(self.prefix + b"packed-refs", (None, b""))[1] or b""
        lines = packed.lines() if isinstance(packed, Piece) else packed.splitlines()
        targets = set(symbolic.values())
        present = loose.keys() | {name for line in lines if (name := self.prefix + line.rpartition(b" ")[2]) in targets}
        named_by: dict[bytes, list[bytes]] = {}
        for name, named in symbolic.items():
            named_by.setdefault(named, []).append(name)
        waiting = [named for named in named_by if named not in present]
        dangling: set[bytes] = set()
        while waiting:
            referrers = named_by.get(waiting.pop(), ())
            dangling.update(referrers)
            waiting += referrers
        return dangling

    def _link_objects(self, objects: bytes, paths: Iterable[bytes], *, derived: bool) -> None:
        """Make an object directory with links to only those objects that the mirror will keep."""
        created = set()
        for path in paths:
            inner = path[len(self.prefix) + 8 :]
            link = os.path.join(objects, inner)
            parent = os.path.dirname(link)
            if parent not in created:
                os.makedirs(parent, exist_ok=True)
                created.add(parent)
            os.symlink(os.path.join(self.copier.mirror_path, path), link)
        os.makedirs(os.path.join(objects, b"pack"), exist_ok=True)
        os.makedirs(os.path.join(objects, b"info"), exist_ok=True)
        for path, (_entry, data) in self.staged.items():
            if derived and data is not None and self._is(path, "derived") and not path.endswith(b"alternates"):
                write_file(os.path.join(objects, path[len(self.prefix) + 8 :]), data)

    def _borrowed(self) -> AbstractContextManager[HeldObjects]:
        """Keep the object directories open that the repository borrows objects from."""
        data = in_full(self.staged.get(self.prefix + b"objects/info/alternates", (None, b""))[1], LIST_BYTES)
        objects = os.path.join(self.copier.source_path, self.prefix, b"objects")
        return hold_borrowed(objects, parse_alternates(data), os.path.dirname(self.copier.source_path))
