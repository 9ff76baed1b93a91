# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A filter of a homelab."""

from __future__ import annotations

from typing import Any


class FilterModule:
    """The filter ``projects``."""

    def filters(self) -> dict[str, Any]:
        """Return it."""
        return {"projects": lambda names: [{"name": name, "image": "busybox"} for name in names]}
