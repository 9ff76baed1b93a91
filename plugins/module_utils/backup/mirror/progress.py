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
    :param running: units under way, with their activity.
    :param total: number of units of the run; 0 if unknown.
    """

    files: int = 0
    bytes: int = 0
    running: dict[str, str] = field(default_factory=dict)
    total: int = 0

    def apply(self, message: tuple[str, str, int, int]) -> None:
        """Add a message of a process: unit, activity (empty if the unit is finished), entries and bytes since its last message."""
        name, activity, files, size = message
        self.files += files
        self.bytes += size
        if activity:
            self.running[name] = activity
        else:
            self.running.pop(name, None)
