# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks of Incus that a real one cannot show: an old version, broken pools, sockets without permission."""

from __future__ import annotations

import grp
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.check import Check, Status, run_checks
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.context import DoctorContext
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.host_checks import check_repos_root
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.incus_checks import (
    CHECKS,
    check_network,
    check_root_disk,
    check_server,
    check_storage,
)

MakeContext = Callable[..., DoctorContext]
Daemon = Any
"""The scripted daemon of conftest.py."""
Reply = Callable[..., Any]
ROOT = {"type": "disk", "path": "/", "pool": "data"}


def script(daemon: Daemon, reply: Reply, **objects: Any) -> None:
    """Let the daemon have these objects, by the last part of their path."""
    defaults: dict[str, Any] = {"1.0": {"environment": {"server_version": "6.0.4"}}, "profiles": [], "storage-pools": [], "networks": []}
    answers = defaults | {key.replace("_", "-"): value for key, value in objects.items()}

    def answer(seen: Any) -> Any:
        name = seen.target.partition("?")[0].rpartition("/")[2]
        return reply(answers[name]) if name in answers else reply(kind="error", error="not found", error_code=404, status=404)

    daemon.default = answer


def profile(name: str, **devices: dict[str, str]) -> dict[str, Any]:
    """Return a profile as Incus describes it."""
    return {"name": name, "description": "", "config": {}, "devices": devices, "used_by": []}


@pytest.mark.parametrize(("version", "status"), [("5.21.3", "fail"), ("0.7", "fail"), ("6.0.4", "ok"), ("6.18", "ok"), ("7.0", "ok")])
def test_version(daemon: Daemon, reply: Reply, make_context: MakeContext, version: str, status: str) -> None:
    """6.0 is the first that is supported."""
    script(daemon, reply, **{"1.0": {"environment": {"server_version": version}}})
    outcome = check_server(make_context(socket=daemon.path))
    assert outcome.status == status and f"Incus {version}" in outcome.message and bool(outcome.hints) == (status == "fail")


