# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rule for secrets, in diffs of containers and profiles, and in the trace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN, ANOTHER = "not shown", "another one"

_SECRET_KEY = re.compile(
    r"""
    environment\. | cloud-init\. | user\.(?:(?:user|vendor|meta)-data|network-config)
    | .* (?: password | passwd | passphrase | passcode | secret | token | credential | cookie | bearer | webhook )
    | .* (?: api | access | account | auth | client | deploy | encryption | license | master | private | service | session | shared
           | signing | ssh | storage ) [-_.\ ]? key
    | (?: .*[-_.\ ] )? (?: pass | pwd | psk | pin | otp | dsn | key | authorization ) s? $
    | .+ [-_.\ ] auth $
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""The older ``user.user-data`` and its like are cloud-init's, too: they may hold passwords."""
_PUBLIC_KEY = re.compile(r".*public[-_. ]?key", re.IGNORECASE)


def is_secret_key(key: str) -> bool:
    """Return whether the value of a key must not be shown: of an option, of an object of Incus, of a registry or of an override."""
    return _SECRET_KEY.match(key) is not None and not _PUBLIC_KEY.fullmatch(key)


def without_secrets(settings: Mapping[str, Any], other: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return settings, such as those of devices by name, without the values that may be secret.

    :param other: those of the other side of the diff; a secret that differs from it is shown as another one.
    """
    shown = dict(settings)
    for key, value in settings.items():
        if isinstance(value, Mapping):
            shown[key] = without_secrets(value, None if other is None else other.get(key, {}))
        elif is_secret_key(key):
            shown[key] = hidden_value(value, is_changed=other is not None and other.get(key) != value)
    return shown


def hidden_value(value: Any, is_changed: bool = False) -> str:
    """Return the text that is shown instead of a value. A document, such as that of cloud-init, has its number of lines.

    :param is_changed: the other side of a diff has a different value.
    """
    lines = len(value.splitlines()) if isinstance(value, str) else 0
    return f"({', '.join([HIDDEN, *([ANOTHER] if is_changed else []), *([f'{lines} lines'] if lines > 1 else [])])})"
