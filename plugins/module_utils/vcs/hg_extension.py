# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Mercurial extension: hg only reads, and has two commands, ``repoman-state`` and ``repoman-verify``.

hg itself loads it, from a copy; importing it elsewhere does nothing. Without it, as where this Mercurial has not what it
changes, the commands do not exist, so that nothing runs unprotected. Writing is forbidden because even ``hg status``
writes: caches and the dirstate, through whatever links lie in ``.hg``.
"""

from __future__ import annotations

import errno
import json
import os
from typing import Any

cmdtable: dict[bytes, Any] = {}
testedwith = b"6.3 6.7 7.0"
ROOT: list[bytes] = [b"/nonexistent"]
"""The directory of the repository."""
USERS: set[bytes] = set()
"""What the user ignores everywhere: files of patterns that our command line names."""
WRITING = "chmod makedir makedirs makelock mkdir mkstemp rename removedirs rmdir rmtree setflags symlink tryunlink unlink unlinkpath utime"


def refuse(*arguments: Any, **options: Any) -> Any:
    """Refuse to write, as a file system that is mounted read-only does."""
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), b".hg")


def read_inside(read: Any) -> Any:
    """Return what reads a file of patterns, such as ``.hgignore`` and what it includes, only in the repository, or if it is the user's.

    An error in such a file is told with the line that holds it, and so with a line of a file that is none.
    """

    def inside(path: bytes, *arguments: Any, **options: Any) -> Any:
        if path not in USERS and not os.path.realpath(path).startswith(b"%s/" % os.path.realpath(ROOT[0])):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return read(path, *arguments, **options)

    return inside


class NoLock:
    """Stands for a lock where nothing can be written anyway."""

    def __enter__(self) -> NoLock:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def release(self, *arguments: Any) -> None:
        """Do nothing."""


def uisetup(ui: Any) -> None:
    """Make hg read only, and add the commands."""
    from mercurial import match, registrar, util, vfs

    plain_open = vfs.vfs.__call__

    def read_only(self: Any, path: bytes, mode: bytes = b"r", *arguments: Any, **options: Any) -> Any:
        if mode not in (b"r", b"rb"):
            refuse()
        return plain_open(self, path, mode, *arguments, **options)

    vfs.vfs.__call__ = read_only
    for name in WRITING.split():
        for holder in (vfs.abstractvfs, vfs.vfs):
            if name in vars(holder):
                setattr(holder, name, refuse)
    match.readpatternfile = read_inside(match.readpatternfile)
    util.checkexec = util.checklink = lambda path: True
    command = registrar.command(cmdtable)
    command(b"repoman-state", [], b"")(state)
    command(b"repoman-verify", [], b"")(verify)


def reposetup(ui: Any, repo: Any) -> None:
    """Remember where the repository is, and what may be read besides."""
    from mercurial import util

    ROOT[:] = [repo.root]
    USERS.update(os.path.join(repo.root, util.expandpath(path)) for key, path in ui.configitems(b"ui") if key.startswith(b"ignore."))


def state(ui: Any, repo: Any) -> None:
    """Print the state of the working directory as JSON."""
    from mercurial import mergestate

    here = repo[b"."]
    found = repo.status(unknown=True)
    said = {
        "branch": repo.dirstate.branch().decode("utf-8", "replace"),
        "bookmark": (repo._activebookmark or b"").decode("utf-8", "replace"),
        "commit": here.hex().decode() if here.rev() >= 0 else "",
        "seconds": int(here.date()[0]) if here.rev() >= 0 else None,
        "unstaged": len({*found.modified, *found.added, *found.removed, *found.deleted}),
        "untracked": len(found.unknown),
        "conflicts": len(list(mergestate.mergestate.read(repo).unresolved())),
        "ahead": len(repo.revs(b"::. and not public()")),
        "behind": len(repo.revs(b"((.::) - .) and branch(.)")),
    }
    ui.write(json.dumps(said).encode())


def verify(ui: Any, repo: Any) -> int:
    """Verify the history; returns whether it is damaged."""
    from mercurial import hg, localrepo

    localrepo.localrepository.lock = localrepo.localrepository.wlock = lambda *arguments, **options: NoLock()
    return int(hg.verify(repo))
