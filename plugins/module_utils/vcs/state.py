# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state of repositories, git and Mercurial: what is checked out, what is not committed, what is not pushed.

Nothing goes over the network, and nothing that a repository configures runs; see ``safe_vcs``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.vcs import confined as safe_vcs
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.confined import Runner, Tree, VcsError

AT_ONCE = 8
"""Repositories that are looked at at the same time."""
SHARES = 4
"""What is read of a repository in this process may take so many times as long as a command, with what commands take meanwhile."""
TEXT_LENGTH = 4096
BRANCHES = "refs/heads/"
REMOTES = "refs/remotes/"


@dataclass
class State:
    """The state of a repository. Names come from the repository: escape them before they are shown.

    :param kind: ``git``, ``hg``, or empty where there is neither.
    :param branch: git's branch or Mercurial's named branch; empty where git has none checked out.
    :param bookmark: Mercurial's active bookmark.
    :param commit: id of what is checked out; empty before the first commit.
    :param detached: whether git has a commit checked out and no branch.
    :param bare: whether it has no working tree.
    :param staged: files that differ between the last commit and git's index.
    :param unstaged: tracked files whose changes are not staged; of Mercurial, not committed.
    :param conflicts: files whose merge is not resolved.
    :param untracked: files that are neither tracked nor ignored; git counts a directory of them as one.
    :param upstream: git's remote branch that the branch follows.
    :param ahead: commits that the upstream lacks; of Mercurial, ancestors that are not public. ``None`` where that cannot be told.
    :param behind: commits that only the upstream has; of Mercurial, descendants on the branch that are not checked out.
    :param last_commit: UTC time of what is checked out, ISO 8601.
    :param problem: why the rest is not known; empty if it is.
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


def look_at_all(paths: Mapping[str, str], root: str, me: Account, seconds: float) -> dict[str, dict[str, Any]]:
    """Return the states of repositories, looked at in parallel.

    :param paths: of the repositories, by any key.
    :param root: the directory that nothing is read outside of.
    :param me: whose repositories they are; the commands run as this account.
    :param seconds: each command may take; what is read before them may take some of these.
    :returns: the fields of :class:`State` by the same keys; a repository that cannot be looked at has its reason in ``problem``.
    """
    if not paths:
        return {}
    runner = Runner(me, seconds)
    settings = safe_vcs.git_user_settings(runner)
    with ThreadPoolExecutor(min(AT_ONCE, len(paths))) as pool:
        states = pool.map(lambda path: look(path, Tree(root, SHARES * seconds), runner, settings), paths.values())
        return {key: asdict(state) for key, state in zip(paths, states, strict=True)}


def look(path: str, tree: Tree, runner: Runner, settings: Mapping[str, str] | None = None) -> State:
    """Return the state of one repository.

    :param settings: of the user, as :func:`safe_vcs.git_user_settings` returns them.
    """
    state = State()
    try:
        real = tree.resolve(path)
        if not os.path.isdir(real):
            raise VcsError("it is not a directory" if os.path.lexists(path) else "it does not exist")
        if os.path.lexists(os.path.join(real, ".hg")) and not os.path.lexists(os.path.join(real, ".git")):
            state.kind = "hg"
            _look_at_hg(state, path, tree, runner)
        else:
            state.kind = "git" if os.path.lexists(os.path.join(real, ".git")) else ""
            place = safe_vcs.find_git(path, tree)
            if place is not None:
                state.kind = "git"
                _look_at_git(state, place, tree, runner, settings)
    except VcsError as error:
        state.problem = error.message
    except OSError as error:
        state.problem = f"cannot read it: {error.strerror or error}"
    for key, value in asdict(state).items():
        if isinstance(value, str):
            setattr(state, key, value[:TEXT_LENGTH].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
    return state


def _look_at_git(state: State, place: safe_vcs.GitPlace, tree: Tree, runner: Runner, settings: Mapping[str, str] | None) -> None:
    state.bare = not place.work_tree
    with safe_vcs.git_shadow(place, tree, runner, settings) as shadow:
        state.detached = not shadow.head.startswith("refs/")
        state.branch = "" if state.detached else shadow.head.removeprefix(BRANCHES)
        state.upstream = shadow.upstream.removeprefix(REMOTES).removeprefix(BRANCHES)
        if shadow.is_born:
            seconds, state.commit = shadow.git("rev-list", "--max-count=1", "--timestamp", "HEAD", "--").decode().split()
            state.last_commit = _time(int(seconds))
        if state.bare:
            return
        said = shadow.git(
            "status", "--porcelain=v2", "--branch", "-z", "--no-renames", "--untracked-files=normal", "--ignore-submodules=all"
        )
        for entry in said.split(b"\0"):
            kind, _space, rest = entry.partition(b" ")
            if kind == b"1":
                state.staged += rest[:1] != b"."
                state.unstaged += rest[1:2] != b"."
            elif kind == b"u":
                state.conflicts += 1
            elif kind == b"?":
                state.untracked += 1
            elif rest.startswith(b"branch.ab "):
                state.ahead, state.behind = (abs(int(count)) for count in rest.split()[1:])


def _look_at_hg(state: State, path: str, tree: Tree, runner: Runner) -> None:
    with safe_vcs.hg(path, tree, runner) as repository:
        said = repository.run("repoman-state")
    try:
        found = json.loads(said)
    except ValueError as error:
        raise VcsError("hg gave no answer that can be read") from error
    for key in ("branch", "bookmark", "commit", "unstaged", "conflicts", "untracked", "ahead", "behind"):
        setattr(state, key, found[key])
    state.last_commit = _time(found["seconds"])


def _time(seconds: int | None) -> str:
    """Return a time as the registry writes it; empty where there is none, or none that can be."""
    if seconds is None:
        return ""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, OSError, ValueError):
        return ""
