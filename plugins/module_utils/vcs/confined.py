# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""git and Mercurial on repositories that nobody vouches for: nothing that a repository configures runs.

A container can write its repository, and on the host a plain ``git status`` runs what ``.git/config`` names: a file
system monitor, filters, a pager, another repository's hooks. So git never sees the repository's own git directory. It
gets a shadow of it: a temporary directory with a configuration of ours, copies of what tells the state (``HEAD``, refs,
index), and the real objects. Mercurial runs with ``HGRCSKIPREPO``, which keeps it from reading ``.hg/hgrc``, and with an
extension of ours that lets it write nothing.

Files are read through :class:`Tree`, which follows no link out of the directory it was given, and waits for no FIFO.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import selectors
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO, Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.vcs import borrowed_objects
from ansible_collections.homelab.repoman.plugins.module_utils.vcs import hg_extension as hg_state
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git_environment import hardened_git_environment

SECONDS = 5.0
"""What a command may take where nothing else is said."""
GRACE_SECONDS = 1.0
"""What a killed command may take to end."""
OUTPUT_BYTES = 64 << 20
FILE_BYTES = 16 << 20
COPY_BYTES = 256 << 20
"""What may be copied of one repository."""
REFS_BYTES = 64 << 20
PATH_LENGTH = 4096
LINKS = 40
"""How many links on a path the kernel follows."""
ENTRIES = 2000
"""What a directory that is listed may have in it; where git keeps its state there are some dozens."""
SHARED_INDEX = re.compile(rb"link(?=.{4}(.{32}))", re.DOTALL)
"""What names the other part of a split index, and by chance other bytes; source: git's documentation of the index's format, ``link``."""
SHARED_INDEX_LOOKS = 1 << 20
REF_TABLES = 100
"""Tables of refs in the reftable format, of which git keeps about a dozen."""
SYMBOLIC_DEPTH = 5
"""How deep git itself follows symbolic refs."""
HG_WITH_SKIP = (6, 0)
"""Mercurials from here on are known to honour ``HGRCSKIPREPO`` wherever they read ``.hg/hgrc``."""
FATAL = ("fatal: ", "abort: ")
"""How git and hg begin their last words."""
REASON_LENGTH = 300
PATH = "/usr/local/bin:/usr/bin:/bin"
OBJECT_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
PLAIN_VALUE = re.compile(r"[A-Za-z0-9]*\Z")
REF_NAME = re.compile(r"refs(?:/(?!\.)(?:(?!\.\.|@\{)[^\x00-\x20\x7f~^:?*\[\\/])+(?<!\.lock)(?<!\.))+\Z")
"""A ref's full name; source: ``git help check-ref-format``."""

GIT_SETTINGS = frozenset(
    {
        "core.autocrlf",
        "core.checkstat",
        "core.eol",
        "core.filemode",
        "core.ignorecase",
        "core.precomposeunicode",
        "core.protecthfs",
        "core.protectntfs",
        "core.sparsecheckout",
        "core.sparsecheckoutcone",
        "core.symlinks",
        "core.trustctime",
        "index.sparse",
    }
)
"""What of a repository's configuration reaches git: how its files are compared. All of these are words or numbers."""
GIT_EXTENSIONS = frozenset({"objectformat", "refstorage"})
"""Of the repository's format, what git must know to read it."""
GIT_EXTENSIONS_NOT_NEEDED = frozenset({"noop", "noop-v1", "partialclone", "preciousobjects", "relativeworktrees", "worktreeconfig"})
GIT_USER_SETTINGS = frozenset({"core.autocrlf", "core.eol", "core.excludesfile"})
"""What of the user's own configuration reaches git: it decides what counts as changed."""
GIT_OFF = """\
\tfsmonitor = false
\thooksPath = /dev/null
\tuntrackedCache = false
\tpager = cat
\teditor = false
\tsshCommand = false
[protocol]
\tallow = never
[submodule]
\trecurse = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
"""


class VcsError(RepomanError):
    """A repository cannot be looked at; the message is the reason, without a full stop."""


