# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Warnings of a run, from any depth: :func:`core.module.run_logic` puts each into the result, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_collectors: list[list[str]] = []


def warn(text: str) -> None:
    """Add a warning to the result of the current run; outside a run it is lost."""
    if _collectors and text not in _collectors[-1]:
        _collectors[-1].append(text)


@contextmanager
def collecting() -> Iterator[list[str]]:
    """Yield the list that takes the warnings inside the ``with``."""
    collected: list[str] = []
    _collectors.append(collected)
    try:
        yield collected
    finally:
        _collectors.pop()
