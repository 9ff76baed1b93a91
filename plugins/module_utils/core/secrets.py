# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What counts as a secret: one rule for diffs of containers and for the trace."""

from __future__ import annotations

import re

_SECRET_KEY = re.compile(
    r"environment\.|cloud-init\.|user\.(?:(?:user|vendor|meta)-data|network-config)|.*(?:password|passwd|secret|token|credential|private.?key)",
    re.IGNORECASE,
)
"""The older ``user.user-data`` and its like are cloud-init's, too: they may hold passwords."""


def is_secret_key(key: str) -> bool:
    """Return whether the value of a key must not be shown: of an option, of an object of Incus, of a registry or of an override."""
    return _SECRET_KEY.match(key) is not None
