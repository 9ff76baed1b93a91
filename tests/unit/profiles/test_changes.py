# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Installing and removing profiles, over the wire."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConcurrentChangeError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import apply_all
from ansible_collections.homelab.repoman.plugins.module_utils.core.results import merge_failures
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import LOG_HINT, UnreachableError
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.changes import (
    ProfileContext,
    give_up,
    install,
    remove,
)
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.install_record import InstallRecord
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.installed import Installed
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.library import Library
from profile_fixtures import add, installed


def test_planning_an_installation_writes_nothing(library: Library, daemon: Any, context: ProfileContext) -> None:
    """Each name gets what it needs, or its own error."""
    add(library.vendor_dir, "new", "description: new\n")
    add(library.vendor_dir, "old", "description: new\n")
    add(library.vendor_dir, "same", "description: new\n")
    add(library.vendor_dir, "broken", "config: [\n")
    present = {"old": installed(description="old"), "same": installed(description="new")}
    changes = install(["new", "old", "same", "broken", "missing"], context, present)
    lines = [change.result for change in changes]
    assert [line["action"] for line in lines] == ["installed", "updated", "unchanged", "failed", "failed"]
    assert [change.plan.changed for change in changes] == [True, True, False, False, False]
    assert [line.get("exit_code") for line in lines] == [None, None, None, 3, 3]
    assert daemon.requests == []
    save, step = changes[1].plan.steps
    assert save.description == f"save the installed profile old to {lines[1]['saved']}"
    assert not os.path.exists(context.saved_dir)
    assert ("description: old" in step.before, "description: new" in step.after) == (True, True)


def test_applying_an_installation_writes_once_each(library: Library, daemon: Any, context: ProfileContext) -> None:
    """A new profile is created, a drifted one replaced only if it has not changed since it was read."""
    add(library.vendor_dir, "new", "description: new\n")
    add(library.vendor_dir, "old", "description: new\n")
    for change in install(["new", "old"], context, {"old": installed(description="old")}):
        change.plan.apply()
    create, update = daemon.seen
    assert (create.method, create.target) == ("POST", "/1.0/profiles?project=default")
    assert yaml.safe_load(create.body) == {"name": "new", "description": "new", "config": {}, "devices": {}}
    assert (update.method, update.target, update.headers["If-Match"]) == ("PUT", "/1.0/profiles/old?project=default", "etag")
    assert yaml.safe_load(update.body) == {"description": "new", "config": {}, "devices": {}}


def test_sources_that_are_missing_are_named_from_the_home(library: Library, context: ProfileContext) -> None:
    """As elsewhere, the home itself too; the hints depend on whose template it is."""
    context = replace(context, account=replace(context.account, home="/nowhere"))
    devices = "{a: {type: disk, source: /nowhere, path: /a}, b: {type: disk, source: /nowhere/b, path: /b}}"
    add(library.vendor_dir, "vendors", f"description: x\ndevices: {devices}\n")
    add(library.user_dir, "mine", f"description: x\ndevices: {devices}\n")
    changes = install(["vendors", "mine"], context, {})
    assert changes[0].source_warnings() == ["vendors cannot be used: ~ and ~/b are missing"] and changes[1].source_warnings()
    edit = 'repoman profile edit {}   # set required: "false" on a, b'
    assert [change.result["warning_hints"] for change in changes] == [
        ["repoman profile copy vendors", edit.format("vendors"), "repoman profile install vendors"],
        [edit.format("mine"), "repoman profile install mine"],
    ]


def test_a_profile_created_in_the_meantime_is_stale(library: Library, daemon: Any, context: ProfileContext, reply: Any) -> None:
    """The caller plans again instead of failing."""
    add(library.vendor_dir, "new")
    (change,) = install(["new"], context, {})
    daemon.say(reply(status=409, kind="error", error='The profile "new" already exists', error_code=409))
    with pytest.raises(ConcurrentChangeError):
        change.plan.apply()


def test_removing_keeps_files_and_names_users_of_the_profile(library: Library, daemon: Any, context: ProfileContext) -> None:
    """A profile in use is not tried; the hint frees it."""
    mine = add(library.user_dir, "x")
    used = Installed({"description": "", "config": {}, "devices": {}}, ["/1.0/instances/my%20box?project=repoman", "/1.0/profiles/p"], "e")
    gone, busy, done = remove(["absent", "busy", "x"], context, {"busy": used, "x": installed()})
    assert (gone.result["action"], gone.plan.changed) == ("absent", False)
    assert busy.error
    assert "my box (project repoman)" in busy.error.message
    assert busy.error.hints[0] == f"INCUS_SOCKET={context.client.path} incus profile remove --project repoman local:'my box' busy"
    assert busy.result["exit_code"] == 1
    assert (done.result["action"], done.result["file_path"]) == ("removed", mine)
    assert daemon.requests == []
    done.plan.apply()
    assert daemon.requests == [("DELETE", "/1.0/profiles/x?project=default")]
    assert os.path.exists(mine)


