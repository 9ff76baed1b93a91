# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that fails, is stopped or is killed leaves no mess, and nothing that is somebody else's is touched."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import tomllib
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from proxy import RecordingProxy, RequestPause
from world import TIMEOUT, World

DRIVER = """\
import json, sys
from ansible_collections.homelab.repoman.plugins.module_utils.projects import control, run, task
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import run_logic
params = json.loads(sys.argv[1])
control.STOP_TIMEOUT, task.LOCK_TIMEOUT = params.pop("stop_timeout"), params.pop("lock_timeout")
print(json.dumps(run_logic(run.run, params, params.pop("check"))))
"""
"""The logic of the module repoman_project alone, in one process that can be killed."""


def command(world: World, *names: str, state: str = "started", check: bool = False, **options: Any) -> list[str]:
    """Return the command line that runs the logic for some projects."""
    limits = {"stop_timeout": options.pop("stop_timeout", 30), "lock_timeout": options.pop("lock_timeout", 120)}
    common = dict.fromkeys(("user", "socket", "registry_path", "user_dir", "vendor_dir")) | {
        "timeout": 30.0,
        "state": state,
        "predict": False,
    }
    params = common | {
        "check": check,
        **limits,
        "projects": [{"name": name, "image": "busybox"} | options for name in names],
    }
    return [str(world.bin_dir / "python3"), "-c", DRIVER, json.dumps(params)]


def drive(world: World, *names: str, state: str = "started", check: bool = False, **options: Any) -> Any:
    """Run the logic for some projects and return its result."""
    limits = {
        "projects.control.STOP_TIMEOUT": options.pop("stop_timeout", 30),
        "projects.task.LOCK_TIMEOUT": options.pop("lock_timeout", 120),
    }
    projects = [{"name": name, "image": "busybox"} | options for name in names]
    return world.module("project", projects=projects, state=state, check=check, constants=limits)


def entries(world: World) -> list[str]:
    """Return the names in the registry."""
    return [entry["name"] for entry in tomllib.loads(world.registry.read_text()).get("project", [])]


def assert_works(world: World, name: str) -> None:
    """Witness that a project is finished: running, marked, and its user writes to the repository."""
    instance = world.instances()[name]
    assert instance["status"] == "Running" and instance["config"]["user.repoman.state"] == "ready", instance
    probe = world.repos / name / "probe"
    world.incus("exec", "--project=repoman", name, "--", "su", "-s", "/bin/sh", world.me.name, "-c", f"touch {probe}")
    assert probe.stat().st_uid == world.me.uid
    probe.unlink()
    assert entries(world) == [name]
    assert sorted(path.name for path in (world.repos / name).iterdir()) == [".git"]


class Killer:
    """Kills a run at one of its requests, before or while Incus sees it.

    :param counts: which requests count.
    """

    def __init__(self, at: int, forward: bool, counts: Callable[[str, str], bool] = lambda method, target: True) -> None:
        self.left, self.forward, self.counts = at, forward, counts
        self.process: subprocess.Popen[bytes] | None = None
        self.ready = threading.Event()

    def __call__(self, method: str, target: str) -> None:
        """Count a request."""
        self.ready.wait(TIMEOUT)
        if not self.counts(method, target):
            return
        if self.left == 0 and self.process is not None:
            self.process.kill()
            self.process.wait()
            if not self.forward:
                self.left = -1
                raise RuntimeError
        self.left -= 1


def test_killed_at_any_moment(ready: World, proxy: RecordingProxy) -> None:
    """Whatever a killed run left, the next one makes a working project of it, with one entry."""
    ready.git_repository("demo")
    before = ready.registry.read_text()
    proxy.clear()
    drive(ready, "demo")
    assert_works(ready, "demo")
    last_upload = [target for _method, target in proxy.requests if "/files?" in target][-1]

    def writes(method: str, target: str) -> bool:
        return method not in ("GET", "DELETE") and ("/files?" not in target or target == last_upload)

    def long(method: str, target: str) -> bool:
        return writes(method, target) and any(part in target for part in ("/1.0/instances?", "/state?", "/exec?"))

    for forward, counts, least in ((False, writes, 5), (True, long, 3)):
        for at in count():
            ready.incus("delete", "--force", "--project=repoman", "demo")
            ready.write(ready.registry, before)
            killer = Killer(at, forward, counts)
            proxy.clear()
            proxy.on_request(killer)
            with ready.start(*command(ready, "demo")) as killer.process:
                killer.ready.set()
                killer.process.communicate(timeout=TIMEOUT)
            proxy.settle()
            proxy.on_request(None)
            last = proxy.requests[-1]
            if killer.process.returncode == 0:  # it had no more requests than that
                break
            assert killer.process.returncode == -signal.SIGKILL, last
            result = drive(ready, "demo")
            assert not result.get("failed"), (last, forward, result)
            assert_works(ready, "demo")
        assert at >= least


