# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose an instance is, from its keys and devices."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.ownership import Relation, other_containers_of, ownership
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import parse

SOCKET = "/run/test.socket"


@pytest.fixture
def context(me: Account, monkeypatch: pytest.MonkeyPatch) -> RunContext:
    """A run of the user, whose ``~/repos`` is a link."""
    monkeypatch.setenv("INCUS_SOCKET", SOCKET)
    Path(me.home, "disk").mkdir()
    Path(me.home, "repos").symlink_to("disk")
    return RunContext(me, "/r.toml", parse("[repoman]\nschema = 3\n", "/r.toml"), Client(SOCKET))


def instance(name: str = "demo", status: str = "Stopped", devices: dict[str, dict[str, str]] | None = None, **marks: str) -> dict[str, Any]:
    """Return an instance with the keys ``user.repoman.…``."""
    config = {f"user.repoman.{key}": value for key, value in marks.items()}
    return {"name": name, "status": status, "type": "container", "config": config, "devices": devices or {}}


def disk(source: str, **more: str) -> dict[str, dict[str, str]]:
    """Return a disk device."""
    return {"d": {"type": "disk", "source": source, "path": "/x"} | more}


def test_owner(context: RunContext) -> None:
    """Name and UID decide together; another login name of the same UID is the same user."""
    me = context.account
    other = next(entry for entry in pwd.getpwall() if entry.pw_uid != me.uid)
    own = {"project": "demo", "owner": me.name, "uid": str(me.uid), "repo": "/elsewhere"}
    expected = {
        Relation.OWN: [own],
        Relation.FOREIGN: [
            own | {"uid": str(me.uid + 1)},
            own | {"owner": other.pw_name},
            own | {"owner": "no-such-user"},
            own | {"owner": "", "uid": ""},
            {key: own[key] for key in ("project", "owner")},
        ],
    }
    for relation, all_marks in expected.items():
        for marks in all_marks:
            assert ownership(context, instance(**marks)).relation == relation, marks
    with pytest.raises(ConflictError, match=f"belongs to the user '{other.pw_name}'"):
        ownership(context, instance(**own | {"owner": other.pw_name})).check_own()
    renamed = ownership(context, instance(**own | {"owner": "no-such-user"})).error
    assert renamed and renamed.hints[-1].endswith(f"user.repoman.owner={me.name} user.repoman.uid={me.uid}   # if it is yours")
    same_uid = pwd.getpwuid(me.uid).pw_name
    assert ownership(context, instance(**own | {"owner": same_uid})).relation == Relation.OWN


def test_marks_of_earlier_versions(context: RunContext) -> None:
    """Without an owner, the repository decides; the hint makes it the user's own."""
    home = context.account.home
    for repo, relation in (
        (f"{home}/repos/demo", Relation.OWN),
        (f"{home}/disk/sharks/demo", Relation.OWN),
        (f"{home}/repos-of-bob/demo", Relation.FOREIGN),
        (f"{home}/disk/../other/demo", Relation.FOREIGN),
        (f"{home}/repos", Relation.FOREIGN),
        ("/home/bob/repos/demo", Relation.FOREIGN),
    ):
        assert ownership(context, instance(project="demo", repo=repo)).relation == relation, repo
    assert ownership(context, instance(project="demo")).relation == Relation.OWN
    error = ownership(context, instance(project="demo", repo="/home/bob/repos/demo")).error
    name, uid = context.account.name, context.account.uid
    assert error
    assert error.hints[-1] == (
        f"incus config set --project repoman local:demo user.repoman.owner={name} user.repoman.uid={uid}   # if it is yours"
    )


def test_other_names(context: RunContext) -> None:
    """An instance whose keys name another project is a copy if that has an instance; running ones are stopped by the command."""
    repo = f"{context.account.home}/disk/sharks/demo"
    twin = instance("twin", project="demo", repo=repo)
    running = instance(status="Running", project="demo", repo=repo)
    copied, renamed = ownership(context, twin, {"demo": running, "twin": twin}), ownership(context, twin, {"twin": twin})
    assert (copied.relation, renamed.relation, copied.origin, renamed.origin) == (Relation.COPY, Relation.RENAMED, "demo", "demo")
    assert copied.error and copied.error.hints == [
        "incus stop --project repoman local:demo && incus rename --project repoman local:demo demo-old"
        " && incus rename --project repoman local:twin demo && repoman new demo --repo sharks/demo"  # the entry of the project stays
        "   # uses the copy instead, and keeps the other one as demo-old",
        "incus delete --project repoman local:twin   # deletes the copy",
    ]
    assert renamed.error and renamed.error.hints == [
        "incus rename --project repoman local:twin demo   # gives it its name back",
        "incus config set --project repoman local:twin user.repoman.project=twin && repoman new twin --repo sharks/demo   # keeps the new name",
    ]
    error = ownership(context, twin | {"status": "Running"}).error
    assert error and error.hints[0].startswith("incus stop --project repoman local:twin && incus rename ")
    (sentence,) = other_containers_of(context, "demo", {"twin": twin})
    assert sentence.endswith("it stays as it is: repoman list   # says how to use it")  # the name "demo" is taken by then
    assert other_containers_of(context, "twin", {"twin": twin}) == []
    foreign = instance("twin", project="demo", repo="/home/bob/repos/demo")
    assert ownership(context, foreign, {"demo": {}}).relation == Relation.FOREIGN


