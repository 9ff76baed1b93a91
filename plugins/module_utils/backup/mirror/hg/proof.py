# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verify a ``.hg`` with this host's hg: it is sound, damaged, or of a format that this hg does not know.

hg runs in a scratch directory with links to the files, without any user's configuration. Extensions that the repository's format
requires are enabled if Mercurial ships them, so that they come from its own installation.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg import prover
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.run_as import run_as
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.process.bounded import run_tail

HG_SECONDS = 6 * 3600
HG_MEMORY = 6 << 30
"""Address space for hg, in bytes: the contents of a repository must not exhaust the host."""
_PROVER: bytes = prover.__loader__.get_data(str(prover.__file__))  # type: ignore[union-attr]
"""Source of the extension. It is read now: later this process may have no access to the archive that a shipped module lies in."""
MAX_OUTPUT = 1 << 20
MAX_SMALL_FILE = 1 << 20
"""Maximum plausible size of a file such as ``requires``, in bytes."""

EXTENSIONS = {
    b"exp-sparse": "sparse",
    b"largefiles": "largefiles",
    b"lfs": "lfs",
    b"narrowhg-experimental": "narrow",
}
"""The extension that ships with Mercurial and supports each requirement."""

UNSUPPORTED = (
    b"requires features unknown",
    b"unknown version",
    b"unknown flag",
    b"unknown command 'repoman-prove'",
    b"repository format",
    b"without associated fast implementation",
)
EXPERIMENTAL = (b"exp-changelog-v2", b"exp-revlogv2", b"exp-copies-sidedata-changeset")
"""Requirements whose format differs between versions of Mercurial: a repository that one finds damaged may be sound for another."""
_READ_ERROR = re.compile(r"\[Errno (?!2\])")
"""In the text of a problem: the operating system could not read a file that exists. It may be able to the next time."""
_OTHER_FILES = (b"requires", b"bookmarks", b"00changelog.i", b"narrowspec", b"sparse")


@dataclass(frozen=True)
class Problem:
    """Damage of a repository.

    :param path: of the file, relative to ``.hg``; empty if it is unknown.
    :param text: description.
    :param rev: the damaged revision of that revlog; -1 if it is the file as a whole.
    :param link: the revision's changeset; -1 if it is unknown.
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

    :param problems: empty if the repository is sound, or cannot be verified.
    :param unknown: why this host cannot verify the repository; empty if it can.
    """

    problems: list[Problem] = field(default_factory=list)
    unknown: str = ""

    @property
    def is_repeatable(self) -> bool:
        """Whether hg finds the same again in the same files: it read all of them, and completed."""
        return not self.unknown and all(each.path and not _READ_ERROR.search(each.text) for each in self.problems)

    @property
    def text(self) -> str:
        """The first problems, for messages."""
        return "; ".join(str(each) for each in self.problems[:2])


@dataclass(frozen=True)
class ProofJob:
    """What to verify.

    :param revlogs: path of each index below ``.hg``, and the first revision to verify.
    :param since: first changeset that must have all its files; -1 to verify everything.
    :param parents: the working directory's parents must be in the history.
    """

    revlogs: tuple[tuple[bytes, int], ...]
    since: int = -1
    parents: bool = True


def prove(path: bytes, entries: dict[bytes, Entry], job: ProofJob, scratch_dir: str, account: tuple[int, int] | None) -> Verdict:
    """Verify a ``.hg``.

    :param path: of the ``.hg``.
    :param entries: its entries.
    :param scratch_dir: local directory for hg to work in; it is deleted afterwards.
    :param account: uid and gid for hg if repoman runs as root.
    """
    shutil.rmtree(scratch_dir, ignore_errors=True)
    try:
        _link_files(path, entries, os.path.join(os.fsencode(scratch_dir), b"repo", b".hg"), dirstate=job.parents)
        Path(scratch_dir, "repoman_prover.py").write_bytes(_PROVER)
        described = {"revlogs": [(os.fsdecode(each), first) for each, first in job.revlogs], "since": job.since, "parents": job.parents}
        Path(scratch_dir, "job").write_text(json.dumps(described), encoding="utf-8")
        return _verify(scratch_dir, account)
    finally:
        shutil.rmtree(scratch_dir, ignore_errors=True)


def _link_files(path: bytes, entries: dict[bytes, Entry], scratch_hg: bytes, *, dirstate: bool) -> None:
    """Create a ``.hg`` with links to the files that hg needs for its verification."""
    os.makedirs(scratch_hg)
    for inner, entry in sorted(entries.items()):
        if not inner.startswith((b"store", b"dirstate", b"narrowspec.")) and inner not in _OTHER_FILES:
            continue
        if inner.startswith(b"dirstate") and not dirstate:
            continue
        link = os.path.join(scratch_hg, inner)
        if entry.type == "d":
            os.makedirs(link, exist_ok=True)
        elif entry.type == "f":
            os.makedirs(os.path.dirname(link), exist_ok=True)
            os.symlink(os.path.join(path, inner), link)


