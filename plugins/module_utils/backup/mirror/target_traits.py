# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Capabilities of a target's file system, probed once per mount. Attributes that it cannot store are not differences.

Only a comparison with the mirror itself needs this. Everything is still written as the source has it, and noted if that fails.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry
from ansible_collections.homelab.repoman.plugins.module_utils.files.small_files import read_json

FILE = "traits.json"
MAX_BYTES = 64 << 10
MOUNTINFO = "/proc/self/mountinfo"

STEPS_NS = (100, 1000, 10**6, 10**7, 10**9, 2 * 10**9)
"""The steps in which file systems store times: NTFS and SMB, NFS servers, exFAT, older ext4 and HFS+, FAT."""
EXACT = frozenset({"ext4", "xfs", "btrfs", "tmpfs", "zfs", "f2fs", "bcachefs", "overlay"})
"""File systems that store nanoseconds. Others may return an exact time only while the inode is cached."""
_PROBED_NS = 1_234_567_891_123_456_789


@dataclass(frozen=True)
class Traits:
    """What a file system can store.

    :param mount: line of the mount table at the time of the test.
    :param exact: it stores times with nanoseconds.
    :param modes: it stores permissions, and mount options do not force them.
    :param owners: root can change the owner of files.
    :param symlinks: it supports symbolic links.
    :param links: it supports hard links.
    :param specials: it supports pipes, and therefore sockets and devices.
    :param case: it distinguishes names that differ only in case.
    """

    mount: str = ""
    exact: bool = True
    modes: bool = True
    owners: bool = True
    symlinks: bool = True
    links: bool = True
    specials: bool = True
    case: bool = True

    def same_as(self, other: Traits) -> bool:
        """Return whether two file systems have the same capabilities, wherever they are mounted."""
        return replace(self, mount="") == replace(other, mount="")

    def can_have(self, entry: Entry) -> bool:
        """Return whether the target can store an entry of this type."""
        return not ((entry.type == "l" and not self.symlinks) or (entry.type in "psbc" and not self.specials))


def tick(traits: Traits, times: Iterable[int]) -> int:
    """Return the step, in nanoseconds, in which a mirror stores times.

    :param times: the times of all entries of the mirror; all of them must be multiples of the step.
    """
    if traits.exact:
        return 1
    steps = list(STEPS_NS)
    for time_ns in times:
        while steps and time_ns % steps[-1]:
            steps.pop()
        if not steps:
            return 1
    return steps[-1]


def same_time(mirrored: int, source: int, step: int) -> bool:
    """Return whether a mirror's time equals the source's, as far as the target can store it."""
    return mirrored == source or (step > 1 and abs(mirrored - source) < step)


def load(work: str) -> Traits:
    """Return the traits of the target; if they are unknown, those of a target that can store everything.

    :param work: repoman's directory for unfinished files.
    """
    traits = assume(work)
    return traits if traits.mount == _mount(work) else Traits()


def assume(work: str) -> Traits:
    """Return the probable traits of the target: those that the last run found, under this mount or an earlier one.

    A plan uses them, because a test writes to the target. They are checked before the plan is applied.
    """
    try:
        return Traits(**read_json(Path(_file(work)), MAX_BYTES))
    except (OSError, ValueError, TypeError):
        return Traits()


def find_out(work: str, temporaries: str) -> None:
    """Test the traits of the target, unless they are known; a trait that cannot be tested counts as present.

    :param work: repoman's directory for unfinished files; the result is stored next to it.
    :param temporaries: this run's own directory on the target.
    """
    mount = _mount(work)
    with suppress(OSError):
        if load(work).mount == mount != "":
            return
        traits = _probe(temporaries, mount)
        draft = os.path.join(temporaries, f"{FILE}.{os.getpid()}.new")
        with open(draft, "w", encoding="utf-8") as file:
            json.dump(asdict(traits), file)
        os.replace(draft, _file(work))


def _file(work: str) -> str:
    return os.path.join(os.path.dirname(work), FILE)


def _mount(path: str) -> str:
    """Return the mount table's line for the file system of a directory; empty if it cannot be determined."""
    with suppress(OSError), open(MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:
        device = os.stat(path).st_dev
        device_number = f"{os.major(device)}:{os.minor(device)}"
        return next((line.strip() for line in file if line.split(" ", 3)[2] == device_number), "")
    return ""


def _probe(temporaries: str, mount: str) -> Traits:
    base = os.path.join(temporaries, f"probe.{os.getpid()}")
    os.mkdir(base, 0o700)
    try:
        path = os.path.join(base, "file")
        with open(path, "xb"):
            pass

        def keeps_modes() -> bool:
            for mode in (0o640, 0o705):
                os.chmod(path, mode)
                if stat.S_IMODE(os.stat(path).st_mode) != mode:
                    return False
            return True

        def keeps_owners() -> bool:
            os.chown(path, 1, 1)
            status = os.stat(path)
            return (status.st_uid, status.st_gid) == (1, 1)

        def keeps_times() -> bool:
            os.utime(path, ns=(_PROBED_NS, _PROBED_NS))
            return os.stat(path).st_mtime_ns == _PROBED_NS

        def keeps_links() -> bool:
            """Over FUSE, such as sshfs, a link can often be made but is then listed as a separate file."""
            os.link(path, os.path.join(base, "link"))
            one, other = os.stat(path), os.stat(os.path.join(base, "link"))
            return one.st_ino == other.st_ino and min(one.st_nlink, other.st_nlink) > 1

        kind = mount.partition(" - ")[2].partition(" ")[0]
        return Traits(
            mount,
            exact=_works(keeps_times) and (not kind or kind in EXACT),
            modes=_works(keeps_modes),
            owners=os.geteuid() != 0 or _works(keeps_owners),
            symlinks=_works(lambda: os.symlink("file", os.path.join(base, "symlink"))),
            links=_works(keeps_links),
            case=not os.path.lexists(os.path.join(base, "FILE")),
            specials=_works(lambda: os.mkfifo(os.path.join(base, "pipe"))),
        )
    finally:
        for name in os.listdir(base):
            os.unlink(os.path.join(base, name))
        os.rmdir(base)


def _works(attempt: Callable[[], bool | None]) -> bool:
    """Return whether an operation succeeds and the target stores its result."""
    try:
        return attempt() is not False
    except OSError:
        return False
