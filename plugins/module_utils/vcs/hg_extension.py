# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Mercurial extension that makes hg read-only and adds the command ``repoman-state``.

hg loads a copy of this file; importing it anywhere else does nothing. If it does not fit this version of Mercurial, the command does not
exist, so that hg never runs unprotected. Writing is denied because even ``hg status`` writes caches and the dirstate, through any links
in ``.hg``.
"""

from __future__ import annotations

import errno
import json
import os
from typing import Any, NoReturn

cmdtable: dict[bytes, Any] = {}
testedwith = b"6.3 6.7 7.0"
ROOT: list[bytes] = [b"/nonexistent"]
"""The directory of the repository."""
USER_IGNORE_FILES: set[bytes] = set()
"""The user's own pattern files, named by options on the command line."""
WRITE_METHODS = (
    "chmod makedir makedirs makelock mkdir mkstemp rename removedirs rmdir rmtree setflags symlink tryunlink unlink unlinkpath utime"
)


def deny_write(*arguments: Any, **options: Any) -> Any:
    """Fail like a read-only file system."""
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), b".hg")


def restrict_to_repository(read: Any) -> Any:
    """Return a function that reads pattern files, such as ``.hgignore`` and its includes, only in the repository; also the user's own.

    hg's error messages quote the pattern file. Without this restriction, an include could make them quote any file of the host.

    :param read: hg's own function.
    """

    def read_inside(path: bytes, *arguments: Any, **options: Any) -> Any:
        if path not in USER_IGNORE_FILES and not os.path.realpath(path).startswith(b"%s/" % os.path.realpath(ROOT[0])):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return read(path, *arguments, **options)

    return read_inside


def uisetup(ui: Any) -> None:
    """Make hg read-only, and add the command."""
    from mercurial import match, registrar, util, vfs

    plain_open = vfs.vfs.__call__

    def read_only(self: Any, path: bytes, mode: bytes = b"r", *arguments: Any, **options: Any) -> Any:
        if mode not in (b"r", b"rb"):
            deny_write()
        return plain_open(self, path, mode, *arguments, **options)

    vfs.vfs.__call__ = read_only
    for name in WRITE_METHODS.split():
        for holder in (vfs.abstractvfs, vfs.vfs):
            if name in vars(holder):
                setattr(holder, name, deny_write)
    match.readpatternfile = restrict_to_repository(match.readpatternfile)
    util.checkexec = util.checklink = lambda path: True
    registrar.command(cmdtable)(b"repoman-state", [], b"")(state)


def reposetup(ui: Any, repo: Any) -> None:
    """Remember the repository's directory and the user's pattern files."""
    from mercurial import util

    ROOT[:] = [repo.root]
    USER_IGNORE_FILES.update(
        os.path.join(repo.root, util.expandpath(path)) for key, path in ui.configitems(b"ui") if key.startswith(b"ignore.")
    )


def state(ui: Any, repo: Any) -> NoReturn:
    """Print the state of the working directory as JSON."""
    from mercurial import mergestate

    parent = repo[b"."]
    status = repo.status(unknown=True)
    result = {
        "branch": repo.dirstate.branch().decode("utf-8", "replace"),
        "bookmark": (repo._activebookmark or b"").decode("utf-8", "replace"),
        "commit": parent.hex().decode() if parent.rev() >= 0 else "",
        "seconds": int(parent.date()[0]) if parent.rev() >= 0 else None,
        "unstaged": len({*status.modified, *status.added, *status.removed, *status.deleted}),
        "untracked": len(status.unknown),
        "conflicts": len(list(mergestate.mergestate.read(repo).unresolved())),
        "ahead": len(repo.revs(b"::. and not public()")),
        "behind": len(repo.revs(b"((.::) - .) and branch(.)")),
    }
    ui.write(json.dumps(result).encode())
    ui.flush()
    os._exit(0)  # freeing all modules and objects would take an eighth of the time
