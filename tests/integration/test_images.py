# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images from where the incus client would have them: this Incus, simplestreams over https, other Incus servers."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import pty
import signal
import ssl
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import get_account
from ansible_collections.homelab.repoman.plugins.module_utils.incus.images import image_source, with_image_secret
from lab import closed_port, private_incus
from proxy import RecordingProxy
from world import TIMEOUT, World

MARK = "from-streams"


class Streams:
    """A simplestreams tree with one image, served over https on the loopback.

    :param gate: what a download of the image waits for when half of it is sent.
    """

    def __init__(self, root: Path, image: bytes) -> None:
        self.root, self.asked = root, list[str]()
        self.gate, self.halfway = threading.Event(), threading.Event()
        self.gate.set()
        self.size = len(image)
        self._write(image)
        streams = self

        class Handler(SimpleHTTPRequestHandler):
            """Serves the tree."""

            def __init__(self, *args: object) -> None:
                super().__init__(*args, directory=str(root))  # type: ignore[arg-type]

            def log_message(self, *args: object) -> None:
                """Keep what was asked for."""
                streams.asked.append(self.path)

            def copyfile(self, source: object, outputfile: object) -> None:
                """Send a file, its second half when the gate is open."""
                data = source.read()  # type: ignore[attr-defined]
                outputfile.write(data[: len(data) // 2])  # type: ignore[attr-defined]
                if len(data) == streams.size:
                    streams.halfway.set()
                    streams.gate.wait(TIMEOUT)
                outputfile.write(data[len(data) // 2 :])  # type: ignore[attr-defined]

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        incus = Path(os.environ["INCUS_DIR"])
        context.load_cert_chain(incus / "trust/tests.crt", incus / "tests.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"

    def _write(self, image: bytes) -> None:
        product, path = "busybox:1:default", "images/busybox.tar"
        digest = hashlib.sha256(image).hexdigest()
        self.fingerprint = digest
        item = {"ftype": "incus_combined.tar.gz", "path": path, "size": len(image), "sha256": digest}
        index = {"datatype": "image-downloads", "format": "products:1.0", "path": "streams/v1/images.json", "products": [product]}
        about = {"aliases": "busybox/1,tiny", "arch": platform.machine(), "os": "busybox", "release": "1", "release_title": "1"}
        versions = {"20260101_0000": {"items": {"incus_combined.tar.gz": item}}}
        documents = {
            "index.json": {"format": "index:1.0", "index": {"images": index}},
            "images.json": {
                "content_id": "images",
                "datatype": "image-downloads",
                "format": "products:1.0",
                "products": {product: about | {"variant": "default", "versions": versions}},
            },
        }
        (self.root / "streams/v1").mkdir(parents=True)
        (self.root / "images").mkdir()
        (self.root / path).write_bytes(image)
        for name, document in documents.items():
            (self.root / "streams/v1" / name).write_text(json.dumps(document))

    def close(self) -> None:
        """End the server."""
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def marked_image(world: World, place: Path) -> bytes:
    """Return the busybox image with a file more in it, so that it is another one."""
    world.incus("image", "export", "busybox", str(place / "busybox"))
    (path,) = place.glob("busybox*")
    data = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=data, mode="w") as new:
        for member in old:
            new.addfile(member, old.extractfile(member) if member.isreg() else None)
        new.addfile(tarfile.TarInfo(f"rootfs/etc/{MARK}"))
    return data.getvalue()


@pytest.fixture
def streams(ready: World, tmp_path: Path) -> Iterator[Streams]:
    """The tree, served, and a remote of that name in the user's client configuration; what it brought goes again."""
    (tmp_path / "tree").mkdir()
    streams = Streams(tmp_path / "tree", marked_image(ready, tmp_path))
    configure(ready, streams={"addr": streams.url, "protocol": "simplestreams", "public": True})
    yield streams
    streams.close()
    for name in ready.instances():
        ready.incus("delete", "--force", "--project=repoman", name)
    with suppress(AssertionError):
        ready.incus("image", "delete", streams.fingerprint)


def configure(world: World, **remotes: object) -> None:
    """Write the user's client configuration."""
    world.write(world.home / ".config/incus/config.yml", json.dumps({"default-remote": "local", "remotes": remotes}))


def test_simplestreams_over_https(ready: World, streams: Streams) -> None:
    """An alias of a configured remote; the container is made from what it serves. An alias it does not have is named."""
    ready.git_repository("demo")
    assert "streams:nosuch" in ready.refused("new", "demo", "--image", "streams:nosuch", code=3)
    assert ready.instances() == {}
    ready.repoman("new", "demo", "--image", "streams:busybox/1")
    assert ready.instances()["demo"]["config"]["volatile.base_image"] == streams.fingerprint
    assert ready.repoman("shell", "demo", "--", "ls", f"/etc/{MARK}").out == f"/etc/{MARK}\n"
    assert any(path.endswith("busybox.tar") for path in streams.asked)
    assert not ready.repoman("--json", "new", "demo").data["changed"]


def test_download_is_told_on_a_terminal(ready: World, streams: Streams) -> None:
    """A live line with how much of it is there, while it comes."""
    ready.git_repository("demo")
    streams.gate.clear()
    master, slave = pty.openpty()
    command = ready.me.command([str(ready.bin_dir / "repoman"), "new", "demo", "--image", "streams:tiny"], ready.env(TERM="xterm"))
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, cwd=ready.home) as process:
        os.close(slave)
        seen = b""
        with suppress(OSError):  # how a terminal ends
            while piece := os.read(master, 4096):
                seen += piece
                if b"%" in seen:
                    streams.gate.set()
    os.close(master)
    assert process.returncode == 0, seen
    live = [line for line in seen.decode().split("\r\x1b[K") if line.startswith("creating demo: ")]
    assert any("%" in line for line in live), seen
    assert "==>" in seen.decode().rpartition("\x1b[K")[2]


def test_interrupt_while_an_image_comes(ready: World, streams: Streams) -> None:
    """The download is ended; nothing is left, and the next run has it all."""
    ready.git_repository("demo")
    streams.gate.clear()
    process = ready.start("repoman", "new", "demo", "--image", "streams:tiny")
    assert streams.halfway.wait(TIMEOUT)
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=TIMEOUT)
    streams.gate.set()
    assert process.returncode == 130, err
    assert ready.instances() == {} and "demo" not in ready.registry.read_text()
    ready.repoman("new", "demo", "--image", "streams:tiny")
    assert ready.instances()["demo"]["status"] == "Running"


def test_local_fingerprints_and_unknown_names(ready: World, proxy: RecordingProxy) -> None:
    """A fingerprint or the beginning of one serves; what is not there is refused before any change."""
    ready.git_repository("demo")
    found = json.loads(ready.incus("image", "list", "--format=json"))
    fingerprint = next(each["fingerprint"] for each in found if each["aliases"][0]["name"] == "busybox")
    proxy.clear()
    for image, code, word in (
        ("nosuch", 3, "no image 'nosuch'"),
        ("local:nosuch", 3, "no image 'local:nosuch'"),
        ("elsewhere:busybox", 3, "no remote called 'elsewhere'"),
    ):
        for flags in ([], ["-C"]):
            assert word in ready.refused(*flags, "new", "demo", "--image", image, code=code)
    assert proxy.writes == [] and ready.instances() == {}
    ready.repoman("new", "demo", "--image", f"local:{fingerprint[:12]}")
    assert ready.instances()["demo"]["config"]["volatile.base_image"] == fingerprint


def test_public_image_of_another_incus(ready: World) -> None:
    """Its certificate is the one the client has kept; with another one nothing is made."""
    ready.git_repository("demo")
    address = f"127.0.0.1:{closed_port()}"
    ready.incus("config", "set", f"core.https_address={address}")
    try:
        about = json.loads(ready.incus("query", "/1.0"))["environment"]
        image = json.loads(ready.incus("query", "/1.0/images/aliases/busybox"))["target"]
        ready.incus("query", "-X", "PATCH", "-d", '{"public": true}', f"/1.0/images/{image}")
        configure(ready, other={"addr": f"https://{address}", "protocol": "incus", "public": True})
        certificate = ready.write(ready.home / ".config/incus/servercerts/other.crt", about["certificate"])
        ready.repoman("new", "demo", "--image", "other:busybox")
        assert ready.instances()["demo"]["status"] == "Running"
        ready.repoman("remove", "demo", "--yes")
        certificate.unlink()
        assert "certificate" in ready.refused("new", "demo", "--image", "other:busybox", code=1)
        assert ready.instances() == {}
    finally:
        ready.incus("config", "unset", "core.https_address")


def test_private_image_of_another_incus(ready: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is had with the user's certificate, as the client has it; from nobody else, and nobody else gets it."""
    ready.git_repository("demo")
    place = ready.mkdir(ready.home / ".config/incus")
    (tmp_path / "image.tar").write_bytes(marked_image(ready, tmp_path))
    key = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1", "-sha384", "-nodes", "-subj", "/CN=me")
    assert ready.run(*key, "-keyout", f"{place}/client.key", "-out", f"{place}/client.crt").code == 0
    with private_incus() as other:
        environment = os.environ | {"INCUS_DIR": os.path.dirname(other)}
        environment.pop("INCUS_SOCKET", None)

        def there(*argv: str) -> str:
            return subprocess.run(["incus", *argv], env=environment, capture_output=True, text=True, check=True, timeout=TIMEOUT).stdout

        address = f"127.0.0.1:{closed_port()}"
        there("config", "set", f"core.https_address={address}")
        there("image", "import", str(tmp_path / "image.tar"), "--alias=mine/1")
        about = json.loads(there("query", "/1.0"))["environment"]
        configure(ready, other={"addr": f"https://{address}", "protocol": "incus", "public": False, "auth_type": "tls"})
        certificate = ready.write(place / "servercerts/other.crt", about["certificate"])
        err = ready.refused("new", "demo", "--image", "other:mine/1", code=3)
        assert "has no image 'mine/1' that" in err and "hint: incus image copy other:mine/1 local: --alias mine/1" in err
        there("config", "trust", "add-certificate", str(place / "client.crt"))
        ready.write(certificate, (place / "client.crt").read_text())
        assert "its certificate is not the one that was stored" in ready.refused("new", "demo", "--image", "other:mine/1", code=1)
        ready.write(certificate, about["certificate"])
        assert "has no image 'none' that" in ready.refused("new", "demo", "--image", "other:none", code=3)
        assert ready.instances() == {}
        begun = f"other:{json.loads(there('image', 'list', '--format=json', 'mine/1'))[0]['fingerprint'][:12]}"
        monkeypatch.setenv("INCUS_CONF", str(place))
        user = get_account()
        assert set(with_image_secret(begun, user, image_source(begun, user, list))) >= {"fingerprint", "secret", "certificate"}
        try:
            ready.repoman("new", "demo", "--image", "other:mine/1")
            assert ready.repoman("shell", "demo", "--", "ls", f"/etc/{MARK}").out == f"/etc/{MARK}\n"
        finally:
            for each in json.loads(ready.incus("image", "list", "--format=json")):
                if each["cached"]:
                    ready.incus("image", "delete", each["fingerprint"])
