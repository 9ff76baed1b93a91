# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the commands run: the home of an ordinary user, the command installed as a wheel, a private Incus, the programs to compare with."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from installed import install
from lab import private_incus
from world import CHECKOUT, LAN_IP, TIMEOUT, Me, Result, World, account, home_of, remove

from bench.processes import ended, remove_tree, run_all

TREES = (Path(__file__).parent / "trees.py").read_text()
LIBRARY = 'description: profile {number}\nconfig:\n  environment.NUMBER: "{number}"\ndevices: {{}}\n'
PING = """\
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    ansible_python_interpreter: {python}
  tasks: {tasks}
"""
ONE_MODULE = "\n    - ansible.builtin.ping:"
ANSIBLE = CHECKOUT / ".dev/bench/ansible"
"""Virtual environment with the package ``ansible``, which is kept."""
COLLECTION = "community.general"
"""What a series names if it needs collections of the package ``ansible``."""
PACKAGES = {
    "restic": ("restic",),
    "borg": ("borgbackup",),
    "rclone": ("rclone",),
    "rsync": ("rsync",),
    "fusermount3": ("fuse3",),
    "cc": ("gcc", "libc6-dev"),
    "pkg-config": ("pkg-config",),
}
HEADERS = "/usr/include/fuse3/fuse.h"
REMOVED = CHECKOUT / ".dev/bench/removed"
"""A file with the time at which a run removed its trees."""
REUSE_SECONDS = 360
"""Seconds after which ext4 uses the inodes of deleted files again (``recently_deleted`` in Linux's ``fs/ext4/ialloc.c``); until then it
passes over each of them when it looks for a free one, and a copy takes several times as long."""
ERRORS_SHOWN = 2000
"""Bytes of the errors of a failed command that are shown."""


class BenchError(Exception):
    """Something cannot be measured; the text says what and why."""


@dataclass(frozen=True)
class Run:
    """What a command took.

    :param seconds: from its start until it was waited for.
    :param megabytes: memory of its largest process.
    """

    seconds: float
    megabytes: float


class Home(World):
    """A home of the bench. What runs in it to prepare something ends with the bench, too."""

    def run(self, *argv: str, stdin: str = "", env: dict[str, str] | None = None, cwd: Path | None = None) -> Result:
        """Run a command as the user."""
        command, pipe = self.me.command(list(argv), self.env(**(env or {}))), subprocess.PIPE
        code, *texts = run_all(command, data=stdin.encode(), timeout=TIMEOUT, cwd=cwd or self.home, stdout=pipe, stderr=pipe)
        return Result(code, *(text.decode(errors="surrogateescape") for text in texts))