class Tree:
    """Files below a directory, read without being led out of it.

    :param root: the directory. A path that, its links resolved, is not below it is refused.
    :param seconds: after which it refuses all.
    """

    def __init__(self, root: str, seconds: float = math.inf) -> None:
        self.root = os.path.realpath(root)
        self.seconds, self.until = seconds, time.monotonic() + seconds
        self.left = COPY_BYTES

    def resolve(self, path: str) -> str:
        """Return an absolute ``path`` with its links resolved.

        :raises VcsError: it is not inside the root, is too long, has more links than the kernel follows, or time is up.
        """
        if time.monotonic() > self.until:
            raise VcsError(f"looking at it took longer than {self.seconds:g} s")
        try:
            real = resolved(path)
        except ValueError as error:
            raise VcsError(f"{path} cannot be resolved: {error}") from error
        if real != self.root and not real.startswith(f"{self.root.rstrip('/')}/"):
            raise VcsError(f"{path} leads outside {self.root}")
        return real

    @contextmanager
    def open(self, path: str, most: int = FILE_BYTES) -> Iterator[IO[bytes] | None]:
        """Open a file for reading; ``None`` where there is none.

        :param most: bytes that it may have.
        :raises VcsError: it is outside, is not a regular file, is too large, or cannot be read.
        """
        try:
            handle = self._handle(path)
        except (FileNotFoundError, NotADirectoryError):
            yield None
            return
        except OSError as error:
            raise VcsError(f"cannot read {path}: {error.strerror}") from error
        with os.fdopen(handle, "rb") as file:
            if os.fstat(handle).st_size > most:
                raise VcsError(f"{path} is larger than {most >> 20} MiB")
            yield file

    def read(self, path: str, most: int = FILE_BYTES) -> bytes | None:
        """Return what a file holds; ``None`` where there is none. Raises as :meth:`open`."""
        with self.open(path, most) as file:
            return None if file is None else file.read(most)

    def copy(self, path: str, target: Path, most: int = FILE_BYTES) -> bool:
        """Copy a file with its times; return whether there is one. Raises as :meth:`open`.

        :raises VcsError: it is too much, with all that was copied before.
        """
        with self.open(path, most) as file:
            if file is None:
                return False
            left = os.fstat(file.fileno()).st_size
            self.left -= left
            if self.left < 0:
                raise VcsError(f"its state is larger than {COPY_BYTES >> 20} MiB")
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as copied:
                while part := file.read(min(left, 1 << 20)):  # it may grow meanwhile
                    copied.write(part)
                    left -= len(part)
            found = os.fstat(file.fileno())
            os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))  # git tells by it which entries of an index may lie
            return True

    def names(self, path: str) -> list[str]:
        """Return the names in a directory; none where there is none.

        :raises VcsError: it is outside, cannot be read, or has too many.
        """
        try:
            with os.scandir(self.resolve(path)) as entries:
                found = sorted(entry.name for entry in islice(entries, ENTRIES + 1))
            if len(found) > ENTRIES:
                raise VcsError(f"{path} has more than {ENTRIES} entries")
            return found
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise VcsError(f"cannot read {path}: {error.strerror}") from error

    def _handle(self, path: str) -> int:
        """Open the resolved path step by step, so that nothing swapped for a link meanwhile is followed."""
        real = self.resolve(path)
        handle = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in Path(real).relative_to(self.root).parts:
                inner = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle)
                os.close(handle)
                handle = inner
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise VcsError(f"{path} is not a file")
            return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # somebody may hold a lease on it
        finally:
            os.close(handle)


