# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The entry of a project in the registry."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext, Snapshot
from ansible_collections.homelab.repoman.plugins.module_utils.projects.desired import DesiredInstance
from ansible_collections.homelab.repoman.plugins.module_utils.projects.entry import plan_entry
from ansible_collections.homelab.repoman.plugins.module_utils.projects.present import plan_present
from ansible_collections.homelab.repoman.plugins.module_utils.projects.repository import Repository
from ansible_collections.homelab.repoman.plugins.module_utils.projects.request import ProjectRequest
from ansible_collections.homelab.repoman.plugins.module_utils.projects.task import ProjectTask
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import ProjectSettings, effective_settings
from ansible_collections.homelab.repoman.plugins.module_utils.registry.store import load

HEAD = "[repoman]\nschema = 3\n"
ENTRY = '\n[[project]]\nname = "demo"\nrepo = "demo"\nimage = "old" # mine\nlast_sync = ""\nbackup = true\n'
EDITED = ENTRY.replace('""', '"2026"').replace("true", "false")
SILENT = ENTRY.replace('image = "old" # mine\n', "")


@pytest.mark.parametrize(
    ("planned", "meanwhile", "then", "undone"),
    [
        (ENTRY, ENTRY, ENTRY.replace("old", "new"), ENTRY),
        (ENTRY, EDITED, EDITED.replace("old", "new"), EDITED),
        ("", EDITED, EDITED.replace("old", "new"), EDITED),
        (ENTRY, SILENT, f'{SILENT}image = "new"\n', SILENT),
    ],
    ids=["nothing", "entry edited", "entry written", "key removed"],
)
def test_concurrent_changes_of_an_entry_stay(me: Account, planned: str, meanwhile: str, then: str, undone: str) -> None:
    """Only requested keys are written and reverted, whatever changed between plan and write."""
    path = Path(me.home, "repoman.toml")
    path.write_text(HEAD + planned)
    known = load(str(path))
    context = RunContext(me, str(path), known, Client("/nowhere", 1))
    requested = ProjectSettings(image="new")
    settings = effective_settings("demo", known.defaults, requested)
    task = ProjectTask(context, Snapshot({}, {}, known.text, list), ProjectRequest("demo"), "present", plan_present)
    plan_entry(task, DesiredInstance(settings, requested, Repository("demo", "/r/demo", "/r/demo"), {}, me))
    (step,) = task.plan.steps
    path.write_text(HEAD + meanwhile)
    for act, text in ((step.undo, meanwhile), (step.apply, then), (step.undo, undone)):
        if act:
            act()
        assert path.read_text() == HEAD + text
