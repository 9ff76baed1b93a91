# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""new, shell, list and remove on real containers."""

from __future__ import annotations

import os
import signal

import pytest
from proxy import RecordingProxy, RequestPause
from world import TIMEOUT, World


@pytest.fixture
def share(ready: World) -> World:
    """A world with the profiles claude-share and dotfiles, and what they share."""
    ready.write(ready.home / ".local/bin/claude", "#!/bin/sh\n").chmod(0o755)
    ready.write(ready.home / ".gitconfig", "[user]\nname = Shared\nemail = shared@example.org\n")
    ready.mkdir(ready.home / ".claude")
    ready.install("claude-share", "dotfiles")
    return ready


def test_new_four_ways(ready: World, proxy: RecordingProxy) -> None:
    """Check makes nothing, apply makes a running container and its entry, again only reads, check again agrees."""
    repo = ready.git_repository("demo")
    before = ready.registry.read_text()
    checked = ready.repoman("-C", "--json", "new", "demo", "--image", "busybox").data
    assert checked["changed"] and ready.instances() == {} and proxy.writes == [] and ready.registry.read_text() == before
    applied = ready.repoman("--json", "new", "demo", "--image", "busybox").data
    assert applied["changed"] and applied["projects"][0]["steps"] == checked["projects"][0]["steps"]
    instance = ready.instances()["demo"]
    assert instance["status"] == "Running" and instance["type"] == "container" and instance["profiles"] == ["default"]
    assert instance["devices"]["repo"] == {"type": "disk", "source": str(repo), "path": str(repo), "shift": "true"}
    assert instance["config"]["user.repoman.project"] == "demo" and instance["config"]["user.repoman.state"] == "ready"
    assert 'name = "demo"' in ready.registry.read_text()
    assert sorted(path.name for path in repo.iterdir()) == [".git"]
    text = ready.registry.read_text()
    proxy.clear()
    assert not ready.repoman("--json", "new", "demo", "--image", "busybox").data["changed"]
    assert proxy.writes == [] and len(proxy.requests) == 2 and ready.registry.read_text() == text
    assert not ready.repoman("-C", "--json", "new", "demo").data["changed"]


def test_debian_with_shared_profiles(share: World) -> None:
    """The main job: a commit made inside is the user's outside, home is writable, profiles are shared in."""
    repo = share.git_repository("demo")
    share.repoman("new", "demo", "--image", "debian", "--profile", "default", "--profile", "claude-share", "--profile", "dotfiles")
    inside = share.repoman(
        "shell",
        "demo",
        "--",
        "sh",
        "-c",
        "pwd; id -un; id -u; echo $HOME; touch ~/mine && echo writable; git commit -q --allow-empty -m inside",
    )
    assert inside.out.split() == [str(repo), share.me.name, str(share.me.uid), str(share.home), "writable"]
    assert share.run("git", "log", "-1", "--format=%s %an", cwd=repo).out == "inside Me\n"
    assert share.run("git", "fsck", "--full", cwd=repo).code == 0
    owners = {
        (os.lstat(os.path.join(top, each)).st_uid, os.lstat(os.path.join(top, each)).st_gid)
        for top, dirs, files in os.walk(repo)
        for each in dirs + files
    }
    assert owners == {(share.me.uid, share.me.gid)}
    assert share.repoman("shell", "demo", "--", "git", "config", "--global", "user.name").out == "Shared\n"
    assert share.repoman("shell", "demo", "--", "test", "-x", "/usr/local/bin/claude").code == 0
    assert not (share.home / "mine").exists()


def test_missing_optional_source_does_not_stop_the_container(ready: World) -> None:
    """dotfiles start without a .gitconfig or .hgrc on the host."""
    ready.install("dotfiles")
    ready.git_repository("demo")
    ready.repoman("new", "demo", "--image", "busybox", "--profile", "default", "--profile", "dotfiles")
    assert ready.instances()["demo"]["status"] == "Running"


def test_profile_that_is_not_installed(ready: World, proxy: RecordingProxy) -> None:
    """The spec's exact text and exit 4, before any change."""
    ready.git_repository("demo")
    before = ready.registry.read_text()
    proxy.clear()
    for flags in ([], ["-C"]):
        err = ready.refused(*flags, "new", "demo", "--image", "busybox", "--profile", "default", "--profile", "foo", code=4)
        assert err == (
            "repoman: error: container references profile 'foo' but it's not installed in incus.\n"
            "hint: repoman profile install foo\n"
            "hint: repoman profile install --all   (to install the vendor library)\n"
        )
    assert proxy.writes == [] and ready.instances() == {} and ready.registry.read_text() == before


