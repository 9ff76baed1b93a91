# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scratch git directory that git uses instead of a repository's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandRunner
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.borrowed_objects import HeldObjects
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.confined_tree import VcsError, temporary_files
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.commit import read_commit_time
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.location import GitLocation


@dataclass
class ScratchGitDir:
    """The git directory that git uses instead of a repository's own; made by :func:`repository.open_git`.

    :param objects: the open object directories.
    :param head: the full name of the branch, or the object ID if HEAD is detached.
    :param upstream: the full name of the ref that the branch follows; empty if it follows none.
    :param has_commits: whether the branch, or a detached HEAD, has a commit.
    :param commit: ID of the object that ``HEAD`` resolves to, which may be a tag; empty without one, and for refs in the reftable format.
    :param has_extensions: whether the repository's format has extensions, so that its objects may be in another one.
    """

    location: GitLocation
    path: Path
    runner: CommandRunner
    objects: HeldObjects
    head: str = ""
    upstream: str = ""
    has_commits: bool = False
    commit: str = ""
    has_extensions: bool = False
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, text: str) -> None:
        """Write a file, and the directories above it.

        :raises VcsError: it cannot be written.
        """
        path = self.path / name
        with temporary_files():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="surrogateescape")

    def last_commit(self) -> tuple[int, str]:
        """Return the time of the checked out commit in seconds, and its ID.

        :raises VcsError: it cannot be read.
        """
        # In a bare repository, this is the only command that looks at the objects, so git must judge them.
        if self.commit and not self.has_extensions and self.location.work_tree and self.objects.own is not None:
            time = read_commit_time(self.objects.own, self.commit)
            if time is not None:
                return time, self.commit
        seconds, commit = self.git("rev-list", "--max-count=1", "--timestamp", "HEAD", "--").decode().split()
        return int(seconds), commit

    def git(self, *arguments: str) -> bytes:
        """Run a git command that only reads; return its output.

        :raises VcsError: it failed, with its reason.
        """
        done = self.runner.run(
            ["git", *arguments], self.environment, self.location.work_tree or str(self.path), pass_fds=self.objects.descriptors
        )
        if done.code:
            raise VcsError(f"git says: {done.error_summary()}")
        return done.out
