# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images by the names the ``incus`` client has for them: of this Incus, of another, of a server of images.

Source of the rules: in Incus's REST API the ``source`` of a new instance and ``/1.0/images/<fingerprint>/secret``.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotFoundError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import protect
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.incus.remotes import TLS, remotes, user_config_dir
from ansible_collections.homelab.repoman.plugins.module_utils.incus.transport import connect_tls, exchange

LOCAL = "local"
REMOTE_SECONDS = 30.0
ANSWER_BYTES = 1 << 20
PROTOCOLS = ("incus", "simplestreams", "oci")
FINGERPRINT = re.compile(r"[0-9a-f]{1,64}")
Images = list[dict[str, Any]]


def image_source(image: str, me: Account, local: Callable[[], Images]) -> dict[str, str]:
    """Return the source of a new instance, as Incus takes it.

    :param image: ``remote:alias`` of a remote in the client's configuration, or an alias or fingerprint of this Incus.
    :param local: reads the images of this Incus; called only for one of them.
    :raises NotFoundError: the remote or local image does not exist. :class:`ConflictError`: the name matches several.
    """
    name, colon, alias = image.partition(":")
    if not colon or name == LOCAL:
        return {"type": "image", "fingerprint": _fingerprint(image, alias if colon else name, local())}
    remote = remotes(me).get(name)
    if remote is None:
        raise NotFoundError(f"image {image!r}: the incus client knows no remote called {name!r}.", "incus remote list")
    if remote.protocol not in PROTOCOLS or not remote.address.startswith(("https://", "http://")):
        raise NotFoundError(
            f"image {image!r}: the remote {name!r} ({remote.protocol} at {remote.address}) is not an image server over https.",
            "incus remote list",
        )
    found = {"type": "image", "mode": "pull", "server": remote.address, "protocol": remote.protocol, "alias": alias}
    return found | ({"certificate": remote.certificate} if remote.certificate else {})


def with_image_secret(image: str, me: Account, found: dict[str, str]) -> dict[str, str]:
    """Return the source of a new instance with what lets Incus fetch an image that is not public: a secret that the remote gives the user.

    :param image: of another Incus, or any other, of which nothing is asked.
    :param found: as :func:`image_source` returns it.
    :raises NotFoundError: the remote has no such image for the user. :class:`RepomanError`: it cannot be asked.
    """
    name, _colon, alias = image.partition(":")
    remote = remotes(me).get(name) if "server" in found else None
    if remote is None or remote.protocol != "incus" or remote.public or not remote.address.startswith("https://"):
        return found
    hints = (f"incus image copy {image} {LOCAL}: --alias {alias}   (and then: --image {alias})", f"incus image list {name}:")
    if remote.login != TLS:
        raise NotFoundError(f"image {image!r}: the remote {name!r} wants a login by {remote.login}, which only its client can do.", *hints)
    try:
        with connect_tls(remote.address, remote.certificate, user_config_dir(me), REMOTE_SECONDS) as connection:
            named = _request(connection, "GET", incus.api_path("/1.0/images/aliases/{}", alias))
            about = _request(connection, "GET", incus.api_path("/1.0/images/{}", named["target"] if named else alias))
            if about is None:
                raise NotFoundError(f"the remote {name!r} has no image {alias!r} that {me.name!r} may have.", *hints)
            if about["public"]:
                return found
            answer = _request(connection, "POST", incus.api_path("/1.0/images/{}/secret", about["fingerprint"])) or {}
            more = {"fingerprint": str(about["fingerprint"]), "secret": str(answer["metadata"]["secret"])}
            return {key: value for key, value in found.items() if key != "alias"} | more
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        reason = f"{error.strerror or error}" if isinstance(error, OSError) else f"{error!r}"
        raise RepomanError(f"the remote {name!r} at {remote.address} cannot be asked for {alias!r}: {reason}.", *hints) from error


def _request(connection: http.client.HTTPConnection, method: str, path: str) -> dict[str, Any] | None:
    """Return the metadata of a response; ``None`` if the object does not exist or the user must not see it.

    :raises OSError: it rejects the request. :class:`ValueError`: it is not an Incus.
    """
    status, _headers, body = exchange(connection, method, path, limit=ANSWER_BYTES)
    answer = json.loads(body)
    protect(answer)
    if not isinstance(answer, dict):
        raise ValueError("it does not speak the protocol of Incus")
    if status in (http.client.FORBIDDEN, http.client.NOT_FOUND):
        return None
    if status >= http.client.BAD_REQUEST:
        raise OSError(answer.get("error") or http.client.responses.get(status, str(status)))
    metadata: dict[str, Any] = answer["metadata"]
    return metadata


def _fingerprint(image: str, name: str, images: Images) -> str:
    """Return the fingerprint of the local image of that alias, or whose fingerprint begins so."""
    for each in images:
        if any(alias["name"] == name for alias in each.get("aliases") or []):
            return str(each["fingerprint"])
    found = [str(each["fingerprint"]) for each in images if FINGERPRINT.fullmatch(name) and each["fingerprint"].startswith(name)]
    if len(found) > 1:
        raise ConflictError(f"image {image!r} could be {len(found)} images: {', '.join(each[:12] for each in found)}.", "incus image list")
    if not found:
        raise NotFoundError(f"there is no image {image!r}.", "incus image list", "incus image list images:   (what the public server has)")
    return found[0]
