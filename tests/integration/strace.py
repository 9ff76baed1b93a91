# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""System calls of the modules' logic and of all that it starts (git, hg, workers): what they are, and one of them that fails or kills."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from logic import GATE
from world import Result, World

WRITES = (
    *("write", "pwrite64", "writev", "sendto", "sendmsg", "openat", "rename", "renameat", "renameat2", "link", "linkat", "unlink"),
    *("unlinkat", "mkdir", "mkdirat", "rmdir", "symlink", "symlinkat", "fsync", "fdatasync", "sync_file_range", "syncfs", "ftruncate"),
    *("fallocate", "chmod", "fchmod", "fchmodat", "fchown", "fchownat", "lchown", "utimensat", "copy_file_range", "sendfile", "flock"),
    *("setxattr", "lsetxattr", "fsetxattr", "mknodat"),
)
READS = ("openat", "read", "pread64", "getdents64", "newfstatat", "statx", "readlink", "readlinkat")
KILL = "KILL"
WRITE_ERRORS = ("ENOSPC", "EIO", "EROFS", "EDQUOT", "ESTALE", "EINTR")
READ_ERRORS = ("EIO", "ESTALE")
SECONDS = 60.0
"""A run that takes longer hangs. strace slows it down."""
_LINE = re.compile(r"(\d+) +(\w+)\((.*)")
_ABSOLUTE = re.compile(r'AT_FDCWD<[^>]*>, (?="/)')
"""The working directory before an absolute path."""
_FOR_WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT")


@dataclass(frozen=True)
class Call:
    """A system call of a run.

    :ivar process: its thread. :ivar name: of the call. :ivar number: from 1, of the calls with this name in this thread.
    :ivar text: arguments and result as strace writes them, with the paths of open files.
    """

    process: int
    name: str
    number: int
    text: str

    @property
    def writes(self) -> bool:
        """Whether it may change something."""
        return self.name in WRITES and (self.name != "openat" or bool(_FOR_WRITING.search(self.text)))


@dataclass(frozen=True)
class Fault:
    """What happens to the call of a name with a number, in each thread that comes so far.

    :ivar kind: an error, or ``KILL``: the process is killed before the call does anything.
    """

    name: str
    number: int
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} at {self.name} no. {self.number}"

    @property
    def injection(self) -> str:
        """The value of the option ``inject`` of strace."""
        return f"inject={self.name}:{'signal=KILL' if self.kind == KILL else f'error={self.kind}'}:when={self.number}"


@dataclass(frozen=True)
class Traced:
    """What a traced run did.

    :ivar result: of the process; its code is None if it was ended because it took too long. :ivar calls: in their order.
    :ivar hit: the calls that the fault hit. :ivar counts: whether there are any, and an error hit nothing but calls about the home or the daemon.
    """

    result: Result
    calls: list[Call]
    hit: list[str]
    counts: bool


def why_not() -> str:
    """Return why this machine cannot trace; empty if it can."""
    try:
        done = subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "needs strace: scripts/dev-incus install"
    return f"may not trace: {done.stderr.strip()}" if done.returncode else ""


def trace(world: World, module: str, params: dict[str, Any], names: Iterable[str], fault: Fault | None = None) -> Traced:
    """Run a module under strace.

    :param names: of the calls to list.
    :param fault: happens in it.
    """
    assert world.logic
    output = world.home.parent / f"{world.home.name}.strace"
    output.touch()
    os.chown(output, world.me.uid, world.me.gid)
    names = sorted({*names, GATE, *([fault.name] if fault else ())})
    strace = ["strace", "-f", "-y", "-s", "48", "-qq", "-o", str(output), "-e", "signal=none", "-e", f"trace={','.join(names)}"]
    if fault:
        strace += ["-e", fault.injection]
    try:
        result = world.logic.traced(module, params, strace, env=world.env(), cwd=world.home, seconds=SECONDS)
        text = output.read_text(errors="backslashreplace")
    finally:
        output.unlink()
    calls = list(_calls(text))
    hit = [f"{call.name}({call.text}" for call in calls if fault and (call.name, call.number) == (fault.name, fault.number)]
    counts = bool(hit) and (fault is None or fault.kind == KILL or all(about(each, world.home) for each in hit))
    return Traced(result, calls, hit, counts)


def _calls(text: str) -> Iterator[Call]:
    """Read the output of strace. The two parts of an interrupted line are joined where the call began."""
    lines = text.splitlines()
    numbers: Counter[tuple[int, str]] = Counter()
    for at, line in enumerate(lines):
        if not (match := _LINE.match(line)):
            continue
        process, name, rest = int(match[1]), match[2], match[3]
        numbers[process, name] += 1
        if rest.endswith("<unfinished ...>"):
            resumed = f"{process} <... {name} resumed>"
            found = next((other for other in lines[at + 1 :] if re.sub(" +", " ", other).startswith(resumed)), "")
            rest = rest.removesuffix("<unfinished ...>") + found.partition("resumed>")[2]
        yield Call(process, name, numbers[process, name], rest)


def about(text: str, home: Path) -> bool:
    """Return whether a call is about something in the home, or a socket of the network or of the daemon.

    The working directory is in the home, which does not matter to an absolute path, such as that of a module of Python.
    """
    return str(home) in _ABSOLUTE.sub("", text) or "<socket:" in text


def touching(calls: Iterable[Call], home: Path) -> list[Call]:
    """Return the calls about the home or a daemon, each once: one with the same name and number in another thread is hit with it."""
    found: dict[tuple[str, int], Call] = {}
    for call in calls:
        if about(call.text, home):
            found.setdefault((call.name, call.number), call)
    return list(found.values())
