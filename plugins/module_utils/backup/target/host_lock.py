# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lock file on the target, ``backup_root/.repoman/lock``: it shows other hosts which host is working there.

Locks of the kernel do not reach other hosts reliably, so this one is a file. It names host, boot and process, so that a run of
the same host can detect that its writer has ended. A lock of another host is never removed, because its writer cannot be checked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import escape_control_characters
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import iso_time
from ansible_collections.homelab.repoman.plugins.module_utils.files.named_errors import errors_named
from ansible_collections.homelab.repoman.plugins.module_utils.files.small_files import read_limited
from ansible_collections.homelab.repoman.plugins.module_utils.host.machine import boot_id, host_name, machine_id, process_start

MAX_LOCK_BYTES = 64 << 10


class HostLock:
    """The lock file on a target.

    :param state: local state directory of the target. Runs of the same host and state directory share the lock, because the
        kernel's locks in that directory keep them apart. Empty: share it with no other run.
    """

    def __init__(self, target: Target, state: str = "") -> None:
        self.target, self.state = target, state
        self.path = target.internal_path("lock")

    def acquire(self) -> None:
        """Write the lock file, or join the runs of this host that wrote it.

        :raises ConflictError: another host holds it, or a process that may still run.
        """
        process_info = self.describe_process()
        text, draft = json.dumps(process_info), self.target.internal_path(f"lock.{os.getpid()}.new")
        try:
            with errors_named(str(draft)):
                draft.write_text(text, encoding="utf-8")
            for _attempt in range(2):
                if self._create(draft, text):
                    return
                if (stale := check_stale(self.path, process_info)) is None:
                    return  # another run of this host wrote it; the last one that ends removes it
                self._remove_stale(stale, draft)
        finally:
            with suppress(OSError):
                draft.unlink()
        raise ConflictError(f"another run has just started to work on {self.target.root}.", "wait for it to finish")

    def check(self) -> None:
        """Check that no other host is working on the target; write nothing.

        :raises ConflictError: another host holds the lock, or a process that may still run.
        """
        if os.path.lexists(self.path):
            check_stale(self.path, self.describe_process())

    def release(self) -> None:
        """Remove the lock file."""
        self.path.unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock inside a ``with``; see :meth:`acquire`."""
        self.acquire()
        try:
            yield
        finally:
            with suppress(OSError):
                self.release()

    def describe_process(self) -> dict[str, Any]:
        """Return the lock file's description of this process."""
        return describe_process() | ({"state": self.state} if self.state else {})

    def _create(self, draft: Path, text: str) -> bool:
        """Create the lock file with its whole text at once; return False if it exists already."""
        try:
            os.link(draft, self.path)
        except FileExistsError:
            return False
        except OSError:  # the file system has no hard links
            try:
                with errors_named(str(self.path)), open(self.path, "x", encoding="utf-8") as file:
                    file.write(text)
            except FileExistsError:
                return False
        return True

    def _remove_stale(self, stale: str, draft: Path) -> None:
        """Remove the lock file only if it still has this text: another run may have taken it over."""
        aside = draft.with_suffix(".stale")
        with suppress(FileNotFoundError):
            os.rename(self.path, aside)
            if read_limited(aside, MAX_LOCK_BYTES) != stale and not os.path.lexists(self.path):
                os.rename(aside, self.path)
            aside.unlink(missing_ok=True)


def describe_process() -> dict[str, Any]:
    """Return the description of this process that a lock file holds."""
    return {
        "host": host_name(),
        "machine": machine_id(),
        "boot": boot_id(),
        "pid": os.getpid(),
        "started": process_start(os.getpid()),
        "time": iso_time(),
    }


def check_stale(path: Path, process_info: dict[str, Any]) -> str | None:
    """Return the text of a lock file if the run that wrote it has certainly ended; empty if the file is gone; None if this run can share it.

    :param process_info: what this process would write.
    :raises ConflictError: its run is still going on, or may be.
    """
    try:
        text = read_limited(path, MAX_LOCK_BYTES)
        holder = LockHolder.of_text(text, process_info)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError):
        text, holder = "", LockHolder()
    if holder.has_ended:
        return text
    if holder.is_same_host and "state" in process_info and holder.state == process_info["state"]:
        return None
    raise holder.error(path)


@dataclass(frozen=True)
class LockHolder:
    """The run that wrote a lock file, as far as its text can be read.

    :param who: its process, host and time.
    :param state: its local state directory.
    :param is_same_host: it is a run of this host.
    :param has_ended: its process has certainly ended.
    """

    who: str = "an unknown run"
    state: str | None = None
    is_same_host: bool = False
    has_ended: bool = False

    @classmethod
    def of_text(cls, text: str, process_info: dict[str, Any]) -> LockHolder:
        """Return the run that wrote a lock file.

        :param process_info: what this process would write.
        """
        try:
            other = json.loads(text)
            same_host = other["machine"] == process_info["machine"] and other["host"] == process_info["host"]
            dead = same_host and (other["boot"] != process_info["boot"] or other["started"] != process_start(int(other["pid"])))
            who = escape_control_characters(f"process {other['pid']} of {other['host']} since {other['time']}")
            return cls(who, other.get("state"), same_host, dead)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return cls()

    def error(self, path: Path) -> ConflictError:
        """Return the error for a run that is still going on, or may be."""
        return ConflictError(
            f"{path} says that {self.who} is working there.", f"if you are sure that it is not: rm {shell_word(str(path))}"
        )
