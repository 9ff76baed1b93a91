# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One Mercurial repository of a unit, mirrored so that the mirror is whole whatever hg does to the source meanwhile.

Mercurial appends to its revision logs: first the files', then the manifest's, the changelog's last. So the changelog is copied first, and
says which changesets the copy has; the other logs are copied after it, and what they have of later changesets is cut off. That the
changelog was only appended to meanwhile, and that ``hg verify`` accepts the result, proves it. The new ``.hg`` is built beside the old
one, with hard links to all that did not change, and the two change places in one step.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.copying import Copier, directory, exchange, is_directory, shown
from ansible_collections.homelab.repoman.plugins.module_utils.mirror_git import BusyError, DamagedError, give
from ansible_collections.homelab.repoman.plugins.module_utils.scan import HEAD, Entry, UnreadableError, entry_of, unpack, walk

HG_SECONDS = 6 * 3600
VERIFIED = 512 << 20
"""Stores up to this size are proven by ``hg verify`` each time; of larger ones the logs are checked against each other."""
LOCK_SECONDS = 1.0

REVISION = struct.Struct(">QiiiiII")
REVISION_SIZE = 64
INLINE = 1 << 16

_PASSING = re.compile(rb"^(store/)?w?lock$|^store/(journal|00changelog\.i\.a)$|(^|/)\.[^/]+-\w{6,8}~$")
_JOURNAL = re.compile(rb"^(store/)?journal\.")
_EXTENSIONS = (b"largefiles", b"lfs")


def passing(path: bytes) -> bool:
    """Tell whether a path in ``.hg`` is a lock, a journal or a file that is not whole yet."""
    return _PASSING.search(path) is not None


def journal(path: bytes) -> bool:
    """Tell whether a path in ``.hg`` is of a transaction, while one is under way: never mirrored then."""
    return _JOURNAL.search(path) is not None


