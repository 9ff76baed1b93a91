# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The account inside an instance: the host user's name, ids, home and login shell, and the proof that it works."""

from __future__ import annotations

import os
import posixpath
import re
import secrets
import time
from collections.abc import Container, Iterable

try:
    import yaml
except ImportError:  # the module says so before it gets here
    yaml = None  # type: ignore[assignment]

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotKnownError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account, filesystem_of
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus

EXEC_SECONDS = 60.0
BOOT_SECONDS = 30
CLOUD_INIT_SECONDS = 300
POLL_SECONDS = 0.05
USER_DATA = ("cloud-init.user-data", "user.user-data")
VENDOR_DATA = ("cloud-init.vendor-data", "user.vendor-data")
"""The configuration keys that cloud-init's data of each kind may stand under."""
SEPARATORS = re.compile(r"[:\x00-\x1f\x7f\ud800-\udfff]")
"""What no field of passwd(5) can hold, and what is no text."""

WAIT = r"""
boot=$1 limit=$2
if command -v cloud-init >/dev/null 2>&1; then timeout "$limit" cloud-init status --wait >/dev/null 2>&1; fi
read -r init </proc/1/comm
if [ "$init" = systemd ]; then
    timeout "$boot" sh -c 'until case $(systemctl is-system-running --wait 2>/dev/null) in running|degraded|maintenance) ;; *) false ;; esac
        do sleep 0.05; done'
fi
exit 0
"""
"""Takes the seconds that the system and cloud-init may need to start. What is not ready by then shows in what is done next."""

MAKE_ACCOUNT = r"""
set -eu
name=$1 uid=$2 gid=$3 group=$4 home=$5 shell=$6
end='
'
fail() { echo "$1" >&2; exit 1; }
is_regular() { [ "$1" -ge 1000 ] && [ "$1" -lt 65534 ]; }
is_busy() {
    for file in /proc/[0-9]*/status; do
        while read -r key number _; do
            if [ "$key" = Uid: ] && [ "$number" = "$1" ]; then return 0; fi
        done 2>/dev/null <"$file"
    done
    return 1
}
# put FILE KEY LINE: LINE instead of the one that begins with KEY, or at the end
put() {
    text='' line=$3
    while IFS= read -r each || [ -n "$each" ]; do
        case $each in "$2":*) each=$line line='' ;; esac
        if [ -n "$each" ]; then text=$text$each$end; fi
    done <"$1"
    if [ -n "$line" ]; then text=$text$line$end; fi
    printf '%s' "$text" >"$1"
}
# rename FILE OLD NEW: what begins with OLD begins with NEW
rename() {
    [ -f "$1" ] || return 0
    text=''
    while IFS= read -r each || [ -n "$each" ]; do
        case $each in "$2":*) each=$3:${each#*:} ;; esac
        text=$text$each$end
    done <"$1"
    printf '%s' "$text" >"$1"
}
# rename_member FILE OLD NEW: groups that have OLD have NEW
rename_member() {
    [ -f "$1" ] || return 0
    text=''
    while IFS= read -r each || [ -n "$each" ]; do
        members=,${each##*:},
        case $members in *,"$2",*)
            members=${members%%,"$2",*},$3,${members#*,"$2",}
            members=${members#,} each=${each%:*}:${members%,} ;;
        esac
        text=$text$each$end
    done <"$1"
    printf '%s' "$text" >"$1"
}

[ -x "$shell" ] || shell=/bin/sh
uid_of_name='' name_of_uid='' gecos=''
while IFS=: read -r each _ number _ comment _; do
    if [ "$each" = "$name" ]; then uid_of_name=$number gecos=$comment; fi
    if [ "$number" = "$uid" ] && { [ -z "$name_of_uid" ] || [ "$each" = "$name" ]; }; then name_of_uid=$each; fi
done </etc/passwd
group_of_gid='' gid_of_group=''
while IFS=: read -r each _ number _; do
    if [ "$number" = "$gid" ]; then group_of_gid=$each; fi
    if [ "$each" = "$group" ]; then gid_of_group=$number; fi
done </etc/group

old=''
if [ -n "$uid_of_name" ] && [ "$uid_of_name" != "$uid" ]; then
    [ -z "$name_of_uid" ] || fail "the image has both an account '$name', with uid $uid_of_name, and an account '$name_of_uid', with uid $uid"
    is_regular "$uid_of_name" || fail "the image has a system account '$name', with uid $uid_of_name instead of $uid"
    ! is_busy "$uid_of_name" || fail "the image's account '$name' has uid $uid_of_name instead of $uid, and runs programs"
    echo "the image's account '$name' had uid $uid_of_name; it now has $uid, but what it owned outside its home keeps the old one" >&2
elif [ -z "$uid_of_name" ] && [ -n "$name_of_uid" ]; then
    is_regular "$uid" || fail "the image has a system account '$name_of_uid' with uid $uid"
    old=$name_of_uid
    echo "the image's account '$old', which has uid $uid, is now called '$name'" >&2
fi

if [ -n "$old" ]; then
    for file in /etc/passwd /etc/shadow /etc/subuid /etc/subgid; do rename "$file" "$old" "$name"; done
    for file in /etc/group /etc/gshadow; do rename_member "$file" "$old" "$name"; done
    if [ "$group_of_gid" = "$old" ] && [ -z "$gid_of_group" ]; then
        for file in /etc/group /etc/gshadow; do rename "$file" "$old" "$group"; done
    fi
elif [ -z "$group_of_gid" ] && [ -n "$gid_of_group" ] && [ "$group" = "$name" ] && [ -n "$uid_of_name" ] && is_regular "$gid_of_group"; then
    put /etc/group "$group" "$group:x:$gid:"
    group_of_gid=$group
fi
if [ -z "$group_of_gid" ]; then
    if [ -n "$gid_of_group" ]; then group=$group-$gid; fi
    put /etc/group "$group" "$group:x:$gid:"
    if [ -f /etc/gshadow ]; then put /etc/gshadow "$group" "$group:!::"; fi
fi
put /etc/passwd "$name" "$name:x:$uid:$gid:$gecos:$home:$shell"
if [ -z "$uid_of_name" ] && [ -f /etc/shadow ]; then put /etc/shadow "$name" "$name:*:::::::"; fi

mounts=$end
while read -r _ _ _ _ place _; do mounts=$mounts$place$end; done </proc/self/mountinfo
place=$home
while [ "$place" != / ] && [ -n "$place" ]; do
    case $mounts in *"$end$place$end"*) exit 0 ;; esac
    place=${place%/*}
done
mkdir -p "$home"
if [ "$home" = / ]; then exit 0; fi
chown "$uid:$gid" "$home"
if [ -n "$uid_of_name" ] && [ "$uid_of_name" != "$uid" ]; then
    for file in "$home"/* "$home"/.[!.]*; do
        if [ -L "$file" ] || ! [ -f "$file" ]; then continue; fi
        case $mounts in *"$end$file$end"*) continue ;; esac
        chown "$uid:$gid" "$file"
    done
fi
for file in /etc/skel/* /etc/skel/.[!.]*; do
    copy=$home/${file##*/}
    if { [ ! -e "$file" ] && [ ! -L "$file" ]; } || [ -e "$copy" ] || [ -L "$copy" ]; then continue; fi
    if cp -RP "$file" "$copy" 2>/dev/null; then chown -Rh "$uid:$gid" "$copy"; fi
done
"""
"""Takes name, uid, gid, group, home and shell. Tells on standard error what it did to an account of the image's.

An account of the image's that has the name or the uid is taken over, if it is one for a person (uid 1000 to 65533): on a machine
of one's own that is what it is there for. It keeps its groups. Needs only a POSIX shell and the commonest tools, so it serves every
image; the files are those of passwd(5), group(5), shadow(5), gshadow(5) and subuid(5). A home that is itself mounted is not touched.
"""

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


