# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A homelab on one machine: two hosts, each with an Incus, an account, a home and an ssh daemon on loopback of its own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from world import CHECKOUT, Me, World, account, home_of, place_for

SSHD = "/usr/sbin/sshd"
PRIVILEGED = os.geteuid() == 0
PRIVSEP = Path("/run/sshd")
"""Where an ssh daemon of root's locks itself up; the package leaves it to the service to make it."""
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {place}/host_key
AuthorizedKeysFile {place}/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
SetEnv {environment}
"""


class Lab:
    """Two hosts and a controller.

    :param controller: where the command runs; it has an Incus too, which no test of hosts may touch.
    :param hosts: ``nas1``, reached as the person it serves; ``nas2``, reached as root, which becomes root and serves somebody else.
    :param variables: of each host in the inventory.
    """

    def __init__(self, controller: World, hosts: dict[str, World], variables: dict[str, dict[str, Any]]) -> None:
        self.controller, self.hosts, self.variables = controller, hosts, variables

    def inventory(self, name: str = "hosts.yml", **more: dict[str, Any]) -> str:
        """Write an inventory into the controller's home.

        :param more: variables of a host over those it has, or of one more host.
        :returns: its path.
        """
        names = [*self.hosts, *(name for name in more if name not in self.hosts)]
        hosts = {name: self.variables.get(name, {}) | more.get(name, {}) for name in names}
        return str(self.controller.write(self.controller.home / name, json.dumps({"all": {"hosts": hosts}})))


@contextmanager
def lab(me: Me, bin_dir: Path) -> Iterator[Lab]:
    """Build the lab, and take it down with everything that was made in it."""
    with ExitStack() as stack:
        place = stack.enter_context(place_for("repoman-l"))
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / "host_key"], check=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / "key"], check=True)
        for private in ("host_key", "key"):
            os.chown(place / private, me.uid, me.gid)
        own = os.path.join(os.environ["INCUS_DIR"], "unix.socket")
        controller = World(me, stack.enter_context(home_of(me)), bin_dir, "/nonexistent/controller.socket")
        nas1 = World(me, stack.enter_context(home_of(me)), bin_dir, own)
        other = stack.enter_context(account("n")) if PRIVILEGED else me
        home = Path(other.home) if PRIVILEGED else stack.enter_context(home_of(me))
        nas2 = World(other, home, bin_dir, stack.enter_context(private_incus()))
        hosts = {"nas1": nas1, "nas2": nas2}
        ports = {
            "nas1": stack.enter_context(_sshd(place, "nas1", me, {"HOME": str(nas1.home), "USER": me.name, "INCUS_SOCKET": own})),
            "nas2": stack.enter_context(
                _sshd(place, "nas2", None if PRIVILEGED else me, {"LANG": "C.UTF-8"} if PRIVILEGED else {"HOME": str(home)})
            ),
        }
        control = controller.mkdir(controller.home / "control")
        stack.callback(_hang_up, control)
        known = place / "known_hosts"
        key = (place / "host_key.pub").read_text()
        known.write_text("".join(f"[127.0.0.1]:{port} {key}" for port in ports.values()))
        reached = {
            "ansible_host": "127.0.0.1",
            "ansible_user": me.name,
            "ansible_python_interpreter": str(bin_dir / "python"),
            "ansible_ssh_private_key_file": str(place / "key"),
            "ansible_ssh_pipelining": True,  # an ssh daemon that is not root's has no terminals to give
            "ansible_ssh_args": f"-F none -o UserKnownHostsFile={known} -o ControlMaster=auto -o ControlPersist=60 -o ControlPath={control}/%p",
        }
        variables = {name: reached | {"ansible_port": port} for name, port in ports.items()}
        variables["nas2"] |= {"repoman_socket": nas2.socket}
        if PRIVILEGED:
            variables["nas2"] |= {"ansible_user": "root", "ansible_become": True, "ansible_become_method": "su", "repoman_user": other.name}
        yield Lab(controller, hosts, variables)


def closed_port() -> int:
    """Return a port of loopback that nobody listens on, and that the kernel gives to no connection meanwhile."""
    while True:
        port = 20000 + secrets.randbelow(12000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _hang_up(control: Path) -> None:
    """End the connections that ssh keeps for the next command."""
    for each in control.iterdir():
        done = subprocess.run(["ssh", "-F", "none", "-o", f"ControlPath={each}", "-O", "exit", "lab"], check=False, capture_output=True)
        assert done.returncode == 0 or not each.exists(), done  # it may have ended by itself, its time being up


def make_cluster(one: str, two: str) -> None:
    """Make a cluster of two Incus, members ``one`` and ``two``.

    :param one: socket of the first, whose images and storage stay.
    :param two: socket of the second, which loses what it has.
    """

    def ask(socket: str, *argv: str, said: str = "") -> str:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("INCUS_")}
        environment["INCUS_DIR"] = os.path.dirname(socket)
        return subprocess.run(["incus", *argv], check=True, env=environment, input=said, capture_output=True, text=True).stdout

    ask(one, "config", "set", f"core.https_address=127.0.0.1:{closed_port()}")
    ask(one, "cluster", "enable", "one")
    token = ask(one, "cluster", "add", "two", "--quiet").split()[-1]
    ask(two, "profile", "device", "remove", "default", "root")
    ask(two, "image", "delete", "busybox")
    ask(two, "storage", "delete", "default")
    cluster = {
        "enabled": True,
        "server_name": "two",
        "server_address": f"127.0.0.1:{closed_port()}",
        "cluster_token": token,
        "member_config": [{"entity": "storage-pool", "name": "default", "key": "source", "value": ""}],
    }
    ask(two, "admin", "init", "--preseed", said=json.dumps({"cluster": cluster}))


@contextmanager
def private_incus(images: str = "busybox") -> Iterator[str]:
    """Run one more private Incus; yields its socket.

    :param images: names of the test images that it has.
    """
    script = str(CHECKOUT / "scripts/dev-incus")
    place = tempfile.mkdtemp(prefix="repoman-incus.", dir="/var/tmp")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("INCUS_")}
    environment |= {"OWNER": str(os.getpid()), "IMAGES": images}
    try:
        subprocess.run([script, "up", place], check=True, env=environment, stdin=subprocess.DEVNULL, capture_output=True)
        yield f"{place}/unix.socket"
    finally:
        subprocess.run([script, "down", place], check=True, env=environment, stdin=subprocess.DEVNULL, capture_output=True)
        shutil.rmtree(place, ignore_errors=True)


def restart_incus(socket: str, verb: str = "restart") -> None:
    """Restart a private Incus, as a host that boots does; with ``upgrade``, as an upgrade of its package does."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("INCUS_")}
    script = str(CHECKOUT / "scripts/dev-incus")
    subprocess.run([script, verb, os.path.dirname(socket)], check=True, env=environment, stdin=subprocess.DEVNULL, capture_output=True)


@contextmanager
def _sshd(place: Path, name: str, who: Me | None, environment: dict[str, str]) -> Iterator[int]:
    """Run an ssh daemon on loopback, as root on a host of its own name; yields its port.

    :param who: whose daemon it is, which lets nobody else in; root's where not given.
    :param environment: of what it runs.
    """
    port, config = closed_port(), place / f"{name}.sshd"
    config.write_text(CONFIG.format(port=port, place=place, environment=" ".join(f"{key}={value}" for key, value in environment.items())))
    command = [SSHD, "-D", "-e", "-f", str(config)]
    named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name] if PRIVILEGED else []
    made = who is None and not PRIVSEP.exists()
    if made:
        PRIVSEP.mkdir(mode=0o755)
    command = [*named, *(who.command(command, {}) if who else command)]
    daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert daemon.stderr
    try:
        said = []
        for line in daemon.stderr:
            said.append(line)
            if "Server listening" in line:
                break
        else:
            raise AssertionError(said)
        threading.Thread(target=daemon.stderr.read, daemon=True).start()
        yield port
    finally:
        daemon.terminate()
        daemon.wait()
        if made:
            PRIVSEP.rmdir()
