# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository that moves, is deleted and made again, or is named in another way: the container has what is there."""

from __future__ import annotations

from proxy import RecordingProxy
from world import World

BUSYBOX = ("--image", "busybox")


def in_shell(world: World, name: str, script: str) -> str:
    """Run a script in a project's shell."""
    return world.repoman("shell", name, "--", "sh", "-c", script).out


def test_a_repository_that_moved(ready: World, proxy: RecordingProxy) -> None:
    """The container follows it while it runs, with everything else that it has; a second run changes nothing. Its old name is not needed."""
    ready.git_repository("one")
    (ready.home / "link").symlink_to(ready.home)
    ready.repoman("new", "demo", "--repo", "./one", *BUSYBOX, cwd=ready.repos)
    assert in_shell(ready, "demo", "pwd") == f"{ready.repos}/one\n"
    ready.incus("exec", "--project=repoman", "demo", "--", "touch", "/etc/kept")
    proxy.clear()
    assert not ready.repoman("--json", "new", "demo", "--repo", f"{ready.home}/link/repos/one").data["changed"] and proxy.writes == []
    assert ready.run("mv", str(ready.repos / "one"), str(ready.repos / "two")).code == 0
    assert "does not exist" in ready.refused("new", "demo", code=3)
    told = ready.repoman("new", "demo", "--repo", ".", cwd=ready.repos / "two")
    assert "demo" in told.out and in_shell(ready, "demo", "pwd; touch file") == f"{ready.repos}/two\n"
    assert (ready.repos / "two/file").exists() and 'repo = "two"' in ready.registry.read_text()
    assert "kept" in ready.incus("exec", "--project=repoman", "demo", "--", "ls", "/etc")
    proxy.clear()
    assert not ready.repoman("--json", "new", "demo").data["changed"] and proxy.writes == []
    ready.git_repository("one")
    err = ready.refused("new", "demo", "--repo", "one", code=4)
    assert f"project 'demo' already exists, with the repository {ready.repos}/two." in err


def test_a_repository_that_was_made_again(ready: World, proxy: RecordingProxy) -> None:
    """The container shows the dead directory; all verbs say so, new and shell mount the new one; with mounts inside, new says how."""
    repo = ready.git_repository("demo")
    ready.new("demo")

    def is_stale() -> bool:
        proxy.clear()
        listed = ready.repoman("--json", "list").data["projects"][0]["stale_mount"]
        assert len(proxy.requests) == 1
        return bool(listed)

    def seen_inside(name: str) -> bool:
        return "yes" in ready.incus("exec", "--project=repoman", "demo", "--", "sh", "-c", f"test -e {repo}/{name} && echo yes; true")

    def renew(script: str, name: str) -> None:
        assert ready.run("sh", "-c", f"{script}; git init -q demo; touch demo/{name}", cwd=ready.repos).code == 0

    assert not is_stale()
    renew("rm -rf demo", "second")
    assert is_stale() and not seen_inside("second")
    assert "was deleted or replaced" in ready.repoman("list").err
    assert "container shows a deleted directory" in ready.repoman("status").out
    assert "was deleted or replaced" in " ".join(ready.repoman("status", "demo").out.split())
    proxy.clear()
    checked = ready.repoman("--json", "--check", "new", "demo").data["projects"][0]
    assert checked["action"] == "updated" and proxy.writes == [] and not seen_inside("second")
    done = ready.repoman("--json", "new", "demo").data["projects"][0]
    assert (done["steps"], done["differences"]) == (checked["steps"], checked["differences"])
    assert seen_inside("second") and not is_stale()
    assert not ready.repoman("--json", "new", "demo").data["changed"]

    renew("mv demo away", "third")
    assert is_stale()
    assert in_shell(ready, "demo", "ls -A").split() == [".git", "third"] and not is_stale()

    data = ready.mkdir(ready.home / "data")
    ready.write(ready.overrides / "demo.toml", f'[devices.x]\ntype = "disk"\nsource = "{data}"\npath = "{repo}/data"\n')
    ready.incus("stop", "--force", "--project=repoman", "demo")
    ready.new("demo")
    renew("rm -rf demo 2>/dev/null; mv demo dead", "fourth")
    assert is_stale()
    err = ready.refused("new", "demo", code=4)
    assert "which would hide the mounts inside it: x." in err
    command = (
        next(line for line in err.splitlines() if line.startswith("hint: "))
        .removeprefix("hint: ")
        .replace("incus stop", "incus stop --force")
    )
    assert ready.run("sh", "-c", command).code == 0 and seen_inside("fourth") and not is_stale()