STILL_SAVED = """The following instances failed to update (profile change still saved):
 - Project: default, Instance: c1: Failed add validation for device "x": Missing source path "/s" for disk "x"
 - Project: repoman, Instance: c2: No such device
"""


def test_a_replaced_profile_is_saved_first(library: Library, daemon: Any, context: ProfileContext) -> None:
    """As a private file; two of one second do not overwrite each other; what is unchanged or new saves nothing."""
    for name in ("new", "old", "same"):
        add(library.vendor_dir, name, "description: new\n")
    present = {"old": installed(description="by hand", devices={"x": {"type": "none"}}), "same": installed(description="new")}
    apply_all(changes := install(["new", "old", "same"], context, present))
    apply_all(again := install(["old"], context, present))
    saved = [change.result.get("saved") for change in (*changes, *again)]
    assert (saved[0], saved[2]) == (None, None)
    assert len({saved[1], saved[3]}) == 2
    assert sorted(os.path.join(context.saved_dir, file) for file in os.listdir(context.saved_dir)) == sorted([saved[1], saved[3]])
    for path in (saved[1], saved[3]):
        assert yaml.safe_load(Path(path).read_text()) == present["old"].body
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


@pytest.mark.parametrize(("status", "error"), [(400, "Invalid config"), (412, "ETag doesn't match")])
def test_a_profile_that_was_not_replaced_leaves_no_file(
    status: int, error: str, library: Library, daemon: Any, context: ProfileContext, reply: Any
) -> None:
    """Nor does the result name one."""
    add(library.vendor_dir, "old", "description: new\n")
    (change,) = install(["old"], context, {"old": installed(description="by hand")})
    daemon.say(*[reply(status=status, kind="error", error=error, error_code=status)] * 2)
    with pytest.raises(RepomanError):
        change.plan.apply()
    change.on_failure(RepomanError("no."))
    assert os.listdir(context.saved_dir) == []
    assert "saved" not in change.result


@pytest.mark.parametrize("is_replaced", [False, True])
@pytest.mark.parametrize("fault", [{"status": 500, "kind": "error", "error": "no", "error_code": 500}, {"hang_up": True}])
def test_a_profile_that_may_have_been_replaced_is_kept(
    fault: dict[str, Any], is_replaced: bool, library: Library, daemon: Any, context: ProfileContext, reply: Any
) -> None:
    """After an error, Incus is asked again. After a lost response it may still replace the profile, so that is always kept."""
    add(library.vendor_dir, "old", "description: new\n")
    (change,) = changes = install(["old"], context, {"old": installed(description="by hand")})
    description = "new" if is_replaced else "by hand"
    daemon.say(reply(**fault), reply({"name": "old", "description": description, "config": {}, "devices": {}}))
    if "hang_up" in fault:
        with pytest.raises(UnreachableError):
            apply_all(changes)
    else:
        apply_all(changes)
    is_kept = is_replaced or "hang_up" in fault
    assert len(os.listdir(context.saved_dir)) == is_kept and ("saved" in change.result) is is_kept
    assert any("if the profile was replaced" in hint for hint in change.result["hints"]) is is_kept
    assert change.result["action"] == "failed" and change.result["hints"]


def test_what_was_done_before_incus_went_away_is_reported(library: Library, daemon: Any, context: ProfileContext, reply: Any) -> None:
    """Each profile has a result of its own, and the rest is not tried. If none was changed, the run fails with the error."""
    for name in ("a", "b", "c"):
        add(library.vendor_dir, name, "description: new\n")
    changes = install(["a", "b", "c"], context, {})
    daemon.say(reply({}), reply(hang_up=True))
    with pytest.raises(UnreachableError) as lost:
        apply_all(changes)
    give_up(changes, lost.value)
    assert [change.result["action"] for change in changes] == ["installed", "failed", "failed"]
    assert "closed the connection during POST" in changes[1].result["msg"] and "not changed" in changes[2].result["msg"]
    assert len(daemon.requests) == 2
    changes = install(["a", "b"], context, {})
    daemon.say(reply(hang_up=True))
    with pytest.raises(UnreachableError) as lost:
        apply_all(changes)
    with pytest.raises(UnreachableError):
        give_up(changes, lost.value)
    changes = install(["missing", "a"], context, {})
    daemon.say(reply(hang_up=True))
    with pytest.raises(UnreachableError) as lost:
        apply_all(changes)
    give_up(changes, lost.value)
    assert [change.result["exit_code"] for change in changes] == [3, 1]


def test_a_refusal_has_a_hint(library: Library, daemon: Any, context: ProfileContext, reply: Any) -> None:
    """Where Incus says why."""
    (change,) = changes = remove(["x"], context, {"x": installed()})
    daemon.say(reply(status=500, kind="error", error="no", error_code=500))
    apply_all(changes)
    assert change.result["hints"] == [LOG_HINT]