def test_requests_of_a_run(ready: World, proxy: RecordingProxy) -> None:
    """Made, unchanged, stopped and started again: these requests and no others, and one command in the container for all that it must do."""

    def requests(*names: str) -> list[str]:
        proxy.clear()
        drive(ready, *names)
        proxy.settle()
        seen = [(method, target.partition("?")[0], target) for method, target in proxy.requests]
        return [
            f"{method} {re.sub('/1.0/operations/[^/]*', 'operation', path)}{' of all' if 'all-projects' in target else ''}"
            for method, path, target in seen
        ]

    ready.git_repository("demo")
    read = ["GET /1.0/instances of all", "GET /1.0/profiles"]
    power = ["PUT /1.0/instances/demo/state", "GET operation/wait"]
    command = ["POST /1.0/instances/demo/exec", *["GET operation/websocket"] * 4, "GET operation/wait"]
    create = ["GET /1.0/images", "GET /1.0", "POST /1.0/instances", "GET operation/wait"]
    home = ["POST /1.0/instances/demo/files"] * 2  # and the directory of the repositories
    assert requests("demo") == [*read, *create, *home, read[0], *power, *command, "PATCH /1.0/instances/demo"]
    assert requests("demo") == read
    ready.incus("stop", "--force", "--project=repoman", "demo")
    assert requests("demo") == [*read, *power, *command]


