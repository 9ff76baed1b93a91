# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the settings of this host to the target. Replaced and removed files are copied to the history first.

Everything is written and removed through open directories, so that a link in the backup cannot redirect it. Anything of the
wrong type gives way: a file or directory moves to the history, a link or a pipe is removed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.compare import Changes
from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.files import SUFFIXES, HostSettings, digest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.stored import NOT_DIRECTORY, OWNER, Owner, StoredSettings
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import write_atomic_bytes
from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import LIST
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import make_private
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account

PRIVATE = 0o600


class SettingsWriter:
    """Writes changes of the settings to the target.

    :param account: owner of new files if this process is root.
    :ivar bytes: bytes written.
    :ivar kept_bytes: bytes copied to the history.
    """

    def __init__(self, stored: StoredSettings, account: Account) -> None:
        self.stored, self.account = stored, account
        self.bytes = self.kept_bytes = 0
        self._kept = Path()
        self._fds: dict[str, int] = {}

    def write(self, changes: Changes, settings: HostSettings, me: Owner, history: Callable[[list[str] | None], Path]) -> None:
        """Write the changes. At any moment each file has its old or its new content, and what it loses is in the history already.

        :param history: takes the names of the files that will be created, None for all, and returns the directory for what is replaced.
        :raises RepomanError: a file cannot be written. Also :class:`OSError`.
        """
        self._kept = history(None if changes.is_first else list(changes.created))
        with ExitStack() as stack:
            stack.callback(self._close)
            self._remove_leftovers()
            for name in (*changes.changed, *changes.removed, OWNER):
                self._keep(name)
            for name in (*changes.created, *changes.changed):
                file = settings.files[name]
                self._write(name, file.data, file.mtime_ns)
            for name in changes.removed:
                with self._errors_name(name), suppress(FileNotFoundError):
                    os.unlink(os.path.basename(name), dir_fd=self._directory_of(name))
            digests = {name: digest(name, file.data) for name, file in settings.files.items()}
            digests |= self.stored.other_digests(settings.files)
            self._write(OWNER, Owner(me.host, me.user, me.home, me.time, digests).as_json(), None)

    def _close(self) -> None:
        while self._fds:
            os.close(self._fds.popitem()[1])

    @contextmanager
    def _errors_name(self, name: str) -> Iterator[None]:
        """Let an :class:`OSError` name the whole path of a file of the settings."""
        try:
            yield
        except OSError as error:
            error.filename, error.filename2 = str(self.stored.directory / name), None
            raise

    def _directory_of(self, name: str) -> int:
        """Return the descriptor of the directory that a file is in. It is created, and anything else of its name gives way."""
        directory = name.rpartition("/")[0]
        if directory not in self._fds:
            if directory:
                self._fds[directory] = self._open(self._directory_of(directory), directory, directory)
            else:
                internal_fd = os.open(self.stored.directory.parent, LIST)
                try:
                    self._fds[""] = self._open(internal_fd, self.stored.directory.name, "")
                finally:
                    os.close(internal_fd)
        return self._fds[directory]

    def _open(self, above_fd: int, entry: str, name: str) -> int:
        with self._errors_name(name):
            try:
                return os.open(entry, LIST, dir_fd=above_fd)
            except OSError as error:
                if error.errno in NOT_DIRECTORY:
                    self._give_way(above_fd, entry)
                elif not isinstance(error, FileNotFoundError):
                    raise
            os.mkdir(entry, 0o700, dir_fd=above_fd)
            return os.open(entry, LIST, dir_fd=above_fd)

    def _give_way(self, directory_fd: int, entry: str, name: str | None = None) -> None:
        """Move a file or directory to the history; remove a link, a pipe or the like, which has no content.

        :param name: its name in the history, by default the same.
        """
        status = os.stat(entry, dir_fd=directory_fd, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            kept = self._kept / (name or entry)
            make_private(str(kept.parent))
            os.rename(entry, kept, src_dir_fd=directory_fd)
        else:
            os.unlink(entry, dir_fd=directory_fd)

    def _remove_leftovers(self) -> None:
        """Remove the temporary files of killed runs."""
        for directory in ("", *SUFFIXES):
            for entry in self.stored.list_directory(directory):
                if entry.startswith(".") and entry.endswith(".new"):
                    name = f"{directory}/{entry}" if directory else entry
                    with self._errors_name(name):
                        self._remove_leftover(name, entry)

    def _remove_leftover(self, name: str, entry: str) -> None:
        directory_fd = self._directory_of(name)
        try:
            os.unlink(entry, dir_fd=directory_fd)
        except FileNotFoundError:
            return
        except IsADirectoryError:  # in the history without the dot, or it would be in the way there
            self._give_way(directory_fd, entry, name.removesuffix(entry) + entry[1:])

    def _keep(self, name: str) -> None:
        """Copy a stored file to the history; a rename would leave a moment without the file. Anything but a regular file gives way."""
        try:
            data, mtime_ns = self.stored.read(name)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError:
            if name != OWNER and self.stored.is_sound(name):
                raise
            with self._errors_name(name):
                self._give_way(self._directory_of(name), os.path.basename(name), name)
            return
        kept = self._kept / name
        make_private(str(kept.parent))
        write_atomic_bytes(str(kept), data, self.account, mtime_ns=mtime_ns, mode=PRIVATE)
        self.kept_bytes += len(data)

    def _write(self, name: str, data: bytes, mtime_ns: int | None) -> None:
        directory_fd = self._directory_of(name)
        path = str(self.stored.directory / name)
        write_atomic_bytes(path, data, self.account, mtime_ns=mtime_ns, mode=PRIVATE, directory_fd=directory_fd)
        self.bytes += len(data)
