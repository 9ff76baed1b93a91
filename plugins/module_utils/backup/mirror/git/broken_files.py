# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find files of a git directory that are broken or lost, before git is asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_checks import check_of, index_problem, problem_of
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_copy import ABSENT, STAYS, Damage
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.salvage_store import Store
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.staging import small
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repository_errors import TYPE_PHRASES
from ansible_collections.homelab.repoman.plugins.module_utils.files import source_files
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

LIMIT = 64 << 20
_LOGGED = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64}) ([0-9a-f]{40}|[0-9a-f]{64}) [^\0\n]*> -?\d+ [+-]\d+(\t[^\0]*)?")
LINES = "some of its lines are invalid"
DROPPED = "the mirror has the other lines"
_HEX = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
REFERENCE = re.compile(rb"\s*ref:\s*[^\0\s]+\s*|([0-9a-f]{40}|[0-9a-f]{64})(\s[^\0]*)?")
_PACKED = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64}) (refs/[^\0\s]+|[^\0\s]+)")
_PEELED = re.compile(rb"\^([0-9a-f]{40}|[0-9a-f]{64})")
_NAMES = re.compile(rb"(([0-9a-f]{40}|[0-9a-f]{64})\n)*")
_WORKTREE = re.compile(rb"worktrees/[^/]+/")
WORKTREE_FILES = (b"HEAD", b"commondir", b"gitdir")
NOT_A_NAME = "it does not contain an object ID"


def role_of(inner: bytes) -> str:
    """Classify a file of a git directory: ``ref``, ``HEAD``, ``log``, ``index``, ``packed-refs``, ``shallow`` or an empty string."""
    path = _WORKTREE.sub(b"", inner, count=1)
    if path.startswith(b"refs/"):
        return "ref"
    if path == b"logs/HEAD" or path.startswith(b"logs/refs/"):  # git itself overlooks any others
        return "log"
    return path.decode() if path in {b"HEAD", b"index", b"packed-refs", b"shallow"} else ""


def screen(store: Store) -> None:
    """Take damaged files that git derives from objects, and broken lines of reflogs, out of the staged files; git itself overlooks them."""
    for path, (entry, contents) in list(store.staged.items()):
        data = small(contents, LIMIT)
        if data is None or entry.type != "f" or store.mirrored.get(path) == entry:
            continue
        inner = path[len(store.prefix) :]
        if check := check_of(inner, store.algorithm):
            if reason := problem_of(data, check()):
                del store.staged[path]
                store.protected.add(path)
                store.damage[path] = Damage(
                    path, escape_path(inner), reason, STAYS if path in store.mirrored else ABSENT, entry, derived=True
                )
        elif role_of(inner) == "log":
            sound_lines = b"".join(_log_lines(data, complete=bool(entry.ctime_ns)))
            if sound_lines != data:
                store.staged[path] = (entry._replace(ctime_ns=0, size=len(sound_lines)), sound_lines)
                store.damage[path] = Damage(path, f"reflog {escape_path(inner)}", LINES, DROPPED, entry, by_path=True)


def _log_lines(data: bytes, *, complete: bool, accepted: Callable[[bytes], bool] = lambda _name: True) -> Iterator[bytes]:
    """Yield the valid lines of a reflog.

    :param complete: the last line must be complete; otherwise it may still be being written.
    """
    *lines, rest = data.split(b"\n")
    for line in lines:
        if (match := _LOGGED.fullmatch(line)) and accepted(match[1]) and accepted(match[2]):
            yield line + b"\n"
    if not complete and b"\0" not in rest:  # zeros are what a power cut leaves, not what git is about to write
        yield rest


def broken_files(store: Store) -> dict[bytes, str]:
    """Return the staged references, lists of references and indexes that are broken, each with the reason."""
    reasons = _lost_files(store)
    if store.unproven or store.prefix + b"reftable" in store.staged:
        config = store.prefix + b"config"
        return {config: reasons[config]} if config in reasons else {}
    head = store.mirrored.get(store.prefix + b"HEAD")
    proven = head is not None and head.ctime_ns != 0
    for path, (entry, contents) in store.staged.items():
        data = small(contents, LIMIT)
        if data is None or entry.type != "f" or (proven and store.mirrored.get(path) == entry):
            continue
        role = role_of(path[len(store.prefix) :])
        if role in {"ref", "HEAD"} and not REFERENCE.fullmatch(data):
            reasons[path] = NOT_A_NAME if data else "it is empty"
        elif role == "index" and (reason := index_problem(data, store.algorithm)):
            reasons[path] = reason
        elif role == "packed-refs" and not data and (mirrored := store.mirrored.get(path)) is not None and mirrored.size:
            reasons[path] = "it is empty"
        elif (role == "packed-refs" and Packed(data).broken) or (role == "shallow" and not _NAMES.fullmatch(data)):
            reasons[path] = LINES
    return reasons | _lost_by_worktrees(store)