@pytest.mark.parametrize("version", ["6.0.0", "6.0.4"])
def test_incus_that_newer_kernels_refuse(
    daemon: Daemon, reply: Reply, make_context: MakeContext, me: Any, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """Its version is the cause, whatever the file system of repos_root, and a later Incus the remedy."""
    module = "ansible_collections.homelab.repoman.plugins.module_utils.host.idmap"
    monkeypatch.setattr(f"{module}.FIRST_REFUSING_KERNEL", (5, 12))
    monkeypatch.setattr(f"{module}.filesystem_of", lambda _path: "ext4")
    Path(me.home, "repos").mkdir()
    script(daemon, reply, instances=[], **{"1.0": {"environment": {"server_version": version}}})
    outcome = check_repos_root(make_context(socket=daemon.path))
    if version == "6.0.4":
        assert outcome.status == "ok"
    else:
        assert outcome.status == "warn" and "IDs can be mapped: Incus 6.0.0 cannot map ids on Linux 6.9 or later" in outcome.message
        assert [hint.partition("   # ")[0] for hint in outcome.hints] == ["sudo apt update && sudo apt install incus"]
    environment = {"server_version": version, "kernel_features": {"idmapped_mounts": "false"}}
    script(daemon, reply, instances=[], **{"1.0": {"environment": environment}})
    outcome = check_repos_root(make_context(socket=daemon.path))
    assert outcome.status == "fail" and ("Incus 6.0.0 cannot map ids" in outcome.message) == (version == "6.0.0")
    assert outcome.hints[0].startswith("sudo apt update" if version == "6.0.0" else "uname -r")


@pytest.mark.parametrize(
    ("pool", "space", "status", "message"),
    [
        ({"status": "Created"}, {"total": 4 << 30, "used": 1 << 30}, "ok", "storage pool data (zfs), 3.2 GB free"),
        ({"status": "Created"}, {}, "ok", "storage pool data (zfs)"),
        ({}, {"total": 2 << 30, "used": (2 << 30) - 5000}, "warn", "storage pool data (zfs) has only 5.0 kB free"),
        ({"status": "Unavailable"}, {}, "fail", "storage pool data is unavailable"),
    ],
)
def test_storage(
    daemon: Daemon, reply: Reply, make_context: MakeContext, pool: dict[str, str], space: dict[str, int], status: str, message: str
) -> None:
    """The pool of the root disk counts, not the first one."""
    pools = [{"name": "first", "driver": "dir"}, {"name": "data", "driver": "zfs", **pool}]
    script(daemon, reply, profiles=[profile("default", root=ROOT)], storage_pools=pools, resources={"space": space})
    outcome = check_storage(make_context(socket=daemon.path))
    assert (outcome.status, outcome.message) == (status, message)
    assert all("incus storage info local:data" in hint for hint in outcome.hints) and bool(outcome.hints) == (status != "ok")


def test_no_storage(daemon: Daemon, reply: Reply, make_context: MakeContext) -> None:
    """The hint makes a pool; then the root disk, which has none to name, still has a hint."""
    script(daemon, reply, profiles=[profile("default")])
    context = make_context(socket=daemon.path)
    assert check_storage(context).hints[0].endswith("incus storage create local:default dir")
    assert check_root_disk(context).hints[0].endswith("root disk path=/ pool=POOL")


def test_root_disk_and_network_of_all_default_profiles(daemon: Daemon, reply: Reply, make_context: MakeContext) -> None:
    """Another default profile may have what Incus's own lacks; without a registry, Incus's own counts."""
    nic = {"type": "nic", "network": "incusbr0"}
    script(
        daemon,
        reply,
        profiles=[profile("default"), profile("base", root=ROOT, eth0=nic)],
        storage_pools=[{"name": "data", "driver": "zfs"}],
    )
    both = make_context('[defaults]\nprofiles = ["default", "base"]\n', daemon.path)
    assert check_root_disk(both).message == "profiles default, base: root disk in pool data"
    assert check_network(both).message == "profiles default, base: network incusbr0"
    Path(both.registry_path).unlink()
    alone = make_context(None, daemon.path)
    assert check_root_disk(alone).status == Status.FAIL and check_root_disk(alone).hints[0].endswith(
        "local:default root disk path=/ pool=data"
    )
    assert check_network(alone).status == Status.WARN


def test_hint_names_the_network_that_is_there(daemon: Daemon, reply: Reply, make_context: MakeContext) -> None:
    """Only a bridge that Incus manages can be named like this; without one, the hint makes it."""
    bridge, other = ({"name": name, "type": "bridge", "managed": managed} for name, managed in (("lan0", True), ("br0", False)))
    script(daemon, reply, profiles=[profile("default")], networks=[other, bridge])
    assert check_network(make_context(socket=daemon.path)).hints[0].endswith("local:default eth0 nic network=lan0")
    script(daemon, reply, profiles=[profile("default")], networks=[other])
    hint = check_network(make_context(socket=daemon.path)).hints[0]
    assert "incus network create --project default local:incusbr0 && " in hint and hint.endswith("nic network=incusbr0")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a socket to a group")
def test_access(short_dir: Path, make_context: MakeContext, unprivileged: Callable[[Callable[[], object]], str]) -> None:
    """A group of the account that this session does not have, and one that the account is not in, have different remedies."""
    path = short_dir / "unix.socket"
    group = grp.getgrnam("adm")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(8)
        os.chown(path, 0, group.gr_gid)
        path.chmod(0o660)

        def results(gid: int) -> Callable[[], object]:
            context = make_context(socket=str(path))
            object.__setattr__(context.account, "gid", gid)
            return lambda: [(each["name"], each["message"], each["hints"]) for each in run_checks(CHECKS, context)]

        member = unprivileged(results(group.gr_gid))
        assert "'access', 'alice is in the group adm, but this session is older than that', ['newgrp adm   #" in member
        assert "'without_incus', 'not checked without Incus: the version of Incus, " in member
        stranger = unprivileged(results(1234567))
        assert "'access', 'alice is not in the group adm', ['sudo usermod -aG adm alice   #" in stranger
        path.chmod(0o600)
        assert f"'access', 'alice may not use {path}', ['ls -l {path}']" in unprivileged(results(1234567))


def test_names_are_unique() -> None:
    """Results are found by name."""
    names = [check.name for check in CHECKS if isinstance(check, Check)]
    assert len(names) == len(set(names))
