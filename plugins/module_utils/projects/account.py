# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The account inside an instance: the host user's name, ids, home and login shell."""

from __future__ import annotations

import os
import posixpath
import re
import secrets
import time
from collections.abc import Container, Iterable

try:
    import yaml
except ImportError:  # the module reports it before it gets here
    yaml = None  # type: ignore[assignment]

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account, filesystem_of
from ansible_collections.homelab.repoman.plugins.module_utils.host.idmap import id_mapping_hints
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.incus.command import another_image_hints
from ansible_collections.homelab.repoman.plugins.module_utils.incus.command_line import client_command
from ansible_collections.homelab.repoman.plugins.module_utils.projects.account_scripts import (
    ENSURE_ACCOUNT_SCRIPT,
    VERIFY_WRITE_SCRIPT,
    WAIT_READY_SCRIPT,
)
from ansible_collections.homelab.repoman.plugins.module_utils.projects.control import InstanceControl

EXEC_TIMEOUT = 60.0
BOOT_TIMEOUT = 30
CLOUD_INIT_TIMEOUT = 300
POLL_INTERVAL = 0.05
USER_DATA = ("cloud-init.user-data", "user.user-data")
VENDOR_DATA = ("cloud-init.vendor-data", "user.vendor-data")
"""The configuration keys for each kind of cloud-init data."""
AS_ROOT = "as root"
"""End of a sentence of the script to which the command for a shell of root belongs."""
INVALID_CHARACTERS = re.compile(r"[:\x00-\x1f\x7f\ud800-\udfff]")
"""Characters that no field of passwd(5) can hold, and those that are not text."""


class InstanceAccount:
    """The user's account in one instance.

    :param instance: the instance.
    """

    def __init__(self, instance: InstanceControl) -> None:
        self.instance = instance
        self.account = instance.context.account

    def create_home(self, targets: Iterable[str]) -> None:
        """Create the home and the parents of mounts in it, owned by the account, in an instance that need not be running.

        :param targets: paths in the instance at which something is mounted.
        """
        for parent in _ancestors(self.account.home):
            self.instance.create_directory(parent, 0, 0)
        for directory in home_directories(self.account, targets):
            self.instance.create_directory(directory, self.account.uid, self.account.gid)

    def wait_until_ready(self) -> None:
        """Wait, with a time limit, until a started instance can run commands and has finished booting, including cloud-init.

        :raises IncusError: it cannot run commands.
        """
        command = ["/bin/sh", "-c", WAIT_READY_SCRIPT, "repoman", str(BOOT_TIMEOUT), str(CLOUD_INIT_TIMEOUT)]
        deadline = time.monotonic() + EXEC_TIMEOUT
        while True:
            try:
                self.instance.exec(command, BOOT_TIMEOUT + CLOUD_INIT_TIMEOUT + EXEC_TIMEOUT)
            except incus.IncusError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_INTERVAL)
            else:
                return

    def ensure(self, sudo: bool, is_new: bool = False) -> list[str]:
        """Make sure that the account exists in a running instance; waits until that is ready.

        :param sudo: whether it may become root.
        :param is_new: whether the instance was just made from its image: then an account of the image loses what would let it become root.
        :returns: sentences about changes to an account of the image, and about what lets one of an older instance become root.
        :raises RepomanError: the image has an account of that name or uid that cannot be taken over.
        """
        self.wait_until_ready()
        account = self.account
        arguments = [account.name, str(account.uid), str(account.gid), account.group, account.home, account.shell]
        arguments += [*("yes" if flag else "no" for flag in (sudo, is_new)), self.instance.name]
        code, stderr = self.instance.exec(["/bin/sh", "-c", ENSURE_ACCOUNT_SCRIPT, "repoman", *arguments], EXEC_TIMEOUT)
        if code:
            raise RepomanError(
                f"cannot create the account {account.name!r} in the container: {stderr.strip() or f'exit status {code}'}.",
                *another_image_hints(self.instance.name),
            )
        root_shell = self.instance.context.instance_command("exec", self.instance.name, "-- sh")
        return [f"{line}: {root_shell}" if line.endswith(AS_ROOT) else line for line in stderr.splitlines()]

    def verify_write_access(self, container_path: str, host_path: str) -> None:
        """Check that the account can write to the repository, and that on the host its files are the user's.

        :param container_path: of the repository.
        :param host_path: of the repository.
        :raises RepomanError: it cannot, or its file is not the user's; the message names the file system.
        """
        account = self.account
        probe = f".repoman-probe-{secrets.token_hex(8)}"
        path = os.path.join(host_path, probe)
        try:
            command = ["/bin/sh", "-c", VERIFY_WRITE_SCRIPT, "repoman", account.name, container_path, probe]
            code, stderr = self.instance.exec(command, EXEC_TIMEOUT)
            if code:
                raise RepomanError(
                    f"{account.name!r} cannot write to {container_path} from inside the container: {stderr.strip() or f'exit status {code}'}.",
                    f"the repository must be {account.name!r}'s and writable; it is owned by uid {os.stat(host_path).st_uid}, on {filesystem_of(host_path)}",
                )
            status = os.lstat(path)
            if (status.st_uid, status.st_gid) != (account.uid, account.gid):
                raise RepomanError(
                    f"a file created in the container belongs to {status.st_uid}:{status.st_gid} on the host, not to {account.uid}:{account.gid}.",
                    *id_mapping_hints(host_path, client_command(self.instance.context.client.path, "info local:")),
                )
        except FileNotFoundError as error:
            raise RepomanError(
                f"a file created in {container_path} in the container does not appear in {host_path}.",
                "check whether another device is mounted over it",
                "on another member of a cluster, the repository must be on a file system that all members share",
            ) from error
        finally:
            if os.path.lexists(path):
                os.unlink(path)


