# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The projects of a run: the failure of one does not affect the next."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Step, plan_and_apply
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext, Snapshot
from ansible_collections.homelab.repoman.plugins.module_utils.projects.request import ProjectRequest
from ansible_collections.homelab.repoman.plugins.module_utils.projects.task import ProjectTask
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import parse


@pytest.mark.parametrize("when", ["planned", "applied"])
def test_system_errors_are_sentences(me: Account, when: str) -> None:
    """The sentence names the path; the run goes on with the next project."""
    path = str(Path(me.home, "repoman.toml"))
    context = RunContext(me, path, parse("[repoman]\nschema = 3\n", path), Client("/nonexistent"))
    done = []

    def refuse() -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/repos/a")

    def plan(task: ProjectTask) -> None:
        if task.name == "a" and when == "planned":
            refuse()
        task.result |= {"action": "created"}
        task.plan.add(Step("try", refuse if task.name == "a" else lambda: done.append(task.name)))

    snapshot = Snapshot({}, {}, "", list)
    tasks = [ProjectTask(context, snapshot, ProjectRequest(name), "present", plan) for name in "ab"]
    plan_and_apply(tasks, check=False)
    assert [task.result["action"] for task in tasks] == ["failed", "created"] and done == ["b"]
    assert tasks[0].result["msg"] == "/repos/a: Permission denied." and tasks[0].result["exit_code"] == 1


@pytest.mark.parametrize(
    ("marks", "is_certain"),
    [
        ({"owner": "bob", "uid": "other"}, True),
        ({"owner": "bob"}, False),
        ({"owner": "no-such-user", "uid": "mine"}, False),  # the login name was changed
        ({"repo": "/old/repos/demo"}, False),  # repos_root was changed
        ({"uid": "other"}, False),
        ({"owner": "alice", "uid": "other"}, False),  # the account was made again with another UID
    ],
)
def test_only_a_container_of_another_uid_lets_remove_drop_the_entry(me: Account, marks: dict[str, str], is_certain: bool) -> None:
    """Another one may still be the user's own: the removal is refused, with the command that takes it back."""
    uids = {"mine": str(me.uid), "other": str(me.uid + 1)}
    config = {f"user.repoman.{key}": uids.get(value, value) for key, value in ({"project": "demo", "repo": "/repos/demo"} | marks).items()}
    instance = {"name": "demo", "status": "Stopped", "type": "container", "config": config, "devices": {}}
    text = '[repoman]\nschema = 3\n[[project]]\nname = "demo"\ncreated = "2026-01-01T00:00:00Z"\n'
    context = RunContext(me, "/r.toml", parse(text, "/r.toml"), Client("/nonexistent"))
    planned = []
    task = ProjectTask(context, Snapshot({"demo": instance}, {}, "", list), ProjectRequest("demo"), "absent", planned.append)
    if is_certain:
        task.make_plan()
        assert planned == [task] and task.instance is None and "belongs to the user 'bob'" in task.warnings[0]
        return
    with pytest.raises(ConflictError) as refused:
        task.make_plan()
    assert planned == [] and refused.value.hints[-1].endswith("   # if it is yours")