def _lost_files(store: Store) -> dict[bytes, str]:
    """Return the files that git needs and the mirror has, but that are missing in the source or are nothing that git reads."""
    reasons: dict[bytes, str] = {}
    for name in (b"config", b"HEAD", b"index", b"packed-refs", b"shallow"):
        path = store.prefix + name
        entry, data = store.staged.get(path, (None, None))
        mirrored = store.mirrored.get(path)
        if entry is not None and entry.type not in {"f", "l"}:
            reasons[path] = f"it is {TYPE_PHRASES[entry.type]}"
        elif name == b"HEAD" and entry is not None and entry.type == "l" and not entry.link.startswith(b"refs/"):
            reasons[path] = "it is a link that names no reference"
        elif name == b"config" and mirrored is not None and mirrored.type == "f" and mirrored != entry:
            if entry is None and path not in store.unreadable and not store.may_lose:
                reasons[path] = "it is missing"
            elif entry is not None and entry.type == "f" and not data and mirrored.size:
                reasons[path] = "it is empty"
        elif (
            name == b"packed-refs" and data is None and path not in store.unreadable and not store.may_lose and _has_lost_refs(store, path)
        ):
            reasons[path] = "it is missing" if entry is None else f"it is {TYPE_PHRASES[entry.type]}"
        if name == b"config" and path not in reasons and entry is not None and entry != mirrored and store.config_problem():
            reasons[path] = store.config_problem()
    return reasons


def _has_lost_refs(store: Store, path: bytes) -> bool:
    """Return whether references would be lost: the mirror has a packed-refs, the source has none, and not all of them are loose now."""
    entry = store.mirrored.get(path)
    if entry is None or entry.type != "f" or entry.size > LIMIT or store.prefix + b"reftable" in store.staged:
        return False
    mirrored = Packed(source_files.read_regular(store.copier.mirror_fd, path, LIMIT) or b"")
    return any(store.prefix + name not in store.staged for name in mirrored.refs)


def _lost_by_worktrees(store: Store) -> dict[bytes, str]:
    """Return files that a linked worktree needs, if the mirror has them and the source, which has the worktree, has lost them."""
    reasons: dict[bytes, str] = {}
    for directory, (entry, _contents) in store.staged.items():
        if entry.type == "d" and _WORKTREE.fullmatch(directory[len(store.prefix) :] + b"/"):
            for path in (directory + b"/" + name for name in WORKTREE_FILES):
                type_now = store.staged[path][0].type if path in store.staged else ""
                if path in store.mirrored and store.mirrored[path].type == "f" and type_now not in {"f", "l"}:
                    reasons[path] = f"it is {TYPE_PHRASES[type_now]}" if type_now else "it is missing"
    return reasons


def first_problem(broken: dict[bytes, str]) -> str:
    """Return the descriptions of broken files."""
    return next((f"{escape_path(path)}: {reason}" for path, reason in broken.items()), "")


class Packed:
    """A ``packed-refs`` file.

    :param broken: some lines are invalid.
    """

    def __init__(self, data: bytes) -> None:
        self.refs: dict[bytes, tuple[bytes, bytes]] = {}
        self.broken = bool(data) and not data.endswith(b"\n")
        last = b""
        for line in data.split(b"\n")[:-1]:
            if match := _PACKED.fullmatch(line):
                last = match[2]
                self.refs[last] = (match[1], b"")
            elif (peeled := _PEELED.fullmatch(line)) and last:
                self.refs[last] = (self.refs[last][0], peeled[1])
            elif not line.startswith(b"#"):
                self.broken = True
                last = b""

    def data(self) -> bytes:
        """Return the file's contents."""
        lines = [b"# pack-refs with: sorted \n"]
        for name, (value, peeled) in sorted(self.refs.items()):
            lines.append(value + b" " + name + b"\n")
            if peeled:
                lines.append(b"^" + peeled + b"\n")
        return b"".join(lines)