def test_a_profile_that_instances_could_not_take_is_installed(library: Library, daemon: Any, context: ProfileContext, reply: Any) -> None:
    """The result says so, quotes Incus, and has the way back; it is a change and a failure."""
    add(library.vendor_dir, "old", "description: new\n")
    (change,) = changes = install(["old"], context, {"old": installed(description="by hand")})
    daemon.say(reply(status=500, kind="error", error=STILL_SAVED, error_code=500))
    apply_all(changes)
    result, saved = change.result, change.result["saved"]
    assert result["action"] == "updated"
    assert result["msg"] == (
        "profile 'old' was installed, but incus could not apply it to every instance: Project: default, Instance: c1: Failed add validation"
        ' for device "x": Missing source path "/s" for disk "x"; Project: repoman, Instance: c2: No such device.'
    )
    assert result["restore_command"].endswith(f"incus profile edit --project default local:old <{saved}")
    assert result["hints"] == [f"{result['restore_command']}   # brings the former one back"]
    assert (result["exit_code"], merge_failures([result])["exit_code"]) == (1, 1)
    assert os.path.exists(saved)


def test_the_profile_of_incus_itself_is_replaced_by_force_only(library: Library, context: ProfileContext) -> None:
    """All its containers use it; one that is missing or equal needs no force."""
    add(library.user_dir, "default", "description: mine\n")
    current = {"default": installed(description="Default Incus profile")}
    (refused,) = install(["default"], context, current)
    assert refused.result["exit_code"] == 4
    assert "repoman profile install default --force" in refused.result["hints"]
    (forced,) = install(["default"], replace(context, force=True), current)
    (equal,) = install(["default"], context, {"default": installed(description="mine")})
    (missing,) = install(["default"], context, {})
    assert [change.result["action"] for change in (forced, equal, missing)] == ["updated", "unchanged", "installed"]


def test_what_repoman_installed_itself_is_not_saved(
    library: Library, daemon: Any, context: ProfileContext, me: Account, reply: Any
) -> None:
    """A template that changes leaves no file each time; once others changed the profile, it is saved again."""
    add(library.vendor_dir, "x", "description: first\n")
    apply_all(install(["x"], context, {}))
    context.record.write()
    later = replace(context, record=InstallRecord(os.path.dirname(context.saved_dir), me))
    add(library.vendor_dir, "x", "description: second\n")
    (own,) = install(["x"], later, {"x": installed(description="first")})
    (others,) = install(["x"], later, {"x": installed(description="first", config={"user.a": "by hand"})})
    assert (len(own.plan.steps), "saved" in own.result) == (1, False)
    assert (len(others.plan.steps), "saved" in others.result) == (2, True)
    daemon.say(reply(status=500, kind="error", error=STILL_SAVED, error_code=500))
    apply_all([own])
    assert yaml.safe_load(Path(own.result["saved"]).read_text())["description"] == "first"


@pytest.mark.parametrize("text", ["", "[]", "null", '{"x": 1}', "{" * 100_000])
def test_a_damaged_record_only_means_that_more_is_saved(text: str, context: ProfileContext, library: Library) -> None:
    """And the record is written again."""
    os.makedirs(os.path.dirname(context.saved_dir))
    Path(context.record.path).write_text(text)
    add(library.vendor_dir, "x", "description: new\n")
    (change,) = changes = install(["x"], context, {"x": installed(description="old")})
    apply_all(changes)
    context.record.write()
    assert os.path.exists(change.result["saved"])
    assert list(yaml.safe_load(Path(context.record.path).read_text())) == ["x"]


def test_secrets_are_not_in_a_diff(library: Library, context: ProfileContext) -> None:
    """On either side, in config and devices; that one changes is a difference, and other values are shown."""
    text = "config: {environment.TOKEN: hush 1, user.api_key: hush 2, limits.cpu: 4}\ndevices: {x: {type: none, passphrase: hush 3}}\n"
    for name in ("new", "old"):
        add(library.vendor_dir, name, text)
    former = installed(
        config={"environment.TOKEN": "hush 0", "user.api_key": "hush 2", "limits.cpu": "2"},
        devices={"x": {"type": "none", "passphrase": "hush 0"}},
    )
    new, old = (change.plan.steps[-1] for change in install(["new", "old"], context, {"old": former}))
    (removed,) = remove(["old"], context, {"old": former})
    texts = [new.after, old.before, old.after, removed.plan.steps[0].before]
    assert not any("hush" in text for text in texts)
    assert all("environment.TOKEN: (not shown" in text and "passphrase: (not shown" in text and "limits.cpu" in text for text in texts)
    assert set(old.after.splitlines()) - set(old.before.splitlines()) == {
        "  environment.TOKEN: (not shown, another one)",
        "  limits.cpu: '4'",
        "    passphrase: (not shown, another one)",
    }


def test_a_record_that_a_killed_run_began_is_removed(context: ProfileContext) -> None:
    """Also by a run that has nothing to note."""
    path = Path(context.record.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / f".{path.name}.new").write_text("{")
    context.record.write()
    assert not list(path.parent.iterdir())