def resolved(path: str) -> str:
    """Return an absolute path with its links resolved; from what is missing on, it stays as it is.

    ``os.path.realpath`` follows as many links as there are.

    :raises VcsError: it has more links than the kernel follows, or is too long.
    """
    if len(path) > PATH_LENGTH:
        raise VcsError(f"a path in it is too long: {path[:REASON_LENGTH]}…")
    real, followed = "/", 0
    left = path.split("/")[::-1]
    while left:
        part = left.pop()
        if part == "..":
            real = os.path.dirname(real)
        elif part not in ("", "."):
            inner = os.path.join(real, part)
            try:
                target = os.readlink(inner)
            except OSError:
                real = inner
                continue
            followed += 1
            if followed > LINKS:
                raise VcsError(f"{path} has more than {LINKS} symbolic links on its path")
            real = "/" if target.startswith("/") else real
            left += target.split("/")[::-1]
    return real


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: bytes
    err: bytes

    def reason(self) -> str:
        """Return, of what it said on standard error, what was fatal, or the last line."""
        lines = [line.strip() for line in self.err.decode(errors="replace").splitlines() if line.strip()]
        if not lines:
            return f"exit status {self.code}"
        fatal = next((number for number, line in enumerate(lines) if line.startswith(FATAL)), len(lines) - 1)
        said = " ".join(lines[fatal:])
        return next((said.removeprefix(word) for word in FATAL if said.startswith(word)), said)[:REASON_LENGTH]


@dataclass(frozen=True)
class Runner:
    """Runs commands as an account, each in a process group of its own that ends with it.

    :param me: the account; a process that is root becomes it.
    :param seconds: a command may take.
    """

    me: Account
    seconds: float = SECONDS

    def run(self, argv: list[str], environment: Mapping[str, str], cwd: str, given: bytes = b"") -> Done:
        """Run a command with exactly this environment.

        :param given: its standard input; small.
        :raises VcsError: there is no such command, it took too long, or said too much.
        """
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE if given else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environment),
                cwd=cwd,
                start_new_session=True,
                **self._account(),
            )
        except FileNotFoundError as error:
            raise VcsError(f"there is no {argv[0]} in {environment.get('PATH', '')}") from error
        except OSError as error:
            raise VcsError(f"{argv[0]} cannot be run: {error.strerror}") from error
        try:
            return self._listen(process, os.path.basename(argv[0]), given)
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # on a dead server's file system even that waits
                process.wait(GRACE_SECONDS)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with suppress(BrokenPipeError):
                        stream.close()

    def share(self, path: Path) -> None:
        """Let the account read a directory of ours and what is in it, where this process is root; it cannot change it."""
        if self._account():
            for directory, _directories, files in os.walk(path):
                for name, mode in (("", 0o750), *((name, 0o640) for name in files)):
                    os.chown(os.path.join(directory, name), -1, self.me.gid, follow_symlinks=False)
                    os.chmod(os.path.join(directory, name), mode)

    def _account(self) -> dict[str, Any]:
        if os.geteuid() != 0 or self.me.uid == 0:
            return {}
        return {"user": self.me.uid, "group": self.me.gid, "extra_groups": []}

    def _listen(self, process: subprocess.Popen[bytes], name: str, given: bytes) -> Done:
        deadline = time.monotonic() + self.seconds
        heard: dict[int, list[bytes]] = {stream.fileno(): [] for stream in (process.stdout, process.stderr) if stream}
        size = 0
        with selectors.DefaultSelector() as waiting:
            for descriptor in heard:
                waiting.register(descriptor, selectors.EVENT_READ)
            left = memoryview(given)
            if process.stdin and left:
                os.set_blocking(process.stdin.fileno(), False)
                waiting.register(process.stdin, selectors.EVENT_WRITE)
            while waiting.get_map():
                ready = waiting.select(max(0.0, deadline - time.monotonic()))
                if time.monotonic() > deadline:
                    raise VcsError(f"{name} did not answer within {self.seconds:g} s")
                for key, _events in ready:
                    if process.stdin and key.fileobj is process.stdin:
                        try:
                            left = left[os.write(key.fd, left) :]
                        except BrokenPipeError:
                            left = left[:0]
                        if not left:
                            waiting.unregister(process.stdin)
                            process.stdin.close()
                        continue
                    part = os.read(key.fd, 1 << 16)
                    if not part:
                        waiting.unregister(key.fileobj)
                    heard[key.fd].append(part)
                    size += len(part)
                if size > OUTPUT_BYTES:
                    raise VcsError(f"{name} said more than {OUTPUT_BYTES >> 20} MiB")
        try:
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise VcsError(f"{name} did not answer within {self.seconds:g} s") from None
        out, err = (b"".join(parts) for parts in heard.values())
        return Done(code, out, err)


