# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that ansible imports when it starts, although few runs use them: each one is run on its first use.

Together they take 25 ms. They are Python's own module objects, with Python's own loaders, so that plugins can import, search and change
them as usual; ``importlib.util.LazyLoader`` does the same, but before Python 3.12 not for threads, and it runs a module when it is
imported a second time. What is not ansible's own is never postponed: plugins, and what they import, may replace parts of it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType
from typing import Any

MODULES = ("ansible._internal._ssh._agent_launch", "ansible.executor.powershell.module_manifest")
"""What starts an agent for ssh, unless there should be none, which is the default; and what packs modules for Windows."""
RUN = "exec_module"
SET_BY_IMPORT = frozenset({"__class__", "__spec__", "__name__", "__file__", "__cached__", "__loader__", "__package__"})
_LOCK = RLock()


def install() -> None:
    """Postpone these modules, unless they are loaded; another version of ansible may lack them. Call it before ``engine`` is imported."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())


class Finder:
    """Finds these modules as Python does, and lets their loaders run them later."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return how to load one of these modules; ``None`` for any other, and if a module is reloaded."""
        spec = PathFinder.find_spec(name, path, target) if name in MODULES and target is None else None
        if spec is not None and spec.loader is not None:
            vars(spec.loader)[RUN] = _postpone
        return spec


def _postpone(module: ModuleType) -> None:
    """Stand for the loader's method that runs a module."""
    module.__class__ = _Postponed


class _Postponed(ModuleType):
    """A module that is imported, but not yet run."""

    def __getattribute__(self, name: str) -> Any:
        if name not in SET_BY_IMPORT:
            _run(self)
        return ModuleType.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        _run(self)
        ModuleType.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        _run(self)
        ModuleType.__delattr__(self, name)


def _run(module: ModuleType) -> None:
    """Run a module, unless it has been run, or this thread is running it; other threads wait."""
    loader: Any = module.__spec__ and module.__spec__.loader
    with _LOCK:
        if vars(loader).pop(RUN, None) is None:
            return
        try:
            loader.exec_module(module)
        except BaseException:
            vars(loader)[RUN] = _postpone  # the next use tries it again
            raise
        object.__setattr__(module, "__class__", ModuleType)
