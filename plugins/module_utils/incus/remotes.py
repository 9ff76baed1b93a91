# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The servers in the configuration of the user's ``incus`` client.

Source of the rules: the client's configuration file ``config.yml`` (``remotes`` with ``addr``, ``protocol``, ``public`` and
``auth_type``) and its directory ``servercerts``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

try:
    import yaml
except ImportError:  # the module reports it before it gets here
    yaml = None  # type: ignore[assignment]

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account

GLOBAL_DIRECTORY = "/etc/incus"
TLS = "tls"
"""The ``auth_type`` of remotes that identify a client by its certificate."""


@dataclass(frozen=True)
class Remote:
    """An image server.

    :param address: its URL.
    :param protocol: ``incus``, ``simplestreams`` or ``oci``.
    :param certificate: of the server, PEM; if empty, any that the system trusts is accepted.
    :param public: whether it has only public images.
    :param auth_type: how it identifies its users.
    """

    address: str
    protocol: str
    certificate: str = ""
    public: bool = True
    auth_type: str = TLS


PUBLIC = {"images": Remote("https://images.linuxcontainers.org", "simplestreams")}
"""Remotes of the client without configuration."""


def remotes(account: Account) -> dict[str, Remote]:
    """Return the remotes of the user's client: built-in ones, overridden by those of the machine and of the user.

    :raises NotFoundError: a configuration file cannot be read.
    """
    merged = dict(PUBLIC)
    for directory in (Path(os.environ.get("INCUS_GLOBAL_CONF") or GLOBAL_DIRECTORY), user_config_dir(account)):
        merged |= _load_remotes(directory)
    return merged


def user_config_dir(account: Account) -> Path:
    """Return the configuration directory of the user's client."""
    return Path(os.environ.get("INCUS_CONF") or os.path.join(account.home, ".config", "incus"))


def _load_remotes(directory: Path) -> dict[str, Remote]:
    path = directory / "config.yml"
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise NotFoundError(f"cannot read {path}: {str(error).splitlines()[0]}.", "incus remote list") from error
    entries = data.get("remotes") if isinstance(data, dict) else None
    if not isinstance(entries, dict):
        return {}
    return {
        str(name): Remote(
            str(remote["addr"]),
            str(remote.get("protocol") or "incus"),
            _certificate(directory, str(name)),
            bool(remote.get("public")),
            str(remote.get("auth_type") or TLS),
        )
        for name, remote in entries.items()
        if isinstance(remote, dict) and "addr" in remote
    }


def _certificate(directory: Path, name: str) -> str:
    try:
        return (directory / "servercerts" / f"{name}.crt").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError):
        return ""
