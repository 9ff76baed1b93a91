# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""sync and restore as an ordinary user types them: words, exit codes, a real target of its own."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from world import TIMEOUT, Result, World

REGISTRY = """\
[repoman]
schema = 3

[defaults]
backup_root = "{backup}"

[[project]]
name = "shark"   # mine
repo = "isurus"
"""


@pytest.fixture
def backup(world: World) -> Iterator[Path]:
    """A home with a git repository and a directory under no control, and a mounted target."""
    target = world.mkdir(world.home / "target")
    world.git_repository("isurus")
    world.write(world.repos / "plain/file", "text\n")
    world.write(world.registry, REGISTRY.format(backup=target))
    if os.geteuid() != 0:
        pytest.skip("needs to mount a file system")
    options = f"size=50m,mode=700,uid={world.me.uid},gid={world.me.gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "repoman-test", target], check=True)
    yield target
    if os.path.ismount(target):
        subprocess.run(["umount", "--lazy", target], check=True)


@contextmanager
def once_read(fifo: Path, run: subprocess.Popen[bytes]) -> Iterator[None]:
    """Wait until somebody reads a pipe, and keep it open."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            writing = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError as error:
            assert error.errno == errno.ENXIO and run.poll() is None and time.monotonic() < deadline, (error, run.poll())
            time.sleep(0.01)
    try:
        yield
    finally:
        os.close(writing)


def rows(result: Result) -> dict[str, list[str]]:
    """Return the summary's rows, by name."""
    return {line.split()[0]: re.split(r"\s{2,}", line)[1:] for line in result.out.splitlines() if line and not line.startswith("==>")}