# --- git -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GitPlace:
    """Where the parts of a git repository are, links resolved.

    :param own: the git directory of this working tree: ``HEAD`` and the index.
    :param common: the git directory that all its working trees share: refs, objects, configuration.
    :param work_tree: empty for a bare repository.
    """

    own: str
    common: str
    work_tree: str


def find_git(path: str, tree: Tree) -> GitPlace | None:
    """Return where the git repository at ``path`` is; ``None`` where there is none.

    A ``.git`` that is a file, as in linked working trees and submodules, is followed inside the tree. What a
    repository's ``core.worktree`` says is not.

    :raises VcsError: it leads outside, or what is there is none.
    """
    real = tree.resolve(path)
    own, work_tree = os.path.join(real, ".git"), real
    if not os.path.lexists(own):
        if not _is_git_directory(real):
            return None
        own, work_tree = real, ""
    elif not os.path.isdir(tree.resolve(own)):
        pointer = _text(tree.read(own))
        if not pointer.startswith("gitdir: "):
            raise VcsError(f"{own} is neither a directory nor does it name one")
        own = os.path.join(real, pointer.removeprefix("gitdir: "))
    own = tree.resolve(own)
    beside = _text(tree.read(os.path.join(own, "commondir")))
    common = tree.resolve(os.path.join(own, beside)) if beside else own
    if not os.path.lexists(os.path.join(own, "HEAD")) or not os.path.isdir(os.path.join(common, "objects")):
        raise VcsError(f"{own} is not a git repository")
    return GitPlace(own, common, work_tree)


@dataclass
class GitShadow:
    """What git is given in place of a repository's git directory; made by :func:`git_shadow`.

    :param head: the full name of the branch, or the object id where none is checked out.
    :param upstream: the full name of the ref that the branch follows; empty if it follows none.
    :param is_born: whether the branch, or what is checked out, has a commit.
    """

    place: GitPlace
    path: Path
    runner: Runner
    head: str = ""
    upstream: str = ""
    is_born: bool = False
    environment: dict[str, str] = field(default_factory=dict)

    def git(self, *arguments: str) -> bytes:
        """Run a git command that only reads; return its output.

        :raises VcsError: it failed, with its reason.
        """
        done = self.runner.run(["git", *arguments], self.environment, self.place.work_tree or str(self.path))
        if done.code:
            raise VcsError(f"git says: {done.reason()}")
        return done.out


@contextmanager
def git_shadow(place: GitPlace, tree: Tree, runner: Runner, settings: Mapping[str, str] | None = None) -> Iterator[GitShadow]:
    """Yield a shadow of a git repository, in which git runs nothing that the repository configures.

    It holds the checked out branch and the one it follows, the index, what is ignored, and a configuration of ours;
    objects are the repository's own.

    :param settings: of the user, as :func:`git_user_settings` returns them.
    :raises VcsError: what is to be copied cannot be, or leads outside.
    """
    with tempfile.TemporaryDirectory(prefix="repoman-vcs-") as directory:
        shadow = GitShadow(place, Path(directory), runner)
        configured = read_git_config(place, tree, runner)
        objects = check_objects(os.path.join(place.common, "objects"), tree)
        shadow.environment = git_environment(runner.me) | {
            "GIT_DIR": directory,
            "GIT_OBJECT_DIRECTORY": objects,
            **({"GIT_WORK_TREE": place.work_tree} if place.work_tree else {}),
        }
        for name in ("objects", "refs/heads"):
            (shadow.path / name).mkdir(parents=True)
        _copy_index(shadow, tree)
        tree.copy(os.path.join(place.own, "info", "sparse-checkout"), shadow.path / "info/sparse-checkout")
        for name in ("info/exclude", "info/attributes", "shallow"):
            tree.copy(os.path.join(place.common, name), shadow.path / name)
        text = git_config(configured, bare=not place.work_tree, settings=settings)
        (shadow.path / "config").write_text(text, encoding="utf-8", errors="surrogateescape")
        if configured.get("extensions.refstorage", ["files"])[-1].lower() == "reftable":
            _copy_reftable(shadow, tree, configured)
        else:
            _copy_refs(shadow, tree, configured)
        if shadow.upstream:
            text += _section("branch", shadow.head.removeprefix("refs/heads/"), {"remote": ".", "merge": shadow.upstream})
            (shadow.path / "config").write_text(text, encoding="utf-8", errors="surrogateescape")
        runner.share(shadow.path)
        yield shadow


