# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bench leaves behind if it is stopped: nothing."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path

import pytest
from bench import latency, worlds
from bench.latency import is_mounted, slow_directory
from bench.processes import remove_tree, wait_until
from bench.worlds import Bench
from world import CHECKOUT, Me

STOPPED = """\
import signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup around the tests ignores it
from pathlib import Path
from bench.processes import Stopped, stoppable
from bench.worlds import Home
sys.path.insert(0, {here!r})
from test_bench_processes import bench_in
home = Path({home!r})
bench = bench_in(home)
try:
    with stoppable():
        home = Home(bench.me, home, home, "none")
        what = ("sh", "-c", "setsid sleep 1000 & trap '' HUP; echo $! >pid.new; mv pid.new pid; wait")
        bench.run(home, *what) if {measured} else home.run(*what)
except Stopped as stopped:
    sys.exit(stopped.code)
"""
HAS_FUSE = os.access("/dev/fuse", os.R_OK | os.W_OK) and all(map(shutil.which, latency.NEEDS))
HAS_FUSE = HAS_FUSE and Path("/usr/include/fuse3/fuse.h").exists()


def bench_in(place: Path) -> Bench:
    """Return a bench of this user's, whose directories are in a given one."""
    bench = Bench(Namespace(where=place), ExitStack())
    entry = pwd.getpwuid(os.getuid())
    bench.__dict__["me"] = Me(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)
    return bench


def is_alive(process: int) -> bool:
    """Return whether a process runs; one that nobody waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("number", "is_measured"), [(signal.SIGTERM, True), (signal.SIGHUP, True), (signal.SIGINT, True), (signal.SIGTERM, False)]
)
def test_what_runs_is_ended(number: signal.Signals, is_measured: bool, tmp_path: Path) -> None:
    """So are the processes that it started, even in a new session; the exit status tells the signal."""
    script = STOPPED.format(here=str(Path(__file__).parent), home=str(tmp_path), measured=is_measured)
    paths = os.pathsep.join(str(CHECKOUT / each) for each in ("tests", "tests/integration"))
    process = subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": paths}, start_new_session=True)
    assert wait_until((tmp_path / "pid").exists, 60)
    below = int((tmp_path / "pid").read_text())
    assert is_alive(below)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert wait_until(lambda: not is_alive(below), 60)


@pytest.mark.skipif(not HAS_FUSE, reason="there is no FUSE here")
def test_a_busy_mount_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while a process is in it, and if what serves it has been stopped."""
    monkeypatch.setattr(latency, "PATIENCE_BUSY", 0.2)
    bench = bench_in(tmp_path)
    with bench.stack:
        with slow_directory(bench) as slow:
            user = subprocess.Popen(["sleep", "1000"], cwd=slow.path)
            slow._process.send_signal(signal.SIGSTOP)
        assert not is_mounted(slow.path) and slow._process.returncode is not None
        user.kill()
        user.wait()
    assert list(tmp_path.iterdir()) == []


def test_read_only_directories_are_removed(tmp_path: Path) -> None:
    """By an ordinary user, or by root without its powers; a link is not followed."""
    kept, place = tmp_path / "kept", tmp_path / "place"
    kept.mkdir(mode=0o500)
    (place / "a/b").mkdir(parents=True)
    (place / "a/b/file").touch()
    (place / "link").symlink_to(kept)
    for path in (place / "a/b", place / "a"):
        path.chmod(0o500)
    code = f"from bench.processes import remove_tree; from pathlib import Path; remove_tree(Path({str(place)!r}))"
    powerless = ["setpriv", "--bounding-set=-all"] if os.geteuid() == 0 else []
    subprocess.run([*powerless, sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(CHECKOUT / "tests")}, check=True)
    assert not place.exists() and kept.stat().st_mode & 0o777 == 0o500
    remove_tree(kept)


def test_a_run_waits_until_the_inodes_of_the_last_one_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it measures anything, and only as long as is left; a file from the future says nothing."""
    slept: list[float] = []
    monkeypatch.setattr(worlds, "REMOVED", tmp_path / "state/removed")
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(worlds, "install", lambda: tmp_path / "installed")  # no wheel is built
    for age in (0, 100, worlds.REUSE_SECONDS + 1, -1000):
        with ExitStack() as stack:
            bench = Bench(Namespace(where=tmp_path), stack)
            if age != 0:
                os.utime(worlds.REMOVED, (time.time() - age,) * 2)
            bench.install(())
            assert bench.place.is_dir()
        assert not list(tmp_path.glob("repoman-bench.*")) and time.time() - worlds.REMOVED.stat().st_mtime < 60
    assert len(slept) == 1 and worlds.REUSE_SECONDS - 110 < slept[0] <= worlds.REUSE_SECONDS - 100
