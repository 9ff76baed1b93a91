# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The devices of the guides about ports and displays work as they stand, except for port numbers, IDs and paths of this host."""

from __future__ import annotations

import re
import socket
import subprocess
import textwrap
import threading
import tomllib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import yaml
from lab import closed_port
from world import CHECKOUT, World

RECEIVE = "import socket,sys; s=socket.socket(getattr(socket, sys.argv[1])); s.settimeout(60); s.connect(eval(sys.argv[2])); print(s.recv(9).decode())"


def block(page: str, language: str, number: int) -> str:
    """Return a code block of a guide."""
    text = (CHECKOUT / f"docs/docsite/rst/{page}.rst").read_text(encoding="utf-8")
    blocks = re.findall(rf"^\.\. code-block:: {language}\n\n((?:   .*\n|\n)+)", text, re.MULTILINE)
    return textwrap.dedent(blocks[number])


@contextmanager
def server(listener: socket.socket, answer: bytes) -> Iterator[None]:
    """Answer every connection, until the end of the block."""

    def serve() -> None:
        while True:
            try:
                connection, _address = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(answer)

    listener.listen()
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_ports_and_display(ready: World, tmp_path: Path) -> None:
    """From the host to the container, and back, by TCP and by a Wayland socket that belongs to the account; a taken port is named."""
    me, web = ready.me, closed_port()
    ready.git_repository("isurus")
    with closing(socket.socket()) as database, closing(socket.socket(socket.AF_UNIX)) as wayland:
        database.bind(("127.0.0.1", 0))
        path = ready.mkdir(ready.home / "run") / "wayland-0"
        wayland.bind(str(path))
        path.chmod(0o777)
        inside = block("ports", "yaml", 0).replace("connect: tcp:127.0.0.1:5432", f"connect: tcp:127.0.0.1:{database.getsockname()[1]}")
        shown = block("display", "yaml", 1).replace("/run/user/1000/wayland-0", str(path))
        ready.template("postgres", inside)
        ready.template("wayland", re.sub('uid: "1000"', f'uid: "{me.uid}"', shown).replace('gid: "1000"', f'gid: "{me.gid}"'))
        ready.install("postgres", "wayland")
        ready.new("isurus", image="debian", add_profiles=["postgres", "wayland"])
        override = block("ports", "toml", 0)
        assert tomllib.loads(override)["devices"]["web"]["listen"] == "tcp:127.0.0.1:8080"
        ready.write(ready.overrides / "isurus.toml", override.replace('listen = "tcp:127.0.0.1:8080', f'listen = "tcp:127.0.0.1:{web}'))
        ready.repoman("new", "isurus")
        with server(database, b"database"), server(wayland, b"wayland"):
            answer = ready.repoman("shell", "isurus", "python3", "-c", RECEIVE, "AF_INET", "('127.0.0.1', 5432)")
            assert answer.out == "database\n"
            script = f'stat -c "%u %a" $WAYLAND_DISPLAY; exec python3 -c "{RECEIVE}" AF_UNIX "\'$WAYLAND_DISPLAY\'"'
            assert ready.repoman("shell", "isurus", "sh", "-c", script).out == f"{me.uid} 600\nwayland\n"
        with subprocess.Popen(
            me.command(["repoman", "shell", "isurus", "python3", "-um", "http.server", "--bind", "127.0.0.1", "8080"], ready.env()),
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
        ) as http:  # fmt: skip
            assert http.stdout and b"Serving HTTP" in http.stdout.readline()
            with socket.create_connection(("127.0.0.1", web), timeout=60) as client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert b"200 OK" in client.makefile("rb").readline()
            http.terminate()
        ready.repoman("stop", "isurus")
        with closing(socket.create_server(("127.0.0.1", web))):
            error = ready.refused("new", "isurus", code=1)
            # Incus reports whichever of two lines in the proxy's log is first, and their order is random
            assert "address already in use" in error or "Failed to receive fd from listener process" in error


def test_templates_of_the_display_guide_can_be_installed(ready: World) -> None:
    """Incus takes each of them; a container is only started with those for which every host has the device."""
    for number, name in enumerate(("gpu", "wayland", "x11")):
        ready.template(name, block("display", "yaml", number))
    ready.repoman("profile", "install", "gpu", "wayland", "x11")
    profiles = ready.profiles()
    assert profiles["gpu"]["devices"] == yaml.safe_load(block("display", "yaml", 0))["devices"]
    assert profiles["x11"]["devices"]["xauthority"]["source"] == f"{ready.home}/.Xauthority"
