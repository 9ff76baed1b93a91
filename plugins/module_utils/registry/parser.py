# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parse a registry of any schema, with errors that name file and line."""

from __future__ import annotations

import copy
import re
from itertools import islice
from urllib.parse import urlsplit

from ansible_collections.homelab.repoman.plugins.module_utils.registry import keys
from ansible_collections.homelab.repoman.plugins.module_utils.registry.keys import read_keys
from ansible_collections.homelab.repoman.plugins.module_utils.registry.misspellings import MAX_WARNINGS, misspellings
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import SCHEMA, Data, Defaults, Project, Registry
from ansible_collections.homelab.repoman.plugins.module_utils.registry.toml_reader import Table, read_toml

_HOST_PATTERN = re.compile(r"[A-Za-z0-9._:%-]+")


def parse(text: str, path: str) -> Registry:
    """Return the registry in ``text``, of any supported schema; ``path`` is used in errors.

    :raises NotFoundError: see :func:`load`.
    """
    root = read_toml(text, path)
    schema = _schema(root.table("repoman"))
    root.data = migrate(root.data)
    return Registry(
        path=path,
        text=text,
        schema=schema,
        output=read_keys(root.table("repoman"), keys.REPOMAN)["output"],
        lan_ip=read_keys(root.table("host"), keys.HOST)["lan_ip"],
        defaults=Defaults(**read_keys(root.table("defaults"), keys.DEFAULTS)),
        projects=_projects(root),
        warnings=tuple(islice(misspellings(root), MAX_WARNINGS)),
    )


def migrate(data: Data) -> Data:
    """Return ``data``, of schema 1, 2 or 3, as schema 3.

    Schema 2 kept the host's address inside ``[defaults.llm].ollama_url``; it becomes ``[host].lan_ip``,
    and the table is removed. If it has no address, ``lan_ip`` stays empty until ``repoman setup`` detects it.
    """
    migrated = copy.deepcopy(data)
    if migrated["repoman"]["schema"] == SCHEMA:
        return migrated
    migrated["repoman"]["schema"] = SCHEMA
    defaults, host = migrated.get("defaults"), migrated.setdefault("host", {})
    llm = defaults.pop("llm", None) if isinstance(defaults, dict) else None
    if defaults == {}:
        del migrated["defaults"]
    if isinstance(host, dict):
        host.setdefault("lan_ip", _host_of(llm.get("ollama_url")) if isinstance(llm, dict) else "")
    return migrated


def _schema(repoman: Table) -> int:
    schema = repoman.data.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise repoman.error("schema", f"[repoman].schema must be a number from 1 to {SCHEMA}")
    if schema > SCHEMA:
        raise repoman.error(
            "schema", f"schema {schema} is newer than this repoman knows ({SCHEMA}); the file was not touched", "upgrade repoman"
        )
    return schema


def _projects(root: Table) -> dict[str, Project]:
    projects: dict[str, Project] = {}
    for entry in root.tables("project"):
        name = entry.string("name", "")
        if not name:
            raise entry.error("name", "a [[project]] has no name")
        if name in projects:
            raise entry.error("name", f"two [[project]] tables are called {name!r}")
        values = read_keys(entry, keys.PROJECT)
        projects[name] = Project(**values | {"repo": name if values["repo"] is None else values["repo"]})
    return projects


def _host_of(address: object) -> str:
    """Return the host part of a URL, or an empty string."""
    try:
        host = urlsplit(address).hostname if isinstance(address, str) else None
    except ValueError:
        return ""
    return host if host and _HOST_PATTERN.fullmatch(host) else ""
