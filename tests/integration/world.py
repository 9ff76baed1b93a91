# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests see of the world: the user, the command, Incus as witness."""

from __future__ import annotations

import errno
import json
import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from output_schema import check_document

if TYPE_CHECKING:
    from logic import Logic

CHECKOUT = Path(__file__).parents[2]
LAN_IP = "192.0.2.10"
"""Of a machine that is offline; otherwise it is what ``setup`` detects."""
TIMEOUT = 180
ADMINS = "incus-admin"
NO_SUBIDS = ("--key", "SUB_UID_COUNT=0", "--key", "SUB_GID_COUNT=0")
"""Accounts of tests need none, and beside those that Incus has the machine has few."""


@dataclass(frozen=True)
class Me:
    """The ordinary user the product is tested as."""

    name: str
    uid: int
    gid: int
    home: str = ""

    def command(self, argv: list[str], env: dict[str, str]) -> list[str]:
        """Return what runs ``argv`` as this user with exactly ``env``."""
        become = ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--init-groups"] if os.geteuid() == 0 else []
        return [*become, "env", "-i", *(f"{key}={value}" for key, value in env.items()), *argv]


@contextmanager
def account(mark: str, home: str = "") -> Iterator[Me]:
    """Make a temporary account, one that may use Incus; for tests that run as root.

    :param mark: a letter that tells it from the other accounts of this run.
    :param home: its home; a temporary directory where not given.
    """
    name = f"repoman-{mark}{secrets.token_hex(4)}"
    with ExitStack() as stack:
        place = home or str(stack.enter_context(place_for("repoman-a")))
        subprocess.run(["groupadd", "--force", ADMINS], check=True)
        subprocess.run(
            [
                "useradd",
                *NO_SUBIDS,
                "--user-group",
                "--no-create-home",
                "--home-dir",
                place,
                "--groups",
                ADMINS,
                "--shell",
                "/bin/bash",
                name,
            ],
            check=True,
        )
        entry = pwd.getpwnam(name)
        stack.callback(_take_leave, entry)
        if not home:
            os.chown(place, entry.pw_uid, entry.pw_gid)
        yield Me(name, entry.pw_uid, entry.pw_gid, place)


def _take_leave(entry: pwd.struct_passwd) -> None:
    """Remove an account, what it still runs, and what its killed commands have left."""
    deadline = time.monotonic() + TIMEOUT
    while subprocess.run(["pkill", "-KILL", "--runstates", "D,R,S", "-U", str(entry.pw_uid)], check=False).returncode == 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for path in Path("/tmp").glob("repoman-*"):
        with suppress(FileNotFoundError):  # another account's
            if path.lstat().st_uid == entry.pw_uid:
                remove(path)
    subprocess.run(["userdel", "--force", entry.pw_name], check=True)


def remove(place: Path) -> None:
    """Remove a directory, also while a process that is about to end removes its files too, or makes the last one."""
    for _attempt in range(100):
        try:
            shutil.rmtree(place)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENOTEMPTY}:
                raise
        if not place.exists():
            return
    raise AssertionError(f"{place} is not empty: {list(place.rglob('*'))}")


@contextmanager
def place_for(prefix: str, parent: str = "/var/tmp") -> Iterator[Path]:
    """Make a directory that any user can read, for a while."""
    place = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    place.chmod(0o755)
    try:
        yield place
    finally:
        remove(place)


@contextmanager
def home_of(me: Me) -> Iterator[Path]:
    """Make a home for a while."""
    with place_for("repoman-h") as home:
        os.chown(home, me.uid, me.gid)
        yield home


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Standard output as JSON; a document of repoman must follow its schema."""
        document = json.loads(self.out)
        if isinstance(document, dict) and "verb" in document:
            check_document(document)
        return document


class IncusRefusalError(Exception):
    """Incus answered with an error."""


class UnixConnection(HTTPConnection):
    """A connection to a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("incus", timeout=TIMEOUT)
        self.path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def changes(result: Result) -> int:
    """Return how many tasks of a playbook changed something, from the recap."""
    return sum(int(number) for number in re.findall(r"changed=(\d+)", result.out))


