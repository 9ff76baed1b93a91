# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups that the first edition made: read, verified, restored and continued. ``tests/fixtures/make_first_edition.py`` made them."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.history import format_time
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.registry import override
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store as registry
from backup_fixture import BackupHome, actions, differences, git, seen

FIXTURES = Path(__file__).parents[2] / "fixtures"
EDITIONS = ("first-edition", "first-edition-early")[: 2 if os.environ.get("REPOMAN_ZOO") else 1]
"""The last commit of the first edition, and in ``make test-long`` also its first one with a backup."""
DAY = 24 * 3600
FOR_EVER = 36500
"""Days for which versions are kept: those of the fixture are as old as the fixture."""
UNITS = ("app", "app-topic", "bare.git", "group", "lib", "notes", "packed", "plain", "super")


class FirstEdition(BackupHome):
    """A home and its backup as a run of the first edition left them.

    :ivar versions: the names of the versions that each run made.
    """

    def __init__(self, root: Path, edition: str) -> None:
        subprocess.run(["tar", "-xpf", FIXTURES / f"{edition}.tar.xz", "-C", root], check=True)
        self.root, self.user = root, None
        self.repos, self.backup, self.log = root / "repos", root / "backup", root / "log"
        self.registry = root / "repoman.toml"
        self.versions: list[list[str]] = json.loads((root / "versions.json").read_text())

    def sync(self, check: bool = False, **params: Any) -> dict[str, Any]:
        """Run the logic of the module; nothing expires."""
        return super().sync(check, **{"keep_days": FOR_EVER} | params)

    def tree(self, number: int, *path: str) -> Path:
        """Return what a path in ``repos`` was when a run ended."""
        return self.root.joinpath("trees", str(number), *path)

    def before(self, number: int) -> str:
        """Return the name of the version with the state before a run."""
        return self.versions[number][-1]


@pytest.fixture(params=EDITIONS)
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FirstEdition:
    """The home, on its own host."""
    return unpack(request.param, tmp_path, monkeypatch)


@pytest.fixture
def last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FirstEdition:
    """The home that the last of the first edition made."""
    return unpack(EDITIONS[0], tmp_path, monkeypatch)


