# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories in formats that this host does not know: ``status`` names each of them, wherever it lies, until it can be verified or is gone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup import left_out
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store as registry
from backup_fixture import BackupHome, actions, git
from mirroring import hg


@pytest.fixture
def world(tmp_path: Path) -> BackupHome:
    """A home with a project and a repository in it."""
    world = BackupHome(tmp_path)
    world.git("a")
    world.project("a")
    return world


def status(world: BackupHome, me: Account) -> tuple[dict[str, str], dict[str, str]]:
    """Return which repositories status names, and why: of the project, and of all."""
    _mounts, projects, everything = left_out.read(me, str(world.registry), registry.load(str(world.registry)))
    return tuple({each["path"]: each["reason"] for each in listed} for listed in (projects["a"]["unverified"], everything))  # type: ignore[return-value]


def make_unknown(repository: Path) -> None:
    """Give a git repository an extension that no git knows."""
    git(repository, "config", "core.repositoryFormatVersion", "1")
    git(repository, "config", "extensions.future", "true")


def test_status_names_nested_repositories_that_cannot_be_verified(world: BackupHome, me: Account) -> None:
    """A project's own, those nested in it, and those of no project; runs that have nothing to do forget none of them."""
    for each in ("a/deep/inner", "other/inner"):
        world.git(each)
        make_unknown(world.repos / each)
    hg(world.repos, "init", str(world.repos / "a/mercurial"))
    with (world.repos / "a/mercurial/.hg/requires").open("a") as file:
        file.write("from-the-future\n")
    assert status(world, me) == ({}, {})
    assert set(actions(world.init()).values()) == {"synced"}
    for _run in range(2):
        own, everything = status(world, me)
        assert own.keys() == {str(world.repos / "a" / each) for each in ("deep/inner", "mercurial")}
        assert everything.keys() == {*own, str(world.repos / "other/inner")}
        assert "does not know its format" in own[str(world.repos / "a/deep/inner")]
        assert "from-the-future" in own[str(world.repos / "a/mercurial")]
        assert set(actions(world.sync()).values()) == {"unchanged"}
    make_unknown(world.repos / "a")
    world.sync()
    assert str(world.repos / "a") in status(world, me)[0]
    world.write("a/file", "other")
    world.sync()
    assert len(status(world, me)[0]) == 3
    for each in ("a", "a/deep/inner"):
        git(world.repos, "config", "--file", f"{each}/.git/config", "--unset", "extensions.future")
    shutil.rmtree(world.repos / "a/mercurial")
    assert status(world, me)[0].keys() == {str(world.repos / "a"), str(world.repos / "a/deep/inner")}
    world.sync()
    assert status(world, me)[0] == {}
    assert status(world, me)[1].keys() == {str(world.repos / "other/inner")}


def test_status_names_nested_repositories_of_a_newer_git(world: BackupHome, me: Account, newest_git: Path) -> None:
    """Refs in tables, as a container's git makes them on demand, in a nested repository and in a bare one that is a unit of its own."""
    for options in (["a/inner"], ["--bare", "bare.git"]):
        subprocess.run([newest_git, "init", "-q", "--ref-format=reftable", *options], check=True, cwd=world.repos)
    result = world.init()
    assert set(actions(result).values()) == {"synced"}
    own, everything = status(world, me)
    assert own.keys() == {str(world.repos / "a/inner")}
    assert everything.keys() == {str(world.repos / "a/inner"), str(world.repos / "bare.git")}
    assert all("does not know its format" in each for each in everything.values())
