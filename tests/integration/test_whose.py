# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which container a verb works on: the one that ``new`` made, whatever the client's configuration, and only the user's own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import private_incus
from world import World


@pytest.fixture
def other_incus() -> Iterator[str]:
    """The socket of another Incus, which every user may use, and whose project repoman has a container ``demo``."""
    with private_incus() as socket:
        os.chmod(socket, 0o666)
        for argv in (
            ("project", "create", "repoman", "--config=features.profiles=false", "--config=features.images=false"),
            ("launch", "busybox", "demo", "--project=repoman"),
        ):
            incus_at(socket, *argv)
        yield socket


def incus_at(socket: str, *argv: str) -> str:
    """Run the client for the Incus at ``socket``."""
    env = os.environ | {"INCUS_SOCKET": socket}
    return subprocess.run(["incus", *argv], check=True, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout


def test_shell_uses_the_socket_of_new(ready: World, other_incus: str) -> None:
    """Remotes, the default remote, aliases, projects and variables of the user's client do not send a shell to another Incus."""
    ready.git_repository("demo")
    ready.repoman("new", "demo", "--image", "busybox")
    for socket, text in ((ready.witness, "right"), (other_incus, "wrong")):
        incus_at(socket, "exec", "--project=repoman", "demo", "--", "sh", "-c", f"echo {text} >/which")
    remote = {"addr": f"unix://{other_incus}", "public": False, "project": "default"}
    config = ready.home / ".config/incus/config.yml"
    texts = [
        json.dumps({"default-remote": "other", "remotes": {"other": remote}}),
        json.dumps({"default-remote": "gone", "remotes": {"gone": {"addr": "unix:///nonexistent/socket", "public": False}}}),
        json.dumps({"remotes": {"local": remote}, "aliases": {"exec": "list", "exec --force-local": "list", "--force-local": "list"}}),
        "not: [valid",
    ]
    variables = {"INCUS_REMOTE": "other", "INCUS_PROJECT": "default", "INCUS_DIR": str(Path(other_incus).parent), "INCUS_ALIASES": ""}
    for text in texts:
        ready.write(config, text)
        for env in ({}, variables, {"INCUS_CONF": str(config.parent), "INCUS_GLOBAL_CONF": str(config.parent)}):
            assert ready.repoman("shell", "demo", "--", "cat", "/which", env=env).out == "right\n", (text, env)
    assert [path.name for path in config.parent.iterdir()] == ["config.yml"] and config.read_text() == texts[-1]
    # the commands in hints, too
    ready.write(config, texts[0])
    ready.incus("config", "set", "--project=repoman", "demo", "security.protection.delete=true")
    hint = next(line for line in ready.refused("remove", "demo", "--yes", code=4).splitlines() if "incus config" in line)
    assert ready.run("sh", "-c", hint.removeprefix("hint: ")).code == 0
    assert "security.protection.delete" not in ready.instances()["demo"]["config"]
