# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command in a directory that was deleted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from command_environment import environment

DELETED = "the current directory was deleted, so relative paths cannot be resolved."


def in_deleted_directory(home: Path, *line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a directory that is deleted first.

    :param variables: of its environment.
    """
    directory = home / "deleted"
    directory.mkdir()
    script = f'cd "{directory}" && rmdir "{directory}" && exec "$@"'
    argv = ["sh", "-c", script, "sh", sys.executable, "-P", "-m", "repoman", *line]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment(home) | variables)


def test_verbs_that_need_no_directory(tmp_path: Path) -> None:
    """They do what they do elsewhere."""
    done = in_deleted_directory(tmp_path, "profile", "show", "dotfiles")
    assert (done.returncode, done.stderr) == (0, "") and "devices:" in done.stdout
    done = in_deleted_directory(tmp_path, "list")
    assert done.returncode == 3 and "there is no registry at" in done.stderr


@pytest.mark.parametrize("source", ["{home}/hosts", "~/hosts", "localhost,"])
def test_inventories_that_need_no_directory(tmp_path: Path, source: str) -> None:
    """An absolute path, one in the home, and a list of hosts."""
    (tmp_path / "hosts").write_text("localhost\n", encoding="utf-8")
    variables = {"ANSIBLE_PYTHON_INTERPRETER": sys.executable, "ANSIBLE_TRANSPORT": "local"}
    done = in_deleted_directory(tmp_path, "-i", source.format(home=tmp_path), "list", **variables)
    assert done.returncode == 3 and "there is no registry at" in done.stderr, done


@pytest.mark.parametrize(
    "line",
    [
        ("new", "x", "--repo", "."),
        ("new", "x", "--repo=../y"),
        ("restore", "x", "--to", "there"),
        ("new",),
        ("shell", "."),
        ("status", "../isurus"),
        ("-i", "hosts", "list"),
        ("-i", "/x", "-i", "hosts", "list"),
        ("-l", "x", "list"),
    ],
)
def test_relative_paths(tmp_path: Path, line: tuple[str, ...]) -> None:
    """They are refused with one sentence, before anything is done."""
    done = in_deleted_directory(tmp_path, *line)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"repoman: error: {DELETED}\nhint: cd\n"