def extensions(requirements: Iterable[bytes]) -> list[str]:
    """Return the options that enable the extensions for some requirements.

    Only extensions that ship with Mercurial are named, because it looks for those in its own installation first.
    """
    names = sorted({EXTENSIONS[each] for each in requirements if each in EXTENSIONS})
    return [f"--config=extensions.{name}=" for name in names]


def read_requirements(hg_dir: str) -> set[bytes]:
    """Return the requirements of a repository's format, as far as they can be read.

    :param hg_dir: path of the ``.hg``.
    """
    requirements: set[bytes] = set()
    for path in ("requires", "store/requires"):
        requirements.update(read_small(os.path.join(hg_dir, path)).split())
    return requirements


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


def _verify(scratch_dir: str, account: tuple[int, int] | None) -> Verdict:
    repository = os.path.join(scratch_dir, "repo")
    requirements = read_requirements(os.path.join(repository, ".hg"))
    verdict = _run_prover(scratch_dir, repository, requirements, account)
    if verdict.problems and any(each.startswith(EXPERIMENTAL) for each in requirements):
        return Verdict(unknown=f"its format is experimental, and this host's hg reports {verdict.text!r}")
    return verdict


def _run_prover(scratch_dir: str, repository: str, requirements: set[bytes], account: tuple[int, int] | None) -> Verdict:
    command = [
        "hg",
        "--repository",
        repository,
        f"--config=extensions.repoman_prover={scratch_dir}/repoman_prover.py",
        f"--config=lfs.usercache={scratch_dir}/lfs",
        f"--config=largefiles.usercache={scratch_dir}/largefiles",
        "--config=lfs.url=null://",
        "--config=storage.dirstate-v2.slow-path=allow",
        "--config=storage.fileindex.slow-path=allow",
        "--config=storage.revlog.persistent-nodemap.slow-path=allow",
        *extensions(requirements),
        "--noninteractive",
    ]
    try:
        status, output, errors = _run([*command, "repoman-prove", os.path.join(scratch_dir, "job")], scratch_dir, account)
        if b"Traceback" in errors and b"repoman done" not in output:  # the extension does not fit this version of Mercurial
            status, output, errors = _run([*command, "verify"], scratch_dir, account)
            return (
                Verdict() if not status else Verdict([Problem(b"", f"hg verify reports {escape_path(_error_summary(errors + output))!r}")])
            )
    except FileNotFoundError:
        return Verdict(unknown="hg is not installed")
    except TimeoutError:
        return Verdict([Problem(b"", "hg did not finish in time")])
    return _parse_findings(status, output, errors)


def _run(command: list[str], scratch_dir: str, account: tuple[int, int] | None) -> tuple[int, bytes, bytes]:
    """Run hg; return its exit status and the end of its output and of its errors."""
    return run_tail(
        command, env=_environment(), seconds=HG_SECONDS, memory=HG_MEMORY, size=MAX_OUTPUT, cwd="/", **run_as(scratch_dir, account)
    )


def _parse_findings(status: int, output: bytes, errors: bytes) -> Verdict:
    lines = [line for line in output.splitlines() if line.startswith(b"repoman ")]
    if lines and lines[-1] == b"repoman done":
        findings = [json.loads(line[len(b"repoman ") :]) for line in lines[:-1]]
        problems = [Problem(os.fsencode(each["path"]), each["text"], each["rev"], each["link"]) for each in findings]
        return Verdict(sorted(problems, key=lambda problem: (not problem.path, problem.rev < 0)))
    error_lines = [line for line in errors.splitlines() if line.strip()]
    reported = [line for line in error_lines if line.startswith(b"abort")] or error_lines[-1:]
    text = escape_path(b"; ".join(reported[:2])) or f"exit {status}"
    if any(unsupported in line for unsupported in UNSUPPORTED for line in error_lines):
        return Verdict(unknown=f"this host's hg reports {text!r}")
    if any(b"MemoryError" in line or b"out of memory" in line for line in error_lines):
        return Verdict([Problem(b"", f"hg needs more than {HG_MEMORY >> 30} GiB of memory for it")])
    return Verdict([Problem(b"", f"hg reports {text!r}")])


def _error_summary(output: bytes) -> bytes:
    """Return the first lines of ``hg verify`` that describe damage."""
    lines = [line for line in output.splitlines() if line]
    return b"; ".join(([line for line in lines if b"@" in line or line.startswith((b"abort", b" "))] or lines)[:2])


def read_small(path: str) -> bytes:
    """Return the beginning of a file, up to a limit; empty if it cannot be read or is not a file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return b""
    try:
        return os.read(fd, MAX_SMALL_FILE)
    except OSError:
        return b""
    finally:
        os.close(fd)