def test_list_reads_once(ready: World, proxy: RecordingProxy) -> None:
    """The table and its JSON; one request whatever the number of projects."""
    assert "repoman new" in ready.repoman("list").out
    ready.git_repository("demo")
    ready.new("demo")
    ready.write(ready.registry, ready.registry.read_text() + '\n[[project]]\nname = "gone"\nrepo = "gone"\n')
    proxy.clear()
    rows = [line.split() for line in ready.repoman("list").out.splitlines()]
    assert rows[0][:2] == ["NAME", "STATE"]
    assert [row[:2] for row in rows[1:]] == [["demo", "Running"], ["gone", "missing"]]
    assert len(proxy.requests) == 1
    listed = ready.repoman("--json", "list").data["projects"]
    assert [(line["name"], line["repo_exists"], "vcs" in line) for line in listed] == [("demo", True, False), ("gone", False, False)]
    (ready.repos / "demo/new").touch()
    proxy.clear()
    out = ready.repoman("list", "--git").out
    assert "BRANCH  CHANGES" in out and "main    1 untracked" in out and len(proxy.requests) == 1
    assert max(map(len, out.splitlines())) <= 80


def test_remove_four_ways_keeps_the_repository(ready: World, proxy: RecordingProxy) -> None:
    """Check deletes nothing; apply deletes container and entry; again there is nothing of that name."""
    repo = ready.git_repository("demo")
    before = ready.registry.read_text()
    ready.new("demo")
    proxy.clear()
    ready.repoman("-C", "remove", "demo", "--yes")
    assert "demo" in ready.instances() and proxy.writes == []
    out = ready.repoman("remove", "demo", "--yes").out
    assert "(repository ~/repos/demo untouched)" in out
    assert ready.instances() == {} and ready.registry.read_text() == before
    assert ready.run("git", "fsck", cwd=repo).code == 0
    proxy.clear()
    ready.refused("remove", "demo", "--yes", code=3)
    assert proxy.writes == []


def test_remove_without_a_terminal_wants_yes(ready: World) -> None:
    """Nobody can be asked: nothing is removed."""
    ready.git_repository("demo")
    ready.new("demo")
    assert "--yes" in ready.refused("remove", "demo", code=2)
    assert "demo" in ready.instances()


def test_instance_of_somebody_else_is_not_touched(ready: World, proxy: RecordingProxy) -> None:
    """An instance without our mark is neither changed nor deleted."""
    ready.git_repository("demo")
    ready.incus("create", "busybox", "demo", "--project=repoman")
    before = ready.instances()["demo"]["config"]
    proxy.clear()
    for command in (["new", "demo", "--image", "busybox"], ["remove", "demo", "--yes"], ["shell", "demo", "--", "true"]):
        ready.refused(*command, code=4)
    assert proxy.writes == [] and ready.instances()["demo"]["config"] == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["demo"], 3),
        (["demo", "--repo", "/etc"], 4),
        (["demo", "--repo", "../elsewhere"], 4),
        (["demo", "--repo", "link"], 4),
        (["demo", "--repo", "."], 4),
        (["Bad_Name"], 2),
        (["1st"], 2),
        (["x" * 64], 2),
        (["a/b"], 2),
        ([""], 2),
    ],
)
def test_bad_repositories_and_names(ready: World, proxy: RecordingProxy, arguments: list[str], code: int) -> None:
    """A repository that is missing or outside repos_root, and names no instance can have, change nothing."""
    ready.mkdir(ready.home / "elsewhere")
    ready.mkdir(ready.repos)
    (ready.repos / "link").symlink_to(ready.home / "elsewhere")
    before = ready.registry.read_text()
    proxy.clear()
    ready.refused("new", *arguments, "--image", "busybox", code=code)
    assert proxy.writes == [] and ready.registry.read_text() == before


def test_image_that_does_not_exist_leaves_nothing(ready: World) -> None:
    """The error names the image; no instance, no entry."""
    ready.git_repository("demo")
    before = ready.registry.read_text()
    assert "nosuch" in ready.refused("new", "demo", "--image", "nosuch", code=3)
    assert ready.instances() == {} and ready.registry.read_text() == before


def test_failing_start_is_undone(ready: World) -> None:
    """A device that Incus refuses at start takes the container away again."""
    ready.template("bad", "devices:\n  d:\n    type: nic\n    nictype: bridged\n    parent: nosuch\n")
    ready.install("bad")
    ready.git_repository("demo")
    before = ready.registry.read_text()
    assert "nosuch" in ready.refused("new", "demo", "--image", "busybox", "--profile", "default", "--profile", "bad", code=1)
    assert ready.instances() == {} and ready.registry.read_text() == before