class HgDirectory:
    """The mirror of one ``.hg`` directory; its methods are those of ``GitDirectory``.

    :param path: of the directory, relative to the unit.
    :param have: what the mirror holds of it.
    :param seen: what the scan found of it.
    :param proof: local directory for what hg is to look at.
    :param closed: directories that cannot be read: what is in them is left out.
    """

    def __init__(
        self,
        path: bytes,
        copier: Copier,
        *,
        have: dict[bytes, Entry],
        seen: dict[bytes, Entry],
        proof: str,
        tries: int,
        account: tuple[int, int] | None,
        closed: frozenset[bytes] = frozenset(),
    ) -> None:
        self.path, self.copier, self.have, self.seen, self.proof = path, copier, have, seen, proof
        self.tries, self.account = tries, account
        self.prefix = path + b"/"
        self.closed = frozenset(each[len(self.prefix) :] for each in closed if each.startswith(self.prefix))
        self.touched: set[bytes] = set()
        self.built: dict[bytes, Entry] = {}
        self.linked: set[bytes] = set()
        self.leaders: dict[int, bytes] = {}
        self.place = os.path.join(copier.top_path, path)
        self.build = self.place
        self.made: set[bytes] = set()
        self.cut: set[bytes] = set()
        self.inner: Copier | None = None
        self.unreadable: dict[bytes, UnreadableError] = {}

    # First: all that can be done without the old mirror noticing

    def bring(self) -> None:
        """Build a whole ``.hg`` beside the mirror's, and prove it.

        :raises BusyError: after as many tries as allowed.
        :raises DamagedError: the repository did not change between two tries, and was not whole in either.
        """
        with directory(self.copier.source, self.path) as held:
            self._bring_from(b"/proc/self/fd/%d/." % held)

    def _bring_from(self, source: bytes) -> None:
        if self._equal(source):
            return
        if self.copier.new:
            self._need(self.path)
        else:
            self.build = os.path.join(self.copier.work_path, self.copier.temporary())
            os.mkdir(self.build, mode=0o700)
        where = shown(os.path.dirname(os.path.join(self.copier.source_path, self.path)))
        last: object = None
        problem = ""
        for attempt in range(self.tries):
            if attempt:
                time.sleep(0.01 * attempt)
            try:
                problem = self._try(source)
            except (FileNotFoundError, NotADirectoryError):
                problem = "parts of it vanished"
                continue
            if not problem:
                return
            state = dict(self.built)
            if state == last and not self._locked(source):
                if self.have:
                    self._drop()
                problem = "; ".join([*(each.message[:-1] for each in [*self.unreadable.values()][:1]), problem])
                raise DamagedError(f"{where} is damaged: {problem}.", f"hg -R '{where}' verify")
            last = state
        self._drop()
        raise BusyError(
            f"{where} was being written all the while ({self.tries} tries: {problem}); its mirror is as it was.", "run it again later"
        )

    def _need(self, path: bytes) -> None:
        """Make a directory of the mirror, and those above it; what is there and is none, such as a link, is set aside."""
        parts = path.split(b"/") if path else []
        for number in range(len(parts)):
            each = b"/".join(parts[: number + 1])
            with directory(self.copier.source, each) as held:
                self.copier.mkdir(entry_of(each, os.fstat(held)))

    def _equal(self, source: bytes) -> bool:
        """Tell whether the mirror's is as the source's already, and whole."""
        listed = self._list(source)
        if (
            self.copier.new
            or {each[len(self.prefix) :]: entry._replace(path=entry.path[len(self.prefix) :]) for each, entry in self.have.items()}
            != listed
        ):
            return False
        if self._prove(listed):
            return False
        self.built = {each: entry for each, entry in listed.items() if entry.kind != "d"}
        self.made = listed.keys() - self.built.keys()
        return True

    def _drop(self) -> None:
        """Remove what was built, unless it is all there is."""
        self._close()
        if self.build != self.place:
            shutil.rmtree(self.build, ignore_errors=True)

    def _close(self) -> None:
        if self.inner is not None:
            self.inner.close()
            self.copier.count(self.inner.files, 0, self.inner.kept_bytes)
            self.copier.bytes += self.inner.bytes
            self.copier.notes |= self.inner.notes
            self.inner = None

    def _locked(self, source: bytes) -> bool:
        return any(os.path.lexists(os.path.join(source, each)) for each in (b"store/lock", b"wlock"))

    def _try(self, source: bytes) -> str:
        until = time.monotonic() + LOCK_SECONDS
        while self._locked(source) and time.monotonic() < until:
            time.sleep(0.002)
        inner = self.inner
        if inner is None:
            self.inner = inner = Copier(
                source,
                self.build,
                kept=None,
                work=self.copier.work_path,
                new=True,
                xattrs=self.copier.xattrs,
                acls=self.copier.acls,
                pool=self.copier.pool,
                tell=self.copier.tell,
            )
        found: dict[bytes, Entry] = {}
        self.leaders.clear()
        self.unreadable.clear()
        early = self._list(source)
        self._bring(inner, early, lambda path: _rank(path) < 2, found)  # noqa: PLR2004
        if b"store/00changelog.i" in self.unreadable:
            return "its history is not known"
        changesets = self._changesets(found)
        late = self._list(source)
        self._bring(inner, {each: entry for each, entry in late.items() if _rank(each) > 1 or entry.kind == "d"}, lambda _path: True, found)
        for path in self.built.keys() - found.keys():
            self._unlink(path)
        if problem := self._cut(found, changesets):
            return problem
        prefix = os.path.join(self.build, b"store/00changelog.i")
        if not _begins(os.path.join(source, b"store/00changelog.i"), prefix):
            return "its history was being rewritten"
        return self._prove(found)

    def _list(self, source: bytes) -> dict[bytes, Entry]:
        found = {}
        for block in walk(source, skip=self.closed):
            size, _more = HEAD.unpack_from(block)
            for entry in unpack(block[HEAD.size : HEAD.size + size], block[HEAD.size + size :]):
                if entry.path:
                    found[entry.path] = entry
        under_way = b"store/journal" in found
        return {each: entry for each, entry in found.items() if not passing(each) and not (under_way and journal(each))}

    def _bring(self, inner: Copier, listed: dict[bytes, Entry], wanted: Callable[[bytes], bool], found: dict[bytes, Entry]) -> None:
        """Link or copy what was listed, in the order in which it must be read."""
        for path in sorted(each for each, entry in listed.items() if entry.kind == "d"):
            found[path] = listed[path]
            if path not in self.made:
                inner.mkdir(listed[path])
                self.made.add(path)

        def bring(path: bytes) -> None:
            entry = listed[path]
            if self.built.get(path) == entry and path not in self.cut:
                found[path] = entry
                return
            self._unlink(path)
            if self._link(path, entry) or self._twin(path, entry, found):
                got: Entry | None = entry
            elif entry.kind == "f":
                try:
                    got = inner.file(path, None, patient=False)
                except UnreadableError as error:
                    self.unreadable[path] = error
                    old = self.have.get(self.prefix + path)
                    got = old._replace(path=path) if old is not None and self._link_old(path) else None
            else:
                (inner.link if entry.kind == "l" else inner.special)(entry, None)
                got = entry
            if got is not None:
                found[path] = self.built[path] = got

        paths = sorted((each for each, entry in listed.items() if entry.kind != "d" and wanted(each)), key=lambda each: (_rank(each), each))
        for each in paths:
            if listed[each].nlink > 1:
                self.leaders.setdefault(listed[each].inode, each)
        for rank in sorted({_rank(each) for each in paths}):
            ranked = [each for each in paths if _rank(each) == rank]
            inner.each(bring, [each for each in ranked if self.leaders.get(listed[each].inode, each) == each])
            inner.each(bring, [each for each in ranked if self.leaders.get(listed[each].inode, each) != each])

    def _link(self, path: bytes, entry: Entry) -> bool:
        """Take the mirror's file where the source's has not changed."""
        if entry.kind != "f" or self.have.get(self.prefix + path) != entry._replace(path=self.prefix + path):
            return False
        return self._link_old(path)

    def _link_old(self, path: bytes) -> bool:
        if self.build == self.place:
            return False
        try:
            os.link(os.path.join(self.place, path), os.path.join(self.build, path), follow_symlinks=False)
        except OSError:
            return False
        self.linked.add(path)
        return True

    def _twin(self, path: bytes, entry: Entry, found: dict[bytes, Entry]) -> bool:
        """Make a file one with another that it is one with in the source."""
        other = self.leaders.get(entry.inode, path)
        twin = found.get(other)
        if entry.nlink == 1 or entry.kind != "f" or other == path or twin is None or other in self.linked:
            return False
        if (twin.inode, twin.ctime_ns) != (entry.inode, entry.ctime_ns):
            return False
        with suppress(OSError):
            os.link(os.path.join(self.build, other), os.path.join(self.build, path), follow_symlinks=False)
            return True
        return False

    def _unlink(self, path: bytes) -> None:
        self.linked.discard(path)
        self.cut.discard(path)
        self.built.pop(path, None)
        with suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(os.path.join(self.build, path))

    def check(self) -> str:
        """Let hg verify a repository that nobody writes; return what it said, nothing if all is well."""
        return self._prove(self._list(self.place), full=True)

    # What the logs say

    def _changesets(self, found: dict[bytes, Entry]) -> int:
        """Return how many changesets the copied changelog has."""
        path = b"store/00changelog.i"
        if path not in found:
            return 0
        log = Log(os.path.join(self.build, path))
        return log.count if log.known else -1

    def _cut(self, found: dict[bytes, Entry], changesets: int) -> str:
        """Cut off what the logs have of later changesets, and see that they have their data."""
        if changesets < 0:
            return ""
        for path in list(found):
            if not path.startswith(b"store/") or not path.endswith(b".i") or path in self.linked or found[path].kind != "f":
                continue
            place = os.path.join(self.build, path)
            log = Log(place)
            if not log.known:
                continue
            keep = log.before(changesets) if path != b"store/00changelog.i" else changesets
            size, data_size = log.sizes(keep)
            data = path[:-1] + b"d"
            if not log.inline and data_size:
                if data not in found:
                    return f"{shown(data)} is missing"
                have = os.stat(os.path.join(self.build, data)).st_size
                if have < data_size:
                    return f"{shown(data)} is too short"
                if have > data_size and keep < log.count:
                    self._truncate(data, data_size, found)
            if size < os.stat(place).st_size:
                self._truncate(path, size, found)
        return ""

    def _truncate(self, path: bytes, size: int, found: dict[bytes, Entry]) -> None:
        place = os.path.join(self.build, path)
        if path in self.linked or not size:
            contents = b""
            if size:
                with open(place, "rb") as file:
                    contents = file.read(size)
            self._unlink(path)
            found.pop(path, None)
            if not size:
                return
            with open(place, "xb") as file:
                file.write(contents)
        else:
            found.pop(path)
            os.truncate(place, size)
        self.cut.add(path)
        entry = entry_of(path, os.stat(place))._replace(ctime_ns=0)
        found[path] = self.built[path] = entry

    def _prove(self, found: dict[bytes, Entry], *, full: bool = False) -> str:
        """Let hg verify the store that was built, in a repository of ours with links to its files."""
        if not full and sum(entry.size for each, entry in found.items() if each.startswith(b"store/")) > VERIFIED:
            return ""
        shutil.rmtree(self.proof, ignore_errors=True)
        base = os.path.join(os.fsencode(self.proof), b".hg")
        os.makedirs(base)
        for path, entry in sorted(found.items()):
            if path.startswith(b"store") or path in {b"requires", b"bookmarks", b"00changelog.i"}:
                if entry.kind == "d":
                    os.makedirs(os.path.join(base, path), exist_ok=True)
                elif entry.kind == "f":
                    os.makedirs(os.path.dirname(os.path.join(base, path)), exist_ok=True)
                    os.symlink(os.path.join(self.build, path), os.path.join(base, path))
        problem = run_hg(self.proof, self.account)
        shutil.rmtree(self.proof, ignore_errors=True)
        if problem is None:
            self.copier.note("hg is not installed, so mirrors of Mercurial repositories were not verified by it")
        return problem or ""

    # Then: what readers of the mirror see

    def publish(self) -> None:
        """Let the new ``.hg`` and the old one change places, in one step."""
        self._close()
        if self.build != self.place:
            parent = self.path.rpartition(b"/")[0]
            self._need(parent)
            if not is_directory(self.place):
                self.copier.set_aside(self.path, None)
                self.copier.willing(parent, lambda: os.rename(self.build, self.place))
            else:
                kept = self.copier.kept_place(self.path)
                built, self.build = self.build, kept
                os.rename(built, kept)  # whole and proven: nothing else may lie there, whenever this run ends
                _open_to_us(self.place)
                if not self.copier.willing(parent, lambda: exchange(kept, self.place)):
                    os.rename(kept, built)
                    self.copier.willing(parent, lambda: os.rename(self.place, kept))
                    os.rename(built, self.place)
                self._prune()
            self.touched.add(parent)
        self.touched.add(self.path)
        self.touched |= {self.prefix + each for each in self.made}

    def _prune(self) -> None:
        """Leave in ``kept`` only what was replaced or removed."""
        kept = 0
        for base, directories, names in os.walk(self.build, topdown=False):
            _open_to_us(base)
            for name in names:
                place = os.path.join(base, name)
                if os.path.relpath(place, self.build) in self.linked:
                    os.unlink(place)
                else:
                    kept += os.lstat(place).st_size
            for name in directories:
                with suppress(OSError):
                    os.rmdir(os.path.join(base, name))
        with suppress(OSError):
            os.rmdir(self.build)
        self.copier.count(kept=kept)

    def remove(self) -> None:
        """Do nothing: what the source has no more is not in the new directory."""

    def settle(self) -> None:
        """Do nothing: logs that are written again in the same moment have another size."""

    def final(self) -> dict[bytes, Entry]:
        """Return what the mirror holds now."""
        final = {self.prefix + each: entry._replace(path=self.prefix + each) for each, entry in self.built.items()}
        for each in self.made:
            path = self.prefix + each
            if path in self.seen:
                final[path] = self.seen[path]
            else:
                with suppress(OSError):
                    final[path] = entry_of(path, os.lstat(os.path.join(self.copier.source_path, path)))
        return final

    def held(self) -> dict[bytes, Entry]:
        """Return what the mirror holds where nothing was published: what it held."""
        return self.have


