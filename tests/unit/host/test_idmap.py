# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Advice about directories whose ids cannot be mapped, and the errors of Incus about them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import filesystem_of
from ansible_collections.homelab.repoman.plugins.module_utils.host.idmap import FIRST_KERNELS, id_mapping_hints, maps_ids
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import IncusError
from ansible_collections.homelab.repoman.plugins.module_utils.projects.failures import start_error
from ansible_collections.homelab.repoman.plugins.module_utils.projects.repository import Repository

REASON = "idmapping abilities are required but aren't supported on system"


@pytest.mark.parametrize(
    ("fstype", "kernel", "expected"),
    [
        ("ext4", "6.12.41+deb13-amd64", "the cause is elsewhere"),
        ("ext4", "5.10.0-33-amd64", "maps ids from Linux 5.12 on; this host runs 5.10.0-33-amd64"),
        ("tmpfs", "6.1.0", "maps ids from Linux 6.3 on"),
        ("tmpfs", "6.12.0", "the cause is elsewhere"),
        ("nfs4", "6.12.0", "is on nfs4, which cannot map ids; move it to ext4, xfs or btrfs"),
        ("fuse.sshfs", "6.12.0", "cannot map ids; move it"),
        ("zfs", "6.12.0", "in some of its versions only"),
        ("ext4", "odd", "maps ids from Linux 5.12 on; this host runs odd"),
    ],
)
def test_advice_follows_from_file_system_and_kernel(fstype: str, kernel: str, expected: str) -> None:
    """A file system that can map ids is never blamed."""
    hints = id_mapping_hints("/r", kernel, fstype)
    assert expected in hints[0] and ("move it" in hints[0]) == (fstype not in FIRST_KERNELS and fstype != "zfs")


@pytest.mark.parametrize(
    ("fstype", "kernel", "expected"),
    [
        ("ext4", "6.12.41", True),
        ("ext4", "5.10.0", False),
        ("tmpfs", "6.1.0", False),
        ("nfs4", "6.12.0", False),
        ("zfs", "6.12.0", None),
        ("ext4", "odd", False),
    ],
)
def test_support_follows_from_file_system_and_kernel(fstype: str, kernel: str, expected: bool | None) -> None:
    """It is not known for file systems outside Linux."""
    assert maps_ids("/r", kernel, fstype) is expected


def test_incus_is_quoted(tmp_path: Path) -> None:
    """The error has Incus's words and the file system that is there; if another device failed, the repository is not blamed."""
    repository = Repository("x", str(tmp_path), str(tmp_path))
    error = start_error(None, IncusError(400, REASON, ""), "demo", repository)  # type: ignore[arg-type]
    assert error.message == f"cannot map ids for 'demo': incus reports: {REASON}."
    assert error.hints[0].startswith(f"{tmp_path} is on {filesystem_of(str(tmp_path))}, ")
    error = start_error(None, IncusError(400, f'Failed to start device "data": {REASON}', ""), "demo", repository)  # type: ignore[arg-type]
    assert error.hints[0] == "look at the source of the device 'data'"
