# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""status and list on real containers, and what they must not run."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from proxy import RecordingProxy
from world import World


def projects(world: World, *names: str) -> dict[str, Any]:
    """Return the projects of ``status``, by name."""
    return {each["name"]: each for each in world.repoman("--json", "status", *names).data["projects"]}


def enter(world: World, *names: str) -> None:
    """Enter projects into the registry, without a container."""
    entries = "".join(f'\n[[project]]\nname = "{name}"\nrepo = "{name}"\n' for name in names)
    world.write(world.registry, world.registry.read_text() + entries)


def with_backup(world: World) -> Path:
    """Let the backup be in a directory of the home, without a mark."""
    path = world.mkdir(world.home / "backup")
    world.write(world.registry, world.registry.read_text().replace('"/nfs/repos"', f'"{path}"'))
    return path


def test_status_tells_all(ready: World, proxy: RecordingProxy) -> None:
    """The host, and of each project container, profiles, sources, differences, repository; with three reads, and no write."""
    ready.template(
        "extra",
        f"config: {{}}\ndevices:\n  gone:\n    type: disk\n    source: {ready.home}/gone\n    path: /mnt/gone\n    required: 'false'\n",
    )
    ready.install("extra")
    repo = ready.git_repository("demo")
    ready.new("demo", profiles=["default", "extra"])
    backup = with_backup(ready)
    told = projects(ready)["demo"]
    assert (told["state"], told["differences"], told["profile_drift"], told["problem"]) == ("Running", [], [], "")
    assert told["missing_sources"] == [{"device": "gone", "source": f"{ready.home}/gone"}]
    assert (told["vcs"]["kind"], told["vcs"]["branch"], told["vcs"]["untracked"]) == ("git", "main", 0)
    ready.write(repo / "untracked", "")
    ready.template("extra", "config: {user.new: x}\ndevices: {}\n")
    ready.write(ready.overrides / "demo.toml", '[config]\n"user.wanted" = "1"\n')
    ready.incus("config", "set", "--project=repoman", "demo", "user.manual=mine")
    ready.incus("config", "device", "set", "--project=repoman", "demo", "repo", "readonly=true")
    text = ready.registry.read_text()
    proxy.clear()
    page = ready.repoman("--json", "status").data
    assert len(proxy.requests) == 4 and proxy.writes == [] and ready.registry.read_text() == text and not page["changed"]
    told = page["projects"][0]
    assert told["differences"] == ["key user.wanted is missing", "device repo was changed"]
    assert (told["profile_drift"], told["vcs"]["untracked"]) == (["extra"], 1)
    assert page["host"]["incus_version"] == ready.incus("version").split("Server version: ")[1].strip()
    assert page["host"]["lan_ip"]["registry"] == ready.lan_ip and page["host"]["library"]["drift"] == ["extra"]
    assert page["host"]["backup"] == page["host"]["backup"] | {"path": str(backup), "state": "unmarked"}
    lines = ready.repoman("status", "demo").out.splitlines()
    assert lines[0] == "host" and "demo" in lines and "  container     Running" in lines
    assert "  differs       key user.wanted is missing" in lines and "                to correct it: repoman new demo" in lines
    out = ready.repoman("status").out.splitlines()
    assert out[0] == "1 project: 1 running, 1 with changes; 3 need you" and out[1] == "backup: none yet to ~/backup"
    needs = [" ".join(line.split()) for line in out[3 : out.index("", 3)]]
    assert needs == [
        "backup target has no marker of repoman repoman sync --init",
        "library extra differs repoman profile diff extra",
        "demo 2 differences from its configuration repoman new demo",
        "demo main: 1 untracked",
    ]
    assert out[-1] == "demo  running  main  1 untracked  never synced"
    paged = ready.on_terminal("stty rows 5 cols 80; PAGER='sed s/running/paged/' repoman status", "")
    assert paged.code == 0 and "demo  paged  main" in paged.out
    ready.repoman("new", "demo")
    assert projects(ready)["demo"]["differences"] == []
    assert ready.instances()["demo"]["config"]["user.manual"] == "mine"
    ready.write(ready.overrides / "demo.toml", 'profiles = ["default", "nope"]\n')
    told = projects(ready)["demo"]
    assert told["profiles_missing"] == ["nope"] and told["differences"][0] == "profiles: default, extra instead of default, nope"


def test_the_same_requests_for_many_projects(ready: World, proxy: RecordingProxy) -> None:
    """Fifty projects take no more requests than one."""
    names = [f"p{number}" for number in range(50)]
    enter(ready, *names)
    for name in names[:5]:
        ready.git_repository(name)
    proxy.clear()
    told = projects(ready)
    assert len(told) == 50 and len(proxy.requests) == 4
    assert [told[name]["vcs"]["branch"] for name in names[:5]] == ["main"] * 5 and told["p9"]["vcs"] is None
    proxy.clear()
    assert len(ready.repoman("--json", "list").data["projects"]) == 50 and len(proxy.requests) == 1