class Bench:
    """Makes what a series needs when it needs it, and takes everything away in the end.

    :param options: of the command line.
    :param stack: what must be taken away is registered in it.
    """

    def __init__(self, options: Namespace, stack: ExitStack) -> None:
        self.options, self.stack = options, stack
        self._changes = 0

    def say(self, what: str) -> None:
        """Tell the person what is being done now."""
        print(f"… {what}", file=sys.stderr, flush=True)

    @cached_property
    def me(self) -> Me:
        """The user: who runs this, or a temporary account for root, so that the figures are those of an ordinary user."""
        if os.geteuid() == 0:
            return self.stack.enter_context(account("b", home="/nonexistent"))
        entry = pwd.getpwuid(os.getuid())
        return Me(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)

    @cached_property
    def bin_dir(self) -> Path:
        """The ``bin`` with the installed command."""
        self.say("installing the command from a wheel")
        place = install()
        self.stack.callback(remove, place)
        return place / "venv/bin"

    def install(self, needs: Collection[str]) -> None:
        """Install the command and what series need: all before the first measurement, so that none has a machine that was just busy.

        :param needs: commands that have a package, and :data:`COLLECTION`.
        """
        self._wait_for_inodes()
        need(*(each for each in needs if each != COLLECTION))
        if COLLECTION in needs:
            _found = self.collections
        _found = self.bin_dir

    @property
    def ansible_playbook(self) -> Path | None:
        """The program in the environment of the command, if that was made; this makes none."""
        made: Path | None = self.__dict__.get("bin_dir")
        return made / "ansible-playbook" if made else None

    @cached_property
    def socket(self) -> str:
        """The socket of a private Incus with the test images."""
        self.say("starting an Incus")
        return self.stack.enter_context(private_incus("busybox debian"))

    @cached_property
    def place(self) -> Path:
        """A directory of the user's for trees and targets."""
        place = Path(tempfile.mkdtemp(prefix="repoman-bench.", dir=self.options.where or "/var/tmp"))
        place.chmod(0o755)
        os.chown(place, self.me.uid, self.me.gid)
        self.stack.callback(self._remove, place)
        return place

    def _wait_for_inodes(self) -> None:
        """Wait if the last run has just removed its trees: they may share a disk with the containers, too."""
        with suppress(FileNotFoundError):
            left = REMOVED.stat().st_mtime + REUSE_SECONDS - time.time()
            if 0 < left <= REUSE_SECONDS:
                self.say(f"waiting {left:.0f} s: the trees of the last run were removed just now, so writing is slow")
                time.sleep(left)

    def _remove(self, place: Path) -> None:
        try:
            remove_tree(place)
            REMOVED.parent.mkdir(parents=True, exist_ok=True)
            REMOVED.touch()
        except OSError as error:
            self.say(f"{place} is left behind: {error}")

    def make_directory(self, path: Path) -> Path:
        """Make a directory as the user; return it."""
        subprocess.run(self.me.command(["mkdir", str(path)], {"PATH": os.environ["PATH"]}), check=True, cwd="/")
        return path

    def fresh_directory(self, name: str) -> Path:
        """Make an empty directory of the user's in :attr:`place`."""
        return self.make_directory(self.place / f"{name}-{secrets.token_hex(4)}")

    @cached_property
    def source(self) -> Path:
        """The 200 generated repositories."""
        self.say("making 200 repositories")
        source = self.place / "source"
        self.trees("build", source, 200)
        return source

    def change(self, source: Path) -> None:
        """Change 1 % of the files, others than last time."""
        self._changes += 1
        self.trees("change", source, self._changes)

    def world(self, socket: str = "") -> World:
        """Make a new home with the command, without a registry."""
        home = self.stack.enter_context(home_of(self.me))
        return Home(self.me, home, self.bin_dir, socket or self.socket)

    def set_up(self, socket: str = "") -> World:
        """Make a new home in which ``setup`` was run; the default image is the small one."""
        world = self.world(socket)
        world.repoman("setup", "--non-interactive")
        text = world.registry.read_text().replace('lan_ip = ""', f'lan_ip = "{LAN_IP}"')
        world.write(world.registry, text.replace('default_image = "images:ubuntu/26.04/cloud"', 'default_image = "busybox"'))
        return world

    @cached_property
    def main(self) -> World:
        """A home with the vendor profiles installed and a running container ``demo``."""
        world = self.set_up()
        self.say("installing profiles, making a container")
        world.repoman("profile", "install", "--all")
        world.git_repository("demo")
        world.repoman("new", "demo")
        return world

    def playbook(self, world: World, tasks: str = ONE_MODULE) -> list[str]:
        """Write a playbook for this machine; return the command that runs it.

        :param tasks: YAML; ``[]`` for none.
        """
        text = PING.format(python=self.bin_dir / "python", tasks=tasks)
        name = "ping.yml" if tasks == ONE_MODULE else "play.yml"
        return ["ansible-playbook", str(world.write(world.home / name, text))]

    def run(self, world: World, *argv: str, codes: Collection[int] = (0,), cwd: Path | None = None, **more: str) -> Run:
        """Run a command as the user and measure it; what it prints is dropped.

        :param codes: the exit statuses that are right. :param more: environment variables.
        :raises BenchError: another exit status.
        """
        with tempfile.TemporaryFile() as errors:
            process, began = self.start(world, argv, errors, cwd, more)
            with ended(process):
                _pid, status, usage = os.wait4(process.pid, 0)
                seconds = time.perf_counter() - began
                process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode not in codes:
                errors.seek(-min(ERRORS_SHOWN, errors.seek(0, os.SEEK_END)), os.SEEK_END)
                output = errors.read().decode(errors="replace")
                raise BenchError(f"{' '.join(argv)} ended with {process.returncode}: {output}")
        return Run(seconds, usage.ru_maxrss / 1024)

    def start(
        self,
        world: World,
        argv: Sequence[str],
        errors: IO[bytes] | int,
        cwd: Path | None,
        more: dict[str, str],
        output: int = subprocess.DEVNULL,
    ) -> tuple[subprocess.Popen[bytes], float]:
        """Start a command as the user, with no program in between; return it and when that was.

        It leads a session, so that :func:`bench.processes.ended` can end what it starts, and nothing asks the person at the terminal.
        """
        me = self.me
        who: dict[str, Any] = {}
        if os.geteuid() == 0:
            who = {"user": me.uid, "group": me.gid, "extra_groups": os.getgrouplist(me.name, me.gid)}
        environment = world.env(**more)
        began = time.perf_counter()
        process = subprocess.Popen(
            argv,
            env=environment,
            cwd=cwd or world.home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
            **who,
        )
        return process, began

    def side(self, world: World, *argv: str, **more: Any) -> Callable[[], float]:
        """Return what runs a command and says how many seconds it took."""
        return lambda: self.run(world, *argv, **more).seconds

    def trees(self, what: str, top: Path, *number: int) -> None:
        """Make or change trees as the user; see :mod:`bench.trees`."""
        command = self.me.command(
            [str(self.bin_dir / "python"), "-c", TREES, what, str(top), *map(str, number)], {"PATH": os.environ["PATH"]}
        )
        code, _output, _errors = run_all(command, cwd="/")
        if code:
            raise BenchError(f"the trees in {top} could not be made: see above")

    @cached_property
    def collections(self) -> Path:
        """The directory of the collections in the package ``ansible``, which is kept for the next run."""
        if not (ANSIBLE / ".done").exists():
            self.say("installing the package ansible")
            subprocess.run([sys.executable, "-m", "venv", "--clear", ANSIBLE], check=True)
            pip: list[str | Path] = [
                CHECKOUT / "scripts/retry",
                ANSIBLE / "bin/pip",
                "install",
                "-qq",
                "--disable-pip-version-check",
                "ansible",
            ]
            subprocess.run(pip, check=True)
            (ANSIBLE / ".done").touch()
        (found,) = ANSIBLE.glob("lib/python*/site-packages/ansible_collections")
        return found


def need(*commands: str) -> None:
    """Install missing programs to compare with, as root or through sudo."""
    packages = [package for command in commands if not shutil.which(command) for package in PACKAGES[command]]
    if "fusermount3" in commands and not os.path.exists(HEADERS):
        packages.append("libfuse3-dev")
    if packages:
        sudo = [] if os.geteuid() == 0 else ["sudo"]
        install_them = 'apt-get install -y -qq --no-install-recommends "$@" >/dev/null || { apt-get update -qq; false; }'
        command = [
            *sudo,
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            str(CHECKOUT / "scripts/retry"),
            "sh",
            "-c",
            install_them,
            "sh",
            *packages,
        ]
        subprocess.run(command, check=True)
