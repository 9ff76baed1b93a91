# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading the profiles of Incus, over the wire."""

from __future__ import annotations

from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.installed import Installed, read_installed, read_one


def test_all_profiles_are_read_at_once(daemon: Any, client: incus.Client, reply: Any) -> None:
    """From the project default; the ETag is computed because the bulk answer does not contain it."""
    daemon.say(
        reply(
            [
                {
                    "name": "a",
                    "description": "d",
                    "config": {"k": "v"},
                    "devices": {},
                    "used_by": ["/1.0/instances/i"],
                    "project": "default",
                },
                {"name": "b", "config": None, "devices": None, "used_by": None},
            ]
        )
    )
    found = read_installed(client)
    assert daemon.requests == [("GET", "/1.0/profiles?recursion=1&project=default")]
    assert found["a"] == Installed(
        {"description": "d", "config": {"k": "v"}, "devices": {}}, ["/1.0/instances/i"], incus.etag({"k": "v"}, "d", {})
    )
    assert found["b"].body == {"description": "", "config": {}, "devices": {}}
    assert found["b"].used_by == []


def test_one_profile_is_read_with_its_own_etag(daemon: Any, client: incus.Client, reply: Any) -> None:
    """Or found missing."""
    daemon.say(
        reply({"name": "a b", "description": "d", "config": {}, "devices": {}, "used_by": []}, headers={"ETag": "given"}),
        reply(status=404, kind="error", error="not found", error_code=404),
    )
    assert read_one("a b", client)["a b"].etag == "given"
    assert read_one("a b", client) == {}
    assert daemon.requests == [("GET", "/1.0/profiles/a%20b?project=default")] * 2
