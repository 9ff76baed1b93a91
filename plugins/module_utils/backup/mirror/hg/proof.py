# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What this host's hg says of a ``.hg`` that was built: sound, damaged, or of a format that it does not know.

hg runs on a directory of ours with links to the mirror's files, without anybody's configuration. Extensions that the repository's
format needs are switched on if Mercurial ships them, so that they come from its own installation.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import shutil
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.git_mirror import give
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg import prover as hg_prover
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

HG_SECONDS = 6 * 3600
HG_MEMORY = 6 << 30
"""Address space that hg may take: what a repository holds must not exhaust the host."""
OUTPUT = 1 << 20
SMALL = 1 << 20
"""Bytes that a file such as ``requires`` is read up to."""

EXTENSIONS = {
    b"exp-sparse": "sparse",
    b"largefiles": "largefiles",
    b"lfs": "lfs",
    b"narrowhg-experimental": "narrow",
}
"""Requirements, and the extension of Mercurial's own that knows them."""

UNKNOWN = (
    b"requires features unknown",
    b"unknown version",
    b"unknown flag",
    b"unknown command 'repoman-prove'",
    b"repository format",
    b"without associated fast implementation",
)
UNSTABLE = (b"exp-changelog-v2", b"exp-revlogv2", b"exp-copies-sidedata-changeset")
"""Requirements of experiments that differ from one Mercurial to the next under one name: what one finds wrong may be sound to another."""
_LOOKED_AT = (b"requires", b"bookmarks", b"00changelog.i", b"narrowspec", b"sparse")


@dataclass(frozen=True)
class Problem:
    """Something wrong with a store.

    :param path: of the file, relative to ``.hg``; empty if it is not known.
    :param rev: revision of that log, -1 if none is meant.
    :param link: changeset that it belongs to, -1 if it is not known.
    """

    path: bytes
    text: str
    rev: int = -1
    link: int = -1

    def __str__(self) -> str:
        where = escape_path(self.path) + (f" revision {self.rev}" if self.rev >= 0 else "")
        return f"{where}: {self.text}" if where else self.text


@dataclass
class Verdict:
    """The result of a verification.

    :param unknown: reason why this host cannot verify the repository.
    """

    problems: list[Problem] = field(default_factory=list)
    unknown: str = ""

    @property
    def text(self) -> str:
        """What is wrong, in a few words."""
        return "; ".join(str(each) for each in self.problems[:2])


@dataclass(frozen=True)
class Job:
    """A verification job.

    :param logs: path of each log below ``.hg``, and the first revision to verify.
    :param since: first changeset that must have all its files; -1 for a check of everything.
    :param parents: the working directory's parents must be in the history.
    """

    logs: tuple[tuple[bytes, int], ...]
    since: int = -1
    parents: bool = True


def prove(build: bytes, found: dict[bytes, Entry], job: Job, place: str, account: tuple[int, int] | None) -> Verdict:
    """Let hg check what was built.

    :param build: the ``.hg``.
    :param found: what it holds.
    :param place: local directory for what hg is to look at; it is removed again.
    """
    shutil.rmtree(place, ignore_errors=True)
    base = os.path.join(os.fsencode(place), b"repo", b".hg")
    os.makedirs(base)
    try:
        for path, entry in sorted(found.items()):
            if path.startswith((b"store", b"dirstate", b"narrowspec.")) or path in _LOOKED_AT:
                if path.startswith(b"dirstate") and not job.parents:
                    continue
                if entry.kind == "d":
                    os.makedirs(os.path.join(base, path), exist_ok=True)
                elif entry.kind == "f":
                    os.makedirs(os.path.dirname(os.path.join(base, path)), exist_ok=True)
                    os.symlink(os.path.join(build, path), os.path.join(base, path))
        Path(place, "hg_prover.py").write_bytes(hg_prover.__loader__.get_data(str(hg_prover.__file__)))  # type: ignore[union-attr]
        described = {"logs": [(os.fsdecode(path), first) for path, first in job.logs], "since": job.since, "parents": job.parents}
        Path(place, "job").write_text(json.dumps(described), encoding="utf-8")
        return _run(place, account)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def extensions(requirements: Iterable[bytes]) -> list[str]:
    """Return the options that switch on what some requirements need. Only Mercurial's own are named: it looks for those in itself first."""
    names = sorted({EXTENSIONS[each] for each in requirements if each in EXTENSIONS})
    return [f"--config=extensions.{each}=" for each in names]


def requirements(base: str) -> set[bytes]:
    """Return the requirements of a repository's format, as far as they can be read."""
    found: set[bytes] = set()
    for path in ("requires", "store/requires"):
        found.update(read_small(os.path.join(base, path)).split())
    return found


