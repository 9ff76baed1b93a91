# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What any part of a run adds to its result: warnings, each once, and the output that the registry asks for.

:func:`core.module.run_logic` puts them into the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Collected:
    """What a run adds to its result.

    :param warnings: in the order of their first occurrence.
    :param output: ``quiet``, ``normal`` or ``verbose``, as the registry says; empty if none was read.
    """

    warnings: list[str] = field(default_factory=list)
    output: str = ""


_collectors: list[Collected] = []


def warn(text: str) -> None:
    """Add a warning to the result of the current run; outside a run it is lost."""
    if _collectors and text not in _collectors[-1].warnings:
        _collectors[-1].warnings.append(text)


def set_output(output: str) -> None:
    """Set how much the command prints of the current run's result; outside a run it is lost."""
    if _collectors:
        _collectors[-1].output = output


@contextmanager
def collecting() -> Iterator[Collected]:
    """Yield the object that takes what is added inside the ``with``."""
    collected = Collected()
    _collectors.append(collected)
    try:
        yield collected
    finally:
        _collectors.pop()
