# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Live counters of a run, for the progress display."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Progress:
    """Live counters of a run.

    :param files: entries written or removed.
    :param bytes: contents copied.
    :param running: units under way, with what is being done to them.
    """

    files: int = 0
    bytes: int = 0
    running: dict[str, str] = field(default_factory=dict)

    def apply(self, news: tuple[str, str, int, int]) -> None:
        """Take in what a process tells: unit, what is being done to it (empty: it is done), entries and bytes since the last time."""
        name, doing, files, size = news
        self.files += files
        self.bytes += size
        if doing:
            self.running[name] = doing
        else:
            self.running.pop(name, None)
