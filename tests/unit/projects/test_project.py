# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How an instance differs from what it is to be, and what is shown of it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, UsageError
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import answer
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, Step
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client
from ansible_collections.homelab.repoman.plugins.module_utils.projects import project
from ansible_collections.homelab.repoman.plugins.module_utils.projects.project import (
    APPLIED,
    Host,
    Repository,
    _plan_entry,
    _text,
    _wishes,
    applied_to,
    asked_before,
    differences,
    match,
)
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store as registry
from ansible_collections.homelab.repoman.plugins.module_utils.registry.store import Wanted


def instance(applied: dict[str, list[str]], **more: Any) -> dict[str, Any]:
    """Return an instance as Incus tells of it."""
    data: dict[str, Any] = {"config": {}, "devices": {}, "profiles": ["default"]} | more
    data["config"] |= {APPLIED: json.dumps(applied)}
    return data


def test_edits_stay_and_what_was_applied_is_put_right() -> None:
    """Of keys and devices: hand-made ones stay, changed ones are corrected, unwanted ones of repoman's go."""
    data = instance(
        {"config": ["a", "b"], "devices": ["repo", "old"]},
        config={"a": "changed", "b": "2", "mine": "1"},
        devices={"repo": {"path": "/r"}, "old": {"path": "/o"}, "mine": {"path": "/m"}},
    )
    config = {"a": "1", "c": "3", APPLIED: "new"}
    now, then = match(data, config, {"repo": {"path": "/r"}, "x": {"path": "/x"}}, ["default"])
    assert now["config"]["a"] == "changed"
    assert then["config"] == {"a": "1", "c": "3", "mine": "1", APPLIED: "new"}
    assert then["devices"] == {"repo": {"path": "/r"}, "mine": {"path": "/m"}, "x": {"path": "/x"}}
    assert differences(now, then) == [
        "key a was changed",
        "key b is no longer wanted",
        "key c is missing",
        "device old is no longer wanted",
        "device x is missing",
    ]
    assert differences(then, then) == []


@pytest.mark.parametrize(
    ("now", "applied", "wanted", "then"),
    [
        (["default"], ["default"], ["default", "new"], ["default", "new"]),
        (["default", "old"], ["default", "old"], ["default"], ["default"]),
        (["mine", "default"], ["default"], ["default"], ["mine", "default"]),
        (["default", "mine", "b"], ["default", "b"], ["default", "b"], ["default", "mine", "b"]),
        (["b", "mine", "a"], ["a", "b"], ["a", "b"], ["a", "b", "mine"]),
        (["default", "mine"], [], ["default"], ["default", "mine"]),
    ],
)
def test_profiles(now: list[str], applied: list[str], wanted: list[str], then: list[str]) -> None:
    """Added and taken away as is wanted, in the order that is wanted; those added by hand stay."""
    old, new = match(instance({"profiles": applied}, profiles=now), {}, {}, wanted)
    assert old["profiles"] == now and new["profiles"] == then


@pytest.mark.parametrize(
    "text", ["nonsense", "[]", "1", '"x"', "null", '{"config": 1}', '{"devices": [1]}', '{"profiles": null}', "[" * 100_000, "{" * 9]
)
def test_a_mark_made_by_hand(text: str) -> None:
    """What is no mark is said to be none, with the command that takes it away."""
    data = {"name": "demo", "project": "repoman", "config": {APPLIED: text}, "devices": {}, "profiles": []}
    with pytest.raises(ConflictError, match="'demo' was changed by hand and cannot be read") as caught:
        match(data, {}, {}, [])
    assert caught.value.hints == [f"incus config unset --project repoman demo {APPLIED}"]
    assert not any(applied_to(data | {"config": {}}).values())


def test_what_a_task_asked_for_is_as_the_instance_has_it() -> None:
    """What was taken away by hand is not; a mark that does not tell what a task asked for names nothing."""
    names = {"config": ["a", "b", "gone"], "devices": ["repo", "x"]}
    data = instance(names | {"asked_config": ["b", "gone"], "asked_devices": ["x"]}, config={"a": "1", "b": "2"})
    data["devices"] = {"repo": {"path": "/r"}, "x": {"path": "/x"}}
    asked = asked_before(data)
    assert asked.config == {"b": "2"} and asked.devices == {"x": {"path": "/x"}}
    assert asked_before(data | {"config": {APPLIED: json.dumps(names)}}) == Wanted()