def unpack(edition: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> FirstEdition:
    """Unpack a home, and be its user and its host."""
    monkeypatch.setenv("HOME", str(root))
    home = FirstEdition(root, edition)
    marker = home.backup / ".repoman/mirror.toml"
    monkeypatch.setattr(socket, "gethostname", lambda: tomllib.loads(marker.read_text())["host"])
    name = pwd.getpwuid(os.getuid()).pw_name
    marker.write_text(re.sub('user = "[^"]*"', f'user = "{name}"', marker.read_text()))
    return home


def contents_differ(one: Path, other: Path) -> list[str]:
    """Return how contents, types and names of two trees differ: that is what the history has."""
    return [line for line in differences(one, other) if not line.startswith(".")]


@pytest.mark.parametrize("has_state", [True, False], ids=["state", "no-state"])
def test_its_backup_is_verified_and_continued(home: FirstEdition, has_state: bool) -> None:
    """Unchanged repositories are not copied, the second run changes nothing, and a change adds a version."""
    if not has_state:
        shutil.rmtree(home.log)
    before = seen(home.backup)
    verified = home.sync(verify=True)
    assert set(actions(verified).values()) == {"same"}, verified
    assert verified["msg"] == "the settings differ from those in the backup."  # which has none yet
    assert home.sync(check=True)["changed"]
    assert seen(home.backup) == before
    result = home.sync()
    assert not result.get("failed"), result
    assert result["settings"]["first"]
    assert {line["name"]: (line["bytes"], line["kept_bytes"]) for line in result["units"] if line["bytes"] or line["kept_bytes"]} == {}
    assert {path.relative_to(home.ours("kept")).parts[0] for path in home.kept()} == {name for run in home.versions[1:] for name in run}
    again = home.sync()
    assert not again["changed"]
    assert set(actions(again).values()) == {"unchanged"}
    assert home.sync(verify=True)["summary"]["same"] == len(UNITS) + 2
    assert [line for line in home.differences("--exclude=/hush") if not line.startswith("hf ")] == []
    check_registry(home)
    home.write("plain/src/main.c", "now\n")
    git(home.repos / "app", "commit", "-q", "--allow-empty", "-m", "now")
    done = home.sync()
    assert {name for name, action in actions(done).items() if action == "synced"} == {"app", "plain"}
    listed = [version["time"] for version in home.sync(list_versions="plain")["kept"]]
    assert listed[:-1] == [home.before(1), home.before(2), home.before(3)]
    home.restore("plain", to=str(home.root / "plain0"), **{"from": home.before(1)})
    assert contents_differ(home.tree(0, "plain"), home.root / "plain0") == []
    home.restore("plain", to=str(home.root / "plain3"), **{"from": listed[-1]})
    assert contents_differ(home.tree(3, "plain"), home.root / "plain3") == []


def check_registry(home: FirstEdition) -> None:
    """The registry has the time of the backup, everything that the user wrote, and the overrides are read."""
    text = home.registry.read_text()
    assert "# in a directory with others" in text
    assert tomllib.loads(text)["repoman"]["colour"] == "blue"
    loaded = registry.load(str(home.registry))
    assert loaded.schema == 3
    assert {name: bool(project.last_sync) for name, project in loaded.projects.items()} == {"app": True, "one": True, "hush": False}
    assert loaded.projects["one"].profiles == ("default", "claude-share")
    protect = override.load_override(str(home.registry), "app").protect
    assert protect == ("hooks", "config")


def test_each_of_its_versions_comes_back(home: FirstEdition) -> None:
    """Each unit can be restored as of each run, also if it was deleted, is one of several projects, or consists of top-level files."""
    wrong = {}
    for number, unit in ((number, unit) for number in (1, 2, 3) for unit in UNITS):
        to = home.root / f"{unit}-{number}"
        home.restore(unit, to=str(to), **{"from": home.before(number)})
        if lines := contents_differ(home.tree(number - 1, unit), to):
            wrong[unit, number] = lines
        if (to / ".git").is_dir():
            git(to, "fsck", "--full", "--strict")
    assert wrong == {}
    for name, unit, version, number in (
        ("gone", "gone", home.versions[2][0], 1),
        ("one", "group/one", home.before(3), 2),
        ("(loose files)", "", home.before(1), 0),
    ):
        to = home.root / "to"
        home.restore(name, to=str(to), **{"from": version})
        lines = [line for line in contents_differ(home.tree(number, unit), to) if unit or not line.startswith("cd")]
        shutil.rmtree(to)
        assert [line for line in lines if unit or "/" not in line] == [], name


def test_paths_of_its_versions_come_back(last: FirstEdition) -> None:
    """Paths with names of every kind are restored in place, and the replaced files are saved beside them."""
    paths = ["src/main.c", "with space", "-leading", "src/deep", "old", "sparse"]
    last.restore("plain", paths=paths, overwrite=True, **{"from": last.before(1)})
    for path in paths:
        one, other = last.repos / "plain" / path, last.tree(0, "plain", path)
        assert (differences(one, other) if one.is_dir() else one.read_bytes() == other.read_bytes()) in ([], True), path
    assert (last.repos / "plain/sparse").stat().st_blocks * 512 < 1 << 20
    assert (last.repos / "plain/old").stat().st_mtime_ns == 915148800 * 10**9 + 123456789
    assert (last.repos / "plain/-renamed").exists()


def test_another_host_takes_it_over(home: FirstEdition, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything comes back there, its history too, and the backup goes on after ``--take-over`` and not before."""
    shutil.rmtree(home.repos)
    shutil.rmtree(home.log)
    (home.repos / "hush").mkdir(parents=True)
    shutil.copy2(home.tree(3, "hush/secret"), home.repos / "hush/secret")
    monkeypatch.setattr(socket, "gethostname", lambda: "second-host")
    with pytest.raises(ConflictError, match="first-host"):
        home.sync()
    result = home.restore(all=True)
    assert not result.get("failed"), result
    lines = differences(home.tree(3), home.repos)
    assert [line for line in lines if not line.startswith(("hf ", ".d..t...... hush/"))] == []
    taken = home.sync(take_over=True)
    assert not taken.get("failed"), taken
    assert not home.sync()["changed"]
    assert home.sync(verify=True)["summary"]["same"] == len(UNITS) + 2
    home.restore("notes", to=str(home.root / "notes"), **{"from": home.before(1)})
    assert contents_differ(home.tree(0, "notes"), home.root / "notes") == []


def test_its_versions_expire(last: FirstEdition) -> None:
    """They have no index of their order: their names say how old they are."""
    names = [name for run in last.versions for name in run]
    now = time.time()
    aged = {name: format_time(now - (60 - number) * DAY) for number, name in enumerate(names[:-1])} | {names[-1]: format_time(now - DAY)}
    for kind in ("kept", "created"):
        for path in last.ours(kind).iterdir():
            path.rename(path.with_name(aged[path.name]))
    records = json.loads(last.ours("stamps.json").read_text())
    last.ours("stamps.json").write_text(json.dumps(records | {"run": now - DAY / 24}))
    assert last.sync(names=["lib"], keep_days=30)["expired"] == sorted(aged.values())[:-1]
    assert set(os.listdir(last.ours("kept"))) <= {aged[names[-1]], format_time(now)[:8]}
    last.restore("plain", to=str(last.root / "plain2"), **{"from": aged[names[-1]]})
    assert contents_differ(last.tree(2, "plain"), last.root / "plain2") == []
