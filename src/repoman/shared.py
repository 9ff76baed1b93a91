# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Code of the collection for the command itself, before ansible is loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

ROOT = "ansible_collections"
MODULE_UTILS = f"{ROOT}.homelab.repoman.plugins.module_utils"


def module_util(name: str) -> Any:
    """Return a module of the collection's ``module_utils``.

    :param name: relative to ``module_utils``, such as ``core.formatting``.
    """
    with loading() as load:
        return load(name)


@contextmanager
def loading() -> Iterator[Callable[[str], Any]]:
    """Yield a function that returns a module, as :func:`module_util` does. Call functions that load more modules inside the ``with``, too.

    Python's list of loaded modules is left without them: ansible cannot load plugins of a collection that another loader has begun with.
    """
    is_loaded = ROOT in sys.modules
    try:
        yield lambda name: import_module(f"{MODULE_UTILS}.{name}")
    finally:
        if not is_loaded:
            for loaded in [each for each in sys.modules if each.split(".", maxsplit=1)[0] == ROOT]:
                del sys.modules[loaded]


def spare_checkout(collections: str) -> None:
    """Let root leave no bytecode files in another user's checkout, who could not delete their directories.

    :param collections: directory of ``ansible_collections`` with this collection.
    """
    if os.geteuid() == 0 and os.stat(os.path.join(collections, ROOT, "homelab", "repoman")).st_uid != 0:
        sys.dont_write_bytecode = True
