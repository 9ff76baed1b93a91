# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Damaged manifests, results of early scans, and logs."""

from __future__ import annotations

import os
import pickle
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import ScanResult, scan_in_memory
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.run_log import RunLog
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync import early_scan
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from fuzzing import damaged_bytes
from hypothesis import given

OWNER = Account(name="alice", uid=os.getuid(), gid=os.getgid(), group="alice", home="/", shell="/bin/sh")


def test_bytes_of_a_manifest(tmp_path: Path) -> None:
    """None is taken for a whole one, except the undamaged one."""
    (tmp_path / "unit/sub").mkdir(parents=True)
    path = str(tmp_path / "manifest")
    scan_in_memory(Unit("unit", str(tmp_path / "unit"))).save(path)
    valid = Path(path).read_bytes()

    @given(damaged=damaged_bytes(valid))
    def check(damaged: bytes) -> None:
        Path(path).write_bytes(damaged)
        loaded = Manifest.load(path)
        assert loaded is None or list(loaded.entries())
        assert (loaded is not None) == (damaged == valid)

    check()


def test_bytes_of_early_scans(tmp_path: Path) -> None:
    """What cannot be read is scanned again."""
    unit = Unit("unit", str(tmp_path / "unit"))
    messages: list[Any] = [early_scan._Started(time.time(), time.monotonic()), unit, early_scan._Scanned(ScanResult(unit, "00"), (), {})]
    valid = b"".join(early_scan._LENGTH.pack(len(data)) + data for data in map(pickle.dumps, messages))
    (tmp_path / "logs").mkdir()
    fd = os.open(tmp_path / "logs", os.O_RDONLY | os.O_DIRECTORY)

    @given(cut=damaged_bytes(valid).filter(lambda data: valid.startswith(data) or len(data) < len(valid)))
    def check(cut: bytes) -> None:
        (tmp_path / "logs" / early_scan.RESULTS).write_bytes(cut)
        scans = early_scan.EarlyScans(fd)
        assert isinstance(scans._read(), float)
        scans.get(unit, "", str(tmp_path / "manifest"))

    try:
        check()
    finally:
        os.close(fd)


def test_a_run_log_beside_odd_names(tmp_path: Path) -> None:
    """Only logs are removed, whatever else is there."""
    directory = tmp_path / "runs"
    directory.mkdir()
    for name in ("sync-99999999T999999Z-1.jsonl", "sync-٢٠٢٦٠٥٠١T000000Z-1.jsonl", os.fsdecode(b"sync-\xff.jsonl"), "x\n"):
        (directory / name).touch()
    with RunLog(directory, OWNER, datetime.now(timezone.utc)) as log:
        log.write({"unit": "a\udcff\ud800", "number": float("nan")})
    assert not log.problems and len(list(directory.iterdir())) == 5