def git_environment(me: Account) -> dict[str, str]:
    """Return the environment in which git reads no configuration but that of its git directory, and reaches nobody."""
    environment = hardened_git_environment(PATH, me.home)
    del environment["XDG_CONFIG_HOME"]
    if os.environ.get("XDG_CONFIG_HOME") and os.geteuid() == me.uid:
        environment["XDG_CONFIG_HOME"] = os.environ["XDG_CONFIG_HOME"]
    return environment


def git_user_settings(runner: Runner) -> dict[str, str]:
    """Return what of the user's own git configuration decides what counts as changed or ignored."""
    environment = {key: value for key, value in git_environment(runner.me).items() if key != "GIT_CONFIG_GLOBAL"}
    try:
        done = runner.run(["git", "config", "--global", "--includes", "--list", "-z"], environment, "/")
    except VcsError:
        return {}
    return {key: values[-1] for key, values in _settings(done.out).items() if key in GIT_USER_SETTINGS}


def read_git_config(place: GitPlace, tree: Tree, runner: Runner) -> dict[str, list[str]]:
    """Return a repository's own configuration as data, its includes left out; the keys are as ``git config --list`` has them.

    :raises VcsError: it cannot be read.
    """
    text = tree.read(os.path.join(place.common, "config")) or b""
    settings = parse_git_config(text, runner)
    if is_true(settings.get("extensions.worktreeconfig")):
        text += b"\n" + (tree.read(os.path.join(place.own, "config.worktree")) or b"")
        settings = parse_git_config(text, runner)
    return settings


def parse_git_config(text: bytes, runner: Runner) -> dict[str, list[str]]:
    """Return the text of a git configuration as data.

    :raises VcsError: it is none.
    """
    if not text.strip():
        return {}
    environment = git_environment(runner.me) | {"GIT_DIR": os.devnull}
    done = runner.run(["git", "config", "--file", "-", "--no-includes", "--list", "-z"], environment, "/", text)
    if done.code:
        raise VcsError(f"its configuration is malformed: {done.reason()}")
    return _settings(done.out)


def git_config(configured: Mapping[str, list[str]], bare: bool, settings: Mapping[str, str] | None = None) -> str:
    """Return the text of a configuration with which git can read a repository, and runs nothing.

    :param configured: the repository's own, as :func:`read_git_config` returns it.
    :param settings: of the user, as :func:`git_user_settings` returns them.
    :raises VcsError: the repository's format is one that is not known here.
    """
    extensions = {key.removeprefix("extensions."): values[-1] for key, values in configured.items() if key.startswith("extensions.")}
    unknown = sorted(extensions.keys() - GIT_EXTENSIONS - GIT_EXTENSIONS_NOT_NEEDED)
    if unknown:
        raise VcsError(f"its format has the extension {unknown[0]!r}, which is not known here")
    for key in GIT_EXTENSIONS & extensions.keys():
        if not PLAIN_VALUE.match(extensions[key]):
            raise VcsError(f"its format has an unknown {key}: {extensions[key]!r}")
    kept = {key: values[-1] for key, values in configured.items() if key in GIT_SETTINGS and PLAIN_VALUE.match(values[-1])}
    needed = {key: extensions[key] for key in sorted(GIT_EXTENSIONS & extensions.keys())}
    text = _section("core", "", {"repositoryFormatVersion": "1", "bare": str(bare).lower()}) + GIT_OFF
    text += _section("extensions", "", needed)
    for key, value in {**(settings or {}), **kept}.items():
        section, _dot, name = key.partition(".")
        text += _section(section, "", {name: value})
    return text


