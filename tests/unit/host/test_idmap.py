# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Advice about directories whose ids cannot be mapped, and the errors of Incus about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account, filesystem_of
from ansible_collections.homelab.repoman.plugins.module_utils.host.idmap import id_mapping_hints, incus_hints, maps_ids
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client, IncusError
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.failures import start_error
from ansible_collections.homelab.repoman.plugins.module_utils.projects.repository import Repository
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import parse

REASON = "idmapping abilities are required but aren't supported on system"


@pytest.mark.parametrize(
    ("fstype", "kernel", "expected"),
    [
        ("ext4", "6.12.41+deb13-amd64", "the cause is elsewhere"),
        ("ext4", "5.10.0-33-amd64", "maps ids from Linux 5.12 on; this host runs 5.10.0-33-amd64"),
        ("tmpfs", "6.1.0", "maps ids from Linux 6.3 on"),
        ("tmpfs", "6.12.0", "the cause is elsewhere"),
        ("nfs4", "6.12.0", "is on nfs4, which is not known to map ids; ext4, xfs and btrfs do"),
        ("fuse.sshfs", "6.12.0", "in some versions only"),
        ("zfs", "6.12.0", "in some versions only"),
        ("ext4", "odd", "maps ids from Linux 5.12 on; this host runs odd"),
    ],
)
def test_advice_follows_from_file_system_and_kernel(fstype: str, kernel: str, expected: str) -> None:
    """A file system that can map ids is never blamed; the next hint shows what Incus says."""
    hints = id_mapping_hints("/r", "incus info other:", kernel, fstype)
    assert expected in hints[0] and "cannot" not in hints[0]
    assert hints[1:] == ["incus info other:   # idmapped_mounts must be true under kernel_features"]


@pytest.mark.parametrize(
    ("fstype", "kernel", "expected"),
    [
        ("ext4", "6.12.41", True),
        ("ext4", "5.10.0", False),
        ("tmpfs", "6.1.0", False),
        ("nfs4", "6.12.0", False),
        ("zfs", "6.12.0", None),
        ("fuse.sshfs", "6.12.0", None),
        ("virtiofs", "6.12.0", None),
        ("ext4", "odd", False),
    ],
)
def test_support_follows_from_file_system_and_kernel(fstype: str, kernel: str, expected: bool | None) -> None:
    """It is not known for file systems outside Linux."""
    assert maps_ids("/r", kernel, fstype) is expected


@pytest.mark.parametrize(
    ("version", "kernel", "faulty"),
    [
        ("6.0.0", "6.8.0-94-generic", False),
        ("6.0.0", "6.9.0", True),
        ("6.0.0", "6.17.0-1022-azure", True),
        ("6.1", "6.12.41+deb13-amd64", True),
        ("6.0.1", "6.12.41", False),
        ("6.0.4", "6.18.44", False),
        ("6.2", "6.12.41", False),
        ("6.10.1", "6.12.41", False),
        ("7.0", "7.0.0", False),
        ("", "6.12.41", False),
        ("6.0.0", "odd", False),
    ],
)
def test_versions_of_incus_that_newer_kernels_refuse(version: str, kernel: str, faulty: bool) -> None:
    """Ubuntu 24.04 has Incus 6.0.0, which works with its first kernel, but not with its later ones."""
    hints = incus_hints(version, kernel)
    assert bool(hints) is faulty
    if faulty:
        assert hints[0].startswith(f"Incus {version} cannot map ids on Linux 6.9 or later") and kernel in hints[0]
        assert hints[1].startswith("sudo apt update && sudo apt install incus   # ")


def test_incus_is_quoted(me: Account, tmp_path: Path) -> None:
    """The error has Incus's words and the file system that is there; if another device failed, the repository is not blamed."""
    repository = Repository("x", str(tmp_path), str(tmp_path))
    context = RunContext(me, "", parse("[repoman]\nschema = 3\n", ""), Client("/other.socket"))
    error = start_error(context, IncusError(400, REASON, ""), "demo", repository)
    assert error.message == f"cannot map ids for 'demo': incus reports: {REASON}."
    assert error.hints[0].startswith(f"{tmp_path} is on {filesystem_of(str(tmp_path))}, ")
    assert error.hints[1].startswith("INCUS_SOCKET=/other.socket incus info local:   # ")
    error = start_error(context, IncusError(400, f'Failed to start device "data": {REASON}', ""), "demo", repository)
    assert error.hints[0] == "look at the source of the device 'data'"


def test_faulty_incus_is_named(daemon: Any, reply: Any, me: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the server reports one of those versions, it is the cause, not the file system."""
    monkeypatch.setattr("ansible_collections.homelab.repoman.plugins.module_utils.host.idmap.FIRST_REFUSING_KERNEL", (5, 12))
    daemon.default = lambda _seen: reply({"environment": {"server_version": "6.0.0"}})
    context = RunContext(me, "", parse("[repoman]\nschema = 3\n", ""), Client(daemon.path))
    error = start_error(
        context, IncusError(400, f'Failed to setup device mount "repo": {REASON}', ""), "demo", Repository("x", "x", str(tmp_path))
    )
    assert error.hints[0].startswith("Incus 6.0.0 cannot map ids on Linux 6.9 or later") and len(error.hints) == 2