def test_a_container_that_was_renamed_before_another_was_made(context: RunContext) -> None:
    """Another run made it, so it is not a copy of the new one; an instance without the ID of a run counts as a copy."""
    twin = instance("twin", project="demo", repo=f"{context.account.home}/repos/demo", run="first")
    for run, relation in (("first", Relation.COPY), ("second", Relation.RENAMED)):
        owned = ownership(context, twin, {"demo": instance(project="demo", run=run), "twin": twin})
        assert (owned.relation, owned.origin) == (relation, "demo")
    assert owned.error and owned.error.message == (
        "the container 'twin' was made for the project 'demo', which has another container now; it was not changed."
    )
    assert owned.error.hints == [
        "incus rename --project repoman local:demo demo-old && incus rename --project repoman local:twin demo && repoman new demo"
        "   # uses it instead, and keeps the other one as demo-old",
        "incus delete --project repoman local:twin   # deletes it",
    ]
    assert ownership(context, twin, {"demo": instance(project="demo")}).relation == Relation.COPY


@pytest.mark.parametrize(
    ("marks", "whose"),
    [
        ({"project": "web", "owner": "bob", "uid": "1"}, "belongs to the user 'bob'"),
        ({"project": "web", "repo": "/home/bob/repos/web"}, "is not one that repoman made for you and that project"),
        ({"project": "site"}, "is not one that repoman made for you and that project"),
        ({}, "is not one that repoman made for you and that project"),
    ],
)
def test_no_command_touches_a_container_of_the_name_that_is_not_the_users(context: RunContext, marks: dict[str, str], whose: str) -> None:
    """Of another user, of another project, or made by hand: the container that was renamed can only keep its new name."""
    old = instance("web-old", project="web", repo=f"{context.account.home}/repos/web", run="first")
    for run in ({"run": "first"}, {"run": "second"}, {}):
        owned = ownership(context, old, {"web": instance("web", **marks, **run), "web-old": old})
        assert (owned.relation, owned.origin) == (Relation.RENAMED, "web") and owned.error
        assert (
            owned.error.message
            == f"the container 'web-old' was made for the project 'web', but the container 'web' {whose}; it was not changed."
        )
        assert owned.error.hints == [
            "incus config set --project repoman local:web-old user.repoman.project=web-old && repoman new web-old --repo web   # keeps the new name"
        ]


def test_the_container_that_is_put_aside_gets_a_free_name(context: RunContext) -> None:
    """Of at most 63 characters."""
    for project, others, free in (
        ("demo", (), "demo-old"),
        ("demo", ("demo-old", "demo-old2"), "demo-old3"),
        ("d" * 63, ("d" * 59 + "-old",), "d" * 58 + "-old2"),
    ):
        twin = instance("twin", project=project)
        instances = {"twin": twin, project: instance(project, project=project)} | {name: instance(name) for name in others}
        error = ownership(context, twin, instances).error
        assert error and error.hints[0].startswith(f"incus rename --project repoman local:{project} {free} && ")


def test_without_marks(context: RunContext) -> None:
    """Only a container that mounts a directory inside ``repos_root`` can be adopted."""
    home = context.account.home
    for devices, relation in (
        (disk(f"{home}/repos/demo"), Relation.ADOPTABLE),
        (disk(f"{home}/disk/a/b"), Relation.ADOPTABLE),
        (disk(f"{home}/repos"), Relation.UNMANAGED),
        (disk(f"{home}/repos/../.ssh"), Relation.UNMANAGED),
        (disk("/home/bob/repos/demo"), Relation.UNMANAGED),
        (disk(f"{home}/repos/demo", pool="default"), Relation.UNMANAGED),
        (disk(f"{home}/repos/demo", type="unix-char"), Relation.UNMANAGED),
        ({}, Relation.UNMANAGED),
    ):
        assert ownership(context, instance(devices=devices)).relation == relation, devices
    machine = instance(devices=disk(f"{home}/repos/demo")) | {"type": "virtual-machine"}
    assert ownership(context, machine).relation == Relation.UNMANAGED
    error = ownership(context, instance(devices=disk(f"{home}/disk/a b"))).error
    assert error and error.hints == ["repoman new demo --repo 'a b' --adopt   # takes it over"]


def test_commands_name_the_socket(context: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the client would take another socket, the command says which."""
    monkeypatch.delenv("INCUS_SOCKET")
    monkeypatch.setenv("INCUS_DIR", os.path.dirname(SOCKET))
    assert context.instance_command("stop", "demo") == f"INCUS_SOCKET={SOCKET} incus stop --project repoman local:demo"