@pytest.mark.parametrize("key", ["environment.TOKEN", "environment.X", "user.db_password", "cloud.Secret", "user.private-key"])
def test_secrets_are_not_shown(key: str) -> None:
    """Neither side has the value, but a change is a difference; the server's own keys are left out."""
    before = {"config": {key: "hush", "limits.cpu": "2", "volatile.x": "1", "image.os": "y"}, "profiles": []}
    after = before | {"config": before["config"] | {key: "other hush"}}
    texts = [_text(before, ("config", "profiles")), _text(after, ("config", "profiles"), before)]
    assert texts[0] != texts[1] and not any("hush" in text or "volatile" in text or "image" in text for text in texts)
    assert all(key in text and "limits.cpu" in text for text in texts)
    assert _text(before, ("config", "profiles"), before) == texts[0]


def test_a_project_is_named_once() -> None:
    """Twice is wrong usage, as is a name that cannot be; nothing has been opened by then."""
    with pytest.raises(UsageError, match="named twice"):
        _wishes({"projects": [{"name": "a"}, {"name": "b"}, {"name": "a"}]})
    with pytest.raises(UsageError):
        _wishes({"projects": [{"name": "a/b"}]})
    single = dict.fromkeys(("repo", "image", "profiles", "backup", "config", "devices", "target")) | {"name": "a"}
    assert _wishes(single | {"projects": None}) == [single] and _wishes({"projects": []}) == []


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
def test_what_is_written_to_an_entry_in_the_meantime_stays(me: Account, planned: str, meanwhile: str, then: str, undone: str) -> None:
    """Of an entry only what was asked for is written, and taken back, whatever came between plan and write."""
    path = Path(me.home, "repoman.toml")
    path.write_text(HEAD + planned)
    known = registry.load(str(path))
    host = Host(me, str(path), known, Client("/nowhere", 1))
    asked = Wanted(image="new")
    plan = Plan()
    wanted = registry.effective("demo", known.defaults, asked)
    _plan_entry(plan, host, wanted, Repository("demo", "/r/demo", "/r/demo"), known.projects.get("demo"), asked, known.text)
    (step,) = plan.steps
    path.write_text(HEAD + meanwhile)
    for act, text in ((step.undo, meanwhile), (step.apply, then), (step.undo, undone)):
        if act:
            act()
        assert path.read_text() == HEAD + text


@pytest.mark.parametrize("when", ["planned", "applied"])
def test_what_the_system_refuses_is_a_sentence(me: Account, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """It names the path, and the other projects are worked on all the same."""
    path = str(Path(me.home, "repoman.toml"))
    host = project.Host(me, path, registry.parse("[repoman]\nschema = 3\n", path), Client("/nonexistent"))
    done = []

    def refuse() -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/repos/a")

    def plan(host: project.Host, work: project.Work, world: project.World, state: str) -> None:
        if work.name == "a" and when == "planned":
            refuse()
        work.line |= {"name": work.name, "action": "created", "changed": True}
        work.plan.add(Step("try", refuse if work.name == "a" else lambda: done.append(work.name)))

    monkeypatch.setattr(project, "_plan", plan)
    monkeypatch.setattr(project, "read_instances", lambda host: {})
    works = project._plan_all(host, [{"name": "a"}, {"name": "b"}], "absent")
    project._apply_all(host, works, "present")
    assert [work.line["action"] for work in works] == ["failed", "created"] and done == ["b"]
    assert works[0].line["msg"] == "/repos/a: Permission denied." and works[0].line["exit_code"] == 1


def test_no_module_ends_in_a_traceback() -> None:
    """Also what nobody thought of has a sentence, where the system says it."""

    def run(params: dict[str, Any], check: bool) -> dict[str, Any]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full")

    said = answer(run, {}, False)
    assert said["failed"] and said["msg"] == "/full: No space left on device." and said["hints"]
