# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Code of the collection for the command itself, before ansible is loaded."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

ROOT = "ansible_collections"
MODULE_UTILS = f"{ROOT}.homelab.repoman.plugins.module_utils"


def module_util(name: str) -> Any:
    """Return a module of the collection's ``module_utils``.

    Python's list of loaded modules is left without it: ansible cannot load plugins of a collection that another loader has begun with.

    :param name: relative to ``module_utils``, such as ``core.formatting``.
    """
    is_loaded = ROOT in sys.modules
    try:
        return import_module(f"{MODULE_UTILS}.{name}")
    finally:
        if not is_loaded:
            for loaded in [each for each in sys.modules if each.split(".", maxsplit=1)[0] == ROOT]:
                del sys.modules[loaded]
