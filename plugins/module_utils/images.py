# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images by the names the ``incus`` client has for them.

Source of the rules: the client's configuration file ``config.yml`` (``remotes`` with ``addr`` and ``protocol``), its
directory ``servercerts``, and the ``source`` of a new instance in Incus's REST API.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    import yaml
except ImportError:  # the module says so before it gets here
    yaml = None  # type: ignore[assignment]

from ansible_collections.homelab.repoman.plugins.module_utils.errors import ConflictError, NotKnownError
from ansible_collections.homelab.repoman.plugins.module_utils.host import Account

GLOBAL_DIRECTORY = "/etc/incus"
LOCAL = "local"
PROTOCOLS = ("incus", "simplestreams", "oci")
FINGERPRINT = re.compile(r"[0-9a-f]{1,64}")
Images = list[dict[str, Any]]


@dataclass(frozen=True)
class Remote:
    """A server of images.

    :param address: its URL.
    :param protocol: ``incus``, ``simplestreams`` or ``oci``.
    :param certificate: of the server, PEM; empty where any that the system trusts will do.
    """

    address: str
    protocol: str
    certificate: str = ""


PUBLIC = {"images": Remote("https://images.linuxcontainers.org", "simplestreams")}
"""What the client knows without configuration."""


def source(image: str, me: Account, local: Callable[[], Images]) -> dict[str, str]:
    """Return the source of a new instance, as Incus takes it.

    :param image: ``remote:alias`` of a remote in the client's configuration, or an alias or fingerprint of this Incus.
    :param local: reads the images of this Incus; called only for one of them.
    :raises NotKnownError: there is no such remote or local image. :class:`ConflictError`: several begin so.
    """
    name, colon, alias = image.partition(":")
    if not colon or name == LOCAL:
        return {"type": "image", "fingerprint": _fingerprint(image, alias if colon else name, local())}
    remote = remotes(me).get(name)
    if remote is None:
        raise NotKnownError(f"image {image!r}: the incus client knows no remote called {name!r}.", "incus remote list")
    if remote.protocol not in PROTOCOLS or not remote.address.startswith(("https://", "http://")):
        raise NotKnownError(
            f"image {image!r}: the remote {name!r} ({remote.protocol} at {remote.address}) is no server of images over https.",
            "incus remote list",
        )
    found = {"type": "image", "mode": "pull", "server": remote.address, "protocol": remote.protocol, "alias": alias}
    return found | ({"certificate": remote.certificate} if remote.certificate else {})


def remotes(me: Account) -> dict[str, Remote]:
    """Return the remotes of the user's client: built in, then the machine's, then the user's.

    :raises NotKnownError: a configuration file cannot be read.
    """
    found = dict(PUBLIC)
    for directory in (
        os.environ.get("INCUS_GLOBAL_CONF") or GLOBAL_DIRECTORY,
        os.environ.get("INCUS_CONF") or os.path.join(me.home, ".config", "incus"),
    ):
        found |= _configured(Path(directory))
    return found


def _configured(directory: Path) -> dict[str, Remote]:
    path = directory / "config.yml"
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise NotKnownError(f"cannot read {path}: {str(error).splitlines()[0]}.", "incus remote list") from error
    listed = data.get("remotes") if isinstance(data, dict) else None
    if not isinstance(listed, dict):
        return {}
    return {
        str(name): Remote(str(remote["addr"]), str(remote.get("protocol") or "incus"), _certificate(directory, str(name)))
        for name, remote in listed.items()
        if isinstance(remote, dict) and "addr" in remote
    }


def _certificate(directory: Path, name: str) -> str:
    try:
        return (directory / "servercerts" / f"{name}.crt").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError):
        return ""


def _fingerprint(image: str, name: str, images: Images) -> str:
    """Return the fingerprint of the local image of that alias, or whose fingerprint begins so."""
    for each in images:
        if any(alias["name"] == name for alias in each.get("aliases") or []):
            return str(each["fingerprint"])
    found = [str(each["fingerprint"]) for each in images if FINGERPRINT.fullmatch(name) and each["fingerprint"].startswith(name)]
    if len(found) > 1:
        raise ConflictError(f"image {image!r} could be {len(found)} images: {', '.join(each[:12] for each in found)}.", "incus image list")
    if not found:
        raise NotKnownError(f"there is no image {image!r}.", "incus image list", "incus image list images:   (what the public server has)")
    return found[0]
