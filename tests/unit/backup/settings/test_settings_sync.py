# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each backup run also keeps the host's settings: which files, how they are compared, what goes to the history, and what is refused."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings import files, write
from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.stored import Owner
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync import records
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync import run as sync
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.host_settings import SettingsSync
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import run_logic
from backup_fixture import actions, seen, tmpfs
from settings_home import NOBODY, OVERRIDE, SECRET, SettingsHome, home_of_nobody, settings_of


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SettingsHome:
    """A home that is not backed up yet."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return SettingsHome(tmp_path)


def untimed(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result without what only a run knows."""
    left_out = ("summary", "settings", "units")
    settings = {key: value for key, value in result["settings"].items() if not key.endswith("bytes")}
    return {key: value for key, value in result.items() if key not in left_out} | {"settings": settings, "units": actions(result)}


# ---- what is backed up ---------------------------------------------------------------------------------------------------------


def test_settings_are_predicted_backed_up_and_then_unchanged(world: SettingsHome) -> None:
    """Check mode says what the run does; the second run changes nothing, although the first one wrote to the registry."""
    before = seen(world.root)
    predicted = world.sync(check=True, init=True, allow_local=True)
    assert seen(world.root) == before
    registry = world.registry.read_text()
    mtime = 1_600_000_000_123_456_789
    os.utime(world.overrides / "isurus.toml", ns=(mtime, mtime))
    done = world.init()
    assert untimed(done) == untimed(predicted)
    assert done["steps"][-1] == "back up the settings (4 files)"
    assert (settings_of(done)["action"], settings_of(done)["files"], settings_of(done)["first"]) == ("synced", 4, True)
    assert "(settings)" not in actions(done) and done["summary"]["synced"] == 2

    assert world.files() == world.here() | {"repoman.toml": registry}
    assert registry != world.registry.read_text()  # last_sync
    assert (world.stored / "repos.d/isurus.toml").stat().st_mtime_ns == mtime
    for path in [world.stored, *world.stored.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert world.owner() | {"time": "", "files": {}} == {
        "format": 1,
        "host": os.uname().nodename,
        "user": world.owner()["user"],
        "home": str(world.root),
        "time": "",
        "files": {},
    }

    everything = seen(world.stored)
    for more in ({}, {"full": True}, {"names": ["isurus"]}):
        for check in (True, False):
            again = world.sync(check=check, **more)
            assert not again["changed"] and not again["steps"] and settings_of(again)["action"] == "unchanged", again
    assert seen(world.stored) == everything
    assert len(world.versions()) == 1


def test_what_changes_goes_to_the_history(world: SettingsHome) -> None:
    """A changed registry, a deleted override, a renamed template, a new override: also with a name, each once."""
    world.init()
    before = world.files()
    world.registry.write_text(world.registry.read_text() + "# mine\n")
    (world.overrides / "isurus.toml").unlink()
    (world.overrides / "lamna.toml").write_text('image = "x"\n')
    (world.templates / "llm.yml").rename(world.templates / "llm2.yml")
    predicted = world.sync(check=True, names=["lamna"])
    done = world.sync(names=["lamna"])
    assert untimed(done) == untimed(predicted)
    assert done["steps"] == ["back up the settings (5 files)"] and done["changed"]
    counts = {key: settings_of(done)[key] for key in ("created", "changed", "removed", "first")}
    assert counts == {"created": 2, "changed": 1, "removed": 2, "first": False}
    lines = ["+ (settings)/profiles.d/llm2.yml", "- (settings)/profiles.d/llm.yml", "~ (settings)/repoman.toml"]
    lines += ["- (settings)/repos.d/isurus.toml", "+ (settings)/repos.d/lamna.toml"]
    assert sorted(done["diff"][0]["prepared"].splitlines()) == sorted(lines) and len(done["diff"]) == 1
    assert world.files() | {"repoman.toml": ""} == world.here() | {"repoman.toml": ""}
    changed = ("repoman.toml", "repos.d/isurus.toml", "profiles.d/llm.yml")
    assert world.saved() == {name: before[name] for name in changed}
    created = history.created_of(Target(str(world.backup), ""), world.versions()[-1], "(settings)")
    assert created == [b"profiles.d/llm2.yml", b"repos.d/lamna.toml"]
    assert not world.sync()["changed"]
    for path in (world.backup / ".repoman/kept").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    listed = world.sync(list_versions="(settings)")
    assert [version["files"] for version in listed["kept"]] == [4]  # with owner.json


def test_versions_of_settings_expire_like_all_others(world: SettingsHome) -> None:
    """A version that is older than keep_days is removed with its settings; nothing else is."""
    world.init()
    (world.overrides / "isurus.toml").write_text("# changed\n")
    world.sync()
    old = world.backup / ".repoman/kept/20200101T000000Z/(settings)/repos.d/isurus.toml"
    old.parent.mkdir(parents=True)
    old.write_text("old\n")
    done = world.sync()
    assert done["expired"] == ["20200101T000000Z"] and not old.exists()
    assert world.saved() == {"repos.d/isurus.toml": OVERRIDE}


def test_only_settings_are_taken(world: SettingsHome) -> None:
    """Editors' files, other suffixes, hidden files and directories inside are not settings; an invalid or binary one is."""
    for name in ("x.toml~", ".#x.toml", "README", "x.yml"):
        (world.overrides / name).write_text("no")
    (world.templates / "x.toml").write_text("no")
    (world.overrides / "sub").mkdir()
    (world.overrides / "sub/x.toml").write_text("no")
    (world.overrides / "broken.toml").write_text("[[[")
    (world.templates / "odd.YML").write_bytes(b"\xff\xfe\0")
    odd = os.fsdecode(b"odd \xff.yml")
    (world.templates / odd).write_text("odd\n")
    world.init()
    expected = {"repoman.toml", "repos.d/isurus.toml", "repos.d/broken.toml", "profiles.d/llm.yml", "profiles.d/dots.yaml"}
    found = {str(path.relative_to(world.stored)) for path in world.stored.rglob("*") if path.is_file()}
    assert found == expected | {"profiles.d/odd.YML", f"profiles.d/{odd}", "owner.json"}
    assert (world.stored / "profiles.d/odd.YML").read_bytes() == b"\xff\xfe\0"
    assert not world.sync()["changed"]


def test_links_are_followed_for_their_content(world: SettingsHome) -> None:
    """The registry, a directory and a single file may be links, as stow makes them; the target gets files."""
    dots = world.root / "dots"
    dots.mkdir()
    world.registry.rename(dots / "repoman.toml")
    world.registry.symlink_to("dots/repoman.toml")
    world.overrides.rename(dots / "repos.d")
    world.overrides.symlink_to(dots / "repos.d")
    (world.templates / "llm.yml").rename(dots / "llm.yml")
    (world.templates / "llm.yml").symlink_to(dots / "llm.yml")
    registry = world.registry.read_text()
    world.init()
    assert world.files() == world.here() | {"repoman.toml": registry}
    assert not [path for path in world.stored.rglob("*") if path.is_symlink()]
    (dots / "repos.d/isurus.toml").write_text("# new\n")
    assert settings_of(world.sync())["changed"] == 1
    assert world.registry.is_symlink() and world.overrides.is_symlink()


def make_fifo(path: Path) -> None:
    """Put a pipe there."""
    path.unlink()
    os.mkfifo(path)


def make_huge(path: Path) -> None:
    """Make it larger than all limits."""
    os.truncate(path, 1 << 40)


def make_dangling(path: Path) -> None:
    """Put a link there that leads nowhere."""
    path.unlink()
    path.symlink_to("nowhere")


def make_loop(path: Path) -> None:
    """Put a link there to itself."""
    path.unlink()
    path.symlink_to(path.name)


def make_directory(path: Path) -> None:
    """Put a directory there."""
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [make_fifo, make_huge, make_dangling, make_loop, make_directory])
@pytest.mark.parametrize("name", ["repos.d/isurus.toml", "profiles.d/llm.yml"])
def test_what_cannot_be_read_is_a_warning_and_stays_in_the_backup(world: SettingsHome, name: str, spoil: Callable[[Path], None]) -> None:
    """Each run names it; its copy stays, other changes are backed up, and it is no difference."""
    world.init()
    before = world.files()
    path = (world.overrides if name.startswith("repos.d") else world.templates) / name.rpartition("/")[2]
    spoil(path)
    done = world.sync()
    assert not done["changed"]
    assert any(f"{path} is not backed up: " in warning for warning in done["warnings"]), done["warnings"]
    (world.templates / "dots.yaml").write_text("new: 1\n")
    done = world.sync()
    assert settings_of(done)["changed"] == 1 and len([each for each in done["warnings"] if "stays" in each]) == 1
    assert world.files()[name] == before[name]
    assert not world.sync()["changed"] and not world.sync(full=True)["changed"]