def differences(one: Path, other: Path) -> str:
    """Ask rsync how two trees differ."""
    command = ["rsync", "-aHnci", "--delete", f"{one}/", f"{other}/"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_life_of_a_backup(world: World, backup: Path) -> None:
    """Refused, adopted, again, verified; deleted, refused, restored; all as typed."""
    assert "hint: for the first backup to it: repoman sync --init" in world.refused("sync", code=4)
    assert not list(backup.iterdir())
    predicted = world.repoman("sync", "--init", "--check", "--diff")
    assert "+ isurus/.git/HEAD" in predicted.out and "would make" in predicted.out
    assert not list(backup.iterdir())
    done = world.repoman("sync", "--init")
    assert rows(done)["isurus"][0] == "synced"
    assert rows(done)["plain"][:2] == ["synced", "2"]
    assert "==> 2 synced; " in done.out
    assert "# mine" in world.registry.read_text() and 'last_sync = "2' in world.registry.read_text()
    assert {path.lstat().st_uid for path in [*backup.rglob("*"), *(world.home / ".local").rglob("*")]} == {world.me.uid}

    again = world.repoman("sync", "--json").data
    assert not again["changed"]
    assert {unit["action"] for unit in again["units"]} == {"unchanged"}
    assert world.repoman("sync").out.startswith("==> 2 up to date; ")
    assert world.repoman("sync", "--verify").out.startswith("==> 2 same; ")

    world.write(world.repos / "plain/file", "changed\n")
    differs = world.repoman("sync", "--verify", code=1)
    assert rows(differs)["plain"][0] == "differs" and "plain: >f" in differs.out
    world.repoman("sync", "shark")
    assert (backup / "plain/file").read_text() == "text\n"
    world.repoman("sync")
    kept = world.repoman("sync", "--list-versions", "plain", "--json").data["kept"]
    assert [each["files"] for each in kept] == [1]
    world.repoman("restore", "plain", "--from", kept[0]["time"], "--path", "file", "--to", "back", cwd=world.home)
    assert (world.home / "back/file").read_text() == "text\n"

    subprocess.run(["cp", "-a", world.repos / "isurus", world.home / "original"], check=True)
    shutil.rmtree(world.repos / "isurus")
    refused = world.repoman("sync", code=4)
    assert rows(refused)["isurus"][0] == "failed" and "plain" not in rows(refused) and "1 up to date" in refused.out
    assert " Last backup: " in refused.err and refused.err.splitlines()[-1].startswith("hint: ")
    assert "hint: to get it back: repoman restore isurus" in refused.err
    assert "would restore shark" in world.repoman("restore", "shark", "--check").out
    assert "==> restored shark to" in world.repoman("restore", "shark").out
    assert differences(world.repos / "isurus", world.home / "original") == ""
    assert world.run("git", "fsck", "--full", cwd=world.repos / "isurus").code == 0
    assert "already matches the backup" in world.repoman("restore", "shark").out
    world.repoman("sync")


def test_settings_come_back_to_a_new_host(world: World, backup: Path) -> None:
    """A run backs them up and says so once; lost ones are refused; restored on a terminal after one question, with what they replace saved."""
    override = world.write(world.registry.parent / "repos.d/shark.toml", f'[devices.models]\nsource = "{world.home}/models"\n')
    world.write(world.registry.parent / "profiles.d/own.yml", "config: {}\n")
    assert "would back up the settings (3 files)" in world.repoman("sync", "--init", "--check").out
    assert "==> backed up the settings (3 files)" in world.repoman("sync", "--init").out
    stored = backup / ".repoman/settings"
    assert {path.lstat().st_uid for path in [stored, *stored.rglob("*")]} == {world.me.uid}
    assert "settings" not in world.repoman("sync").out

    shutil.rmtree(override.parent)
    shutil.rmtree(world.registry.parent / "profiles.d")
    fresh = REGISTRY.format(backup=backup).partition("[[project]]")[0]
    world.write(world.registry, fresh)
    refused = world.repoman("sync", code=4)
    assert "hint: repoman restore --settings   # gets them back" in refused.err and "2 up to date" in refused.out
    marker, owner = backup / ".repoman/mirror.toml", stored / "owner.json"
    marker.write_text(re.sub(r"(?m)^host = .*", 'host = "old"', marker.read_text()))
    owner.write_text(json.dumps(json.loads(owner.read_text()) | {"home": "/home/alice"}))
    (stored / "repos.d/shark.toml").write_text('[devices.models]\nsource = "/home/alice/models"\n')

    predicted = world.repoman("restore", "--settings", "--check", "--json").data
    assert len(predicted["steps"]) == 4 and not override.exists()
    assert "nothing was changed" in world.on_terminal(f"{world.bin_dir}/repoman restore --settings", "n\n").out
    assert not override.exists()
    shown = world.on_terminal(f"{world.bin_dir}/repoman restore --settings", "y\n")
    assert shown.code == 0 and shown.out.count("Proceed?") == 1, shown
    assert "would replace ~/.config/repoman/repoman.toml" in shown.out and "==> replaced ~/.config/repoman/repoman.toml" in shown.out
    assert " on old" in shown.out and "shark.toml names /home/alice/models" in " ".join(shown.out.split())
    (saved,) = world.registry.parent.glob("before-*")
    assert (saved / "repoman.toml").read_text() == fresh and "# mine" in world.registry.read_text()
    assert override.lstat().st_uid == world.me.uid
    assert "already match the backup" in world.repoman("restore", "--settings").out


def test_repositories_are_scanned_while_ansible_starts(world: World, backup: Path) -> None:
    """The run uses these scans; even a killed run leaves nothing for long; with other options, nothing is scanned early."""
    trace, temporary = world.home / "trace", world.home / ".ansible/tmp"

    def scanned_early(*options: str) -> int:
        trace.unlink(missing_ok=True)
        world.repoman("sync", *options, env={"REPOMAN_LOG": str(trace)})
        assert list(temporary.iterdir()) == []
        return trace.read_text().count("scanned before the run began")

    assert scanned_early("--init") in {1, 2}, trace.read_text()
    assert (backup / "plain/file").read_text() == "text\n"
    with world.start("repoman", "sync") as run:
        deadline = time.monotonic() + TIMEOUT
        while not list(temporary.glob("*/results")):
            assert run.poll() is None and time.monotonic() < deadline
            time.sleep(0.001)
        run.kill()
    assert list(temporary.glob("*/results"))
    assert scanned_early("--check") in {1, 2}
    assert scanned_early("--exclude", "*.o") == scanned_early("plain") == scanned_early("--verify") == 0


def test_a_target_that_is_not_mounted(world: World, backup: Path) -> None:
    """Not mounted, the target is refused, and the bare directory stays bare."""
    assert world.module("sync", init=True)["changed"]
    subprocess.run(["umount", backup], check=True)
    assert "is it mounted?" in world.refused("sync", code=4)
    assert "same file system" in world.refused("sync", "--init", code=4)
    assert not list(backup.iterdir())


def test_wrong_usage(world: World, backup: Path) -> None:
    """Options that mean nothing together, names and times that are not known."""
    world.refused("sync", "--allow-local", code=2)
    world.refused("sync", "--verify", "--full", code=2)
    world.refused("sync", "--list-versions", "plain", "--init", code=2)
    assert world.module("sync", init=True)["changed"]
    assert "did you mean 'shark'?" in world.refused("sync", "shrak", code=3)
    world.refused("restore", "nobody", code=3)
    world.refused("restore", "plain", "--from", "then", code=2)
    world.refused("restore", "plain", "--path", "../isurus", code=2)


def test_a_playbook_of_ones_own(world: World, backup: Path) -> None:
    """The role in a playbook: check, apply, again, check; a failed project fails the task."""
    book = world.write(world.home / "site.yml", "- hosts: localhost\n  gather_facts: false\n  roles: [homelab.repoman.sync]\n")
    changed = {"changed=1", "failed=0"}
    assert changed <= set(world.playbook(str(book), "--check", repoman_sync_init=True).out.split())
    assert changed <= set(world.playbook(str(book), repoman_sync_init=True).out.split())
    for more in ([], ["--check"]):
        assert "changed=0" in world.playbook(str(book), *more).out
    shutil.rmtree(world.repos / "plain")
    failed = world.playbook(str(book), code=2)
    assert "is gone, but its mirror is still there" in failed.out + failed.err


def test_progress_on_a_terminal_and_elsewhere(world: World, backup: Path) -> None:
    """On a terminal live lines that go away; elsewhere a plain line for each project; with --json only JSON on standard output."""
    done = world.repoman("sync", "--init")
    assert "isurus: synced, " in done.err
    for number in range(300):
        world.write(world.repos / f"plain/{number}", "x" * 1000)
    shown = world.on_terminal(f"{world.bin_dir}/repoman sync", "")
    assert shown.code == 0
    assert "plain: synced" not in shown.out
    assert "==> 1 synced, 1 up to date" in shown.out
    world.write(world.repos / "plain/more", "x")
    assert json.loads(world.repoman("sync", "--json").out)["summary"]["synced"] == 1


@pytest.mark.parametrize(
    ("argv", "number"),
    [("sync", signal.SIGINT), ("sync", signal.SIGTERM), ("sync", signal.SIGKILL), ("restore plain --to copy", signal.SIGKILL)],
)
def test_an_interrupted_run(world: World, backup: Path, argv: str, number: signal.Signals) -> None:
    """Interrupted in the middle, it exits with 130; killed, all that works for it ends with it. The next run goes on."""
    assert world.module("sync", init=True)["changed"]
    world.write(world.repos / "plain/big", "x" * 30_000_000)
    fifo = backup / ".repoman/mirror.toml"
    text = fifo.read_bytes()
    fifo.unlink()
    os.mkfifo(fifo)
    os.chmod(fifo, 0o666)
    run = world.start("repoman", *argv.split())
    with once_read(fifo, run):  # it now waits for what the mark says
        run.send_signal(number)
        _out, err = run.communicate(timeout=TIMEOUT)  # all that have its output open have ended
        assert run.returncode == (-number if number == signal.SIGKILL else 130), err
    fifo.unlink()
    fifo.write_bytes(text)
    os.chown(fifo, world.me.uid, world.me.gid)
    done = world.repoman(*argv.split())
    assert rows(done)["plain"][0] == "synced" if argv == "sync" else (world.home / "copy/file").exists()