def test_two_at_once(ready: World, proxy: RecordingProxy) -> None:
    """One makes it, the other says that somebody does and touches nothing; a shell that comes in between waits for nobody."""
    ready.git_repository("demo")
    begun, go_on = threading.Event(), threading.Event()

    def hold(method: str, target: str) -> None:
        if method == "POST" and target.startswith("/1.0/instances?") and not begun.is_set():
            begun.set()
            go_on.wait(TIMEOUT)

    proxy.on_request(hold)
    first = ready.start("repoman", "new", "demo", "--image", "busybox")
    assert begun.wait(TIMEOUT)
    assert "another run is working on the project 'demo'" in ready.refused("new", "demo", "--image", "busybox", code=4)
    go_on.set()
    _out, err = first.communicate(timeout=TIMEOUT)
    assert first.returncode == 0, err
    assert_works(ready, "demo")
    assert list((ready.registry.parent / "locks").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_a_run_of_several(ready: World, proxy: RecordingProxy, number: signal.Signals) -> None:
    """What is finished stays, what is under way is undone, what comes after is not begun; tests/unit/process/test_forked_rollback.py has it in order."""
    names = ("one", "two", "three", "four")
    for name in names:
        ready.git_repository(name)
    hold = RequestPause("PUT", "/instances/two/state")
    proxy.on_request(hold)
    process = ready.start(*command(ready, *names))
    assert hold.reached.wait(TIMEOUT)
    process.send_signal(number)
    hold.go_on.set()
    out, err = process.communicate(timeout=TIMEOUT)
    assert json.loads(out)["exit_code"] == 130, err
    proxy.on_request(None)
    instances = ready.instances()
    assert "two" not in instances and sorted(instances) == sorted(entries(ready))
    assert {(each["status"], each["config"]["user.repoman.state"]) for each in instances.values()} <= {("Running", "ready")}


def test_terminated_command_undoes(ready: World, proxy: RecordingProxy) -> None:
    """SIGTERM to the command itself: nothing is left, exit 130."""
    ready.git_repository("demo")
    before = ready.registry.read_text()
    hold = RequestPause("PUT", "/state")
    proxy.on_request(hold)
    process = ready.start("repoman", "new", "demo", "--image", "busybox")
    assert hold.reached.wait(TIMEOUT)
    process.terminate()
    _out, err = process.communicate(timeout=TIMEOUT)
    hold.go_on.set()
    assert process.returncode == 130 and b"repoman: error:" in err, err
    assert ready.instances() == {} and ready.registry.read_text() == before


def test_one_failure_stops_no_other(ready: World) -> None:
    """The others are made, the worst exit code wins, and what failed left nothing."""
    ready.git_repository("one")
    ready.git_repository("two")
    ready.write(ready.overrides / "two.toml", '[devices.gone]\ntype = "disk"\nsource = "/no/such"\npath = "/mnt/gone"\n')
    result = drive(ready, "missing", "two", "one")
    assert [line["action"] for line in result["projects"]] == ["failed", "failed", "created"]
    assert result["failed"] and result["changed"] and result["exit_code"] == 3
    assert result["projects"][0]["exit_code"] == 3 and "/no/such" in result["projects"][1]["msg"]
    assert list(ready.instances()) == ["one"]
    assert_works(ready, "one")


def test_what_fails_is_undone(ready: World, proxy: RecordingProxy) -> None:
    """A device Incus refuses, a repository that cannot be written to, each request refused: no container, no entry, no probe."""
    repo = ready.git_repository("demo")
    before = ready.registry.read_text()

    def nothing_is_left(word: str, code: int = 1) -> None:
        assert word in ready.refused("new", "demo", "--image", "busybox", code=code)
        assert ready.instances() == {} and ready.registry.read_text() == before
        assert sorted(path.name for path in repo.iterdir()) == [".git"]

    override = ready.write(ready.overrides / "demo.toml", '[devices.x]\ntype = "disk"\nbogus = "1"\npath = "/x"\nsource = "/etc"\n')
    nothing_is_left("bogus")
    override.unlink()
    repo.chmod(0o500)
    nothing_is_left("cannot write")
    repo.chmod(0o700)
    for refused in ("/files?", "/1.0/instances/demo?"):
        proxy.on_request(
            lambda method, target, part=refused: (400, "not in a test") if method in ("POST", "PATCH") and part in target else None
        )
        nothing_is_left("not in a test")


def test_registry_that_cannot_be_written(ready: World) -> None:
    """Neither a directory nor a full disk that refuses the entry leaves a container."""
    ready.git_repository("demo")
    before = ready.registry.read_text()
    place = ready.registry.parent
    ready.mkdir(place / "locks")
    place.chmod(0o500)
    assert str(ready.registry) in ready.refused("new", "demo", "--image", "busybox", code=1)
    place.chmod(0o700)
    assert ready.instances() == {} and ready.registry.read_text() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_full_registry_disk(ready: World) -> None:
    """No container, no entry, and the registry as it was."""
    ready.git_repository("demo")
    before = ready.registry.read_text()
    place = ready.registry.parent
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size=16k,mode=0700,uid={ready.me.uid},gid={ready.me.gid}", "full", str(place)], check=True
    )
    try:
        ready.write(ready.registry, before)
        with pytest.raises(OSError, match="space"), open(place / "filler", "wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        assert "No space left" in ready.refused("new", "demo", "--image", "busybox", code=1)
        assert ready.instances() == {} and ready.registry.read_text() == before
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_not_ours_not_touched(ready: World, proxy: RecordingProxy) -> None:
    """An instance without our mark, running or stopped, is the same after every verb; list does not know it."""
    ready.git_repository("demo")
    for status, begin in (("Stopped", "create"), ("Running", "launch")):
        ready.incus(begin, "busybox", "demo", "--project=repoman", "-c", "user.note=mine")
        before = ready.instances()["demo"]
        proxy.clear()
        assert "did not create" in ready.refused("shell", "demo", "--", "true", code=4)
        for state in ("present", "started", "stopped", "absent"):
            assert drive(ready, "demo", state=state)["exit_code"] == 4
        assert "demo" not in ready.repoman("list").out
        assert proxy.writes == []
        after = ready.instances()["demo"]
        assert after["status"] == status
        assert {key: after[key] for key in ("config", "devices", "profiles")} == {
            key: before[key] for key in ("config", "devices", "profiles")
        }
        ready.incus("delete", "--force", "--project=repoman", "demo")


def test_drift_is_put_right_and_edits_stay(ready: World, proxy: RecordingProxy) -> None:
    """Four ways: what the override says is added and corrected, what it no longer says goes, what was set by hand stays."""
    ready.git_repository("demo")
    drive(ready, "demo")
    data = ready.mkdir(ready.home / "data")
    override = ready.write(
        ready.overrides / "demo.toml",
        f'[config]\n"user.note" = "hi"\n[devices.data]\ntype = "disk"\nsource = "{data}"\npath = "{ready.home}/deep/er/data"\n',
    )
    ready.incus("config", "set", "--project=repoman", "demo", "user.mine=1")
    ready.incus("profile", "create", "extra")
    ready.incus("profile", "add", "--project=repoman", "demo", "extra")
    proxy.clear()
    checked = ready.repoman("-C", "--json", "new", "demo").data["projects"][0]
    assert checked["action"] == "updated" and checked["differences"] == ["key user.note is missing", "device data is missing"]
    assert proxy.writes == [] and "data" not in ready.instances()["demo"]["devices"]
    said = ready.repoman("new", "demo").out.splitlines()
    assert said[:3] == [*(f"demo differs: {each}" for each in checked["differences"]), "==> updated the configuration of demo"]
    instance = ready.instances()["demo"]
    assert instance["config"]["user.note"] == "hi" and instance["config"]["user.mine"] == "1"
    assert instance["devices"]["data"]["source"] == str(data) and instance["profiles"] == ["default", "extra"]
    owners = ready.incus("exec", "--project=repoman", "demo", "--", "stat", "-c", "%u", f"{ready.home}/deep", f"{ready.home}/deep/er")
    assert owners.split() == [str(ready.me.uid)] * 2
    proxy.clear()
    again = ready.repoman("--json", "new", "demo").data
    assert not again["changed"] and again["projects"][0]["differences"] == [] and proxy.writes == []
    assert not ready.repoman("-C", "--json", "new", "demo").data["changed"]
    ready.incus("config", "set", "--project=repoman", "demo", "user.note=by hand")
    assert ready.repoman("--json", "new", "demo").data["changed"]
    assert ready.instances()["demo"]["config"]["user.note"] == "hi"
    override.unlink()
    assert ready.repoman("--json", "new", "demo").data["changed"]
    instance = ready.instances()["demo"]
    assert "user.note" not in instance["config"] and "data" not in instance["devices"] and instance["config"]["user.mine"] == "1"


def test_what_a_task_gave_stays(ready: World, proxy: RecordingProxy) -> None:
    """No file says what only a task asked for: new, shell and status leave it alone; a task that names other keys, or none, takes it away."""
    ready.git_repository("demo")
    ready.write(ready.overrides / "demo.toml", '[config]\n"user.note" = "of the override"\n')
    asked = {"config": {"limits.cpu": 1, "user.note": "of the task"}, "devices": {"x": {"type": "none"}}}

    def given() -> list[Any]:
        found = ready.instances()["demo"]
        return [found["config"].get("limits.cpu"), found["config"].get("user.note"), found["devices"].get("x")]

    drive(ready, "demo", **asked)
    all_of_it = ["1", "of the task", {"type": "none"}]
    assert given() == all_of_it and ready.repoman("--json", "status").data["projects"][0]["differences"] == []
    proxy.clear()
    assert not ready.repoman("--json", "new", "demo").data["changed"] and not drive(ready, "demo", **asked)["changed"]
    assert proxy.writes == []
    ready.incus("stop", "--force", "--project=repoman", "demo")
    assert ready.repoman("shell", "demo", "--", "echo", "in").out == "in\n" and given() == all_of_it
    assert not drive(ready, "demo", **asked)["changed"]
    assert drive(ready, "demo", config={"user.note": "another"})["changed"] and given() == [None, "another", {"type": "none"}]
    assert drive(ready, "demo", devices={})["changed"] and given() == [None, "another", None]
    assert drive(ready, "demo", config={})["changed"] and given() == [None, "of the override", None]
    assert not ready.repoman("-C", "--json", "new", "demo").data["changed"]


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ('[devices.repo]\ntype = "disk"\nsource = "/etc"\npath = "/etc"\n', "'repo'"),
        ('[devices.other]\ntype = "disk"\nsource = "/etc"\npath = "REPO/"\n', "mounted over"),
        ('[config]\n"user.repoman.state" = "creating"\n', "user.repoman.state"),
        ('repo = "/etc"\n', "not inside repos_root"),
        ('repo = "../.config"\n', "not inside repos_root"),
        ('profiles = ["foo"]\n', "container references profile 'foo' but it's not installed in incus."),
    ],
)
def test_override_that_reaches_too_far(ready: World, proxy: RecordingProxy, override: str, word: str) -> None:
    """It is refused with exit 4 before any change, for a new project and an existing one."""
    repo = ready.git_repository("demo")
    text = override.replace("REPO", str(repo))
    file = ready.write(ready.overrides / "demo.toml", text)
    proxy.clear()
    assert word in ready.refused("new", "demo", "--image", "busybox", code=4)
    assert proxy.writes == [] and ready.instances() == {} and entries(ready) == []
    file.unlink()


