# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of the guides work as they stand, one after the other, in a fresh home."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from lab import closed_port
from world import CHECKOUT, World

PAGES = ("first_hour", "every_day", "containers", "dotfiles", "doctor", "shadowing", "writing_a_profile", "root_inside", "ports")
LATER_PAGES = ("migrating", "claude_state", "planted_hooks", "backup_restore", "json_output")
"""Guides whose commands are run here, in this order: in a fresh home, and in one that an earlier version has used. Those about several
hosts are run in test_hosts, those about moving in test_moving, the devices of a desktop in test_guide_devices, and what installs repoman in
test_package and test_make."""
NOT_RUN = {
    r"sudo |pipx |make |ansible-galaxy |repoman --version": "installs on the machine",
    r".*images:": "needs a server of images",
    r".* make |.* --root ": "needs more than the image busybox has",
    r".*FILE|editor ": "has a name to replace",
    r".* new .*--clone ": "needs a server of repositories",
    r"timedatectl|loginctl|systemctl|journalctl": "needs a session of systemd",
    r"cd /nfs/|for each in kept": "is for a host whose clock was wrong",
    r".* --from 2": "has a time to replace",
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
    found = re.findall(rf"^\.\. code-block:: {language}\n(?:   :.*\n)*\n((?:   .*\n|\n)+)", text, re.MULTILINE)
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
    if page == "claude_state":
        (world.user_dir / "claude-share.yml").unlink()
        world.template("claude-share", block(page, "yaml"))
        text = world.registry.read_text()
        world.write(world.registry, text.replace('name = "isurus"', 'name = "isurus"\nprofiles = ["default", "claude-share"]', 1))
        world.new("isurus")
    if page == "ports":
        world.template("postgres", block(page, "yaml"))
        world.write(world.overrides / "isurus.toml", block(page, "toml").replace("127.0.0.1:8080", f"127.0.0.1:{closed_port()}", 1))


def test_commands_of_the_guides(home: World) -> None:
    """Each line exits with 0, or with the code that its page tells of."""
    run_pages(home, PAGES)
    assert home.profiles().keys() >= {"claude-share", "dotfiles", "llm-share", "cache", "postgres"}
    assert os.listdir(home.user_dir)


def run_pages(home: World, pages: Iterable[str], target: Path | None = None) -> None:
    """Run the command lines of guides, each in the directory that the lines before it lead to.

    :param target: where the backup is, instead of ``/nfs/repos``.
    """
    environment = {"EDITOR": "sed -i '$a # mine'", "INCUS_CONF": str(home.home / "client")}
    environment["PATH"] = f"{home.home}/bin:{home.env()['PATH']}"
    for page in pages:
        prepare(page, home)
        directory = home.home
        for line in lines(page):
            if matching(line, NOT_RUN):
                continue
            if line.startswith("cd "):
                directory = Path(line.removeprefix("cd ").replace("~", str(home.home)))
                continue
            command = line.replace("/nfs/repos", str(target)) if target else line
            typed = matching(line, TYPED)
            result = home.on_terminal(command, str(typed)) if typed else home.run("bash", "-c", command, cwd=directory, env=environment)
            codes = matching(line, EXIT_CODES) or (0,)
            assert isinstance(codes, tuple) and result.code in codes, f"{page}: {line}: {result}"
            if line == "repoman setup":
                text = home.registry.read_text()
                text = re.sub(r'(?m)^(default_image = )".*?"', r'\1"busybox"', text).replace('lan_ip = ""', 'lan_ip = "192.0.2.1"')
                home.write(home.registry, text)


@pytest.fixture
def target(world: World) -> Iterator[Path]:
    """A directory of the user's for a backup, on another file system than the home."""
    with tempfile.TemporaryDirectory(prefix="repoman-target-", dir="/dev/shm") as path:
        os.chown(path, world.me.uid, -1)
        yield Path(path)


def test_commands_of_the_guides_after_an_earlier_version(home: World, target: Path) -> None:
    """A profile and a container that were made by hand are taken over; then the agent's state, hooks, and the backup."""
    assert home.home.stat().st_dev != target.stat().st_dev
    home.incus("project", "create", "repoman", "--config=features.profiles=false", "--config=features.images=false")
    home.incus("profile", "create", "claude-share")
    home.incus("profile", "set", "claude-share", "environment.MINE=1")
    home.incus("init", "busybox", "isurus", "--project=repoman")
    path = home.repos / "isurus"
    home.incus("config", "device", "add", "--project=repoman", "isurus", "work", "disk", f"source={path}", f"path={path}")
    home.write(home.home / "bin/editor", "#!/bin/sh\nsed -i '/^used_by:/d; /^project:/d' \"$1\"\n").chmod(0o755)
    home.write(home.home / ".claude.json", "{}")
    text = '[repoman]\nschema = 3\n[host]\nlan_ip = "192.0.2.1"\n[defaults]\ndefault_image = "busybox"\n'
    home.write(home.registry, text)
    place = Path("/tmp/isurus")  # the guide restores to it
    assert not place.exists()
    try:
        run_pages(home, LATER_PAGES, target)
        assert (place / ".git").is_dir()
    finally:
        shutil.rmtree(place, ignore_errors=True)
    assert home.instances()["isurus"]["config"]["user.repoman.state"] == "ready"
    assert home.profiles()["claude-share"]["config"] == {"environment.CLAUDE_CONFIG_DIR": f"{home.home}/.claude"}
    assert (target / "isurus/.git").is_dir()


def test_every_line_is_run_or_has_a_reason() -> None:
    """Each reason is that of a line, and most lines are run."""
    every = [line for page in (*PAGES, *LATER_PAGES) for line in lines(page)]
    skipped = [line for line in every if matching(line, NOT_RUN)]
    assert len(skipped) < len(every) / 3