class Log:
    """The index of a revision log.

    :param path: of the ``.i`` file.
    """

    def __init__(self, path: bytes) -> None:
        with open(path, "rb") as file:
            self.data = file.read()
        self.known = True
        self.inline = False
        if self.data:
            (header,) = struct.unpack(">I", self.data[:4].ljust(4, b"\0"))
            self.known = header & 0xFFFF == 1
            self.inline = bool(header & INLINE)
        self.starts = list(self._starts()) if self.known else []
        self.count = len(self.starts)

    def _starts(self) -> Iterator[int]:
        """Yield where each whole revision begins."""
        if not self.inline:
            yield from range(0, len(self.data) - REVISION_SIZE + 1, REVISION_SIZE)
            return
        at = 0
        while at + REVISION_SIZE <= len(self.data):
            end = at + REVISION_SIZE + max(0, REVISION.unpack_from(self.data, at)[1])
            if end > len(self.data):
                return
            yield at
            at = end

    def before(self, changesets: int) -> int:
        """Return how many revisions there are before the first that belongs to a later changeset."""
        count = self.count
        while count and REVISION.unpack_from(self.data, self.starts[count - 1])[4] >= changesets:
            count -= 1
        return count

    def sizes(self, count: int) -> tuple[int, int]:
        """Return how long index and data are with so many revisions."""
        if not count:
            return 0, 0
        start = self.starts[count - 1]
        offset, size = REVISION.unpack_from(self.data, start)[:2]
        if self.inline:
            return start + REVISION_SIZE + size, 0
        return start + REVISION_SIZE, (offset >> 16 if count > 1 else 0) + size


