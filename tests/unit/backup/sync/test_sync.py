# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sync: which units, which guards, what is written where; faults, and the run after them."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync import run as sync
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.apply import Applier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.task import UnitTask
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import (
    ConflictError,
    NotFoundError,
    RepomanError,
    RunInterruptedError,
    UsageError,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import tracing
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import run_logic
from backup_fixture import BackupHome, actions, differences, git, killed_after, seen, tmpfs
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

ODD_NAMES = [
    b"new\nline",
    b"-rf",
    b"tab\there",
    b"broken \xff\xfe",
    b"*",
    b"\033[31mred\033[0m",
    b" ",
    b"quote'\"",
    b"back\\slash",
    b"a" * 255,
]


@pytest.fixture
def world(empty_world: BackupHome) -> BackupHome:
    """A home with two repositories and a loose file, not backed up yet."""
    world = empty_world
    world.git("isurus")
    world.write("plain/src/main.c")
    world.write("notes.txt")
    return world


@pytest.fixture
def root_serves_user() -> Iterator[BackupHome]:
    """A home of nobody's, whom root serves; its repositories are root's."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        root = Path(name)
        root.chmod(0o755)
        world = BackupHome(root, user="nobody")
        for path in (root, world.registry, world.backup):
            os.chown(path, 65534, 65534)
        yield world


def line(result: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the line of a unit."""
    return next(each for each in result["units"] if each["name"] == name)


def own(root: Path) -> None:
    """Give all below a directory to the user without privileges, where root is."""
    for path in [root, *root.rglob("*")] if os.geteuid() == 0 else ():
        os.chown(path, 65534, 65534)


# ---- the plain course ----------------------------------------------------------------------------------------------------------


def test_a_run_without_a_mark_writes_nothing(world: BackupHome) -> None:
    """A run without a mark writes nothing, neither there nor here."""
    with pytest.raises(ConflictError, match="no mark"):
        world.sync()
    assert not list(world.backup.iterdir())
    assert not world.log.exists()


def test_the_first_run_is_predicted_done_and_not_done_again(world: BackupHome) -> None:
    """Check, apply, again, check again."""
    before = seen(world.root)
    predicted = world.sync(check=True, init=True, allow_local=True)
    assert predicted["changed"]
    assert set(actions(predicted).values()) == {"synced"}
    assert seen(world.root) == before

    done = world.init()
    assert done["changed"]
    assert done["diff"] == predicted["diff"]
    assert done["steps"] == predicted["steps"]
    assert world.differences() == []
    assert git(world.backup / "isurus", "fsck", "--full", "--strict") == ""

    before = seen(world.backup / "isurus") | seen(world.backup / "plain")
    again = world.sync()
    assert not again["changed"]
    assert set(actions(again).values()) == {"unchanged"}
    assert not again["diff"]
    assert seen(world.backup / "isurus") | seen(world.backup / "plain") == before
    assert not world.sync(check=True)["changed"]


def test_a_unit_is_compared_where_it_was_scanned(world: BackupHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """All processors compare, not only the process that leads the run, unless the mirror has to be read."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    trace = world.root / "trace"
    monkeypatch.setenv("REPOMAN_LOG", str(trace))

    def compared_by_leader(**options: bool) -> set[str]:
        """Run, and return the units that the process which reports the scans has compared too."""
        trace.unlink(missing_ok=True)
        with tracing():
            world.sync(**options)
        lines = [each.split(maxsplit=4) for each in trace.read_text().splitlines()]
        leaders = {each[1] for each in lines if each[4].startswith("scanned: it differs")}
        compared = {each[3].rstrip(":"): each[1] for each in lines if each[4].startswith("compared with")}
        assert compared.keys() == {"isurus", "plain"}
        return {name for name, process in compared.items() if process in leaders}

    assert compared_by_leader(init=True, allow_local=True) == set()
    for each in ("isurus", "plain"):
        world.write(f"{each}/more", "text")
    assert compared_by_leader() == set()
    assert compared_by_leader(full=True) == {"isurus", "plain"}
    assert world.differences() == []


@pytest.mark.parametrize("count", [1, 3])
def test_a_unit_that_cannot_be_compared_where_it_was_scanned(world: BackupHome, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Only that unit fails, with the error of the target; the others are backed up."""
    world.init()
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    (world.backup / ".repoman/work").mkdir(exist_ok=True)
    new = world.backup / ".repoman/work/new"
    if new.is_dir():
        shutil.rmtree(new)
    new.write_text("")
    world.write("isurus/more", "text")
    for number in range(count):
        world.write(f"new{number}/file", "text")
    result = world.sync()
    units = {unit["name"]: unit for unit in result["units"]}
    assert units["isurus"]["action"] == "synced"
    for number in range(count):
        assert "Not a directory" in units[f"new{number}"]["msg"]


def test_units_are_not_compared_where_they_are_scanned_if_the_target_is_remote(world: BackupHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """There each comparison waits for the target, so more of them are done at once than there are processors."""
    world.init()
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(sync, "is_remote", lambda _path: True)
    monkeypatch.setenv("REPOMAN_LOG", str(world.root / "trace"))
    for each in ("isurus", "plain"):
        world.write(f"{each}/more", "text")
    with tracing():
        world.sync()
    assert world.differences() == []
    lines = (world.root / "trace").read_text().splitlines()
    compared = {line.split()[1] for line in lines if ": compared with" in line}
    assert len(compared) == 1
    assert compared == {line.split()[1] for line in lines if "scanned: it differs" in line}


def test_a_damaged_repository_is_told_of_each_time(world: BackupHome) -> None:
    """Its first copy is as damaged; no run after it says that all is well, until it is."""
    blob = git(world.repos / "isurus", "rev-parse", "HEAD:README").strip()
    lost = world.repos / "isurus/.git/objects" / blob[:2] / blob[2:]
    lost.rename(world.root / "lost")
    for more in ({"init": True, "allow_local": True}, {}, {"full": True}, {}):
        result = world.sync(**more)
        assert line(result, "isurus")["action"] == "failed"
        assert "is damaged" in result["msg"]
    assert [each for each in world.differences() if "/.git/logs/" not in each] == []  # lines that need the lost object are left out
    (world.root / "lost").rename(lost)
    assert line(world.sync(), "isurus")["action"] == "synced"
    assert not world.sync(full=True)["changed"]


def test_a_stale_lock_is_nobodys_difference(world: BackupHome) -> None:
    """A lock that a killed git left is not backed up: no run plans it, none misses it."""
    world.init()
    world.write("isurus/.git/index.lock", "")
    assert world.sync()["changed"]  # the time of the directory
    for more in ({}, {"full": True}, {"full": True}):
        assert not world.sync(check=True, **more)["changed"]
        assert not world.sync(**more)["changed"]
    assert set(actions(world.sync(verify=True)).values()) == {"same"}
    (world.backup / "isurus/lost").write_text("x")
    differ = line(world.sync(verify=True), "isurus")["differences"]
    assert [each for each in differ if each != ".d..t...... ./"] == ["*deleting   lost"]  # rsync compares whole seconds


def test_the_first_run_makes_its_directory(world: BackupHome) -> None:
    """Where only the parent of backup_root is there, the first run is predicted and done; what is not there is not made unasked."""
    registered = world.registry.read_text().replace('/backup"', '/nfs/deep/repos"')
    world.registry.write_text(registered)
    (world.root / "nfs").mkdir()
    with pytest.raises(ConflictError, match="there is no such directory"):
        world.sync()
    predicted = world.sync(check=True, init=True, allow_local=True)
    assert os.listdir(world.root / "nfs") == []
    done = world.init()
    assert (done["steps"], done["diff"]) == (predicted["steps"], predicted["diff"])
    assert set(actions(done).values()) == set(actions(predicted).values()) == {"synced"}
    differ = differences(world.repos, world.root / "nfs/deep/repos", "--exclude=/.repoman")
    assert [text for text in differ if not text.endswith(" ./")] == []
    assert not world.sync()["changed"]


def test_what_a_run_replaces_and_removes_is_kept(world: BackupHome) -> None:
    """What a run replaces and removes is kept."""
    world.write("plain/old", "old")
    world.init()
    world.write("plain/src/main.c", "changed\n")
    (world.repos / "plain/old").unlink()
    world.write("plain/new")
    result = world.sync()
    assert (line(result, "plain")["created"], line(result, "plain")["removed"]) == (1, 1)
    assert world.differences() == []
    assert {path.name: path.read_text() for path in world.kept()} == {"main.c": "text\n", "old": "old"}
    (time,) = world.sync(list_versions="plain")["kept"]
    assert (time["files"], time["bytes"]) == (2, 8)
    assert world.sync(list_versions="isurus")["kept"] == []


def test_projects_learn_when_they_were_backed_up(world: BackupHome) -> None:
    """Projects learn when they were backed up, and only those that were."""
    world.project("shark", repo='"isurus"')
    world.project("gone", repo='"gone"')
    world.project("private", repo='"plain"', backup="false")
    world.sync(check=True, init=True, allow_local=True)
    assert world.last_sync("shark") == ""
    world.init()
    assert world.last_sync("shark").endswith("Z")
    assert world.last_sync("gone") == world.last_sync("private") == ""
    assert not (world.backup / "plain").exists()


def test_a_failed_unit_fails_alone(world: BackupHome) -> None:
    """A failed unit fails alone, and says so."""
    world.project("isurus")
    world.project("plain")
    world.init()
    first = world.last_sync("plain"), world.last_sync("isurus")
    shutil.rmtree(world.repos / "plain")
    world.write("isurus/new")
    wait_for_another_second(first[0])
    result = world.sync()
    assert result["failed"]
    assert result["exit_code"] == 4
    assert actions(result) == {"isurus": "synced", "plain": "failed", "(loose files)": "unchanged"}
    assert "is gone" in line(result, "plain")["msg"]
    assert (world.backup / "isurus/new").exists()
    assert world.last_sync("plain") == first[0]
    assert world.last_sync("isurus") > first[1]


def wait_for_another_second(since: str) -> None:
    """Wait until the clock shows another second than ``since``."""
    while time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) <= since:
        time.sleep(0.05)


def test_names_are_projects_or_directories(world: BackupHome) -> None:
    """Names are projects or directories."""
    world.project("shark", repo='"isurus"')
    world.project("private", repo='"plain"', backup="false")
    assert list(actions(world.sync(names=["shark", "isurus"], init=True, allow_local=True))) == ["isurus"]
    with pytest.raises(ConflictError, match="backup = false"):
        world.sync(names=["plain"])
    with pytest.raises(NotFoundError) as caught:
        world.sync(names=["shrak"])
    assert "did you mean 'shark'?" in caught.value.hints


def test_an_override_leaves_a_project_out(world: BackupHome) -> None:
    """An override leaves a project out."""
    world.project("plain")
    (world.root / "repos.d").mkdir()
    (world.root / "repos.d/plain.toml").write_text("backup = false\n")
    assert "plain" not in actions(world.init())


def test_an_override_that_cannot_be_read_stops_nothing(world: BackupHome) -> None:
    """An override that cannot be read stops nothing; there is a warning."""
    world.project("plain")
    (world.root / "repos.d").mkdir()
    (world.root / "repos.d/plain.toml").write_text("backup = perhaps\n")
    result = world.init()
    assert actions(result)["plain"] == "synced"
    assert "plain.toml, line 1" in result["warnings"][0]


def test_a_link_is_copied_as_a_link(world: BackupHome) -> None:
    """A link in repos_root is a loose file, wherever it points."""
    (world.repos / "link").symlink_to("/etc")
    (world.repos / "inside").symlink_to("isurus")
    world.init()
    assert os.readlink(world.backup / "link") == "/etc"
    assert os.readlink(world.backup / "inside") == "isurus"


def test_directories_cannot_be_called_as_ours(world: BackupHome) -> None:
    """A directory called as repoman's own fails alone."""
    world.write(".repoman/mirror.toml", "evil")
    world.write("(loose files)/file")
    world.write(".repoman-restore-x/file")
    world.write(".repoman-clone-x/file")
    result = world.init()
    assert actions(result) == {
        "(loose files)": "failed", ".repoman": "failed", "isurus": "synced", "plain": "synced",
    }  # fmt: skip
    assert "evil" not in world.ours("mirror.toml").read_text()


def test_a_project_inside_a_directory_is_backed_up_with_it(world: BackupHome) -> None:
    """Of projects below one directory all is backed up as one; that one of them wants none is told, and takes nothing from the others."""
    world.git("sharks/lamna")
    world.git("sharks/mako")
    world.project("lamna", repo='"sharks/lamna"', backup="false")
    world.project("mako", repo='"sharks/mako"')
    result = world.init()
    assert actions(result)["sharks"] == "synced"
    assert (world.backup / "sharks/mako/README").exists()
    assert world.last_sync("mako")
    (warning,) = result["warnings"]
    assert "'lamna' cannot be honoured: sharks is" in warning
    assert actions(world.sync(names=["lamna"])) == actions(world.sync(names=["mako"])) == {"sharks": "unchanged"}
    assert not world.sync(names=["isurus"])["warnings"]


def test_a_directory_that_is_left_out_takes_projects_with_it_and_says_so(world: BackupHome) -> None:
    """A directory with backup = false is left out with the projects in it; that is told."""
    world.git("sharks/mako")
    world.project("fish", repo='"sharks"', backup="false")
    world.project("mako", repo='"sharks/mako"')
    result = world.init()
    assert "sharks" not in actions(result)
    (warning,) = result["warnings"]
    assert "'mako' is not backed up" in warning
    with pytest.raises(ConflictError, match="'fish' has backup = false, so sharks is not backed up"):
        world.sync(names=["mako"])


def test_a_project_that_is_a_link_is_what_it_points_at(world: BackupHome) -> None:
    """A project whose repository is a link in repos_root is backed up where the link points."""
    (world.repos / "link").symlink_to("isurus")
    world.project("shark", repo='"link"')
    world.init()
    first = world.last_sync("shark")
    assert first
    for params in ({}, {"allow_shrink": True}):
        assert actions(world.sync(names=["shark"], **params)) == {"isurus": "unchanged"}
    assert os.readlink(world.backup / "link") == "isurus"


def test_a_project_outside_is_refused_by_name(world: BackupHome) -> None:
    """A project outside repos_root has no backup, and naming it means nothing else."""
    outside = world.root / "elsewhere"
    outside.mkdir()
    (world.repos / "away").symlink_to(outside)
    world.init()
    world.project("out", repo=f'"{outside}"')
    world.project("root", repo='"."')
    world.project("away")
    for name in ("out", "root", "away"):
        for run in (
            lambda name=name: world.sync(names=[name]),
            lambda name=name: world.sync(names=[name], allow_shrink=True),
            lambda name=name: world.sync(list_versions=name),
            lambda name=name: world.restore(name, check=True, overwrite=True),
        ):
            with pytest.raises(ConflictError, match="is not inside repos_root"):
                run()


def test_a_name_without_repository_and_mirror(world: BackupHome) -> None:
    """Of a project that has neither repository nor mirror that is said; with shrinking allowed there is nothing to do."""
    world.project("isurus")
    world.init()
    shutil.rmtree(world.repos / "isurus")
    assert actions(world.sync(names=["isurus"], allow_shrink=True)) == {"isurus": "retired"}
    noted = world.last_sync("isurus")
    wait_for_another_second(noted)
    for check in (True, False):
        result = world.sync(check, names=["isurus"], allow_shrink=True)
        assert actions(result) == {"isurus": "unchanged"}
        assert not result["changed"]
        assert "neither a repository nor a mirror" in line(world.sync(check, names=["isurus"]), "isurus")["msg"]
    assert "neither" in line(world.sync(verify=True, names=["isurus"]), "isurus")["msg"]
    assert world.last_sync("isurus") == noted


def test_odd_names_arrive(world: BackupHome) -> None:
    """Odd names arrive."""
    for name in ODD_NAMES:
        directory = os.path.join(os.fsencode(world.repos), name)
        os.mkdir(directory)
        for file in ODD_NAMES:
            with open(os.path.join(directory, file), "wb") as handle:
                handle.write(name)
    result = world.init()
    assert set(actions(result).values()) == {"synced"}
    assert all(name.isprintable() or "\n" in name or "\t" in name or "\033" in name for name in actions(result))
    assert world.differences() == []
    assert not world.sync()["changed"]


def test_logs_are_private_and_few(world: BackupHome) -> None:
    """Logs are private, and the last 50 are kept."""
    world.log.mkdir()
    for day in range(1, 61):
        (world.log / f"sync-20200101T{day:06}Z-1.jsonl").touch()
    world.init()
    logs = sorted(path for path in world.log.iterdir() if path.is_file())
    assert len(logs) == 50
    assert logs[0].name == "sync-20200101T000012Z-1.jsonl"
    assert logs[-1].stat().st_mode & 0o777 == 0o600
    records = [json.loads(text) for text in logs[-1].read_text().splitlines()]
    assert [record.get("event") for record in records] == ["begin", None, None, None, None, "end"]
    assert records[1]["name"] == "(settings)"
    assert {record["name"] for record in records[1:-1]} == {"(settings)", "isurus", "plain", "(loose files)"}


def test_parameters_that_mean_nothing(world: BackupHome) -> None:
    """Parameters that mean nothing together are wrong usage."""
    for params in ({"allow_local": True}, {"verify": True, "full": True}, {"jobs": -1}, {"keep_days": -1}):
        with pytest.raises(UsageError):
            world.sync(**params)


# ---- when manifests are trusted ------------------------------------------------------------------------------------------------


def spoil(world: BackupHome) -> Path:
    """Put a file into a mirror that its manifest does not know of."""
    extra = world.backup / "plain/extra"
    extra.write_text("extra")
    return extra


def stamps(world: BackupHome, change: Any) -> None:
    """Change the stamps."""
    data = json.loads(world.ours("stamps.json").read_text())
    change(data)
    world.ours("stamps.json").write_text(json.dumps(data))


def test_an_unchanged_source_is_not_compared(world: BackupHome) -> None:
    """An unchanged source is not compared with its mirror until it is time, or asked for."""
    world.init()
    extra = spoil(world)
    assert not world.sync()["changed"]
    assert extra.exists()
    assert actions(world.sync(full=True))["plain"] == "synced"
    assert not extra.exists()
    assert [path.name for path in world.kept()] == ["extra"]


@pytest.mark.parametrize("days", [None, -8, 1])
def test_everything_is_compared_again_after_a_week(world: BackupHome, days: int | None) -> None:
    """Everything is compared again after a week, or where the clock was set back."""
    world.init()
    spoil(world)
    full = 0.0 if days is None else time.time() + days * 24 * 3600
    stamps(world, lambda data: data["units"]["plain"].update(full=full))
    assert actions(world.sync()) == {"isurus": "unchanged", "plain": "synced", "(loose files)": "unchanged"}
    spoil(world)
    assert not world.sync()["changed"]


def test_a_manifest_is_trusted_only_with_its_stamp(world: BackupHome) -> None:
    """A target that was rolled back, a lost state and an interrupted run are all noticed."""
    world.init()
    state = world.state

    def other_stamp() -> None:
        stamps(world, lambda data: data["units"]["plain"].update(digest="00" * 32))

    for harm in (
        lambda: shutil.rmtree(state),
        lambda: shutil.rmtree(state / "manifests"),
        lambda: world.ours("stamps.json").unlink(),
        other_stamp,
    ):
        spoil(world)
        harm()
        assert actions(world.sync())["plain"] == "synced"
        assert world.differences() == []


# ---- prediction ----------------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c", "d"])
PATHS = st.builds("/".join, st.lists(NAMES, min_size=1, max_size=3))
KINDS = st.one_of(st.just("dir"), st.builds("file {}".format, st.integers(0, 3)), st.builds("link {}".format, PATHS), st.just("exec"))
TREES = st.dictionaries(PATHS, KINDS, min_size=1, max_size=8)


def plant(root: Path, tree: dict[str, str]) -> None:
    """Make a tree; what cannot be, because something else is there, is left out."""
    for path, kind in tree.items():
        word, _space, value = kind.partition(" ")
        with suppress(OSError):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            if word == "dir":
                (root / path).mkdir()
            elif word == "link":
                (root / path).symlink_to(value)
            else:
                (root / path).write_text(value)
                (root / path).chmod(0o755 if word == "exec" else 0o644)


@settings(max_examples=10, phases=[Phase.explicit, Phase.generate], database=None)
@given(TREES, TREES)
def test_check_mode_predicts_what_a_run_does(old: dict[str, str], new: dict[str, str]) -> None:
    """Check mode predicts what a run does, with a manifest and without."""
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", root)
        world = BackupHome(Path(root))
        world.write("unit/stays")
        plant(world.repos / "unit", old)
        world.init()
        shutil.rmtree(world.repos / "unit")
        world.write("unit/stays")
        plant(world.repos / "unit", new)
        for more in ({}, {"full": True}):
            predicted = world.sync(check=True, **more)
            before = seen(world.backup / "unit")
            done = world.sync(**more)
            after = seen(world.backup / "unit")
            assert world.differences() == []
            assert predicted["diff"] == done["diff"]
            assert predicted["changed"] == done["changed"]
            said = [text.split(" ", 1) for each in predicted["diff"] for text in each["prepared"].splitlines()]
            for sign, one, other in (("+", after, before), ("-", before, after)):
                assert {path.removeprefix("unit/") for its, path in said if its == sign} >= one.keys() - other.keys()
            assert {path.removeprefix("unit/") for _sign, path in said} >= {
                path
                for path in before.keys() & after.keys()
                if not Path(root, "backup/unit", path).is_dir() and differ(before, after, path)
            }
            assert all(before.get(path) != after.get(path) for _sign, text in said if (path := text.removeprefix("unit/") or "."))
        assert not done["changed"]


def differ(before: dict[str, tuple[object, ...]], after: dict[str, tuple[object, ...]], path: str) -> bool:
    """Whether a file became another."""
    return before[path] != after[path]


# ---- guards --------------------------------------------------------------------------------------------------------------------


def test_a_deleted_project_is_refused_then_put_away(world: BackupHome) -> None:
    """A deleted project is refused; named, and with shrinking allowed, its mirror is moved to what is kept."""
    world.init()
    mirror = seen(world.backup / "isurus")
    shutil.rmtree(world.repos / "isurus")
    for params in ({}, {"allow_shrink": True}, {"names": ["isurus"]}):
        result = world.sync(**params)
        assert line(result, "isurus")["action"] == "failed"
        assert any(hint.endswith("repoman restore isurus") for hint in line(result, "isurus")["hints"])
        assert seen(world.backup / "isurus") == mirror
    before = seen(world.root)
    assert actions(world.sync(check=True, names=["isurus"], allow_shrink=True)) == {"isurus": "retired"}
    assert seen(world.root) == before
    assert world.sync(names=["isurus"], allow_shrink=True)["changed"]
    (time,) = os.listdir(world.ours("kept"))
    assert seen(world.ours("kept") / time / "isurus") == mirror
    assert "isurus" not in actions(world.sync())


def test_commands_in_hints_can_be_typed(world: BackupHome) -> None:
    """A name that the shell would take apart is quoted."""
    world.write("two words/file")
    world.init()
    shutil.rmtree(world.repos / "two words")
    gone = line(world.sync(), "two words")["hints"]
    world.write("two words/file")
    (world.repos / "two words/file").unlink()
    emptied = line(world.sync(), "two words")["hints"]
    with pytest.raises(NotFoundError) as caught:
        world.restore("two words", paths=["nowhere"])
    for hint in (*gone, *emptied, *caught.value.hints):
        assert "'two words'" in hint


def test_an_emptied_project_is_refused(world: BackupHome) -> None:
    """An emptied project is refused, unless it is named and shrinking allowed."""
    world.init()
    mirror = seen(world.backup / "plain")
    shutil.rmtree(world.repos / "plain")
    (world.repos / "plain").mkdir()
    for params in ({}, {"allow_shrink": True}, {"full": True}):
        result = world.sync(**params)
        assert "is empty" in line(result, "plain")["msg"]
        assert line(result, "plain")["exit_code"] == 4
        assert seen(world.backup / "plain") == mirror
    assert actions(world.sync(names=["plain"], allow_shrink=True)) == {"plain": "synced"}
    assert [path.name for path in world.kept()] == ["main.c"]


@pytest.mark.parametrize("full", [False, True])
def test_a_project_that_lost_more_than_half_is_refused(world: BackupHome, full: bool) -> None:
    """A project that lost more than half of its files is refused, unless shrinking is allowed."""
    for number in range(200):
        world.write(f"plain/{number}")
    world.init()
    for number in range(110):
        (world.repos / f"plain/{number}").unlink()
    for check in (True, False):
        result = world.sync(check, full=full)
        assert "110 of" in line(result, "plain")["msg"]
        assert result["exit_code"] == 4
        assert len(list((world.backup / "plain").iterdir())) == 201
    assert actions(world.sync(allow_shrink=True, full=full))["plain"] == "synced"
    assert len(world.kept()) == 110


def test_fewer_files_may_go(world: BackupHome) -> None:
    """Up to a hundred files may go, even if they are more than half."""
    for number in range(100):
        world.write(f"plain/{number}")
    world.init()
    for number in range(100):
        (world.repos / f"plain/{number}").unlink()
    assert actions(world.sync())["plain"] == "synced"


def test_an_empty_or_missing_root_changes_nothing(world: BackupHome) -> None:
    """An empty or missing repos_root changes nothing."""
    world.init()
    before = seen(world.backup)
    shutil.rmtree(world.repos)
    with pytest.raises(ConflictError, match="cannot read repos_root"):
        world.sync()
    world.repos.mkdir()
    with pytest.raises(ConflictError, match="is empty"):
        world.sync()
    assert seen(world.backup) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to serve another")
def test_root_serves_another_and_an_unreadable_project_fails_alone(root_serves_user: BackupHome) -> None:
    """All files are the user's, not root's; what the user cannot read fails alone."""
    root_serves_user.git("isurus")
    root_serves_user.write("secret/file").parent.chmod(0)
    root_serves_user.project("isurus")
    for path in (path for path in root_serves_user.repos.rglob("*") if path.name not in ("secret", "file")):
        os.chown(path, 65534, 65534)
    result = root_serves_user.init()
    assert actions(result) == {"isurus": "synced", "secret": "failed"}
    assert "secret" in line(result, "secret")["msg"]
    assert not (root_serves_user.backup / "secret").exists()
    assert {
        path.lstat().st_uid
        for path in [*root_serves_user.backup.rglob("*"), *root_serves_user.log.rglob("*"), root_serves_user.log, root_serves_user.registry]
    } == {65534}
    assert root_serves_user.last_sync("isurus")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to serve another")
def test_what_cannot_be_had_is_told_once(root_serves_user: BackupHome) -> None:
    """What cannot be had on the target is told once of each unit, not again by each run; of a unit that was put away it is forgotten."""
    os.chown(root_serves_user.repos, 65534, 65534)
    os.chown(root_serves_user.write("foreign/file").parent, 65534, 65534)

    def notes(**params: Any) -> list[str]:
        root_serves_user.write("foreign/file", f"{time.monotonic_ns()}\n")
        return [note.split()[0] for note in line(root_serves_user.sync(**params), "foreign").get("notes", [])]

    assert notes(check=True, init=True, allow_local=True) == []
    assert notes(init=True, allow_local=True) == ["owners"]
    assert notes() == notes(full=True) == []
    shutil.rmtree(root_serves_user.repos / "foreign")
    root_serves_user.write("stays")
    root_serves_user.sync(names=["foreign"], allow_shrink=True)
    root_serves_user.write("foreign/file")
    os.chown(root_serves_user.repos / "foreign", 65534, 65534)
    assert notes() == ["owners"]
    assert notes() == []


def test_an_unreadable_directory_stops_nothing_else(short_dir: Path, unprivileged: Callable[[Callable[[], object]], str]) -> None:
    """A directory that cannot be read is named each time, its mirror stays, and all else is mirrored; predicted as it is done."""
    world = BackupHome(short_dir)
    world.project("plain")
    own(short_dir)

    def work() -> None:
        secret = world.write("plain/secret/0").parent
        for number in range(1, 300):
            world.write(f"plain/secret/{number}")
        world.write("plain/old")
        world.write("other/file")
        world.init()
        synced = world.last_sync("plain")
        mirrored = seen(world.backup / "plain/secret")
        secret.chmod(0)
        (world.repos / "plain/old").unlink()
        world.write("plain/new")
        world.write("other/file", "new")
        for full in (False, True):
            for changes in (True, False):
                predicted = world.sync(check=True, full=full)
                done = world.sync(full=full)
                counts = {key: line(done, "plain").get(key, 0) for key in ("created", "changed", "removed")}
                assert {key: line(predicted, "plain").get(key, 0) for key in counts} == counts
                assert any(counts.values()) == (changes and not full)
                assert actions(done) == actions(predicted)
                assert actions(done)["plain"] == "failed"
                assert f"'{secret}' cannot be read" in line(predicted, "plain")["msg"]
                assert line(done, "plain")["msg"].endswith("Everything else in plain was mirrored.")
                assert line(predicted, "plain")["exit_code"] == line(done, "plain")["exit_code"]
        assert sorted(os.listdir(world.backup / "plain")) == ["new", "secret"]
        assert {path: each[1:] for path, each in seen(world.backup / "plain/secret").items()} == {
            path: each[1:] for path, each in mirrored.items()
        }
        assert world.last_sync("plain") == synced
        secret.chmod(0o755)
        assert actions(world.sync())["plain"] == "synced"
        assert world.differences() == []

    assert unprivileged(work) == "None"


def test_read_only_repositories_of_an_ordinary_user(short_dir: Path, unprivileged: Callable[[Callable[[], object]], str]) -> None:
    """A repository that its owner may not write is backed up and put away as any other."""
    world = BackupHome(short_dir)
    own(short_dir)

    def work() -> None:
        world.write("closed/file").parent.chmod(0o555)
        world.write("open/file")
        assert actions(world.init()) == {"closed": "synced", "open": "synced"}
        assert world.differences() == []
        (world.repos / "closed").chmod(0o755)
        shutil.rmtree(world.repos / "closed")
        predicted = world.sync(names=["closed"], allow_shrink=True, check=True)
        assert actions(world.sync(names=["closed"], allow_shrink=True)) == actions(predicted) == {"closed": "retired"}
        (kept,) = (world.backup / ".repoman/kept").glob("*/closed")
        assert kept.stat().st_mode & 0o777 == 0o555
        kept.chmod(0o755)

    assert unprivileged(work) == "None"


def test_what_cannot_be_put_away_fails_alone(world: BackupHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror that cannot be put away, and a manifest that cannot be saved, are the failures of their units alone."""
    world.init()
    shutil.rmtree(world.repos / "plain")
    world.write("notes.txt", "more\n")
    world.git("hammer")

    def refuse(_applier: Applier, task: UnitTask) -> None:
        raise PermissionError(13, "Permission denied", task.name)

    def full(applier: Applier, task: UnitTask, *more: str) -> None:
        if task.name == "hammer":
            raise OSError(28, "No space left on device", applier.run.state)
        save_manifest(applier, task, *more)

    save_manifest = Applier.save_manifest
    with monkeypatch.context() as patched:
        patched.setattr(Applier, "retire", refuse)
        patched.setattr(Applier, "save_manifest", full)
        result = world.sync(names=["plain", "hammer", "(loose files)"], allow_shrink=True)
    assert actions(result) == {"plain": "failed", "hammer": "failed", "(loose files)": "synced"}
    assert "Permission denied" in line(result, "plain")["msg"]
    assert "No space" in line(result, "hammer")["msg"]
    assert (world.backup / "notes.txt").read_text() == "more\n"
    assert actions(world.sync(names=["plain", "hammer"], allow_shrink=True)) == {"plain": "retired", "hammer": "unchanged"}


# ---- faults of the target ------------------------------------------------------------------------------------------------------


def test_a_target_that_is_not_mounted_is_refused(world: BackupHome) -> None:
    """A target that is not mounted is refused, and the bare directory stays bare."""
    with tmpfs(world.backup):
        world.sync(init=True)
        assert world.differences() == []
    with pytest.raises(ConflictError, match="no mark") as caught:
        world.sync()
    assert any("is it mounted?" in hint for hint in caught.value.hints)
    with pytest.raises(ConflictError, match="same file system"):
        world.sync(init=True)
    assert not list(world.backup.iterdir())


def test_a_prediction_allows_for_what_an_earlier_task_makes(world: BackupHome) -> None:
    """A mount, a repository, the registry: in check mode each is an error that may come to be none; others are not."""
    for params in ({}, {"init": True}):
        assert run_logic(sync.run, world.params(**params), True)["exit_code"] == ConflictError.exit_code
        said = run_logic(sync.run, world.params(predict=True, **params), True)
        assert said["changed"] and not said.get("failed") and "no error in check mode" in said["warnings"][0]
        assert run_logic(sync.run, world.params(predict=True, **params), False)["failed"]
    world.init()
    assert run_logic(sync.run, world.params(predict=True, names=["later"]), True)["changed"]
    text = world.registry.read_text()
    foreseen = {"predict": True, "registry_text": text.replace('/repos"', '/elsewhere"')}
    assert "elsewhere" in run_logic(sync.run, world.params(**foreseen), True)["warnings"][0]
    assert not run_logic(sync.run, world.params(**foreseen, registry_text_path="~/other.toml"), True)["changed"]
    world.registry.unlink()
    assert "there is no registry" in run_logic(sync.run, world.params(predict=True), True)["warnings"][0]
    assert not run_logic(sync.run, world.params(predict=True, registry_text=text), True)["changed"]
    world.registry.write_text("[repoman]\nschema = 99\n")
    assert run_logic(sync.run, world.params(predict=True), True)["failed"]


def test_the_first_run_makes_the_directory(world: BackupHome) -> None:
    """With init a directory that is not there yet is made, as check mode says."""
    world.backup.rmdir()
    predicted = world.sync(check=True, init=True, allow_local=True)
    assert not world.backup.exists()
    assert world.init()["steps"] == predicted["steps"]
    assert differences(world.repos / "isurus", world.backup / "isurus") == []


def test_a_read_only_target_is_refused(world: BackupHome) -> None:
    """A read-only target is refused; the run after that is clean."""
    with tmpfs(world.backup):
        world.sync(init=True)
        world.write("plain/new")
        subprocess.run(["mount", "-o", "remount,ro", str(world.backup)], check=True)
        with pytest.raises(RepomanError, match="Read-only") as caught:
            world.sync()
        assert caught.value.exit_code == 1
        subprocess.run(["mount", "-o", "remount,rw", str(world.backup)], check=True)
        world.sync()
        assert world.differences() == []


def test_a_target_that_fills_keeps_the_old_mirrors(world: BackupHome) -> None:
    """A target that fills keeps the old mirrors; with room again the next run is clean."""
    with tmpfs(world.backup, "size=20m"):
        world.write("plain/big", "x" * 6_000_000)
        world.sync(init=True)
        world.write("plain/big", "y" * 12_000_000)
        world.write("plain/bigger", "z" * 20_000_000)
        result = world.sync()
        assert line(result, "plain")["action"] == "failed"
        assert line(result, "plain")["hints"]
        assert actions(result)["isurus"] == "unchanged"
        held = [path for path in world.backup.rglob("big") if path.stat().st_size == 6_000_000]
        assert held
        assert held[0].read_text() == "x" * 6_000_000
        assert git(world.backup / "isurus", "fsck", "--full") == ""
        assert os.listdir(world.ours("work")) == ["new"]
        subprocess.run(["mount", "-o", "remount,size=80m", str(world.backup)], check=True)
        world.sync()
        assert world.differences() == []


def test_a_project_that_does_not_fit_blocks_nobody(world: BackupHome) -> None:
    """A new project that does not fit fails, leaves nothing that takes the others' space, and is done once there is room."""
    with tmpfs(world.backup, "size=20m"):
        world.sync(init=True)
        for number in range(6):
            world.write(f"huge/{number}", "z" * 5_000_000)
        for turn in range(2):
            world.write("plain/new", "y" * 6_000_000 + str(turn))
            result = world.sync(names=["huge"])
            assert "No space left" in line(result, "huge")["msg"]
            assert os.listdir(world.ours("work") / "new") == []
            assert actions(world.sync(names=["plain"], keep_days=0)) == {"plain": "synced"}
            shutil.rmtree(world.ours("kept"), ignore_errors=True)
        subprocess.run(["mount", "-o", "remount,size=80m", str(world.backup)], check=True)
        assert actions(world.sync())["huge"] == "synced"
        assert world.differences() == []


def test_a_first_copy_that_nobody_wants_any_more_is_cleared_away(world: BackupHome) -> None:
    """What a killed run began of a project goes with the project; what it began of others stays, also where only one is named."""
    world.project("private", repo='"private"', backup="false")
    world.write("private/file")
    world.init()
    world.write("later/file")
    for name in ("gone", "later", "private"):
        (world.ours("work/new") / name).mkdir(parents=True)
        (world.ours("work/new") / name / "begun").touch()
    world.sync(check=True)
    assert len(os.listdir(world.ours("work/new"))) == 3
    world.sync(names=["isurus"])
    assert os.listdir(world.ours("work/new")) == ["later"]
    assert actions(world.sync())["later"] == "synced"
    assert os.listdir(world.ours("work/new")) == []
    assert world.differences("--exclude=/private") == []


def test_what_has_expired_makes_room(world: BackupHome) -> None:
    """A target that is full of what was kept long enough is no full target."""
    with tmpfs(world.backup, "size=20m"):
        world.sync(init=True)
        old = world.ours("kept") / "20200101T000000Z/plain/old"
        old.parent.mkdir(parents=True)
        old.write_bytes(b"x" * 17_000_000)
        world.write("plain/new")
        assert actions(world.sync())["plain"] == "synced"
        assert not old.exists()
        assert world.differences() == []


def test_a_wrong_name_removes_nothing(world: BackupHome) -> None:
    """A run that is refused for what was typed has removed nothing, not even what has expired."""
    world.init()
    old = world.ours("kept") / "20200101T000000Z/plain/old"
    old.parent.mkdir(parents=True)
    old.write_text("x")
    with pytest.raises(NotFoundError, match="no project or directory called 'plian'"):
        world.sync(names=["plian"])
    assert old.exists()
    world.sync()
    assert not old.exists()


def test_a_hung_target_is_given_up_on(world: BackupHome) -> None:
    """A hung target is given up on; a pipe in place of the mark hangs whoever opens it."""
    world.init()
    mark = world.ours("mirror.toml").read_text()
    world.ours("mirror.toml").unlink()
    os.mkfifo(world.ours("mirror.toml"))
    for run in (world.sync, lambda **params: world.restore("plain", **params)):
        with pytest.raises(RepomanError, match="does not answer") as caught:
            run(probe_timeout=0.3)
        assert caught.value.exit_code == 1
    world.ours("mirror.toml").unlink()
    world.ours("mirror.toml").write_text(mark)
    assert not world.sync()["changed"]


def test_two_runs_at_once(world: BackupHome) -> None:
    """The second of two runs is refused and changes nothing."""
    world.init()
    world.write("plain/new")
    hold = subprocess.Popen(["flock", str(world.state / "lock"), "sh", "-c", "echo held; read _end"], stdin=-1, stdout=-1)
    assert hold.stdout
    assert hold.stdout.readline() == b"held\n"
    before = seen(world.backup)
    with pytest.raises(ConflictError, match="another run") as caught:
        world.sync()
    assert caught.value.exit_code == 4
    assert seen(world.backup) == before
    hold.communicate(b"\n")
    world.sync()
    assert world.differences() == []


def test_runs_that_are_killed_are_made_good_by_the_next(world: BackupHome) -> None:
    """Runs that are killed at any moment are made good by the next, without help."""
    world.init()
    chance = random.Random(4)  # noqa: S311 - moments, no secrets
    for turn in range(12):
        for number in range(30):
            world.write(f"plain/{chance.randrange(60)}", f"{turn} {number}")
        git(world.repos / "isurus", "commit", "-q", "--allow-empty", "-m", f"{turn}")
        (world.repos / f"plain/{turn}").unlink(missing_ok=True)
        killed_after(chance.random() * 0.25, world.sync)
        git(world.backup / "isurus", "fsck", "--full")
    world.sync()
    assert world.differences() == []
    assert git(world.backup / "isurus", "fsck", "--full") == ""
    assert not world.ours("lock").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_a_clean_state(world: BackupHome, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    """An interrupted run ends at once; what it finished counts."""
    world.project("isurus")
    world.init()
    first = world.last_sync("isurus")
    wait_for_another_second(first)
    for name in ("isurus", "plain"):
        world.write(f"{name}/new")

    def interrupt(_display: object, _line: object) -> None:
        os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(sync.ProgressDisplay, "unit_finished", interrupt)
        with pytest.raises(RunInterruptedError) as caught:
            world.sync()
    assert caught.value.exit_code == 130
    assert not world.ours("lock").exists()
    world.sync()
    assert world.differences() == []
    assert world.last_sync("isurus") > first


# ---- the rest ------------------------------------------------------------------------------------------------------------------


def test_verify_tells_and_changes_nothing(world: BackupHome) -> None:
    """Verify tells what differs and changes nothing."""
    world.init()
    before = seen(world.root)
    result = world.sync(verify=True)
    assert set(actions(result).values()) == {"same"}
    assert "failed" not in result
    file = world.backup / "plain/src/main.c"
    times = file.stat()
    file.write_text("TEXT\n")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    before = seen(world.root)
    result = world.sync(verify=True)
    assert actions(result) == {"isurus": "same", "plain": "differs", "(loose files)": "same"}
    assert any("main.c" in difference for difference in line(result, "plain")["differences"])
    assert result["failed"]
    assert result["exit_code"] == 1
    assert seen(world.root) == before


def test_what_lay_in_the_target_before_is_no_loose_file(world: BackupHome) -> None:
    """Files of others in an adopted target are neither differences nor restored; loose files of ours that are gone from the source are."""
    (world.backup / "photos.zip").write_text("photos")
    world.write("other.txt")
    world.init()
    (world.backup / "later.zip").write_text("later")
    assert set(actions(world.sync(verify=True)).values()) == {"same"}
    (world.repos / "other.txt").unlink()
    for lost in (False, True):
        if lost:
            shutil.rmtree(world.state / "manifests")
        verified = line(world.sync(verify=True), "(loose files)")
        assert verified["differences"] == ["*deleting   other.txt"]
    world.sync(full=True)
    assert (world.backup / "other.txt").exists()  # it is not known any more whose it is


def test_verify_needs_a_backup(world: BackupHome) -> None:
    """Verify needs a backup."""
    with pytest.raises(ConflictError):
        world.sync(verify=True)


def test_what_was_kept_long_enough_goes(world: BackupHome) -> None:
    """What was kept long enough goes, as predicted; what is newer stays."""
    world.init()
    for when in ("20200101T000000Z", "20200102T000000Z"):
        (world.ours("kept") / when / "plain").mkdir(parents=True)
        (world.ours("created")).mkdir(exist_ok=True)
        (world.ours("created") / when).write_text("{}")
    world.write("plain/src/main.c", "changed\n")
    predicted = world.sync(check=True)
    assert predicted["expired"] == ["20200101T000000Z", "20200102T000000Z"]
    assert len(os.listdir(world.ours("kept"))) == 2
    assert world.sync()["steps"] == predicted["steps"]
    assert len(os.listdir(world.ours("kept"))) == 1
    assert [path.name for path in world.kept()] == ["main.c"]
    assert not world.sync()["changed"]
    assert world.sync(keep_days=0)["expired"] == []


def test_many_new_files_of_one_unit_are_no_burden_of_others(world: BackupHome) -> None:
    """Their list has a file of its own: an earlier time has none of them, and it expires with the state."""
    world.init()
    for number in range(1000):
        world.write(f"plain/src/{number:0100}", "new")
    world.write("plain/src/main.c", "changed\n")
    assert line(world.sync(), "plain")["action"] == "synced"
    when = max(os.listdir(world.ours("kept")))
    created = sorted(each for each in os.listdir(world.ours("created")) if each.startswith(when))
    assert len(created) == 2
    assert (world.ours("created") / created[0]).stat().st_size < 1000
    world.restore("plain", **{"from": when, "to": str(world.root / "old")})
    assert os.listdir(world.root / "old/src") == ["main.c"]
    old = "20200101T000000Z"
    os.rename(world.ours("kept") / when, world.ours("kept") / old)
    for each in created:
        os.rename(world.ours("created") / each, world.ours("created") / each.replace(when, old))
    world.write("plain/src/main.c", "changed again\n")
    assert world.sync()["expired"] == [old]
    assert [each for each in os.listdir(world.ours("created")) if each.startswith(old)] == []


def test_nothing_of_a_run_is_left_lying_about(world: BackupHome) -> None:
    """Nothing of a run is left lying about."""
    world.init()
    found = set(os.listdir(world.backup / ".repoman")) - {"work"}
    assert found == {"created", "history.json", "mirror.toml", "settings", "stamps.json", "traits.json"}
    assert sorted(os.listdir(world.state)) == ["lock", "manifests", "scratch", "units.lock"]
    assert not os.listdir(world.state / "scratch")
    assert differences(world.repos / "plain", world.backup / "plain") == []
