# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One git directory of a unit, mirrored so that the mirror is whole whatever git does to the source meanwhile.

References and all that points at objects are read first, loose references before the packed ones; then objects are copied, none
removed; then ``git fsck --connectivity-only`` proves over what was read that every object it needs is in the mirror, without those
that are to be removed. Only then it is published, and only then objects go. git runs on a directory of ours with a configuration
of ours: nothing of the repository but its references, logs, index and objects is seen by it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import BLOCK_HEADER, Entry, entry_of, unpack_block
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scanner import walk_blocks
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.tree_rules import TreeFilter, TreeRules
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.file_copier import TIMESTAMP_GRANULARITY_NS
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_copy import STAYS, Damage, ObjectCopy
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.pack_rescue import rescue
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.salvage import Salvage, broken_files, first_problem, screen
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.staging import (
    Data,
    Piece,
    Spool,
    in_full,
    is_settled,
    same_data,
    write_out,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command, shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files import source_files
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.files.source_files import CONFIG_BYTES, MEMORY_BYTES, METADATA_BYTES
from ansible_collections.homelab.repoman.plugins.module_utils.process.bounded import run_lines
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.borrowed_objects import (
    LIST_BYTES,
    BorrowedError,
    OutsideError,
    check_borrowed,
    parse_alternates,
)
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git import formats as git_formats
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.environment import hardened_environment

IN_MEMORY = 64 << 20
"""Size limit of a pack index that is rebuilt, and of a sparse index."""
RELISTS = 6
LASTING = 3
"""Number of attempts that must find the same damage while the repository keeps changing."""
SHOWN_DAMAGE = 3
SAID_LINES = 2
"""So much of what git says of a damaged repository is told."""
MAX_NAMED = 10_000
"""So many missing objects, and objects of an odd form, are remembered by name."""
SPARSE_REFS = b"refs/repoman-sparse"
"""References of the proof alone: to the trees that a sparse index names."""
HINTED = 20
"""So many paths are named in a hint; what is left is named by the next run."""
GIT_SECONDS = 6 * 3600

GITS = re.compile(
    rb"([A-Z]+_)*HEAD|refs|logs|packed-refs|index|sharedindex\..*|shallow|worktrees|reftable|config|config\.worktree|info|objects|commondir"
    rb"|gitdir|rebase-apply|rebase-merge|sequencer|(BISECT|MERGE|NOTES_MERGE)_\w+|AUTO_MERGE|SQUASH_MSG|gc\.(pid|log)|next-index-\d+"
)
"""Names directly in a git directory of what has to do with objects. All else is mirrored like any file: hooks, repositories of submodules, and
worktrees that people keep in a bare repository."""

PROVEN = frozenset({b"HEAD", b"refs", b"logs", b"packed-refs", b"index", b"shallow", b"worktrees", b"reftable"})
"""What of a git directory ``git fsck`` looks at."""

PUBLISHED = {b"config": 0, b"objects": 1, b"shallow": 2, b"reftable": 2, b"packed-refs": 3, b"refs": 4, b"worktrees": 5, b"HEAD": 6}
PLAIN_RANK = 7
LAST_RANK = 8
NO_GIT = "git is not installed"

LOOSE_OBJECT = len(b"objects/00/") + 38
"""Length of the path of an object that is a file of its own, where objects are named by SHA-1: nearly all paths are such."""

FSCK_OBJECTS = 1
"""The exit status of ``git fsck`` if it objects to objects, and none is missing."""
FORM = re.compile(rb"error in (commit|tree|blob|tag) [0-9a-f]+: \w+: ")
"""How ``git fsck`` objects to what is in an object that is as its name says."""

_PASSING = re.compile(rb"\.lock$|^gc\.pid$|^packed-refs\.new$|^objects/(.*/)?(tmp_|\.tmp-|incoming-)")
_SUFFIX = re.compile(rb"\.(lock|new)$")
PLAIN_CONFIG = re.compile(
    rb"""(?: [ \t]* (?: [#;] [^\n\0]* )? \n )*
    (?: \[ [A-Za-z0-9.-]+ (?: [ \t]+ "[^"\\\n\0]*" )? \] \n (?: [ \t]* (?: [A-Za-z][A-Za-z0-9-]* [ \t]* = [^"\\\n\0]* | [#;] [^\n\0]* )? \n )* )*""",
    re.VERBOSE,
)
"""Configurations that git reads without fail, so it need not be started: no quotes or escapes in values, and every line complete."""
_MISSING = re.compile(
    rb"(?:^missing \w+|invalid (?:\w+ )?pointer|invalid reflog entry|unable to read tree \(?|bad tree) ([0-9a-f]{40,64})", re.MULTILINE
)
_CHAIN = re.compile(rb"(objects/info/commit-graphs|objects/pack/multi-pack-index\.d)/[^/]+$")
"""Files of which each needs the others of its directory."""
_SHA256 = re.compile(rb"objectformat\s*=\s*\"?sha256", re.IGNORECASE)


class BusyError(ConflictError):
    """The repository kept changing, so no consistent state could be read."""


class DamagedError(RepomanError):
    """The source is damaged."""


def too_large(path: bytes, size: int) -> DamagedError:
    """Return the error of a file that is larger than any of its kind is known to be."""
    where = escape_path(path)
    return DamagedError(
        f"{where} has {size} bytes; the limit for a file of this kind is {METADATA_BYTES >> 20} MiB.",
        f"ls -ls {shell_word(where)}",
    )


def damaged_error(source: bytes, found: Sequence[Damage], where: bytes) -> DamagedError:
    """Return the error of a unit with damage in a repository.

    :param source: the unit's directory.
    :param where: the repository.
    """
    unit = os.path.basename(source)
    first, place = found[0], f" ({escape_path(found[0].path)})" if found[0].path else ""
    more = "".join(f". {each}" for each in found[1:SHOWN_DAMAGE])
    if len(found) > SHOWN_DAMAGE:
        count = len(found) - SHOWN_DAMAGE
        more += f". {count} more {'is' if count == 1 else 'are'} damaged"
    hints = []
    if any(each.mends for each in found):
        command = repoman_command("restore", [unit], "--objects")
        hints.append(f"{command}   # restores sound objects from the mirror")
    if paths := [each.path for each in found if each.by_path]:
        command = repoman_command("restore", [unit], *(("--path", each) for each in paths[:HINTED]), "--overwrite")
        hints.append(f"{command}   # restores the mirror's copy")
    if any(each.by_path and each.entry is None for each in found):
        hints.append(f"if you deleted it on purpose: {repoman_command('sync', [unit], '--allow-shrink')}")
    if derived := [each.path for each in found if each.derived]:
        named = dict.fromkeys(shell_word(os.path.join(source, _CHAIN.sub(rb"\1", each))) for each in derived[:HINTED])
        hints.append(f"rm -rf {' '.join(named)}   # git recreates it when needed")
    if not hints:
        hints.append(f"git -C {shell_word(where)} fsck   # lists all damage")
    return DamagedError(f"{escape_path(unit)}: {first.what}{place} is damaged: {first.reason}; {first.mirror}{more}.", *hints)


def kind_of(path: bytes) -> str:
    """Tell what a path in a git directory is.

    :param path: relative to the git directory.
    :return: ``object``, ``derived`` (what git computes from objects, and where more of them are), ``reference`` (all that is read first), ``plain``,
        or ``passing`` (locks and files that are not whole yet: never mirrored).
    """
    if len(path) == LOOSE_OBJECT and path[:8] == b"objects/" and path[10:11] == b"/":
        return "object"
    first, slash, rest = path.partition(b"/")
    if not _is_gits(first if slash else _SUFFIX.sub(b"", first)):
        return "plain"
    if _PASSING.search(path):
        return "passing"
    if first == b"objects":
        return "derived" if rest.startswith(b"info/") or b"/multi-pack-index" in path else "object"
    return "reference"


@lru_cache(maxsize=1024)
def _is_gits(name: bytes) -> bool:
    return GITS.fullmatch(name) is not None


class GitDirectory:
    """The mirror of one git directory.

    :param path: relative to the unit; empty for a bare repository that is the unit.
    :param have: what the mirror holds of it (no plain entries).
    :param seen: what the scan found of it.
    :param nested: paths of other repositories within it.
    :param closed: directories that cannot be read: what is in them is left out.
    :param proof: local directory for what git is to look at.
    :param may_lose: files that the source has no longer go from the mirror too: somebody said so.
    """

    def __init__(
        self,
        path: bytes,
        copier: Copier,
        *,
        have: dict[bytes, Entry],
        seen: dict[bytes, Entry],
        nested: frozenset[bytes],
        closed: frozenset[bytes] = frozenset(),
        proof: str,
        tries: int,
        far: bool,
        account: tuple[int, int] | None,
        may_lose: bool = False,
    ) -> None:
        self.path, self.copier, self.have, self.seen, self.proof = path, copier, have, seen, proof
        self.may_lose = may_lose
        self.prefix = path + b"/" if path else b""
        self.skip = frozenset({self.prefix + b"objects"}) | nested
        self.nested, self.closed = nested, closed
        self.tries, self.far, self.account = tries, far, account
        self.objects = {each: entry for each, entry in have.items() if self._is(each, "object") and entry.kind == "f"}
        self.directories = {each: entry for each, entry in have.items() if entry.kind == "d"}
        self.touched: set[bytes] = set()
        self.staged: dict[bytes, tuple[Entry, Data | None]] = {}
        self.listed: dict[bytes, Entry] = {}
        self.object_directories: dict[bytes, Entry] = {}
        self.unreadable: dict[bytes, UnreadableError] = {}
        self.put_off = True
        self.excused: list[bytes] = []
        self.damage: dict[bytes, Damage] = {}
        self.stay: set[bytes] = set()
        """Paths that the mirror keeps as it has them, although the source has others or none."""
        self.unproven = ""
        self.missing: set[str] = set()
        """Names of objects that the last proof did not find."""
        self._config_problems: dict[bytes, str] = {}
        self.spool = Spool(proof + ".staged")

    @property
    def config(self) -> bytes:
        """The repository's configuration."""
        return in_full(self.staged.get(self.prefix + b"config", (None, b""))[1], CONFIG_BYTES)

    @property
    def algorithm(self) -> str:
        """The hash that names objects."""
        return "sha256" if _SHA256.search(self.config) else "sha1"

    @property
    def is_partial(self) -> bool:
        """Whether objects may be missing because another repository promised them."""
        return "promisor = true" in own_config(self.config, derived=False)

    @property
    def where(self) -> str:
        """Its path in the source, for messages."""
        return escape_path(os.path.join(self.copier.source_path, self.path).rstrip(b"/"))

    def _is(self, path: bytes, kind: str) -> bool:
        return kind_of(path[len(self.prefix) :]) == kind

    # First: all that can be done without the old mirror noticing

    def bring(self) -> None:
        """Stage what refers to objects, copy objects, and prove that all is there.

        :raises BusyError: after as many tries as allowed.
        :raises DamagedError: the repository did not change between two tries, and was not whole in either.
        """
        known = {each for each, entry in self.seen.items() if self._is(each, "object") and entry.kind == "f"}
        last: object = None
        problem = ""
        lasting: set[object] | None = None
        for attempt in range(self.tries):
            if attempt > 1:
                time.sleep(0.005 * attempt * attempt)
            try:
                self.stage()
                if not self.copy():
                    problem = "its objects were being rewritten"
                    continue
            except (FileNotFoundError, NotADirectoryError):
                problem = "parts of it vanished"
                continue
            screen(self)
            problem = self.prove(derived=True)
            state = ({each: entry for each, (entry, _data) in self.staged.items()}, self.listed)
            if problem and (state == last or attempt > self.tries // 2) and any(self._is(each, "derived") for each in self.staged):
                problem = self.prove(derived=False)
                if not problem:
                    self.staged = {
                        each: found for each, found in self.staged.items() if not self._is(each, "derived") or each.endswith(b"/alternates")
                    }
            # git does not look at the indexes of worktrees, and accepts an empty list of references.
            broken = first_problem(broken_files(self))
            if not (problem := broken or problem):
                self.put_off = bool(self.unreadable or self.damage) or not known <= self.listed.keys()
                if self.unproven:
                    if state != last and self._is_torn():
                        last, problem = state, "its tables of references were being rewritten"
                        continue
                    self.copier.add_note(f"{self.where} was mirrored but could not be verified: {self.unproven}")
                return
            marks = self._marks()
            lasting = marks if lasting is None else lasting & marks
            # No writer makes a file that does not match its name; what is only missing may be a collection of garbage under way.
            is_certain = attempt >= (LASTING if lasting & self.damage.keys() else self.tries - 1) >= LASTING
            if (state == last or (lasting and is_certain)) and self._salvage(problem):
                return
            if state == last:
                raise self._damaged(problem)
            last = state
            known |= self.listed.keys()
        raise BusyError(f"{self.where} kept changing ({self.tries} attempts: {problem}); its mirror was not updated.", "try again later")

    def _salvage(self, problem: str) -> bool:
        """Reduce what was staged to what can be proven, and remember the damage; return whether there is something to be published."""
        if self.prefix + b"HEAD" in self.have:
            rescue(self, self.proof + ".pack")
        if not Salvage(self).run():
            return False
        self.put_off = True
        if not self.damage:
            self.damage[self.prefix] = Damage(self.path, "the repository", problem, STAYS)
        return True

    def _damaged(self, problem: str) -> DamagedError:
        """Return the error of a repository of which nothing new can be published."""
        if damage := self.damage_error():
            return damage
        problem = "; ".join([*(each.message[:-1] for each in [*self.unreadable.values()][:1]), problem])
        return DamagedError(f"{self.where} is damaged: {problem}.", f"git -C {shell_word(self.where)} fsck")

    def _marks(self) -> set[object]:
        """Return the damage found so far; damage that every attempt finds is not caused by a writer."""
        return {*self.missing, *self.damage, *broken_files(self)}

    def stage(self) -> None:
        """Read everything that refers to objects, if it is readable: loose references, HEAD and reflogs first, packed references last.

        :raises TooLargeError: git would have to read a file that is larger than any known.
        """
        self.unreadable = {}
        self.spool.clear()
        source = self.copier.source_fd
        names = source_files.names(source, self.prefix)
        skip = self.skip | {self.prefix + each for each in names if kind_of(each) == "plain"}
        found = {entry.path: entry for entry in self._walk(self.path, skip) if self._is(entry.path, "reference")}
        packed = self.prefix + b"packed-refs"
        files = sorted((each for each, entry in found.items() if entry.kind == "f" and each != packed), key=self._reading_order)
        derived = {entry.path: entry for entry in self._walk(self.prefix + b"objects/info", frozenset(), missing=True)}
        derived |= {entry.path: entry for entry in self._walk(self.prefix + b"objects/pack", frozenset(), missing=True)}
        if (info := self._directory(self.prefix + b"objects/info")) is not None:
            derived[info.path] = info
        derived = {path: entry for path, entry in derived.items() if self._is(path, "derived")}
        staged: dict[bytes, tuple[Entry, Data | None]] = {
            each: (entry, None) for each, entry in (found | derived).items() if entry.kind != "f"
        }
        for path in (*files, packed, *(each for each, entry in derived.items() if entry.kind == "f")):
            try:
                read = self.spool.stage(source, path, METADATA_BYTES if self._is_proven(path) else MEMORY_BYTES)
            except UnreadableError as error:
                self.unreadable[path] = error
                continue
            if read is not None:
                staged[path] = read
                if read[1] is None and self._is_proven(path):
                    raise too_large(os.path.join(self.copier.source_path, path), read[0].size)
        self.staged = staged

    def _is_proven(self, path: bytes) -> bool:
        """Tell whether git, or we, look at what a file holds."""
        inner = path[len(self.prefix) :]
        first = inner.partition(b"/")[0]
        return first in PROVEN or first in {b"objects", b"config"} or first.startswith(b"sharedindex.") or inner == b"info/grafts"

    def _directory(self, path: bytes) -> Entry | None:
        try:
            return entry_of(path, self.copier.source_status(path))
        except OSError:
            return None

    def _reading_order(self, path: bytes) -> tuple[int, bytes]:
        first = path[len(self.prefix) :].partition(b"/")[0]
        if first == b"reftable" or b"/reftable/" in path:
            return (5 if not path.endswith(b"/tables.list") else -1), path
        return {b"refs": 0, b"HEAD": 1, b"logs": 2, b"worktrees": 3}.get(first, 4), path

    def _walk(self, start: bytes, skip: frozenset[bytes], *, missing: bool = False) -> Iterable[Entry]:
        if any(start == each or start.startswith(each + b"/") for each in self.closed):
            return
        try:
            tree = TreeFilter(TreeRules())
            for block in walk_blocks(self.copier.source_fd, start, skip=skip | self.closed, named=self.copier.source_path, tree=tree):
                size, _more = BLOCK_HEADER.unpack_from(block)
                path = block[BLOCK_HEADER.size : BLOCK_HEADER.size + size]
                for entry in unpack_block(path, block[BLOCK_HEADER.size + size :]):
                    if entry.path != start or start:
                        yield entry
        except (FileNotFoundError, NotADirectoryError):
            if not missing:
                raise

    def list(self) -> dict[bytes, Entry]:
        """Return the source's objects, and the directories they are in."""
        start = self.prefix + b"objects"
        found = {entry.path: entry for entry in self._walk(start, frozenset()) if self._is(entry.path, "object")}
        own = self._directory(start)
        if own is None:
            raise FileNotFoundError(start)
        found[start] = own
        return found

    def copy(self) -> bool:
        """Copy objects that the mirror lacks, and remove none; tell whether all that were listed and can be read could be had."""
        for _turn in range(RELISTS):
            listed = self.list()
            copying = ObjectCopy(self, listed)
            if copying.run():
                self.listed = {each: entry for each, entry in listed.items() if entry.kind == "f" and each in self.objects}
                self.listed |= {each: entry for each, entry in copying.blocked.items() if each in self.objects}
                there = {b"", *listed, *copying.blocked}
                self.damage = {each: found for each, found in self.damage.items() if each in there}
                self.object_directories = {each: entry for each, entry in listed.items() if entry.kind == "d"}
                self.touched |= {each for each, entry in self.object_directories.items() if self.have.get(each) != entry}
                for each, entry in listed.items():
                    if entry.kind not in "df":
                        self.staged[each] = (entry, None)
                        self.objects.pop(each, None)
                return True
        return False

    def ensure_directory(self, path: bytes) -> None:
        """Make a directory of the mirror, and those above it."""
        missing = []
        while path and path not in self.directories:
            missing.append(path)
            path = path.rpartition(b"/")[0]
        for each in reversed(missing):
            entry = self._directory(each) or self.have.get(each)
            if entry is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), each)
            self.copier.mkdir(entry)
            self.directories[each] = entry
            self.touched |= {each, entry.parent}

    # The proof

    def check(self) -> str:
        """Let git check every object of a repository that nobody writes; return what it said, nothing if all is well."""
        self.stage()
        listed = self.list()
        self.objects = self.listed = {each: entry for each, entry in listed.items() if entry.kind == "f"}
        self.staged |= {each: (entry, None) for each, entry in listed.items() if entry.kind not in "df"}
        if self.unreadable:
            return next(iter(self.unreadable.values())).message
        return self.prove(derived=True, full=True)

    def prove(self, *, derived: bool, full: bool = False, everything: bool = False) -> str:
        """Let git walk from everything that was staged to every object it needs.

        :param derived: let it look at what git derives from objects too.
        :param full: let it look at the objects' contents too.
        :param everything: let it see all objects that the mirror has, also those that the source has no more.
        :return: nothing if all is there, or what git said.
        """
        self.missing = set()
        config = self.config
        self.unproven = git_formats.unknown_format(config)
        if self.unproven:
            return ""
        try:
            self._alternates()
        except OutsideError as error:
            self.unproven = error.message
            return ""
        except BorrowedError as error:
            return error.message
        environment = self._prepare_proof(derived=derived, everything=everything)
        how = "--full" if full else "--connectivity-only"
        excused = self.excused if full else None
        arguments = ["fsck", how, "--no-dangling", "--no-progress"]
        problem = run_git(arguments, environment, self.account, self.proof, self.missing, excused=excused)
        if problem == NO_GIT:
            self.unproven, problem = NO_GIT, ""
        elif problem and git_formats.UNKNOWN.search(os.fsencode(problem)):
            self.unproven, problem = f"{git_formats.git_version()} does not know it: {problem}", ""
        shutil.rmtree(self.proof, ignore_errors=True)
        return problem

    def config_problem(self) -> str:
        """Return what is wrong with the configuration that was staged; nothing if git can read it."""
        config = self.config
        if PLAIN_CONFIG.fullmatch(config):
            return ""
        if config not in self._config_problems:
            shutil.rmtree(self.proof, ignore_errors=True)
            os.makedirs(self.proof)
            place = os.path.join(self.proof, "config")
            with open(place, "wb") as file:
                file.write(config)
            problem = run_git(
                ["config", "--file", place, "--no-includes", "--list"], git_environment("/nonexistent"), self.account, self.proof
            )
            self._config_problems[config] = "git cannot read it" if problem and problem != NO_GIT else ""
            shutil.rmtree(self.proof, ignore_errors=True)
        return self._config_problems[config]

    @contextmanager
    def over_objects(self) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
        """Make a git directory that sees all objects of the mirror; give its environment, and what starts a process as the account."""
        try:
            yield self._prepare_proof(derived=False, everything=True), give(self.proof, self.account)
        finally:
            shutil.rmtree(self.proof, ignore_errors=True)

    @contextmanager
    def over_copy(self, place: str) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
        """Make a git directory that sees the objects in a directory of ours alone, as :meth:`over_objects` does."""
        shutil.rmtree(self.proof, ignore_errors=True)
        try:
            os.makedirs(os.path.join(self.proof, "refs"))
            for name, text in (("HEAD", "ref: refs/heads/main\n"), ("config", own_config(self.config, derived=False))):
                with open(os.path.join(self.proof, name), "w", encoding="ascii") as file:
                    file.write(text)
            give(place, self.account)
            yield {**git_environment(self.proof), "GIT_OBJECT_DIRECTORY": place}, give(self.proof, self.account)
        finally:
            shutil.rmtree(self.proof, ignore_errors=True)

    def index_of_pack(self, path: bytes) -> bytes | None:
        """Let git make the index of a pack in the mirror; None if it cannot."""
        shutil.rmtree(self.proof, ignore_errors=True)
        os.makedirs(self.proof)
        made = os.path.join(self.proof, "made.idx")
        pack = os.path.join(self.copier.mirror_path, path)
        arguments = ["-c", "pack.writeReverseIndex=false", "index-pack", f"--object-format={self.algorithm}", "-o", made, os.fsdecode(pack)]
        try:
            if run_git(arguments, git_environment("/nonexistent"), self.account, self.proof) or os.stat(made).st_size > IN_MEMORY:
                return None
            with open(made, "rb") as file:
                return file.read()
        except OSError:
            return None
        finally:
            shutil.rmtree(self.proof, ignore_errors=True)

    def _prepare_proof(self, *, derived: bool, everything: bool) -> dict[str, str]:
        """Make the git directory for a proof, and return its environment."""
        borrowed = self._alternates()
        config = self.config
        shutil.rmtree(self.proof, ignore_errors=True)
        os.makedirs(os.path.join(self.proof, "refs"))
        base = os.fsencode(self.proof)
        dangling = self._dangling()
        for path, (_entry, data) in self.staged.items():
            inner = path[len(self.prefix) :]
            first = inner.partition(b"/")[0]
            if (
                data is not None
                and path not in dangling
                and (first in PROVEN or first.startswith(b"sharedindex.") or inner == b"info/grafts")
            ):
                if git_formats.is_index(inner):
                    self._put_index(base, inner, data)
                else:
                    _put(os.path.join(base, inner), data)
        head = self.staged.get(self.prefix + b"HEAD")
        if head is not None and head[0].kind == "l":  # as git once made it, and still reads it
            _put(os.path.join(base, b"HEAD"), b"ref: " + head[0].link + b"\n")
        paths = self.objects if everything else self.listed
        missing = self.objects.keys() - paths.keys()
        have = {
            each: (entry.size, entry.mtime_ns, entry.inode)
            for each, entry in self.have.items()
            if self._is(each, "derived") and entry.kind == "f"
        }
        wanted = {
            each: (entry.size, entry.mtime_ns, entry.inode)
            for each, (entry, _data) in self.staged.items()
            if self._is(each, "derived") and entry.kind == "f"
        }
        odd_files = any(self._is(each, "object") for each in self.staged)  # such as links, which git would follow
        if missing or have != wanted or odd_files or not derived or self.prefix + b"objects/info/alternates" in self.staged:
            objects = os.path.join(base, b"objects")
            self._farm(objects, paths, derived=derived)
        else:
            objects = os.path.join(self.copier.mirror_path, self.prefix, b"objects")
        with open(os.path.join(self.proof, "config"), "w", encoding="ascii") as file:
            file.write(own_config(config, derived=bool(borrowed or (derived and wanted))))
        environment = {**git_environment(self.proof), "GIT_OBJECT_DIRECTORY": os.fsdecode(objects)}
        if borrowed:
            quoted = (b'"' + each.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"' for each in borrowed)
            environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = os.fsdecode(b":".join(quoted))
        return environment

    def _put_index(self, base: bytes, inner: bytes, data: Data) -> None:
        """Give the proof an index that makes git write nothing, and references to the trees that the index has in the place of directories."""
        trees: list[str] = []
        if len(data) <= IN_MEMORY:
            data, trees = git_formats.without_sparse_directories(in_full(data, IN_MEMORY), self.algorithm)
        _put(os.path.join(base, inner), data)
        git_formats.add_index_hash(os.path.join(base, inner), self.algorithm)
        for tree in trees:
            if tree.strip("0"):
                _put(os.path.join(base, SPARSE_REFS, tree.encode()), tree.encode() + b"\n")

    def _is_torn(self) -> bool:
        """Return whether the list of reftables names one that was not read because git wrote it during the copy."""
        for path, (_entry, data) in self.staged.items():
            if path.endswith(b"reftable/tables.list") and data is not None:
                directory = path.rpartition(b"/")[0] + b"/"
                if any(directory + line not in self.staged for line in in_full(data, MEMORY_BYTES).splitlines() if line):
                    return True
        return False

    def _dangling(self) -> set[bytes]:
        """Return the symbolic references that name no reference, such as a remote's HEAD after a branch was renamed: no object is lost by them."""
        start = self.prefix + b"refs/"
        loose = {
            path: in_full(data, MEMORY_BYTES) for path, (entry, data) in self.staged.items() if entry.kind == "f" and path.startswith(start)
        }
        symbolic = {path: self.prefix + data[4:].strip() for path, data in loose.items() if data.startswith(b"ref:")}
        if not symbolic:
            return set()
        packed = self.staged.get(self.prefix + b"packed-refs", (None, b""))[1] or b""
        lines = packed.lines() if isinstance(packed, Piece) else packed.splitlines()
        wanted = set(symbolic.values())
        there = loose.keys() | {name for line in lines if (name := self.prefix + line.rpartition(b" ")[2]) in wanted}
        named_by: dict[bytes, list[bytes]] = {}
        for each, named in symbolic.items():
            named_by.setdefault(named, []).append(each)
        waiting = [named for named in named_by if named not in there]
        dangling: set[bytes] = set()
        while waiting:
            more = named_by.get(waiting.pop(), ())
            dangling.update(more)
            waiting += more
        return dangling

    def _farm(self, objects: bytes, paths: Iterable[bytes], *, derived: bool) -> None:
        """Make an object directory of links that has only what the mirror will keep."""
        made = set()
        for path in paths:
            inner = path[len(self.prefix) + 8 :]
            place = os.path.join(objects, inner)
            parent = os.path.dirname(place)
            if parent not in made:
                os.makedirs(parent, exist_ok=True)
                made.add(parent)
            os.symlink(os.path.join(self.copier.mirror_path, path), place)
        os.makedirs(os.path.join(objects, b"pack"), exist_ok=True)
        os.makedirs(os.path.join(objects, b"info"), exist_ok=True)
        for path, (_entry, data) in self.staged.items():
            if derived and data is not None and self._is(path, "derived") and not path.endswith(b"alternates"):
                _put(os.path.join(objects, path[len(self.prefix) + 8 :]), data)

    def _alternates(self) -> Sequence[bytes]:
        """Return where else the repository has objects."""
        data = in_full(self.staged.get(self.prefix + b"objects/info/alternates", (None, b""))[1], LIST_BYTES)
        here = os.path.join(self.copier.source_path, self.prefix, b"objects")
        return check_borrowed(here, parse_alternates(data), os.path.dirname(self.copier.source_path))

    # Then: what readers of the mirror see

    def publish(self) -> None:
        """Put what was staged in place, in an order that leaves a whole repository at every moment."""
        for path in sorted(each for each, (entry, _data) in self.staged.items() if entry.kind == "d"):
            entry, old = self.staged[path][0], self.have.get(path)
            if path not in self.directories or (old is not None and old.kind != "d"):
                self.ensure_directory(entry.parent)
                self.copier.mkdir(entry)
                self.directories[path] = entry
                self.touched |= {path, entry.parent}
            elif old is None or (old[1:4], old.mtime_ns) != (entry[1:4], entry.mtime_ns):
                self.touched.add(path)

        def put(path: bytes) -> None:
            entry, data = self.staged[path]
            self.staged[path] = (self._put(entry, data, self.have.get(path)) or entry._replace(ctime_ns=0), data)

        wanted = [each for each, (entry, _data) in self.staged.items() if entry.kind != "d" and self.have.get(each) != entry]
        for each in wanted:
            parent = each.rpartition(b"/")[0]
            self.ensure_directory(parent)
            self.touched.add(parent)
        for rank in range(LAST_RANK + 1):
            self.copier.each(put, sorted(each for each in wanted if self._publishing_rank(each) == rank))
        for path, old in self.have.items():
            if (
                path not in self.staged
                and path not in self.unreadable
                and path not in self.stay
                and old.kind != "d"
                and (self._is(path, "reference") or self._is(path, "derived") or (old.kind != "f" and self._is(path, "object")))
            ):
                self.copier.move_to_history(path, old)
                self.touched.add(old.parent)

    def _put(self, entry: Entry, data: Data | None, old: Entry | None) -> Entry | None:
        if entry.kind == "l":
            self.copier.copy_symlink(entry, old)
        elif entry.kind != "f":
            self.copier.copy_special(entry, old)
        elif data is None:
            return self.copier.copy_file(entry.path, old)
        elif old is not None and old.kind == "f" and old.size == entry.size and self._has(self.copier.mirror_fd, entry.path, data):
            self.copier.apply_attributes(entry)
        else:
            self.copier.write(entry, data, old)
        return entry

    def _has(self, top_fd: int, path: bytes, data: Data) -> bool:
        """Tell whether a file below an open directory has some contents."""
        try:
            fd = source_files.open_regular(top_fd, path)
        except OSError:
            return False
        if fd is None:
            return False
        try:
            return same_data(data, fd)
        finally:
            os.close(fd)

    def _publishing_rank(self, path: bytes) -> int:
        inner = path[len(self.prefix) :]
        if inner.endswith(b"reftable/tables.list"):
            return LAST_RANK
        first = inner.partition(b"/")[0]
        return PUBLISHED.get(first, PLAIN_RANK)

    def remove(self) -> None:
        """Remove objects that the source has no more, unless a collection of garbage may be under way."""
        gone = [each for each in self.objects if each not in self.listed]
        if not self.put_off:
            gone.sort(key=lambda each: (_extension(each) != b".idx", each))

            def aside(path: bytes) -> None:
                self.copier.move_to_history(path, self.objects.pop(path))

            self.touched |= {each.rpartition(b"/")[0] for each in gone}
            self.copier.each(aside, [each for each in gone if _extension(each) == b".idx"])
            self.copier.each(aside, [each for each in gone if _extension(each) != b".idx"])
        stay = {each.rpartition(b"/")[0] for each in self.objects} | self.object_directories.keys() | self.staged.keys()
        for path in sorted((each for each in self.directories if each not in stay and each.startswith(self.prefix)), reverse=True):
            self.copier.remove_directory(path)
            self.touched.add(path.rpartition(b"/")[0])

    def damage_error(self) -> DamagedError | None:
        """Return the error for damage in the source; None if it is sound."""
        source = self.copier.source_path
        found = sorted(self.damage.values(), key=lambda each: not each.is_object)
        return damaged_error(source, found, os.path.join(source, self.path)) if found else None

    def settle(self) -> None:
        """Look again at what was read in the moment it was written: what has not changed since is what the mirror has."""
        doubtful = [each for each, (entry, data) in self.staged.items() if not entry.ctime_ns and data is not None]
        if doubtful:
            time.sleep(TIMESTAMP_GRANULARITY_NS / 1e9)
        for path in doubtful:
            entry, data = self.staged[path]
            if data is not None and (found := self._same_still(path, entry, data)) is not None:
                self.staged[path] = (found, data)

    def _same_still(self, path: bytes, entry: Entry, data: Data) -> Entry | None:
        """Return the entry of a file of the source if it still is what was read, and did not change just now."""
        try:
            fd = source_files.open_regular(self.copier.source_fd, path)
        except OSError:
            return None
        if fd is None:
            return None
        try:
            before = os.fstat(fd)
            found = entry_of(path, before)
            if found._replace(ctime_ns=0) != entry or not same_data(data, fd):
                return None
            return found if is_settled(before, os.fstat(fd)) else None
        finally:
            os.close(fd)

    def final(self) -> dict[bytes, Entry]:
        """Return what the mirror holds now."""
        final = {each: entry for each, entry in self.have.items() if each in self.unreadable or each in self.stay}
        final |= {each: entry for each, (entry, _data) in self.staged.items()}
        final |= self.object_directories
        # The source may have given the inode of an object that it has no more to another file.
        final |= {each: entry if each in self.listed else entry._replace(inode=0, nlink=1) for each, entry in self.objects.items()}
        for path in list(self.objects):
            parent = path.rpartition(b"/")[0]
            if parent not in final and parent in self.directories:
                final[parent] = self.directories[parent]
        return final

    def held(self) -> dict[bytes, Entry]:
        """Return what the mirror holds where nothing was published: what it held, and objects that were copied."""
        start = self.prefix + b"objects"
        return {**self.have, **{each: entry for each, entry in self.directories.items() if each.startswith(start)}, **self.objects}


def own_config(config: bytes, *, derived: bool) -> str:
    """Return a configuration of our own that says of a repository only what its objects' format is.

    :param config: the repository's; nothing of it but the format of objects, and whether objects may be missing, is used.
    :param derived: there may be something that git derived from objects; otherwise no process is started to check that.
    """
    section, wanted = b"", {b"objectformat": "", b"partialclone": "", b"refstorage": ""}
    promised = False
    for line in config.splitlines():
        stripped = line.strip()
        if stripped.startswith(b"["):
            section = stripped.lower()
            continue
        key, _equals, value = stripped.partition(b"=")
        key = key.strip().lower()
        if section.startswith(b"[extensions]") and key in wanted and re.fullmatch(rb"[\w.-]+", value.strip()) and value.strip() != b"files":
            wanted[key] = value.strip().decode()
        if section.startswith(b'[remote "') and key == b"promisor" and value.strip().lower() in {b"true", b"", b"yes", b"on", b"1"}:
            promised = True
    lines = ["[core]", "bare = true", "fsmonitor = false"]
    if not derived:
        lines += ["commitGraph = false", "multiPackIndex = false"]
    extensions = [f"{name.decode()} = {value}" for name, value in wanted.items() if value and name != b"partialclone"]
    if promised or wanted[b"partialclone"]:
        extensions.append("partialclone = promised")
        lines += ['[remote "promised"]', "promisor = true", "url = /nonexistent"]
    lines.insert(1, f"repositoryformatversion = {int(bool(extensions))}")
    return "\n".join([*lines, "[extensions]", *extensions] if extensions else lines) + "\n"


def git_environment(directory: str) -> dict[str, str]:
    """Return an environment in which git reads no configuration but that of ``directory``, fetches nothing and asks nobody."""
    return hardened_environment(os.environ.get("PATH", os.defpath), GIT_DIR=directory)


def give(directory: str, account: tuple[int, int] | None) -> dict[str, Any]:
    """Give a directory to an account, where root runs for it, and return what starts a process as that account."""
    if account is None or os.geteuid() != 0 or account[0] == 0:
        return {}
    for base, _directories, names in os.walk(directory):
        os.chown(base, *account)
        for name in names:
            os.chown(os.path.join(base, name), *account, follow_symlinks=False)
    return {"user": account[0], "group": account[1], "extra_groups": []}


def run_git(
    arguments: list[str],
    environment: dict[str, str],
    account: tuple[int, int] | None,
    directory: str,
    missing: set[str] | None = None,
    *,
    excused: list[bytes] | None = None,
) -> str:
    """Run git; return an empty string if it succeeds, or its first error.

    :param missing: takes the names of objects that git says are missing.
    :param excused: takes what git objects to in the form of objects that are whole, such as a commit of many years ago without a space
        before an address; that is no problem then.
    """
    said = _Said(missing is not None, excused is not None)
    try:
        code = run_lines(
            ["git", *arguments], env=environment, seconds=GIT_SECONDS, out=said.hear_output, err=said.hear_error, **give(directory, account)
        )
    except FileNotFoundError:
        return NO_GIT
    except TimeoutError:
        return "git did not come to an end"
    if not code:
        return ""
    if missing is not None:
        missing |= said.missing
    if excused is not None and code == FSCK_OBJECTS:
        excused += said.excused
        if said.excused and not said.others:
            return ""
        return said.problem(said.others, code)
    return said.problem([*said.errors, *said.output], code)


class _Said:
    """What is remembered of what git says: it can say much of a damaged repository, or of one that was made to make it do so.

    :param misses: remember the objects that are missing.
    :param excuses: tell apart what git objects to in the form of objects that are whole.
    """

    def __init__(self, misses: bool, excuses: bool) -> None:
        self.misses, self.excuses = misses, excuses
        self.missing: set[str] = set()
        self.excused: list[bytes] = []
        self.errors: list[bytes] = []
        self.output: list[bytes] = []

    @property
    def others(self) -> list[bytes]:
        """What is no matter of form."""
        return [*self.errors, *self.output]

    def hear_error(self, line: bytes) -> None:
        """Take in a line of standard error."""
        self._hear(line, self.errors)

    def hear_output(self, line: bytes) -> None:
        """Take in a line of standard output."""
        self._hear(line, self.output)

    def _hear(self, line: bytes, lines: list[bytes]) -> None:
        if self.misses and len(self.missing) < MAX_NAMED and (found := _MISSING.search(line)):
            self.missing.add(found[1].decode())
        if not line or line.startswith((b"notice", b"dangling")):
            return
        if self.excuses and FORM.match(line):
            if len(self.excused) < MAX_NAMED:
                self.excused.append(line)
        elif len(lines) < SAID_LINES and not (self.excuses and line.startswith(b"warning in ")):
            lines.append(line)

    @staticmethod
    def problem(lines: Sequence[bytes], code: int) -> str:
        """Return the first of what was said."""
        return f"git fsck says {escape_path(b'; '.join(lines[:SAID_LINES]))!r}" if lines else f"git fsck failed ({code})"


def _put(path: bytes, data: Data) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_out(data, path)


def _extension(path: bytes) -> bytes:
    return os.path.splitext(path)[1]


def _stem(path: bytes) -> bytes:
    return os.path.splitext(path)[0]