def test_a_repository_that_is_restored(ready: World) -> None:
    """restore mounts it again in its running container, also if the project has another name; without Incus it restores all the same."""
    ready.git_repository("one")
    backup = ready.mkdir(ready.home / "backup")
    ready.write(ready.registry, ready.registry.read_text().replace('"/nfs/repos"', f'"{backup}"'))
    ready.new("demo", repo="one")
    assert ready.module("sync", init=True, allow_local=True)["changed"]
    path = ready.repos / "one"
    assert ready.run("touch", str(path / "more")).code == 0
    for replaced in (True, False):  # the directory stays until the run, or is gone already
        check = ready.repoman("--json", "--check", "restore", "demo", "--overwrite").data
        assert check["restored"]["replaces_directory"] and check["remounted"] == ["demo"]
        assert "would remount ~/repos/one in demo" in ready.repoman("--check", "restore", "demo", "--overwrite").out
        if replaced:
            assert "==> remounted ~/repos/one in demo\n" in ready.repoman("restore", "demo", "--overwrite").out
            assert ready.run("rm", "-rf", str(path)).code == 0
    done = ready.repoman("--json", "restore", "demo").data
    assert (
        done["remounted"] == ["demo"]
        and done["steps"][-1] == f"remount {path} in demo"
        and done["restored"]["to"] == str(path)
        and done["exit_code"] == 0
    )
    again = ready.repoman("--json", "restore", "demo").data
    assert again["remounted"] == [] and not again["changed"] and not ready.repoman("--json", "list").data["projects"][0]["stale_mount"]
    for env in (None, {"INCUS_SOCKET": "/nonexistent"}):
        assert ready.run("rm", "-rf", str(ready.repos / "one")).code == 0
        done_again = ready.repoman("restore", "demo", env=env)
        assert "error" not in done_again.err and ("restart it" in done_again.out) == (env is not None)
        assert (ready.repos / "one/.git/HEAD").exists()
        assert ready.repoman("--json", "list").data["projects"][0]["stale_mount"] == (env is not None)
    assert in_shell(ready, "demo", "cat .git/HEAD") == "ref: refs/heads/main\n"


def test_everything_is_restored(ready: World, proxy: RecordingProxy) -> None:
    """restore --all mounts all directories again in one pass, also if one of them could not be restored; run again, it changes nothing."""
    backup = ready.mkdir(ready.home / "backup")
    ready.write(ready.registry, ready.registry.read_text().replace('"/nfs/repos"', f'"{backup}"'))
    for name, repo in (("demo", "one"), ("other", "two")):
        ready.git_repository(repo)
        ready.new(name, repo=repo)
    ready.write(ready.mkdir(ready.repos / "plain") / "file", "text\n")
    assert ready.module("sync", init=True, allow_local=True)["changed"]
    ready.write(ready.repos / "plain/file", "mine\n")
    assert ready.run("rm", "-rf", str(ready.repos / "one"), str(ready.repos / "two")).code == 0
    assert "--all" in ready.refused("restore", code=2)
    check = ready.repoman("--json", "--check", "restore", "--all", code=4).data
    proxy.clear()
    done = ready.repoman("--json", "restore", "--all", code=4).data
    reads = [target for _method, target in proxy.requests if target.partition("?")[0] == "/1.0/instances"]
    assert len(reads) == 2  # one by each of the two modules, however many projects there are
    for document in (check, done):
        assert {unit["name"]: unit["action"] for unit in document["units"]} == {"one": "restored", "plain": "failed", "two": "restored"}
        assert (
            document["remounted"] == ["demo", "other"]
            and document["failed"]
            and document["msg"].endswith("plain exists; it was not restored.")
        )
    assert done["steps"][-2:] == [f"remount {ready.repos}/one in demo", f"remount {ready.repos}/two in other"]
    assert in_shell(ready, "demo", "cat .git/HEAD") == in_shell(ready, "other", "cat .git/HEAD") == "ref: refs/heads/main\n"
    again = ready.repoman("restore", "one", "two", "--jobs", "1")
    assert again.out.startswith("==> 2 same; 0 files, 0 B, ") and again.err == "comparing 2 directories with the backup\n"
    told = ready.repoman("restore", "--all", "--overwrite")
    assert told.out.splitlines()[0].split() == ["NAME", "STATE", "FILES", "BYTES"]
    assert "==> 1 restored, 2 same; 1 file, 5 B, " in told.out and "comparing 3 directories with the backup" in told.err
    assert (ready.repos / "plain/file").read_text() == "text\n"