class World:
    """A temporary home with the product installed, and an Incus to check the results with.

    :param logic: runs modules without Ansible, for what a test only prepares.
    """

    def __init__(self, me: Me, home: Path, bin_dir: Path, socket: str, logic: Logic | None = None) -> None:
        self.me, self.home, self.bin_dir, self.socket, self.logic = me, home, bin_dir, socket, logic
        self.witness = socket
        self.repos = home / "repos"
        self.registry = home / ".config/repoman/repoman.toml"
        self.user_dir = home / ".config/repoman/profiles.d"
        self.overrides = home / ".config/repoman/repos.d"

    def env(self, **more: str) -> dict[str, str]:
        """Return the environment of the user's commands."""
        return {
            "PATH": f"{self.bin_dir}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(self.home),
            "USER": self.me.name,
            "LANG": "C.UTF-8",
            "INCUS_SOCKET": self.socket,
            "ANSIBLE_REMOTE_TEMP": str(self.home / ".ansible/tmp"),
        } | more

    @property
    def lan_ip(self) -> str:
        """Return the host's address in the registry."""
        return re.findall(r'(?m)^lan_ip = "(.*?)"', self.registry.read_text())[0]

    def run(self, *argv: str, stdin: str = "", env: dict[str, str] | None = None, cwd: Path | None = None) -> Result:
        """Run a command as the user."""
        command = self.me.command(list(argv), self.env(**(env or {})))
        done = subprocess.run(command, input=stdin.encode(), capture_output=True, cwd=cwd or self.home, timeout=TIMEOUT, check=False)
        result = Result(done.returncode, done.stdout.decode(errors="surrogateescape"), done.stderr.decode(errors="surrogateescape"))
        assert "Traceback" not in result.out + result.err, result
        return result

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        """Start a command as the user; its process is the command's own."""
        command = self.me.command(list(argv), self.env())
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.home)

    def on_terminal(self, command: str, typed: str) -> Result:
        """Run a shell command on a terminal of its own, with ``typed`` as what is typed; output and errors come together."""
        return self.run(
            "script", "--quiet", "--return", "--command", command, "/dev/null", stdin=typed, env={"TERM": "xterm", "NO_COLOR": "1"}
        )

    def repoman(self, *argv: str, code: int = 0, stdin: str = "", env: dict[str, str] | None = None, cwd: Path | None = None) -> Result:
        """Run the command ``repoman``, which must exit with ``code``; a failure must be a sentence with a hint."""
        result = self.run("repoman", *argv, stdin=stdin, env=env, cwd=cwd)
        assert result.code == code, result
        return result

    def refused(self, *argv: str, code: int, env: dict[str, str] | None = None) -> str:
        """Run ``repoman``, which must refuse with ``code``, in one sentence and at least a hint; return standard error."""
        result = self.repoman(*argv, code=code, env=env)
        lines = result.err.splitlines()
        assert [line for line in lines if line.startswith("repoman: error: ")], result
        assert [line for line in lines if line.startswith("hint: ")], result
        return result.err

    def playbook(self, *argv: str, code: int = 0, env: dict[str, str] | None = None, **extra: Any) -> Result:
        """Run ``ansible-playbook`` with no wrapper."""
        result = self.run("ansible-playbook", *argv, *(["-e", json.dumps(extra)] if extra else []), env=env)
        assert result.code == code, result
        return result

    def module(self, name: str, /, *, check: bool = False, constants: dict[str, Any] | None = None, **params: Any) -> Any:
        """Run a module of the collection without Ansible; return its result.

        :param name: without ``repoman_``. :param constants: values of names in ``module_utils``. :param params: its options.
        """
        assert self.logic
        return self.logic.run(name, params, env=self.env(), cwd=self.home, check=check, constants=constants).data

    def new(self, *names: str, image: str = "busybox", **options: Any) -> None:
        """Make projects that run, for tests that are about something else.

        :param options: of each in the module.
        """
        result = self.module("project", projects=[{"name": name, "image": image} | options for name in names], state="started")
        assert not result.get("failed"), result

    def remove(self, *names: str) -> None:
        """Remove projects, for tests that are about something else."""
        result = self.module("project", projects=[{"name": name} for name in names], state="absent")
        assert not result.get("failed"), result

    def install(self, *profiles: str) -> None:
        """Install profiles, for tests that are about something else."""
        result = self.module("profile", names=list(profiles))
        assert not result.get("failed"), result

    def git_repository(self, name: str) -> Path:
        """Make a git repository with one commit."""
        path = self.repos / name
        commands = (
            "git init -q -b main && git config user.name Me && git config user.email me@example.org && git commit -q --allow-empty -m first"
        )
        self.mkdir(path)
        assert self.run("sh", "-c", commands, cwd=path).code == 0
        return path

    def write(self, path: Path, text: str) -> Path:
        """Write a file of the user's."""
        self.mkdir(path.parent)
        path.write_text(text)
        os.chown(path, self.me.uid, self.me.gid)
        return path

    def mkdir(self, path: Path) -> Path:
        """Make a directory of the user's."""
        assert self.run("mkdir", "-p", str(path), cwd=Path("/")).code == 0
        return path

    def template(self, name: str, text: str) -> Path:
        """Write a template into the user's library."""
        return self.write(self.user_dir / f"{name}.yml", text)

    def incus(self, *argv: str, check: bool = True) -> str:
        """Ask the incus client."""
        env = os.environ | {"INCUS_SOCKET": self.witness}
        done = subprocess.run(
            ["incus", *argv], capture_output=True, text=True, timeout=TIMEOUT, check=False, stdin=subprocess.DEVNULL, env=env
        )
        assert done.returncode == 0 or not check, done
        return done.stdout

    def api(self, method: str, path: str, body: object = None) -> Any:
        """Ask Incus itself, which starts no process; what works in the background has ended afterwards.

        :returns: the metadata of the answer. :raises IncusRefusalError: it is an error.
        """
        with closing(UnixConnection(self.witness)) as connection:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = json.load(connection.getresponse())
        if answer["type"] == "async":
            ended = self.api("GET", f"{answer['operation']}/wait")
            answer |= {"type": "error", "error": ended["err"]} if ended["err"] else {}
        if answer["type"] == "error":
            raise IncusRefusalError(answer["error"])
        return answer["metadata"]

    def instances(self) -> dict[str, Any]:
        """Return the instances of project repoman as Incus describes them."""
        try:
            listed = self.api("GET", "/1.0/instances?recursion=1&project=repoman")
        except IncusRefusalError:
            assert "repoman" not in self.projects()
            return {}
        return {each["name"]: each for each in listed}

    def wait_gone(self, instance: str) -> None:
        """Wait until there is no such instance, for as long as a command may take."""
        deadline = time.monotonic() + TIMEOUT
        while instance in self.instances():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def projects(self) -> dict[str, Any]:
        """Return Incus's projects as Incus describes them."""
        return {each["name"]: each for each in self.api("GET", "/1.0/projects?recursion=1")}

    def profiles(self) -> dict[str, Any]:
        """Return the profiles of project default as Incus describes them."""
        return {each["name"]: each for each in self.api("GET", "/1.0/profiles?recursion=1&project=default")}

    def clean(self) -> None:
        """Take instances, project and profiles away again."""
        for name in self.instances():
            self.incus("delete", "--force", "--project=repoman", name)
        with suppress(IncusRefusalError):
            self.api("DELETE", "/1.0/projects/repoman")
        for name in self.profiles():
            if name != "default":
                self.api("DELETE", f"/1.0/profiles/{quote(name, safe='')}?project=default")


@dataclass(frozen=True)
class SetUp:
    """What ``repoman setup`` leaves, to be had again without running it: tests that are about something else begin with it.

    :param home: a home in which it was run.
    :param project: Incus's project, as it was then.
    """

    home: Path
    project: dict[str, Any]

    @classmethod
    def of(cls, world: World) -> SetUp:
        """Run ``setup``, and take the project away again."""
        world.repoman("setup", "--non-interactive")
        project = {key: value for key, value in world.projects()["repoman"].items() if key in {"name", "description", "config"}}
        world.clean()
        return cls(world.home, project)

    def copy_to(self, world: World) -> None:
        """Make home and project as they were."""
        subprocess.run(["cp", "-a", f"{self.home}/.", world.home], check=True)
        world.api("POST", "/1.0/projects", self.project)
