# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plans for existing containers, as Incus describes them; nothing is applied."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.installed import Installed
from ansible_collections.homelab.repoman.plugins.module_utils.projects import instance as keys
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext, Snapshot
from ansible_collections.homelab.repoman.plugins.module_utils.projects.power import plan_stop
from ansible_collections.homelab.repoman.plugins.module_utils.projects.present import plan_present
from ansible_collections.homelab.repoman.plugins.module_utils.projects.request import requested_projects
from ansible_collections.homelab.repoman.plugins.module_utils.projects.summary import project_summary
from ansible_collections.homelab.repoman.plugins.module_utils.projects.task import ProjectTask
from ansible_collections.homelab.repoman.plugins.module_utils.projects.update import InstanceUpdate, check_inner_mounts
from ansible_collections.homelab.repoman.plugins.module_utils.registry.store import load

PLAYBOOKS = Path(__file__).parents[3] / "playbooks"
ENTRY = '\n[[project]]\nname = "demo"\nrepo = "{}"\nimage = "old"\n'
PROTECT = 'protect = ["hooks", "config"]\n'
Instance = dict[str, Any]


@pytest.fixture
def repo(me: Account) -> Path:
    """A git repository of the user."""
    path = Path(me.home, "repos/demo")
    path.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", path], check=True)
    return path


def instance(me: Account, name: str, repo: Path, *, is_marked: bool = True, **devices: dict[str, str]) -> Instance:
    """Return a stopped container as Incus describes it; ``devices`` are of an override.

    :param is_marked: whether repoman made it.
    """
    config = {keys.PROJECT_KEY: name, keys.OWNER_KEY: me.name, keys.OWNER_UID_KEY: str(me.uid), keys.REPO_KEY: str(repo)}
    applied = {"devices": ["repo", *devices]}
    config[keys.APPLIED_KEY] = json.dumps(applied)
    devices = {"repo": {"type": "disk", "source": str(repo), "path": str(repo), "shift": "true"}, **devices}
    return {
        "name": name,
        "status": "Stopped",
        "config": config if is_marked else {},
        "devices": devices,
        "profiles": ["default"],
        "expanded_config": {},
        "expanded_devices": devices,
    }


def make_task(me: Account, instances: list[Instance], override: str = "", entry: str = ENTRY.format("demo"), **options: Any) -> ProjectTask:
    """Return the task for the project ``demo``."""
    path = Path(me.home, "repoman.toml")
    path.write_text(f"[repoman]\nschema = 3\n{entry}", encoding="utf-8")
    Path(me.home, "repos.d").mkdir(exist_ok=True)
    Path(me.home, "repos.d/demo.toml").write_text(override, encoding="utf-8")
    context = RunContext(me, str(path), load(str(path)), Client("/nowhere", 1))
    default = Installed({"description": "", "config": {}, "devices": {}}, [], "")
    snapshot = Snapshot({each["name"]: each for each in instances}, {"default": default}, context.registry.text, list)
    state, planner = options.pop("state", "started"), options.pop("planner", plan_present)
    params = {key: options.pop(key, True) for key in ("accept_protected", "create")}
    (request,) = requested_projects({"projects": [{"name": "demo", **options}], **params})
    return ProjectTask(context, snapshot, request, state, planner)


def updated(task: ProjectTask) -> Instance | None:
    """Plan, and return the configuration that a container gets; ``None`` if it keeps its own."""
    updates = [step.apply.__self__ for step in task.make_plan().steps if isinstance(getattr(step.apply, "__self__", None), InstanceUpdate)]
    return updates[0].desired if updates else None


def test_only_an_explicit_new_accepts_changes_behind_a_protection(me: Account, repo: Path) -> None:
    """``shell`` and the remount after a restore keep the record and name the change; ``new`` names it and accepts it."""
    data = instance(me, "demo", repo)
    after = updated(make_task(me, [data], PROTECT, accept_protected=False))
    assert after is not None and keys.PROTECTED_KEY in after["config"]
    data = data | after
    assert updated(make_task(me, [data], PROTECT)) is None
    hook = repo / ".git/hooks/post-checkout"
    hook.write_text("evil", encoding="utf-8")
    for _run in range(2):
        task = make_task(me, [data], PROTECT, accept_protected=False)
        assert updated(task) is None
        (warning,) = task.warnings
        assert f"'repoman new': {repo}/.git/hooks;" in warning
        assert warning.startswith("demo: protected, and changed since") and warning.endswith("to accept it: repoman new demo")
    task = make_task(me, [data], PROTECT)
    accepted = updated(task)
    assert accepted is not None and accepted["config"][keys.PROTECTED_KEY] != data["config"][keys.PROTECTED_KEY]
    assert [warning.endswith("this run accepts it") for warning in task.warnings] == [True]
    task = make_task(me, [data | accepted], PROTECT)
    assert updated(task) is None and task.warnings == []