def check_account(me: Account) -> None:
    """Refuse an account that no passwd(5) can hold.

    :raises NotKnownError: its name, group, home or shell has a character that cannot be there.
    """
    for what, value in (("name", me.name), ("group", me.group), ("home", me.home), ("shell", me.shell)):
        is_name = what in ("name", "group")
        if not value or SEPARATORS.search(value) or (is_name and (value.startswith(("-", "+", "~")) or "/" in value or "," in value)):
            raise NotKnownError(
                f"{value!r} cannot be the {what} of an account in a container.",
                "getent passwd $(id -u)   shows what this host has",
                "USER and HOME of the environment come before that",
            )


def user_data(me: Account, taken: Container[str]) -> dict[str, str]:
    """Return the configuration that makes cloud-init make the account, and no default user.

    It is meant for an instance's first start only: a change of it would make cloud-init begin anew. An image without cloud-init
    does not look at it. Every part of a command is a string of its own: no name can be read as anything else.

    :param taken: the configuration keys the instance has from elsewhere. Where user data is among them, which belongs to the user,
        the account comes as vendor data; where both are, it is made after the start only.
    """
    keys = next((keys for keys in (USER_DATA, VENDOR_DATA) if not any(key in taken for key in keys)), None)
    if keys is None:
        return {}
    document = {
        "bootcmd": [["cloud-init-per", "once", "repoman-group", "groupadd", "--gid", str(me.gid), "--", me.group]],
        "users": [
            {
                "name": me.name,
                "uid": me.uid,
                "primary_group": str(me.gid),
                "create_groups": False,
                "homedir": me.home,
                "shell": me.shell,
                "lock_passwd": True,
            }
        ],
    }
    return {keys[0]: f"#cloud-config\n{yaml.safe_dump(document)}"}


def wait_ready(client: incus.Client, instance: str, project: str) -> None:
    """Wait until a started instance can run commands and has done what it does at its start, cloud-init included; with a limit.

    :raises IncusError: it cannot run commands.
    """
    command = ["/bin/sh", "-c", WAIT, "repoman", str(BOOT_SECONDS), str(CLOUD_INIT_SECONDS)]
    _when_ready(client, instance, project, command, BOOT_SECONDS + CLOUD_INIT_SECONDS + EXEC_SECONDS)


def make_account(client: incus.Client, instance: str, project: str, me: Account) -> list[str]:
    """Make sure that the account exists in a running instance, however much of it is there; waits until it is ready.

    :returns: what was done to an account of the image's, in sentences.
    :raises RepomanError: the image has an account of that name or uid that cannot be taken over.
    """
    wait_ready(client, instance, project)
    command = ["/bin/sh", "-c", MAKE_ACCOUNT, "repoman", me.name, str(me.uid), str(me.gid), me.group, me.home, me.shell]
    code, said = client.execute(instance, project, command, EXEC_SECONDS)
    if code:
        raise RepomanError(
            f"cannot make the account {me.name!r} inside: {said.strip() or f'exit status {code}'}.",
            "choose another image: repoman new NAME --image IMAGE",
        )
    return said.splitlines()


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
            f"a file made in {inside} inside the container does not show in {outside}.",
            "is another device mounted over it?",
            "on another member of a cluster, the repository must be on a file system that all members share",
        ) from error
    finally:
        if os.path.lexists(path):
            os.unlink(path)


def _when_ready(client: incus.Client, instance: str, project: str, command: list[str], timeout: float) -> tuple[int, str]:
    deadline = time.monotonic() + EXEC_SECONDS
    while True:
        try:
            return client.execute(instance, project, command, timeout)
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
