# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Repositories that do not exist."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.repository import existing_repository
from ansible_collections.homelab.repoman.plugins.module_utils.projects.unknown import new_commands, no_such_project
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import parse


def test_the_backup_comes_before_an_empty_repository(me: Account) -> None:
    """The first hint brings the work back. After ``git init`` it could not: restore refuses a directory that exists."""
    context = RunContext(me, "/r.toml", parse("[repoman]\nschema = 3\n", "/r.toml"), Client("/nonexistent"))
    with pytest.raises(NotFoundError) as caught:
        existing_repository("my demo", context, "demo")
    path = f"'{context.repos_root}/my demo'"
    assert caught.value.hints[:2] == ["repoman restore demo   # if it was backed up", f"git init {path}   # if it is a new one"]


@pytest.mark.parametrize(
    ("name", "repo", "hints"),
    [
        ("isuru", "isuru", ["repoman new isurus   # did you mean 'isurus'?"]),
        ("galeus", "galeus", ["repoman new galeus --repo sharks/galeus"]),
        ("x", "sharks/galeu", ["repoman new x --repo sharks/galeus   # did you mean 'galeus'?"]),
        ("my-rep", "my-rep", ["repoman new my-rep --repo my_repo   # did you mean 'my_repo'?"]),
        ("shark", "shark", ["repoman new sharks   # did you mean 'sharks'?"]),
        ("nothing", "nothing", []),
        ("known", "known", []),
    ],
)
def test_directories_that_may_have_been_meant(me: Account, name: str, repo: str, hints: list[str]) -> None:
    """For a new project: one of that name in another directory, or of a similar name; links and hidden directories are left out."""
    context = RunContext(me, "/r.toml", parse('[repoman]\nschema = 3\n[[project]]\nname = "known"\n', "/r.toml"), Client("/nonexistent"))
    root = Path(context.repos_root)
    for directory in ("isurus", "sharks/galeus", "my_repo", ".nothin", "knowm"):
        (root / directory).mkdir(parents=True)
    (root / "nothing1").symlink_to(root)
    with pytest.raises(NotFoundError) as caught:
        existing_repository(repo, context, name)
    others = [f"repoman restore {name}   # if it was backed up", f"git init {root}/{repo}   # if it is a new one"]
    assert caught.value.hints[: len(hints) + 2] == [*hints, *others]
    assert len(caught.value.hints) == len(hints) + 2 + (not hints)


def test_directories_of_projects(me: Account) -> None:
    """A directory that belongs to a project of another name leads to that project, not to a second one."""
    registry = '[repoman]\nschema = 3\n[[project]]\nname = "mine"\nrepo = "sharks/galeus"\n[[project]]\nname = "isurus"\n'
    context = RunContext(me, "/r.toml", parse(registry, "/r.toml"), Client("/nonexistent"))
    for directory in ("isurus", "sharks/galeus"):
        (Path(context.repos_root) / directory).mkdir(parents=True)
    assert new_commands("galeus", "galeus", context) == ["did you mean 'mine'?"]
    assert no_such_project("isuru", context, context.registry.projects).hints == ["did you mean 'isurus'?", "repoman list"]
