# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Facts about this host and its users."""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotCreatedYetError, NotFoundError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host.mounts import parse_mountinfo

LAN_INTERFACE = "br0"
FAR_ADDRESS = "203.0.113.1"
"""An address for documentation, which no network has: the route to it is the default route. Nothing is sent there."""
UNREACHABLE_PREFIXES = ("127.", "169.254.")
"""Starts of addresses that containers cannot reach."""
NO_LAN_ADDRESS = f"neither {LAN_INTERFACE} nor an IPv4 default route"
IP_SECONDS = 10
IP_OUTPUT_BYTES = 1 << 20
HOME_VARIABLE = re.compile(r"\$(?:\{HOME\}|HOME(?!\w))")


@dataclass(frozen=True)
class HostFacts:
    """Values that templates can use.

    :param lan_ip: the host's address for its containers, from the registry; empty if unknown.
    :param user: login name.
    :param home: home directory.
    """

    lan_ip: str
    user: str
    home: str


@dataclass(frozen=True)
class Account:
    """A user of the host.

    :param name: login name.
    :param uid: user id.
    :param gid: id of the primary group.
    :param group: name of the primary group.
    :param home: home directory, absolute.
    :param shell: login shell.
    """

    name: str
    uid: int
    gid: int
    group: str
    home: str
    shell: str

    def expand(self, path: str) -> str:
        """Return ``path`` with a leading ``~`` and every ``$HOME`` replaced by this account's home, normalized."""
        if path == "~" or path.startswith("~/"):
            path = f"$HOME{path[1:]}"
        return os.path.normpath(HOME_VARIABLE.sub(lambda _match: self.home, path))


def get_account(user: str | None = None) -> Account:
    """Return an account of this host.

    :param user: login name. Without it, the user of this process; ``HOME`` and ``USER`` override the user database, ``USER`` only if it is
        a name of this user, because ``su`` keeps the variable of the user who logged in.
    :raises NotCreatedYetError: the user does not exist. :class:`NotFoundError`: the home directory is not an absolute path.
    """
    try:
        entry = pwd.getpwnam(user) if user else pwd.getpwuid(os.getuid())
    except KeyError:
        subject = f"user {user!r}" if user else f"the user with uid {os.getuid()}"
        raise NotCreatedYetError(f"{subject} is not known on this host.", "getent passwd   lists the accounts") from None
    try:
        group = grp.getgrgid(entry.pw_gid).gr_name
    except KeyError:
        group = entry.pw_name
    name, home = entry.pw_name, entry.pw_dir
    if not user:
        name, home = name_if_current_user(os.environ.get("USER")) or name, os.environ.get("HOME") or home
    if not os.path.isabs(home):
        raise NotFoundError(f"the home directory {home!r} of {name!r} is not an absolute path.", "set HOME to one")
    return Account(
        name=name, uid=entry.pw_uid, gid=entry.pw_gid, group=group, home=os.path.normpath(home), shell=entry.pw_shell or "/bin/sh"
    )


def name_if_current_user(name: str | None) -> str | None:
    """Return a login name if it belongs to the user of this process."""
    try:
        return name if name and pwd.getpwnam(name).pw_uid == os.getuid() else None
    except KeyError:
        return None


@dataclass(frozen=True)
class LanAddress:
    """The host's address for its containers; both are empty if it has no address.

    :param ip: an IPv4 address.
    :param interface: the network interface that has it.
    """

    ip: str = ""
    interface: str = ""


def detect_lan_address(registered: str = "") -> LanAddress:
    """Return the first global IPv4 address of ``br0``, or without one the source address of the IPv4 default route.

    The route is only a guess, so an address in the registry takes precedence over it as long as the host has it.

    :param registered: the address in the registry.
    :raises RepomanError: the command ``ip`` is missing or does not answer.
    """
    for link, address in _global_addresses("show", LAN_INTERFACE):
        return LanAddress(address, link)
    for link, address in _global_addresses() if registered else ():
        if address == registered:
            return LanAddress(address, link)
    for route in ask_ip("route", "get", FAR_ADDRESS):
        source = str(route.get("prefsrc", ""))
        if source and not source.startswith(UNREACHABLE_PREFIXES):
            return LanAddress(source, str(route.get("dev", "")))
    return LanAddress()


def _global_addresses(*words: str) -> Iterator[tuple[str, str]]:
    """Yield the interface and the address for each address that other hosts can reach."""
    for link in ask_ip("addr", *words):
        for address in link.get("addr_info", []):
            if address.get("scope") == "global":
                yield str(link.get("ifname", LAN_INTERFACE)), str(address["local"])


def ask_ip(*words: str) -> list[dict[str, Any]]:
    """Return what ``ip`` knows about IPv4; nothing if the interface or route does not exist."""
    from ansible_collections.homelab.repoman.plugins.module_utils.process.bounded import MEMORY_BYTES, run_tail

    subject = "the default route" if words[0] == "route" else LAN_INTERFACE
    try:
        command = ["ip", "-json", "-4", *words]
        code, out, _err = run_tail(command, env=os.environ, seconds=IP_SECONDS, memory=MEMORY_BYTES, size=IP_OUTPUT_BYTES)
    except OSError as error:
        reason = error.strerror or f"no answer within {IP_SECONDS} s"
        raise RepomanError(f"cannot get the address of {subject} from 'ip': {reason}.", "install iproute2") from error
    if code != 0 or not out.strip():
        return []
    try:
        answer: list[dict[str, Any]] = json.loads(out)
    except ValueError as error:
        raise RepomanError(f"the output of 'ip -json' for {subject} is not JSON.", "install iproute2") from error
    return answer


@dataclass(frozen=True)
class Mount:
    """A mounted file system.

    :param mount_point: the directory it is mounted on.
    :param fstype: type of the file system; empty if unknown.
    :param source: the mounted device or directory of a server, or a word such as ``tmpfs``.
    :param mount_id: the kernel's number of this mount; usually a new one each time it is mounted.
    """

    mount_point: str = ""
    fstype: str = ""
    source: str = ""
    mount_id: str = ""


def mount_of(path: str) -> Mount:
    """Return the mounted file system that holds ``path``."""
    best = Mount()
    real = os.path.realpath(path)
    for mount in parse_mountinfo(Path("/proc/self/mountinfo").read_bytes()):
        mount_point = os.fsdecode(mount.mount_point)
        if (real == mount_point or real.startswith(mount_point.rstrip("/") + "/")) and len(mount_point) >= len(best.mount_point):
            best = Mount(mount_point, os.fsdecode(mount.fstype), os.fsdecode(mount.source), os.fsdecode(mount.mount_id))
    return best


def filesystem_of(path: str) -> str:
    """Return the type of the file system that holds ``path``, such as ``ext4``; empty if unknown."""
    return mount_of(path).fstype