def test_repository_swapped_before_the_mount(ready: World, proxy: RecordingProxy) -> None:
    """A link put in its place while the container is made, or stopped: refused, undone, and nothing written where it leads."""
    repo = ready.git_repository("demo")
    elsewhere = ready.mkdir(ready.home / "elsewhere")
    aside = ready.repos / "aside"

    def swap(method: str, target: str) -> None:
        if method == "PUT" and "/state" in target and not repo.is_symlink():
            repo.rename(aside)
            repo.symlink_to(elsewhere)

    def back() -> None:
        repo.unlink()
        aside.rename(repo)

    proxy.on_request(swap)
    assert "replaced" in ready.refused("new", "demo", "--image", "busybox", code=4)
    assert ready.instances() == {} and entries(ready) == [] and list(elsewhere.iterdir()) == []
    proxy.on_request(None)
    back()
    drive(ready, "demo")
    ready.incus("stop", "--force", "--project=repoman", "demo")
    proxy.on_request(swap)
    assert drive(ready, "demo")["exit_code"] == 4
    assert ready.instances()["demo"]["status"] == "Stopped" and list(elsewhere.iterdir()) == []
    proxy.on_request(None)
    back()
    drive(ready, "demo")
    assert_works(ready, "demo")


def test_repository_swapped_before_a_running_container_gets_it(ready: World, proxy: RecordingProxy) -> None:
    """A link put in its place while its device is put right, for a moment or for good: refused, unmounted, nothing written where it leads."""
    repo = ready.git_repository("demo")
    elsewhere = ready.mkdir(ready.home / "elsewhere")
    ready.write(elsewhere / "private", "")
    aside = ready.repos / "aside"
    drive(ready, "demo")
    ready.incus("config", "device", "set", "--project=repoman", "demo", "repo", "readonly=true")

    def back() -> None:
        repo.unlink()
        aside.rename(repo)

    for is_lasting in (False, True):
        begun = False

        def swap(method: str, target: str, is_lasting: bool = is_lasting) -> None:
            nonlocal begun
            if method == "PUT" and "/instances/demo?" in target and not begun:
                begun = True
                repo.rename(aside)
                repo.symlink_to(elsewhere)
            elif "/exec?" in target and repo.is_symlink() and not is_lasting:
                ready.incus("config", "set", "--project=repoman", "demo", "user.mine=1")
                back()

        proxy.on_request(swap)
        result = drive(ready, "demo")["projects"][0]
        proxy.on_request(None)
        assert result["action"] == "failed" and ("replaced" in result["msg"]) is is_lasting, result
        assert [path.name for path in elsewhere.iterdir()] == ["private"]
        assert "repo" not in ready.instances()["demo"]["devices"]
        assert ready.instances()["demo"]["config"]["user.mine"] == "1"
        assert "private" not in ready.incus("exec", "--project=repoman", "demo", "--", "ls", "-AR", str(ready.repos), check=False)
    back()
    assert drive(ready, "demo")["projects"][0]["action"] == "updated"
    assert_works(ready, "demo")


