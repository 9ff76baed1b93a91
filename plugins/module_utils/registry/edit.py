# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes of a registry's text: comments, order and unknown keys stay."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Data, Project
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import migrate, parse
from ansible_collections.homelab.repoman.plugins.module_utils.registry.toml_editor import apply_changes
from ansible_collections.homelab.repoman.plugins.module_utils.registry.toml_reader import read_toml
from ansible_collections.homelab.repoman.plugins.module_utils.registry.toml_syntax import equal_values

DEFAULT_TEXT = """\
# repoman's registry. Edit it freely: comments, order and keys of your own stay as they are.
# It belongs to this host; lan_ip is found again by 'repoman setup'.

[repoman]
schema = 3
output = "quiet"

[host]
lan_ip = ""               # what ${HOST_LAN_IP} means in profile templates

[defaults]
repos_root = "~/repos"
backup_root = "/nfs/repos"
logdir = "~/.local/state/repoman"
incus_project = "repoman"
default_image = "images:ubuntu/26.04/cloud"
profiles = ["default"]
"""


def edit_text(text: str, path: str, edit: Callable[[Data], None]) -> str:
    """Apply ``edit`` to the data (of schema 3) of a registry; return its text, otherwise unchanged.

    :param edit: changes the data in place.
    :raises NotFoundError: ``text`` is not a registry. :class:`RepomanError`: the change would alter other parts of it.
    """
    parse(text, path)
    old = read_toml(text, path).data
    new = migrate(old)
    edit(new)
    if equal_values(old, new):
        return text
    try:
        return apply_changes(text, new)
    except ValueError as error:
        raise RepomanError(
            f"cannot rewrite {path} without harm to it: {error}; nothing was changed.", "write each table once, with its [header]"
        ) from error


def put_project(data: Data, project: Project) -> None:
    """Add ``project`` to the data of a registry, or write its keys over the entry of that name."""
    entry: Data = {"name": project.name, "repo": project.repo}
    if project.image:
        entry["image"] = project.image
    if project.profiles is not None:
        entry["profiles"] = list(project.profiles)
    entry |= {"created": project.created, "last_sync": project.last_sync, "backup": project.backup}
    old = find_project(data, project.name)
    if old is None:
        data.setdefault("project", []).append(entry)
    else:
        old.update(entry)


def find_project(data: Data, name: str) -> Data | None:
    """Return the table of a project in the data of a registry; ``None`` if it does not exist."""
    entries: list[Data] = data.get("project", [])
    return next((entry for entry in entries if entry.get("name") == name), None)


def remove_project(data: Data, name: str) -> None:
    """Remove a project from the data of a registry."""
    data["project"] = [entry for entry in data.get("project", []) if entry.get("name") != name]
    if not data["project"]:
        del data["project"]
