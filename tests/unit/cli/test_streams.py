# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Standard streams that are closed, full or without a reader: the run and its exit status stay the same."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from command_environment import environment

LINES = [
    (("--help",), 0),
    (("sync", "--help"), 0),
    (("completion", "bash"), 0),
    (("completion", "--complete", "zsh", "--", ""), 0),
    (("nosuch",), 2),
]
"""Command lines, with their exit status in a home without a registry and without Incus."""
RUNS = [(("profile", "show", "dotfiles"), 0), (("list",), 3), (("status",), 3), (("doctor",), 1)]
"""The same of lines that run a playbook."""
FOR_RUNS = ("2>&1 | true", "<&- >&- 2>&-", "2>/dev/full")
NOT_AN_ERROR = ["| true", "| head -n 1", "2>&1 | true", ">&-", "<&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full"]
FULL = "cannot write the output: No space left on device."


def redirected(home: Path, line: tuple[str, ...], redirection: str) -> tuple[int, str]:
    """Run the command with a redirection of bash; return its exit status, and what else reached the standard error or the terminal."""
    script = f'"$@" {redirection}; exit "${{PIPESTATUS[0]}}"'
    argv = ["bash", "-c", script, "bash", sys.executable, "-m", "repoman", *line]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False, env=environment(home)
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("redirection", NOT_AN_ERROR)
def test_stream_that_is_closed(tmp_path: Path, redirection: str) -> None:
    """It is no error, and nothing is printed about it."""
    for line, code in [*LINES, *(RUNS if redirection in FOR_RUNS else [])]:
        status, errors = redirected(tmp_path, line, redirection)
        assert status == code, (line, errors)
        expected = () if code == 0 else ("repoman: error: ", "hint: ")
        assert [text for text in errors.splitlines() if not text.startswith(expected)] == [], line


@pytest.mark.parametrize("redirection", FOR_RUNS)
def test_backup_is_made(tmp_path: Path, redirection: str) -> None:
    """The work is done without a reader, too."""
    (tmp_path / "repos/demo").mkdir(parents=True)
    (tmp_path / "repos/demo/file").write_text("text")
    registry = tmp_path / ".config/repoman/repoman.toml"
    registry.parent.mkdir(parents=True)
    registry.write_text('[repoman]\nschema = 3\n[defaults]\nbackup_root = "~/backup"\n')
    status, errors = redirected(tmp_path, ("sync", "--init", "--allow-local"), redirection)
    assert status == 0, errors
    assert (tmp_path / "backup/demo/file").read_text() == "text"


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    """It is one sentence and exit status 1, unless the run failed or differed in another way; a failed check of doctor is no error."""
    for line, code in [*LINES, *RUNS]:
        status, errors = redirected(tmp_path, line, ">/dev/full")
        assert status == (code or 1), (line, errors)
        assert errors.count("repoman: error: ") == 1 and (FULL in errors) == (code == 0 or line == ("doctor",)), (line, errors)
        assert "Traceback" not in errors and "WARNING" not in errors, (line, errors)
    status, errors = redirected(tmp_path, ("list", "--json"), ">/dev/full")
    assert status == 3 and FULL in errors


def test_streams_that_do_not_block(tmp_path: Path) -> None:
    """A caller such as ``rsync --rsh`` hands over non-blocking ones, which ansible refuses."""
    here, there = socket.socketpair()
    with here, there:
        there.setblocking(False)
        command = [sys.executable, "-m", "repoman", "list"]
        done = subprocess.run(
            command, stdin=there, stdout=there, stderr=subprocess.PIPE, text=True, check=False, env=environment(tmp_path), timeout=300
        )
    assert done.returncode == 3 and "registry" in done.stderr, done


def test_stream_for_reading(tmp_path: Path) -> None:
    """A stream that was opened for reading only is like a full one."""
    status, errors = redirected(tmp_path, ("--help",), "1</dev/null")
    assert (status, errors) == (1, "repoman: error: cannot write the output: Bad file descriptor.\nhint: df -h\n")
