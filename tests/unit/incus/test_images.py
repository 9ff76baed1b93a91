# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of images: what each means to Incus."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core import log
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotFoundError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account, get_account
from ansible_collections.homelab.repoman.plugins.module_utils.incus.images import Images, image_source, with_image_secret
from ansible_collections.homelab.repoman.plugins.module_utils.incus.remotes import remotes

CONFIG = """\
default-remote: local
remotes:
  local: {addr: "unix://", public: false}
  mine: {addr: "https://mine:8443", protocol: incus, public: true}
  old: {addr: "https://old:8443", public: true}
  tree: {addr: "https://tree", protocol: simplestreams, public: true}
  hub: {addr: "https://hub", protocol: oci, public: true}
  odd: {addr: "https://odd", protocol: gopher}
  images: {addr: "https://mirror", protocol: simplestreams}
  broken: 5
"""
IMAGES: Images = [
    {"fingerprint": "ab12" + "0" * 60, "aliases": [{"name": "one"}, {"name": "ab13"}]},
    {"fingerprint": "ab13" + "0" * 60, "aliases": None},
]


@pytest.fixture
def me(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Account:
    """An account with a configured client."""
    for variable in ("INCUS_CONF", "INCUS_GLOBAL_CONF"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("INCUS_GLOBAL_CONF", str(tmp_path / "global"))
    place = tmp_path / ".config/incus"
    (place / "servercerts").mkdir(parents=True)
    (place / "config.yml").write_text(CONFIG)
    (place / "servercerts/mine.crt").write_text("PEM")
    return replace(get_account(), home=str(tmp_path))


def pulled(server: str, protocol: str, **more: str) -> dict[str, str]:
    """Return the source of an image that comes from a server."""
    return {"type": "image", "mode": "pull", "server": server, "protocol": protocol, "alias": "a/b"} | more


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("mine:a/b", pulled("https://mine:8443", "incus", certificate="PEM")),
        ("old:a/b", pulled("https://old:8443", "incus")),
        ("tree:a/b", pulled("https://tree", "simplestreams")),
        ("hub:a/b", pulled("https://hub", "oci")),
        ("images:a/b", pulled("https://mirror", "simplestreams")),
    ],
)
def test_remotes(me: Account, image: str, expected: dict[str, str]) -> None:
    """Each protocol, with the certificate that was kept; the images of this Incus are not read for it."""
    assert image_source(image, me, lambda: pytest.fail("read")) == expected


@pytest.mark.parametrize(("image", "at"), [("one", 0), ("local:one", 0), ("ab12", 0), ("ab13", 0), ("ab130", 1), ("ab13" + "0" * 60, 1)])
def test_local_images(me: Account, image: str, at: int) -> None:
    """An alias comes before a fingerprint, of which the beginning will do."""
    assert image_source(image, me, lambda: IMAGES) == {"type": "image", "fingerprint": IMAGES[at]["fingerprint"]}


@pytest.mark.parametrize("image", ["none", "", "local:", "nosuch:a", "odd:a", "broken:a", "AB1", "unix:a"])
def test_unknown_images(me: Account, image: str) -> None:
    """They are named, with a hint."""
    with pytest.raises(NotFoundError) as caught:
        image_source(image, me, lambda: IMAGES)
    assert repr(image) in caught.value.message and caught.value.hints


def test_ambiguous_fingerprint(me: Account) -> None:
    """It is a conflict that names what it could be."""
    with pytest.raises(ConflictError, match="ab1200000000, ab1300000000"):
        image_source("ab1", me, lambda: IMAGES)


def test_places_of_the_configuration(me: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's is under the user's; INCUS_CONF names another place; none at all leaves the public server."""
    (tmp_path / "global").mkdir()
    (tmp_path / "global/config.yml").write_text('remotes: {all: {addr: "https://all"}, tree: {addr: "https://other"}}')
    found = remotes(me)
    assert found["all"].address == "https://all" and found["tree"].address == "https://tree"
    monkeypatch.setenv("INCUS_CONF", str(tmp_path / "nowhere"))
    monkeypatch.setenv("INCUS_GLOBAL_CONF", str(tmp_path / "nowhere"))
    assert {name: each.address for name, each in remotes(me).items()} == {"images": "https://images.linuxcontainers.org"}


@pytest.mark.parametrize("text", [b"a: [", b"\xff"])
def test_unreadable_configuration(me: Account, text: bytes) -> None:
    """The file is named."""
    path = Path(me.home, ".config/incus/config.yml")
    path.write_bytes(text)
    with pytest.raises(NotFoundError, match=str(path)):
        image_source("tree:a", me, list)


@pytest.mark.parametrize("text", ["", "5", "remotes: 5"])
def test_configuration_without_remotes(me: Account, text: str) -> None:
    """It adds none."""
    Path(me.home, ".config/incus/config.yml").write_text(text)
    assert list(remotes(me)) == ["images"]


ANSWERS = {
    ("GET", "/1.0/images/aliases/mine"): {"metadata": {"target": "ab12"}},
    ("GET", "/1.0/images/ab12"): {"metadata": {"public": False, "fingerprint": "ab12"}},
    ("POST", "/1.0/images/ab12/secret"): {"metadata": {"metadata": {"secret": "hush-hush"}}},
}


class AnotherIncus(BaseHTTPRequestHandler):
    """Answers by script; to the rest, that it is not there."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer."""
        found = ANSWERS.get((self.command, self.path))
        body = json.dumps(found or {"error": "not found"}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name is the library's

    def log_message(self, *_said: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(me: Account, tmp_path: Path) -> Iterator[str]:
    """Serve images over TLS; return the address. The client of ``me`` knows it as ``far``, with its certificate."""
    name = str(tmp_path / "server")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=any",
        "-keyout",
        f"{name}.key",
        "-out",
        f"{name}.crt",
    ]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{name}.crt", f"{name}.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), AnotherIncus) as serving:
        serving.socket = context.wrap_socket(serving.socket, server_side=True)
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        address = f"https://127.0.0.1:{serving.server_address[1]}"
        place = Path(me.home, ".config/incus")
        (place / "config.yml").write_text(f'remotes: {{far: {{addr: "{address}", public: false}}}}')
        (place / "servercerts/far.crt").write_text(Path(f"{name}.crt").read_text())
        yield address
        serving.shutdown()


def test_the_secret_of_an_image(me: Account, server: str) -> None:
    """It is asked for, and in no line of the trace."""
    lines: list[str] = []
    with log.tracing(lines.append):
        found = image_source("far:mine", me, list)
        assert "hush-hush" in with_image_secret("far:mine", me, found).values()
        log.get_logger("test").debug("hush-hush")
        with pytest.raises(NotFoundError, match="has no image 'other'"):
            with_image_secret("far:other", me, image_source("far:other", me, list))
    short = [re.sub(r"\d+ ms", "N ms", line.split(" ", 2)[2]) for line in lines]
    assert f"incus: GET {server}/1.0/images/aliases/mine 200 N ms" in short, short
    assert f"incus: POST {server}/1.0/images/ab12/secret 200 N ms" in short
    assert "test: (secret)" in short and "hush" not in "".join(lines)


def test_a_server_with_another_certificate(me: Account, server: str, tmp_path: Path) -> None:
    """It is asked for nothing."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=any", "-keyout", "/dev/null"]
    certificate = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    Path(me.home, ".config/incus/servercerts/far.crt").write_text(certificate)
    lines: list[str] = []
    with log.tracing(lines.append), pytest.raises(RepomanError, match="its certificate is not the one that was stored"):
        with_image_secret("far:mine", me, image_source("far:mine", me, list))
    assert lines == []