def test_what_is_not_as_it_should_be(ready: World) -> None:
    """Unfinished, missing and unknown containers, broken repositories and overrides are lines; what is not ours is not shown."""
    ready.git_repository("half")
    broken = ready.git_repository("broken")
    ready.write(broken / ".git/HEAD", "nonsense\n")
    (ready.repos / "odd").symlink_to("/etc")
    ready.git_repository("marks")
    enter(ready, "half", "broken", "marks", "odd", "unreadable")
    ready.write(ready.overrides / "unreadable.toml", "nonsense\n")
    ready.write(ready.overrides / "marks.toml", 'profiles = ["nope"]\n[config]\n"user.repoman.state" = "ready"\n')
    for name, marks in (("half", ("half", "creating")), ("stray", ("stray", "ready")), ("copy", ("half", "ready")), ("theirs", ())):
        settings = [f"--config=user.repoman.{key}={mark}" for key, mark in zip(("project", "state"), marks, strict=False)]
        ready.incus("init", "--project=repoman", "busybox", name, *settings)
    told = projects(ready)
    assert sorted(told) == ["broken", "copy", "half", "marks", "odd", "stray", "unreadable"]
    assert told["half"]["unfinished"] and told["stray"]["state"] == "Stopped" and not told["stray"]["registered"]
    assert told["broken"]["state"] == "missing" and told["broken"]["vcs"]["problem"] == "its HEAD names neither a branch nor a commit"
    assert "leads outside" in told["odd"]["vcs"]["problem"] and "unreadable.toml" in told["unreadable"]["problem"]
    assert "are reserved" in told["marks"]["problem"] and told["marks"]["profiles_missing"] == ["nope"]
    listed = ready.repoman("list")
    assert "unfinished" in listed.out and "not in the registry" in listed.out and "unreadable.toml" in listed.err
    assert "theirs" not in listed.out and "Stopped (copy of half)" in listed.out
    assert "theirs" in ready.refused("status", "theirs", code=4)
    hints = ready.refused("status", "hal", code=3)
    assert "hint: did you mean 'half'?" in hints


@pytest.mark.parametrize(
    ("mark", "state"),
    [
        ("", "unreadable"),
        ('host = "elsewhere"\n', "foreign"),
        ('host = "{host}"\nuser = "nobody"\n', "foreign"),
        ('host = "{host}"\nuser = "{user}"\n', "ready"),
    ],
)
def test_backup_target(ready: World, mark: str, state: str) -> None:
    """Whose the backup's target is shows by its mark."""
    path = with_backup(ready)
    text = mark.format(host=os.uname().nodename, user=ready.me.name) or "= nonsense"
    ready.write(path / ".repoman/mirror.toml", text)
    assert ready.repoman("--json", "status").data["host"]["backup"]["state"] == state


def test_backup_target_that_does_not_exist(ready: World) -> None:
    """It is said, and is no failure."""
    assert ready.repoman("--json", "status").data["host"]["backup"]["state"] == "missing"
    assert "/nfs/repos does not exist" in ready.repoman("status").out


def test_what_is_known_shows_before_the_rest(ready: World) -> None:
    """A terminal shows the other repositories while the first one does not answer, and then the same page as a pipe."""
    for name in "abc":
        ready.git_repository(name)
    enter(ready, *"abc")
    held = ready.repos / "a/.gitignore"
    os.mkfifo(held)  # who opens it waits for a writer
    os.chown(held, ready.me.uid, ready.me.gid)
    text, code = on_screen(ready, lambda process: process.send_signal(signal.SIGINT))
    assert code == 130, text
    git = ready.run("pgrep", "-a", "-x", "--runstates", "D,R,S", "-U", str(ready.me.uid), "git")
    assert git.out == ""  # the one that waited for a writer
    assert re.search(r"waiting for a\x1b\[\?7h\n(waiting for the rollback.*\n)?repoman: error: interrupted\.", text), text
    writers: list[int] = []
    text, code = on_screen(ready, lambda _process: writers.append(os.open(held, os.O_RDWR)))
    before, _waiting, after = text.partition("2 of 3, waiting for a")
    assert before.endswith("b  main  clean\nc  main  clean\nreading repositories: "), text
    assert code == 0
    piped = ready.repoman("status")
    os.close(writers[0])
    assert piped.err == "" and "reading" not in piped.out
    assert without_free(re.split(r"\x1b\[[JK]", after)[-1]) == without_free(piped.out)


