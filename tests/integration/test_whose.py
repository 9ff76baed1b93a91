# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which container a verb works on: the one that ``new`` made, whatever the client's configuration, and only the user's own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import private_incus
from proxy import RecordingProxy
from world import World, account


@pytest.fixture
def other_incus() -> Iterator[str]:
    """The socket of another Incus, which every user may use, and whose project repoman has a container ``demo``."""
    with private_incus() as socket:
        os.chmod(socket, 0o666)
        for argv in (
            ("project", "create", "repoman", "--config=features.profiles=false", "--config=features.images=false"),
            ("launch", "busybox", "demo", "--project=repoman"),
        ):
            incus_at(socket, *argv)
        yield socket


def incus_at(socket: str, *argv: str) -> str:
    """Run the client for the Incus at ``socket``."""
    env = os.environ | {"INCUS_SOCKET": socket}
    return subprocess.run(["incus", *argv], check=True, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout


def test_shell_uses_the_socket_of_new(ready: World, other_incus: str) -> None:
    """Remotes, the default remote, aliases, projects and variables of the user's client do not send a shell to another Incus."""
    ready.git_repository("demo")
    ready.new("demo")
    for socket, text in ((ready.witness, "right"), (other_incus, "wrong")):
        incus_at(socket, "exec", "--project=repoman", "demo", "--", "sh", "-c", f"echo {text} >/which")
    remote = {"addr": f"unix://{other_incus}", "public": False, "project": "default"}
    config = ready.home / ".config/incus/config.yml"
    texts = [
        json.dumps({"default-remote": "other", "remotes": {"other": remote}}),
        json.dumps({"default-remote": "gone", "remotes": {"gone": {"addr": "unix:///nonexistent/socket", "public": False}}}),
        json.dumps({"remotes": {"local": remote}, "aliases": {"exec": "list", "exec --force-local": "list", "--force-local": "list"}}),
        "not: [valid",
    ]
    variables = {"INCUS_REMOTE": "other", "INCUS_PROJECT": "default", "INCUS_DIR": str(Path(other_incus).parent), "INCUS_ALIASES": ""}
    directories = {"INCUS_CONF": str(config.parent), "INCUS_GLOBAL_CONF": str(config.parent)}
    for text, env in zip((texts[0], *texts), ({}, variables, {}, directories, directories), strict=True):
        ready.write(config, text)
        assert ready.repoman("shell", "demo", "--", "cat", "/which", env=env).out == "right\n", (text, env)
    assert [path.name for path in config.parent.iterdir()] == ["config.yml"] and config.read_text() == texts[-1]
    # the commands in hints, too
    ready.write(config, texts[0])
    ready.incus("config", "set", "--project=repoman", "demo", "security.protection.delete=true")
    hint = next(line for line in ready.refused("remove", "demo", "--yes", code=4).splitlines() if "incus config" in line)
    assert ready.run("sh", "-c", hint.removeprefix("hint: ")).code == 0
    assert "security.protection.delete" not in ready.instances()["demo"]["config"]


@pytest.fixture
def other_user(ready: World, installation: Path) -> Iterator[World]:
    """Another user of the same Incus project, with a registry and a repository ``demo`` of their own."""
    if os.geteuid():
        pytest.skip("only root can make another account")
    with account("o") as other:
        world = World(other, Path(other.home), installation, ready.socket)
        world.repoman("setup", "--non-interactive")
        world.git_repository("demo")
        yield world


def relations(world: World, *options: str) -> dict[str, str]:
    """Return how each container that ``list`` shows belongs to the user."""
    return {each["name"]: each["relation"] for each in world.repoman("--json", "list", *options).data["projects"]}


def hint(world: World, *argv: str, remark: str = "") -> str:
    """Run ``repoman``, which must refuse with 4; return the command in the first hint with ``remark``."""
    lines = [line.removeprefix("hint: ") for line in world.refused(*argv, code=4).splitlines() if line.startswith("hint: ")]
    return next(line for line in lines if remark in line)


def test_another_users_container(ready: World, other_user: World, proxy: RecordingProxy) -> None:
    """No verb changes, starts, enters or removes it; only ``list --all-users`` shows it, also with the marks of an earlier version."""
    ready.git_repository("demo")
    ready.new("demo")
    config = ready.instances()["demo"]["config"]
    assert (config["user.repoman.owner"], config["user.repoman.uid"]) == (ready.me.name, str(ready.me.uid))
    other_user.socket = proxy.path
    verbs = [["new", "demo"], ["-C", "new", "demo", "--adopt"], ["shell", "demo", "--", "true"], ["remove", "demo", "--yes"]]
    proxy.clear()
    for argv in (*verbs, ["status", "demo"]):
        assert f"belongs to the user '{ready.me.name}'" in other_user.refused(*argv, code=4)
    assert relations(other_user) == {}
    shown = [row.split() for row in other_user.repoman("list", "--all-users").out.splitlines()]
    assert shown[0][-1] == "OWNER" and shown[1][-1] == ready.me.name and any(cell.endswith("/repos/demo") for cell in shown[1])
    assert proxy.writes == [] and ready.instances()["demo"]["status"] == "Running"
    # an entry of the other user's registry goes, and nothing else
    entry = other_user.registry.read_text()
    other_user.write(other_user.registry, entry + '\n[[project]]\nname = "demo"\nrepo = "demo"\n')
    removed = other_user.repoman("remove", "demo", "--yes")
    assert "removed demo" in removed.out and f"belongs to the user '{ready.me.name}'; it was not changed" in removed.err
    assert "[[project]]" not in other_user.registry.read_text() and proxy.writes == []
    assert ready.instances()["demo"]["status"] == "Running"
    for key in ("owner", "uid", "image"):
        ready.incus("config", "unset", "--project=repoman", "demo", f"user.repoman.{key}")
    before = ready.instances()["demo"]
    proxy.clear()
    for argv in verbs:
        assert f"has the repository {ready.repos}/demo" in other_user.refused(*argv, code=4)
    assert relations(other_user) == {} and relations(other_user, "--all-users") == {"demo": "foreign"}
    assert proxy.writes == [] and ready.instances()["demo"]["config"] == before["config"]
    # for its owner it is as before, and the next ``new`` completes the marks
    assert relations(ready) == {"demo": "own"} and ready.repoman("shell", "demo", "--", "pwd").out == f"{ready.repos}/demo\n"
    assert ready.repoman("--json", "-C", "new", "demo").data["changed"]
    ready.repoman("new", "demo")
    assert ready.instances()["demo"]["config"]["user.repoman.uid"] == str(ready.me.uid)
    proxy.clear()
    assert not ready.repoman("--json", "new", "demo").data["changed"] and proxy.writes == [] and len(proxy.requests) == 2
    # a name that another user has is free again once that container is gone
    ready.remove("demo")
    other_user.repoman("new", "demo", "--image", "busybox")
    assert relations(ready) == {} and relations(other_user) == {"demo": "own"}


def test_containers_of_the_first_edition(ready: World, proxy: RecordingProxy) -> None:
    """Listed, entered, stopped, started, updated and removed by their user: what their marks lack is added by the next start or ``new``."""
    names = ("demo", "prot")
    ready.write(ready.overrides / "prot.toml", 'protect = ["hooks", "config"]\n\n[config]\n"limits.memory" = "300MiB"\n')
    for name in names:
        ready.git_repository(name)
    ready.new(*names)
    lacking = ("owner", "uid", "image")
    for name in names:
        config = ready.instances()[name]["config"]
        applied = {key: json.loads(config["user.repoman.applied"])[key] for key in ("config", "devices", "profiles")}
        marks = [*(f"user.repoman.{key}=" for key in lacking), f"user.repoman.applied={json.dumps(applied)}"]
        ready.incus("config", "set", "--project=repoman", name, *marks)
    assert relations(ready) == dict.fromkeys(names, "own")
    ready.repoman("stop", "prot")
    assert ready.repoman("shell", "demo", "--", "pwd").out == f"{ready.repos}/demo\n"
    assert "user.repoman.owner" not in ready.instances()["demo"]["config"]
    started = ready.repoman("start", "prot")
    assert "key user.repoman.owner is missing" in started.out and "==> started prot" in started.out
    assert ready.repoman("shell", "prot", "--", "sh", "-c", "(echo >>.git/config) 2>/dev/null || echo protected").out == "protected\n"
    ready.repoman("new", *names)
    for name in names:
        config = ready.instances()[name]["config"]
        assert (config["user.repoman.owner"], config["user.repoman.uid"]) == (ready.me.name, str(ready.me.uid))
    proxy.clear()
    assert not ready.repoman("--json", "new", *names).data["changed"] and proxy.writes == []
    ready.repoman("remove", *names, "--yes")
    assert ready.instances() == {} and "[[project]]" not in ready.registry.read_text()


def test_renamed_and_copied(ready: World, proxy: RecordingProxy) -> None:
    """A container under another name is called what it is, and the commands in the hints take it back."""
    repo = ready.git_repository("demo")
    ready.new("demo")
    # the image of a container cannot change, and nothing is recorded
    text = ready.registry.read_text()
    proxy.clear()
    for flags in ([], ["-C"]):
        assert hint(ready, *flags, "new", "demo", "--image", "debian", remark="--image") == "repoman new demo --image debian"
    fingerprint = ready.instances()["demo"]["config"]["volatile.base_image"]
    assert not ready.repoman("--json", "-C", "new", "demo", "--image", "busybox").data["changed"]
    assert proxy.writes == [] and ready.registry.read_text() == text
    ready.repoman("new", "demo", "--image", fingerprint[:12])
    # what is shown is the container's own, whatever the registry has
    ready.write(ready.registry, text.replace("images:ubuntu/26.04/cloud", "debian").partition("[[project]]")[0])
    (listed,) = ready.repoman("--json", "list").data["projects"]
    assert (listed["repo"], listed["image"], listed["profiles"]) == (str(repo), "busybox", ["default"]) and not listed["registered"]
    ready.write(ready.registry, text)
    ready.incus("stop", "--force", "--project=repoman", "demo")
    ready.incus("copy", "--project=repoman", "demo", "twin")
    assert relations(ready) == {"demo": "own", "twin": "copy"}
    listed = ready.repoman("list")
    assert "Stopped (copy of demo)" in listed.out and "uses the copy instead" in listed.err
    assert "copy of demo" in ready.repoman("status", "twin").out
    for argv in (["new", "twin"], ["shell", "twin", "--", "true"], ["remove", "twin", "--yes"]):
        assert "is a copy of the container of the project 'demo'" in ready.refused(*argv, code=4)
    command = hint(ready, "remove", "twin", "--yes", remark="uses the copy instead")
    assert ready.run("sh", "-c", command).code == 0 and relations(ready) == {"demo": "own", "demo-old": "copy"}
    assert ready.registry.read_text() == text
    ready.incus("delete", "--force", "--project=repoman", "demo-old")
    ready.incus("stop", "--force", "--project=repoman", "demo")
    ready.incus("rename", "--project=repoman", "demo", "twin")
    ready.repoman("new", "demo", "--image", "busybox")
    assert relations(ready) == {"demo": "own", "twin": "renamed"}
    for argv in (["new", "twin"], ["remove", "twin", "--yes"]):
        assert "was made for the project 'demo', which has another container now" in ready.refused(*argv, code=4)
    ready.incus("delete", "--force", "--project=repoman", "demo")
    assert relations(ready) == {"demo": "", "twin": "renamed"}
    assert "renamed from demo" in ready.repoman("list").out
    assert hint(ready, "shell", "demo", "--", "true") == "repoman new demo"
    assert "'twin' was made for the project 'demo'" in ready.repoman("-C", "new", "demo", "--image", "busybox").err
    command = hint(ready, "remove", "twin", "--yes", remark="its name back")
    assert ready.run("sh", "-c", command).code == 0 and relations(ready) == {"demo": "own"}
    ready.repoman("shell", "demo", "--", "true")
    ready.incus("stop", "--force", "--project=repoman", "demo")
    ready.incus("rename", "--project=repoman", "demo", "twin")
    ready.incus("start", "--project=repoman", "twin")
    command = hint(ready, "shell", "twin", "--", "true", remark="keeps the new name")
    assert ready.run("sh", "-c", command).code == 0
    assert relations(ready) == {"demo": "", "twin": "own"} and ready.repoman("shell", "twin", "--", "pwd").out == f"{repo}\n"
    assert "its name back" not in ready.repoman("list").err


def test_adoption(ready: World, proxy: RecordingProxy) -> None:
    """A container without marks that mounts the repository is taken over with ``--adopt`` only; what is in it stays."""
    repo, other = ready.git_repository("shark"), ready.git_repository("other")
    for name, path in (("lamna", repo), ("isurus", Path("/root/work"))):
        ready.incus("init", "busybox", name, "--project=repoman", "--config=user.note=old")
        ready.incus("config", "device", "add", "--project=repoman", name, "work", "disk", f"source={repo}", f"path={path}")
    ready.incus("init", "busybox", "alone", "--project=repoman")
    ready.incus("start", "--project=repoman", "lamna")
    ready.incus("exec", "--project=repoman", "lamna", "--", "touch", "/kept")
    text = ready.registry.read_text()
    proxy.clear()
    assert relations(ready) == {"isurus": "adoptable", "lamna": "adoptable"}
    listed = ready.repoman("list")
    assert "Running (not adopted)" in listed.out and "repoman new lamna --repo shark --adopt" in listed.err
    assert "not adopted" in ready.repoman("status", "lamna").out
    for argv in (["new", "lamna", "--repo", "shark"], ["shell", "lamna", "--", "true"], ["remove", "lamna", "--yes"]):
        command = hint(ready, *argv, remark="--adopt")
    assert "mounts" in ready.refused("new", "lamna", "--repo", "other", "--adopt", code=4)
    assert "did not create" in ready.refused("new", "alone", "--repo", "shark", "--adopt", code=4)
    assert ready.repoman("--json", *command.partition(" ")[2].partition("#")[0].split(), "-C").data["changed"]
    assert proxy.writes == [] and ready.registry.read_text() == text
    assert ready.run("sh", "-c", command).code == 0
    instance = ready.instances()["lamna"]
    assert instance["devices"] == {"repo": {"type": "disk", "source": str(repo), "path": str(repo), "shift": "true"}}
    assert instance["config"]["user.repoman.state"] == "ready" and instance["config"]["user.note"] == "old"
    assert 'name = "lamna"' in ready.registry.read_text()
    proxy.clear()
    assert not ready.repoman("--json", "new", "lamna", "--adopt").data["changed"] and proxy.writes == []
    assert ready.repoman("shell", "lamna", "--", "sh", "-c", "pwd; id -un; ls /kept").out.split() == [str(repo), ready.me.name, "/kept"]
    ready.repoman("new", "isurus", "--repo", "shark", "--adopt")
    assert sorted(ready.instances()["isurus"]["devices"]) == ["repo", "work"] and relations(ready) == {"isurus": "own", "lamna": "own"}
    assert [path.name for path in (*repo.iterdir(), *other.iterdir())] == [".git", ".git"]


def test_shell_without_a_container(ready: World, proxy: RecordingProxy) -> None:
    """It asks on a terminal; otherwise it refuses, and makes nothing."""
    repo = ready.git_repository("demo")
    ready.write(ready.registry, ready.registry.read_text() + '\n[[project]]\nname = "demo"\nrepo = "demo"\nimage = "busybox"\n')
    for flags in ([], ["-C"]):
        assert hint(ready, *flags, "shell", "demo", "--", "true") == "repoman new demo"
    assert ready.on_terminal("repoman shell demo -- pwd", "n\n").code == 1
    assert ready.on_terminal("repoman -C shell demo -- pwd", "y\n").code == 4
    assert proxy.writes == [] and ready.instances() == {}
    evil = ready.write(ready.home / "repoman/__init__.py", "raise SystemExit(99)\n")
    answered = ready.on_terminal("repoman shell demo -- sh -c 'pwd; exit 7'", "y\n")
    assert answered.code == 7 and f"{repo}\r\n" in answered.out and evil.exists()
    ready.incus("config", "set", "--project=repoman", "demo", "user.repoman.state=creating")
    assert hint(ready, "shell", "demo", "--", "true") == "repoman new demo"