def home_directories(account: Account, targets: Iterable[str]) -> list[str]:
    """Return the home and the directories in it that must exist before the first start, parents first.

    Incus would create them as root, and the user could not write to them.

    :param targets: paths in the instance at which something is mounted.
    """
    needed = {account.home}
    for target in targets:
        parent = posixpath.dirname(posixpath.normpath(target))
        while parent.startswith(f"{account.home}/"):
            needed.add(parent)
            parent = posixpath.dirname(parent)
    return sorted(needed)


def validate_account(account: Account) -> None:
    """Check that passwd(5) can hold an account.

    :raises NotFoundError: its name, group, home or shell has a character that is not allowed there.
    """
    for field, value in (("name", account.name), ("group", account.group), ("home", account.home), ("shell", account.shell)):
        is_name = field in ("name", "group")
        if (
            not value
            or INVALID_CHARACTERS.search(value)
            or (is_name and (value.startswith(("-", "+", "~")) or "/" in value or "," in value))
        ):
            raise NotFoundError(
                f"{value!r} cannot be the {field} of an account in a container.",
                "getent passwd $(id -u)   shows what this host has",
                "the environment variables USER and HOME override it",
            )


def cloud_init_config(account: Account, existing_keys: Container[str]) -> dict[str, str]:
    """Return the configuration that makes cloud-init create the account, and no default user.

    Only for the first start of an instance: cloud-init would start over if it changed. An image without cloud-init
    ignores it. Every part of a command is a separate string, so that no name can be read as anything else.

    :param existing_keys: configuration keys that the instance has from elsewhere. User data among them is the user's own, so the
        account goes into the vendor data; if that exists too, the account is only created after the start.
    """
    keys = next((keys for keys in (USER_DATA, VENDOR_DATA) if not any(key in existing_keys for key in keys)), None)
    if keys is None:
        return {}
    document = {
        "bootcmd": [["cloud-init-per", "once", "repoman-group", "groupadd", "--gid", str(account.gid), "--", account.group]],
        "users": [
            {
                "name": account.name,
                "uid": account.uid,
                "primary_group": str(account.gid),
                "create_groups": False,
                "homedir": account.home,
                "shell": account.shell,
                "lock_passwd": True,
            }
        ],
    }
    return {keys[0]: f"#cloud-config\n{yaml.safe_dump(document)}"}


def _ancestors(path: str) -> list[str]:
    """Return the directories above ``path``, without the root, parents first."""
    parents: list[str] = []
    while (path := posixpath.dirname(path)) != "/":
        parents.insert(0, path)
    return parents