@pytest.mark.parametrize("link", [False, True])
def test_a_directory_that_cannot_be_read_loses_nothing(world: SettingsHome, link: bool) -> None:
    """A link to a directory that is gone, as without its mount, or something else in its place; a deleted directory is a loss."""
    world.init()
    before = world.files()
    world.templates.rename(world.root / "gone")
    world.templates.symlink_to("nowhere") if link else world.templates.write_text("")
    done = world.sync()
    assert not done["changed"] and f"{world.templates} is not backed up: " in done["warnings"][-1]
    assert world.files() == before
    world.templates.unlink()
    refused(world)
    assert settings_of(world.sync(allow_shrink=True))["removed"] == 2
    assert set(world.saved()) == {"profiles.d/llm.yml", "profiles.d/dots.yaml"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to serve another user")
def test_a_run_for_a_user_reads_as_that_user() -> None:
    """Root serves a user: a file of root's that the user cannot read is a warning, and the backup is the user's."""
    with home_of_nobody() as world:
        os.chown(world.overrides / "isurus.toml", 0, 0)
        (world.overrides / "isurus.toml").chmod(0o600)
        done = world.sync(init=True, allow_local=True, user_dir=str(world.templates))
        assert any("isurus.toml is not backed up: Permission denied" in warning for warning in done["warnings"]), done["warnings"]
        assert sorted(world.files()) == ["profiles.d/dots.yaml", "profiles.d/llm.yml", "repoman.toml"]
        assert {path.stat().st_uid for path in [world.stored, *world.stored.rglob("*")]} == {NOBODY}


def test_all_together_are_limited(world: SettingsHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """What exceeds the memory for all of them is a warning; long lists of warnings are cut."""
    monkeypatch.setattr(files, "TOTAL_BYTES", len(world.registry.read_bytes()) + 10)
    for number in range(20):
        (world.templates / f"t{number}.yml").write_text("x" * 100)
    done = world.init()
    warnings = [warning for warning in done["warnings"] if "not backed up" in warning]
    assert len(warnings) == 11 and warnings[-1].startswith("13 more settings")


def test_nothing_shows_a_secret(world: SettingsHome, tmp_path: Path) -> None:
    """Neither result, diff, warnings, trace nor log have the content of a file, also if one is broken or in the way."""
    trace: list[str] = []
    (world.overrides / "lamna.toml").write_text(f"[config\n{SECRET}")
    for more in ({"init": True, "allow_local": True}, {}, {"verify": True}):
        (world.overrides / "isurus.toml").write_text(OVERRIDE + f"# {len(trace)}\n")
        result = run_logic(sync.run, world.params(**more), False, trace.append)
        assert SECRET not in repr(result)
    assert SECRET not in "".join(trace) and trace
    assert SECRET not in "".join(path.read_text() for path in world.log.rglob("*.jsonl"))


# ---- last_sync -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('name = "a"\n', 'name = "a"\nlast_sync = "2026-01-01T00:00:00Z"\n'),
        ('name = "a"\nlast_sync = ""\nbackup = true\n', 'name = "a"\nlast_sync = "x"\nbackup = true\n'),
        ('project = [{name = "a"}]', 'project = [{name = "a", last_sync = "x"}]'),
        ("last_sync = ''\n", 'last_sync   =\t"2026"\n'),
        ('name = "a"\n', 'name = "a"\n"last_sync" = "x"\n'),
        ('name = "a"\n\n[x]\n', "name = \"a\"\n  'last_sync' = 'x' \n\n[x]\n"),
        ('name = "a"\r\n', 'name = "a"\r\nlast_sync = "x"\r\n'),
        ('last_sync = "" # mine\n', 'last_sync = "x" # mine\n'),
        ('project = [{last_sync = "", name = "a"}]', 'project = [{last_sync = "x", name = "a"}]'),
        ('project = [{name = "a"}]', 'project = [{name = "a", "last_sync" = "x"}]'),
    ],
)
def test_times_of_backups_are_no_difference(before: str, after: str) -> None:
    """They do not count, however they are written."""
    assert files.digest("repoman.toml", before.encode()) == files.digest("repoman.toml", after.encode())
    assert files.digest("repos.d/x.toml", before.encode()) != files.digest("repos.d/x.toml", after.encode())


