# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verb shell: on a real terminal, in a pipe, with the variables of profiles, and what it refuses."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from proxy import RecordingProxy
from world import TIMEOUT, Result, World

READ = ("GET", "/1.0/instances/demo?project=repoman")
"""The request of a shell that needs no playbook run."""


class Terminal:
    """A terminal with a command of the user's on it."""

    def __init__(self, world: World, *argv: str) -> None:
        self.seen = b""
        self.pid, self.fd = pty.fork()
        if not self.pid:
            command = world.me.command(list(argv), world.env(TERM="xterm"))
            os.chdir(world.home)
            os.execvp(command[0], command)  # noqa: S606

    def size(self, rows: int, columns: int) -> None:
        """Make it another size; the kernel tells the foreground process."""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """Type on it."""
        os.write(self.fd, text.encode())

    def wait_for(self, text: str) -> str:
        """Return what was shown up to and with ``text``, which must come."""
        wanted, deadline = text.encode(), time.monotonic() + TIMEOUT
        while wanted not in self.seen:
            assert self._read(deadline), (text, self.seen)
        before, found, self.seen = self.seen.partition(wanted)
        return (before + found).decode(errors="surrogateescape")

    def end(self) -> int:
        """Return the exit status, once it has ended; what it still shows is taken."""
        deadline = time.monotonic() + TIMEOUT
        while self._read(deadline):
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self, deadline: float) -> bool:
        """Read what is shown next; return false at the end."""
        assert select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))[0], self.seen
        try:
            more = os.read(self.fd, 65536)
        except OSError:  # how Linux says that nobody is at the other end
            return False
        self.seen += more
        return bool(more)