def test_newly_protected_paths_are_recorded(me: Account, repo: Path) -> None:
    """Also by ``shell``; what was protected before keeps its record."""
    data = instance(me, "demo", repo)
    data |= updated(make_task(me, [data], 'protect = ["hooks"]\n')) or {}
    before = json.loads(data["config"][keys.PROTECTED_KEY])
    (repo / ".git/hooks/post-checkout").write_text("evil", encoding="utf-8")
    after = updated(make_task(me, [data], PROTECT, accept_protected=False))
    assert after is not None
    record = json.loads(after["config"][keys.PROTECTED_KEY])
    assert set(record) > set(before) and {name: record[name] for name in before} == before


@pytest.mark.parametrize("name", ["shell", "restore", "start", "restart"])
def test_playbooks_that_only_bring_a_container_back(name: str) -> None:
    """They accept nothing."""
    (play,) = yaml.safe_load((PLAYBOOKS / f"{name}.yml").read_text(encoding="utf-8"))
    tasks = [part for task in play["tasks"] for part in (task, *task.get("block", ()), *task.get("always", ()))]
    (options,) = [task["homelab.repoman.repoman_project"] for task in tasks if "homelab.repoman.repoman_project" in task]
    assert options["accept_protected"] is False


def test_an_overlap_ends_with_its_device(me: Account, repo: Path) -> None:
    """A device that the run removes does not count, also if the container starts; one that stays does."""
    other = Path(me.home, "repos/other")
    (other / "data").mkdir(parents=True)
    device = {"type": "disk", "source": str(other / "data"), "path": "/data"}
    data = [instance(me, "demo", repo, data=device), instance(me, "other", other)]
    after = updated(make_task(me, data))
    assert after is not None and set(after["devices"]) == {"repo"}
    manual = instance(me, "demo", repo)
    manual["devices"] = manual["expanded_devices"] = manual["devices"] | {"data": device}
    with pytest.raises(ConflictError, match="which the container 'other' can write"):
        make_task(me, [manual, data[1]]).make_plan()


@pytest.mark.parametrize("is_marked", [True, False])
def test_no_image_is_made_up_for_an_older_container(me: Account, repo: Path, is_marked: bool) -> None:
    """Its new entry has none, instead of the default one; with the key, it has that."""
    data = instance(me, "demo", repo, is_marked=is_marked)
    task = make_task(me, [data], entry="", adopt=True)
    task.make_plan()
    assert 'name = "demo"' in task.snapshot.registry_text and "image" not in task.snapshot.registry_text
    data["config"][keys.IMAGE_KEY] = "made"
    task = make_task(me, [data], entry="", adopt=True)
    task.make_plan()
    assert 'image = "made"' in task.snapshot.registry_text


def test_the_command_after_a_stop_is_complete(me: Account, repo: Path) -> None:
    """It names a repository that has moved, and ``--adopt``."""
    data = instance(me, "demo", repo)
    data["expanded_devices"] = data["devices"] | {"inner": {"type": "disk", "path": f"{repo}/inner"}}
    task = make_task(me, [data])
    for adopts, path, command in (
        (False, repo, "repoman new demo"),
        (True, repo.parent / "moved", "repoman new demo --repo moved --adopt"),
    ):
        task.adopts = adopts
        with pytest.raises(ConflictError, match="would hide the mounts inside it: inner") as caught:
            check_inner_mounts(task, data, str(path))
        assert caught.value.hints == [f"INCUS_SOCKET=/nowhere incus stop --project repoman local:demo && {command}"]


def test_the_device_of_a_shared_git_directory_is_reserved(me: Account, repo: Path) -> None:
    """Another device of that name would be replaced; one that shares the directory is enough."""
    script = "git -c user.name=me -c user.email=me@example.org commit -q --allow-empty -m x && git worktree add -q ../tree"
    subprocess.run(["sh", "-c", script], cwd=repo, check=True)
    tree, entry = repo.parent / "tree", ENTRY.format("tree")
    for source, is_replaced in ((repo.parent / "else", True), (repo, False)):
        source.mkdir(exist_ok=True)
        override = f'[devices.repo-git]\ntype = "disk"\nsource = "{source}"\npath = "{source}"\nshift = "true"\n'
        task = make_task(me, [instance(me, "demo", tree)], override, entry)
        if is_replaced:
            with pytest.raises(ConflictError, match="'repo-git': that name is reserved"):
                task.make_plan()
        else:
            after = updated(task)
            assert after is not None and after["devices"]["repo-git"]["source"] == str(source)


def test_the_path_inside_is_known(me: Account, repo: Path) -> None:
    """It may be another than that of the repository on the host, for which the container was made under its former name."""
    data = instance(me, "demo", repo)
    data["devices"]["repo"]["path"] = f"{repo}-before"
    summary = project_summary(make_task(me, [data]).context, "demo", data)
    assert (summary["repo"], summary["container_path"]) == (str(repo), f"{repo}-before")
    assert project_summary(make_task(me, []).context, "demo", None)["container_path"] == ""


