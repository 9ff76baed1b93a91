# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shadow of claude-share that the guide gives: state in one directory, in which files can be renamed over each other."""

from __future__ import annotations

import re

import pytest
from world import CHECKOUT, World

GUIDE = CHECKOUT / "docs/docsite/rst/claude_state.rst"
SAVE = (
    'printf "%s" "$1" >"$CLAUDE_CONFIG_DIR/.claude.json.tmp" && mv "$CLAUDE_CONFIG_DIR/.claude.json.tmp" "$CLAUDE_CONFIG_DIR/.claude.json"'
)
"""How a program saves a file so that it is the old or the new one at any moment."""
RENAME = 'printf "%s" "$1" >~/.claude.json.tmp && mv ~/.claude.json.tmp ~/.claude.json'


def shadow() -> str:
    """Return the template as the guide has it."""
    match = re.search(r"^   :name: claude-shadow\n\n((?:(?:   .*)?\n)+)", GUIDE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert match
    return re.sub("^   ", "", match[1], flags=re.MULTILINE)


@pytest.fixture
def claude(ready: World) -> World:
    """A home with Claude's state and program, and a repository."""
    ready.write(ready.home / ".claude/.claude.json", '{"by": "host"}')
    ready.write(ready.home / ".local/bin/claude", "#!/bin/sh\n").chmod(0o755)
    ready.git_repository("demo")
    return ready


def test_the_shadow_of_the_guide(claude: World) -> None:
    """It shadows, installs, and a container has the variable and the directory; saving by rename works from both sides."""
    claude.template("claude-share", shadow())
    rows = {row["name"]: row for row in claude.repoman("--json", "profile", "list").data["profiles"]}
    assert rows["claude-share"]["source"] == "user"
    assert "CLAUDE_CONFIG_DIR" in claude.repoman("profile", "diff", "claude-share", "--vendor", code=1).out
    claude.repoman("profile", "install", "claude-share")
    assert not claude.repoman("--json", "profile", "install", "claude-share").data["changed"]
    claude.new("demo", profiles=["default", "claude-share"])
    inside = ("shell", "demo", "--", "sh", "-c")
    state = claude.home / ".claude/.claude.json"
    assert claude.repoman(*inside, 'echo "$CLAUDE_CONFIG_DIR"').out == f"{state.parent}\n"
    assert claude.repoman(*inside, 'cat "$CLAUDE_CONFIG_DIR/.claude.json"').out == '{"by": "host"}'
    claude.repoman(*inside, SAVE, "sh", '{"by": "container"}')
    assert state.read_text() == '{"by": "container"}'
    assert (state.stat().st_uid, state.stat().st_gid) == (claude.me.uid, claude.me.gid)
    assert claude.run("sh", "-c", SAVE, "sh", '{"by": "host again"}', env={"CLAUDE_CONFIG_DIR": str(state.parent)}).code == 0
    assert claude.repoman(*inside, 'cat "$CLAUDE_CONFIG_DIR/.claude.json"').out == '{"by": "host again"}'


def test_why_not_the_single_file(claude: World) -> None:
    """What the guide warns of is so: a file that is mounted cannot be replaced by a rename, and nothing is lost by the attempt."""
    single = claude.write(claude.home / ".claude.json", "old")
    claude.template(
        "single", "devices:\n  one:\n    type: disk\n    source: ${HOME}/.claude.json\n    path: ${HOME}/.claude.json\n    shift: 'true'\n"
    )
    claude.install("single")
    claude.new("demo", profiles=["default", "single"])
    saved = claude.repoman("shell", "demo", "--", "sh", "-c", RENAME, "sh", "new", code=1)
    assert "busy" in saved.err
    assert single.read_text() == "old"
