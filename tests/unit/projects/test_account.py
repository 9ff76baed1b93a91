# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration for cloud-init, and valid accounts."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client, IncusError
from ansible_collections.homelab.repoman.plugins.module_utils.projects.account import (
    cloud_init_config,
    create_home,
    home_directories,
    validate_account,
)
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.control import InstanceControl
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Defaults, Registry
from hypothesis import given
from hypothesis import strategies as st
from scripted_daemon import Daemon, Reply

ALICE = Account(name="alice", uid=1500, gid=1501, group="people", home="/home/alice", shell="/bin/zsh")
NAMES = st.text(st.characters(codec="utf-8"), min_size=1) | st.sampled_from(
    ["'; rm -rf /", '"', "a: b", "#x", "- x", "{{ x }}", "!!python/name", "null", "yes", "0x10", "a\nusers: [default]", "\u2028", "\x85"]
)


@given(name=NAMES, group=NAMES, home=NAMES, shell=NAMES)
def test_no_name_is_read_as_anything_else(name: str, group: str, home: str, shell: str) -> None:
    """Any name results in one user with exactly these values, and one command with exactly these arguments."""
    me = Account(name=name, uid=1500, gid=1501, group=group, home=home, shell=shell)
    text = cloud_init_config(me, ())["cloud-init.user-data"]
    assert text.startswith("#cloud-config\n") and text.isascii()
    document = yaml.safe_load(text)
    assert document.keys() == {"bootcmd", "users"}
    (user,) = document["users"]
    assert (user["name"], user["homedir"], user["shell"], user["uid"], user["primary_group"]) == (name, home, shell, 1500, "1501")
    assert document["bootcmd"] == [["cloud-init-per", "once", "repoman-group", "groupadd", "--gid", "1501", "--", group]]


@pytest.mark.parametrize(
    ("existing_keys", "key"),
    [
        ([], "cloud-init.user-data"),
        (["cloud-init.user-data"], "cloud-init.vendor-data"),
        (["user.user-data"], "cloud-init.vendor-data"),
        (["user.vendor-data"], "cloud-init.user-data"),
        (["user.user-data", "cloud-init.vendor-data"], None),
    ],
)
def test_data_of_the_users_own_is_not_replaced(existing_keys: list[str], key: str | None) -> None:
    """The account goes into the kind of data that the user does not use."""
    assert list(cloud_init_config(ALICE, existing_keys)) == ([key] if key else [])


@pytest.mark.parametrize("name", ["alice", "Domain\\alice", "alice@example.org", "Älice", "a b", "o'neil", "${x}", "alice$", "1"])
def test_valid_names(name: str) -> None:
    """Any name that passwd(5) can hold is accepted."""
    validate_account(replace(ALICE, name=name, group=name))


@pytest.mark.parametrize(
    ("what", "value"),
    [("name", each) for each in ("", "a:b", "a\nb", "-x", "+", "~x", "a/b", "a\0b", "a,b", "\udc80")]
    + [("group", "a:b"), ("home", "/a:b"), ("home", "/a\nb"), ("shell", "/bin/sh\nroot2:x:0:0::/:/bin/sh")],
)
def test_invalid_names(what: str, value: str) -> None:
    """A value that would be read as another line or field is refused."""
    with pytest.raises(NotFoundError):
        validate_account(replace(ALICE, **{what: value}))


def test_home_directories() -> None:
    """The home and the parents of mounts in it, outermost first; no other directory."""
    targets = ["/home/alice/repos/demo", "/home/alice/.gitconfig", "/home/alicex/y", "/srv/x", "/home/alice/a/b/../c"]
    assert home_directories(ALICE, targets) == ["/home/alice", "/home/alice/a", "/home/alice/repos"]


@pytest.mark.parametrize(
    ("replies", "made", "fails"),
    [
        ([], ["me 1500", "me/a 1500"], False),
        ([404], ["me 1500", "/srv 0", "/srv/people 0", "me 1500", "me/a 1500"], False),
        ([500], ["me 1500"], True),
        ([404, 200, 200, 404], ["me 1500", "/srv 0", "/srv/people 0", "me 1500"], True),
    ],
)
def test_home_in_an_image(daemon: Daemon, replies: list[int], made: list[str], fails: bool) -> None:
    """The directories above the home, which most images have, are only made if it cannot be made without them."""
    daemon.say(*(Reply(status=code, **({} if code == 200 else {"kind": "error", "error": "no", "error_code": code})) for code in replies))
    me = replace(ALICE, home="/srv/people/me")
    registry = Registry("", "", 3, "quiet", "", Defaults(), {})
    control = InstanceControl(RunContext(me, "", registry, Client(daemon.path)), "demo")
    with pytest.raises(IncusError) if fails else nullcontext():
        create_home(control, ["/srv/people/me/a/b", "/mnt"])
    requests = [(parse_qs(urlsplit(seen.target).query)["path"][0], seen.headers["X-Incus-uid"]) for seen in daemon.seen]
    assert [f"{path.replace(me.home, 'me')} {uid}" for path, uid in requests] == made
