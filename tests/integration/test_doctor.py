# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""doctor on a real Incus: a host that is in order, and each problem with a remedy that works."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import Lab, lab
from proxy import RecordingProxy
from world import ADMINS, Me, World

Checks = dict[str, dict[str, Any]]


def doctor(world: World, code: int = 0) -> Checks:
    """Return the results of ``doctor``, by name; it must exit with ``code``."""
    document = world.repoman("--json", "doctor", code=code).data
    assert (document["verb"], document["exit_code"], document["changed"]) == ("doctor", code, False)
    counts = {status: [each["status"] for each in document["checks"]].count(status) for status in ("ok", "warn", "fail")}
    assert document["summary"] == counts and bool(counts["fail"]) == bool(code)
    return {each["name"]: each for each in document["checks"]}


def problems(world: World, code: int = 0) -> Checks:
    """Return the results that are not ok."""
    return {name: each for name, each in doctor(world, code).items() if each["status"] != "ok"}


def paste(world: World, hint: str) -> None:
    """Run a hint as the user would."""
    result = world.run("sh", "-c", hint)
    assert result.code == 0, (hint, result)


def enter(world: World, *names: str) -> None:
    """Enter projects into the registry, without a container."""
    entries = "".join(f'\n[[project]]\nname = "{name}"\nrepo = "{name}"\n' for name in names)
    world.write(world.registry, world.registry.read_text() + entries)


@pytest.fixture
def well(ready: World) -> Iterator[World]:
    """A host in order: a network, a project with a container, a backup."""
    ready.incus("profile", "device", "add", "default", "eth0", "nic", "nictype=p2p")
    try:
        ready.git_repository("demo")
        ready.write(ready.registry, ready.registry.read_text().replace('"/nfs/repos"', f'"{ready.home}/backup"'))
        ready.repoman("new", "demo", "--image", "busybox")
        ready.repoman("sync", "--init", "--allow-local")
        yield ready
    finally:
        for name in ready.instances():
            ready.incus("delete", "--force", "--project=repoman", name)
        ready.incus("profile", "device", "remove", "default", "eth0", check=False)


def test_all_well(well: World, proxy: RecordingProxy) -> None:
    """All checks are ok: a line each and a summary, within 80 columns, exit code 0. A few reads, whatever there is, and no write."""
    before = well.registry.read_text()
    proxy.clear()
    checks = doctor(well)
    assert {name: each["status"] for name, each in checks.items()} == dict.fromkeys(checks, "ok"), checks
    assert all(each["hints"] == [] for each in checks.values())
    assert len(proxy.requests) == 6 and proxy.writes == [] and well.registry.read_text() == before
    page = well.repoman("doctor")
    lines = page.out.splitlines()
    version = well.incus("version").split("Server version: ")[1].strip()
    assert f"ok    Incus {version} at {well.socket}" in lines and "ok    Incus project repoman" in lines
    assert "ok    registry ~/.config/repoman/repoman.toml, 1 project" in lines and "ok    registry and Incus agree: 1 container" in lines
    assert lines[-1] == f"{len(checks)} checks: {len(checks)} ok" and len(lines) == len(checks) + 1 and page.err == ""
    assert max(len(line) for line in lines) <= 80 and "\x1b" not in page.out
    enter(well, *(f"p{number}" for number in range(20)))
    proxy.clear()
    doctor(well, code=1)  # their repositories are missing
    assert len(proxy.requests) == 6


def test_in_color_on_a_terminal(ready: World) -> None:
    """The first word of a line has a color there, and only there."""
    shown = ready.run("script", "--quiet", "--return", "--command", "repoman doctor", "/dev/null", env={"TERM": "xterm"})
    assert "\x1b[32mok\x1b[0m    Incus project repoman" in shown.out


def test_incus_that_is_down(well: World) -> None:
    """No socket, and one at which nothing listens: a failure with the remedy; what does not need Incus is checked all the same."""
    well.socket = str(well.home / "no.socket")
    checks = doctor(well, code=1)
    assert checks["incus"]["status"] == "fail" and "there is no incus socket" in checks["incus"]["message"]
    assert "sudo systemctl start incus" in checks["incus"]["hints"][0] and "storage" in checks["without_incus"]["message"]
    for name in ("registry", "repos_root", "lan_address", "backup", "backup_age", "locks", "python", "git", "hg"):
        assert checks[name]["status"] == "ok", checks[name]
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(well.socket)
    os.chmod(well.socket, 0o666)
    checks = doctor(well, code=1)
    assert "nothing listens" in checks["incus"]["message"] and checks["incus"]["hints"] == ["sudo systemctl start incus"]


