# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images by the names that the ``incus`` client uses: those of this Incus, of another Incus, or of an image server.

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
REMOTE_TIMEOUT = 30.0
MAX_RESPONSE_BYTES = 1 << 20
PROTOCOLS = ("incus", "simplestreams", "oci")
FINGERPRINT = re.compile(r"[0-9a-f]{1,64}")
Images = list[dict[str, Any]]


def image_source(image: str, account: Account, list_local_images: Callable[[], Images]) -> dict[str, str]:
    """Return the ``source`` of a new instance for Incus's API.

    :param image: ``remote:alias`` of a remote in the client's configuration, or an alias or fingerprint of this Incus.
    :param list_local_images: reads the images of this Incus; called only if ``image`` is one of them.
    :raises NotFoundError: the remote or local image does not exist. :class:`ConflictError`: the name matches several.
    """
    name, colon, alias = image.partition(":")
    if not colon or name == LOCAL:
        return {"type": "image", "fingerprint": _fingerprint(image, alias if colon else name, list_local_images())}
    remote = remotes(account).get(name)
    if remote is None:
        raise NotFoundError(f"image {image!r}: the incus client knows no remote called {name!r}.", "incus remote list")
    if remote.protocol not in PROTOCOLS or not remote.address.startswith(("https://", "http://")):
        raise NotFoundError(
            f"image {image!r}: the remote {name!r} ({remote.protocol} at {remote.address}) is not an image server over https.",
            "incus remote list",
        )
    source = {"type": "image", "mode": "pull", "server": remote.address, "protocol": remote.protocol, "alias": alias}
    return source | ({"certificate": remote.certificate} if remote.certificate else {})


def with_image_secret(image: str, account: Account, source: dict[str, str]) -> dict[str, str]:
    """Return the source of a new instance, with the secret that Incus needs to fetch an image that is not public.

    The user's client gets the secret from the remote, if that is another Incus.

    :param image: the name of the image.
    :param source: the result of :func:`image_source`.
    :raises NotFoundError: the remote has no such image for the user. :class:`RepomanError`: the request fails.
    """
    name, _colon, alias = image.partition(":")
    remote = remotes(account).get(name) if "server" in source else None
    if remote is None or remote.protocol != "incus" or remote.public or not remote.address.startswith("https://"):
        return source
    hints = (f"incus image copy {image} {LOCAL}: --alias {alias}   # then: --image {alias}", f"incus image list {name}:")
    if remote.auth_type != TLS:
        raise NotFoundError(
            f"image {image!r}: the remote {name!r} wants a login by {remote.auth_type}, which only its client can do.", *hints
        )
    try:
        with connect_tls(remote.address, remote.certificate, user_config_dir(account), REMOTE_TIMEOUT) as connection:
            alias_entry = _request(connection, "GET", incus.api_path("/1.0/images/aliases/{}", alias))
            details = _request(connection, "GET", incus.api_path("/1.0/images/{}", alias_entry["target"] if alias_entry else alias))
            if details is None:
                raise NotFoundError(f"the remote {name!r} has no image {alias!r} that {account.name!r} may have.", *hints)
            if details["public"]:
                return source
            response = _request(connection, "POST", incus.api_path("/1.0/images/{}/secret", details["fingerprint"])) or {}
            credentials = {"fingerprint": str(details["fingerprint"]), "secret": str(response["metadata"]["secret"])}
            return {key: value for key, value in source.items() if key != "alias"} | credentials
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        reason = f"{error.strerror or error}" if isinstance(error, OSError) else f"{error!r}"
        raise RepomanError(f"the remote {name!r} at {remote.address} cannot be asked for {alias!r}: {reason}.", *hints) from error


def _request(connection: http.client.HTTPConnection, method: str, path: str) -> dict[str, Any] | None:
    """Return the metadata of a response; ``None`` if the object does not exist or the user must not see it.

    :raises OSError: the server rejects the request. :class:`ValueError`: it is not an Incus.
    """
    status, _headers, body = exchange(connection, method, path, limit=MAX_RESPONSE_BYTES)
    document = json.loads(body)
    protect(document)
    if not isinstance(document, dict):
        raise ValueError("it does not speak the protocol of Incus")
    if status in (http.client.FORBIDDEN, http.client.NOT_FOUND):
        return None
    if status >= http.client.BAD_REQUEST:
        raise OSError(document.get("error") or http.client.responses.get(status, str(status)))
    metadata: dict[str, Any] = document["metadata"]
    return metadata


def _fingerprint(image: str, name: str, images: Images) -> str:
    """Return the fingerprint of the local image with this alias, or whose fingerprint starts with ``name``."""
    for candidate in images:
        if any(alias["name"] == name for alias in candidate.get("aliases") or []):
            return str(candidate["fingerprint"])
    fingerprints = [
        str(candidate["fingerprint"]) for candidate in images if FINGERPRINT.fullmatch(name) and candidate["fingerprint"].startswith(name)
    ]
    if len(fingerprints) > 1:
        raise ConflictError(
            f"image {image!r} could be {len(fingerprints)} images: {', '.join(fingerprint[:12] for fingerprint in fingerprints)}.",
            "incus image list local:",
        )
    if not fingerprints:
        raise NotFoundError(
            f"there is no image {image!r}.", "incus image list local:", "incus image list images:   # what the public server has"
        )
    return fingerprints[0]