def test_a_record_edited_by_hand(me: Account, repo: Path) -> None:
    """The command in the hint reaches this Incus."""
    data = instance(me, "demo", repo)
    data["config"][keys.APPLIED_KEY] = "{"
    with pytest.raises(ConflictError, match="edited by hand") as caught:
        make_task(me, [data]).make_plan()
    assert caught.value.hints == [f"INCUS_SOCKET=/nowhere incus config unset --project repoman local:demo {keys.APPLIED_KEY}"]


@pytest.mark.parametrize(
    ("entry", "override", "options", "profiles", "warns"),
    [
        ("", "", {"add_profiles": ["default"]}, None, False),
        ("", "", {"add_profiles": ["a", "b", "a"]}, ["default", "a", "b"], False),
        ('profiles = ["b"]\n', "", {"add_profiles": ["a"]}, ["b", "a"], False),
        ('profiles = ["b"]\n', 'profiles = ["a"]\n', {"add_profiles": ["default"]}, ["a", "default"], True),
        ("", 'profiles = ["a"]\n', {"add_profiles": ["a"]}, None, False),
        ('profiles = ["b"]\n', "", {"profiles": ["a"], "add_profiles": ["default"]}, ["a", "default"], False),
    ],
)
def test_added_profiles(
    me: Account, repo: Path, entry: str, override: str, options: dict[str, Any], profiles: list[str] | None, warns: bool
) -> None:
    """They come after those that the project has otherwise, and stay in its entry; an override that lists others is named."""
    task = make_task(me, [instance(me, "demo", repo)], override, ENTRY.format("demo") + entry, **options)
    task.snapshot.profiles.update(dict.fromkeys("ab", task.snapshot.profiles["default"]))
    task.make_plan()
    listed = f"profiles = {json.dumps(profiles)}" if profiles else entry.strip()
    assert listed in task.snapshot.registry_text and ("profiles" in listed) == ("profiles" in task.snapshot.registry_text)
    assert [warning for warning in task.warnings if "lists the profiles of demo" in warning] == task.warnings[: int(warns)]
    assert not warns or "'repoman new demo' removes default again" in task.warnings[0]


def running(me: Account, repo: Path) -> Instance:
    """Return a running container without differences."""
    data = instance(me, "demo", repo)
    data |= updated(make_task(me, [data])) or {}
    return data | {"status": "Running", "expanded_devices": data["devices"]}


@pytest.mark.parametrize("state", ["started", "restarted"])
def test_no_container_is_created(me: Account, repo: Path, state: str) -> None:
    """Without ``create`` a project without a container fails, as an unfinished one does; an unknown name is a different error."""
    unfinished = instance(me, "demo", repo)
    unfinished["config"][keys.STATE_KEY] = "creating"
    for instances in ([], [unfinished]):
        with pytest.raises(ConflictError, match="the project 'demo' has no container") as caught:
            make_task(me, instances, state=state, create=False).make_plan()
        assert caught.value.hints == ["repoman new demo"]
    (repo.parent / "sharks/demo").mkdir(parents=True)
    with pytest.raises(NotFoundError, match="there is no project called 'demo'") as unknown:
        make_task(me, [], entry="", state=state, create=False).make_plan()
    assert unknown.value.hints == ["repoman list", "repoman new demo"]
    repo.rename(repo.parent / "demi")
    with pytest.raises(NotFoundError) as unknown:
        make_task(me, [], entry="", state=state, create=False).make_plan()
    assert unknown.value.hints == ["repoman list", "repoman new demo --repo sharks/demo", "repoman new demi   # did you mean 'demi'?"]


def test_restart(me: Account, repo: Path) -> None:
    """A running container is always restarted, after its configuration was corrected; a stopped one is started."""
    data = running(me, repo)
    task = make_task(me, [data], state="restarted", create=False)
    assert task.make_plan().descriptions == ["restart demo"] and task.result["action"] == "restarted"
    task = make_task(me, [data], '[config]\n"user.note" = "x"\n', state="restarted")
    assert task.make_plan().descriptions == ["update the configuration of demo", "restart demo"]
    assert task.result["action"] == "restarted"
    task = make_task(me, [data | {"status": "Stopped"}], state="restarted")
    assert task.make_plan().descriptions == ["start demo"] and task.result["action"] == "started"


def test_stop_needs_nothing_else(me: Account, repo: Path) -> None:
    """A container is stopped whatever is wrong with its override, its profiles and its repository, and nothing else changes."""
    data = running(me, repo) | {"profiles": ["gone"]}
    repo.rename(repo.parent / "moved")
    for override in ("", "nonsense", 'profiles = ["nosuch"]\nimage = "other"\n'):
        task = make_task(me, [data], override, state="stopped", create=False, planner=plan_stop)
        assert task.make_plan().descriptions == ["stop demo"]
        assert (task.result["action"], task.result["state"], task.result["profiles"]) == ("stopped", "Stopped", ["gone"])
    task = make_task(me, [data | {"status": "Stopped"}], state="stopped", create=False, planner=plan_stop)
    assert not task.make_plan().changed and task.result["action"] == "unchanged"
    with pytest.raises(ConflictError, match="has no container"):
        make_task(me, [], state="stopped", create=False, planner=plan_stop).make_plan()
