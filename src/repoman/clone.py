# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cloning a repository with the user's own git or Mercurial, for ``new --clone``.

The program has the user's environment, configuration, credentials and terminal, so it may ask for a passphrase. It clones into a
temporary directory, and only a complete clone is renamed, so that an interrupt leaves nothing half.

A container may have written the repositories of this host, and their configuration can name commands to run. So the programs run in the
root directory, in no repository around; Mercurial reads no configuration of a source, and git has only its own protections. Neither shares
files with a source.
"""

from __future__ import annotations

import configparser
import errno
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
from repoman.current_directory import absolute_path
from repoman.errors import CONFLICT, NOT_FOUND, USAGE, CliError
from repoman.shared import module_util
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
LOCAL_ENVIRONMENT = frozenset(
    [
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_CONFIG",
        "GIT_CONFIG_COUNT",
        "GIT_CONFIG_PARAMETERS",
        "GIT_DIR",
        "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_NO_REPLACE_OBJECTS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    ]
)
"""Variables that git sets for one repository, in its hooks for example, as ``git rev-parse --local-env-vars`` lists them."""
CLONE = {"git": ("git", "clone", "--no-local"), "hg": ("hg", "clone", "--pull")}
"""Commands that copy what they clone, also on one file system: a container could change the source's files, and with them the clone."""
TESTS = {"git": ("git", "ls-remote"), "hg": ("hg", "identify")}
"""Commands that test whether a repository can be read."""
FILES_OF_GIT = ("", ".git", ".bundle")
"""What git adds to the path of a source."""
IN_THE_WAY = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)
IS_FULL = (errno.ENOSPC, errno.EDQUOT)


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
        """The URL without what may be secret in it."""
        return without_secrets(self.url)

    @property
    def name(self) -> str:
        """The last part of the URL, which names the clone; empty if there is none."""
        path = str(module_util("core.secrets").without_users(self.url))  # of a URL without a path, the last part may be a password
        path = path.partition("?")[0] if SCHEME.match(path) else path
        last = re.split(r"[/:]", path.rstrip("/"))[-1]
        return last.removesuffix(".git") if last != ".git" else ""


def without_secrets(url: str) -> str:
    """Return a URL without what may be secret in it."""
    return str(module_util("core.secrets").hide_credentials(url, is_url=True))


def parse_source(text: str) -> Source:
    """Return the source that the value of ``--clone`` means.

    The prefix ``git+`` or ``hg+`` names the program. Without it a directory on this host tells by what is in it, and a URL if only git
    takes it.

    :raises CliError: no program could take it for a URL, or it is a relative path and the current directory was deleted.
    """
    kind, _plus, rest = text.partition("+")
    url = rest if kind in PROGRAMS and rest else text
    if url.startswith("-") or not url.isprintable():
        raise CliError(f"{url!r} cannot be a URL.", "repoman new --help", exit_code=USAGE)
    directory = os.path.expanduser(url.removeprefix("file://"))
    is_directory = os.path.isdir(directory)
    is_path = any(os.path.exists(directory + suffix) for suffix in FILES_OF_GIT)
    if is_path and not url.startswith("file://"):
        url = absolute_path(directory)
    if kind in PROGRAMS and rest:
        return Source(url, kind)
    if is_directory:
        is_hg = os.path.isdir(os.path.join(directory, ".hg")) and not os.path.lexists(os.path.join(directory, ".git"))
        return Source(url, "hg" if is_hg else "git")
    is_git = is_path or url.rstrip("/").endswith(".git") or url.startswith("git://") or (not SCHEME.match(url) and SCP_LIKE.match(url))
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
        done = subprocess.run(command, input=text, capture_output=True, check=True, cwd="/", env=_environment())
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
    return str(module_util("core.secrets").without_users(url)).rstrip("/").removesuffix(".git").rstrip("/")


def find_kind(source: Source) -> Source:
    """Return the source with the program that can read it: git is asked first.

    :raises CliError: neither can.
    """
    if source.kind:
        return source
    reasons = []
    for kind, test in TESTS.items():
        if shutil.which(kind) is None:
            reasons.append(f"{kind}: it is not installed")
            continue
        command = [*test, *(["--id"] if kind == "hg" else []), "--", source.url, *(["HEAD"] if kind == "git" else [])]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", env=_environment(), check=False)
        if not done.returncode:
            return Source(source.url, kind)
        reasons.append(f"{kind}: {_reason(source, done.stderr) or f'exit status {done.returncode}'}".rstrip("."))
    hints = [_test_command(source, kind) for kind in TESTS]
    raise CliError(f"neither git nor hg can read {source.shown}; {'; '.join(reasons)}.", *hints)


