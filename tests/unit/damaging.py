# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ways to damage git and Mercurial repositories, and to write to them all the time, for tests."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import mirroring
from mirroring import git, hg

Damage = Callable[[Path], None]


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change a file's contents as damage does."""
    data = change(path.read_bytes())
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a bit": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :],
    "cut off": lambda data: data[: len(data) // 2],
    "empty": lambda _data: b"",
    "zeros at the end": lambda data: data[:-30] + bytes(30),
    "something else": lambda _data: b"hello\n",
}


def git_commit(repository: Path, name: str, text: str = "") -> None:
    """Commit a file."""
    (repository / name).write_text(text or "".join(f"{name} {each}\n" for each in range(300)))
    git(repository, "add", name)
    git(repository, "commit", "-q", "-m", name)


def noise(seed: int, size: int) -> bytes:
    """Return bytes that do not compress."""
    return random.Random(seed).randbytes(size)  # noqa: S311


def hg_commit(where: Path, number: int) -> None:
    """Add a changeset that touches all kinds of files."""
    (where / "sub").mkdir(exist_ok=True)
    (where / "big").write_bytes(noise(number, 60_000))
    (where / "text").write_text("".join(f"line {each}\n" for each in range(number * 50)))
    (where / "sub" / f"Upper{number}").write_text(f"{number}\n")
    hg(where, "commit", "-q", "-A", "-m", f"change {number}", "-u", "me")


def hg_log(where: Path) -> list[str]:
    """Return the nodes of a repository's changesets."""
    return hg(where, "log", "-r", "all()", "-T", "{node}\n").split()


def flip(path: str, at: int) -> Damage:
    """Flip a bit; ``at`` from the end if it is negative. The time of the file is another, as after an editor."""

    def damage(where: Path) -> None:
        file = where / path
        data = bytearray(file.read_bytes())
        data[at] ^= 0x10
        file.write_bytes(data)

    return damage


def cut(path: str, size: int) -> Damage:
    """Shorten a file; by so many bytes if the size is negative."""

    def damage(where: Path) -> None:
        file = where / path
        os.truncate(file, size if size >= 0 else file.stat().st_size + size)

    return damage


def remove(path: str) -> Damage:
    """Remove a file."""
    return lambda where: (where / path).unlink()


def fill(path: str, data: bytes) -> Damage:
    """Write something else into a file."""

    def damage(where: Path) -> None:
        (where / path).write_bytes(data)

    return damage


@contextmanager
def writing(script: str, repository: Path, brutal: bool, stop: Path) -> Iterator[None]:
    """Let a writer loop over a repository; it has stopped, with all it started, at the end."""
    command = ["sh", "-c", script, "writer", str(repository), "yes" if brutal else "no", str(stop)]
    writer = subprocess.Popen(
        command, env=mirroring.ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        stop.touch()
        writer.wait()
        stop.unlink()
