# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command and the scripts with which ``repoman shell`` enters a container."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from repoman import attach, shell
from repoman.errors import CliError

RESULT: dict[str, Any] = {
    "projects": [{"name": "isurus", "incus_project": "repoman", "repo": "/home/me/repos/a b", "environment": ["A", "HOME", "B"]}],
    "account": {"name": "me", "shell": "/bin/zsh"},
    "socket": "/run/s",
}


def test_command_line_of_shell() -> None:
    """``-c`` stands after the user's name, arguments are passed as they are."""
    line = shell.command_line(RESULT, ["a b", "$x"], terminal=False, term="xterm")
    assert line == [
        *("incus", "exec", "--force-local", "--project", "repoman", "local:isurus", "-T", "--env", "TERM=xterm"),
        *("--env", "REPOMAN_PROJECT=isurus", "--"),
        *("/bin/sh", "-c", shell.ENTER_SCRIPT, "repoman-shell", "REPOMAN_PROJECT A B", "me"),
        *(shell.LOGIN_SCRIPT, "repoman-shell", "/home/me/repos/a b", "isurus", "/bin/zsh", "a b", "$x"),
    ]
    for subdirectory, directory in (("src/x", "/home/me/repos/a b/src/x"), ("/else/where", "/else/where")):
        assert directory in shell.command_line(RESULT, [], terminal=False, term="", subdirectory=subdirectory)
    moved = RESULT | {"projects": [RESULT["projects"][0] | {"container_path": "/home/me/before"}]}
    assert "/home/me/before" in shell.command_line(moved, [], terminal=False, term="")
    assert shell.command_line(RESULT, [], terminal=True, term="")[6:8] == ["-t", "--env"]
    root = shell.command_line(shell.as_root(RESULT), ["id"], terminal=False, term="")
    assert root[root.index("REPOMAN_PROJECT A B") + 1] == "root" and root[-2:] == ["", "id"]


def inside(repo: Path, login_shell: str, *command: str) -> subprocess.CompletedProcess[bytes]:
    """Run the script of ``shell`` as it runs in a container."""
    return subprocess.run(
        ["/bin/sh", "-c", f"exec 9</dev/null\n{shell.LOGIN_SCRIPT}", "repoman-shell", str(repo), "isurus", login_shell, *command],
        capture_output=True,
        check=False,
    )


def test_script_of_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs the command in the repository, with its bytes and its exit status; a shell that is not there is replaced by the best one."""
    for program in ("sh", "bash"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / program).symlink_to(f"/bin/{program}")
    monkeypatch.setenv("PATH", f"/nonexistent:{tmp_path}/bin:/usr/bin")
    repo = tmp_path / "-a b"
    repo.mkdir()
    done = inside(
        repo, "/nonexistent/nush", "sh", "-c", 'printf "%s|" "$PWD" "$SHELL" "$@"; exit 7', "sh", "a  b", "", "$(id)\n", "caf\udce9"
    )
    assert done.returncode == 7
    assert done.stdout == f"{repo}|{tmp_path}/bin/bash|a  b||$(id)\n|caf".encode() + b"\xe9|"
    login = tmp_path / "login"
    login.write_text('#!/bin/sh\necho "login $* in $PWD as $SHELL"\n', encoding="utf-8")
    login.chmod(0o755)
    assert inside(repo, str(login)).stdout.decode() == f"login -l in {repo} as {login}\n"
    (tmp_path / "bin/nush").symlink_to("/bin/true")
    assert inside(repo, "/nonexistent/nush", "sh", "-c", "echo $SHELL").stdout.decode() == f"{tmp_path}/bin/nush\n"
    done = inside(tmp_path / "gone", "/nonexistent/nush", "true")
    assert done.returncode == 1 and f"the container has no directory '{tmp_path}/gone'".encode() in done.stderr
    assert done.stderr.endswith(b"hint: repoman shell isurus   # opens its repository\n")
    for missing in ("nosuch", "/nosuch", "bin"):
        done = inside(repo, "/bin/sh", missing, "x")
        assert (done.returncode, done.stdout) == (127, b"")
        assert done.stderr.decode() == f"repoman: error: the container has no command '{missing}'.\n"


@pytest.mark.parametrize("command", [["printf", "%s|", "caf\udce9", "", "a  b\n", "-n", "\\0101", "é%s"], ["printf", "x\udcff"]])
def test_bytes_that_are_not_text(tmp_path: Path, command: list[str]) -> None:
    """What goes through Incus's JSON is UTF-8, and the command gets its bytes all the same."""
    line = shell.encode_arguments(command)
    "".join(line).encode()
    wanted = subprocess.run(command, capture_output=True, check=True).stdout
    assert inside(tmp_path, "/bin/sh", *line).stdout == wanted
    assert shell.encode_arguments(["a", "é"]) == ["a", "é"]


