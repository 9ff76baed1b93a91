# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads what a run on profiles starts from: the account, the registry and the library."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.host.account import HostFacts, get_account
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.changes import ProfileContext
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.install_record import InstallRecord
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.library import library_of
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.replaced import DIRECTORY
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Defaults


def load_context(params: dict[str, Any]) -> ProfileContext:
    """Return the context of a run, from the module's parameters. Incus is not contacted.

    :raises RepomanError: the account does not exist, or the registry cannot be read.
    """
    account = get_account(params["user"])
    registry = store.load_or_none(account.expand(params["registry_path"] or store.default_path(account.home)))
    client = incus.Client(incus.find_socket(params["socket"]), params["timeout"])
    lan_ip = params.get("lan_ip") or (registry.lan_ip if registry else "")
    logdir = account.expand((registry.defaults if registry else Defaults()).logdir)
    return ProfileContext(
        library=library_of(params, account),
        host=HostFacts(lan_ip, account.name, account.home),
        client=client,
        account=account,
        saved_dir=os.path.join(logdir, DIRECTORY),
        record=InstallRecord(logdir, account),
        registry=registry,
        force=bool(params.get("force")),
    )
