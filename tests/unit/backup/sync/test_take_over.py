# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking over the backup of another host: what changes, who may, and what the earlier owner finds."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync import target_preparation
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.take_over import TakeOver
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError
from backup_fixture import BackupHome, actions, seen, without_times

NOBODY = 65534


class Hosts:
    """Hosts with a home each, and one backup for all.

    :ivar one: host ``one``, which the backup belongs to.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.monkeypatch = root, monkeypatch
        self.backup = root / "backup"
        self.backup.mkdir()
        self.one, self.two = self.host("one"), self.host("two")
        self.one.git("isurus")
        self.one.write("plain/src/main.c")
        self.one.write("notes.txt")
        self.be("one")
        self.one.init()

    def host(self, name: str) -> BackupHome:
        """Make the home of a host."""
        (self.root / name).mkdir()
        home = BackupHome(self.root / name)
        home.backup.rmdir()
        home.registry.write_text(home.registry.read_text().replace(str(home.backup), str(self.backup)))
        home.backup = self.backup
        return home

    def be(self, name: str) -> None:
        """Let this process run on a host from now on."""
        self.monkeypatch.setattr(socket, "gethostname", lambda: name)

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Let this process run on a host for a while."""
        before = socket.gethostname()
        self.be(name)
        yield
        self.be(before)

    def copy(self) -> None:
        """Give host ``two`` the repositories of host ``one``, with their times."""
        shutil.copytree(self.one.repos, self.two.repos, symlinks=True, dirs_exist_ok=True)
        self.be("two")

    def marker(self) -> dict[str, Any]:
        """Return the marker."""
        return tomllib.loads(self.marker_path.read_text())

    @property
    def marker_path(self) -> Path:
        """Path of the marker."""
        return self.backup / ".repoman/mirror.toml"


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    """Two hosts; the first one has made a backup, and this process runs there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "alice")
    return Hosts(tmp_path, monkeypatch)


def refused(run: Callable[[], object], expected: str) -> ConflictError:
    """Return the error of a run that is refused."""
    with pytest.raises(ConflictError) as caught:
        run()
    assert expected in caught.value.message
    assert caught.value.hints
    return caught.value


def test_owner_changes_and_nothing_is_copied_again(hosts: Hosts) -> None:
    """The marker keeps its ID and what a user wrote; check mode, diff and the run are one plan; a second run has nothing to take over."""
    hosts.marker_path.write_text(hosts.marker_path.read_text() + '# in the cellar\nplace = "cellar"\n')
    before = hosts.marker()
    hosts.copy()
    user = before["user"]
    error = refused(hosts.two.sync, f"{hosts.backup} is the backup of {user} on one, and this is {user} on two; nothing was written.")
    assert error.hints[0].startswith("repoman sync --take-over   # ")
    tree = seen(hosts.backup)
    predicted = hosts.two.sync(take_over=True, check=True)
    assert seen(hosts.backup) == tree
    assert predicted["changed"] and predicted["steps"] == [
        f"take over the backup of {user} on one (last run less than a minute ago)",
        "back up the settings (1 file)",
    ]
    assert '+host = "two"' not in predicted["diff"][0]["before"] and 'host = "two"\n' in predicted["diff"][0]["after"]

    done = hosts.two.sync(take_over=True)
    assert without_times(done["steps"]) == without_times(predicted["steps"])
    assert done["previous_owner"] == predicted["previous_owner"] and done["previous_owner"].keys() == {"host", "user", "last_run"}
    assert done["previous_owner"]["host"] == "one" and done["previous_owner"]["last_run"].endswith("Z")
    assert set(actions(done).values()) == {"unchanged"} and done["summary"]["bytes"] == done["summary"]["files"] == 0
    taken_over = hosts.marker().pop("taken_over")
    assert hosts.marker() == before | {"host": "two", "taken_over": taken_over, "previous_host": "one", "previous_user": user}
    assert "# in the cellar\n" in hosts.marker_path.read_text()
    again = hosts.two.sync(take_over=True)
    assert (again["changed"], again["steps"], "previous_owner" in again) == (False, [], False)
    assert hosts.two.differences() == []


def test_back_and_forth(hosts: Hosts) -> None:
    """The earlier owner is refused, and takes it back; manifests that it still has are not trusted, and versions of both can be restored."""
    hosts.copy()
    hosts.two.sync(take_over=True)
    hosts.two.write("plain/src/main.c", "two\n")
    hosts.two.write("plain/more")
    hosts.two.write("more.txt")
    os.unlink(hosts.two.repos / "notes.txt")
    (version,) = {line["name"] for line in hosts.two.sync()["units"] if line["action"] == "synced"} - {"(loose files)"}
    assert version == "plain" and hosts.two.differences() == []
    tree = seen(hosts.backup)
    with hosts.on("one"):
        refused(hosts.one.sync, "is the backup of")
        assert seen(hosts.backup) == tree
        back = hosts.one.sync(take_over=True)
        assert actions(back)["plain"] == "synced" and actions(back)["isurus"] == "unchanged"
        assert hosts.one.differences() == []
        kept = hosts.one.sync(list_versions="plain")["kept"]
        assert len(kept) == 2
        hosts.one.restore("plain", to=str(hosts.root / "old"), **{"from": kept[-1]["time"]})
        assert (hosts.root / "old/src/main.c").read_text() == "two\n"
        assert hosts.one.sync()["changed"] is False
    refused(hosts.two.sync, "is the backup of")


def test_manifests_of_an_earlier_time_are_not_trusted(hosts: Hosts) -> None:
    """Not even if the records on the target are those of that time, as after a partial restore of its disk."""
    records = hosts.backup / ".repoman/stamps.json"
    earlier = records.read_text()
    hosts.copy()
    hosts.two.write("plain/src/main.c", "two\n")
    hosts.two.sync(take_over=True)
    records.write_text(earlier)
    with hosts.on("one"):
        assert actions(hosts.one.sync(take_over=True))["plain"] == "synced"
        assert hosts.one.differences() == []


def test_only_some_units(hosts: Hosts) -> None:
    """With names, the other units are compared by the next run."""
    hosts.copy()
    for name in ("isurus", "plain"):
        hosts.two.write(f"{name}/x", "two\n")
    assert actions(hosts.two.sync(names=["plain"], take_over=True)) == {"plain": "synced"}
    assert hosts.marker()["host"] == "two"
    assert actions(hosts.two.sync())["isurus"] == "synced" and hosts.two.differences() == []
    with hosts.on("one"):
        hosts.one.sync(names=["plain"], take_over=True)
        assert actions(hosts.one.sync())["isurus"] == "synced" and hosts.one.differences() == []


def test_mirrors_without_a_source_stay(hosts: Hosts) -> None:
    """Each is an error with a way to restore it; the owner changes all the same. If no unit can be backed up, it does not."""
    hosts.two.write("other/file")
    hosts.be("two")
    done = hosts.two.sync(take_over=True)
    assert actions(done) == {"other": "synced", "isurus": "failed", "plain": "failed", "(loose files)": "failed"}
    for name in ("isurus", "plain"):
        (hints,) = (unit["hints"] for unit in done["units"] if unit["name"] == name)
        assert f"to get it back: repoman restore {name}" in hints and (hosts.backup / name).is_dir()
    assert (hosts.backup / "notes.txt").exists() and hosts.marker()["host"] == "two"
    with hosts.on("three"):
        three = hosts.host("three")
        three.write("other/file")
        tree = seen(hosts.backup)
        for check in (True, False):
            done = three.sync(names=["plain"], take_over=True, check=check)
            assert done["failed"] and done["steps"] == [] and "previous_owner" not in done
        assert seen(hosts.backup) == tree


@pytest.mark.parametrize("text", [json.dumps({"host": "one", "machine": "x", "boot": "", "pid": 1, "started": "", "time": ""}), "", "{"])
def test_host_at_work_keeps_its_backup(hosts: Hosts, text: str) -> None:
    """Its lock file counts, even if it is unreadable; in check mode, too."""
    hosts.copy()
    lock = hosts.backup / ".repoman/lock"
    lock.write_text(text)
    tree = seen(hosts.backup)
    for check in (True, False):
        assert "rm " in refused(lambda check=check: hosts.two.sync(take_over=True, check=check), "is working there").hints[0]
    lock.unlink()
    assert {path: entry for path, entry in seen(hosts.backup).items() if path != ".repoman"} == {
        path: entry for path, entry in tree.items() if path not in (".repoman", ".repoman/lock")
    }


@pytest.mark.parametrize(
    "change", [lambda text: text.replace("format = 1", "format = 2"), lambda text: text.replace("id = ", "no = "), lambda _text: "x"]
)
def test_marker_that_is_unknown_stays(hosts: Hosts, change: Callable[[str], str]) -> None:
    """A newer format, or damage, is refused before anything else."""
    hosts.copy()
    hosts.marker_path.write_text(change(hosts.marker_path.read_text()))
    tree = seen(hosts.backup)
    with pytest.raises(ConflictError):
        hosts.two.sync(take_over=True)
    assert seen(hosts.backup) == tree


def test_failure_before_the_first_change_is_undone(hosts: Hosts) -> None:
    """A target that cannot be prepared belongs to its owner again, to the byte; another marker that came in between stays."""
    hosts.copy()
    before = hosts.marker_path.read_bytes()

    def fail(*_arguments: object) -> None:
        assert hosts.marker()["host"] == "two" and (hosts.backup / ".repoman/lock").exists()
        raise RepomanError("no space.", "df")

    with hosts.monkeypatch.context() as patch:
        patch.setattr(target_preparation, "check_writable", fail)
        with pytest.raises(RepomanError, match="no space"):
            hosts.two.sync(take_over=True)
    assert hosts.marker_path.read_bytes() == before and not (hosts.backup / ".repoman/lock").exists()
    assert hosts.two.sync(take_over=True)["steps"]


def test_of_two_that_take_it_over_one_does(hosts: Hosts) -> None:
    """Both have planned it; the second one to write finds another owner, and changes nothing."""
    hosts.copy()
    three = hosts.host("three")
    shutil.copytree(hosts.one.repos, three.repos, symlinks=True, dirs_exist_ok=True)
    apply = TakeOver._apply

    def late(self: TakeOver) -> None:
        hosts.monkeypatch.setattr(TakeOver, "_apply", apply)
        with hosts.on("three"):
            assert three.sync(take_over=True)["steps"]
        apply(self)

    hosts.monkeypatch.setattr(TakeOver, "_apply", late)
    hosts.two.write("plain/x")
    refused(lambda: hosts.two.sync(take_over=True), "became another backup while the run was planned")
    assert hosts.marker()["host"] == "three" and not (hosts.backup / "plain/x").exists()
    assert not (hosts.backup / ".repoman/lock").exists()


def test_old_owner_that_was_planning(hosts: Hosts) -> None:
    """It loses the target between its last check and its lock: it writes nothing."""
    hosts.one.write("plain/x")
    hosts.copy()
    shutil.rmtree(hosts.two.repos / "plain/x", ignore_errors=True)
    os.unlink(hosts.two.repos / "plain/x")
    prepare = target_preparation.TargetPreparation._prepare

    def late(self: target_preparation.TargetPreparation) -> None:
        hosts.monkeypatch.setattr(target_preparation.TargetPreparation, "_prepare", prepare)
        with hosts.on("two"):
            assert hosts.two.sync(names=["isurus"], take_over=True)["steps"]
        prepare(self)

    hosts.monkeypatch.setattr(target_preparation.TargetPreparation, "_prepare", late)
    hosts.be("one")
    refused(lambda: hosts.one.sync(names=["plain"]), "is the backup of")
    assert not (hosts.backup / "plain/x").exists()


def test_another_user(hosts: Hosts) -> None:
    """Another login name is another owner, too; a target that was never used says so."""
    (hosts.backup / ".repoman/stamps.json").unlink()
    hosts.marker_path.write_text(hosts.marker_path.read_text().replace("user = ", 'user = "bob\\u001b" # '))
    done = hosts.one.sync(take_over=True)
    assert done["steps"] == ["take over the backup of bob\\x1b on one (last run never)"]
    assert done["previous_owner"]["last_run"] == "" and done["changed"]


def test_backup_inside_a_backup_is_no_mirror(hosts: Hosts) -> None:
    """A target that has always been inside another one: no unit of that name is written to it, retired or restored from it."""
    inner = hosts.backup / "nas"
    shutil.copytree(hosts.backup / ".repoman", inner / ".repoman")
    tree = seen(inner)
    hosts.one.write("nas/file")
    hosts.one.write("plain/more")
    done = hosts.one.sync()
    assert actions(done) == {"isurus": "unchanged", "nas": "failed", "plain": "synced", "(loose files)": "unchanged"}
    assert f"{inner} is a backup itself, so it cannot be the mirror of {hosts.one.repos}/nas." in done["msg"]
    shutil.rmtree(hosts.one.repos / "nas")
    assert not hosts.one.sync()["changed"]
    for run in (lambda: hosts.one.sync(names=["nas"]), lambda: hosts.one.restore("nas")):
        with pytest.raises(RepomanError):
            run()
    assert seen(inner) == tree


@pytest.mark.parametrize("shared", [True, False])
def test_host_in_the_path_of_the_backup(hosts: Hosts, shared: bool) -> None:
    """Two hosts with the same registry: each has its own backup; without ``{host}`` the second one is refused."""
    for home in (hosts.one, hosts.two):
        home.registry.write_text(home.registry.read_text().replace(str(hosts.backup), f"{hosts.root}/nfs{'' if shared else '/{host}'}"))
    (hosts.root / "nfs").mkdir()
    hosts.two.write("plain/other")
    hosts.one.init()
    hosts.be("two")
    if shared:
        refused(hosts.two.init, "is the backup of")
        return
    hosts.two.init()
    assert sorted(os.listdir(hosts.root / "nfs/two")) == [".repoman", "plain"]
    assert not (hosts.root / "nfs/one/plain/other").exists()
    (times,) = (json.loads(path.read_text()) for path in (hosts.two.log / "times").glob("*.json"))
    assert list(times) == [f"{hosts.root}/nfs/two"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be two users")
@pytest.mark.parametrize("foreign", [".repoman", "plain"])
def test_another_uid_is_named(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch, unprivileged: Callable[[Callable[[], object]], str], foreign: str
) -> None:
    """Directories of another UID that cannot be changed: both UIDs, and the command that mends it; nothing is half done."""
    hosts = Hosts(short_dir, monkeypatch)
    hosts.copy()
    for path in (short_dir, *short_dir.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    os.chown(hosts.backup / foreign, 0, 0)
    tree = seen(hosts.backup)
    told = unprivileged(lambda: refused(lambda: hosts.two.sync(take_over=True), "belongs to UID 0, and this run has UID 65534").hints)
    assert f"sudo chown -R {NOBODY}:{NOBODY} {hosts.backup}   # " in told, told
    assert seen(hosts.backup) == tree
