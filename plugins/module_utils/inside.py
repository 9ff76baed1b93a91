# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The account inside an instance: the host user's name, ids, home and login shell, and the proof that it works."""

from __future__ import annotations

import os
import posixpath
import secrets
import time
from collections.abc import Iterable

from ansible_collections.homelab.repoman.plugins.module_utils import incus
from ansible_collections.homelab.repoman.plugins.module_utils.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host import Account, filesystem_of

EXEC_SECONDS = 60.0
POLL_SECONDS = 0.05

MAKE_ACCOUNT = r"""
set -eu
name=$1 uid=$2 gid=$3 group=$4 home=$5 shell=$6
fail() { echo "$1" >&2; exit 1; }
[ -x "$shell" ] || shell=/bin/sh
by_name='' by_uid=''
while IFS=: read -r each _ number _; do
    if [ "$each" = "$name" ]; then by_name=$number; fi
    if [ "$number" = "$uid" ]; then by_uid=$each; fi
done </etc/passwd
if [ -n "$by_name" ] && [ "$by_name" != "$uid" ]; then fail "the image has an account '$name' of its own, with uid $by_name instead of $uid"; fi
if [ -n "$by_uid" ] && [ "$by_uid" != "$name" ]; then fail "the image has an account '$by_uid' that holds uid $uid"; fi
group_of_gid='' gid_of_group=''
while IFS=: read -r each _ number _; do
    if [ "$number" = "$gid" ]; then group_of_gid=$each; fi
    if [ "$each" = "$group" ]; then gid_of_group=$number; fi
done </etc/group
if [ -z "$group_of_gid" ]; then
    if [ -n "$gid_of_group" ]; then group=$group-$gid; fi
    echo "$group:x:$gid:" >>/etc/group
    if [ -f /etc/gshadow ]; then echo "$group:!::" >>/etc/gshadow; fi
fi
line="$name:x:$uid:$gid::$home:$shell"
if [ -z "$by_name" ]; then
    echo "$line" >>/etc/passwd
    if [ -f /etc/shadow ]; then echo "$name:*:::::::" >>/etc/shadow; fi
else
    lines=$(while IFS= read -r each; do case $each in "$name":*) each=$line ;; esac; printf '%s\n' "$each"; done </etc/passwd)
    printf '%s\n' "$lines" >/etc/passwd
fi
mkdir -p "$home"
if [ "$home" != / ]; then chown "$uid:$gid" "$home"; fi
for file in /etc/skel/.[!.]*; do
    [ -f "$file" ] || continue
    copy=$home/${file##*/}
    if [ ! -e "$copy" ] && cp "$file" "$copy" 2>/dev/null; then chown "$uid:$gid" "$copy"; fi
done
"""
"""Takes name, uid, gid, group, home and shell. Needs only a POSIX shell and the commonest tools, so it serves every image;
the files are those of passwd(5), group(5), shadow(5) and gshadow(5)."""

PROVE = r"""
set -u
su -s /bin/sh -- "$1" -c 'cd -- "$1" && umask 077 && : >"./$2" && : >"$HOME/$2" && rm -f -- "$HOME/$2"' repoman "$2" "$3"
"""
"""Takes the account's name, the repository and the name of the probe file, which it leaves in the repository."""


def home_directories(me: Account, targets: Iterable[str]) -> list[str]:
    """Return the directories below and with the home that must exist before the first start, parents first.

    Where they are missing Incus makes them as root, and the user could not write to the home.

    :param targets: paths inside the instance that something is mounted at.
    """
    needed = {me.home}
    for target in targets:
        parent = posixpath.dirname(posixpath.normpath(target))
        while parent.startswith(f"{me.home}/"):
            needed.add(parent)
            parent = posixpath.dirname(parent)
    return sorted(needed)


def make_home(client: incus.Client, instance: str, project: str, me: Account, targets: Iterable[str]) -> None:
    """Make the home and the parents of mounts in it, owned by the account, in an instance that is not started yet."""
    for parent in _ancestors(me.home):
        _make_directory(client, instance, project, parent, 0, 0, "0755")
    for directory in home_directories(me, targets):
        _make_directory(client, instance, project, directory, me.uid, me.gid, "0755")


def make_account(client: incus.Client, instance: str, project: str, me: Account) -> None:
    """Make sure that the account exists in a running instance; waits until it can run commands.

    :raises RepomanError: the image has another account of that name or uid.
    """
    command = ["/bin/sh", "-c", MAKE_ACCOUNT, "repoman", me.name, str(me.uid), str(me.gid), me.group, me.home, me.shell]
    code, said = _when_ready(client, instance, project, command)
    if code:
        raise RepomanError(
            f"cannot make the account {me.name!r} inside: {said.strip() or f'exit status {code}'}.",
            "choose another image: repoman new NAME --image IMAGE",
        )


def prove(client: incus.Client, instance: str, project: str, me: Account, inside: str, outside: str) -> None:
    """Prove that the account can write to the repository, and that what it writes is the user's on the host.

    :param inside: path of the repository in the instance.
    :param outside: path of the repository on the host.
    :raises RepomanError: it cannot, or the file belongs to somebody else; the file system is named.
    """
    probe = f".repoman-probe-{secrets.token_hex(8)}"
    path = os.path.join(outside, probe)
    try:
        code, said = client.execute(instance, project, ["/bin/sh", "-c", PROVE, "repoman", me.name, inside, probe], EXEC_SECONDS)
        if code:
            raise RepomanError(
                f"{me.name!r} cannot write to {inside} from inside the container: {said.strip() or f'exit status {code}'}.",
                f"the repository must be {me.name!r}'s and writable; it is owned by uid {os.stat(outside).st_uid}, on {filesystem_of(outside)}",
            )
        found = os.lstat(path)
        if (found.st_uid, found.st_gid) != (me.uid, me.gid):
            raise RepomanError(
                f"a file made inside the container belongs to {found.st_uid}:{found.st_gid} on the host, not to {me.uid}:{me.gid}.",
                f"{outside} is on {filesystem_of(outside)}, which does not map ids (idmapped mounts); move it to ext4, xfs or btrfs",
            )
    except FileNotFoundError as error:
        raise RepomanError(
            f"a file made in {inside} inside the container does not show in {outside}.", "is another device mounted over it?"
        ) from error
    finally:
        if os.path.lexists(path):
            os.unlink(path)


def _when_ready(client: incus.Client, instance: str, project: str, command: list[str]) -> tuple[int, str]:
    deadline = time.monotonic() + EXEC_SECONDS
    while True:
        try:
            return client.execute(instance, project, command, EXEC_SECONDS)
        except incus.IncusError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)


def _ancestors(path: str) -> list[str]:
    """Return the directories above ``path``, below the root, parents first."""
    found: list[str] = []
    while (path := posixpath.dirname(path)) != "/":
        found.insert(0, path)
    return found


def _make_directory(client: incus.Client, instance: str, project: str, path: str, uid: int, gid: int, mode: str) -> None:
    headers = {"X-Incus-type": "directory", "X-Incus-uid": str(uid), "X-Incus-gid": str(gid), "X-Incus-mode": mode}
    client.upload(incus.url("/1.0/instances/{}/files", instance, path=path, project=project), b"", headers)
