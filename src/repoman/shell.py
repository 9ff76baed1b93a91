# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last step of ``repoman shell``: replace this process with one that runs ``incus exec``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from repoman import attach
from repoman.errors import CliError

OWN_VARIABLES = frozenset(
    (
        "HOME", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "SHLVL", "IFS", "_",
        "PPID", "UID", "EUID", "BASHOPTS", "SHELLOPTS", "BASH_VERSINFO", "BASH_ENV", "ENV",
    )
)  # fmt: skip
"""Variables set by the account or the shell, not by the configuration of the container."""
PROJECT_VARIABLE = "REPOMAN_PROJECT"
"""The environment variable that holds the name of the project."""
ROOT = {"name": "root", "shell": ""}
"""The account of ``--root``; it gets the best shell that the container has."""
NO_DIRECTORY = "/proc/self/none"
"""A directory that does not exist and that no program can create."""
ENTER_SCRIPT = r"""
repoman_names=$1 repoman_account=$2
shift 2
repoman_setsid=
[ -t 0 ] || ! command -v setsid >/dev/null || repoman_setsid=setsid
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
        eval "repoman_value=\${$repoman_name-} repoman_is_set=\${$repoman_name+yes}"
        if [ "$repoman_is_set" ]; then
            printf 'export %s=' "$repoman_name"
            repoman_quoted "$repoman_value"
            echo
        fi
    done
)
exec $repoman_setsid su -l -s /bin/sh -- "$repoman_account" -c "$@" 9<<END
$repoman_variables
END
"""
"""Runs in the container as root, with the environment variables of the container's configuration. ``su -l`` clears the environment, so
they are passed as text on file descriptor 9, which no other process can read. Without a terminal, the command gets a session, as with
one, so that signals can be sent to all of it: the first process is in a process group of Incus. Arguments: the names of the variables, the account,
:data:`LOGIN_SCRIPT`, and the arguments of that script."""
LOGIN_SCRIPT = """\
eval "$(cat <&9)"
exec 9<&-
start=$1 project=$2 SHELL=$3
shift 3
find_program() {
    case $1 in
        */*) [ -e "$1" ]; return ;;
    esac
    IFS=:
    for directory in $PATH; do
        program=${directory:-.}/$1
        [ -f "$program" ] && [ -x "$program" ] && unset IFS && return 0
    done
    unset IFS
    return 1
}
if ! [ -x "$SHELL" ]; then
    for name in "${SHELL##*/}" bash zsh ash sh; do
        find_program "$name" && SHELL=$program && break
    done
fi
export SHELL
if ! cd -- "$start" 2>/dev/null; then
    printf "repoman: error: the container has no directory '%s' that %s can enter.\\n" "$start" "$USER" >&2
    printf "hint: repoman shell %s   # opens its repository\\n" "$project" >&2
    exit 1
fi
[ $# -gt 0 ] || set -- "$SHELL" -l
if ! find_program "$1"; then
    printf "repoman: error: the container has no command '%s'.\\n" "$1" >&2
    [ "${REPOMAN_SHELL-}" ] && (umask 077 && : >"/tmp/.repoman-shell-$REPOMAN_SHELL") 2>/dev/null && exit 253
    exit 127
fi
exec "$@"
"""
"""Runs in the container as the account, in a login shell. Arguments: the directory to open, the project, the account's shell, and the
command. Without the account's shell, it uses the best one that the container has."""
DECODE_SCRIPT = """\
remaining=$#
while [ "$remaining" -gt 0 ]; do
    part=$(printf '%b.' "$1")
    shift
    set -- "$@" "${part%.}"
    remaining=$((remaining - 1))
done
exec "$@"
"""
"""Runs a command that is not UTF-8. Arguments: those of the command, encoded by :func:`escape_argument`."""


def escape_argument(part: str) -> str:
    """Return an argument as letters, digits and octal escapes for ``printf %b``."""
    return "".join(chr(byte) if chr(byte).isascii() and chr(byte).isalnum() else f"\\0{byte:03o}" for byte in os.fsencode(part))


def encode_arguments(command: Sequence[str]) -> list[str]:
    """Return an equivalent command in UTF-8, because Incus sends commands as JSON, which replaces other bytes."""
    try:
        for part in command:
            os.fsencode(part).decode()
    except UnicodeDecodeError:
        return ["/bin/sh", "-c", DECODE_SCRIPT, "repoman-shell", *(escape_argument(part) for part in command)]
    return list(command)


def command_prefix(result: Mapping[str, Any]) -> list[str]:
    """Return the start of an ``incus exec`` command: up to the name of the instance."""
    project = result["projects"][0]
    return ["incus", "exec", "--force-local", "--project", project["incus_project"], f"local:{project['name']}"]


