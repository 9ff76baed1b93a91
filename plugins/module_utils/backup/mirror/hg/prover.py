# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Mercurial extension with one command, ``repoman-prove``: it verifies a repository, or only what was added to it.

hg loads a copy of this file; importing it anywhere else does nothing. The command prints one line of JSON for each problem, and a last
line if it completed. Revisions are read with hg's own code, so they are verified against their nodes whatever their compression.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, NoReturn

cmdtable: dict[bytes, Any] = {}
testedwith = b"6.3 6.7 7.0 7.2"
MAX_PROBLEMS = 50
"""Maximum number of problems to report."""
HARMLESS = (
    b"points to unexpected changeset",
    b"in manifest but not in changeset",
    b"in changeset but not in manifest",
    b"checking rename of",
    b"copy source",
)
"""Messages of ``hg verify`` about histories written by old versions, although no revision is damaged or missing."""
INCOMPATIBLE = (AttributeError, ImportError, NameError, NotImplementedError)
"""Errors of this extension in a version of Mercurial that it does not fit; they must not be mistaken for damage."""
_BOOKMARK = re.compile(rb"(?:[0-9a-f]{40}|[0-9a-f]{64}) [^\0\r\n]+\Z")


def uisetup(ui: Any) -> None:
    """Add the command."""
    from mercurial import registrar

    registrar.command(cmdtable)(b"repoman-prove", [], b"JOB")(prove)


def prove(ui: Any, repo: Any, job: bytes) -> NoReturn:
    """Verify what a JSON file describes, and print the problems.

    :param job: path of the file, with the fields of ``proof.ProofJob``.
    """
    with open(job, encoding="utf-8") as file:
        prover = _Prover(repo.unfiltered(), json.load(file))
    prover.run()
    for problem in prover.problems[:MAX_PROBLEMS]:
        ui.write(b"repoman %s\n" % json.dumps(problem).encode())
    ui.write(b"repoman done\n")
    ui.flush()
    os._exit(0)  # freeing all modules and objects would take an eighth of the time; there is no transaction to close


