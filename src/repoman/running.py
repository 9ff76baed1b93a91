# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a container that is ready for a shell without a playbook, and so without loading ansible.

If it is not ready, the playbook runs, reads it again, and reports what is wrong or corrects it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repoman import shared
from repoman.installation import OWN_CONFIG, collection_root, config_file

if TYPE_CHECKING:
    from repoman.playbook import Playbook

NAME_VARIABLE = "repoman_project_name"
SETTING = (
    r"vars_(?:plugins|enabled|plugins_enabled)|callback_(?:plugins|whitelist)|callbacks_enabled|cache_plugin\w*|fact_caching\w*"
    r"|strategy\w*|home|log_path|verbosity|debug"
)
"""Settings of Ansible that give a run more variables, show it to other plugins, or make it print more."""
PREFIX = "ANSIBLE_"
LINE = rf"(?im)^\s*(?:{SETTING})\s*[=:]"
PLUGINS = ("~/.ansible/plugins", "/usr/share/ansible/plugins")
"""Where Ansible finds plugins that no setting names."""


def read(playbook: Playbook) -> dict[str, Any] | None:
    """Return the result of the playbook ``shell`` if it would change nothing; ``None`` if it has to be run."""
    if playbook.check or playbook.verbosity or playbook.variables.keys() != {NAME_VARIABLE}:
        return None
    return read_project(playbook.variables[NAME_VARIABLE])


def read_project(name: str) -> dict[str, Any] | None:
    """Return the result of the playbook ``shell`` for a project, without options, as :func:`read` does.

    The logic is that of the playbook's module.
    """
    if has_settings(os.environ):
        return None
    shared.spare_checkout(str(collection_root()))
    with shared.loading() as load:
        try:
            logic = load("projects.running")
        except Exception:  # ansible may find it elsewhere, or says why not
            return None
        result: dict[str, Any] | None = logic.read_running(name)
        return result


def has_settings(environment: Mapping[str, str]) -> bool:
    """Return whether the user has settings or plugins of Ansible that have an effect in every run on this host.

    :param environment: of this process.
    """
    variables = [name[len(PREFIX) :] for name in environment if name.upper().startswith(PREFIX)]
    if any(re.fullmatch(SETTING, name, re.IGNORECASE) for name in variables):
        return True
    if any(_has_files(Path(directory).expanduser() / kind) for directory in PLUGINS for kind in ("vars", "callback")):
        return True
    path = Path(environment["ANSIBLE_CONFIG"]) if "ANSIBLE_CONFIG" in environment else config_file()
    if path == OWN_CONFIG:  # it has none
        return False
    try:
        return re.search(LINE, path.read_text(encoding="utf-8")) is not None
    except (OSError, ValueError):
        return True


def _has_files(directory: Path) -> bool:
    """Return whether a directory exists and has something in it."""
    try:
        with os.scandir(directory) as entries:
            return next(entries, None) is not None
    except OSError:
        return False
