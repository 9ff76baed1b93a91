# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Helpers of the tests of profiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.host.account import HostFacts
from ansible_collections.homelab.repoman.plugins.module_utils.profiles import template
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.installed import Installed
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template import Body, Template, parse_template

HOST = HostFacts(lan_ip="192.168.168.124", user="alice", home="/home/alice")
VENDOR = Path(template.__file__).parents[3] / "profiles"


def add(directory: str, name: str, text: str = "config: {}\n") -> str:
    """Write a template and return its path."""
    path = Path(directory) / f"{name}.yml"
    path.write_bytes(text.encode())
    return str(path)


def body_of(text: str, name: str = "x", host: HostFacts = HOST) -> Body:
    """Return the profile that the template ``text`` makes."""
    return parse_template(Template(name, "user", f"/lib/{name}.yml", False, text), host)


def installed(**body: Any) -> Installed:
    """Return a profile as Incus has it."""
    return Installed({"description": "", "config": {}, "devices": {}} | body, [], "etag")
