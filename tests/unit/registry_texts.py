# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Registries of all schemas, and edits of them."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.registry.edit import put_project, remove_project
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import (
    Data,
    Project,
)

HEAD = "[repoman]\nschema = 3\n"

SCHEMA_1 = """\
[repoman]
schema = 1
output = "verbose"

[defaults]
repos_root = "~/src"
profiles = ["default", "claude-share"]

[[project]]
name = "isurus"
repo = "isurus-project"
"""

SCHEMA_2 = """\
# my registry
[repoman]
schema = 2   # bumped by hand
output = "quiet"
mine = 1979-05-27

[defaults]
repos_root     = "~/repos"      # aligned
backup_root    = '/nfs/repos'
profiles       = ["default",    # one
                  "llm-share"]  # two

# the llm
[defaults.llm]
enabled = true
hermes_default = false
ollama_url = "http://192.168.168.124:11434"
hermes_seed = "x"

# favourites
[[project]]
name        = "isurus"
repo        = "isurus-project"
image       = "images:ubuntu/26.04/cloud"
profiles    = ["default", "claude-share", "llm-share"]
created     = "2026-04-28T15:00:00Z"
last_sync   = ""
backup      = true
color       = "blue"            # mine

[tool.other]
key = "value"
"""

SCHEMA_3 = """\
# about everything

[repoman]
schema = 3          # do not touch
output = "quiet"

# the address
[host]
lan_ip = "10.0.0.1" # of br0
nickname = "attic"

[defaults]
repos_root = "~/repos"
profiles = ["default"]

# first
[[project]]
name = "one"        # the one
repo = "one"
profiles = [
  "default",        # always
  "claude-share",
]
backup = true
color = "blue"

# second
[[project]]
repo = "two-repo"
name = "two"

# third
[[project]]
name = "three"
repo = "three"
image = "local"

# the end
[tool.other]
key = "value"
# really
"""


def write(path: str, text: str) -> None:
    """Write a file as it is."""
    Path(path).write_bytes(text.encode())


def read(path: str) -> str:
    """Read a file without translating line ends."""
    return Path(path).read_bytes().decode()


def changed_lines(before: str, after: str) -> tuple[list[str], list[str]]:
    """Return the lines that went and the lines that came."""
    lines = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    return [line[2:] for line in lines if line[0] == "-"], [line[2:] for line in lines if line[0] == "+"]


def set_lan_ip(value: str) -> Callable[[Data], None]:
    """Return an edit that stores the address."""

    def edit(data: Data) -> None:
        data.setdefault("host", {})["lan_ip"] = value

    return edit


def put(**entry: Any) -> Callable[[Data], None]:
    """Return an edit that stores a project."""
    return lambda data: put_project(data, Project(**entry))


def drop(name: str) -> Callable[[Data], None]:
    """Return an edit that drops a project."""
    return lambda data: remove_project(data, name)


def nothing(data: Data) -> None:
    """Edit nothing."""
