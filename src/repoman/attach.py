# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits for ``incus exec`` and passes signals on to the command in the container.

The client passes signals only to the first process in the container, which is ``su``, and that blocks most of them. This program sends
them to all processes of the command's session, with a second ``incus exec``. It is a program of its own, with the standard library only,
because it stays as long as the shell does. The process that it replaces has started the client, and waits for a short command itself.

Arguments: the process ID of the client, the token of the session, ``login`` for a login shell or ``command``, and the start of the client's
command line: ``incus exec`` with its options and the name of the instance.
"""

from __future__ import annotations

import os
import signal
import sys
from _thread import get_ident
from contextlib import suppress
from errno import E2BIG

TYPE_CHECKING = False  # importing typing takes as long as all the rest
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

PR_SET_PDEATHSIG = 1
SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
LOGIN, COMMAND = "login", "command"
SECONDS = 1.0
"""Time in which a short command ends: most do, and for them this program need not be loaded, which takes the processor from the client."""
VARIABLE = "REPOMAN_SHELL"
"""The environment variable that holds the token of the session."""
NOT_FOUND = 127
MISSING = 253
"""Exit status inside if the container does not have the command and :data:`MISSING_MARK` exists. For 127, the client would print an error
of its own."""
MISSING_MARK = "/tmp/.repoman-shell-"  # noqa: S108 - in the container, followed by the token
SIGNAL_SCRIPT = r"""
entry=REPOMAN_SHELL=$1 signal=$2
session_of() {
    read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
    set -- ${stat##*) }
    parent=$2 session=$4
}
find_leader() {
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        if grep -q "$entry" "$process/environ" 2>/dev/null && session_of "$pid" && [ "$session" = "$pid" ]; then
            leader=$pid
            return 0
        fi
    done
    return 1
}
send() {
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        session_of "$pid" && [ "$session" = "$leader" ] || continue
        read -r name 2>/dev/null <"$process/comm" || continue
        [ "$name" = su ] && [ "$pid" = "$leader" ] && continue
        kill -s "$1" "$pid" 2>/dev/null
    done
}
tries=0
until find_leader; do
    tries=$((tries + 1))
    [ "$tries" -lt 20 ] || exit 0
    sleep 0.1
done
send "$signal"
tries=0
while session_of "$leader"; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || exit 0
    sleep 0.1
done
send TERM
"""
"""Runs in the container as root. Sends a signal to all processes of the session except ``su``, which ends with its child. When the session's
leader has ended, what is left, such as background jobs that ignore SIGINT, gets SIGTERM. ``grep -F`` of busybox would end at the first
null byte. Arguments: the token, the name of the signal."""


def main(argv: list[str], environment: Mapping[str, str]) -> NoReturn:
    """Wait for the client, and end as it ends. The signals are blocked already.

    :param environment: for a second client.
    """
    pid, token, kind, *prefix = argv
    child = int(pid)
    helpers: set[int] = set()
    status: int | None = None
    while True:
        # Asked first: another thread of the process that this program has replaced may have got the signal.
        for ended, ended_with in _ended():
            helpers.discard(ended)
            if ended == child:
                status = ended_with
        if status is not None and not helpers:
            break
        number = signal.sigwait({*SIGNALS, signal.SIGCHLD})
        if number in SIGNALS and status is None:
            name = _name_inside(signal.Signals(number), kind == LOGIN)
            with suppress(OSError):  # without a process for it, this signal is lost; another one can be sent
                helpers.add(
                    _start(
                        [*prefix, "-T", "--", "/bin/sh", "-c", SIGNAL_SCRIPT, "repoman-signal", token, name], environment, is_silent=True
                    )
                )
    code = os.waitstatus_to_exitcode(status)
    if code == MISSING and _run([*prefix, "-T", "--", "/bin/sh", "-c", 'rm "$0$1"', MISSING_MARK, token], environment) == 0:
        code = NOT_FOUND
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*SIGNALS, signal.SIGCHLD})
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)


def start(client: list[str], environment: Mapping[str, str], new_session: bool) -> int:
    """Block the signals, and start the client; return its process ID, for a process that becomes this program.

    :param new_session: the terminal sends it no signals.
    :raises OSError: no process could be started.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if it is ignored, the end of the client is never reported
    signal.pthread_sigmask(signal.SIG_BLOCK, {*SIGNALS, signal.SIGCHLD})
    return _start(client, environment, new_session=new_session)


def ends_soon(child: int) -> bool:
    """Wait a second; return whether the client has ended. The signals are blocked, and one that arrives stays pending for :func:`main`.

    :param child: process ID of the client.
    """
    arrived = signal.sigtimedwait({*SIGNALS, signal.SIGCHLD}, SECONDS)
    if arrived is not None and arrived.si_signo != signal.SIGCHLD:
        signal.pthread_kill(get_ident(), arrived.si_signo)  # not to the process: a thread that does not block it would get it
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _run(argv: list[str], environment: Mapping[str, str]) -> int:
    """Run a program without standard streams; return its exit status, or 127 if it cannot be started."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(_start(argv, environment, is_silent=True), 0)[1])
    except OSError:
        return NOT_FOUND


def _name_inside(number: signal.Signals, is_login: bool) -> str:
    """Return the signal to send: a login shell ignores SIGTERM, and ``incus exec`` turns SIGHUP into SIGTERM for a command."""
    if number in (signal.SIGTERM, signal.SIGHUP):
        return "HUP" if is_login else "TERM"
    return number.name.removeprefix("SIG")


def _ended() -> list[tuple[int, int]]:
    """Return the child processes that have ended, with their wait status."""
    ended = []
    try:
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append(found)
    except ChildProcessError:
        pass
    return ended


def _start(argv: list[str], environment: Mapping[str, str], *, new_session: bool = True, is_silent: bool = False) -> int:
    """Start a program, which does not outlive this process; return its process ID. If it cannot be started, it prints why.

    :param new_session: the terminal sends it no signals, but it can read from it.
    :param is_silent: it has no standard streams.
    """
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:  # it ended before that
            os._exit(1)
        if new_session:
            os.setsid()
        if is_silent:
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
        for number in SIGNALS:
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*SIGNALS, signal.SIGCHLD})
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execvpe(argv[0], argv, environment)  # noqa: S606
    except OSError as error:
        hint = "pass long arguments on standard input, or in a file of the repository" if error.errno == E2BIG else "command -v incus"
        os.write(2, os.fsencode(f"repoman: error: cannot start {argv[0]}: {error.strerror}.\nhint: {hint}\n"))
        os._exit(1)
    finally:
        os._exit(127)


if __name__ == "__main__":
    main(sys.argv[1:], os.environ)