def test_what_somebody_sets_in_the_meantime_stays(ready: World, proxy: RecordingProxy) -> None:
    """Between plan and write the container is changed by hand: it is planned once more, and both changes are there."""
    ready.git_repository("demo")
    drive(ready, "demo", config={"user.note": "hi"})
    for number, moment in enumerate(("GET", "PUT")):
        ready.incus("config", "set", "--project=repoman", "demo", "user.note=by hand")
        begun = False

        def edit(method: str, target: str, moment: str = moment, mine: str = f"user.mine={number}") -> None:
            nonlocal begun
            if method == moment and "/instances/demo?" in target and not begun:
                begun = True
                ready.incus("config", "set", "--project=repoman", "demo", mine)

        proxy.on_request(edit)
        assert drive(ready, "demo", config={"user.note": "hi"})["projects"][0]["action"] == "updated"
        proxy.on_request(None)
        config = ready.instances()["demo"]["config"]
        assert begun and (config["user.note"], config["user.mine"]) == ("hi", str(number))


def test_nothing_secret_is_shown(ready: World) -> None:
    """The value of a variable is in the container and nowhere else; what repoman keeps is private."""
    ready.git_repository("demo")
    override = ready.write(ready.overrides / "demo.toml", '[config]\n"environment.API_KEY" = "hush-1"\n')
    made = ready.repoman("--diff", "new", "demo", "--image", "busybox")
    assert "environment.API_KEY" in made.out
    ready.write(override, override.read_text().replace("hush-1", "hush-2"))
    changed = ready.repoman("--diff", "--json", "new", "demo")
    gone = ready.repoman("--diff", "--check", "remove", "demo")
    assert changed.data["diff"] and not any("hush" in said.out + said.err for said in (made, changed, gone))
    assert ready.instances()["demo"]["config"]["environment.API_KEY"] == "hush-2"
    assert "hush" not in ready.registry.read_text()
    place = ready.registry.parent
    modes = {path: path.stat().st_mode & 0o777 for path in (place, place / "locks", ready.registry)}
    assert modes == {place: 0o700, place / "locks": 0o700, ready.registry: 0o600}