@pytest.mark.parametrize("text", [None, "[repoman]\nschema = 3\noutput = quiet\n"])
def test_no_registry_or_a_broken_one(world: World, text: str | None) -> None:
    """Incus and programs are checked; the remedy is setup, or the line of the mistake."""
    if text is not None:
        world.write(world.registry, text)
    checks = doctor(world, code=1)
    expected = f"{world.registry}, line 3" if text else "there is no registry"
    assert checks["registry"]["status"] == "fail" and expected in checks["registry"]["message"]
    assert text or checks["registry"]["hints"] == ["repoman setup"]
    assert checks["storage"]["status"] == checks["root_disk"]["status"] == checks["git"]["status"] == "ok"
    assert "the backup target" in checks["without_registry"]["message"]


@pytest.mark.skipif(os.geteuid() != 0, reason="drops a group")
def test_session_without_the_group(ready: World) -> None:
    """An account that was added to the group after its login gets that as the reason, once."""
    me = ready.me
    become = ["setpriv", f"--reuid={me.uid}", f"--regid={me.gid}", "--clear-groups", "env", "-i"]
    ready.me = type("Newcomer", (Me,), {"command": lambda _self, argv, env: [*become, *(f"{k}={v}" for k, v in env.items()), *argv]})(
        me.name, me.uid, me.gid, me.home
    )
    checks = problems(ready, code=1)
    ready.me = me
    assert checks["access"]["message"] == f"{me.name} is in the group {ADMINS}, but this session is older than that"
    assert checks["access"]["hints"][0].startswith(f"newgrp {ADMINS} ") and "incus" not in checks
    assert doctor(ready, code=1)["access"]["message"] == f"{me.name} may use Incus (group {ADMINS})"


def test_default_profile(well: World) -> None:
    """Without a root disk nothing can be created; the hint adds it, to a pool that is there. Without a network it is a warning."""
    well.incus("delete", "--force", "--project=repoman", "demo")
    well.incus("profile", "device", "remove", "default", "root")
    well.incus("profile", "device", "remove", "default", "eth0")
    try:
        checks = problems(well, code=1)
        assert (checks["root_disk"]["status"], checks["network"]["status"]) == ("fail", "warn")
        assert checks["root_disk"]["message"] == "Incus's profile 'default' has no root disk, so no container can be created with it alone"
        assert "incus network create --project default local:incusbr0 && " in checks["network"]["hints"][0]
        page = well.repoman("doctor", code=1).out.splitlines()
        at = page.index("fail  Incus's profile 'default' has no root disk, so no container can be created")
        assert page[at + 1 : at + 3] == ["      with it alone", f"      hint: {checks['root_disk']['hints'][0]}"]
        well.run("incus", "project", "create", "local:elsewhere")
        assert well.run("incus", "project", "switch", "local:elsewhere").code == 0
        paste(well, checks["root_disk"]["hints"][0])
    finally:
        well.incus("project", "delete", "elsewhere", check=False)
        well.incus("profile", "device", "add", "default", "root", "disk", "path=/", "pool=default", check=False)
    assert "root_disk" not in problems(well)


def test_incus_project_that_is_gone(ready: World) -> None:
    """Setup is the remedy; what is in the project is not checked."""
    ready.incus("project", "delete", "repoman")
    ready.mkdir(ready.repos)
    checks = problems(ready, code=1)
    assert checks["incus_project"]["hints"] == ["repoman setup"] and checks["incus_project"]["status"] == "fail"
    assert checks["without_incus_project"]["message"] == "not checked without the Incus project: the containers, mounted paths"
    paste(ready, checks["incus_project"]["hints"][0])
    assert "incus_project" not in problems(ready)


def test_drift_and_a_profile_that_is_not_installed(ready: World) -> None:
    """The hints show the difference, and install what a project needs."""
    ready.git_repository("demo")
    enter(ready, "demo")
    ready.template("extra", "config: {user.a: '1'}\ndevices: {}\n")
    ready.repoman("profile", "install", "extra")
    ready.template("extra", "config: {user.a: '2'}\ndevices: {}\n")
    library = problems(ready)["library"]
    assert (library["status"], library["message"]) == ("warn", "extra differs from the template")
    assert library["hints"] == ["repoman profile diff extra   # then: repoman profile install extra"]
    ready.template("needed", "config: {}\ndevices: {}\n")
    ready.write(ready.overrides / "demo.toml", 'profiles = ["default", "needed"]\n')
    library = problems(ready, code=1)["library"]
    assert library["status"] == "fail" and "not installed, but used: needed" in library["message"]
    paste(ready, library["hints"][0])
    paste(ready, "repoman profile install extra")
    assert "library" not in problems(ready)