def _environment() -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "HOME": "/nonexistent",
        "XDG_CONFIG_HOME": "/nonexistent",
        "HGRCPATH": "",
        "HGRCSKIPREPO": "1",
        "HGPLAIN": "1",
        "HGENCODING": "utf-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
    }


def _run(place: str, account: tuple[int, int] | None) -> Verdict:
    repository = os.path.join(place, "repo")
    needed = requirements(os.path.join(repository, ".hg"))
    verdict = _ask(place, repository, needed, account)
    if verdict.problems and any(each.startswith(UNSTABLE) for each in needed):
        return Verdict(unknown=f"its format is experimental, and this host's hg reports {verdict.text!r}")
    return verdict


def _ask(place: str, repository: str, needed: set[bytes], account: tuple[int, int] | None) -> Verdict:
    command = [
        "hg",
        "--repository",
        repository,
        f"--config=extensions.repoman_prover={place}/hg_prover.py",
        f"--config=lfs.usercache={place}/lfs",
        f"--config=largefiles.usercache={place}/largefiles",
        "--config=lfs.url=null://",
        "--config=storage.dirstate-v2.slow-path=allow",
        "--config=storage.fileindex.slow-path=allow",
        "--config=storage.revlog.persistent-nodemap.slow-path=allow",
        *extensions(needed),
        "--noninteractive",
    ]
    try:
        code, output, errors = _bounded([*command, "repoman-prove", os.path.join(place, "job")], place, account)
        if b"Traceback" in errors and b"repoman done" not in output:  # this Mercurial has other insides than the extension knows
            code, output, errors = _bounded([*command, "verify"], place, account)
            return (
                Verdict()
                if not code
                else Verdict([Problem(b"", f"hg verify reports {escape_path(b'; '.join(_wrong(errors + output)))!r}")])
            )
    except FileNotFoundError:
        return Verdict(unknown="hg is not installed")
    except TimeoutError:
        return Verdict([Problem(b"", "hg did not finish in time")])
    return _judge(code, output, errors)


def _judge(code: int, output: bytes, errors: bytes) -> Verdict:
    lines = [each for each in output.splitlines() if each.startswith(b"repoman ")]
    if lines and lines[-1] == b"repoman done":
        found = [json.loads(each[len(b"repoman ") :]) for each in lines[:-1]]
        problems = [Problem(os.fsencode(each["path"]), each["text"], each["rev"], each["link"]) for each in found]
        return Verdict(sorted(problems, key=lambda each: (not each.path, each.rev < 0)))
    said = [each for each in errors.splitlines() if each.strip()]
    told = [each for each in said if each.startswith(b"abort")] or said[-1:]
    text = escape_path(b"; ".join(told[:2])) or f"exit {code}"
    if any(unknown in each for unknown in UNKNOWN for each in said):
        return Verdict(unknown=f"this host's hg reports {text!r}")
    if any(b"MemoryError" in each or b"out of memory" in each for each in said):
        return Verdict([Problem(b"", f"hg needs more than {HG_MEMORY >> 30} GiB of memory for it")])
    return Verdict([Problem(b"", f"hg reports {text!r}")])


def _wrong(output: bytes) -> list[bytes]:
    said = [each for each in output.splitlines() if each]
    return ([each for each in said if b"@" in each or each.startswith((b"abort", b" "))] or said)[:2]


def _bounded(command: list[str], place: str, account: tuple[int, int] | None) -> tuple[int, bytes, bytes]:
    """Run hg with a limit on its time, its memory and what it may say.

    :return: exit status, the last of its output and of its errors.
    """
    extra = give(place, account)
    process = subprocess.Popen(
        command, env=_environment(), cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **extra
    )
    with suppress(ProcessLookupError, PermissionError):
        resource.prlimit(process.pid, resource.RLIMIT_AS, (HG_MEMORY, HG_MEMORY))
    heard = {"out": bytearray(), "err": bytearray()}
    until = time.monotonic() + HG_SECONDS
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ, "out")  # type: ignore[arg-type]
            selector.register(process.stderr, selectors.EVENT_READ, "err")  # type: ignore[arg-type]
            while selector.get_map():
                if time.monotonic() > until:
                    raise TimeoutError
                for key, _events in selector.select(max(0.0, until - time.monotonic())):
                    chunk = os.read(key.fd, 1 << 16)
                    if not chunk:
                        selector.unregister(key.fileobj)
                    kept = heard[key.data]
                    kept += chunk
                    del kept[: max(0, len(kept) - OUTPUT)]
        return process.wait(), bytes(heard["out"]), bytes(heard["err"])
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def read_small(path: str) -> bytes:
    """Return the beginning of a file, up to a limit; nothing if it cannot be read or is not a file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, SMALL)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