def _rank(path: bytes) -> int:
    """Return when a file is to be read: what names changesets, the changelog, what changesets need, the list of files."""
    if not path.startswith(b"store/") or path in {b"store/phaseroots", b"store/obsstore"}:
        return 0
    if path.startswith(b"store/00changelog"):
        return 1
    if path == b"store/fncache":
        return 9
    return 3 if path.endswith(b".d") else 2


def _begins(path: bytes, prefix: bytes) -> bool:
    """Tell whether a file begins with the contents of another."""
    try:
        with open(path, "rb") as whole, open(prefix, "rb") as part:
            while chunk := part.read(1 << 20):
                if whole.read(len(chunk)) != chunk:
                    return False
    except FileNotFoundError:
        return not os.path.lexists(path) and not os.path.lexists(prefix)
    return True


def _open_to_us(path: bytes) -> None:
    """Let a directory be moved to another, and what is in it be removed, where its mode forbids that."""
    if not os.access(path, os.W_OK):
        os.chmod(path, stat.S_IRWXU)


def run_hg(directory: str, account: tuple[int, int] | None) -> str | None:
    """Run ``hg verify`` with no configuration at all.

    :return: nothing if it is content, the first of what it said, or None where hg is not installed.
    """
    requires = read_all(os.path.join(directory, ".hg", "requires")) + read_all(os.path.join(directory, ".hg", "store", "requires"))
    extensions = [f"--config=extensions.{each.decode()}=" for each in _EXTENSIONS if each in requires.split()]
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "HOME": "/nonexistent",
        "HGRCPATH": "",
        "HGRCSKIPREPO": "1",
        "HGPLAIN": "1",
        "HGENCODING": "utf-8",
    }
    extra = give(directory, account)
    command = ["hg", "-R", directory, *extensions, "--noninteractive", "verify"]
    try:
        done = subprocess.run(
            command, env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=HG_SECONDS, **extra
        )
    except FileNotFoundError:
        return None
    except subprocess.TimeoutExpired:
        return "hg did not come to an end"
    said = [each for each in (done.stderr + done.stdout).splitlines() if each]
    if not done.returncode or any(b"requires features unknown" in each for each in said):
        return ""
    wrong = [each for each in said if b"@" in each or each.startswith((b"abort", b" "))] or said
    return f"hg verify says {shown(b'; '.join(wrong[:2]))!r}"


def read_all(path: str) -> bytes:
    """Return a file's contents; nothing if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
