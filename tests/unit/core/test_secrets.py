# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a module as Ansible shows them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.secrets import hide_credentials, hide_users, shown_options, without_users

CONFIG = {"environment.ON": 1, "environment.TOKEN": "hush", "cloud-init.user-data": {"password": "hush"}, "limits.cpu": 2, "user.pin": None}
SHOWN = CONFIG | dict.fromkeys(("environment.ON", "environment.TOKEN", "cloud-init.user-data"), "(not shown)")


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"name": "token", "config": CONFIG, "_diff": True, "vendor_templates": {"x": "y"}}, {"name": "token", "config": SHOWN}),
        ({"projects": [{"name": "x", "config": CONFIG}, "hush"]}, {"projects": [{"name": "x", "config": SHOWN}, "(not shown)"]}),
        (
            {"devices": {"my-key": {"type": "nic", "passphrase": "hush"}, "x": "hush", "y": None}},
            {"devices": {"my-key": {"type": "nic", "passphrase": "(not shown)"}, "x": "(not shown)", "y": None}},
        ),
        ({"config": "environment.X=hush", "devices": ["hush"]}, {"config": "(not shown)", "devices": "(not shown)"}),
        ({"config": {"environment": {"A": {"password": "hush"}}}}, {"config": {"environment": {"A": {"password": "(not shown)"}}}}),
        (
            {"config": {"user.x": [{"password": "hush", "a": [1, {"token": "hush"}]}]}, "devices": {"x": {"y": [{"psk": "hush"}]}}},
            {
                "config": {"user.x": [{"password": "(not shown)", "a": [1, {"token": "(not shown)"}]}]},
                "devices": {"x": {"y": [{"psk": "(not shown)"}]}},
            },
        ),
        ({"registry_text": "a\nhush\n", "registry_text_path": "/x"}, {"registry_text": "(not shown, 2 lines)", "registry_text_path": "/x"}),
        (
            {"passwd": "hush", "timeout": 3, "names": ["a"], "user": None},
            {"passwd": "(not shown)", "timeout": 3, "names": ["a"], "user": None},
        ),
    ],
)
def test_values_that_may_be_secret_are_replaced_in_their_place(options: dict[str, Any], shown: dict[str, Any]) -> None:
    """Also in malformed options. Names of projects and devices do not count as keys, and the module's own options do not change."""
    before = repr(options)
    assert shown_options(options) == shown
    assert repr(options) == before


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:p@ss@host/x", "https://***@host/x"),
        ("HTTPS://hush@host/x@1", "HTTPS://***@host/x@1"),
        ("hg+http://hush:x@host:80", "hg+http://***@host:80"),
        ("ssh://me:p@:ss@host:22/x", "ssh://me:***@host:22/x"),
        ("ssh://me@host:22/x@1", "ssh://me@host:22/x@1"),
        ("me@host:x?y", "me@host:x?y"),
        ("https://me:hu sh@host/x?token=hu sh", "https://***@host/x?***"),
        ("https://host/x", "https://host/x"),
    ],
)
def test_urls(text: str, shown: str) -> None:
    """The user of a URL of HTTP may be a token, and a password may have the character after it."""
    assert hide_credentials(text, is_url=True) == shown


def test_urls_in_text() -> None:
    """What programs say stays readable."""
    said = "fatal: unable to access 'https://me:p@ss@host/x?token=hu'sh/': Failed to connect; ssh://a:b@c, me@host/x: no"
    assert hide_credentials(said) == "fatal: unable to access 'https://***@host/x?***': Failed to connect; ssh://a:***@c, me@host/x: no"
    assert hide_users("https://host/?a=b and ftp://a:b@c") == "https://host/?a=b and ftp://a:***@c"


@pytest.mark.parametrize(
    ("url", "plain"),
    [("https://me:p@ss@host/x?a=b", "https://host/x?a=b"), ("ssh://me:x@host/y", "ssh://me@host/y"), ("/a:b@c", "/a:b@c")],
)
def test_urls_to_compare(url: str, plain: str) -> None:
    """Another password, or token, does not make another repository."""
    assert without_users(url) == plain
