# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The account inside an instance: the host user's name, ids, home and login shell; :mod:`projects.instance_setup` makes it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Container, Iterable

try:
    import yaml
except ImportError:  # the module reports it before it gets here
    yaml = None  # type: ignore[assignment]

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import HTTP_NOT_FOUND, IncusError
from ansible_collections.homelab.repoman.plugins.module_utils.projects.control import InstanceControl

USER_DATA = ("cloud-init.user-data", "user.user-data")
VENDOR_DATA = ("cloud-init.vendor-data", "user.vendor-data")
"""The configuration keys for each kind of cloud-init data."""
INVALID_CHARACTERS = re.compile(r"[:\x00-\x1f\x7f\ud800-\udfff]")
"""Characters that no field of passwd(5) can hold, and those that are not text."""


def create_home(instance: InstanceControl, targets: Iterable[str]) -> None:
    """Create the home and the parents of mounts in it, owned by the account, in an instance that need not be running.

    :param targets: paths in the instance at which something is mounted.
    """
    account = instance.context.account
    home, *others = home_directories(account, targets)
    try:
        instance.create_directory(home, account.uid, account.gid)
    except IncusError as error:
        if error.code != HTTP_NOT_FOUND:
            raise
        for parent in _ancestors(home):
            instance.create_directory(parent, 0, 0)
        instance.create_directory(home, account.uid, account.gid)
    for directory in others:
        instance.create_directory(directory, account.uid, account.gid)


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
