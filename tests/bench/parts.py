# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts that a first copy needs in any case, each as short as possible.

It imports no other file of the bench, because it runs as the user who owns the trees: the bench passes its text to that user's Python.
usage: copy TOP TARGET | inflate TOP | prove TOP
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path


def copy(source: str, target: str) -> None:
    """Copy a tree: one open, read, write and close of each file, its mode and its time; directories get theirs when they are full."""
    directory = os.stat(source)
    os.mkdir(target, directory.st_mode & 0o777)
    with os.scandir(source) as entries:
        for entry in entries:
            new = f"{target}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                copy(entry.path, new)
                continue
            status = entry.stat(follow_symlinks=False)
            read = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW)
            write = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, status.st_mode & 0o777)
            os.write(write, os.read(read, status.st_size))
            os.utime(write, ns=(status.st_atime_ns, status.st_mtime_ns))
            os.close(write)
            os.close(read)
    os.utime(target, ns=(directory.st_atime_ns, directory.st_mtime_ns))


def inflate(repository: str) -> None:
    """Inflate and hash each loose object of a repository."""
    for parent, _directories, names in os.walk(f"{repository}/.git/objects"):
        for name in names:
            with open(f"{parent}/{name}", "rb", buffering=0) as file:
                contents = zlib.decompress(file.read())
            if hashlib.sha1(contents, usedforsecurity=False).hexdigest() != os.path.basename(parent) + name:
                raise SystemExit(f"{parent}/{name} is damaged")


def prove(repository: str) -> None:
    """Let git find out whether a repository is complete."""
    subprocess.run(
        ["git", "-C", repository, "fsck", "--connectivity-only"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def on_all_processors(do: Callable[[str], None], names: list[str]) -> None:
    """Call a function for each name, in a process for each processor. :raises SystemExit: one of them failed."""
    count = os.cpu_count() or 1
    children = []
    for number in range(count):
        child = os.fork()
        if not child:
            try:
                for name in names[number::count]:
                    do(name)
            except BaseException as error:
                print(error, file=sys.stderr)
                os._exit(1)
            os._exit(0)
        children.append(child)
    failed = [child for child in children if os.waitpid(child, 0)[1]]
    if failed:
        raise SystemExit(1)


def main(what: str, top: str, target: str = "") -> None:
    """Do what the command line says."""
    os.umask(0)
    parts: dict[str, Callable[[str], None]] = {
        "copy": lambda name: copy(f"{top}/{name}", f"{target}/{name}"),
        "inflate": lambda name: inflate(f"{top}/{name}"),
        "prove": lambda name: prove(f"{top}/{name}"),
    }
    on_all_processors(parts[what], sorted(each.name for each in Path(top).iterdir()))


if __name__ == "__main__":
    main(*sys.argv[1:])