def test_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the ``incus`` client there is no way in."""
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(CliError, match="incus client is not installed") as caught:
        shell.exec_shell(RESULT, [])
    assert caught.value.hints == ["sudo apt install incus-client"]


ATTACH = """\
import errno, os, signal, sys
from repoman import attach
for number in attach.SIGNALS:  # a shell's background jobs ignore some, and so would the client
    signal.signal(number, handler)
start, client = attach.start(sys.argv[1:], os.environ, new_session=True), sys.argv[1]
"""
"""Starts a client as ``exec_shell`` does."""
BECOME = "os.execv(sys.executable, [sys.executable, '-I', '-S', attach.__file__, str(start), 'token', attach.COMMAND, client])\n"
REFUSE = """\
def refused():
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
os.fork = refused
attach.main([str(start), "token", attach.COMMAND, client], os.environ)
"""


def attached(script: str, client: str, handler: str = "0", arguments: str = "[]") -> subprocess.CompletedProcess[str]:
    """Start a client, and go on with the rest of a script.

    :param handler: of the signals, as Python's source; 0 is the default one.
    :param arguments: more arguments of the client, as Python's source.
    """
    command = [sys.executable, "-c", f"import sys\nhandler = {handler}\nsys.argv += {arguments}\n{ATTACH}{script}", client, "-T"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_client_that_is_gone() -> None:
    """It is one sentence and a hint, also for a command that is too long for the system."""
    done = attached(BECOME, "/nonexistent/incus")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "repoman: error: cannot start /nonexistent/incus: No such file or directory.\nhint: command -v incus\n"
    long = attached(f"{BECOME}", "/bin/true", arguments="['x' * 200_000]")
    assert long.returncode == 1 and long.stderr.startswith("repoman: error: cannot start /bin/true: Argument list too long.\nhint: pass ")


def test_a_client_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    """Not even if it is killed before the client is prepared to end with it."""
    script = "import time\ntime.sleep(float(sys.argv[3]))\nos.kill(os.getpid(), signal.SIGKILL)\n"
    client = tmp_path / "client"
    client.write_text("#!/bin/sh\nexec sleep 1000\n", encoding="utf-8")
    client.chmod(0o755)
    for delay in ("0", "0", "0", "0.002", "0.004", "0.1"):
        command = [sys.executable, "-c", f"handler = 0\n{ATTACH}{script}", str(client), "-T", delay]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.communicate(timeout=60)[0] == b""  # the client has its end of the pipe


def test_a_caller_that_ignores_the_end_of_processes() -> None:
    """The end of the client is noticed all the same."""
    command = [
        sys.executable,
        "-c",
        f"handler = 0\nimport signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n{ATTACH}{BECOME}",
        "/bin/false",
    ]
    assert subprocess.run(command, check=False, timeout=60).returncode == 1


THREAD = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
WAIT = "if attach.ends_soon(start):\n    attach.main([str(start), 'token', attach.COMMAND, client], os.environ)\n"


@pytest.mark.parametrize("delay", ["0", "0.3"])
def test_a_caller_with_threads(delay: str) -> None:
    """The kernel reports the end of the client to any thread that does not block the signal, and that drops it."""
    script = f"handler = 0\n{THREAD}{ATTACH}time.sleep({delay})\n{WAIT}{BECOME}"
    assert subprocess.run([sys.executable, "-c", script, "/bin/false"], check=False, timeout=20).returncode == 1


def test_python_that_is_gone(tmp_path: Path) -> None:
    """The client, which has been started, is ended."""
    client = tmp_path / "incus"
    client.write_text("#!/bin/sh\nexec sleep 1000\n", encoding="utf-8")
    client.chmod(0o755)
    script = """\
