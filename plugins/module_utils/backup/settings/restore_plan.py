# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan to restore settings: which files of the backup differ from those of this host, and how each is replaced."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.files import (
    REGISTRY,
    Places,
    SettingsFile,
    check_answers,
    read_file,
    without_last_sync,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import remove_directory
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, Step
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import (
    commit_staged,
    discard_staged,
    ensure_private_directory,
    stage_bytes,
    staged_path,
    write_atomic_bytes,
    write_new_bytes,
)
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account


@dataclass(frozen=True)
class Replacement:
    """A file to write.

    :param name: its relative name.
    :param path: its path on this host.
    :param real_path: the same with links resolved: a link stays, and what it names is replaced.
    :param new: its new content. A modification time of 0 means now.
    :param old: its current content; None if it does not exist.
    :param saved: path to which the current content is saved first.
    """

    name: str
    path: str
    real_path: str
    new: SettingsFile
    old: SettingsFile | None
    saved: str

    @property
    def description(self) -> str:
        """The step, as a sentence."""
        return f"{'restore' if self.old is None else 'replace'} {escape_path(os.fsencode(self.path))}"


class RestorePlan:
    """Which files of the backup differ from those of this host.

    :param places: the paths of the settings on this host.
    :param files: the files of the backup, by relative name.
    :param saved: directory for what is replaced, which does not exist yet.
    :param account: owner of new files if this process is root.
    :raises RepomanError: a file of this host cannot be read.
    """

    def __init__(self, places: Places, files: Mapping[str, SettingsFile], saved: str, account: Account) -> None:
        self.places, self.saved, self.account = places, saved, account
        self._real_paths: list[str] = []
        self._created: list[str] = []
        self._undo_failed = False
        # The registry comes last: a project that it names already may be made by another run, without its override.
        ordered = sorted(files, key=lambda name: (name == REGISTRY, name))
        self.replacements = [each for name in ordered if (each := self._compare(name, files[name])) is not None]

    def _compare(self, name: str, new: SettingsFile) -> Replacement | None:
        """Return how to replace a file; None if it has that content already."""
        path = self.places.path(name)
        old: SettingsFile | None = None
        try:
            check_answers(path)
            real_path = os.path.realpath(path)
            self._real_paths.append(real_path)
            with suppress(FileNotFoundError):
                old = read_file(real_path)
        except OSError as error:
            raise RepomanError(
                f"{escape_path(os.fsencode(path))} cannot be read, and so not be saved: {error.strerror}; nothing was restored.",
                f"ls -l {shell_word(path)}",
            ) from error
        if old is not None and _content(name, old) == _content(name, new):
            return None
        return Replacement(name, path, real_path, new, old, os.path.join(self.saved, name))

    @property
    def replaces(self) -> bool:
        """Whether an existing file is replaced."""
        return any(each.old is not None for each in self.replacements)

    def plan(self) -> Plan:
        """Return the steps, one for each file. :meth:`apply` applies them."""
        return Plan([self._step(each) for each in self.replacements])

    def apply(self) -> None:
        """Apply the steps. If one fails, the others are undone.

        Everything that needs space is written first, so that a full disk is noticed while all files are as they were. After that, files
        are only renamed, and so is what an undo brings back. Without steps, it removes what a killed run left.

        :raises RepomanError: a file cannot be written; all files are as they were.
        """
        if self.replacements:
            Plan([Step("write the new files", self._stage, undo=self._discard), *self.plan().steps]).apply()
        for path in self._real_paths:
            discard_staged(path)  # of a killed run
            with suppress(OSError):
                os.unlink(_undo_path(path))

    def _stage(self) -> None:
        for path in self._real_paths:  # what a killed run left
            self._unlink(_undo_path(path))
        for each in self.replacements:
            if each.old is not None:
                ensure_private_directory(os.path.dirname(each.saved), self.account)
                write_new_bytes(each.saved, each.old.data, self.account, mtime_ns=each.old.mtime_ns or None)
        for each in self.replacements:
            directory = os.path.dirname(each.real_path)
            if not os.path.isdir(directory):
                self._created.append(directory)
                ensure_private_directory(directory, self.account)
            stage_bytes(each.real_path, each.new.data, self.account, mtime_ns=each.new.mtime_ns or None)
            if each.old is not None:
                self._keep_for_undo(each.real_path, each.old)

    def _keep_for_undo(self, path: str, old: SettingsFile) -> None:
        """Give a file a second name next to it; the saved copy may be on another file system, and has no special mode or owner."""
        try:
            os.link(path, _undo_path(path), follow_symlinks=False)
        except OSError:  # a file system without hard links, or a file of another user
            mode = stat.S_IMODE(os.stat(path).st_mode)
            write_atomic_bytes(_undo_path(path), old.data, self.account, mtime_ns=old.mtime_ns, mode=mode)

    def _discard(self) -> None:
        """Remove everything that was written, after the files are as they were; if one is not, the copies stay."""
        for each in self.replacements:
            self._unlink(staged_path(each.real_path))
        if self._undo_failed:
            return
        for path in self._real_paths:
            self._unlink(_undo_path(path))
        if os.path.lexists(self.saved):
            remove_directory(Path(self.saved))
        for directory in reversed(self._created):
            with suppress(OSError):
                os.rmdir(directory)

    @staticmethod
    def _unlink(path: str) -> None:
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise RepomanError.from_os_error(error) from error

    def _step(self, replacement: Replacement) -> Step:
        path = replacement.real_path

        def undo() -> None:
            try:
                if replacement.old is not None:
                    os.rename(_undo_path(path), path)
                else:
                    with suppress(FileNotFoundError):
                        os.unlink(path)
            except OSError:
                self._undo_failed = True
                raise

        return Step(replacement.description, lambda: commit_staged(path), undo=undo)

    def diff(self) -> list[dict[str, str]]:
        """Return the paths of the files that change, in the form that Ansible shows; never their content."""
        lines = [f"{'+' if each.old is None else '~'} {escape_path(os.fsencode(each.path))}\n" for each in self.replacements]
        return [{"prepared": "".join(lines)}] if lines else []


def _undo_path(path: str) -> str:
    """Return the path of the second name that a file has until all files are replaced."""
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.repoman-old")


def _content(name: str, file: SettingsFile) -> bytes:
    return without_last_sync(file.data) if name == REGISTRY else file.data
