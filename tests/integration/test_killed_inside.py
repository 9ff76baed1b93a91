# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run is stopped or killed while its command works in the new container, or that command prints its marks too early."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.projects.account_scripts import ACCOUNT_MARK, READY_MARK
from test_killed import children
from test_provision import assert_works, drive, entries
from world import TIMEOUT, World

PHASES = ("wait", "account", "probe")
HOLD = "mv /gate/{0} /gate/{0}-reached 2>/dev/null && exec /bin/busybox sleep 1000000\n"
"""Blocks for ever, but only once: moving the file tells the test that the phase runs."""
PROGRAMS = {
    "cloud-init": HOLD.format("wait"),
    "sh": """\
[ ! -e /gate/lie ] || . /gate/lie
[ "$1" = -c ] || exec /bin/busybox sh "$@"
script=$2
shift 2
exec /bin/busybox sh -c ". /bin/holds; $script" "$@"
""",
    "holds": f"""\
mkdir() {{
    {HOLD.format("account")}
    /bin/busybox mkdir "$@"
}}
su() {{
    /bin/busybox su "$@"
    code=$?
    {HOLD.format("probe")}
    return "$code"
}}
""",
}
"""The wait runs the first. Functions, since this shell has the other programs built in, hold the account when its entry is written, and the
probe when its file is.
"""
MARKS = f"printf '%s\\n' '{READY_MARK}' '{ACCOUNT_MARK}'\n"
PROBE_OF_ROOT = 'shift 12\nIFS= read -r probe\n: >"$1/$probe"\nexit 0\n'
"""In place of all that the command should do; the shell has 12 arguments before the path of the repository."""


@pytest.fixture
def gates(ready: World, tmp_path: Path) -> Iterator[Path]:
    """The directory with a directory for each phase: it steers the programs in the container of the project named after the phase."""
    ready.incus("image", "export", "busybox", str(tmp_path / "busybox"), "--quiet")
    (exported,) = tmp_path.glob("busybox*")
    with tarfile.open(exported) as old, tarfile.open(tmp_path / "gated.tar", "w") as new:
        for member in old:
            if member.name not in {f"rootfs/bin/{name}" for name in PROGRAMS}:
                new.addfile(member, old.extractfile(member) if member.isfile() else None)
        for name, text in PROGRAMS.items():
            content = f"#!/bin/busybox sh\n{text}".encode()
            program = tarfile.TarInfo(f"rootfs/bin/{name}")
            program.size, program.mode = len(content), 0o755
            new.addfile(program, io.BytesIO(content))
    ready.incus("image", "import", str(tmp_path / "gated.tar"), "--alias", "gated", "--quiet")
    for phase in PHASES:
        ready.git_repository(phase)
        gate = ready.mkdir(ready.home / "gates" / phase)
        device = f'[devices.gate]\ntype = "disk"\nsource = "{gate}"\npath = "/gate"\nshift = "true"\n'
        ready.write(ready.overrides / f"{phase}.toml", device)
    yield ready.home / "gates"
    try:
        if left := list(ready.instances()):
            ready.incus("delete", "--force", "--project=repoman", *left)
    finally:
        ready.incus("image", "delete", "gated")


def held(world: World, gates: Path) -> list[subprocess.Popen[bytes]]:
    """Start a ``repoman new`` for each phase; they run, and the command of each in its container is in that phase."""
    for phase in PHASES:
        world.write(gates / phase / phase, "")
    processes = [world.start("repoman", "new", phase, "--image", "gated") for phase in PHASES]
    deadline = time.monotonic() + TIMEOUT
    for phase, process in zip(PHASES, processes, strict=True):
        reached = gates / phase / f"{phase}-reached"
        while not reached.exists():
            assert process.poll() is None and time.monotonic() < deadline, (phase, process.communicate())
            time.sleep(0.02)
        reached.unlink()
    assert [len(files(world, phase)) for phase in PHASES] == [1, 1, 2]
    return processes


def files(world: World, name: str) -> list[str]:
    """Return the names in a repository."""
    return sorted(path.name for path in (world.repos / name).iterdir())


def test_stopped_or_killed_in_each_phase(ready: World, gates: Path) -> None:
    """SIGINT: everything is rolled back, exit 130. SIGKILL to the command and its workers: the next run finishes the project."""
    before = ready.registry.read_text()
    processes = held(ready, gates)
    for process in processes:
        process.send_signal(signal.SIGINT)
    errors = [process.communicate(timeout=TIMEOUT)[1] for process in processes]
    for phase, process, err in zip(PHASES, processes, errors, strict=True):
        assert process.returncode == 130 and b"repoman: error:" in err and b"Traceback" not in err, (phase, err)
        assert phase not in ready.instances() and files(ready, phase) == [".git"], phase
    assert ready.registry.read_text() == before

    processes = held(ready, gates)
    for process in processes:
        workers = children(process.pid)
        assert workers
        for pid in (process.pid, *workers):
            os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=TIMEOUT)  # all that had its output open have ended
        assert process.returncode == -signal.SIGKILL
    assert ready.registry.read_text() == before
    result = drive(ready, *PHASES, image="gated")
    assert not result.get("failed"), result
    assert sorted(entries(ready)) == sorted(PHASES)
    for phase in PHASES:
        instance = ready.instances()[phase]
        assert (instance["status"], instance["config"]["user.repoman.state"]) == ("Running", "ready"), phase
        assert files(ready, phase) == [".git"], phase


def test_marks_that_come_too_early(ready: World, gates: Path) -> None:
    """The check on the host decides: a probe that root made is refused, and with early marks the run still waits for the real probe."""
    before = ready.registry.read_text()
    lie = ready.write(gates / "wait/lie", MARKS + PROBE_OF_ROOT)
    (line,) = drive(ready, "wait", image="gated")["projects"]
    assert f"belongs to 0:0 on the host, not to {ready.me.uid}:{ready.me.gid}" in line["msg"], line
    assert ready.instances() == {} and ready.registry.read_text() == before and files(ready, "wait") == [".git"]
    ready.write(lie, MARKS)
    (line,) = drive(ready, "wait", image="gated")["projects"]
    assert line["action"] == "created", line
    lie.unlink()
    assert_works(ready, "wait")