def test_remove_of_several(ready: World, proxy: RecordingProxy) -> None:
    """A running one, an instance without entry, an entry without instance, and a name nobody knows."""
    repos = [ready.git_repository(name) for name in ("both", "bare", "gone")]
    drive(ready, "both", "bare", "gone")
    ready.incus("delete", "--force", "--project=repoman", "gone")
    text = ready.registry.read_text()
    head, *tables = text.split("[[project]]")
    ready.write(ready.registry, "[[project]]".join([head, *(table for table in tables if '"bare"' not in table)]))
    proxy.clear()
    checked = ready.repoman("-C", "remove", "both", "bare", "gone")
    assert proxy.writes == [] and all(f"repository ~/repos/{repo.name}\n" in checked.out for repo in repos)
    result = ready.repoman("remove", "both", "bare", "gone", "bth", "--yes", code=3)
    assert "bth" in result.err and "did you mean 'both'?" in result.err
    assert ready.instances() == {} and entries(ready) == [] and all((repo / ".git").is_dir() for repo in repos)
    stops = [target for method, target in proxy.writes if method == "PUT" and "/state" in target]
    assert sorted(target.split("/")[3] for target in stops) == ["bare", "both"]  # asked once, and not forced
    proxy.clear()
    ready.refused("remove", "both", "bare", "gone", "--yes", code=3)
    assert proxy.writes == []


def test_phases_are_told(ready: World) -> None:
    """On a line each where there is no terminal; on one that is written over, and gone at the end, where there is."""
    ready.git_repository("demo")
    said = ready.repoman("--json", "new", "demo", "--image", "busybox")
    assert "creating demo from busybox…\nstarting demo…\n" in said.err and said.data["changed"]
    ready.incus("delete", "--force", "--project=repoman", "demo")
    on_terminal = ready.on_terminal("repoman new demo --image busybox", "")
    assert on_terminal.code == 0 and "\r\x1b[Kcreating demo" in on_terminal.out
    assert "\r\x1b[K==> created container demo" in on_terminal.out


