# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rule for secrets, in diffs of containers and profiles, in the options that Ansible shows, in the trace, and in URLs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN, ANOTHER = "not shown", "another one"

_HIDDEN_KEY = r"""(?ix)
    environment\. | cloud-init\. | user\.(?:(?:user|vendor|meta)-data|network-config)
    | .* (?: password | passwd | passphrase | passcode | secret | token | credential | cookie | bearer | webhook )
    | .* (?: api | access | account | auth | client | deploy | encryption | license | master | private | service | session | shared
           | signing | ssh | storage ) [-_.\ ]? key
    | (?: .*[-_.\ ] )? (?: pass | pwd | psk | pin | otp | dsn | key | authorization ) s? $
    | .+ [-_.\ ] auth $
    """
"""The older ``user.user-data`` and its like are cloud-init's, too: they may hold passwords. The patterns are compiled when they are first used."""
_SHOWN_KEY = r"(?i).*public[-_. ]?key"

_HTTP_USER = r"(?i)\b(https?://){0}*@"
_ANY_USER = r"\b([A-Za-z][A-Za-z0-9+.-]*://(?:(?![:@]){0})*):{0}*@"
_WHOLE_QUERY = r"(://[^?]*)\?.+"
_QUERY = r"(://[^\s?]*)\?\S+?(?=['\"]?[:;,.)]*(?:\s|$))"
_HIDDEN_USER = "***@"

SETTINGS = ("config", "devices", "registry_text")
"""Options whose text may contain secrets."""
INTERNAL_OPTIONS = ("vendor_templates", "_diff")
"""Options that the collection itself sets."""


def is_secret_key(key: str) -> bool:
    """Return whether the value of a key must not be shown: of an option, of an object of Incus, of a registry or of an override."""
    return re.match(_HIDDEN_KEY, key) is not None and not re.fullmatch(_SHOWN_KEY, key)


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


def shown_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a module as Ansible shows them with ``-vvv``, without values that may be secret.

    Only these values are replaced. Ansible's ``no_log`` would replace the same text in the whole result, also as a part of other texts: a
    short password in the name of a project, for example.
    """
    return {key: _shown(key, value) for key, value in options.items() if key not in INTERNAL_OPTIONS}


def _shown(key: str, value: Any) -> Any:
    """Return the value of a key of options. Text in place of settings cannot be searched for secrets, so it is not shown."""
    if value is None:
        return None
    if is_secret_key(key) or (key in SETTINGS and not isinstance(value, Mapping)):
        return hidden_value(value)
    if key == "devices":  # by names, which say nothing about their settings
        return {name: _shown("config", settings) for name, settings in value.items()}
    if key == "projects" and isinstance(value, list):
        return [_shown("config", project) for project in value]
    if isinstance(value, Mapping):
        return {name: _shown(str(name), setting) for name, setting in value.items()}
    if isinstance(value, list | tuple):  # malformed settings may have mappings in lists
        return [_shown("", item) for item in value]
    return value


def hide_users(text: str, is_url: bool = False) -> str:
    """Return text with URLs in which asterisks replace passwords, and in those of HTTP also the user, which may be a token.

    :param is_url: the whole text is a URL, in which a password may have spaces.
    """
    character = "[^/]" if is_url else r"[^/\s]"
    text = re.sub(_HTTP_USER.format(character), rf"\1{_HIDDEN_USER}", text)
    return re.sub(_ANY_USER.format(character), rf"\1:{_HIDDEN_USER}", text)


def without_users(url: str) -> str:
    """Return a URL without its password, and one of HTTP without its user."""
    return hide_users(url, is_url=True).replace(f"://{_HIDDEN_USER}", "://", 1).replace(f":{_HIDDEN_USER}", "@", 1)


def hide_credentials(text: str, is_url: bool = False) -> str:
    """Return text with URLs in which asterisks replace passwords, as in :func:`hide_users`, and queries."""
    return re.sub(_WHOLE_QUERY if is_url else _QUERY, r"\1?***", hide_users(text, is_url))