import json, sys
from repoman import shell
from repoman.errors import CliError
sys.executable = "/nonexistent/python"
try:
    shell.exec_shell(json.loads(sys.argv[1]), ["true"])
except CliError as error:
    print(error.message, *error.hints)
"""
    command = [sys.executable, "-c", script, json.dumps({**RESULT, "socket": "/s"})]
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("cannot start /nonexistent/python: No such file or directory. /nonexistent/python --version"), done


def test_bytes_in_another_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is the bytes of the argument, not the characters that the locale makes of them."""
    assert shell.encode_arguments(["ü"]) == ["ü"]
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode("latin-1"))
    assert shell.encode_arguments(["ü"])[-1] == r"\0374"
    assert shell.encode_arguments(["Ã¼"]) == ["Ã¼"]


def test_no_process_for_the_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one sentence, too."""

    def refused() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    (tmp_path / "incus").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", Path("/dev/null").open())  # noqa: SIM115 - the process ends with it
    monkeypatch.setattr(os, "fork", refused)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        with pytest.raises(CliError, match=r"^cannot start incus: Resource temporarily unavailable\.$"):
            shell.exec_shell(RESULT, [])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def test_a_client_that_ends_at_once_or_by_a_signal(tmp_path: Path) -> None:
    """Its end is not missed while the program that waits for it is loaded; it starts without blocked signals and with the default ones."""
    client = tmp_path / "client"
    client.write_text("#!/bin/sh\ngrep -E 'Sig(Blk|Ign)' /proc/self/status\nexit 3\n", encoding="utf-8")
    client.chmod(0o755)
    slowly = f"import time\nwhile open(f'/proc/{{start}}/stat').read().split()[2] != 'Z':\n    time.sleep(0.01)\n{BECOME}"
    done = attached(slowly, str(client))
    assert (done.returncode, done.stderr) == (3, "")
    passed_on = sum(1 << number - 1 for number in (*attach.SIGNALS, signal.SIGCHLD, signal.SIGPIPE))
    assert [int(line.split()[1], 16) & passed_on for line in done.stdout.splitlines()] == [0, 0]
    client.write_text("#!/bin/sh\nkill -TERM $$\n", encoding="utf-8")
    assert attached(BECOME, str(client), "print").returncode == -signal.SIGTERM


ENTER = """\
import json, sys
from repoman import shell
shell.exec_shell(json.loads(sys.argv[1]), ["true"])
"""


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("parent; exit 3", ("-c", 3)),
        ('until [ "$(parent)" = -I ]; do sleep 0.1; done; parent; exit 4', ("-I", 4)),
        ('kill -TERM $PPID; until [ "$(parent)" = -I ]; do :; done; parent; exit 5', ("-I", 5)),
        ("kill -STOP $$; parent; exit 6", ("-I", 6)),
    ],
    ids=["short", "long", "signal", "stopped"],
)
def test_a_short_command_is_waited_for_without_another_program(tmp_path: Path, script: str, expected: tuple[str, int]) -> None:
    """The one that waits for longer ones is loaded after a second, or at once for a signal or a client that does not go on."""
    client = tmp_path / "incus"
    parent = "parent() { tr '\\0' '\\n' <\"/proc/$PPID/cmdline\" | sed -n 2p; }\n"
    client.write_text(f'#!/bin/sh\n{parent}case "$*" in *repoman-signal*) exit ;; esac\n{script}\n', encoding="utf-8")
    client.chmod(0o755)
    command = [sys.executable, "-c", ENTER, json.dumps({**RESULT, "socket": "/s"})]
    process = subprocess.Popen(command, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, stdout=subprocess.PIPE, text=True)
    if "STOP" in script:
        attached_to = Path(f"/proc/{process.pid}/cmdline")
        while b"-I" not in attached_to.read_bytes().split(b"\0"):
            pass
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGCONT)
    out, _err = process.communicate()
    assert (out.strip(), process.returncode) == expected


def test_no_process_to_pass_a_signal_on(tmp_path: Path) -> None:
    """The command goes on, and its exit status is that of the run."""
    client = tmp_path / "client"
    client.write_text('#!/bin/sh\nkill -TERM "$PPID"\nsleep 0.2\nexit 7\n', encoding="utf-8")
    client.chmod(0o755)
    done = attached(REFUSE, str(client))
    assert (done.returncode, done.stderr) == (7, "")
