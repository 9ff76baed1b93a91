# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan to restore settings: which files of the backup differ from those of this host, and how each is replaced."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.files import (
    REGISTRY,
    Places,
    SettingsFile,
    check_answers,
    read_file,
    without_last_sync,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, Step
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import ensure_private_directory, write_atomic_bytes
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
    :param saved: where the current content is saved first.
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

    :param places: where they are on this host.
    :param files: the files of the backup, by relative name.
    :param saved: directory for what is replaced, which does not exist yet.
    :param account: owner of new files if this process is root.
    :raises RepomanError: a file of this host cannot be read.
    """

    def __init__(self, places: Places, files: Mapping[str, SettingsFile], saved: str, account: Account) -> None:
        self.places, self.saved, self.account = places, saved, account
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
        """Return the steps. If one fails, the others are undone."""
        return Plan([self._step(each) for each in self.replacements])

    def _step(self, replacement: Replacement) -> Step:
        def apply() -> None:
            if replacement.old is not None:
                self._write(replacement.saved, replacement.old)
            self._write(replacement.real_path, replacement.new)

        def undo() -> None:
            if replacement.old is not None:
                self._write(replacement.real_path, replacement.old)
            else:
                with suppress(FileNotFoundError):
                    os.unlink(replacement.real_path)

        return Step(replacement.description, apply, undo=undo)

    def _write(self, path: str, file: SettingsFile) -> None:
        ensure_private_directory(os.path.dirname(path), self.account)
        write_atomic_bytes(path, file.data, self.account, mtime_ns=file.mtime_ns or None)

    def diff(self) -> list[dict[str, str]]:
        """Return the paths of the files that change, in the form that Ansible shows; never their content."""
        lines = [f"{'+' if each.old is None else '~'} {escape_path(os.fsencode(each.path))}\n" for each in self.replacements]
        return [{"prepared": "".join(lines)}] if lines else []


def _content(name: str, file: SettingsFile) -> bytes:
    return without_last_sync(file.data) if name == REGISTRY else file.data
