# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images by the names the ``incus`` client has for them.

Source of the rules: the client's configuration file ``config.yml`` (``remotes`` with ``addr``, ``protocol``, ``public`` and
``auth_type``), its directory ``servercerts`` and its ``client.crt``, and in Incus's REST API the ``source`` of a new instance and
``/1.0/images/<fingerprint>/secret``.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

try:
    import yaml
except ImportError:  # the module says so before it gets here
    yaml = None  # type: ignore[assignment]

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotFoundError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger, protect
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus

_logger = get_logger("images")

GLOBAL_DIRECTORY = "/etc/incus"
LOCAL = "local"
TLS = "tls"
"""How a remote knows a client by its certificate."""
REMOTE_SECONDS = 30.0
ANSWER_BYTES = 1 << 20
PROTOCOLS = ("incus", "simplestreams", "oci")
FINGERPRINT = re.compile(r"[0-9a-f]{1,64}")
Images = list[dict[str, Any]]


@dataclass(frozen=True)
class Remote:
    """A server of images.

    :param address: its URL.
    :param protocol: ``incus``, ``simplestreams`` or ``oci``.
    :param certificate: of the server, PEM; empty where any that the system trusts will do.
    :param public: whether it has nothing but what anybody may have.
    :param login: how it knows its users.
    """

    address: str
    protocol: str
    certificate: str = ""
    public: bool = True
    login: str = TLS


PUBLIC = {"images": Remote("https://images.linuxcontainers.org", "simplestreams")}
"""What the client knows without configuration."""


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
        with _connect(remote, _user_config_dir(me)) as connection:
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


@contextmanager
def _connect(remote: Remote, own: Path) -> Iterator[http.client.HTTPSConnection]:
    """Connect to another Incus as the user; its certificate is the one that the client has kept, or one that the system trusts.

    :param own: directory of the client's certificate and key.
    :raises OSError: it cannot be reached, or has another certificate.
    """
    context = ssl.create_default_context()
    if remote.certificate:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if (own / "client.crt").exists():
        context.load_cert_chain(own / "client.crt", own / "client.key", password=lambda: "")
    address = urlsplit(remote.address)
    connection = http.client.HTTPSConnection(address.hostname or "", address.port, timeout=REMOTE_SECONDS, context=context)
    try:
        connection.connect()
        connection.auto_open = 0  # a new connection would be to a server whose certificate was not checked
        if remote.certificate and connection.sock.getpeercert(binary_form=True) != ssl.PEM_cert_to_DER_cert(remote.certificate):
            raise OSError("its certificate is not the one that was stored for it")
        yield connection
    finally:
        connection.close()


def _request(connection: http.client.HTTPSConnection, method: str, path: str) -> dict[str, Any] | None:
    """Return the metadata of a response; ``None`` if the object does not exist or the user must not see it.

    :raises OSError: it rejects the request. :class:`ValueError`: it is not an Incus.
    """
    started = time.monotonic()
    connection.request(method, path)
    response = connection.getresponse()
    answer = json.loads(response.read(ANSWER_BYTES))
    protect(answer)
    _logger.debug("%s https://%s%s %d %d ms", method, connection.host, path, response.status, 1000 * (time.monotonic() - started))
    if not isinstance(answer, dict):
        raise ValueError("it does not speak the protocol of Incus")
    if response.status in (http.client.FORBIDDEN, http.client.NOT_FOUND):
        return None
    if response.status >= http.client.BAD_REQUEST:
        raise OSError(answer.get("error") or response.reason)
    metadata: dict[str, Any] = answer["metadata"]
    return metadata


def remotes(me: Account) -> dict[str, Remote]:
    """Return the remotes of the user's client: built in, then the machine's, then the user's.

    :raises NotFoundError: a configuration file cannot be read.
    """
    found = dict(PUBLIC)
    for directory in (Path(os.environ.get("INCUS_GLOBAL_CONF") or GLOBAL_DIRECTORY), _user_config_dir(me)):
        found |= _load_remotes(directory)
    return found


def _user_config_dir(me: Account) -> Path:
    """Return the directory of the user's client."""
    return Path(os.environ.get("INCUS_CONF") or os.path.join(me.home, ".config", "incus"))


def _load_remotes(directory: Path) -> dict[str, Remote]:
    path = directory / "config.yml"
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise NotFoundError(f"cannot read {path}: {str(error).splitlines()[0]}.", "incus remote list") from error
    listed = data.get("remotes") if isinstance(data, dict) else None
    if not isinstance(listed, dict):
        return {}
    return {
        str(name): Remote(
            str(remote["addr"]),
            str(remote.get("protocol") or "incus"),
            _certificate(directory, str(name)),
            bool(remote.get("public")),
            str(remote.get("auth_type") or TLS),
        )
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
        raise NotFoundError(f"there is no image {image!r}.", "incus image list", "incus image list images:   (what the public server has)")
    return found[0]
