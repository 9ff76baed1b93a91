# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Standard streams without a reader: each verb does its work all the same."""

from __future__ import annotations

import pytest
from world import World


@pytest.mark.parametrize("redirection", ["2>&1 | true", "<&- >&- 2>&-"])
def test_work_is_done_without_a_reader(ready: World, redirection: str) -> None:
    """From new to remove; the exit status is that of the work."""
    repository = ready.git_repository("demo")
    ready.write(ready.registry, ready.registry.read_text().replace('"/nfs/repos"', f'"{ready.home}/backup"'))

    def run(line: str, code: int = 0) -> None:
        assert ready.run("bash", "-c", f'repoman {line} {redirection}; exit "${{PIPESTATUS[0]}}"').code == code, line

    run("new demo --image busybox")
    assert ready.instances()["demo"]["status"] == "Running"
    run("sync --init --allow-local")
    assert (ready.home / "backup/demo").is_dir()
    run("status")
    run("doctor")
    repository.rename(ready.home / "away")
    run("doctor", code=1)
    run("restore demo")
    assert (repository / ".git/HEAD").exists()
    run("shell demo -- touch inside")
    assert (repository / "inside").exists()
    run("profile copy dotfiles")
    assert (ready.user_dir / "dotfiles.yml").exists()
    run("remove demo --yes")
    assert "demo" not in ready.instances() and "demo" not in ready.registry.read_text()
