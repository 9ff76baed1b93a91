# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""ssh, scp and rsync of OpenSSH into containers that have no network, with the configuration of ssh-config."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
from lab import closed_port
from world import TIMEOUT, Result, World

CONFIG = ".config/repoman/ssh_config"


@pytest.fixture
def ssh(ready: World) -> World:
    """A world with the projects ``demo`` on debian, which has an ssh server, and ``tiny`` on busybox; both are stopped."""
    for name in ("demo", "tiny"):
        ready.git_repository(name)
    ready.write(ready.overrides / "demo.toml", '[config]\n"environment.SHARK" = "mako 1"\n"environment.ODD" = "a\\"b"\n')
    ready.new("demo", image="debian")
    ready.new("tiny")
    for name in ("demo", "tiny"):
        ready.incus("stop", "--force", "--project=repoman", name)
    ready.write(ready.home / CONFIG, ready.repoman("ssh-config").out)
    return ready


def client(world: World, program: str, *argv: str, stdin: str = "") -> Result:
    """Run a program of OpenSSH with the configuration."""
    return world.run(program, "-F", str(world.home / CONFIG), *argv, stdin=stdin)


def start(world: World, *argv: str) -> subprocess.Popen[bytes]:
    """Start ssh with the configuration."""
    command = world.me.command(["ssh", "-F", str(world.home / CONFIG), *argv], world.env())
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=world.home)


def test_commands_files_and_ports(ssh: World, tmp_path: Path) -> None:
    """Status, data, environment, copies both ways, a forwarded port, no agent; two connections at once; host keys are checked."""
    done = client(ssh, "ssh", "demo.repoman", 'id -un; pwd; echo "$REPOMAN_PROJECT,$SHARK,$ODD,$SSH_AUTH_SOCK"; exit 7')
    assert (done.code, done.out.split("\n")[:3]) == (7, [ssh.me.name, str(ssh.home), "demo,mako 1,,"]), done
    assert done.err == "" and ssh.instances()["demo"]["status"] == "Running"
    config = ssh.home / CONFIG
    data = os.urandom(2_000_000)
    source = ssh.write(ssh.home / "data/file", "")
    source.write_bytes(data)
    assert client(ssh, "scp", "-q", str(source), f"demo.repoman:{ssh.repos}/demo/copied").code == 0
    assert (ssh.repos / "demo/copied").read_bytes() == data
    assert client(ssh, "scp", "-q", f"demo.repoman:{ssh.repos}/demo/copied", str(ssh.home / "back")).code == 0
    assert (ssh.home / "back").read_bytes() == data
    synced = ssh.run("rsync", "-a", "-e", f"ssh -F {config}", f"{ssh.home}/data/", f"demo.repoman:{ssh.repos}/demo/synced/")
    assert synced.code == 0 and (ssh.repos / "demo/synced/file").read_bytes() == data, synced
    agent = ssh.run("ssh-agent", "sh", "-c", f"ssh -F {config} -A demo.repoman 'echo \"<$SSH_AUTH_SOCK>\"'")
    assert agent.out.endswith("<>\n"), agent
    assert not (ssh.repos / "demo/.ssh").exists() and client(ssh, "ssh", "demo.repoman", "ls -A ~ | grep -x .ssh").code == 1
    port = closed_port()
    serve = 'python3 -c \'import socket; s = socket.create_server(("127.0.0.1", 4321)); c, _ = s.accept(); c.sendall(b"shark"); c.close()\''
    with start(ssh, "-L", f"127.0.0.1:{port}:127.0.0.1:4321", "demo.repoman", f"{serve} & echo ready; wait") as first:
        assert first.stdout and first.stdout.readline() == b"ready\n"
        second = client(ssh, "ssh", "demo.repoman", "until grep -q :10E1 /proc/net/tcp; do sleep 0.1; done; echo listens")
        assert second.out == "listens\n"
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as connection:
            assert connection.recv(100) == b"shark"
        assert first.communicate(timeout=TIMEOUT) == (b"", None) and first.returncode == 0
    key = ssh.incus("exec", "--project=repoman", "demo", "--", "ssh-keygen", "-y", "-f", "/var/lib/repoman/ssh/host_key")
    known = ssh.home / ".local/state/repoman/ssh/known_hosts.d/demo"
    assert known.read_text() == f"demo.repoman {key}" and known.stat().st_uid == ssh.me.uid
    other = ssh.write(ssh.home / "other", f"demo.repoman {key[:40]}{'A' * 20}{key[60:]}")
    refused = client(ssh, "ssh", "-o", f"UserKnownHostsFile={other}", "demo.repoman", "true")
    assert refused.code == 255 and "Host key verification failed" in refused.err
    assert client(ssh, "ssh", "-o", "PubkeyAuthentication=no", "demo.repoman", "true").code == 255
    assert client(ssh, "ssh", "-l", "root", "demo.repoman", "true").code == 255


def test_without_a_server(ssh: World) -> None:
    """An image without OpenSSH's server, a project without a container, and one that does not exist: a sentence and a remedy."""
    for name, sentences in {
        "tiny": (
            "the container 'tiny' has no ssh server.",
            "repoman shell --root tiny sh -c 'apt update && apt install -y openssh-server'",
        ),
        "gone": ("there is no project called 'gone'", "repoman"),
    }.items():
        err = ssh.refused("ssh-proxy", name, code=3)
        assert all(sentence in err for sentence in sentences), err
    again = ssh.refused("ssh-proxy", "tiny", code=3, env={"PYTHONPROFILEIMPORTTIME": "1"})
    modules = {line.rpartition("|")[2].strip() for line in again.splitlines() if line.startswith("import time:")}
    assert "repoman.running" in modules and "ansible" not in modules  # a running container needs no playbook
    ssh.git_repository("later")
    ssh.write(ssh.registry, ssh.registry.read_text() + '\n[[project]]\nname = "later"\nrepo = "later"\n')
    assert "hint: repoman new later" in ssh.refused("ssh-proxy", "later", code=4)
