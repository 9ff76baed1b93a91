# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The account and the registry on a host that earlier tasks of a play have yet to set up; only for predictions of check mode.

No third-party library is needed, because an earlier task may have yet to install them, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotCreatedYetError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account, get_account
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store
from ansible_collections.homelab.repoman.plugins.module_utils.registry.edit import DEFAULT_TEXT
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Registry
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import parse

UNKNOWN_ID = -1
"""The IDs of an account that does not exist."""


def predicted_account(user: str | None) -> Account:
    """Return an account; if it does not exist, with the group, home and shell that it would usually get."""
    try:
        return get_account(user)
    except NotCreatedYetError:
        name = user or "unknown"
        return Account(name, UNKNOWN_ID, UNKNOWN_ID, name, f"/home/{name}", "/bin/bash")


def predicted_account_and_registry(params: Mapping[str, Any]) -> tuple[Account, Registry]:
    """Return the account and the registry that a module's parameters name; see the functions for each.

    :raises NotFoundError: the registry cannot be read, or is malformed.
    """
    account = predicted_account(params["user"])
    path = account.expand(params["registry_path"] or store.default_path(account.home))
    return account, _predicted_registry(path, params, account)


def _predicted_registry(path: str, params: Mapping[str, Any], account: Account) -> Registry:
    """Return the registry that an earlier task would have written, or the file; without both, the one that ``setup`` begins with."""
    try:
        return store.load_predicted(path, {"registry_text": None, "registry_text_path": None} | dict(params), account)
    except NotCreatedYetError:
        return parse(DEFAULT_TEXT, path)
