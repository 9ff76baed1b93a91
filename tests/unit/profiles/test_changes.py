# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Installing and removing profiles, over the wire."""

from __future__ import annotations

import os
from typing import Any

import pytest
import yaml
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConcurrentChangeError
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.changes import ProfileContext, install, remove
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.installed import Installed
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.library import Library
from profile_fixtures import HOST, add, installed


def test_planning_an_installation_writes_nothing(library: Library, daemon: Any, client: incus.Client) -> None:
    """Each name gets what it needs, or its own error."""
    add(library.vendor_dir, "new", "description: new\n")
    add(library.vendor_dir, "old", "description: new\n")
    add(library.vendor_dir, "same", "description: new\n")
    add(library.vendor_dir, "broken", "config: [\n")
    present = {"old": installed(description="old"), "same": installed(description="new")}
    changes = install(["new", "old", "same", "broken", "missing"], ProfileContext(library, HOST, client), present)
    lines = [change.result for change in changes]
    assert [line["action"] for line in lines] == ["installed", "updated", "unchanged", "failed", "failed"]
    assert [change.plan.changed for change in changes] == [True, True, False, False, False]
    assert [line.get("exit_code") for line in lines] == [None, None, None, 3, 3]
    assert daemon.requests == []
    (step,) = changes[1].plan.steps
    assert ("description: old" in step.before, "description: new" in step.after) == (True, True)


def test_applying_an_installation_writes_once_each(library: Library, daemon: Any, client: incus.Client) -> None:
    """A new profile is created, a drifted one replaced only if it has not changed since it was read."""
    add(library.vendor_dir, "new", "description: new\n")
    add(library.vendor_dir, "old", "description: new\n")
    for change in install(["new", "old"], ProfileContext(library, HOST, client), {"old": installed(description="old")}):
        change.plan.apply()
    create, update = daemon.seen
    assert (create.method, create.target) == ("POST", "/1.0/profiles?project=default")
    assert yaml.safe_load(create.body) == {"name": "new", "description": "new", "config": {}, "devices": {}}
    assert (update.method, update.target, update.headers["If-Match"]) == ("PUT", "/1.0/profiles/old?project=default", "etag")
    assert yaml.safe_load(update.body) == {"description": "new", "config": {}, "devices": {}}


def test_a_profile_created_in_the_meantime_is_stale(library: Library, daemon: Any, client: incus.Client, reply: Any) -> None:
    """The caller plans again instead of failing."""
    add(library.vendor_dir, "new")
    (change,) = install(["new"], ProfileContext(library, HOST, client), {})
    daemon.say(reply(status=409, kind="error", error='The profile "new" already exists', error_code=409))
    with pytest.raises(ConcurrentChangeError):
        change.plan.apply()


def test_removing_keeps_files_and_names_users_of_the_profile(library: Library, daemon: Any, client: incus.Client) -> None:
    """A profile in use is not tried; the hint frees it."""
    mine = add(library.user_dir, "x")
    used = Installed({"description": "", "config": {}, "devices": {}}, ["/1.0/instances/my%20box?project=repoman", "/1.0/profiles/p"], "e")
    gone, busy, done = remove(["absent", "busy", "x"], ProfileContext(library, HOST, client), {"busy": used, "x": installed()})
    assert (gone.result["action"], gone.plan.changed) == ("absent", False)
    assert busy.error
    assert "my box (project repoman)" in busy.error.message
    assert busy.error.hints[0] == "incus profile remove --project repoman local:'my box' busy"
    assert busy.result["exit_code"] == 1
    assert (done.result["action"], done.result["file_path"]) == ("removed", mine)
    assert daemon.requests == []
    done.plan.apply()
    assert daemon.requests == [("DELETE", "/1.0/profiles/x?project=default")]
    assert os.path.exists(mine)