def check_objects(path: str, tree: Tree) -> str:
    """Return the resolved path of an object directory, after a look at what else it borrows objects from.

    :raises VcsError: it, or one of its alternates, is outside the tree, or there are too many.
    """
    objects = tree.resolve(path)
    listed = tree.read(os.path.join(objects, "info", "alternates"), borrowed_objects.LIST_BYTES) or b""
    root = os.fsencode(tree.root)
    try:
        borrowed_objects.check_own(os.fsencode(objects), root)
        borrowed_objects.check_borrowed(os.fsencode(objects), borrowed_objects.parse_alternates(listed), root)
    except borrowed_objects.BorrowedError as error:
        raise VcsError(error.message) from error
    return objects


def is_true(values: list[str] | None) -> bool:
    """Whether a setting is on, as git reads it."""
    return bool(values) and values[-1].lower() in ("true", "yes", "on", "1") if values else False


def _is_git_directory(path: str) -> bool:
    return os.path.lexists(os.path.join(path, "HEAD")) and all(os.path.isdir(os.path.join(path, name)) for name in ("objects", "refs"))


def _text(content: bytes | None) -> str:
    return os.fsdecode(content or b"").rstrip("\r\n")


def _settings(listed: bytes) -> dict[str, list[str]]:
    """Return the output of ``git config --list -z`` as data; a key without a value is on."""
    settings: dict[str, list[str]] = {}
    for entry in os.fsdecode(listed).split("\0"):
        key, newline, value = entry.partition("\n")
        if key:
            settings.setdefault(key, []).append(value if newline else "true")
    return settings


def _section(name: str, sub: str, values: Mapping[str, str]) -> str:
    """Return a section of a git configuration; source of the quoting: ``git help config``, Syntax."""
    if not values:
        return ""
    plain = sub.replace("\\", "\\\\").replace('"', '\\"')  # of a subsection's name all other characters stand for themselves
    head = f'[{name} "{plain}"]' if sub else f"[{name}]"
    return "".join((f"{head}\n", *(f"\t{key} = {_quoted(value)}\n" for key, value in values.items())))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def _copy_index(shadow: GitShadow, tree: Tree) -> None:
    """Copy the index, and where it is split the part of it that it shares."""
    copied = shadow.path / "index"
    names = {name for name in tree.names(shadow.place.own) if name.startswith("sharedindex.")}
    if not tree.copy(os.path.join(shadow.place.own, "index"), copied, COPY_BYTES) or not names or not copied.stat().st_size:
        return
    with copied.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as index:
        for found in islice(SHARED_INDEX.finditer(index), SHARED_INDEX_LOOKS):
            for digits in (40, 64):
                name = f"sharedindex.{found[1].hex()[:digits]}"
                if name in names:
                    tree.copy(os.path.join(shadow.place.own, name), shadow.path / name, COPY_BYTES)
                    names.remove(name)


def _copy_refs(shadow: GitShadow, tree: Tree, configured: Mapping[str, list[str]]) -> None:
    """Copy ``HEAD`` and, resolved, the two refs that count."""
    packed = tree.read(os.path.join(shadow.place.common, "packed-refs"), REFS_BYTES) or b""
    head = _text(tree.read(os.path.join(shadow.place.own, "HEAD")))
    if head.startswith("ref:"):
        shadow.head = head.removeprefix("ref:").strip()
        _check_ref(shadow.head)
        commit = _resolve_ref(shadow.head, shadow.place, tree, packed)
        (shadow.path / "HEAD").write_bytes(os.fsencode(f"ref: {shadow.head}\n"))
        _write_ref(shadow, shadow.head, commit)
        shadow.is_born = bool(commit)
        shadow.upstream = _upstream(shadow.head, configured)
        if shadow.upstream:
            _write_ref(shadow, shadow.upstream, _resolve_ref(shadow.upstream, shadow.place, tree, packed))
    elif OBJECT_ID.match(head):
        shadow.head, shadow.is_born = head, True
        (shadow.path / "HEAD").write_text(f"{head}\n", encoding="ascii")
    else:
        raise VcsError("its HEAD names neither a branch nor a commit")


