# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shell scripts that run inside a container to create the user's account and to check it."""

from __future__ import annotations

READY_MARK, ACCOUNT_MARK = "repoman: the container is ready", "repoman: the account exists"
"""The lines that a script prints to its standard output when a part is done."""

ARGUMENTS_SCRIPT = r"""
name=$1 uid=$2 gid=$3 group=$4 home=$5 shell=$6 sudo=$7 is_new=$8 container=$9
shift 9
repository=$1 boot=$2 limit=$3
"""
"""Names the arguments of all parts: name, uid, gid, group, home and shell of the account; whether it may become root (``yes`` or ``no``),
whether the instance was just made from its image, the name of the instance; the path of the repository in it; the seconds that the system
and cloud-init may take to start.
"""

WAIT_READY_SCRIPT = rf"""
{{
    if command -v cloud-init; then timeout "$limit" cloud-init status --wait; fi
    read -r init </proc/1/comm
    if [ "$init" = init ]; then init=$(readlink /proc/1/exe); fi
    case $init in systemd | */systemd)
        timeout "$boot" sh -c 'until [ -e /run/systemd/private ] || [ -e /run/dbus/system_bus_socket ] &&
            case $(systemctl is-system-running --wait) in running|degraded|maintenance) ;; *) false ;; esac
            do sleep 0.02; done' ;;
    esac
}} </dev/null >/dev/null 2>&1
echo "{READY_MARK}"
"""
"""Waits until the system and cloud-init have started. Never fails: if something is not ready in time, the next part reports it.

At the start, systemd has the name of the link with which it was started, ``init``, which other programs have for good.
``systemctl`` cannot be used before there is one of the two sockets; to run it all the time until then would slow the boot down.
"""