def test_removal_that_is_killed_or_interrupted(ready: World, proxy: RecordingProxy) -> None:
    """Killed between the container and the entry, the next one finishes. Interrupted, what it had stopped in advance runs again."""
    for name in ("one", "two", "three"):
        ready.git_repository(name)
    drive(ready, "one", "two", "three")
    proxy.clear()
    deleting = threading.Event()
    hold = threading.Event()

    def at_delete(method: str, target: str) -> None:
        if method == "DELETE" and "/instances/two" in target:
            deleting.set()
            hold.wait(TIMEOUT)
            raise RuntimeError  # Incus never sees it

    proxy.on_request(at_delete)
    process = ready.start(*command(ready, "one", "two", "three", state="absent"))
    assert deleting.wait(TIMEOUT)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=TIMEOUT)
    hold.set()
    assert json.loads(out)["exit_code"] == 130, err
    proxy.on_request(None)
    assert {name: each["status"] for name, each in ready.instances().items()} == {"two": "Running", "three": "Running"}
    assert sorted(entries(ready)) == ["three", "two"]
    killer = Killer(-1, forward=True)

    def kill(method: str, target: str) -> None:
        if method == "DELETE" and "/instances/two" in target:
            killer.left = 0
            killer(method, target)

    proxy.on_request(kill)
    with ready.start(*command(ready, "two", state="absent")) as killer.process:
        killer.ready.set()
        killer.process.communicate(timeout=TIMEOUT)
    proxy.on_request(None)
    assert sorted(entries(ready)) == ["three", "two"]
    result = drive(ready, "two", "three", state="absent")
    assert [line["action"] for line in result["projects"]] == ["removed", "removed"]
    assert ready.instances() == {} and entries(ready) == []


def test_power_four_ways(ready: World, proxy: RecordingProxy) -> None:
    """Stopped and started: check does nothing, apply does it, again only reads, check again agrees."""
    ready.git_repository("demo")
    drive(ready, "demo")
    for state, status in (("stopped", "Stopped"), ("started", "Running")):
        proxy.clear()
        (line,) = drive(ready, "demo", state=state, check=True)["projects"]
        assert line["action"] == state and line["state"] == status and proxy.writes == []
        assert ready.instances()["demo"]["status"] != status
        assert drive(ready, "demo", state=state)["projects"][0]["steps"] == line["steps"]
        assert ready.instances()["demo"]["status"] == status
        proxy.clear()
        for check in (False, True):
            assert not drive(ready, "demo", state=state, check=check)["changed"]
        assert proxy.writes == []
    ready.incus("pause", "--project=repoman", "demo")
    assert drive(ready, "demo")["projects"][0]["action"] == "started"
    assert_works(ready, "demo")


def test_two_that_start_the_same_container(ready: World, proxy: RecordingProxy) -> None:
    """The second waits for the first, and finds nothing to do."""
    ready.git_repository("demo")
    drive(ready, "demo")
    ready.incus("stop", "--force", "--project=repoman", "demo")
    begun, read = threading.Event(), threading.Event()
    proxy.clear()

    def hold(method: str, target: str) -> None:
        if method == "PUT" and not begun.is_set():
            begun.set()
            read.wait(TIMEOUT)
        elif begun.is_set() and target.startswith("/1.0/profiles"):
            read.set()

    proxy.on_request(hold)
    first = ready.start(*command(ready, "demo"))
    assert begun.wait(TIMEOUT)
    second = drive(ready, "demo")
    out, _err = first.communicate(timeout=TIMEOUT)
    actions = sorted(result["projects"][0]["action"] for result in (json.loads(out), second))
    assert actions in (["started", "unchanged"], ["unchanged", "unchanged"]), actions
    assert [target for method, target in proxy.writes if method == "PUT"] == ["/1.0/instances/demo/state?project=repoman"]
    assert_works(ready, "demo")


def test_removal_does_not_wait_for_ever(ready: World) -> None:
    """What does not stop when asked is stopped all the same, alone or among several."""
    for name in ("one", "two", "three"):
        ready.git_repository(name)
    deaf = {"raw.lxc": "lxc.signal.halt = SIGCONT"}
    drive(ready, "one", "two", "three", config=deaf)
    for names in (["one"], ["two", "three"]):
        result = drive(ready, *names, state="absent", stop_timeout=1)
        assert [line["action"] for line in result["projects"]] == ["removed"] * len(names)
    assert ready.instances() == {} and entries(ready) == []
