# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What kind of repository a directory is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.detect import detect_vcs, is_git_directory


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("git init -q .", "git"),
        ("git init -q --bare .", "git"),
        ("git init -q --bare . && ln -fns refs/heads/none HEAD", "git"),
        ("git init -q --bare . && rm -r refs && touch refs", ""),
        ("git init -q --bare . && rm HEAD", ""),
        ("echo gitdir: /nowhere > .git", "git"),
        ("ln -s /nowhere .git", "git"),
        ("mkdir .hg", "hg"),
        ("ln -s /nowhere .hg", "hg"),
        ("mkdir .hg && git init -q .", "git"),
        ("mkdir .hg && git init -q --bare .", "hg"),
        ("touch HEAD objects refs", ""),
        ("true", ""),
    ],
)
def test_kinds(tmp_path: Path, script: str, kind: str) -> None:
    """Work trees, bare repositories, pointers, broken ones, both at once, and what only looks like one."""
    subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True)
    assert detect_vcs(str(tmp_path)) == kind


def test_git_agrees(tmp_path: Path) -> None:
    """About what a git directory is."""
    for number, script in enumerate(("true", "ln -fns refs/heads/none HEAD", "rm HEAD", "rm -r refs", "rm -r objects")):
        bare = tmp_path / str(number)
        subprocess.run(["sh", "-c", f"git init -q --bare {bare} && cd {bare} && {script}"], check=True)
        done = subprocess.run(
            ["git", "rev-parse", "--git-dir"], cwd=bare, env={"GIT_CEILING_DIRECTORIES": str(tmp_path)}, capture_output=True, check=False
        )
        assert (done.returncode == 0) == is_git_directory(str(bare)), script
