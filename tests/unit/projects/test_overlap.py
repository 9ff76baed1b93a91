# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which mounts of containers lie inside what another container can write."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.mount_index import MountIndex, find_overlaps
from ansible_collections.homelab.repoman.plugins.module_utils.projects.overlap import status_overlaps
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import parse


def disk(source: str | Path, path: str = "/mnt", **more: str) -> dict[str, str]:
    """Return a disk device."""
    return {"type": "disk", "source": str(source), "path": path, **more}


@pytest.mark.parametrize(
    ("outer", "inner", "is_dangerous"),
    [
        (disk("/r/a"), disk("/r/a/b"), True),
        (disk("/r/a/"), disk("/r/a/b/c/"), True),
        (disk("/r/a"), disk("/r/a"), False),
        (disk("/r/a"), disk("/r/ab"), False),
        (disk("/r/a", readonly="true"), disk("/r/a/b"), False),
        (disk("/r/a", readonly="True"), disk("/r/a/b"), False),
        (disk("/r/a", readonly="false"), disk("/r/a/b", readonly="true"), True),
        (disk("/"), disk("/r/a/b"), True),
        ({"type": "disk", "pool": "default", "source": "r", "path": "/"}, disk("/r"), False),
        ({"type": "nic", "source": "/r"}, disk("/r/b"), False),
    ],
)
def test_of_two_containers(outer: dict[str, str], inner: dict[str, str], is_dangerous: bool) -> None:
    """Only a writable directory above a mount is a danger, whatever else the mount is."""
    found = [(each.container, each.writer) for each in find_overlaps({"outer": {"repo": outer}, "inner": {"repo": inner}})]
    assert found == ([("inner", "outer")] if is_dangerous else [])


def test_links_are_resolved(tmp_path: Path) -> None:
    """A mount can be reached under another name, and a name can lead through a directory that a container can write."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "a/out").symlink_to(tmp_path)
    for outer, inner in (("link", "a/b"), ("a", "link/b"), ("a", "a/out")):
        found = find_overlaps({"outer": {"repo": disk(tmp_path / outer)}, "inner": {"x": disk(tmp_path / inner, readonly="true")}})
        assert [(each.container, each.writer) for each in found] == [("inner", "outer")], (outer, inner)


def test_a_source_behind_a_link_is_no_danger_to_itself(tmp_path: Path) -> None:
    """The container can write to what the link leads to, and not to the link; who can write to its directory can replace it."""
    (tmp_path / "r/a/b").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/link").symlink_to(tmp_path / "r/a")
    devices = {"own": {"x": disk(tmp_path / "home/link/b")}}
    assert find_overlaps(devices) == []
    found = find_overlaps(devices | {"other": {"x": disk(tmp_path / "home", readonly="false")}})
    assert {(each.container, each.writer) for each in found} == {("own", "other")}


def test_links_in_a_chain(tmp_path: Path) -> None:
    """Every link on the way to a source can be replaced, also by another link, and through ``..``; a loop ends."""
    for name in ("home", "repos/dotfiles/sub", "private", "repos/other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "private/config").touch()
    for link, target in (
        ("home/config", tmp_path / "repos/dotfiles/config"),
        ("repos/dotfiles/config", "../other/../../private/config"),
        ("home/far", "../repos/dotfiles/sub/../up/config"),
        ("repos/dotfiles/up", tmp_path / "private"),
        ("home/loop", "loop"),
    ):
        (tmp_path / link).symlink_to(target)
    writer = {"repo": disk(tmp_path / "repos/dotfiles")}
    for source, is_dangerous in (("home/config", True), ("home/far", True), ("home/loop", False), ("private/config", False)):
        found = find_overlaps({"dotfiles": writer, "inner": {"x": disk(tmp_path / source, readonly="true")}})
        assert [(each.container, each.writer) for each in found] == [("inner", "dotfiles")] * is_dangerous, source


def test_inside_one_container() -> None:
    """A mount over its own source, as protect makes them, cannot be replaced by a link; one at another path can."""
    repo = disk("/r/a", "/home/me/a")
    assert find_overlaps({"a": {"repo": repo, "protect": disk("/r/a/.git/hooks", "/home/me/a/.git/hooks", readonly="true")}}) == []
    found = find_overlaps({"a": {"repo": repo, "data": disk("/r/a/data", "/data")}})
    assert [(each.container, each.device, each.writer) for each in found] == [("a", "data", "a")]


def test_containers_can_be_replaced() -> None:
    """What a container had before does not count, and what is added is seen from both sides."""
    index = MountIndex({"a": {"repo": disk("/r/a")}, "b": {"repo": disk("/r/a/b")}})
    assert [each.writer for each in index.overlaps("a")] == [each.writer for each in index.overlaps("b")] == ["a"]
    index.add("a", {"repo": disk("/r/a", readonly="true")})
    assert index.overlaps("a") == index.overlaps("b") == []
    index.add("a", {"repo": disk("/r/a/b/c")})
    assert (
        [(each.container, each.writer) for each in index.overlaps("b")]
        == [("a", "b")]
        == [(each.container, each.writer) for each in index.overlaps("a")]
    )
    index.add("b", {})
    assert index.overlaps("a") == index.overlaps("b") == index.overlaps("c") == []


@pytest.mark.parametrize("is_writer", [True, False])
@pytest.mark.parametrize("is_local", [True, False])
def test_a_container_of_another_incus_project(me: Account, monkeypatch: pytest.MonkeyPatch, is_writer: bool, is_local: bool) -> None:
    """The hints make its device read-only, if that helps, or take it away; a device of a profile is overridden."""
    monkeypatch.setenv("INCUS_SOCKET", "/run/x")
    context = RunContext(me, "/r.toml", parse("[repoman]\nschema = 3\n", "/r.toml"), Client("/run/x"))
    outer, inner = {"a b": disk("/r")}, {"a b": disk("/r/demo")}
    own, other = ({"repo": inner["a b"]}, outer) if is_writer else ({"repo": outer["a b"]}, inner)
    web = {"name": "web", "status": "Stopped", "devices": other if is_local else {}, "expanded_devices": other}
    demo = {"name": "demo", "status": "Stopped", "config": {}, "devices": own, "expanded_devices": own}
    (overlap,) = status_overlaps(context, {"demo": demo}, {"default/web": web})["demo"]
    commands = {
        (True, True): ["set --project default local:web 'a b' readonly=true", "remove --project default local:web 'a b'"],
        (True, False): ["override --project default local:web 'a b' readonly=true", "add --project default local:web 'a b' none"],
        (False, True): ["remove --project default local:web 'a b'"],
        (False, False): ["add --project default local:web 'a b' none"],
    }
    shown = [hint.partition("   # ")[0] for hint in overlap["hints"] if hint.startswith("incus config device ")]
    assert shown == [f"incus config device {command}" for command in commands[is_writer, is_local]]