def on_screen(world: World, go_on: Callable[[subprocess.Popen[bytes]], object]) -> tuple[str, int]:
    """Run status on a terminal, and call a function when only the first repository is missing; return what was shown and the exit code."""
    master, slave = pty.openpty()
    command = world.me.command(["repoman", "status"], world.env(TERM="xterm", NO_COLOR="1"))
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, cwd=world.home) as process:
        os.close(slave)
        seen = b""
        while (part := screen_part(master)) and b"2 of 3, waiting for a" not in seen + part:
            seen += part
        seen += part
        go_on(process)
        while part := screen_part(master):
            seen += part
        os.close(master)
    return seen.decode().replace("\r\n", "\n"), process.returncode


def screen_part(terminal: int) -> bytes:
    """Return what was written to a terminal; nothing once no process has it any more."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def test_traps(ready: World) -> None:
    """Nothing that a repository configures is run by any verb; plain git and hg run it."""
    trap = ready.write(ready.home / "trap.sh", f"#!/bin/sh\n: >{ready.home}/fired\n")
    trap.chmod(0o755)
    fired = ready.home / "fired"
    git, hg = ready.git_repository("one"), ready.repos / "two"
    ready.run("git", "config", "core.fsmonitor", str(trap), cwd=git)
    ready.run("git", "config", "filter.x.clean", str(trap), cwd=git)
    ready.write(git / ".gitattributes", "* filter=x\n")
    ready.run("hg", "init", str(hg))
    ready.write(hg / ".hg/hgrc", f"[hooks]\npre-status = {trap}\npre-repoman-state = {trap}\n[extensions]\nevil = {trap}\n")
    for name in ("one", "two"):
        ready.repoman("new", name, "--image", "busybox")
    ready.repoman("list")
    told = projects(ready)
    assert not fired.exists()
    assert [(told[name]["vcs"]["kind"], told[name]["vcs"]["problem"]) for name in ("one", "two")] == [("git", ""), ("hg", "")]
    for path, command in ((git, "git"), (hg, "hg")):
        ready.run(command, "status", cwd=path)
        assert fired.exists()
        fired.unlink()


def test_names_from_repositories_are_escaped(ready: World) -> None:
    """A branch cannot make the terminal obey."""
    repo = ready.git_repository("demo")
    ready.write(repo / ".git/refs/heads/x\u202ey", (repo / ".git/refs/heads/main").read_text())
    ready.write(repo / ".git/HEAD", "ref: refs/heads/x\u202ey\n")
    enter(ready, "demo")
    out = ready.repoman("status").out
    assert "x\\u202ey" in out and "\u202e" not in out


def test_what_a_container_has_closed(ready: World) -> None:
    """What its superuser lets nobody read is a sentence of its project; the others are told and made all the same."""
    repo = ready.git_repository("demo")
    ready.git_repository("other")
    ready.new("demo")

    def inside(script: str) -> None:
        ready.incus("exec", "--project=repoman", "demo", f"--cwd={repo}", "--", "sh", "-c", script)

    inside("mkdir .git/modules && chmod 700 .git/modules")
    try:
        override = ready.write(ready.overrides / "demo.toml", 'protect = ["hooks"]\n')
        both = [{"name": name, "image": "busybox"} for name in ("demo", "other")]
        failed = ready.playbook("homelab.repoman.new", code=2, repoman_projects=both)
        assert f"cannot read {repo}/.git/modules" in failed.out and set(ready.instances()) == {"demo", "other"}
        told = projects(ready)
        assert f"cannot read {repo}/.git/modules" in told["demo"]["problem"] and told["other"]["problem"] == ""
        override.unlink()
        inside("chown 0:0 . && chmod 700 .")
        ready.incus("stop", "--project=repoman", "--force", "demo")
        assert f"cannot write to {repo}" in ready.refused("new", "demo", code=1)
        assert ready.instances()["demo"]["status"] == "Stopped"
    finally:
        ready.incus("start", "--project=repoman", "demo", check=False)
        inside(f"rmdir .git/modules; chown {ready.me.uid}:{ready.me.gid} .")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can serve another user")
@pytest.mark.parametrize("environment", [{}, {"SHIPPED": "1"}], ids=["here", "shipped"])
def test_as_root_for_a_user(ready: World, environment: dict[str, str]) -> None:
    """A task of root's tells of a user's projects; git and hg run as the user, and nothing becomes root's."""
    repo = ready.git_repository("one")
    ready.run("hg", "init", str(ready.repos / "two"))
    enter(ready, "one", "two")
    ready.write(ready.registry, ready.registry.read_text().replace('"~/repos"', f'"{ready.repos}"'))
    page = ready.home / "page.json"
    options = {"status": True, "user": ready.me.name, "registry_path": str(ready.registry), "vcs_timeout": 30}
    tasks = [
        {"homelab.repoman.repoman_project_info": options, "register": "page", "environment": environment},
        {"ansible.builtin.copy": {"content": "{{ page.projects | to_json }}", "dest": str(page), "mode": "0644"}},
    ]
    play = ready.write(ready.home / "play.json", json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    env = ready.env(USER="root", ANSIBLE_LOCAL_TEMP=f"{ready.home}/.ansible/root")
    done = subprocess.run([str(ready.bin_dir / "ansible-playbook"), str(play)], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    told = [each["vcs"] for each in json.loads(page.read_text())]
    assert [(each["branch"], each["problem"]) for each in told] == [("main", ""), ("default", "")]
    assert {path.stat().st_uid for path in repo.rglob("*")} == {ready.me.uid}


def test_a_mark_made_by_hand(ready: World, proxy: RecordingProxy) -> None:
    """It is one project's problem in status; new refuses with the command that mends it, which does."""
    for name in ("demo", "other"):
        ready.git_repository(name)
    ready.new("demo")
    enter(ready, "other")
    for text in ("nonsense", "[]"):
        ready.incus("config", "set", "--project=repoman", "demo", f"user.repoman.applied={text}")
        told = projects(ready)
        assert "user.repoman.applied" in told["demo"]["problem"] and told["other"]["problem"] == ""
        proxy.clear()
        err = ready.refused("new", "demo", code=4)
        assert proxy.writes == []
    command = next(line for line in err.splitlines() if line.startswith("hint: ")).removeprefix("hint: incus ")
    ready.incus(*command.split())
    ready.repoman("new", "demo")
    assert projects(ready)["demo"]["problem"] == "" and not ready.repoman("--json", "new", "demo").data["changed"]


def test_old_and_missing_backups(ready: World, proxy: RecordingProxy) -> None:
    """With --strict the output is the same, and the exit code is 1 if something needs attention; errors keep their own."""
    for name in ("demo", "attic"):
        ready.git_repository(name)
    ready.new("demo")
    backup = with_backup(ready)
    ready.module("sync", init=True, allow_local=True)
    proxy.clear()
    quiet = ready.repoman("-q", "status", "--strict")
    assert without_free(quiet.out) == without_free(ready.repoman("status").out) and "need" not in quiet.out.splitlines()[0]
    assert len(proxy.requests) == 8 and proxy.writes == []
    ready.git_repository("fresh")
    ready.mkdir(ready.repos / "plain")
    page = ready.repoman("status", "--strict", code=1)
    assert without_free(page.out) == without_free(ready.repoman("status").out) and page.err == ""
    assert needs_of(page.out) == ["fresh never backed up repoman sync fresh", "plain never backed up repoman sync plain"]
    document = ready.repoman("--json", "status", "--strict", code=1).data
    assert (document["exit_code"], document["failed"], document["stale_after"]) == (1, False, 259200)
    directories = {entry["name"]: entry["sync_state"] for entry in document["host"]["directories"]}
    assert directories == {"attic": "ok", "fresh": "never", "plain": "never"} and document["projects"][0]["sync_state"] == "ok"
    ready.repoman("status", "demo", "--strict")
    ready.incus("delete", "--project=repoman", "--force", "demo")
    assert "missing; to create it: repoman new demo" in ready.repoman("status", "demo", "--strict", code=1).out
    assert "container is missing" in ready.repoman("status", "--strict", code=1).out
    assert "there is no project called 'nosuch'" in ready.refused("status", "nosuch", "--strict", code=3)
    ready.new("demo")
    ready.module("sync")
    ready.repoman("status", "--strict")
    record = ready.home / ".local/state/repoman/times/last_sync.json"
    ready.write(record, json.dumps({str(backup): dict.fromkeys(("attic", "demo", "fresh", "plain"), "2026-01-01T00:00:00Z")}))
    ready.write(ready.registry, re.sub(r'last_sync = ".*"', 'last_sync = "2026-01-01T00:00:00Z"', ready.registry.read_text()))
    [line] = needs_of(ready.repoman("status", "--strict", code=1).out)
    assert line.startswith("backup last one was ") and line.endswith(" repoman sync")
    text = ready.registry.read_text()
    ready.write(ready.registry, text.replace("[defaults]", '[defaults]\nstale_after = "never"'))
    assert ready.repoman("--json", "status", "--strict").data["stale_after"] is None
    ready.write(ready.registry, text[: text.index("[[project]]")])
    ready.incus("delete", "--project=repoman", "--force", "demo")
    assert "  last backup   " in ready.repoman("status", "--strict", code=1).out


def without_free(page: str) -> str:
    """Return the page without how much space is free at the target, which other tests change."""
    return re.sub(r", [0-9.]+ [kMGT]?B free", "", page)


def needs_of(page: str) -> list[str]:
    """Return the lines of what needs attention, with single spaces."""
    lines = page.splitlines()
    return [" ".join(line.split()) for line in lines[3 : lines.index("", 3)]]