def _copy_reftable(shadow: GitShadow, tree: Tree, configured: Mapping[str, list[str]]) -> None:
    """Copy the tables of refs, which only git can read, and ask it."""
    if shadow.place.own != shadow.place.common:
        raise VcsError("a linked working tree whose refs are in the reftable format is not known here")
    (shadow.path / "HEAD").write_text("ref: refs/heads/.invalid\n", encoding="ascii")
    (shadow.path / "refs/heads").rmdir()
    (shadow.path / "refs/heads").write_text("this repository uses the reftable format\n", encoding="ascii")
    tables = tree.names(os.path.join(shadow.place.own, "reftable"))
    if len(tables) > REF_TABLES:
        raise VcsError(f"its refs are in more than {REF_TABLES} tables")
    for name in tables:
        tree.copy(os.path.join(shadow.place.own, "reftable", name), shadow.path / "reftable" / name, REFS_BYTES)
    shadow.runner.share(shadow.path)
    head = shadow.runner.run(["git", "symbolic-ref", "--quiet", "HEAD"], shadow.environment, str(shadow.path))
    commit = shadow.runner.run(["git", "rev-parse", "--verify", "--quiet", "HEAD"], shadow.environment, str(shadow.path))
    if head.code and commit.code:
        raise VcsError(f"git says: {head.reason() if head.err else commit.reason()}")
    shadow.is_born = not commit.code
    shadow.head = _text(commit.out if head.code else head.out)
    shadow.upstream = _upstream(shadow.head, configured) if not head.code else ""


def _resolve_ref(name: str, place: GitPlace, tree: Tree, packed: bytes) -> str:
    """Return the object id that a ref names; empty where there is no such ref."""
    for _step in range(SYMBOLIC_DEPTH):
        _check_ref(name)
        loose = None
        if not os.path.isdir(os.path.join(place.common, name)):
            loose = tree.read(os.path.join(place.common, name))
        if loose is None:
            found = re.search(rb"^([0-9a-f]{40,64}) " + re.escape(os.fsencode(name)) + rb"$", packed, re.MULTILINE)
            return found[1].decode() if found else ""
        value = _text(loose)
        if not value.startswith("ref:"):
            if not OBJECT_ID.match(value):
                raise VcsError(f"its ref {name} is broken")
            return value
        name = value.removeprefix("ref:").strip()
    raise VcsError(f"its ref {name} is one of too many that name each other")


def _write_ref(shadow: GitShadow, name: str, commit: str) -> None:
    if commit:
        path = shadow.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{commit}\n", encoding="ascii")


def _check_ref(name: str) -> None:
    if not REF_NAME.match(name):
        raise VcsError(f"{name!r} cannot be the name of a ref")


def _upstream(head: str, configured: Mapping[str, list[str]]) -> str:
    """Return the ref that a branch follows, by the repository's configuration; empty if it follows none, or none that can be."""
    branch = head.removeprefix("refs/heads/")
    remote, merge = (configured.get(f"branch.{branch}.{key}", [""])[-1] for key in ("remote", "merge"))
    found = ""
    if remote == ".":
        found = merge
    elif remote and merge:
        for spec in configured.get(f"remote.{remote}.fetch", []):
            source, _colon, target = spec.removeprefix("+").partition(":")
            before, star, after = source.partition("*")
            if source == merge and target:
                found = target
            elif star and merge.startswith(before) and merge.endswith(after) and len(merge) >= len(before) + len(after):
                found = target.replace("*", merge[len(before) : len(merge) - len(after)], 1)
    return found if REF_NAME.match(found) and found != head else ""


# --- Mercurial -----------------------------------------------------------------------------------


