# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The task of one unit in a run, and its result."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import ScanResult, format_exception
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import MirrorError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.results import Action, UnitResult
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError, RunInterruptedError
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import decode_path

if TYPE_CHECKING:
    from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_diff import UnitDiff


@dataclass
class UnitTask:
    """The task of one unit.

    :param changes: the difference to its mirror; None if there is nothing to copy or remove.
    :param compared_mirror: whether the mirror itself was read, and not only the last manifest.
    :param scanned: the manifest to save, if nothing has to be copied.
    :param is_absent: there is neither a source nor a mirror.
    """

    unit: Unit
    result: UnitResult
    changes: UnitDiff | None = None
    compared_mirror: bool = False
    scanned: ScanResult | None = None
    is_absent: bool = False
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, unit: Unit) -> UnitTask:
        """Return an empty task for a unit."""
        return cls(unit, UnitResult(decode_path(os.fsencode(unit.name))))

    @property
    def is_refused(self) -> bool:
        """True if it failed before any change, and needs none."""
        return self.changes is None and self.scanned is None and self.result.action in (Action.FAILED, Action.BUSY)

    def reset(self) -> None:
        """Discard the plan."""
        self.result, self.changes, self.scanned, self.compared_mirror = UnitResult(self.result.name), None, None, False

    def take_over(self, other: UnitTask) -> None:
        """Take the plan of another task for the same unit; its warnings and its name stay."""
        self.result, self.changes, self.scanned, self.compared_mirror = other.result, other.changes, other.scanned, other.compared_mirror

    @property
    def name(self) -> str:
        """The unit's name."""
        return self.unit.name


@contextmanager
def isolate_failure(task: UnitTask) -> Iterator[None]:
    """Turn an expected error inside a ``with`` into the failure of one unit."""
    try:
        yield
    except RunInterruptedError:
        raise
    except RepomanError as error:
        task.result.fail(error)
    except OSError as error:
        task.result.fail(RepomanError.from_os_error(error))


@contextmanager
def isolate_any_failure(task: UnitTask) -> Iterator[None]:
    """Turn any error inside a ``with`` into the failure of one unit: comparing changes nothing, so the other units can go on."""
    try:
        with isolate_failure(task):
            yield
    except RunInterruptedError:
        raise
    except Exception as error:
        task.result.fail(MirrorError(f"{decode_path(os.fsencode(task.name))}: it could not be compared: {format_exception(error)}."))