def test_source_that_is_missing_is_refused_before_any_change(ready: World, proxy: RecordingProxy) -> None:
    """Installing the profile warns, ``new`` refuses; the hints make the device optional."""
    ready.git_repository("demo")
    ready.mkdir(ready.home / ".claude")
    program = ready.home / ".local/bin/claude"
    warning = ready.repoman("profile", "install", "claude-share").err
    assert warning.splitlines() == [
        "repoman: warning: claude-share cannot be used: ~/.local/bin/claude is missing",
        "hint: repoman profile copy claude-share",
        'hint: repoman profile edit claude-share   # set required: "false" on claude-bin',
        "hint: repoman profile install claude-share",
    ]
    words, before = ("new", "demo", "--image", "busybox", "--profile", "default", "--profile", "claude-share"), ready.registry.read_text()
    proxy.clear()
    for flags in ([], ["-C"]):
        error = ready.refused(*flags, *words, code=1)
        assert f"cannot start without {program} (device claude-bin of profile claude-share): missing on this host." in error
    assert proxy.writes == [] and ready.instances() == {} and ready.registry.read_text() == before
    hints = [line.removeprefix("hint: ") for line in error.splitlines() if line.startswith("hint: ")]
    assert ready.run("sh", "-c", hints[0]).code == 0
    assert "profile copy" not in ready.refused(*words, code=1), "there is a copy now"
    set_required = """EDITOR='sed -i "s/^    readonly: .true.$/&\\n    required: \\"false\\"/"' """
    assert ready.run("sh", "-c", set_required + hints[1]).code == 0
    assert ready.run("sh", "-c", hints[2]).err == ""
    ready.repoman(*words)
    assert ready.instances()["demo"]["status"] == "Running"


def test_directory_under_no_version_control_warns(ready: World) -> None:
    """Neither git nor Mercurial is a warning."""
    ready.mkdir(ready.repos / "plain")
    assert "neither" in ready.repoman("new", "plain", "--image", "busybox").err
    assert ready.instances()["plain"]["status"] == "Running"


def test_override_is_applied(ready: World) -> None:
    """config and devices of the override reach the instance; an [install] table is refused."""
    ready.git_repository("demo")
    override = ready.write(ready.overrides / "demo.toml", 'image = "busybox"\n[config]\n"user.note" = "hi"\n[devices.x]\ntype = "none"\n')
    ready.repoman("new", "demo")
    instance = ready.instances()["demo"]
    assert instance["config"]["user.note"] == "hi" and instance["devices"]["x"] == {"type": "none"}
    ready.write(override, "[install]\nrun = 'x'\n")
    assert str(override) in ready.refused("new", "demo", code=3)


def test_unfinished_container_of_ours_is_replaced(ready: World) -> None:
    """What an interrupted run left behind is finished by the next one."""
    ready.git_repository("demo")
    ready.incus("create", "busybox", "demo", "--project=repoman", "-c", "user.repoman.project=demo", "-c", "user.repoman.state=creating")
    ready.repoman("new", "demo", "--image", "busybox")
    assert ready.instances()["demo"]["config"]["user.repoman.state"] == "ready"
    assert ready.repoman("shell", "demo", "--", "pwd").out == f"{ready.repos}/demo\n"


def test_remove_asks_on_a_terminal(ready: World) -> None:
    """The question names what goes and what stays; no keeps everything, yes removes."""
    repo = ready.git_repository("demo")
    ready.new("demo")
    refused = ready.on_terminal("repoman remove demo", "n\n")
    assert refused.code == 1 and "repository ~/repos/demo\r\n" in refused.out and "demo" in ready.instances()
    assert ready.on_terminal("repoman remove demo", "y\n").code == 0
    assert ready.instances() == {} and repo.is_dir()


def test_interruption_leaves_nothing(ready: World, proxy: RecordingProxy) -> None:
    """SIGINT in the middle of a run undoes what it made and exits with 130."""
    ready.git_repository("demo")
    before = ready.registry.read_text()
    hold = RequestPause("PUT", "/state")
    proxy.on_request(hold)
    process = ready.start("repoman", "new", "demo", "--image", "debian")
    assert hold.reached.wait(TIMEOUT)
    os.kill(process.pid, signal.SIGINT)
    _out, err = process.communicate(timeout=TIMEOUT)
    hold.go_on.set()
    assert process.returncode == 130 and b"repoman: error:" in err and b"Traceback" not in err, err
    assert ready.instances() == {} and ready.registry.read_text() == before


def test_shell_makes_nothing(ready: World) -> None:
    """A directory without a project is no reason to make a container."""
    ready.git_repository("demo")
    ready.refused("shell", "demo", "--", "true", code=3)
    assert ready.instances() == {}
