# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of the guides work as they stand, one after the other, in a fresh home."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import closed_port
from world import CHECKOUT, World

PAGES = ("first_hour", "every_day", "containers", "dotfiles", "doctor", "shadowing", "writing_a_profile", "root_inside", "ports")
"""Guides whose commands are run here, in this order. The others need several hosts, a backup target, or an earlier version of repoman; tests
of the verbs have them."""
NOT_RUN = {
    r"sudo |pipx |make |ansible-galaxy |repoman --version": "installs on the machine",
    r".*images:": "needs a server of images",
    r".* make |.* --root ": "needs more than the image busybox has",
    r".*FILE|editor ": "has a name to replace",
    r".* new .*--clone ": "needs a server of repositories",
}
"""Lines that are not run, by the pattern at their beginning, and why."""
EXIT_CODES = {r"repoman doctor|repoman profile diff": (0, 1)}
"""Exit codes that are not 0 and no failure: a check that fails on this machine, and a difference."""
TYPED = {r"repoman remove": "y\n"}
"""What is typed on a terminal."""


def lines(page: str) -> Iterator[str]:
    """Yield the command lines of a guide."""
    text = (CHECKOUT / f"docs/docsite/rst/{page}.rst").read_text(encoding="utf-8")
    for block in re.findall(r"^ *\.\. code-block:: console\n\n((?: +.*\n|\n)+)", text, re.MULTILINE):
        yield from re.findall(r"^ +\$ (.*)$", block, re.MULTILINE)


def block(page: str, language: str, number: int = 0) -> str:
    """Return a code block of a guide."""
    text = (CHECKOUT / f"docs/docsite/rst/{page}.rst").read_text(encoding="utf-8")
    found = re.findall(rf"^\.\. code-block:: {language}\n\n((?:   .*\n|\n)+)", text, re.MULTILINE)
    return re.sub("^   ", "", found[number], flags=re.MULTILINE)


def matching(line: str, table: dict[str, object]) -> object:
    """Return the value for a line; ``None`` without one."""
    return next((value for pattern, value in table.items() if re.match(pattern, line)), None)


@pytest.fixture
def home(world: World) -> World:
    """A home with repositories and what the vendor profiles share."""
    for name in ("isurus", "lamna"):
        world.git_repository(name)
    world.mkdir(world.repos / "isurus/src")
    world.mkdir(world.home / ".claude")
    world.mkdir(world.home / ".cache")
    world.write(world.home / ".local/bin/claude", "#!/bin/sh\n")
    world.write(world.home / ".gitconfig", "[user]\nname = Me\n")
    return world


def prepare(page: str, world: World) -> None:
    """Make what a guide tells the reader to write before its commands."""
    if page == "every_day":
        world.new("lamna")
    if page == "dotfiles":
        world.template("dotfiles", block(page, "yaml"))
    if page == "writing_a_profile":
        world.template("cache", block(page, "yaml"))
        world.install("cache")
    if page == "ports":
        world.template("postgres", block(page, "yaml"))
        world.write(world.overrides / "isurus.toml", block(page, "toml").replace("127.0.0.1:8080", f"127.0.0.1:{closed_port()}", 1))


def test_commands_of_the_guides(home: World) -> None:
    """Each line exits with 0, or with the code that its page tells of."""
    environment = {"EDITOR": "sed -i '$a # mine'", "INCUS_CONF": str(home.home / "client")}
    for page in PAGES:
        prepare(page, home)
        directory = home.home
        for line in lines(page):
            if matching(line, NOT_RUN):
                continue
            if line.startswith("cd "):
                directory = Path(line.removeprefix("cd ").replace("~", str(home.home)))
                continue
            typed = matching(line, TYPED)
            result = home.on_terminal(line, str(typed)) if typed else home.run("bash", "-c", line, cwd=directory, env=environment)
            codes = matching(line, EXIT_CODES) or (0,)
            assert isinstance(codes, tuple) and result.code in codes, f"{page}: {line}: {result}"
            if line == "repoman setup":
                text = home.registry.read_text()
                text = re.sub(r'(?m)^(default_image = )".*?"', r'\1"busybox"', text).replace('lan_ip = ""', 'lan_ip = "192.0.2.1"')
                home.write(home.registry, text)
    assert home.profiles().keys() >= {"claude-share", "dotfiles", "llm-share", "cache", "postgres"}
    assert os.listdir(home.user_dir)


def test_every_line_is_run_or_has_a_reason() -> None:
    """Each reason is that of a line, and most lines are run."""
    every = [line for page in PAGES for line in lines(page)]
    skipped = [line for line in every if matching(line, NOT_RUN)]
    assert len(skipped) < len(every) / 3
