# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks of projects that one Incus on one host cannot show: members of a cluster, and long lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.check import Status
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.context import DoctorContext
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.host_checks import check_repos_root
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.project_checks import check_containers, check_library, check_sources
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.process import python_probe

MakeContext = Callable[..., DoctorContext]
Daemon = Any
"""The scripted daemon of conftest.py."""
Reply = Callable[..., Any]


def instance(name: str, me: Account, location: str, source: str) -> dict[str, Any]:
    """Return a container of the user as Incus describes it, with a required device."""
    devices = {"data": {"type": "disk", "source": source, "path": "/data"}}
    config = {"user.repoman.project": name, "user.repoman.owner": me.name, "user.repoman.uid": str(me.uid)}
    described = {"name": name, "status": "Running", "location": location, "profiles": ["default"], "config": config, "devices": devices}
    return described | {"expanded_config": config, "expanded_devices": devices}


def script(daemon: Daemon, reply: Reply, instances: list[dict[str, Any]], is_clustered: bool = False) -> None:
    """Let the daemon have these instances."""
    server = {"environment": {"server_version": "6.0.4", "server_name": "one", "server_clustered": is_clustered}}
    profiles = [{"name": "default", "description": "", "config": {}, "devices": {}, "used_by": []}]
    answers = {"1.0": server, "instances": instances, "profiles": profiles, "repoman": {"name": "repoman"}}
    daemon.default = lambda seen: reply(answers[seen.target.partition("?")[0].rpartition("/")[2]])


def entries(me: Account, *names: str) -> str:
    """Return the entries of projects, whose repositories are made."""
    for name in names:
        Path(me.home, "repos", name).mkdir(parents=True)
    return "".join(f'[[project]]\nname = "{name}"\nrepo = "{name}"\n' for name in names)


def test_sources_of_other_members_of_a_cluster(daemon: Daemon, reply: Reply, make_context: MakeContext, me: Account) -> None:
    """Their paths are on the other host, so they cannot be checked here."""
    instances = [instance("here", me, "one", "/nonexistent/here"), instance("away", me, "two", "/nonexistent/away")]
    text = entries(me, "here", "away")
    script(daemon, reply, instances, is_clustered=True)
    outcome = check_sources(make_context(text, daemon.path))
    assert (outcome.status, outcome.message) == (Status.FAIL, "missing on this host: /nonexistent/here")
    script(daemon, reply, instances)
    assert "/nonexistent/away" in check_sources(make_context(text, daemon.path)).message


def test_sources_behind_a_mount_that_does_not_answer(
    daemon: Daemon, reply: Reply, make_context: MakeContext, me: Account, dead_mount: Callable[[Path], None]
) -> None:
    """It is a failure, and the sources elsewhere are checked all the same; the containers do not count as well."""
    dead = Path(me.home, "dead")
    dead_mount(dead)
    dead_mount(Path(me.home, "repos/far"))
    instances = [instance("a", me, "one", "/nonexistent/a"), instance("b", me, "one", f"{dead}/x"), instance("far", me, "one", f"{dead}/y")]
    text = entries(me, "a", "b") + '[[project]]\nname = "far"\nrepo = "far"\n'
    script(daemon, reply, instances)
    context = make_context(text, daemon.path)
    outcome = check_sources(context)
    assert outcome.status == Status.FAIL
    assert outcome.message.split("; ") == [
        f"~/dead/x cannot be read: the file system mounted at {dead} does not answer",
        f"~/repos/far cannot be read: the file system mounted at {me.home}/repos/far does not answer",
        "missing on this host: /nonexistent/a",
    ]
    assert outcome.hints[0] == f"findmnt {dead}   # shows its server"
    containers = check_containers(context)
    assert containers.status == Status.WARN and containers.message == outcome.message.split("; ")[1].replace("~", me.home, 1)


def test_missing_source_may_be_a_file(daemon: Daemon, reply: Reply, make_context: MakeContext, me: Account) -> None:
    """No hint makes a directory of its name."""
    script(daemon, reply, [instance("a", me, "one", f"{me.home}/.gitconfig")])
    outcome = check_sources(make_context(entries(me, "a"), daemon.path))
    assert outcome.hints == (f"create {me.home}/.gitconfig, or mount it: device data of a needs it, unless it has required: 'false'",)