@contextmanager
def terminal(world: World, *argv: str) -> Iterator[Terminal]:
    """Run a command on a terminal; it does not outlive the block."""
    there = Terminal(world, *argv)
    try:
        yield there
    finally:
        os.close(there.fd)
        try:
            os.kill(there.pid, signal.SIGKILL)
            os.waitpid(there.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


@pytest.fixture
def demo(ready: World) -> World:
    """A world with the project ``demo`` on busybox."""
    ready.git_repository("demo")
    ready.new("demo")
    return ready


def raw(world: World, *argv: str | bytes, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run ``repoman`` with bytes for arguments and input."""
    command = [os.fsencode(part) for part in world.me.command(["repoman"], world.env())]
    return subprocess.run(
        [*command, *map(os.fsencode, argv)], input=stdin, capture_output=True, cwd=world.home, check=False, timeout=TIMEOUT
    )


def test_in_a_pipe(demo: World, proxy: RecordingProxy) -> None:
    """Any bytes as arguments and input, errors on their own stream, the exit status or the signal; exactly one request before the client's."""
    odd = [b"a b", b"", b"-x", b"--", b"$HOME `id` \\ '\"", b"new\nline\n", b"\xff\xfe\x01", "ü".encode(), b"%s\\0101"]
    assert raw(demo, "shell", "demo", "--", "printf", "%s|", *odd).stdout == b"|".join(odd) + b"|"
    data = os.urandom(3_000_000)
    proxy.clear()
    done = raw(demo, "shell", "demo", "--", "sh", "-c", "cat; echo trouble >&2; pwd >&2; exit 42", stdin=data)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()
    assert done.stderr == f"trouble\n{demo.repos}/demo\n".encode() and done.returncode == 42
    methods = [method for method, _target in proxy.requests]
    first, *of_client = proxy.requests[: methods.index("POST")]
    assert first == READ and methods.count("POST") == 1
    assert [target for _method, target in of_client if target.split("?")[0] not in ("/1.0", "/1.0/events")] == []
    for name in ("TERM", "KILL"):
        assert raw(demo, "shell", "demo", "--", "sh", "-c", f"kill -{name} $$").returncode == 128 + getattr(signal, f"SIG{name}")
    assert raw(demo, "shell", "demo", "--", "no-such-command").returncode == 127


LIBRARIES = ("ansible", "jinja2", "yaml", "tomlkit", "subprocess", "hashlib", "tempfile")


def imports(world: World, *argv: str, code: int = 0, env: dict[str, str] | None = None) -> tuple[set[str], Result]:
    """Run the command; return the libraries that it imported, and the result without Python's list of imports."""
    done = world.repoman(*argv, code=code, env={"PYTHONPROFILEIMPORTTIME": "1"} | (env or {}))
    lines = done.err.splitlines(keepends=True)
    modules = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert "repoman.running" in modules
    return modules & set(LIBRARIES), Result(done.code, done.out, "".join(line for line in lines if not line.startswith("import time:")))


def test_a_running_container_needs_no_playbook(demo: World, proxy: RecordingProxy) -> None:
    """It is opened without ansible and without libraries that only a change needs, registered or not; the trace tells what happened."""
    proxy.clear()
    trace = demo.home / "trace"
    libraries, done = imports(demo, "-q", "shell", "demo", "pwd", env={"REPOMAN_LOG": str(trace)})
    assert (libraries, done.out, done.err) == (set(), f"{demo.repos}/demo\n", "")
    assert proxy.requests.count(READ) == 1 and proxy.requests[0] == READ
    told = [line.split(" ", maxsplit=2)[2] for line in trace.read_text().splitlines()]
    assert told[0] == "running: reading demo without a playbook" and told[-1] == "running: ready" and f"GET {READ[1]} 200" in told[2]
    ordinary = demo.registry.read_text()
    demo.write(demo.registry, ordinary[: ordinary.index("[[project]]")])
    assert imports(demo, "shell", "demo", "pwd") == (set(), Result(0, f"{demo.repos}/demo\n", ""))


def test_all_else_is_left_to_the_playbook(demo: World, proxy: RecordingProxy) -> None:
    """The playbook runs with options that show or change something, and if the container is not ready."""

    def ran(*argv: str, code: int = 0, env: dict[str, str] | None = None) -> Result:
        proxy.clear()
        libraries, done = imports(demo, *argv, code=code, env=env)
        assert "ansible" in libraries, argv
        return done

    def mark(key: str, value: str) -> None:
        demo.incus("config", "set", "--project=repoman", "demo", f"user.repoman.{key}={value}")

    shell = ("shell", "demo", "--", "sh", "-c", "ls -A")
    assert ran("--check", *shell).out == "" and READ not in proxy.requests
    assert ran("-v", *shell).out == ".git\n" and READ not in proxy.requests
    assert ran(*shell, env={"ANSIBLE_VERBOSITY": "0"}).out == ".git\n" and READ not in proxy.requests
    assert "no incus socket" in ran(*shell, code=1, env={"INCUS_SOCKET": "/nonexistent"}).err
    ordinary = demo.registry.read_text()
    demo.write(demo.registry, f"{ordinary}\nimages = 1\n")
    assert "did you mean 'image'" in ran(*shell).err
    demo.write(demo.registry, f"{ordinary}\n[[project")
    assert f"{demo.registry}, line " in ran("shell", "demo", "--", "true", code=3).err
    demo.write(demo.registry, ordinary)
    demo.incus("pause", "--project=repoman", "demo")
    assert ran(*shell).out == ".git\n"
    assert demo.run("sh", "-c", "mv demo away; git init -q demo; touch demo/second", cwd=demo.repos).code == 0
    assert ran(*shell).out.split() == [".git", "second"] and READ in proxy.requests
    assert imports(demo, *shell)[0] == set()
    mark("state", "creating")
    assert "has no container" in ran(*shell, code=4).err
    mark("state", "ready")
    mark("owner", "another")
    assert "belongs to the user 'another'" in ran(*shell, code=4).err
    mark("owner", demo.me.name)
    mark("project", "another")
    assert "was made for the project 'another'" in ran(*shell, code=4).err
    mark("project", "demo")
    demo.incus("stop", "--force", "--project=repoman", "demo")
    assert ran(*shell).out.split() == [".git", "second"]


def test_on_a_terminal(ready: World) -> None:
    """A login shell with job control, the size of the terminal and its changes, Ctrl-C, supplementary groups, the exit status."""
    ready.git_repository("demo")
    ready.new("demo", image="debian")
    ready.incus("exec", "--project=repoman", "demo", "--", "usermod", "-aG", "games", ready.me.name)
    ready.incus("stop", "--force", "--project=repoman", "demo")
    with terminal(ready, "repoman", "shell", "demo") as there:
        there.size(31, 97)
        there.type("PS1='ready-$((6*7))> '\n")
        assert "no job control" not in there.wait_for("ready-42> ")
        there.type("shopt -q login_shell && echo login-$((6*7)); id -Gn; pwd; tty; stty size; trap 'echo size: $(stty size)' WINCH\n")
        there.wait_for("login-42")
        shown = there.wait_for("ready-42> ")
        assert f"{ready.me.name} games\r\n{ready.repos}/demo\r\n/dev/pts/" in shown and "\r\n31 97\r\n" in shown
        there.size(40, 120)
        there.wait_for("size: 40 120")
        there.type("tail -f /etc/hostname\n")
        there.wait_for("debian\r\n")  # tail's own: it runs, and is what Ctrl-C ends
        there.type("\x03")
        there.wait_for("ready-42> ")
        there.type("echo after-$?-$((6*7))\n")
        there.wait_for("after-130-42")
        there.wait_for("ready-42> ")
        there.type("exit 7\n")
        assert there.end() == 7


def test_variables_of_the_configuration(ready: World) -> None:
    """What profiles and the override set is there in spite of the login, whatever it holds; on no command line, and nobody's identity."""
    ready.git_repository("demo")
    odd = 'it\'s "$(id)" `x` \\n two  '
    ready.template("vars", "config:\n  environment.ODD: " + json.dumps(odd) + "\n  environment.HOME: /nowhere\n")
    ready.install("vars")
    ready.write(ready.overrides / "demo.toml", '[config]\n"environment.rest" = "own"\n"environment.not-one" = "x"\n')
    ready.new("demo", profiles=["default", "vars"])
    script = 'printf "%s|" "$ODD" "$rest" "$HOME" "$PATH"; ls /proc/self/fd | grep -c 9; tr "\\0" " " </proc/*/cmdline | grep -c "two" '
    done = raw(ready, "shell", "demo", "--", "sh", "-c", script)
    values = done.stdout.decode().split("|")
    assert values[:3] == [odd, "own", str(ready.home)] and values[4].split() == ["0", "0"]
    ready.incus("stop", "--force", "--project=repoman", "demo")
    assert raw(ready, "shell", "demo", "--", "sh", "-c", 'printf %s "$ODD"').stdout.decode() == odd


def test_what_is_refused_is_not_started(ready: World, proxy: RecordingProxy) -> None:
    """A container that repoman did not make stays as it is; a name that is not known is none."""
    ready.git_repository("demo")
    ready.incus("create", "busybox", "demo", "--project=repoman")
    proxy.clear()
    ready.refused("shell", "demo", "--", "true", code=4)
    ready.refused("shell", "gone", "--", "true", code=3)
    assert proxy.writes == [] and ready.instances()["demo"]["status"] == "Stopped"


def test_root_and_the_name_of_the_project(ready: World) -> None:
    """Root in the same directory with the same behaviour, sudo if the override allows it, and a file that outlives a restart by Incus."""
    repo = ready.git_repository("demo")
    ready.mkdir(repo / "src")
    ready.write(ready.overrides / "demo.toml", "sudo = true\n")
    ready.new("demo", image="debian")
    ready.incus("stop", "--force", "--project=repoman", "demo")
    script = 'id -u; echo "$HOME $USER $REPOMAN_PROJECT"; pwd; cat /run/repoman/project; exit 7'
    done = ready.repoman("shell", "--root", "--", "sh", "-c", script, code=7, cwd=repo / "src")
    assert done.out.splitlines() == ["0", "/root root demo", f"{repo}/src", "demo"] and done.err == ""
    data = os.urandom(300_000)
    assert raw(ready, "shell", "--root", "demo", "cat", stdin=data).stdout == data
    assert raw(ready, "shell", "--root", "demo", "sh", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM
    ready.repoman("shell", "--root", "demo", "no-such-command", code=127)
    assert ready.repoman("shell", "demo", "sudo", "-n", "id", "-u").out == "0\n"
    with terminal(ready, "repoman", "shell", "--root", "demo") as there:
        there.type("PS1='root-$((6*7))> '\n")
        there.wait_for("root-42> ")
        there.type("tail -f /etc/hostname\n")
        there.wait_for("debian\r\n")
        there.type("\x03")
        there.wait_for("root-42> ")
        there.type("shopt -q login_shell && exit 9\n")
        assert there.end() == 9
    ready.incus("restart", "--force", "--project=repoman", "demo")
    script = (
        "until [ -s /run/repoman/project ]; do sleep 0.1; done; stat -c %a:%u /run/repoman/project; od -c /run/repoman/project | head -n 1"
    )
    assert ready.repoman("shell", "demo", "--", "sh", "-c", script).out.split() == ["644:0", "0000000", "d", "e", "m", "o", "\\n"]


def test_root_and_the_name_of_the_project_on_busybox(demo: World) -> None:
    """The smallest image has both, too; an override without sudo says so when the image has none."""
    assert demo.repoman("shell", "--root", "demo", "--", "sh", "-c", "id -u; pwd; echo $HOME").out.split() == [
        "0",
        f"{demo.repos}/demo",
        "/root",
    ]
    demo.incus("restart", "--force", "--project=repoman", "demo")
    assert demo.repoman("shell", "demo", "--", "sh", "-c", "cat /run/repoman/project; echo $REPOMAN_PROJECT").out == "demo\ndemo\n"
