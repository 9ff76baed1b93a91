# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of ``repoman shell``: this process becomes ``incus exec``."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from repoman.errors import Failure

OWN_VARIABLES = frozenset(
    (
        "HOME", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "SHLVL", "IFS", "_",
        "PPID", "UID", "EUID", "BASHOPTS", "SHELLOPTS", "BASH_VERSINFO", "BASH_ENV", "ENV",
    )
)  # fmt: skip
"""What the account or the shell says, whatever the container's configuration does."""
ENTER = r"""
repoman_names=$1 repoman_account=$2
shift 2
repoman_quoted() {
    repoman_rest=$1 repoman_text=
    while :; do
        case $repoman_rest in
            *\'*) repoman_text=$repoman_text${repoman_rest%%\'*}"'\''" repoman_rest=${repoman_rest#*\'} ;;
            *) break ;;
        esac
    done
    printf "'%s'" "$repoman_text$repoman_rest"
}
repoman_variables=$(
    for repoman_name in $repoman_names; do
        eval "repoman_value=\${$repoman_name-} repoman_there=\${$repoman_name+yes}"
        if [ "$repoman_there" ]; then
            printf 'export %s=' "$repoman_name"
            repoman_quoted "$repoman_value"
            echo
        fi
    done
)
exec su -l -s /bin/sh -- "$repoman_account" -c "$@" 9<<END
$repoman_variables
END
"""
"""Run inside as root, where Incus has set the variables of the container's configuration; ``su -l`` takes them all away, so they are
handed on as text in file descriptor 9, where nobody else can read them. Takes their names, the account, and :data:`SCRIPT` with its own."""
SCRIPT = """\
eval "$(cat <&9)"
exec 9<&-
repo=$1 SHELL=$2
shift 2
[ -x "$SHELL" ] || SHELL=/bin/sh
export SHELL
cd -- "$repo" || exit 1
[ $# -gt 0 ] || set -- "$SHELL" -l
exec "$@"
"""
"""Run inside, by a login shell of the account; takes the repository, the account's shell and the command."""
DECODER = """\
left=$#
while [ "$left" -gt 0 ]; do
    part=$(printf '%b.' "$1")
    shift
    set -- "$@" "${part%.}"
    left=$((left - 1))
done
exec "$@"
"""
"""Run inside, in front of a command that is not UTF-8; takes its parts as :func:`escaped` gives them."""


def escaped(part: str) -> str:
    """Return an argument in letters, digits and the octal escapes of ``printf %b``."""
    return "".join(chr(byte) if chr(byte).isascii() and chr(byte).isalnum() else f"\\0{byte:03o}" for byte in os.fsencode(part))


def portable(command: Sequence[str]) -> list[str]:
    """Return a command that does the same and is UTF-8: Incus carries it as JSON, which would replace all other bytes."""
    try:
        "".join(command).encode()
    except UnicodeEncodeError:
        return ["/bin/sh", "-c", DECODER, "repoman-shell", *(escaped(part) for part in command)]
    return list(command)


def command_line(result: Mapping[str, Any], command: Sequence[str], terminal: bool, term: str) -> list[str]:
    """Return the ``incus exec`` that opens a shell in a project.

    ``-c`` stands after the user's name: so it is the shell's, su makes no session of its own for it, and Ctrl-C and job control work.

    The local socket is used, whatever remote is the default of the user's client.

    :param result: what the module ``repoman_project`` or ``repoman_project_info`` answered.
    :param command: what to run; the account's login shell where empty.
    :param terminal: whether there is a terminal to give to it.
    :param term: the terminal's type; empty if not known.
    """
    project, account = result["projects"][0], result["account"]
    names = [name for name in project["environment"] if name not in OWN_VARIABLES]
    return [
        "incus",
        "exec",
        "--force-local",
        "--project",
        project["incus_project"],
        project["name"],
        "-t" if terminal else "-T",
        *(["--env", f"TERM={term}"] if term else []),
        "--",
        *("/bin/sh", "-c", ENTER, "repoman-shell", " ".join(names), account["name"]),
        *(SCRIPT, "repoman-shell", project["repo"], account["shell"]),
        *portable(command),
    ]


def become(result: Mapping[str, Any], command: Sequence[str]) -> NoReturn:
    """Replace this process by the shell in the project, or by the command there.

    :raises Failure: there is no ``incus`` client.
    """
    program = shutil.which("incus")
    if program is None:
        raise Failure("the command 'incus' is not installed: it is the way into a container.", "sudo apt install incus-client")
    terminal = os.isatty(sys.stdin.fileno()) and os.isatty(sys.stdout.fileno())
    line = command_line(result, command, terminal, os.environ.get("TERM", ""))
    for stream in (0, 1, 2):
        os.set_inheritable(stream, True)  # ansible takes that away
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(program, line, os.environ | {"INCUS_SOCKET": result["socket"]})  # noqa: S606