def test_sources_that_do_not_answer_in_time(
    daemon: Daemon, reply: Reply, make_context: MakeContext, me: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They do not count as there."""
    script(daemon, reply, [instance("a", me, "one", "/nonexistent/a")])
    context = make_context(entries(me, "a"), daemon.path)
    assert context.summaries
    monkeypatch.setattr(python_probe, "PROBE_TIMEOUT", 0.0)
    outcome = check_sources(context)
    assert (outcome.status, outcome.message) == (Status.FAIL, "2 mounted paths cannot be read: it did not answer within 0 s")
    assert outcome.hints == ("findmnt -t nfs,nfs4,cifs   # is the server up?",)


@pytest.mark.parametrize(
    ("change", "status"),
    [({}, "ok"), ({"status": "Stopped"}, "warn"), ({"devices": {}}, "warn"), ({"config": {}}, "warn"), ({"location": "two"}, "warn")],
)
def test_container_that_runs_proves_that_ids_are_mapped(
    daemon: Daemon,
    reply: Reply,
    make_context: MakeContext,
    me: Account,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    status: str,
) -> None:
    """One of the user on this host, with its repository, whatever the type of the file system."""
    monkeypatch.setattr("ansible_collections.homelab.repoman.plugins.module_utils.host.idmap.filesystem_of", lambda _path: "zfs")
    text = entries(me, "a")
    repo = {"type": "disk", "source": f"{me.home}/repos/a", "path": "/a", "shift": "true"}
    script(daemon, reply, [instance("a", me, "one", "/b") | {"devices": {"repo": repo}} | change], is_clustered=True)
    outcome = check_repos_root(make_context(text, daemon.path))
    assert outcome.status == status and outcome.message == (
        "repos_root ~/repos, whose IDs are mapped in the running container a"
        if status == "ok"
        else f"no running container shows that IDs can be mapped: {me.home}/repos is on zfs, which maps ids in some versions only"
    )


def test_a_renamed_container_is_not_replaced_first(daemon: Daemon, reply: Reply, make_context: MakeContext, me: Account) -> None:
    """No hint makes a container for a project whose own one was renamed: it would take the name from it."""
    text = entries(me, "a", "b")
    renamed = instance("z", me, "one", "/b")
    renamed["config"]["user.repoman.project"] = "a"
    script(daemon, reply, [renamed])
    outcome = check_containers(make_context(text, daemon.path))
    assert outcome.message.endswith("without a container: a, b") and "repoman new b" in outcome.hints
    assert "repoman new a" not in outcome.hints and any("gives it its name back" in hint for hint in outcome.hints)


def test_long_lists_are_cut(daemon: Daemon, reply: Reply, make_context: MakeContext, me: Account) -> None:
    """Three names, five hints, and the command that shows all."""
    script(daemon, reply, [])
    outcome = check_containers(make_context(entries(me, *(f"p{number}" for number in range(7))), daemon.path))
    assert outcome.message == "without a container: p0, p1, p2 and 4 more"
    assert outcome.hints == (*(f"repoman new p{number}" for number in range(5)), "repoman list   # shows all")


@pytest.mark.parametrize(("profiles", "status"), [("[]", "ok"), ('["default", "broken"]', "fail")])
def test_template_that_cannot_be_rendered(
    daemon: Daemon, reply: Reply, make_context: MakeContext, me: Account, profiles: str, status: str
) -> None:
    """It counts if a project uses it."""
    template = Path(me.home, "profiles.d/broken.yml")
    template.parent.mkdir()
    template.write_text("nonsense: 1\n", encoding="utf-8")
    script(daemon, reply, [])
    outcome = check_library(make_context(f"[defaults]\nprofiles = {profiles}\n", daemon.path, user_dir=str(template.parent)))
    assert outcome.status == status and (f"broken: {template}: unknown key nonsense" in outcome.message) == (status == "fail")