def _reason(source: Source, stderr: bytes) -> str:
    """Return the message of a program, without what may be secret in the URL."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    text = "; ".join(lines).replace(source.url, source.shown)
    query = source.url.partition("?")[2]  # Mercurial quotes it alone
    return str(module_util("core.secrets").hide_credentials(text.replace(query, "***") if query else text))


def _test_command(source: Source, kind: str, remark: str = "") -> str:
    """Return the command that tests whether a program can read a source."""
    url, secret = (shlex.quote(source.url), "") if source.shown == source.url else ("URL", "with the URL that you gave")
    remarks = ", ".join(part for part in (remark, secret) if part)
    return f"{shlex.join(TESTS[kind])} -- {url}{remarks and f'   # {remarks}'}"


def _environment() -> dict[str, str]:
    """Return the user's environment without what it says of one repository; Mercurial reads no configuration of repositories."""
    return {key: value for key, value in os.environ.items() if key not in LOCAL_ENVIRONMENT} | {"HGRCSKIPREPO": "1"}


def clone(source: Source, directory: str, repos_root: str) -> None:
    """Clone a repository to a directory that does not exist.

    :param repos_root: the directory of all repositories; the clone is made in it, so that no backup copies it half.
    :raises CliError: the program is missing or fails, or the directory cannot be made.
    :raises KeyboardInterrupt: the program was interrupted; nothing is left of the clone.
    """
    if shutil.which(source.kind) is None:
        raise CliError(f"{source.kind} is not installed.", f"sudo apt install {PROGRAMS[source.kind]}", exit_code=NOT_FOUND)
    parent, name = os.path.split(directory)
    if not os.path.isdir(parent):
        raise CliError(f"there is no directory {parent} for the clone.", f"mkdir -p {shlex.quote(parent)}", exit_code=NOT_FOUND)
    try:
        with _staging(parent, repos_root) as (staging, lock):
            target = os.path.join(staging, name)
            code = _run([*CLONE[source.kind], "--", source.url, target], lock)
            if code:
                raise CliError(
                    f"{source.kind} could not clone {source.shown}: exit status {code}.",
                    _test_command(source, source.kind, "tests the access"),
                )
            os.rename(target, directory)  # a directory with something in it, or a file, is never replaced
    except OSError as error:
        raise _failure(directory, error) from error


def _failure(directory: str, error: OSError) -> CliError:
    """Return the error for a directory that cannot be made: a conflict if something is in its place."""
    is_conflict = error.errno in IN_THE_WAY
    hint = f"{'df -h' if error.errno in IS_FULL else 'ls -ld'} {shlex.quote(directory if is_conflict else os.path.dirname(directory))}"
    return CliError(f"cannot make {directory}: {error.strerror or error}.", hint, exit_code=CONFLICT if is_conflict else 1)


@contextmanager
def _staging(parent: str, repos_root: str) -> Iterator[tuple[str, int]]:
    """Make a temporary directory, locked as long as this process or the cloning one lives, and remove those of killed runs.

    It is in ``repos_root``, or in ``parent`` if nothing can be renamed from the one to the other.

    :raises OSError: it cannot be made.
    """
    for directory in dict.fromkeys((repos_root, parent)):
        for name in os.listdir(directory):
            if name.startswith(STAGING_PREFIX):
                _remove_abandoned(os.path.join(directory, name))
    place = repos_root if os.access(repos_root, os.W_OK) and _mount(repos_root) == _mount(parent) else parent
    path, fd = _locked_directory(place)
    try:
        yield path, fd
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(fd)


def _locked_directory(place: str) -> tuple[str, int]:
    """Make a temporary directory and lock it; another run removes one that it finds without a lock.

    :raises OSError: it cannot be made.
    """
    while True:
        path = tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=place)
        with suppress(FileNotFoundError):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:
                return path, fd
            os.close(fd)


def _mount(path: str) -> tuple[int, bytes]:
    """Return what two directories have in common if a file can be renamed from the one to the other: file system and mount."""
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY)
    try:
        return os.fstat(fd).st_dev, module_util("files.directory_cursor").mount_id(fd)
    finally:
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
    with subprocess.Popen(list(command), stdout=STDERR, cwd="/", env=_environment(), pass_fds=(lock,)) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
