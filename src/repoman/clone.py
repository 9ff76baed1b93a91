# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cloning a repository with the user's own git or Mercurial, for ``new --clone``.

The program has the user's environment, configuration, credentials and terminal, so it may ask for a passphrase. It clones into a
temporary directory next to the final one, and only a complete clone is renamed, so that an interrupt leaves nothing half.

The programs run in the root directory: in a repository they would read its configuration, which a container may have written and which
can name commands to run.
"""

from __future__ import annotations

import configparser
import fcntl
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from repoman import repositories
from repoman.errors import CONFLICT, NOT_FOUND, USAGE, CliError
from repoman.streams import STDERR

STAGING_PREFIX = ".repoman-clone-"
"""Prefix of the directories in which clones are made; the backup leaves them out."""
CONFIG_BYTES = 1 << 20
"""The largest configuration of a repository that is read."""
PROGRAMS = {"git": "git", "hg": "mercurial"}
"""The programs, and the packages that have them."""
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
SCP_LIKE = re.compile(r"[^/:]+:(?!//)")
"""A host and a path as git takes them, and Mercurial does not."""
REMOTE_URL = re.compile(r"remote\.(.*)\.url\n(.*)", re.DOTALL)
SECRET = re.compile(r"(?<=://)([^/@:]*):[^/@]*@")


@dataclass(frozen=True)
class Source:
    """A repository to clone.

    :param url: its URL or path, without the prefix that names the program.
    :param kind: ``git`` or ``hg``; empty if the URL does not tell.
    """

    url: str
    kind: str = ""

    @property
    def shown(self) -> str:
        """The URL without a password in it."""
        return SECRET.sub(r"\1:***@", self.url)

    @property
    def name(self) -> str:
        """The last part of the URL, which names the clone; empty if there is none."""
        last = re.split(r"[/:]", self.url.rstrip("/"))[-1]
        return last.removesuffix(".git") if last != ".git" else ""


def parse_source(text: str) -> Source:
    """Return the source that the value of ``--clone`` means.

    The prefix ``git+`` or ``hg+`` names the program. Without it a directory on this host tells by what is in it, and a URL if only git
    takes it.

    :raises CliError: no program could take it for a URL.
    """
    kind, _plus, rest = text.partition("+")
    url = rest if kind in PROGRAMS and rest else text
    if url.startswith("-") or not url.isprintable():
        raise CliError(f"{url!r} cannot be a URL.", "repoman new --help", exit_code=USAGE)
    directory = os.path.expanduser(url.removeprefix("file://"))
    is_directory = os.path.isdir(directory)
    if is_directory and not url.startswith("file://"):
        url = os.path.abspath(directory)
    if kind in PROGRAMS and rest:
        return Source(url, kind)
    if is_directory:
        is_hg = os.path.isdir(os.path.join(directory, ".hg")) and not os.path.lexists(os.path.join(directory, ".git"))
        return Source(url, "hg" if is_hg else "git")
    is_git = url.rstrip("/").endswith(".git") or url.startswith("git://") or (not SCHEME.match(url) and SCP_LIKE.match(url))
    return Source(url, "git" if is_git else "")


def is_clone_of(directory: str, source: Source) -> bool:
    """Return whether a directory is a clone of a source: it has its URL as that of a remote, or as a path of Mercurial.

    A container may have written the configuration, so it is only parsed.
    """
    wanted = _normalized(source.url)
    return any(_normalized(url) == wanted for url in (*_git_urls(directory), *_hg_urls(directory)))


def _git_urls(directory: str) -> Iterator[str]:
    with suppress(OSError, subprocess.SubprocessError):
        text = repositories.read_regular(os.path.join(directory, ".git/config"), CONFIG_BYTES, os.O_NOFOLLOW)
        command = ["git", "config", "--file", "-", "--no-includes", "--null", "--get-regexp", r"^remote\..*\.url$"]
        done = subprocess.run(command, input=text, capture_output=True, check=True, cwd="/")
        for entry in os.fsdecode(done.stdout).split("\0"):
            if match := REMOTE_URL.fullmatch(entry):
                yield match[2]


def _hg_urls(directory: str) -> Iterator[str]:
    with suppress(OSError, ValueError, configparser.Error):
        text = repositories.read_regular(os.path.join(directory, ".hg/hgrc"), CONFIG_BYTES, os.O_NOFOLLOW).decode()
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        parser.read_string(text)
        yield from (value for _key, value in parser.items("paths"))


def _normalized(url: str) -> str:
    """Return a URL in the form in which two spellings of it are equal."""
    path = os.path.expanduser(url.removeprefix("file://"))
    if os.path.isdir(path) or path.startswith("/"):
        url = os.path.realpath(path)
    return SECRET.sub(r"\1@", url).rstrip("/").removesuffix(".git").rstrip("/")


def find_kind(source: Source) -> Source:
    """Return the source with the program that can read it: git is asked first.

    :raises CliError: neither can.
    """
    if source.kind:
        return source
    reasons = []
    for kind, arguments in (("git", ["ls-remote", "--", source.url, "HEAD"]), ("hg", ["identify", "--id", "--", source.url])):
        if shutil.which(kind) is None:
            reasons.append(f"{kind}: it is not installed")
            continue
        done = subprocess.run([kind, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", check=False)
        if not done.returncode:
            return Source(source.url, kind)
        lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        reason = SECRET.sub(r"\1:***@", "; ".join(lines)) or f"exit status {done.returncode}"
        reasons.append(f"{kind}: {reason}".rstrip("."))
    url = shlex.quote(source.shown)
    raise CliError(f"neither git nor hg can read {source.shown}; {'; '.join(reasons)}.", f"git ls-remote -- {url}", f"hg identify -- {url}")


def clone(source: Source, directory: str) -> None:
    """Clone a repository to a directory that does not exist.

    :raises CliError: the program is missing or fails, or the directory cannot be made.
    :raises KeyboardInterrupt: the program was interrupted; nothing is left of the clone.
    """
    if shutil.which(source.kind) is None:
        raise CliError(f"{source.kind} is not installed.", f"sudo apt install {PROGRAMS[source.kind]}", exit_code=NOT_FOUND)
    parent, name = os.path.split(directory)
    if not os.path.isdir(parent):
        raise CliError(f"there is no directory {parent} for the clone.", f"mkdir -p {shlex.quote(parent)}", exit_code=NOT_FOUND)
    try:
        with _staging(parent) as (staging, lock):
            target = os.path.join(staging, name)
            code = _run([source.kind, "clone", "--", source.url, target], lock)
            if code:
                raise CliError(
                    f"{source.kind} could not clone {source.shown}: exit status {code}.",
                    f"{source.kind} {'ls-remote' if source.kind == 'git' else 'identify'} -- {shlex.quote(source.shown)}   # tests the access",
                )
            os.rename(target, directory)  # a directory with something in it, or a file, is never replaced
    except OSError as error:
        raise CliError(
            f"cannot make {directory}: {error.strerror or error}.", f"ls -ld {shlex.quote(directory)}", exit_code=CONFLICT
        ) from error


@contextmanager
def _staging(parent: str) -> Iterator[tuple[str, int]]:
    """Make a temporary directory, locked as long as this process or the cloning one lives, and remove those of killed runs.

    :raises OSError: it cannot be made.
    """
    for name in os.listdir(parent):
        if name.startswith(STAGING_PREFIX):
            _remove_abandoned(os.path.join(parent, name))
    path = tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=parent)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield path, fd
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(fd)


def _remove_abandoned(path: str) -> None:
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(fd)


def _run(command: Sequence[str], lock: int) -> int:
    """Run a program on the user's terminal, with its output on standard error; return its exit status.

    :param lock: a file descriptor that it keeps open.
    """
    sys.stdout.flush()
    with subprocess.Popen(list(command), stdout=STDERR, cwd="/", pass_fds=(lock,)) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
