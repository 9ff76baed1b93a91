# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for modules that others import at their start and that few runs use: each is loaded when it is first used."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


class StandIn(ModuleType):
    """Stands for a module until it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.load(), name)

    def load(self) -> Any:
        """Return the module itself."""
        if sys.modules.get(self.__name__) is self:
            sys.modules.pop(self.__name__, None)
        return import_module(self.__name__)


@contextmanager
def postponed(names: Iterable[str]) -> Iterator[None]:
    """Let modules that are loaded inside the ``with`` import stand-ins for these modules, unless those are loaded.

    Modules that are imported later get the real ones.
    """
    added = [StandIn(name) for name in names if name not in sys.modules]
    sys.modules.update({each.__name__: each for each in added})
    try:
        yield
    finally:
        for each in added:
            if sys.modules.get(each.__name__) is each:
                del sys.modules[each.__name__]


def replace_all() -> None:
    """Replace the stand-ins that modules have by the modules themselves, so that an assignment to an attribute of one has its effect."""
    for module in list(sys.modules.values()):
        for name, value in list(vars(module).items()):
            if isinstance(value, StandIn):
                setattr(module, name, value.load())
