# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text of a restored registry, and what in restored settings is about another host."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.files import REGISTRY
from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.stored import Owner
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import escape_control_characters
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.registry.edit import edit_text
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Data, Registry
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import parse

KEPT = (("host", "lan_ip"), ("defaults", "backup_root"))
"""Keys of the registry that belong to a host: the address is its own, and the target is the one that is being read."""
MAX_FOREIGN = 20
"""Warnings about values of another host."""


def merge_registry(text: str, path: str, current: Registry) -> tuple[str, list[str]]:
    """Return the text of a registry from a backup for this host, and notes about keys that keep the values of this host.

    The times of backups are the later ones.

    :param path: of the registry, for errors.
    :param current: the registry of this host.
    :raises NotFoundError: ``text`` is not a registry.
    """
    saved = parse(text, path)
    values = {"lan_ip": (current.lan_ip, saved.lan_ip), "backup_root": (current.defaults.backup_root, saved.defaults.backup_root)}

    def edit(data: Data) -> None:
        for table, key in KEPT:
            if values[key][0] != values[key][1]:
                data.setdefault(table, {})[key] = values[key][0]
        for entry in data.get("project", []):
            here = current.projects.get(entry["name"])
            if here is not None and here.last_sync > str(entry.get("last_sync", "")):
                entry["last_sync"] = here.last_sync

    notes = [
        f"[{table}].{key} stays {values[key][0]!r}: it belongs to this host. The backup has {values[key][1]!r}."
        for table, key in KEPT
        if values[key][0] != values[key][1]
    ]
    lost = [name for name in current.projects if name not in saved.projects]
    notes += [f"The registry of the backup has no project {name!r}." for name in lost]
    return edit_text(text, path, edit), notes


def foreign_values(texts: dict[str, str], paths: dict[str, str], old: Owner, me: Owner) -> list[str]:
    """Return a warning for each value in restored settings that is about another home or host. Nothing else of a file is shown.

    An owner without a host, or whose home is not absolute, comes from a damaged file, and anything might match it: it is not looked for.

    :param texts: by relative name.
    :param paths: of the files on this host, by relative name.
    """
    warnings = []
    host, home = escape_control_characters(old.host), escape_control_characters(old.home)
    is_other_home = old.home != me.home and old.home.startswith("/")
    is_other_host = old.host not in ("", me.host)
    for name in sorted(texts, key=lambda name: (name != REGISTRY, name)):
        for value in _paths_in(texts[name], old.home) if is_other_home else ():
            path = escape_path(value.encode(errors="surrogateescape"))
            warnings.append(f"{paths[name]} names {path}, but the home is {me.home} here, not {home}: edit the file if that path is wrong.")
        if is_other_host and _names_host(texts[name], old.host):
            warnings.append(f"{paths[name]} names the host {host}, and this is {me.host}: edit the file if that is wrong.")
    if len(warnings) > MAX_FOREIGN:
        count = len(warnings) - MAX_FOREIGN
        return [*warnings[:MAX_FOREIGN], f"{count} more values in the restored settings are about another home or host."]
    return warnings


def _lines(text: str) -> Iterable[str]:
    """Yield the lines that are not comments."""
    return (line for line in text.splitlines() if not line.lstrip().startswith("#"))


def _paths_in(text: str, home: str) -> list[str]:
    """Return the paths in a text that begin with a home directory, each once.

    What follows a path in a URL or a command is not part of it, because it may be a secret.
    """
    pattern = re.compile(rf"(?<![\w./~-]){re.escape(home)}(?:/[^\s\"'`,;:()\[\]{{}}?#&=]*)?(?![\w.-])")
    return list(dict.fromkeys(match[0] for line in _lines(text) for match in pattern.finditer(line)))


def _names_host(text: str, host: str) -> bool:
    pattern = re.compile(rf"(?<![\w-]){re.escape(host)}(?![\w-])")
    return any(pattern.search(line) for line in _lines(text))