@pytest.mark.parametrize(
    "other", ['last_synced = "x"', 'my_last_sync = "x"', 'my-last_sync = "x"', "# last_sync", 'name = "last_sync"', '\'last_sync" = "x"']
)
def test_other_keys_are_differences(other: str) -> None:
    """Only that key does not count."""
    assert files.digest("repoman.toml", b"") != files.digest("repoman.toml", other.encode())


@pytest.mark.parametrize("line", [b"\n", b" ", b" \n", b"\t\t\n", b",", b", ", b"last_sync ", b'last_sync = "\n', b"{last_sync='"])
def test_a_large_registry_is_compared_in_the_life_of_the_test(line: bytes) -> None:
    """A damaged registry may be megabytes of anything: each of its lines is looked at once."""
    text = line * (1_000_000 // len(line))
    assert len(files.without_last_sync(text)) <= len(text)
    assert files.without_last_sync(b'[x]\nlast_sync = "x"\n' + text + b'\nlast_sync = "x"\n').startswith(b"[x]\n" + text[:1])


# ---- the guard -----------------------------------------------------------------------------------------------------------------


def refused(world: SettingsHome, **params: Any) -> dict[str, Any]:
    """Run, and check that the settings are refused and stay, while the units are backed up; in check mode the same."""
    before = seen(world.stored)
    (world.repos / "isurus/file").write_text(f"{time.monotonic_ns()}\n")
    predicted, done = world.sync(check=True, **params), world.sync(**params)
    for result in (predicted, done):
        assert result["failed"] and result["exit_code"] == 4, result
        assert settings_of(result)["action"] == "failed" and actions(result)["isurus"] == "synced"
        assert "the settings in the backup were not changed" in result["msg"]
        assert [hint.split("   #")[0] for hint in result["hints"]] == [
            "repoman restore --settings",
            "repoman sync '(settings)' --allow-shrink",
        ]
        assert not [step for step in result["steps"] if "settings" in step]
    assert seen(world.stored) == before
    return done


def lose(world: SettingsHome, *, projects: bool = True, files: int = 9) -> None:
    """Lose the projects, and some of the overrides and templates."""
    if projects:
        text = world.registry.read_text()
        world.registry.write_text(text[: text.index("[[project]]")])
    for path in [*world.overrides.iterdir(), *world.templates.iterdir()][:files]:
        path.unlink()


def test_settings_of_which_nothing_is_left_are_refused(world: SettingsHome) -> None:
    """A new installation has a registry without projects: it replaces nothing until that is allowed; then the old ones are kept."""
    world.init()
    before = world.files()
    lose(world)
    refused(world)
    refused(world, names=["isurus"], allow_shrink=True)  # that is about isurus
    done = world.sync(allow_shrink=True)
    assert "failed" not in done and settings_of(done)["removed"] == 3
    assert world.saved() == before
    assert not world.sync()["changed"]


def test_settings_of_which_most_is_gone_are_refused(world: SettingsHome) -> None:
    """Four of seven are too many; three of seven are not, as long as something of each kind is left."""
    for number in range(2):
        (world.overrides / f"x{number}.toml").write_text("")
    world.init()
    for path in (world.overrides / "x0.toml", world.overrides / "x1.toml", world.templates / "llm.yml"):
        path.unlink()
    assert settings_of(world.sync())["removed"] == 3
    for number in range(2):
        (world.overrides / f"x{number}.toml").write_text("")
    (world.templates / "llm.yml").write_text("")
    world.sync()
    assert len([name for name in world.files() if "/" in name]) == 5
    world.registry.write_text(world.registry.read_text().replace('name = "lamna"', 'name = "other"'))
    for path in (world.overrides / "x0.toml", world.overrides / "x1.toml", world.templates / "llm.yml"):
        path.unlink()
    assert "4 of 7 settings" in refused(world)["msg"]


@pytest.mark.parametrize("kind", ["projects", "repos.d", "profiles.d"])
@pytest.mark.parametrize(("of", "gone"), [(2, 2), (7, 4), (20, 20)])
def test_the_loss_of_one_kind_is_refused_whatever_is_left_of_the_others(world: SettingsHome, kind: str, of: int, gone: int) -> None:
    """A new registry must not replace a good one because there are many overrides, and so on."""
    directories = {"projects": world.root / "unused", "repos.d": world.overrides, "profiles.d": world.templates}
    lose(world)
    for name, directory in directories.items():
        for number in range(of if name == kind else 12):
            if name == "projects":
                world.project(f"p{number}")
            else:
                (directory / f"p{number}{'.yml' if name == 'profiles.d' else '.toml'}").write_text("")
    world.init()
    if kind == "projects":
        head, *projects = world.registry.read_text().split("[[project]]")
        world.registry.write_text("[[project]]".join([head, *projects[gone:]]))
    else:
        for path in sorted(directories[kind].iterdir())[:gone]:
            path.unlink()
    done = refused(world)
    assert f"{gone} of {24 + of} settings" in done["msg"]


def test_a_few_of_one_kind_may_go(world: SettingsHome) -> None:
    """Half of the projects, two of five overrides, the only template."""
    lose(world)
    for number in range(8):
        world.project(f"p{number}")
    for number in range(5):
        (world.overrides / f"x{number}.toml").write_text("")
    (world.templates / "one.yml").write_text("")
    world.init()
    head, *projects = world.registry.read_text().split("[[project]]")
    world.registry.write_text("[[project]]".join([head, *projects[4:]]))
    for path in (*[world.overrides / f"x{number}.toml" for number in range(2)], world.templates / "one.yml"):
        path.unlink()
    assert settings_of(world.sync())["removed"] == 3


def test_the_last_one_may_go(world: SettingsHome) -> None:
    """One thing is no loss: it goes to the history."""
    lose(world)
    (world.overrides / "a.toml").write_text("a\n")
    world.init()
    (world.overrides / "a.toml").unlink()
    assert settings_of(world.sync())["removed"] == 1


def test_settings_that_cannot_be_read_are_not_lost(world: SettingsHome) -> None:
    """A directory behind a broken link does not count as gone: the rest is backed up."""
    for number in range(8):
        (world.templates / f"x{number}.yml").write_text("")
    world.init()
    world.templates.rename(world.root / "gone")
    world.templates.symlink_to("nowhere")
    (world.overrides / "isurus.toml").write_text("# new\n")
    assert settings_of(world.sync())["changed"] == 1


@pytest.mark.parametrize("key", ["host", "user"])
def test_settings_of_another_account_are_refused_if_anything_is_missing(world: SettingsHome, key: str) -> None:
    """Then one missing thing is enough; if all is here, the owner is written."""
    world.init()
    owner = world.owner()
    (world.stored / "owner.json").write_text(json.dumps(owner | {key: "other\x1b[2J\n\ud800"}))
    text = (world.overrides / "isurus.toml").read_text()
    (world.overrides / "isurus.toml").unlink()
    assert "other\\x1b[2J\\n\\ud800" in refused(world)["msg"]  # it is shown on a terminal
    (world.overrides / "isurus.toml").write_text(text)
    done = world.sync()
    assert done["steps"] == ["update the owner of the settings in the backup"] and done["changed"]
    assert world.owner()[key] == owner[key]
    assert not world.sync()["changed"]


def test_another_home_is_noted(world: SettingsHome) -> None:
    """The home of the same account is no reason to refuse, but the backup has the new one."""
    world.init()
    (world.stored / "owner.json").write_text(json.dumps(world.owner() | {"home": "/home/before"}))
    (world.overrides / "isurus.toml").unlink()
    assert "failed" not in world.sync()
    assert world.owner()["home"] == str(world.root)


def test_settings_of_a_newer_format_are_left_alone(world: SettingsHome) -> None:
    """They are refused, and the units are backed up."""
    world.init()
    (world.stored / "owner.json").write_text(json.dumps(world.owner() | {"format": 2}))
    world.write("isurus/file", "new\n")
    done = world.sync()
    assert done["exit_code"] == 4 and done["hints"] == ["upgrade repoman"] and actions(done)["isurus"] == "synced"


# ---- faults --------------------------------------------------------------------------------------------------------------------


def test_a_run_that_refuses_all_units_changes_no_settings(world: SettingsHome) -> None:
    """It does not change the target, so that no version expires; check mode says so, too."""
    world.init()
    before = seen(world.backup)
    for name in ("isurus", "lamna"):
        (world.repos / name / "file").unlink()
    (world.overrides / "isurus.toml").write_text("# new\n")
    for check in (True, False):
        done = world.sync(check=check)
        assert settings_of(done)["action"] == "skipped" and not done["changed"] and done["exit_code"] == 4
    assert seen(world.backup) == before


def test_a_full_target_fails_the_settings_and_no_unit(world: SettingsHome) -> None:
    """The error names the file; the next run, with space, needs no help."""
    world.init()
    before = world.files()
    with tmpfs(world.stored, "size=16k"):
        (world.templates / "llm.yml").write_text("y" * 40_000)
        world.write("isurus/file", "new\n")
        done = world.sync(allow_shrink=True)
        assert done["exit_code"] == 1 and "No space left" in done["msg"] and str(world.stored) in done["msg"]
        assert actions(done)["isurus"] == "synced" and settings_of(done)["action"] == "failed"
    assert world.files() == before
    assert settings_of(world.sync())["changed"] == 1


def test_an_unwritable_target_directory_fails_the_settings_and_no_unit(unprivileged: Callable[[Callable[[], object]], str]) -> None:
    """EACCES on the directory of the settings is an error of the settings."""
    with home_of_nobody(user=None) as world:

        def run() -> str:
            params = {"user_dir": str(world.templates)}
            world.sync(init=True, allow_local=True, **params)
            (world.stored / "repos.d").chmod(0o500)
            (world.overrides / "isurus.toml").write_text("# new\n")
            (world.repos / "isurus/file").write_text("new\n")
            done = world.sync(**params)
            (world.stored / "repos.d").chmod(0o700)
            return json.dumps(done)

        done = json.loads(unprivileged(run))
        assert done["exit_code"] == 1 and "Permission denied" in done["msg"], done
        assert actions(done)["isurus"] == "synced"


@pytest.mark.parametrize("moment", range(6))
def test_killed_in_between_all_is_old_or_new_and_the_next_run_finishes(
    world: SettingsHome, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """A run that ends before any of its writes leaves whole files, each old or new, and nothing that the next run does not mend."""
    world.init()
    before = world.files()
    (world.overrides / "isurus.toml").write_text("# new\n")
    (world.overrides / "lamna.toml").write_text("# new\n")
    (world.templates / "llm.yml").unlink()
    real, count = write.write_atomic_bytes, [0]

    def stop(path: str, *args: Any, **more: Any) -> None:
        if count[0] == moment:
            (Path(path).parent / f".{Path(path).name}.new").write_text("half")
            os._exit(1)
        count[0] += 1
        real(path, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(write, "write_atomic_bytes", stop)
        with pytest.raises(RepomanError, match="was killed"):
            world.sync()
    after = world.here()
    assert all(text in (before.get(name), after.get(name)) for name, text in world.files().items() if name != "repoman.toml")
    assert (world.files() | before).keys() >= before.keys()
    done = world.sync()
    assert "failed" not in done
    assert world.files() | {"repoman.toml": ""} == after | {"repoman.toml": ""}
    assert world.saved() == {name: before[name] for name in ("repos.d/isurus.toml", "profiles.d/llm.yml")}
    assert not list(world.stored.rglob(".*"))
    assert not world.sync()["changed"] and not world.sync(full=True)["changed"]


def test_a_damaged_file_on_the_target_is_found_by_full_and_verify(world: SettingsHome) -> None:
    """An ordinary run trusts its record, as for manifests; --verify names the file, --full replaces it."""
    world.init()
    (world.stored / "repos.d/isurus.toml").write_text("rotten")
    assert not world.sync()["changed"]
    (world.stored / "profiles.d/dots.yaml").unlink()
    done = world.sync(verify=True)
    assert done["failed"] and done["exit_code"] == 1 and done["msg"] == "the settings differ from those in the backup."
    assert done["hints"] == ["repoman sync --full"]
    assert settings_of(done)["action"] == "differs"
    assert settings_of(done)["differences"] == ["profiles.d/dots.yaml is not in the backup", "repos.d/isurus.toml differs"]
    assert settings_of(world.sync(full=True))["files"] == 2
    done = world.sync(verify=True)
    assert settings_of(done)["action"] == "same" and "failed" not in done


def test_what_is_missing_on_the_target_is_backed_up_again_by_any_run(world: SettingsHome) -> None:
    """Its directories are read each time; what is there and should not be is found too."""
    world.init()
    before = world.files()
    world.stored.joinpath("repoman.toml").unlink()
    for path in [*world.stored.joinpath("repos.d").iterdir()]:
        path.unlink()
    (world.stored / "repos.d").rmdir()
    (world.stored / "profiles.d/more.yml").write_text("mine\n")
    predicted, done = world.sync(check=True, names=["isurus"]), world.sync(names=["isurus"])
    assert untimed(done) == untimed(predicted)
    assert [settings_of(done)[key] for key in ("created", "changed", "removed")] == [2, 0, 1]
    assert world.files() | {"repoman.toml": ""} == before | {"repoman.toml": ""}
    assert world.saved() == {"profiles.d/more.yml": "mine\n"}
    assert not world.sync()["changed"]


def test_settings_are_compared_fully_when_a_mirror_is(world: SettingsHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a week, or if a record is lost, a run reads the stored files, too; and if it is only about them."""
    world.init()
    rotten = world.stored / "repos.d/isurus.toml"

    def repairs(**params: Any) -> bool:
        rotten.write_text("rotten")
        world.sync(**params)
        return rotten.read_text() == OVERRIDE

    assert not repairs() and not repairs(names=["isurus"])
    assert repairs(names=["(settings)"])
    with monkeypatch.context() as patch:
        patch.setattr(records, "FULL_SECONDS", 0.0)
        assert repairs()
    assert not repairs()
    next((world.state / "manifests").iterdir()).unlink()
    assert repairs()


def test_a_run_can_be_only_about_the_settings(world: SettingsHome) -> None:
    """Then no unit is read or written; together with a name, they are what they are in any run."""
    done = world.sync(init=True, allow_local=True, names=["(settings)"])
    assert actions(done) == {} and settings_of(done)["action"] == "synced" and os.listdir(world.backup) == [".repoman"]
    world.sync()
    (world.overrides / "isurus.toml").write_text("# new\n")
    world.write("isurus/file", "new\n")
    predicted, done = world.sync(check=True, names=["(settings)"]), world.sync(names=["(settings)"])
    assert untimed(done) == untimed(predicted) and done["steps"] == ["back up the settings (1 file)"]
    assert (world.backup / "isurus/file").read_text() == "text\n" and world.files()["repos.d/isurus.toml"] == "# new\n"
    assert not world.sync(names=["(settings)"])["changed"]
    (world.overrides / "isurus.toml").write_text("# newer\n")
    done = world.sync(names=["(settings)"], verify=True)
    assert actions(done) == {} and settings_of(done)["action"] == "differs" and done["exit_code"] == 1
    done = world.sync(names=["isurus", "(settings)"])
    assert actions(done) == {"isurus": "synced"} and settings_of(done)["action"] == "synced"


def test_only_the_settings_may_shrink(world: SettingsHome) -> None:
    """The hint of their guard allows nothing else, and a run only about settings that are refused does not change the target."""
    world.init()
    before = world.files()
    lose(world)
    (world.repos / "isurus/file").unlink()
    target = seen(world.backup)
    for check in (True, False):
        done = world.sync(check=check, names=["(settings)"], keep_days=1)
        assert done["exit_code"] == 4 and settings_of(done)["action"] == "failed" and not done["changed"]
    assert seen(world.backup) == target
    done = world.sync(names=["lamna", "isurus"], allow_shrink=True)
    assert settings_of(done)["action"] == "failed" and actions(done) == {"isurus": "synced", "lamna": "unchanged"}
    (world.repos / "lamna/file").unlink()
    done = world.sync(names=["(settings)"], allow_shrink=True)
    assert "failed" not in done and actions(done) == {} and settings_of(done)["removed"] == 3
    assert (world.backup / "lamna/file").exists() and world.saved() == before
    assert actions(world.sync())["lamna"] == "failed"


def test_a_link_on_the_target_is_replaced_and_never_followed(world: SettingsHome) -> None:
    """Whoever can write to the target cannot make a run write elsewhere."""
    world.init()
    precious = world.root / "precious"
    precious.write_text("precious\n")
    (world.stored / "repos.d/isurus.toml").unlink()
    (world.stored / "repos.d/isurus.toml").symlink_to(precious)
    assert settings_of(world.sync(full=True))["changed"] == 1
    assert precious.read_text() == "precious\n" and world.files()["repos.d/isurus.toml"] == OVERRIDE


def test_runs_at_the_same_time_lose_nothing(world: SettingsHome) -> None:
    """Two runs with different names: one writes the settings, the other finds them as they are."""
    world.init()
    (world.overrides / "isurus.toml").write_text("# new\n")
    results: list[dict[str, Any]] = []

    def run(name: str) -> None:
        results.append(world.sync(names=[name]))

    threads = [threading.Thread(target=run, args=(name,)) for name in ("isurus", "lamna")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not [result for result in results if "failed" in result], results
    assert sorted(settings_of(result)["action"] for result in results) in (["synced", "unchanged"], ["synced", "synced"])
    assert world.files()["repos.d/isurus.toml"] == "# new\n" and world.saved() == {"repos.d/isurus.toml": OVERRIDE}
    assert not world.sync()["changed"]


def test_newer_settings_of_another_run_are_not_replaced_by_older_ones(world: SettingsHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run has planned with is read again once it is its turn."""
    world.init()
    (world.overrides / "isurus.toml").write_text("# planned\n")
    real = SettingsSync.apply

    def change_and_apply(self: SettingsSync, version: Any) -> None:
        (world.overrides / "isurus.toml").write_text("# newer\n")
        real(self, version)

    monkeypatch.setattr(SettingsSync, "apply", change_and_apply)
    world.sync()
    assert world.files()["repos.d/isurus.toml"] == "# newer\n"


def test_a_directory_with_the_name_of_the_settings_is_refused(world: SettingsHome) -> None:
    """A repository may not be called like the settings in the history."""
    world.write("(settings)/file")
    done = world.init()
    assert actions(done)["(settings)"] == "failed" and "repoman uses that name" in done["msg"]


def test_who_owns_settings() -> None:
    """Time and files do not count; the home does, but not for the account."""
    me = Owner("host", "alice", "/home/alice", "now", {"a": "b"})
    assert me.is_same(Owner("host", "alice", "/home/alice")) and me.is_same_account(Owner("host", "alice", "/elsewhere"))
    assert not me.is_same(Owner("host", "alice", "/elsewhere")) and not me.is_same_account(Owner("host", "bob", "/home/alice"))