_ACCOUNT_SCRIPT = r"""
set -eu
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
# put FILE NAME ENTRY: replace the entry with this name, or add it
put() {
    text='' line=$3
    while IFS= read -r entry || [ -n "$entry" ]; do
        case $entry in "$2":*) entry=$line line='' ;; esac
        if [ -n "$entry" ]; then text=$text$entry$end; fi
    done <"$1"
    if [ -n "$line" ]; then text=$text$line$end; fi
    printf '%s' "$text" >"$1"
}
# rename FILE OLD NEW: rename the entry OLD
rename() {
    [ -f "$1" ] || return 0
    text=''
    while IFS= read -r entry || [ -n "$entry" ]; do
        case $entry in "$2":*) entry=$3:${entry#*:} ;; esac
        text=$text$entry$end
    done <"$1"
    printf '%s' "$text" >"$1"
}
# rename_member FILE OLD NEW: rename the member OLD of groups
rename_member() {
    [ -f "$1" ] || return 0
    text=''
    while IFS= read -r entry || [ -n "$entry" ]; do
        members=,${entry##*:},
        case $members in *,"$2",*)
            members=${members%%,"$2",*},$3,${members#*,"$2",}
            members=${members#,} entry=${entry%:*}:${members%,} ;;
        esac
        text=$text$entry$end
    done <"$1"
    printf '%s' "$text" >"$1"
}

# leave FILE: remove the account, in a new instance, from the groups that give it root; adds their names to $left
leave() {
    [ -f "$1" ] || return 0
    text=''
    while IFS= read -r entry || [ -n "$entry" ]; do
        case ${entry%%:*} in root|sudo|wheel|admin|docker|podman|lxd|incus|incus-admin|libvirt|disk|shadow|kmem)
            while :; do
                members=,${entry##*:},
                case $members in *,"$name",*) ;; *) break ;; esac
                members=${members%%,"$name",*},${members#*,"$name",}
                members=${members#,} entry=${entry%:*}:${members%,}
                case " $left " in *" ${entry%%:*} "*) ;; *) left="$left ${entry%%:*}" ;; esac
            done ;;
        esac
        text=$text$entry$end
    done <"$1"
    if [ "$is_new" = yes ]; then printf '%s' "$text" >"$1"; fi
}
# deny FILE: turn the rules of sudo for the account, in a new instance, into comments; adds the file to $left
deny() {
    [ -f "$1" ] || return 0
    text='' has_rule=''
    while IFS= read -r entry || [ -n "$entry" ]; do
        case $entry in "$name"[[:space:]]*|"#$uid"[[:space:]]*) entry="# $entry" has_rule=yes ;; esac
        text=$text$entry$end
    done <"$1"
    [ -n "$has_rule" ] || return 0
    if [ "$is_new" = yes ]; then printf '%s' "$text" >"$1"; fi
    left="$left $1"
}

[ -x "$shell" ] || shell=/bin/sh
uid_of_name='' name_of_uid='' gecos=''
while IFS=: read -r account _ number _ comment _; do
    if [ "$account" = "$name" ]; then uid_of_name=$number gecos=$comment; fi
    if [ "$number" = "$uid" ] && { [ -z "$name_of_uid" ] || [ "$account" = "$name" ]; }; then name_of_uid=$account; fi
done </etc/passwd
group_of_gid='' gid_of_group=''
while IFS=: read -r group_name _ number _; do
    if [ "$number" = "$gid" ]; then group_of_gid=$group_name; fi
    if [ "$group_name" = "$group" ]; then gid_of_group=$number; fi
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

rules=/etc/sudoers.d/90-repoman
if [ "$sudo" = yes ]; then
    if [ -d /etc/sudoers.d ]; then
        rm -f "$rules"
        (umask 0337; echo "#$uid ALL=(ALL:ALL) NOPASSWD: ALL" >"$rules")
    elif [ "$is_new" = yes ]; then
        echo "the override has sudo = true, but the image has no sudo" >&2
    fi
else
    if [ -f "$rules" ]; then rm -f "$rules"; fi
    left=''
    for file in /etc/group /etc/gshadow; do leave "$file"; done
    for file in /etc/sudoers /etc/sudoers.d/*; do deny "$file"; done
    if [ -z "$left" ]; then :
    elif [ "$is_new" = yes ]; then
        echo "the image's account could become root through$left; it no longer can; to allow it: sudo = true in the override" >&2
    else
        echo "in $container, the account $name can become root through$left; to allow it: sudo = true in the override; to end it," \
            "remove it there as root" >&2
    fi
fi

{
    mkdir -p /run/repoman && echo "$container" >/run/repoman/project && chmod 0755 /run/repoman && chmod 0644 /run/repoman/project
    if [ -d /usr/lib/tmpfiles.d ] || [ -d /lib/tmpfiles.d ]; then
        mkdir -p /etc/tmpfiles.d
        printf '%s\n' '# made by repoman: the name of the project, again after each start' 'd /run/repoman 0755 root root -' \
            "f+ /run/repoman/project 0644 root root - $container\\n" >/etc/tmpfiles.d/repoman.conf
    fi
} 2>/dev/null || :

mounts=$end
while read -r _ _ _ _ mount_point _; do mounts=$mounts$mount_point$end; done </proc/self/mountinfo
directory=$home
while [ "$directory" != / ] && [ -n "$directory" ]; do
    case $mounts in *"$end$directory$end"*) exit 0 ;; esac
    directory=${directory%/*}
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
ENSURE_ACCOUNT_SCRIPT = f"""
({_ACCOUNT_SCRIPT}
) </dev/null 2>&1
code=$?
[ "$code" = 0 ] || exit "$code"
echo "{ACCOUNT_MARK}"
"""
"""Makes sure that the account exists. Prints changes to an account of the image, or why it failed.

An account of the image with the same name or uid is taken over if it is for a person (uid 1000 to 65533), and keeps its groups, except
those that would let it become root, unless it may. In an instance that was made earlier, these are only named: the user may have added
them. Needs only a POSIX shell and the most common tools, so it works in every image; the files are those of passwd(5), group(5), shadow(5),
gshadow(5) and subuid(5). A home that is itself a mount is not changed.

It also writes the name of the instance to ``/run/repoman/project``, for prompts and scripts. systemd mounts a tmpfs over ``/run``, which
hides what Incus mounts there, so its tmpfiles make the file again when the container is started without repoman.
"""

VERIFY_WRITE_SCRIPT = r"""
IFS= read -r probe || exit 1
su -s /bin/sh -- "$name" -c 'cd -- "$1" && umask 077 && : >"./$2" && : >"$HOME/$2" && rm -f -- "$HOME/$2"' repoman "$repository" "$probe" \
    </dev/null 2>&1 >/dev/null
"""
"""Creates a probe file as the account, without removing it. Its name is read from standard input, so that the host knows when it is made.

If that fails, it prints why.
"""
