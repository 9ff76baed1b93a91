# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that others import at their start, although few runs use them: each one is run on its first use.

Those of ansible take 25 ms together. All are Python's own module objects, with Python's own loaders, so that plugins can import, search
and change them as usual; ``importlib.util.LazyLoader`` does the same, but before Python 3.12 not for threads, and it runs a module when
it is imported a second time. When plugins are loaded, nothing but ansible's own modules is postponed: plugins, and what they import,
may replace parts of the others.
"""

from __future__ import annotations

import sys
from _thread import RLock
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

MODULES = ("ansible._internal._ssh._agent_launch", "ansible.executor.powershell.module_manifest")
"""What starts an agent for ssh, unless there should be none, which is the default; and what packs modules for Windows."""
RUN = "exec_module"
SET_BY_IMPORT = frozenset({"__class__", "__spec__", "__name__", "__file__", "__cached__", "__loader__", "__package__"})
_LOCK = RLock()


def install(names: Iterable[str]) -> None:
    """Postpone these modules, unless they are loaded. A name that is not found, or is built into Python, is imported as usual."""
    finder = _installed()
    if finder is None:
        sys.meta_path.insert(0, finder := Finder())
    finder.names.update(names)


def run_all(names: Iterable[str]) -> None:
    """Run the postponed modules among these, and stop postponing any of them.

    :raises ImportError: one of them cannot be loaded.
    """
    names = frozenset(names)
    finder = _installed()
    if finder is not None:
        finder.names -= names
    for name in names:
        module = sys.modules.get(name)
        if isinstance(module, _Postponed):
            _run(module)


def _installed() -> Finder | None:
    return next((finder for finder in sys.meta_path if isinstance(finder, Finder)), None)


class Finder:
    """Finds modules as Python does, and lets their loaders run them later.

    :ivar names: of the modules; none may be frozen in Python: it would be loaded from its file.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return how to load one of these modules; ``None`` for any other, and if a module is reloaded."""
        spec = PathFinder.find_spec(name, path, target) if name in self.names and target is None else None
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
