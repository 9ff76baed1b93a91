# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that a playbook gives as ``config`` and ``devices``, as Incus has them in the end."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml
from world import Result, World, changes

USER_DATA = {"packages": ["git"], "write_files": [{"path": "/etc/x", "content": "a: {{ b }}\n"}]}


def project_play(world: World, projects: list[dict[str, Any]], *arguments: str, code: int = 0) -> Result:
    """Run the module with a list of projects."""
    task = {"homelab.repoman.repoman_project": {"projects": "{{ wanted }}"}}
    book = world.write(world.home / "site.yml", json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    variables = world.write(world.home / "variables.json", json.dumps({"wanted": projects}).replace("{{ b }}", "b"))
    return world.playbook(str(book), "-e", f"@{variables}", *arguments, code=code)


def test_values_of_all_kinds(ready: World) -> None:
    """YAML for cloud-init, numbers and booleans arrive; null takes a key away; a malformed device stops no other project."""
    for name in ("one", "two", "three"):
        ready.git_repository(name)
    one = {"name": "one", "image": "busybox", "config": {"cloud-init.vendor-data": USER_DATA, "limits.processes": 500, "user.mine": "x"}}
    two = {"name": "two", "image": "busybox", "devices": {"data": "disk"}}
    three = {"name": "three", "image": "busybox", "config": {"user.list": [1]}}
    failed = project_play(ready, [two, one, three], code=2)
    assert "the device 'data' must be a mapping" in failed.out and "the key user.list must be text" in failed.out, failed
    assert set(ready.instances()) == {"one"}
    config = ready.instances()["one"]["config"]
    assert config["limits.processes"] == "500" and config["user.mine"] == "x"
    text = config["cloud-init.vendor-data"]
    assert text.startswith("#cloud-config\n") and yaml.safe_load(text)["packages"] == ["git"]
    assert changes(project_play(ready, [one])) == 0
    without = one | {"config": one["config"] | {"user.mine": None}}  # type: ignore[operator]
    assert changes(project_play(ready, [without], "--check")) == 1
    assert changes(project_play(ready, [without])) == 1
    config = ready.instances()["one"]["config"]
    assert "user.mine" not in config and config["limits.processes"] == "500"
    assert changes(project_play(ready, [without])) == 0


def test_null_unsets_what_a_task_an_override_or_a_hand_has_set(ready: World) -> None:
    """It stays unset for runs without ``config``; a profile's value applies again; the account's data for cloud-init stay."""
    ready.git_repository("demo")
    ready.template("limits", "config: {limits.processes: 700}\n")
    ready.install("limits")
    ready.write(ready.overrides / "demo.toml", '[config]\n"user.mine" = "override"\n"user.other" = "stays"\n')
    ready.new("demo", profiles=["default", "limits"], config={"limits.processes": 400, "user.task": "x"})
    ready.incus("config", "set", "--project=repoman", "local:demo", "user.hand=1", "user.hand2=2")
    account = ready.instances()["demo"]["config"]["cloud-init.user-data"]
    nulls: dict[str, Any] = {"user.mine": None, "user.task": None, "user.hand": None, "limits.processes": None}
    wanted = [{"name": "demo", "config": {"cloud-init.user-data": None, "user.new": "y"} | nulls}]
    checked = project_play(ready, wanted, "--check", "--diff")
    assert all(f"-  {key}: " in checked.out for key in nulls) and "cloud-init" not in checked.out.replace("  cloud-init", ""), checked
    assert changes(project_play(ready, wanted)) == 1
    assert changes(project_play(ready, wanted)) == 0
    instance = ready.instances()["demo"]
    assert not nulls.keys() & instance["config"].keys() and instance["expanded_config"]["limits.processes"] == "700"
    kept = {"user.other": "stays", "user.hand2": "2", "user.new": "y", "cloud-init.user-data": account}
    assert kept.items() <= instance["config"].items()
    assert "demo is up to date" in ready.repoman("new", "demo").out and "user.mine" not in ready.repoman("status", "demo").out
    assert changes(project_play(ready, [{"name": "demo", "config": {}}])) == 1
    assert ready.instances()["demo"]["config"]["user.mine"] == "override"
    reserved = project_play(ready, [{"name": "demo", "config": {"user.repoman.owner": None}}], code=2)
    assert "keys that start with user.repoman. are reserved" in reserved.out


ODD_VALUES = """\
user.empty: ""
user.blank: " x "
user.break: "\\n"
user.windows: "a\\r\\nb\\r\\n"
user.unicode: Größe ☃
user.yes: yes
user.text: "yes"
user.none: "None"
user.tilde: "~"
user.half: 0.5
user.octal: 0644
user.exponent: 1e3
user.day: 2026-01-02
user.null: null
security.nesting: True
limits.cpu: 2
raw.lxc: |
  lxc.signal.halt = SIGUSR1
  lxc.uts.name = demo
"""
ODD_DEVICE = {"type": "disk", "source": "/usr", "path": "/data", "readonly": True, "required": "false", "shift": "", "user.none": None}


def test_odd_values_change_nothing_the_second_time(ready: World) -> None:
    """Also those that Incus does not store or stores in another form, from a task, an override or a profile."""
    for name in ("demo", "other"):
        ready.git_repository(name)
    ready.template("odd", 'config: {user.gone: "", user.there: yes}\n')
    ready.install("odd")
    ready.write(
        ready.overrides / "other.toml",
        '[config]\n"user.empty" = ""\n"user.true" = true\n"limits.cpu" = 2\n[devices.data]\n'
        'type = "disk"\nsource = "/usr"\npath = "/data"\nshift = ""\n',
    )
    settings = {"demo": {"config": yaml.safe_load(ODD_VALUES), "devices": {"data": ODD_DEVICE}}, "other": {}}
    common = {"image": "busybox", "profiles": ["default", "odd"]}
    tasks = [{"homelab.repoman.repoman_project": {"name": name} | common | more} for name, more in settings.items()]
    play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
    book = str(ready.write(ready.home / "site.yml", yaml.safe_dump([play], allow_unicode=True)))
    assert changes(ready.playbook(book)) == 2
    for again in ((), ("--check", "--diff")):
        result = ready.playbook(book, *again)
        assert changes(result) == 0, result
    ready.incus("config", "set", "--project=repoman", "local:demo", "user.empty=by hand")
    assert changes(ready.playbook(book)) == 1 and "user.empty" not in ready.instances()["demo"]["config"]
    assert "differs" not in ready.repoman("status", "demo", "other").out
    assert ready.module("project", projects=[{"name": "demo"}, {"name": "other"}])["changed"] is False


def test_malformed_settings_stop_only_what_needs_them(ready: World) -> None:
    """A container is stopped with the configuration that it has, and removed; in check mode, too."""
    ready.git_repository("demo")
    ready.new("demo", config={"user.mine": "x"})
    wrong = {"name": "demo", "config": {"user.mine": [1]}, "devices": {"data": "disk"}}
    for state, options, code in (("present", {"check": True}, 2), ("present", {}, 2), ("stopped", {"check": True}, 0), ("stopped", {}, 0)):
        result = ready.module("project", projects=[wrong], state=state, **options)
        assert result.get("exit_code", 0) == code, result
        assert any("user.mine must be text" in text for text in [result.get("msg", ""), *result.get("warnings", ())])
    instance = ready.instances()["demo"]
    assert (instance["status"], instance["config"]["user.mine"]) == ("Stopped", "x")
    for check in (True, False):
        assert ready.module("project", projects=[wrong], state="absent", check=check)["projects"][0]["action"] == "removed"
    assert not ready.instances()
    assert ready.module("project", projects=[wrong | {"image": "busybox"}], state="stopped")["exit_code"] == 2


def test_diffs_show_what_the_user_wrote(ready: World) -> None:
    """Without the keys of repoman itself and without secrets, when a container is made, changed and removed."""
    ready.git_repository("demo")
    override = '[config]\n"environment.TOKEN" = "hush{0}"\n"limits.processes" = "{0}"\n"user.notes" = "a\\nb: c"\n'
    ready.write(ready.overrides / "demo.toml", override.format(400))
    made = ready.repoman("--diff", "new", "demo", "--image", "busybox")
    ready.write(ready.overrides / "demo.toml", override.format(500))
    changed = ready.repoman("--diff", "new", "demo")
    removed = ready.repoman("--diff", "remove", "demo", "--yes")
    for result in (made, changed, removed):
        assert "user.repoman." not in result.out and "hush" not in result.out and "user.notes: |-\n" in result.out, result
        assert re.search(r"cloud-init.user-data: \(not shown, \d+ lines\)", result.out), result
    assert "-  environment.TOKEN: (not shown)\n-  limits.processes: '400'\n+  environment.TOKEN: (not shown, another one)\n" in changed.out
    play = [{"name": "demo", "image": "busybox", "config": {"cloud-init.vendor-data": USER_DATA}}]
    done = project_play(ready, play, "--diff")
    assert "user.repoman." not in done.out and re.search(r"cloud-init.vendor-data: \(not shown, \d+ lines\)", done.out), done
