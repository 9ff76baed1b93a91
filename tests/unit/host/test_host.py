# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Facts about the host and its accounts."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host import account as host
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import (
    Account,
    LanAddress,
    detect_lan_address,
    filesystem_of,
    get_account,
)

ALICE = Account(name="alice", uid=1500, gid=1500, group="alice", home="/home/alice", shell="/bin/bash")


@pytest.mark.parametrize(
    ("stored", "used"),
    [
        ("~", "/home/alice"),
        ("~/repos", "/home/alice/repos"),
        ("$HOME/repos", "/home/alice/repos"),
        ("${HOME}/repos", "/home/alice/repos"),
        ("/srv/$HOME", "/srv/home/alice"),
        ("/nfs/repos/", "/nfs/repos"),
        ("/nfs/./a/../repos", "/nfs/repos"),
        ("/srv/~/x", "/srv/~/x"),
        ("~bob/x", "~bob/x"),
        ("/srv/$HOMEPAGE", "/srv/$HOMEPAGE"),
        ("/srv/$OTHER", "/srv/$OTHER"),
    ],
)
def test_paths_expand_for_the_account(stored: str, used: str) -> None:
    """A leading ~ and the variable HOME are the account's home; nothing else is touched."""
    assert ALICE.expand(stored) == used


def test_a_home_that_looks_like_a_variable_is_not_expanded_again() -> None:
    """What was put in is not looked at once more."""
    odd = Account(name="odd", uid=1, gid=1, group="odd", home="/srv/$HOME", shell="/bin/sh")
    assert odd.expand("~/x") == "/srv/$HOME/x"
    assert odd.expand("${HOME}/x") == "/srv/$HOME/x"


