# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input and a bad world: one sentence, a hint, the right exit code, nothing changed."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from world import World

VERBS = [["list"], ["new", "demo"], ["remove", "demo", "--yes"], ["shell", "demo", "--", "true"]]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
def test_no_registry(world: World, verb: list[str]) -> None:
    """Without a registry the way on is setup."""
    assert "hint: repoman setup" in world.refused(*verb, code=3)
    assert not world.registry.parent.exists()


@pytest.mark.parametrize("verb", [*VERBS, ["setup", "--non-interactive"], ["profile", "list"]], ids=lambda verb: verb[0])
def test_broken_registry_names_the_line(world: World, verb: list[str]) -> None:
    """A registry that is no TOML is named with its line and stays as it is."""
    text = "[repoman]\nschema = 3\noutput = quiet\n"
    world.write(world.registry, text)
    assert f"{world.registry}, line 3" in world.refused(*verb, code=3)
    assert world.registry.read_text() == text


def test_misspelled_registry(ready: World) -> None:
    """Every verb that reads it warns once of each misspelling; the file, with what is the user's own, stays as it is."""
    text = ready.registry.read_text().replace("[defaults]", "[default]") + '[mine]\nrepo_root = "x"\n'
    ready.write(ready.registry, text)
    line = text.splitlines().index("[default]") + 1
    warning = (
        f"repoman: warning: {ready.registry}, line {line}: the table [default] is not known and has no effect; did you mean [defaults]?"
    )
    for verb in (["list"], ["status"], ["profile", "list"], ["setup", "--non-interactive"]):
        assert ready.repoman(*verb).err.splitlines().count(warning) == 1, verb
    assert ready.registry.read_text() == text
    assert ready.repoman("--json", "list").data["warnings"] == [warning.removeprefix("repoman: warning: ")]


def test_newer_registry(world: World) -> None:
    """A registry of a newer repoman is not touched."""
    text = "[repoman]\nschema = 4\n"
    world.write(world.registry, text)
    assert "newer" in world.refused("setup", "--non-interactive", code=3)
    assert world.registry.read_text() == text


@pytest.mark.parametrize("verb", [["setup", "--non-interactive"], ["profile", "list"], ["profile", "install", "--all"]], ids=" ".join)
def test_no_daemon(world: World, verb: list[str]) -> None:
    """No socket, and a socket nobody listens at: each says what to do."""
    world.socket = str(world.home / "no.socket")
    assert world.socket in world.refused(*verb, code=1)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(world.socket)
    os.chmod(world.socket, 0o777)
    assert "incus is not running" in world.refused(*verb, code=1)
    assert not world.registry.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a socket that the user may not use")
def test_no_permission_on_the_socket(world: World) -> None:
    """Who is not in incus-admin is told of it."""
    world.socket = str(world.home / "locked.socket")
    with socket.socket(socket.AF_UNIX) as locked:
        locked.bind(world.socket)
        locked.listen()
        os.chmod(world.socket, 0o600)
        err = world.refused("profile", "list", code=1)
    assert "incus-admin" in err and "permission" in err


def test_something_else_at_the_socket(world: World) -> None:
    """A file that is no socket is an error, not a traceback."""
    world.socket = str(world.write(world.home / "file", "x"))
    world.refused("profile", "list", code=1)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["nosuch"],
        ["lst"],
        ["profile"],
        ["profile", "instal", "x"],
        ["profile", "install"],
        ["new"],
        ["list", "--nosuch"],
        ["profile", "install", "x", "--all"],
    ],
    ids=" ".join,
)
def test_wrong_usage(world: World, argv: list[str]) -> None:
    """Wrong usage is exit 2, with a hint."""
    world.refused(*argv, code=2)


def test_unreadable_template_directory(world: World) -> None:
    """A directory the user may not read is named."""
    world.mkdir(world.user_dir)
    world.run("chmod", "0", str(world.user_dir))
    assert str(world.user_dir) in world.refused("profile", "list", code=3)
    world.run("chmod", "700", str(world.user_dir))


def test_installed_without_ansible_configuration(world: World) -> None:
    """An ansible.cfg and a collection of the same name elsewhere do not stand in the way."""
    world.write(world.home / "ansible.cfg", "[defaults]\nstdout_callback = minimal\ncollections_path = /nonexistent\n")
    world.mkdir(Path(world.home, ".ansible/collections/ansible_collections/homelab/repoman/playbooks"))
    world.repoman("setup", "--non-interactive")
    assert "NAME" in world.repoman("profile", "list").out
