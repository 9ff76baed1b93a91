# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the table of repository kinds is made of.

A kind is built by a few lines of shell, in an empty directory that becomes a unit of the backup, and then changed by a few
more. References such as ``restic#1234`` beside a kind name the public report of a backup tool that such a tree was the matter of.
"""

from __future__ import annotations

from dataclasses import dataclass

GIT_CHANGE = "commit changed"
HG_CHANGE = "hgcommit changed"
TREE_CHANGE = "echo changed >>changed; mkdir -p new; echo new >new/file"


@dataclass(frozen=True)
class Kind:
    """A kind of repository, or of a tree without one.

    :param build: shell; the working directory is the unit, ``$OUT`` an empty directory outside ``repos_root``.
    :param change: shell, in the same place, after the first backup.
    :param git: git directories or work trees whose ``git fsck`` is compared, relative to the unit.
    :param hg: repositories whose ``hg verify`` is compared.
    :param newest: ``git`` or ``hg``: build and prove with the newest one, as a container does whose host is older.
    :param extensions: of Mercurial, which its commands need.
    :param unproven: the host's own program cannot prove it: a note says so.
    :param transient: paths, as rsync's patterns, that are not whole yet or a lock, and are not backed up.
    :param root: only root can build it.
    :param paths: what is restored by path; the first and the last name in the unit where not given.
    :param left_out: notes name what is not followed, and the mirror lacks it.
    :param long: only in ``make test-long``.
    :param xfail: the behaviour that is still missing.
    """

    name: str
    build: str
    change: str = TREE_CHANGE
    git: tuple[str, ...] = ()
    hg: tuple[str, ...] = ()
    newest: str = ""
    extensions: tuple[str, ...] = ()
    unproven: bool = False
    transient: tuple[str, ...] = ()
    root: bool = False
    paths: tuple[str, ...] = ()
    left_out: str = ""
    long: bool = False
    xfail: str = ""


@dataclass(frozen=True)
class Damage:
    """Something that becomes of a sound repository, and must not become of its mirror.

    :param build: a sound repository.
    :param damage: what happens to it after the first backup.
    :param names: a regular expression for the message: which object or file of which repository.
    :param git: as for a kind.
    :param hg: as for a kind.
    :param known: the mirror has, sound, what is damaged: the hint says how it comes back.
    :param mends: ``restore --objects`` makes the source sound again.
    :param xfail: the behaviour that is still missing.
    :param xfail_mended: what is still missing for ``restore --objects`` to mend it.
    """

    name: str
    build: str
    damage: str
    names: str
    git: tuple[str, ...] = ()
    hg: tuple[str, ...] = ()
    known: bool = True
    mends: bool = True
    xfail: str = ""
    xfail_mended: str = ""


PRELUDE = r"""
set -eu
init() { git init -q -b main "$@"; }
commit() { echo "$1" >"file-$1"; echo "$1" >>all; git add -A; git commit -q -m "$1"; }
repository() { mkdir -p "$1"; (cd "$1"; init .; commit 1; commit 2); }
hgcommit() { echo "$1" >"file-$1"; echo "$1" >>all; hg add -q "file-$1" all; hg commit -q -m "$1"; }
hgrepository() { hg init "$1"; (cd "$1"; hgcommit 1; hgcommit 2); }
flip() { chmod u+w "$1"; printf XXXXXXXX | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
object() { o=$(git rev-parse "$1"); echo ".git/objects/$(echo "$o" | cut -c1-2)/$(echo "$o" | cut -c3-)"; }
"""
"""What the shell of each kind knows."""