def test_the_environment_says_who_runs_this(monkeypatch: pytest.MonkeyPatch) -> None:
    """USER, where it is one of this user's names, and HOME come before the user database; uid and gid are the process's."""
    entry = pwd.struct_passwd(("alice", "x", os.getuid(), os.getgid(), "", "/home/alice", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwnam", {"alice": entry}.__getitem__)
    monkeypatch.setenv("USER", "alice")
    monkeypatch.setenv("HOME", "/srv/alice/")
    found = get_account()
    assert (found.name, found.home, found.uid) == ("alice", "/srv/alice", os.getuid())


@pytest.mark.parametrize("left", ["daemon", "no-such-user", "x\ny"])
def test_the_name_of_who_logged_in_is_not_taken(left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``su`` leaves USER of another; an account of that name with this process's uid is nobody."""
    monkeypatch.setenv("USER", left)
    assert get_account().name == pwd.getpwuid(os.getuid()).pw_name


def test_without_an_environment_the_user_database_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service manager or cron may set neither."""
    monkeypatch.delenv("USER", raising=False)
    monkeypatch.setenv("HOME", "")
    entry = pwd.getpwuid(os.getuid())
    assert (get_account().name, get_account().home) == (entry.pw_name, entry.pw_dir)


def test_another_user_is_taken_from_the_user_database_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The option ``user`` serves that person, whoever runs the task."""
    monkeypatch.setenv("USER", "alice")
    monkeypatch.setenv("HOME", "/home/alice")
    entry = pwd.getpwnam("daemon")
    found = get_account("daemon")
    assert (found.name, found.uid, found.gid, found.home) == ("daemon", entry.pw_uid, entry.pw_gid, entry.pw_dir)


def test_an_unknown_user_is_named() -> None:
    """The exit code is that of something not known."""
    with pytest.raises(NotFoundError, match="no-such-user"):
        get_account("no-such-user")


def test_a_relative_home_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths made of it would depend on the working directory."""
    monkeypatch.setenv("HOME", "somewhere")
    with pytest.raises(NotFoundError, match="somewhere"):
        get_account()


@pytest.fixture
def ip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the only command there is: ``ip``, to be written by the test."""
    command = tmp_path / "bin" / "ip"
    command.parent.mkdir()
    monkeypatch.setenv("PATH", str(command.parent))
    return command


def _script(command: Path, text: str) -> None:
    command.write_text(f"#!/bin/sh\n{text}\n")
    command.chmod(0o755)


def test_the_address_is_the_first_global_one_of_the_bridge(ip: Path) -> None:
    """Link-local addresses do not count, and ``ip`` is asked for br0 and IPv4."""
    addresses = '{"local":"169.254.1.1","scope":"link"},{"local":"192.168.168.124","scope":"global"},{"local":"10.0.0.1","scope":"global"}'
    _script(ip, f"""[ "$*" = "-json -4 addr show br0" ] && echo '[{{}},{{"ifname":"br0","addr_info":[{addresses}]}}]'""")
    assert detect_lan_address() == LanAddress("192.168.168.124", "br0")


@pytest.mark.parametrize("text", ["echo 'Device \"br0\" does not exist.' >&2; exit 1", "echo '[]'", "true", "echo '[{}]'"])
def test_no_bridge_and_no_default_route_is_an_empty_answer(ip: Path, text: str) -> None:
    """It is not an error: only a template that uses the address needs one."""
    _script(ip, text)
    assert detect_lan_address() == LanAddress()


def test_no_ip_command_is_an_error_with_a_hint(ip: Path) -> None:
    """The hint names the package."""
    with pytest.raises(RepomanError, match="ip") as caught:
        detect_lan_address()
    assert any("iproute2" in hint for hint in caught.value.hints)


def test_an_ip_command_that_answers_nonsense_is_an_error(ip: Path) -> None:
    """An ip without -json must not end in a traceback."""
    _script(ip, "echo '2: br0: <BROADCAST> mtu 1500'")
    with pytest.raises(RepomanError):
        detect_lan_address()


VETH = "ip link add {0} type veth peer {0}-far && ip link set {0}-far up && ip link set {0} up && ip addr add {1}/24 dev {0}"
UPLINK = f"{VETH.format('uplink', '192.0.2.7')} && ip route add default via 192.0.2.1"
OTHER = VETH.format("other", "198.51.100.7")
BRIDGE = "ip link add br0 type bridge && ip link set br0 up"


@pytest.mark.parametrize(
    ("network", "answer"),
    [
        (f"{UPLINK} && {BRIDGE} && ip addr add 198.51.100.9/24 dev br0", "198.51.100.9 br0"),
        (UPLINK, "192.0.2.7 uplink"),
        (f"{UPLINK} && {BRIDGE}", "192.0.2.7 uplink"),
        ("true", ""),
        (OTHER, ""),
        (f"{UPLINK} && ip route replace unreachable default", ""),
        (f"{BRIDGE} && ip addr add fd00::1/64 dev br0 nodad && ip route add default via fd00::2", ""),
        (f"{UPLINK} && {OTHER} && ip route add default via 198.51.100.1 metric 50", "192.0.2.7 uplink"),
        (f"{OTHER} && ip route add default via 198.51.100.1 metric 50 && {UPLINK} metric 60", "198.51.100.7 other"),
        (
            f"{UPLINK} && {OTHER} && ip route add 0.0.0.0/1 via 198.51.100.1 && ip route add 128.0.0.0/1 via 198.51.100.1",
            "198.51.100.7 other",
        ),
        (f"{UPLINK} && ip addr add 192.0.2.8/24 dev uplink && ip route replace default via 192.0.2.1 src 192.0.2.8", "192.0.2.8 uplink"),
        ("ip link set lo up && ip route add default dev lo", ""),
    ],
)
def test_address_in_a_network_of_its_own(network: str, answer: str) -> None:
    """br0's, or that of the default route that the system would take, also with a VPN that covers it by two halves."""
    assert detected_in(network) == answer


@pytest.mark.parametrize(
    ("network", "registered", "answer"),
    [
        (f"{UPLINK} && {OTHER}", "198.51.100.7", "198.51.100.7 other"),
        (OTHER, "198.51.100.7", "198.51.100.7 other"),
        (f"{UPLINK} && {OTHER}", "198.51.100.8", "192.0.2.7 uplink"),
        (f"{UPLINK} && ip link set lo up", "127.0.0.1", "192.0.2.7 uplink"),
        (f"{UPLINK} && {BRIDGE} && ip addr add 198.51.100.9/24 dev br0", "192.0.2.7", "198.51.100.9 br0"),
    ],
)
def test_address_in_the_registry_comes_before_the_default_route(network: str, registered: str, answer: str) -> None:
    """As long as the host has it; br0's comes first."""
    assert detected_in(network, registered) == answer


def detected_in(network: str, registered: str = "") -> str:
    """Return the address and its interface as detected in a network namespace; empty without one.

    :param network: shell commands that make its network.
    """
    own = ["unshare", "--net", "--map-root-user"]
    probe = [*own, "ip", "link", "add", "x", "type", "veth"]
    if shutil.which("unshare") is None or subprocess.run(probe, check=False, capture_output=True).returncode:
        pytest.skip("needs a private network namespace")
    show = f"from {detect_lan_address.__module__} import detect_lan_address as d; print(*filter(None, vars(d('{registered}')).values()))"
    command = [*own, "sh", "-e", "-c", f'{network}\nexec "$0" -c "$1"', sys.executable, show]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /nfs rw shared:2 - nfs4 server:/export rw
24 22 0:22 / /nfs/with\\040space rw - zfs tank rw
25 22 0:23 / /srv/größe rw master:1 - btrfs /dev/vdb rw
26 22 0:24 / /over rw - ext4 /dev/vdc rw
27 22 0:25 / /over rw - tmpfs tmpfs rw
28 22 0:26 / /odd\r\u2028name rw - xfs /dev/vdd rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/etc/passwd", "ext4"),
        ("/nfs", "nfs4"),
        ("/nfs/repos/x", "nfs4"),
        ("/nfsother", "ext4"),
        ("/nfs/with space/x", "zfs"),
        ("/srv/größe/x", "btrfs"),
        ("/over/x", "tmpfs"),
        ("/odd\r\u2028name/x", "xfs"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(path: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names with spaces and umlauts, mounts over mounts, and directories that only begin alike are told apart."""
    table = tmp_path / "mountinfo"
    table.write_bytes(MOUNTS.encode())
    monkeypatch.setattr(host, "Path", lambda asked: table if asked == "/proc/self/mountinfo" else Path(asked))
    assert filesystem_of(path) == kind


def test_the_file_system_of_this_machine_is_known() -> None:
    """The real table of mounts can be read."""
    assert filesystem_of("/proc/self") == "proc"
