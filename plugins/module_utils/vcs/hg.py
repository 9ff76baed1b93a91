# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run Mercurial on untrusted repositories: hg reads no configuration of theirs and writes nothing.

``HGRCSKIPREPO`` keeps hg from reading ``.hg/hgrc``, and repoman's extension denies every write.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TypeVar

from ansible_collections.homelab.repoman.plugins.module_utils.process.identity import Identity
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import PATH, CommandError, CommandRunner
from ansible_collections.homelab.repoman.plugins.module_utils.vcs import hg_extension
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.confined_tree import ConfinedTree, VcsError, temporary_files
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.location import decode_line

MIN_HG_VERSION = (6, 0)
"""Versions of Mercurial from this one on honour ``HGRCSKIPREPO`` wherever they read ``.hg/hgrc``."""
Result = TypeVar("Result")


def _read_once(read: Callable[[CommandRunner], Result]) -> Callable[[CommandRunner], Result]:
    """Decorate a function: threads that call it at the same time share one call, and its result is kept. After an error, it is called again."""
    known: dict[CommandRunner, Future[Result]] = {}

    @wraps(read)
    def shared(runner: CommandRunner) -> Result:
        own: Future[Result] = Future()
        future = known.setdefault(runner, own)
        if future is own:
            try:
                own.set_result(read(runner))
            except BaseException as error:
                del known[runner]
                own.set_exception(error)
        return future.result()

    return shared


@contextmanager
def open_hg(path: str, tree: ConfinedTree, runner: CommandRunner) -> Iterator[HgRepository]:
    """Yield a Mercurial repository, in which hg runs nothing that it configures and writes nothing.

    :raises VcsError: it leads outside, or this Mercurial cannot be kept from reading its ``hgrc``.
    """
    check_hg(path, tree)
    check_hg_version(runner)
    code = hg_extension.__loader__.get_data(str(hg_extension.__file__))  # type: ignore[union-attr]
    with ExitStack() as stack:
        with temporary_files():
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="repoman-vcs-"))
            extension = Path(directory, "hg_extension.py")
            extension.write_bytes(code)
            runner.grant_read(Path(directory))
        yield HgRepository(tree.resolve(path), str(extension), runner, hg_user_ignored(runner))


@dataclass(frozen=True)
class HgRepository:
    """A Mercurial repository; made by :func:`open_hg`.

    :param extension: path of repoman's extension.
    :param ignored: the user's own ignore files.
    """

    path: str
    extension: str
    runner: CommandRunner
    ignored: tuple[str, ...] = ()

    def run(self, *arguments: str) -> bytes:
        """Run one of hg's commands, or ``repoman-state``; return its output.

        :raises VcsError: it failed, with its reason.
        """
        settings = {"extensions.repoman": self.extension} | {f"ui.ignore.{number}": path for number, path in enumerate(self.ignored)}
        argv = ["hg", *(f"--config={key}={value}" for key, value in settings.items()), "--repository", self.path, *arguments]
        done = self.runner.run(argv, hg_environment(self.runner.account), os.path.dirname(self.extension))
        if done.code:
            raise VcsError(f"hg says: {done.error_summary()}")
        return done.out


def hg_environment(account: Identity) -> dict[str, str]:
    """Return the environment in which hg reads no configuration at all."""
    return {
        "PATH": PATH,
        "HOME": account.home,
        "LC_ALL": "C.UTF-8",
        "HGENCODING": "utf-8",
        "HGPLAIN": "1",
        "HGRCPATH": "",
        "HGRCSKIPREPO": "1",
        "HGEDITOR": "false",
        "PAGER": "cat",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@_read_once
def hg_user_ignored(runner: CommandRunner) -> tuple[str, ...]:
    """Return the user's own ignore files, from the configuration of hg; empty if that cannot be read."""
    environment = {key: value for key, value in hg_environment(runner.account).items() if key != "HGRCPATH"}
    try:
        done = runner.run(["hg", "config", "ui"], environment, "/")
    except CommandError:
        return ()
    settings = (line.partition("=") for line in os.fsdecode(done.out).splitlines())
    return tuple(value for key, _equals, value in settings if re.match(r"ui\.ignore(\.|$)", key) and value.startswith(("/", "~")))


def check_hg(path: str, tree: ConfinedTree) -> None:
    """Check that a Mercurial repository, and the one whose store it may share, lie in the tree.

    :raises VcsError: they do not, or it needs an extension that runs other programs.
    """
    hg_dir = os.path.join(tree.resolve(path), ".hg")
    shared = tree.read(os.path.join(hg_dir, "sharedpath"))
    wants: set[str] = set()
    for directory in (hg_dir, *([os.path.join(hg_dir, os.fsdecode(shared).rstrip("\n"))] if shared is not None else [])):
        if not os.path.isdir(tree.resolve(directory)):
            raise VcsError(f"{directory} is not a directory")
        for name in ("bookmarks", "bookmarks.current", "branch", "cache", "dirstate", "requires", "store", "wcache"):
            tree.resolve(os.path.join(directory, name))
        for name in ("requires", "store/requires"):
            wants |= set(decode_line(tree.read(os.path.join(directory, name))).split())
    if "git" in wants:
        raise VcsError("it keeps its history in git, through an extension")


@_read_once
def check_hg_version(runner: CommandRunner) -> None:
    """Check, once, that this Mercurial honours ``HGRCSKIPREPO``.

    :raises VcsError: it does not, or is not installed.
    """
    if not is_supported_hg(read_hg_version(runner)):
        raise VcsError("this Mercurial cannot be kept from reading the repository's hgrc: it is older than 6.0")


def read_hg_version(runner: CommandRunner) -> str:
    """Return the version of Mercurial, such as ``6.9.4``; empty if it cannot be read.

    :raises CommandError: it is not installed, or does not answer.
    """
    output = runner.run(["hg", "--version", "--quiet"], hg_environment(runner.account), "/").out.decode(errors="replace")
    match = re.search(r"version (\d+\.\d+[^\s)]*)", output)
    return match[1] if match else ""


def is_supported_hg(version: str) -> bool:
    """Return whether a version of Mercurial is :data:`MIN_HG_VERSION` or later."""
    match = re.match(r"(\d+)\.(\d+)", version)
    return match is not None and (int(match[1]), int(match[2])) >= MIN_HG_VERSION