def command_line(
    result: Mapping[str, Any], command: Sequence[str], terminal: bool, term: str, token: str = "", subdirectory: str = ""
) -> list[str]:
    """Return the ``incus exec`` command that opens a shell in a project.

    In :data:`ENTER_SCRIPT`, ``-c`` comes after the user's name, so that it is an option of the shell. As an option of su it would
    start a new session, in which Ctrl-C and job control do not work.

    With ``--force-local`` the client does not read its configuration, or write one, except for aliases and the default remote in some
    versions; see :func:`client_environment`. ``local:`` is the remote that leads to the socket.

    :param result: a result of the module ``repoman_project`` or ``repoman_project_info``.
    :param command: command to run; empty for the account's login shell.
    :param terminal: allocate a terminal.
    :param term: type of the terminal, or empty.
    :param token: by which :mod:`repoman.attach` recognizes the session.
    :param subdirectory: directory to open, relative to the repository; or an absolute one.
    """
    project, account = result["projects"][0], result["account"]
    directory = os.path.join(project.get("container_path") or project["repo"], subdirectory).rstrip("/")
    own_names = [*([attach.VARIABLE] if token else []), PROJECT_VARIABLE]
    names = [*own_names, *(name for name in project["environment"] if name not in (*OWN_VARIABLES, *own_names))]
    return [
        *command_prefix(result),
        "-t" if terminal else "-T",
        *(["--env", f"TERM={term}"] if term else []),
        *(["--env", f"{attach.VARIABLE}={token}"] if token else []),
        *("--env", f"{PROJECT_VARIABLE}={project['name']}"),
        "--",
        *("/bin/sh", "-c", ENTER_SCRIPT, "repoman-shell", " ".join(names), account["name"]),
        *(LOGIN_SCRIPT, "repoman-shell", directory, project["name"], account["shell"]),
        *encode_arguments(command),
    ]


def as_root(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result with root for the account in the container."""
    return {**result, "account": result["account"] | ROOT}


def client_environment(environment: Mapping[str, str], socket: str) -> dict[str, str]:
    """Return the environment for the ``incus`` client, with which it reaches only ``socket``.

    The client would take remotes, the default remote, a project and aliases from the variables ``INCUS_*`` of the user, and from the
    user's and the system's configuration.

    :param environment: of this process.
    :param socket: path of the Incus socket.
    """
    other = {key: value for key, value in environment.items() if not key.startswith("INCUS_")}
    return other | {"INCUS_SOCKET": socket, "INCUS_CONF": NO_DIRECTORY}


def exec_shell(result: Mapping[str, Any], command: Sequence[str], subdirectory: str = "") -> NoReturn:
    """Replace this process with one that runs a shell, or a command, in the project's container; see :mod:`repoman.attach`.

    :param subdirectory: see :func:`command_line`.
    :raises CliError: the ``incus`` client is not installed, or cannot be started.
    """
    if not _is_installed("incus"):
        raise CliError("the incus client is not installed.", "sudo apt install incus-client")
    terminal = os.isatty(sys.stdin.fileno()) and os.isatty(sys.stdout.fileno())
    token, prefix = os.urandom(8).hex(), command_prefix(result)
    client = command_line(result, command, terminal, os.environ.get("TERM", ""), token, subdirectory)
    kind = attach.COMMAND if command else attach.LOGIN
    environment = client_environment(os.environ, result["socket"])
    _prepare_streams()
    try:
        child = attach.start(client, environment, new_session=not terminal)
    except OSError as error:
        raise CliError(f"cannot start {client[0]}: {error.strerror}.", "ulimit -u   # the number of processes that you may have") from error
    if attach.ends_soon(child):
        attach.main([str(child), token, kind, *prefix], environment)
    try:
        replace_process([sys.executable, "-I", "-S", attach.__file__, str(child), token, kind, *prefix], environment)
    except OSError as error:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise CliError(
            f"cannot start {sys.executable}: {error.strerror}.", f"{sys.executable} --version   # shows whether it runs"
        ) from error


def exec_repoman(arguments: Sequence[str]) -> NoReturn:
    """Replace this process with another run of the command; ansible cannot run a second playbook in one process."""
    # -P: the current directory may be a repository, and must not be a place for modules
    replace_process([sys.executable, "-P", "-m", "repoman", *arguments], os.environ)


def replace_process(argv: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Replace this process with a program, which gets its standard streams."""
    _prepare_streams()
    os.execve(argv[0], list(argv), environment)  # noqa: S606


def _is_installed(program: str) -> bool:
    """Return whether a program is in a directory of ``PATH``; to import ``shutil`` for it would take longer."""
    directories = os.get_exec_path() if os.environ.get("PATH") != "" else []
    paths = [os.path.join(directory, program) for directory in directories]
    return any(os.path.isfile(path) and os.access(path, os.X_OK) for path in paths)


def _prepare_streams() -> None:
    """Prepare the standard streams for another program."""
    for fd in (0, 1, 2):
        os.set_inheritable(fd, True)  # ansible clears it
    sys.stdout.flush()
    sys.stderr.flush()