class _Prover:
    """Verifies one repository.

    :param job: ``revlogs``: path below ``.hg`` and first revision to verify of each revlog; ``since``: the first changeset that must have
        all its files, -1 for the whole history; ``parents``: the working directory's parents must be in the history.
    """

    def __init__(self, repo: Any, job: dict[str, Any]) -> None:
        self.repo, self.job = repo, job
        self.problems: list[dict[str, Any]] = []

    def run(self) -> None:
        self._verify_state_files()
        revlogs = self.job["revlogs"]
        if self.job["since"] < 0:
            self._run_hg_verify()
            # hg verify only reads the deltas of manifests. After a problem, everything is read again to find the damaged revisions.
            revlogs = revlogs if self.problems else [each for each in revlogs if each[0].endswith("00manifest.i")]
        for path, first in revlogs:
            self._verify_revlog(os.fsencode(path), first)
        if self.job["since"] >= 0 and not self.problems:
            self._verify_connectivity()

    def _add(self, path: bytes, message: object, rev: int = -1, link: int = -1) -> None:
        text = message if isinstance(message, bytes) else str(message).encode("utf-8", "backslashreplace")
        self.problems.append({"path": os.fsdecode(path), "rev": rev, "link": link, "text": text.decode("utf-8", "backslashreplace")})

    # Files that are not revlogs

    def _verify_state_files(self) -> None:
        repo = self.repo
        self._try(b"store/phaseroots", lambda: repo._phasecache)
        self._try(b"store/obsstore", lambda: list(repo.obsstore))
        for path in (b"bookmarks", b"store/bookmarks"):
            self._try(path, lambda path=path: self._bookmarks(path))
        self._try(b"store/fncache", self._fncache)
        if self.job["parents"]:
            self._try(b"dirstate", self._dirstate)

    def _try(self, path: bytes, do: Any) -> None:
        try:
            if os.path.lexists(os.path.join(self.repo.path, path)):
                do()
        except INCOMPATIBLE:
            raise
        except Exception as error:
            self._add(path, _reason(error))

    def _lines(self, path: bytes) -> list[bytes]:
        with open(os.path.join(self.repo.path, path), "rb") as file:
            data = file.read()
        if data and not data.endswith(b"\n"):
            raise ValueError("its last line is incomplete")
        return data.splitlines()

    def _bookmarks(self, path: bytes) -> None:
        for line in self._lines(path):
            if line.strip() and not _BOOKMARK.match(line):
                raise ValueError("it has a line that is not a bookmark")

    def _fncache(self) -> None:
        if any(b"\0" in line or not line for line in self._lines(b"store/fncache")):
            raise ValueError("it has a line that is not a file's name")

    def _dirstate(self) -> None:
        dirstate = self.repo.dirstate
        list(dirstate)
        for parent in dirstate._pl:
            if parent != self.repo.nodeconstants.nullid and not self.repo.changelog.hasnode(parent):
                raise ValueError("the parent of the working directory is not in the history")

    # Revlogs

    def _run_hg_verify(self) -> None:
        from mercurial import verify

        prover = self

        verifier: Any = verify.verifier

        class Verifier(verifier):  # type: ignore[misc]
            def _err(self, linkrev: Any, msg: bytes, filename: Any = None) -> None:
                self.errors += 1
                if not any(each in msg for each in HARMLESS):
                    prover._add(prover._path(filename), msg, link=-1 if linkrev is None else linkrev)

            def _warn(self, msg: bytes) -> None:
                self.warnings += 1

        self.repo.ui.setconfig(b"censor", b"policy", b"ignore")
        Verifier._verify_dirstate = lambda _self: 0
        Verifier(self.repo).verify()

    def _path(self, name: bytes | None) -> bytes:
        """Return the path of the index that hg's messages call by this name; empty without a name."""
        if not name:
            return b""
        if name in (b"changelog", b"manifest"):
            return b"store/00%s.i" % name
        inner = b"meta/%s00manifest.i" if name.endswith(b"/") else b"data/%s.i"
        return b"store/%s" % self.repo.store.encode(inner % name)

    def _verify_revlog(self, path: bytes, first: int) -> None:
        from mercurial import error

        try:
            revlog = self._open_revlog(path)
            data, index = revlog.checksize()
            if data or index:
                self._add(path, f"its length is off by {data or index} bytes", len(revlog))
        except INCOMPATIBLE:
            raise
        except Exception as problem:
            self._add(path, _reason(problem))
            return
        for rev in range(first, len(revlog)):
            try:
                self._read_revision(revlog, rev)
            except error.CensoredNodeError:
                continue
            except INCOMPATIBLE:
                raise
            except Exception as problem:
                self._add(path, _reason(problem), rev, revlog.linkrev(rev))
                if len(self.problems) > MAX_PROBLEMS:
                    return

    def _read_revision(self, revlog: Any, rev: int) -> None:
        """Read a revision, which verifies it against its node."""
        from mercurial.revlogutils import constants

        flags = revlog.flags(rev)
        if flags & constants.REVIDX_EXTSTORED:
            text = revlog.rawdata(rev)
            store = getattr(self.repo.svfs, "lfslocalblobstore", None)
            if store is None or not text.startswith(b"version "):
                return
            match = re.search(rb"^oid sha256:([0-9a-f]{64})$", text, re.MULTILINE)
            if match is None:
                raise ValueError("its pointer to a large file is damaged")
            if store.has(match[1]):
                revlog.revision(rev)
        elif flags & constants.REVIDX_ELLIPSIS:
            revlog.rawdata(rev)
        else:
            revlog.revision(rev)

    def _open_revlog(self, path: bytes) -> Any:
        """Open a revlog to read it.

        :raises NotImplementedError: this version of Mercurial requires other parameters; that is not damage.
        """
        import inspect

        from mercurial import error, revlog, vfs
        from mercurial.revlogutils import constants

        inner = path[len(b"store/") :]
        kind, name = constants.KIND_FILELOG, inner
        if inner.startswith(b"00changelog"):
            kind, name = constants.KIND_CHANGELOG, b""
        elif inner.endswith(b"00manifest.i"):
            kind, name = constants.KIND_MANIFESTLOG, b""
        opener = vfs.vfs(self.repo.spath)
        opener.options = dict(self.repo.svfs.options)
        for attribute in ("lfslocalblobstore", "lfsremoteblobstore"):
            if hasattr(self.repo.svfs, attribute):
                setattr(opener, attribute, getattr(self.repo.svfs, attribute))
        # Mercurial 7.2 requires it of filelogs; earlier versions do not have it.
        reading = {"writable": False} if "writable" in inspect.signature(revlog.revlog).parameters else {}
        try:
            return revlog.revlog(opener, target=(kind, name), radix=inner[:-2], censorable=kind == constants.KIND_FILELOG, **reading)
        except error.ProgrammingError as problem:
            raise NotImplementedError(str(problem)) from problem

    def _verify_connectivity(self) -> None:
        """Verify that new changesets have their manifests and files."""
        repo, match = self.repo, self.repo.narrowmatch()
        for rev in range(self.job["since"], len(repo.changelog)):
            try:
                manifest, _user, _date, files, *_more = repo.changelog.read(repo.changelog.node(rev))
                if manifest == repo.nodeconstants.nullid:
                    continue
                manifest_files = repo.manifestlog[manifest].read()
            except Exception as error:
                self._add(b"store/00manifest.i", _reason(error), link=rev)
                continue
            for name in files:
                try:
                    if match(name) and name in manifest_files:
                        repo.file(name).rev(manifest_files[name])
                except Exception as error:
                    self._add(self._path(name), _reason(error), link=rev)


def _reason(error: BaseException) -> bytes:
    text = bytes(error) if hasattr(error, "__bytes__") else str(error).encode("utf-8", "backslashreplace")
    return text or type(error).__name__.encode()