@contextmanager
def hg(path: str, tree: Tree, runner: Runner) -> Iterator[HgRepository]:
    """Yield a Mercurial repository, in which hg runs nothing that it configures and writes nothing.

    :raises VcsError: it leads outside, or this Mercurial cannot be kept from reading its ``hgrc``.
    """
    check_hg(path, tree)
    check_hg_version(runner)
    with tempfile.TemporaryDirectory(prefix="repoman-vcs-") as directory:
        extension = Path(directory, "hg_state.py")
        extension.write_bytes(hg_state.__loader__.get_data(str(hg_state.__file__)))  # type: ignore[union-attr]
        runner.share(Path(directory))
        yield HgRepository(tree.resolve(path), str(extension), runner, hg_user_ignored(runner))


@dataclass(frozen=True)
class HgRepository:
    """A Mercurial repository; made by :func:`hg`.

    :param extension: path of the extension that forbids writing and has our commands.
    :param ignored: files of what the user ignores everywhere.
    """

    path: str
    extension: str
    runner: Runner
    ignored: tuple[str, ...] = ()

    def run(self, *arguments: str) -> bytes:
        """Run an hg command; return its output. Beside hg's own there are ``repoman-state`` and ``repoman-verify``.

        :raises VcsError: it failed, with its reason.
        """
        settings = {"extensions.repoman": self.extension} | {f"ui.ignore.{number}": path for number, path in enumerate(self.ignored)}
        argv = ["hg", *(f"--config={key}={value}" for key, value in settings.items()), "--repository", self.path, *arguments]
        done = self.runner.run(argv, hg_environment(self.runner.me), os.path.dirname(self.extension))
        if done.code:
            raise VcsError(f"hg says: {done.reason()}")
        return done.out


def hg_environment(me: Account) -> dict[str, str]:
    """Return the environment in which hg reads no configuration at all."""
    return {
        "PATH": PATH,
        "HOME": me.home,
        "LC_ALL": "C.UTF-8",
        "HGENCODING": "utf-8",
        "HGPLAIN": "1",
        "HGRCPATH": "",
        "HGRCSKIPREPO": "1",
        "HGEDITOR": "false",
        "PAGER": "cat",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@lru_cache
def hg_user_ignored(runner: Runner) -> tuple[str, ...]:
    """Return the files of patterns that the user's own configuration of hg names, asked once; none where it cannot be read."""
    environment = {key: value for key, value in hg_environment(runner.me).items() if key != "HGRCPATH"}
    try:
        done = runner.run(["hg", "config", "ui"], environment, "/")
    except VcsError:
        return ()
    settings = (line.partition("=") for line in os.fsdecode(done.out).splitlines())
    return tuple(value for key, _equals, value in settings if re.match(r"ui\.ignore(\.|$)", key) and value.startswith(("/", "~")))


def check_hg(path: str, tree: Tree) -> None:
    """Check that a Mercurial repository, and the one whose store it may share, lie in the tree.

    :raises VcsError: they do not, or it wants an extension that runs other programs.
    """
    own = os.path.join(tree.resolve(path), ".hg")
    shared = tree.read(os.path.join(own, "sharedpath"))
    wants: set[str] = set()
    for directory in (own, *([os.path.join(own, os.fsdecode(shared).rstrip("\n"))] if shared is not None else [])):
        if not os.path.isdir(tree.resolve(directory)):
            raise VcsError(f"{directory} is not a directory")
        for name in ("bookmarks", "bookmarks.current", "branch", "cache", "dirstate", "requires", "store", "wcache"):
            tree.resolve(os.path.join(directory, name))
        for name in ("requires", "store/requires"):
            wants |= set(_text(tree.read(os.path.join(directory, name))).split())
    if "git" in wants:
        raise VcsError("it keeps its history in git, through an extension")


@lru_cache
def check_hg_version(runner: Runner) -> None:
    """Check, once, that this Mercurial honours ``HGRCSKIPREPO``.

    :raises VcsError: it does not, or there is none.
    """
    said = runner.run(["hg", "--version", "--quiet"], hg_environment(runner.me), "/").out.decode(errors="replace")
    found = re.search(r"version (\d+)\.(\d+)", said)
    if not found or (int(found[1]), int(found[2])) < HG_WITH_SKIP:
        raise VcsError("this Mercurial cannot be kept from reading the repository's hgrc: it is older than 6.0")
