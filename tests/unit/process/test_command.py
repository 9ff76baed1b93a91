# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands: all are started in one place, and each is in the trace once."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_reader import ObjectReader
from ansible_collections.homelab.repoman.plugins.module_utils.core import log
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import ask_ip, get_account
from ansible_collections.homelab.repoman.plugins.module_utils.process.bounded import run_tail
from ansible_collections.homelab.repoman.plugins.module_utils.process.command import Command
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandError, CommandRunner
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git import formats

MODULE_UTILS = Path(__file__).resolve().parents[3] / "plugins/module_utils"
STARTS = {
    "subprocess": {"Popen", "call", "check_call", "check_output", "getoutput", "getstatusoutput", "run"},
    "os": {"popen", "posix_spawn", "posix_spawnp", "system", *(name for name in dir(os) if name.startswith(("exec", "spawn")))},
}
"""What starts a command, by its module."""
ENVIRONMENT = {"PATH": os.environ["PATH"], "TOKEN": "hush"}


@pytest.fixture
def trace() -> Callable[[Callable[[], object]], list[str]]:
    """Return what returns the trace of a call, without times, processes and durations."""

    def traced(call: Callable[[], object]) -> list[str]:
        lines: list[str] = []
        with log.tracing(lines.append):
            call()
        return [re.sub(r"\d+ ms", "N ms", line.split(" ", 2)[2]) for line in lines]

    return traced


def test_only_one_file_starts_commands() -> None:
    """Others would not be in the trace."""
    found = {}
    for path in MODULE_UTILS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in STARTS.get(node.value.id, ()):
                found[str(path.relative_to(MODULE_UTILS))] = node.attr
            elif isinstance(node, ast.ImportFrom) and node.module in STARTS:
                assert not {alias.name for alias in node.names} & STARTS[node.module], path
    assert found == {"process/command.py": "Popen"}


def test_each_way_to_run_one(trace: Callable[[Callable[[], object]], list[str]], tmp_path: Path) -> None:
    """One line each, with words and exit status, and nothing of the environment."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)

    def work() -> None:
        run_tail(["sh", "-c", "exit 3"], env=ENVIRONMENT, seconds=60, memory=1 << 30, size=100)
        CommandRunner(get_account()).run(["true", "1"], ENVIRONMENT, "/")
        ask_ip("addr", "show", "lo")
        formats.git_version.cache_clear()
        formats.git_version()
        reader = ObjectReader(ENVIRONMENT, {"cwd": tmp_path}, 1)
        assert reader.head(b"0" * 40) is None
        reader.close()
        with Command(["sleep", "600"], env=ENVIRONMENT):
            pass

    assert trace(work) == [
        "process: exit 3 after N ms: sh -c 'exit 3'",
        "process: exit 0 after N ms: true 1",
        "process: exit 0 after N ms: ip -json -4 addr show lo",
        "process: exit 0 after N ms: git --version",
        "process: exit -9 after N ms: git cat-file --batch-command",
        "process: exit -9 after N ms: sleep 600",
    ]


def test_one_that_fails_says_why(trace: Callable[[Callable[[], object]], list[str]]) -> None:
    """It does not exist, or took too long."""

    def work() -> None:
        with pytest.raises(CommandError):
            CommandRunner(get_account()).run(["no-such-command", "hello"], ENVIRONMENT, "/")
        with pytest.raises(CommandError):
            CommandRunner(get_account(), timeout=0.1).run(["sleep", "600"], ENVIRONMENT, "/")

    assert trace(work) == [
        "process: cannot be run (No such file or directory): no-such-command hello",
        "process: exit -9 after N ms (sleep did not answer within 0.1 s): sleep 600",
    ]
