# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state of git and Mercurial repositories: the checked out revision, uncommitted changes, unpushed commits.

This uses no network and runs nothing that a repository configures; see ``git.repository`` and ``hg``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core import progress
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import plural
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import iso_time
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandError, CommandRunner
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.confined_tree import ConfinedTree, VcsError
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.detect import detect_vcs
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git import scratch_place
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.config import read_user_settings
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.location import GitLocation, locate_git_dir
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.repository import open_git
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.hg import open_hg
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.parallel import Turns, read_all

READ_TIMEOUT_FACTOR = 4
"""Factor from the timeout of a command to that of reading all of a repository."""
TEXT_LENGTH = 4096
BRANCHES = "refs/heads/"
REMOTES = "refs/remotes/"


@dataclass
class RepositoryState:
    """The state of a repository. Names come from the repository: escape them before they are shown.

    :param kind: ``git``, ``hg``, or empty if it is neither.
    :param branch: git's branch or Mercurial's named branch; empty if git has none checked out.
    :param bookmark: Mercurial's active bookmark.
    :param commit: ID of the checked out commit; empty before the first commit.
    :param detached: whether git has a commit checked out and no branch.
    :param bare: whether it has no working tree.
    :param staged: files that differ between the last commit and git's index.
    :param unstaged: tracked files whose changes are not staged; of Mercurial, not committed.
    :param conflicts: files whose merge is not resolved.
    :param untracked: files that are neither tracked nor ignored; git counts a directory of them as one.
    :param upstream: git's remote branch that the branch follows.
    :param ahead: commits that the upstream lacks; of Mercurial, ancestors that are not public. ``None`` if unknown.
    :param behind: commits that only the upstream has; of Mercurial, descendants on the branch that are not checked out.
    :param last_commit: UTC time of the checked out commit, ISO 8601.
    :param problem: why the other fields are incomplete; empty if they are complete.
    """

    kind: str = ""
    branch: str = ""
    bookmark: str = ""
    commit: str = ""
    detached: bool = False
    bare: bool = False
    staged: int = 0
    unstaged: int = 0
    conflicts: int = 0
    untracked: int = 0
    upstream: str = ""
    ahead: int | None = None
    behind: int | None = None
    last_commit: str = ""
    problem: str = ""


def read_states(paths: Mapping[str, str], root: str, account: Account, seconds: float) -> dict[str, dict[str, Any]]:
    """Return the states of repositories, read in parallel; show the progress on a terminal if it takes a while.

    :param paths: of the repositories, by any key.
    :param root: nothing outside of this directory is read.
    :param account: owner of the repositories; commands run as this account.
    :param seconds: timeout of each command.
    :returns: the fields of :class:`RepositoryState` by the same keys; if a repository cannot be read, ``problem`` has the reason.
    """
    if not paths:
        return {}
    scratch_place.remove_abandoned()
    turns = Turns()
    runner = CommandRunner(account, seconds, waiting=turns.waiting)
    settings = read_user_settings(runner)
    known: dict[str, dict[str, Any]] = {}

    def read(key: str) -> dict[str, Any]:
        with turns.working():
            known[key] = asdict(read_state(paths[key], ConfinedTree(root, READ_TIMEOUT_FACTOR * seconds), runner, settings))
        return known[key]

    try:
        states = read_all(paths, read, lambda _done: _show_progress(list(paths), known.copy()))
    finally:
        progress.clear()
    return dict(zip(paths, states, strict=True))


def _show_progress(keys: list[str], known: Mapping[str, dict[str, Any]]) -> None:
    """Show how many repositories were read and which is waited for; above that, the states that are known, in the order of ``keys``."""
    waiting = [key for key in keys if key not in known]
    others = f" and {plural(len(waiting) - 1, 'other')}" if len(waiting) > 1 else ""
    text = f"reading repositories: {len(known)} of {len(keys)}" + (f", waiting for {waiting[0]}{others}" if waiting else "")
    rows = progress.preview({key: known[key] for key in keys if key in known}) if progress.preview and progress.is_live() else []
    progress.update(text, rows)


def read_state(path: str, tree: ConfinedTree, runner: CommandRunner, settings: Mapping[str, str] | None = None) -> RepositoryState:
    """Return the state of one repository.

    :param settings: of the user, as :func:`read_user_settings` returns them.
    """
    state = RepositoryState()
    try:
        real = tree.resolve(path)
        if not os.path.isdir(real):
            raise VcsError("it is not a directory" if os.path.lexists(path) else "it does not exist")
        state.kind = detect_vcs(real)
        if state.kind == "hg":
            _read_hg_state(state, path, tree, runner)
        elif (location := locate_git_dir(path, tree)) is not None:
            _read_git_state(state, location, tree, runner, settings)
    except (CommandError, VcsError) as error:
        state.problem = error.message
    except OSError as error:
        state.problem = _read_error(error).message
    for key, value in asdict(state).items():
        if isinstance(value, str):
            setattr(state, key, value[:TEXT_LENGTH].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
    return state


def _read_error(error: OSError) -> VcsError:
    """Return the error for a repository that cannot be read; with the file, if the error names one and not a descriptor."""
    reason = error.strerror or error
    if error.filename and isinstance(error.filename, str | bytes):
        return VcsError(f"cannot read {os.fsdecode(error.filename)}: {reason}")
    return VcsError(f"it cannot be read: {reason}")


def _read_git_state(
    state: RepositoryState, location: GitLocation, tree: ConfinedTree, runner: CommandRunner, settings: Mapping[str, str] | None
) -> None:
    state.bare = not location.work_tree
    with open_git(location, tree, runner, settings) as scratch:
        state.detached = not scratch.head.startswith("refs/")
        state.branch = "" if state.detached else scratch.head.removeprefix(BRANCHES)
        state.upstream = scratch.upstream.removeprefix(REMOTES).removeprefix(BRANCHES)
        if scratch.has_commits:
            seconds, state.commit = scratch.last_commit()
            state.last_commit = _time(seconds)
        if state.bare:
            return
        output = scratch.git(
            "status", "--porcelain=v2", "--branch", "-z", "--no-renames", "--untracked-files=normal", "--ignore-submodules=all"
        )
        for entry in output.split(b"\0"):
            line_type, _space, rest = entry.partition(b" ")
            if line_type == b"1":
                state.staged += rest[:1] != b"."
                state.unstaged += rest[1:2] != b"."
            elif line_type == b"u":
                state.conflicts += 1
            elif line_type == b"?":
                state.untracked += 1
            elif rest.startswith(b"branch.ab "):
                state.ahead, state.behind = (abs(int(count)) for count in rest.split()[1:])


def _read_hg_state(state: RepositoryState, path: str, tree: ConfinedTree, runner: CommandRunner) -> None:
    with open_hg(path, tree, runner) as repository:
        output = repository.run("repoman-state")
    try:
        fields = json.loads(output)
    except ValueError as error:
        raise VcsError("the output of hg cannot be read") from error
    for key in ("branch", "bookmark", "commit", "unstaged", "conflicts", "untracked", "ahead", "behind"):
        setattr(state, key, fields[key])
    state.last_commit = _time(fields["seconds"])


def _time(seconds: int | None) -> str:
    """Return a time in ISO 8601; empty if there is none or it is out of range."""
    if seconds is None:
        return ""
    try:
        return iso_time(seconds)
    except (OverflowError, OSError, ValueError):
        return ""
