# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the settings of this host to the target. Replaced and removed files are copied to the history first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.compare import Changes
from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.files import HostSettings, digest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.stored import OWNER, Owner, StoredSettings
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import write_atomic_bytes
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

    def write(self, changes: Changes, settings: HostSettings, me: Owner, history: Callable[[list[str] | None], Path]) -> None:
        """Write the changes. At any moment each file has its old or its new content, and what it loses is in the history already.

        :param history: takes the names of the files that will be created, None for all, and returns the directory for what is replaced.
        :raises RepomanError: a file cannot be written. Also :class:`OSError`.
        """
        stored = self.stored
        make_private(str(stored.directory))
        for path in stored.leftovers():
            path.unlink(missing_ok=True)
        kept = history(None if changes.is_first else list(changes.created))
        for name in (*changes.changed, *changes.removed, OWNER):
            self._keep(name, kept)
        for name in (*changes.created, *changes.changed):
            file = settings.files[name]
            self._write(stored.directory / name, file.data, file.mtime_ns)
        for name in changes.removed:
            (stored.directory / name).unlink(missing_ok=True)
        stays = {name: digest(name, stored.read(name)[0]) for name in stored.names() if name not in settings.files}
        digests = stays | {name: digest(name, file.data) for name, file in settings.files.items()}
        owner = Owner(me.host, me.user, me.home, me.time, digests)
        self._write(stored.directory / OWNER, owner.as_json(), None)

    def _keep(self, name: str, kept: Path) -> None:
        """Copy a stored file to the history, unless it is not a regular file. A rename would leave a moment without the file."""
        try:
            data, mtime_ns = self.stored.read(name)
        except FileNotFoundError:
            return
        except OSError:
            if not self.stored.is_file(name):
                return
            raise
        self._write(kept / name, data, mtime_ns, is_history=True)

    def _write(self, path: Path, data: bytes, mtime_ns: int | None, *, is_history: bool = False) -> None:
        make_private(str(path.parent))
        write_atomic_bytes(str(path), data, self.account, mtime_ns=mtime_ns, mode=PRIVATE)
        if is_history:
            self.kept_bytes += len(data)
        else:
            self.bytes += len(data)
