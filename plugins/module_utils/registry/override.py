# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Per-project overrides: ``repos.d/NAME.toml`` next to the registry."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger
from ansible_collections.homelab.repoman.plugins.module_utils.core.names import check_file_name, suggestions
from ansible_collections.homelab.repoman.plugins.module_utils.registry.keys import OVERRIDE, PROTECTABLE, read_keys
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import ProjectSettings
from ansible_collections.homelab.repoman.plugins.module_utils.registry.store import read_text
from ansible_collections.homelab.repoman.plugins.module_utils.registry.toml_reader import read_toml


def load_override(registry_path: str, name: str) -> ProjectSettings:
    """Read ``repos.d/<name>.toml`` next to the registry; return empty settings if it does not exist.

    :raises NotFoundError: it is malformed or has an unknown key; the message has file and line.
    """
    path = override_path(registry_path, check_file_name("project", name))
    text = read_text(path)
    if text is None:
        return ProjectSettings()
    root = read_toml(text, path)
    get_logger("registry").debug("read %s: %s", path, ", ".join(root.data))
    if "install" in root.data:
        raise root.error(
            "install",
            "an override has no [install] table",
            "install scripts are the project's own business: run them with 'repoman shell NAME -- ./install.sh'",
        )
    allowed = {key.name for key in OVERRIDE}
    unknown = sorted(root.data.keys() - allowed)
    if unknown:
        raise root.error(
            unknown[0],
            f"unknown key{'s' * (len(unknown) > 1)} {', '.join(unknown)}",
            *suggestions(unknown, allowed),
            f"an override may hold {', '.join(sorted(allowed))}",
        )
    values = read_keys(root, OVERRIDE)
    for part in values["protect"] or ():
        if part not in PROTECTABLE:
            raise root.error("protect", f"cannot protect {part!r}: it is one of {', '.join(PROTECTABLE)}")
    config, devices = root.table("config").scalars(), root.table("devices")
    return ProjectSettings(
        **values,
        config=_without_empty(config),
        devices={key: _without_empty(devices.table(key).scalars()) for key in devices.data},
        unset=tuple(key for key, value in config.items() if not value),
    )


def _without_empty(values: dict[str, str]) -> dict[str, str]:
    """Return keys with a value: an empty one unsets its key, and Incus does not store it."""
    return {key: value for key, value in values.items() if value}


def override_path(registry_path: str, name: str) -> str:
    """Return the path of a project's override.

    :raises UsageError: ``name`` cannot be a file's name.
    """
    return str(Path(registry_path).parent / "repos.d" / f"{check_file_name('project', name)}.toml")