def test_missing_sources(well: World) -> None:
    """A missing optional source is a warning, a required one and a repository are failures, with the command that brings it back."""
    template = "config: {}\ndevices:\n  gone:\n    type: disk\n    source: %s\n    path: /mnt/gone\n    required: '%s'\n"
    gone = well.home / "gone"
    for required, code, status in (("false", 0, "warn"), ("true", 1, "fail")):
        well.template("extra", template % (gone, required))
        well.repoman("profile", "install", "extra")
        well.write(well.registry, well.registry.read_text().replace('profiles = ["default"]', 'profiles = ["default", "extra"]'))
        enter(well, f"p{code}")
        well.git_repository(f"p{code}")
        sources = problems(well, code)["sources"]
        assert (sources["status"], sources["message"]) == (status, "missing on this host: ~/gone")
    assert sources["hints"][0] == f"create {gone}, or mount it: device gone of p0 needs it, unless it has required: 'false'"
    well.mkdir(gone)
    assert "sources" not in problems(well)
    (well.repos / "demo").rename(well.home / "away")
    sources = problems(well, code=1)["sources"]
    assert (sources["message"], sources["hints"]) == ("missing on this host: ~/repos/demo", ["repoman restore demo"])
    paste(well, sources["hints"][0])
    assert "sources" not in problems(well)


def test_registry_and_incus_disagree(well: World) -> None:
    """An entry without a container, a container without an entry, and one left unfinished: the hints put each right."""
    text = well.registry.read_text()
    entry = text[text.index("[[project]]") :]
    well.write(well.registry, text.replace(entry, ""))
    well.git_repository("lone")
    enter(well, "lone")
    containers = problems(well)["containers"]
    assert containers["message"] == "without a container: lone; not in the registry: demo"
    assert containers["hints"] == ["repoman new demo", "repoman new lone"]
    well.write(well.registry, well.registry.read_text().replace("images:ubuntu/26.04/cloud", "busybox"))
    for hint in containers["hints"]:
        paste(well, hint)
    assert "containers" not in problems(well)
    well.incus("config", "set", "--project=repoman", "lone", "user.repoman.state=creating")
    containers = problems(well)["containers"]
    assert (containers["message"], containers["hints"]) == ("unfinished: lone", ["repoman new lone"])
    paste(well, containers["hints"][0])
    well.incus("init", "--project=repoman", "busybox", "hand")
    assert "containers" not in problems(well)  # one that repoman did not make, and no project needs
    enter(well, "hand")
    assert "an instance 'hand' in project 'repoman' that repoman did not create" in problems(well)["containers"]["message"]


def test_backup(well: World) -> None:
    """Another host's mark, a lock of another host, and one of a run that was killed."""
    marker, lock = well.home / "backup/.repoman/mirror.toml", well.home / "backup/.repoman/lock"
    text = marker.read_text()
    well.write(marker, text.replace(f'host = "{socket.gethostname()}"', 'host = "elsewhere"'))
    backup = problems(well, code=1)["backup"]
    assert (backup["status"], backup["message"]) == ("fail", f"backup target ~/backup is the backup of {well.me.name} on elsewhere")
    paste(well, backup["hints"][0])
    assert problems(well) == {} and 'previous_host = "elsewhere"' in marker.read_text()
    machine, boot = (Path(path).read_text().strip() for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"))
    other = {"host": socket.gethostname(), "machine": machine, "boot": boot, "pid": 1, "started": "0", "time": "2026-11-01T00:00:00Z"}
    well.write(lock, json.dumps(other))
    locks = problems(well)["locks"]
    assert (locks["status"], locks["message"]) == ("warn", f"a run that was killed has left {lock}")
    paste(well, locks["hints"][0])
    assert not lock.exists() and problems(well) == {}
    well.write(lock, json.dumps(other | {"host": "elsewhere"}))
    locks = problems(well)["locks"]
    assert "process 1 of elsewhere since 2026-11-01T00:00:00Z is working there" in locks["message"]
    lock.unlink()
    well.write(well.registry, well.registry.read_text().replace('last_sync = "2', 'last_sync = "1'))
    well.git_repository("fresh")
    age = problems(well)["backup_age"]
    assert age["status"] == "warn" and age["message"].startswith("no backup yet of fresh; no backup of demo for ")
    paste(well, age["hints"][0])
    assert problems(well) == {}


@pytest.fixture(scope="module")
def built(me: Me, installation: Path) -> Iterator[Lab]:
    """Two hosts with an Incus each."""
    with lab(me, installation) as built:
        yield built


def test_other_hosts(built: Lab) -> None:
    """One page for each host; the worst exit code wins, and the module is shipped with all that it needs."""
    result = built.controller.repoman("-i", built.inventory(), "doctor", code=1)
    for host in ("nas1", "nas2"):
        page = result.out[result.out.index(f"== {host} ==") :].splitlines()
        assert any(line.startswith("ok    Incus ") for line in page) and any(line.startswith("fail  there is no registry") for line in page)
    document = built.controller.repoman("-i", built.inventory(), "--json", "doctor", code=1).data
    assert {name: host["exit_code"] for name, host in document["hosts"].items()} == {"nas1": 1, "nas2": 1}
    assert all(host["summary"]["fail"] for host in document["hosts"].values())
