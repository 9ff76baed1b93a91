# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore of the host's settings: what comes back, what stays this host's, where the existing files go, and what is told."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import load_context
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore import host_settings
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore import run as restore
from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings import registry_text, restore_plan
from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.stored import Owner
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.checks import open_for_reading
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import (
    ConflictError,
    NotCreatedYetError,
    NotFoundError,
    RepomanError,
    UsageError,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import run_logic
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import parse
from backup_fixture import seen, tmpfs, without_times
from settings_home import NOBODY, OVERRIDE, SECRET, SettingsHome, home_of_nobody

FRESH = """\
# a new host's
[repoman]
schema = 3
output = "quiet"

[host]
lan_ip = "192.0.2.9"

[defaults]
repos_root = "~/repos"
backup_root = "{backup}"
logdir = "{root}/log"
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SettingsHome:
    """A home that is backed up."""
    monkeypatch.setenv("HOME", str(tmp_path))
    world = SettingsHome(tmp_path)
    world.registry.write_text(world.registry.read_text().replace("[defaults]", '[host]\nlan_ip = "198.51.100.1"\n[defaults]'))
    world.init()
    return world


def reinstall(world: SettingsHome) -> None:
    """Lose all settings; the registry is what setup writes."""
    for path in [*world.overrides.iterdir(), *world.templates.iterdir()]:
        path.unlink()
    world.overrides.rmdir()
    world.templates.rmdir()
    world.registry.write_text(FRESH.format(backup=world.backup, root=world.root))


def saved(world: SettingsHome) -> dict[str, str]:
    """Return what restores have saved."""
    return {
        str(path.relative_to(directory)): path.read_text()
        for directory in sorted(world.root.glob("before-*"))
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_settings_come_back_on_a_new_host(world: SettingsHome) -> None:
    """Check, restore, again: what belongs to this host stays its own, and what was there is saved."""
    before = world.here()
    times = {name: (world.stored / name).stat().st_mtime_ns for name in before}
    reinstall(world)
    fresh = world.registry.read_text()
    world.registry.chmod(0o640)
    everything = seen(world.root)
    predicted = world.restore_settings(check=True)
    assert seen(world.root) == everything
    done = world.restore_settings()
    assert without_times(done) == without_times(predicted)

    here = world.here()
    assert {name: text for name, text in here.items() if "/" in name} == {name: text for name, text in before.items() if "/" in name}
    registry = store.load(str(world.registry))
    assert list(registry.projects) == ["isurus", "lamna"] and registry.lan_ip == "192.0.2.9"
    assert registry.defaults.backup_root == str(world.backup) and registry.defaults.repos_root == f"{world.root}/repos"
    assert saved(world) == {"repoman.toml": fresh}
    (directory,) = world.root.glob("before-*")
    assert done["restored"] == {
        "name": "(settings)",
        "to": str(world.root),
        "from": "",
        "files": 4,
        "bytes": sum(len(text) for text in here.values()),
        "saved": str(directory),
        "has_container": False,
        "replaces_directory": False,
    }
    assert done["steps"] == [
        f"save the existing files in {directory}",
        f"restore {world.templates}/dots.yaml",
        f"restore {world.templates}/llm.yml",
        f"restore {world.overrides}/isurus.toml",
        f"replace {world.registry}",
    ]
    assert done["warnings"] == ["[host].lan_ip stays '192.0.2.9': it belongs to this host. The backup has '198.51.100.1'."]
    assert stat.S_IMODE(world.registry.stat().st_mode) == 0o640
    for path in (directory, world.overrides, world.templates):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for name in ("repos.d/isurus.toml", "profiles.d/llm.yml"):
        path = world.overrides / "isurus.toml" if "repos.d" in name else world.templates / "llm.yml"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.stat().st_mtime_ns == times[name]

    everything = {path: each for path, each in seen(world.root).items() if not path.startswith("log")}
    for check in (True, False):
        again = world.restore_settings(check=check)
        assert not again["changed"] and not again["steps"] and "warnings" not in again and not again["diff"]
    assert {path: each for path, each in seen(world.root).items() if not path.startswith("log")} == everything
    assert "failed" not in world.sync()
    assert not world.sync()["changed"] and not world.restore_settings()["changed"]


def test_an_earlier_version_comes_back(world: SettingsHome) -> None:
    """--from takes back what later runs replaced, removed and created."""
    first = world.here()
    (world.overrides / "isurus.toml").write_text("# second\n")
    (world.templates / "llm.yml").rename(world.templates / "llm2.yml")
    world.registry.write_text(world.registry.read_text() + "# second\n")
    world.sync()
    second = world.here()
    when = world.versions()[-1]
    (world.overrides / "isurus.toml").write_text("# third\n")
    (world.overrides / "lamna.toml").write_text("# third\n")
    world.sync()
    last = world.versions()[-1]
    assert (len(world.versions()), when == last) == (3, False)
    assert not world.restore_settings()["changed"]

    done = world.restore_settings(**{"from": last})
    assert done["restored"]["from"] == last
    assert world.here() | {"repoman.toml": ""} == second | {"repoman.toml": "", "repos.d/lamna.toml": "# third\n"}
    assert world.registry.read_text().endswith("# second\n")
    assert done["warnings"] == ["repos.d/lamna.toml is not in the backup, and stays here."]
    world.restore_settings(**{"from": when})
    kept = {"repos.d/lamna.toml": "# third\n", "profiles.d/llm2.yml": second["profiles.d/llm2.yml"]}
    assert {name: text for name, text in world.here().items() if name != "repoman.toml"} == (
        {name: text for name, text in first.items() if name != "repoman.toml"} | kept
    )
    assert "# second" not in world.registry.read_text()
    with pytest.raises(NotFoundError, match="has no settings of before"):
        world.restore_settings(**{"from": "2000-01-01"})
    with pytest.raises(UsageError, match="not a valid time"):
        world.restore_settings(**{"from": "yesterday"})


def test_times_of_backups_do_not_go_back(world: SettingsHome) -> None:
    """A project that is here keeps its later last_sync; that alone is no reason to restore."""
    world.registry.write_text(
        world.registry.read_text().replace('name = "isurus"', 'name = "isurus"\nlast_sync = "2999-01-01T00:00:00Z"', 1)
    )
    text = re.sub(r'(last_sync = "2999[^\n]*\n)last_sync[^\n]*\n', r"\1", world.registry.read_text())
    world.registry.write_text(text)
    assert not world.restore_settings()["changed"]
    world.registry.write_text(world.registry.read_text() + "# mine\n")
    assert world.restore_settings()["steps"][1:] == [f"replace {world.registry}"]
    assert world.last_sync("isurus") == "2999-01-01T00:00:00Z"


def test_projects_that_only_this_host_has_are_named(world: SettingsHome) -> None:
    """The registry is replaced as a file; the note names the projects that the backup lacks, and its copy has them."""
    world.project("hammer")
    done = world.restore_settings()
    assert "The registry of the backup has no project 'hammer'." in done["warnings"]
    assert "hammer" in saved(world)["repoman.toml"] and "hammer" not in world.registry.read_text()


def test_links_stay_links(world: SettingsHome) -> None:
    """What a link names is replaced, in its own place; a link that leads nowhere gets its file."""
    dots = world.root / "dots"
    dots.mkdir()
    world.overrides.rename(dots / "repos.d")
    world.overrides.symlink_to(dots / "repos.d")
    (dots / "repos.d/isurus.toml").write_text("# other\n")
    world.registry.write_text(world.registry.read_text() + "# other\n")
    world.registry.rename(dots / "repoman.toml")
    world.registry.symlink_to("dots/repoman.toml")
    (world.templates / "llm.yml").unlink()
    (world.templates / "llm.yml").symlink_to(dots / "new/llm.yml")
    assert world.restore_settings()["changed"]
    assert world.registry.is_symlink() and world.overrides.is_symlink() and (world.templates / "llm.yml").is_symlink()
    assert (dots / "repos.d/isurus.toml").read_text() == OVERRIDE
    assert "# other" not in (dots / "repoman.toml").read_text()
    assert SECRET in (dots / "new/llm.yml").read_text()
    assert set(saved(world)) == {"repos.d/isurus.toml", "repoman.toml"}
    assert not world.restore_settings()["changed"]


@pytest.mark.parametrize("spoil", [os.mkfifo, lambda path: path.mkdir(), lambda path: path.symlink_to(path.name)])
def test_what_cannot_be_saved_is_not_replaced(world: SettingsHome, spoil: Callable[[Path], None]) -> None:
    """A pipe, a directory or a loop of links in the place of a file is an error that names it; nothing is restored."""
    path = world.templates / "llm.yml"
    path.unlink()
    spoil(path)
    (world.overrides / "isurus.toml").write_text("# mine\n")
    before = seen(world.overrides), seen(world.templates)
    for check in (True, False):
        with pytest.raises(RepomanError, match="cannot be read, and so not be saved") as caught:
            world.restore_settings(check=check)
        assert str(path) in caught.value.message and caught.value.hints == [f"ls -l {path}"]
    assert (seen(world.overrides), seen(world.templates)) == before


def test_a_registry_in_the_backup_that_is_not_one_is_an_error(world: SettingsHome) -> None:
    """An error names the file in the backup; a broken override is text like any other."""
    (world.stored / "repos.d/isurus.toml").write_bytes(b"[[[\xff")
    assert world.restore_settings()["changed"]
    assert (world.overrides / "isurus.toml").read_bytes() == b"[[[\xff"
    for broken in (b"[repoman\n", b"\xff", b"x = 1\n"):
        (world.stored / "repoman.toml").write_bytes(broken)
        before = world.registry.read_text()
        with pytest.raises(NotFoundError, match=re.escape(str(world.stored / "repoman.toml"))):
            world.restore_settings()
        assert world.registry.read_text() == before


def test_without_a_registry_or_settings_nothing_is_restored(world: SettingsHome) -> None:
    """Without a registry nobody knows where the backup is; a backup of an earlier version has no settings."""
    text = world.registry.read_text()
    world.registry.unlink()
    with pytest.raises(NotCreatedYetError, match="no registry") as caught:
        world.restore_settings()
    assert caught.value.hints == ["repoman setup"]
    world.registry.write_text(text)
    for path in sorted(world.stored.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(NotFoundError, match="has no settings") as missing:
        world.restore_settings()
    assert missing.value.hints == ["repoman restore --all   # the repositories without the settings"]


@pytest.mark.parametrize("option", [{"name": "isurus"}, {"to": "/x"}, {"paths": ["x"]}, {"objects": True}])
def test_options_that_are_about_repositories_are_refused(world: SettingsHome, option: dict[str, Any]) -> None:
    """Except overwrite, which makes no difference."""
    with pytest.raises(UsageError, match=f"settings cannot be combined with {next(iter(option))}"):
        world.restore_settings(**option)
    assert not world.restore_settings(overwrite=True)["changed"]
    with pytest.raises(UsageError, match="restore needs name, names or all"):
        restore.run(world._params(host_settings_spec(), {}), False)


def host_settings_spec() -> dict[str, Any]:
    """Return the arguments of the module."""
    from ansible_collections.homelab.repoman.plugins.modules import repoman_restore

    spec: dict[str, Any] = repoman_restore.SPEC
    return spec


def test_the_history_of_settings_is_no_repository(world: SettingsHome) -> None:
    """Their name cannot be restored as a directory of repos_root."""
    (world.overrides / "isurus.toml").write_text("# second\n")
    world.sync()
    with pytest.raises(NotFoundError, match="no project or directory"):
        world.restore("(settings)")


# ---- what is about another host ------------------------------------------------------------------------------------------------


def move(world: SettingsHome, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the account have another home, and return it; the settings that the restore writes are there."""
    home = world.root / "elsewhere"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


def test_paths_in_another_home_are_told_and_not_rewritten(world: SettingsHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """File and path, nothing else of the file; comments and longer names do not count."""
    old = str(world.root)
    (world.templates / "llm.yml").write_text(
        f"# {old}/comment\ndevices: {{a: {{source: {old}/models, token: {SECRET}}}, b: {{source: '{old}-not/x'}}}}\nhome: {old}\n"
    )
    (world.overrides / "isurus.toml").write_text(f'[devices.x]\nsource = "{old}/models"\nother = "{old}/my data"\n')
    world.sync()
    home = move(world, monkeypatch)
    done = world.restore_settings()
    (template,) = [warning for warning in done["warnings"] if f"names {old}/models," in warning and "llm.yml" in warning]
    assert (
        template
        == f"{home}/.config/repoman/profiles.d/llm.yml names {old}/models, but the home is {home} here, not {old}: edit the file if that path is wrong."
    )
    assert (home / ".config/repoman/profiles.d/llm.yml").read_text() == (world.templates / "llm.yml").read_text()
    told = [warning for warning in done["warnings"] if "edit the file" in warning]
    assert not [warning for warning in told if SECRET in warning or "comment" in warning or "-not" in warning]
    assert [warning for warning in told if f"llm.yml names {old}, " in warning]
    world.overrides.joinpath("isurus.toml").unlink()
    again = world.restore_settings()
    assert len([warning for warning in again["warnings"] if "repos.d/isurus.toml names" in warning]) == 2
    assert "warnings" not in world.restore_settings()


ALICE, BOB = Owner("old", "alice", "/home/alice"), Owner("new", "bob", "/home/bob")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('repos_root = "/home/alice/repos"\n', ["/home/alice/repos"]),
        ("source: /home/alice\nx: '/home/alice/a','/home/alice/b'\n", ["/home/alice", "/home/alice/a", "/home/alice/b"]),
        ("source: /home/alice2/x\ny: /srv/home/alice/x\nz: ~/x\n", []),
        ("  # source: /home/alice/x\n", []),
        ("a: /home/alice/x\nb: /home/alice/x\n", ["/home/alice/x"]),
        *((f"url: file:///x?p=/home/alice/x{sign}token\n", ["/home/alice/x"]) for sign in "?#&= \t"),
    ],
)
def test_which_paths_are_in_a_home(text: str, told: list[str]) -> None:
    """Whole paths that begin with it, each once."""
    warnings = registry_text.foreign_values({"a": text}, {"a": "/x/a"}, ALICE, Owner("old", "bob", "/home/bob"))
    assert [warning.split(" names ")[1].split(", but")[0] for warning in warnings] == told
    assert not registry_text.foreign_values({"a": text}, {"a": "/x/a"}, ALICE, Owner("old", "alice", "/home/alice"))


@pytest.mark.parametrize(
    ("text", "told"), [("target: old\n", True), ("url: http://old:80/\n", True), ("x: older\ny: my-old\n# old\n", False)]
)
def test_the_name_of_another_host_is_told(text: str, told: bool) -> None:
    """As a word of its own, outside comments; once for each file."""
    warnings = registry_text.foreign_values({"a": text + text}, {"a": "/x/a"}, ALICE, BOB)
    assert [warning for warning in warnings if "names the host old" in warning] == warnings
    assert len(warnings) == told


@pytest.mark.parametrize("old", [Owner("", "alice", "secret"), Owner("", "alice", ""), Owner("", "alice", "./")])
def test_a_damaged_owner_is_not_looked_for(old: Owner) -> None:
    """Without a host and an absolute home, every word of a file could be shown."""
    assert not registry_text.foreign_values({"a": "x: secret\ny: ./secret/x, /x\n"}, {"a": "/x/a"}, old, BOB)


def test_an_owner_is_shown_without_control_characters() -> None:
    """Warnings are shown on a terminal."""
    old = Owner("old\x1b", "alice", "/home/\x1balice")
    warnings = registry_text.foreign_values({"a": "x: /home/\x1balice/x\ny: old\x1b\n"}, {"a": "/x/a"}, old, BOB)
    assert len(warnings) == 2 and all(warning.isprintable() for warning in warnings)


def test_long_lists_of_values_are_cut() -> None:
    """After twenty there is a number."""
    text = "".join(f"x{number}: /home/alice/{number}\n" for number in range(50))
    warnings = registry_text.foreign_values({"a": text}, {"a": "/x/a"}, ALICE, BOB)
    assert len(warnings) == 21 and warnings[-1].startswith("30 more values")


def test_the_backup_of_another_host_is_restored_with_a_warning(world: SettingsHome) -> None:
    """The marker names the owner; the settings come all the same."""
    marker = world.ours("mirror.toml")
    marker.write_text(re.sub(r"host = .*", 'host = "old"', marker.read_text()))
    (world.overrides / "isurus.toml").unlink()
    done = world.restore_settings()
    assert done["changed"] and re.search(r"is the backup of \S+ on old$", done["warnings"][0])
    assert (world.overrides / "isurus.toml").read_text() == OVERRIDE


# ---- faults --------------------------------------------------------------------------------------------------------------------


def modes(world: SettingsHome) -> dict[str, tuple[int, int]]:
    """Return mode and modification time of each file at the places of the settings, including hidden ones and what was saved."""
    paths = [*world.overrides.rglob("*"), *world.templates.rglob("*"), *world.registry.parent.glob("before-*"), world.registry]
    return {str(path): (path.stat().st_mode, path.stat().st_mtime_ns) for path in paths}


@pytest.mark.parametrize("function", ["write_new_bytes", "stage_bytes", "commit_staged"])
@pytest.mark.parametrize("can_link", [True, False])
def test_a_failure_undoes_all(world: SettingsHome, monkeypatch: pytest.MonkeyPatch, function: str, can_link: bool) -> None:
    """If the registry, the last one, cannot be saved, written or replaced, all are as they were, also without hard links."""
    reinstall(world)
    (world.root / "repos.d").mkdir()
    (world.overrides / "isurus.toml").write_text("# mine\n")
    (world.overrides / "isurus.toml").chmod(0o640)
    world.templates.mkdir()
    before = world.here(), modes(world)
    real = getattr(restore_plan, function)

    def fail(path: str, *args: Any, **more: Any) -> None:
        if os.path.basename(path) == "repoman.toml":
            raise RepomanError("disk full")
        real(path, *args, **more)

    def refuse(*_args: Any, **_more: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(restore_plan, function, fail)
    if not can_link:
        monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(RepomanError, match="disk full"):
        world.restore_settings()
    assert (world.here(), modes(world)) == before


def test_copies_stay_if_an_undo_fails(world: SettingsHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be put back is in the directory of the saved files, and the error says so."""
    (world.overrides / "isurus.toml").write_text("# mine\n")
    world.registry.write_text(world.registry.read_text() + "# mine\n")
    registry, real = world.registry.read_text(), restore_plan.commit_staged

    def fail(path: str) -> None:
        if path == str(world.registry):
            (world.overrides / ".isurus.toml.repoman-old").unlink()
            raise RepomanError("disk full")
        real(path)

    monkeypatch.setattr(restore_plan, "commit_staged", fail)
    with pytest.raises(RepomanError, match="disk full") as caught:
        world.restore_settings()
    assert "could not undo" in caught.value.hints[0] and world.registry.read_text() == registry
    assert saved(world) == {"repos.d/isurus.toml": "# mine\n", "repoman.toml": registry}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount")
def test_a_full_disk_leaves_all_as_it_was(world: SettingsHome, tmp_path: Path) -> None:
    """Neither the new files nor the old ones fit a second time; the next restore, with space, needs no help."""
    line = "a" * 299_000
    for number in range(3):
        (world.overrides / f"o{number}.toml").write_text(f"#backup{line}\n")
    world.sync()
    small = tmp_path / "small"
    small.mkdir()
    with tmpfs(small, "size=2m"):
        world.registry = shutil.copy(world.registry, small / "repoman.toml")
        world.overrides = small / "repos.d"
        world.overrides.mkdir()
        for number in range(3):
            (world.overrides / f"o{number}.toml").write_text(f"#here{line}\n")
        (world.templates / "llm.yml").write_text("# mine\n")
        for free in (200_000, 500_000, 1_000_000):
            status = os.statvfs(small)
            (small / "fill").write_bytes(b"x" * (status.f_bavail * status.f_frsize - free))
            before = world.here(), modes(world)
            with pytest.raises(RepomanError, match="No space left"):
                world.restore_settings()
            assert (world.here(), modes(world)) == before
            (small / "fill").unlink()
        with tmpfs(small / "repos.d", "size=2m"):
            world.restore_settings()
            assert all((world.overrides / f"o{number}.toml").read_text() == f"#backup{line}\n" for number in range(3))
            assert not list(small.rglob(".o*"))


@pytest.mark.parametrize("moment", range(10))
def test_killed_in_between_the_next_run_finishes(world: SettingsHome, monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    """Each file is old or new, what was replaced is saved, and the next restore does the rest."""
    expected = world.here()
    reinstall(world)
    (world.root / "repos.d").mkdir()
    (world.overrides / "isurus.toml").write_text("# mine\n")
    before = world.here()
    count = [0]

    def stopping(real: Callable[..., None]) -> Callable[..., None]:
        def stop(path: str, *args: Any, **more: Any) -> None:
            if count[0] == moment:
                os._exit(1)
            count[0] += 1
            real(path, *args, **more)

        return stop

    with monkeypatch.context() as patch:
        for name in ("write_atomic_bytes", "write_new_bytes", "stage_bytes", "commit_staged"):
            patch.setattr(restore_plan, name, stopping(getattr(restore_plan, name)))
        with pytest.raises(RepomanError, match="was killed"):
            world.restore_settings()
    for name, text in world.here().items():
        assert text in (before.get(name), expected.get(name)), name
    world.restore_settings()
    assert {name: text for name, text in world.here().items() if "/" in name} == {
        name: text for name, text in expected.items() if "/" in name
    }
    assert list(store.load(str(world.registry)).projects) == ["isurus", "lamna"]
    assert saved(world) == before
    assert not [path for path in world.root.rglob(".*") if path.name.endswith((".new", ".repoman-old"))]
    assert not world.restore_settings()["changed"]


def test_what_a_killed_run_left_is_removed_by_one_without_changes(world: SettingsHome) -> None:
    """Second names of files, and staged files; check mode removes nothing."""
    left = [world.overrides / ".isurus.toml.repoman-old", world.overrides / ".isurus.toml.new", world.root / ".repoman.toml.repoman-old"]
    for path in left:
        path.write_text("")
    assert not world.restore_settings(check=True)["changed"] and all(path.exists() for path in left)
    assert not world.restore_settings()["changed"]
    assert not [path for path in left if path.exists()]


def test_nothing_shows_a_secret(world: SettingsHome) -> None:
    """Neither result, diff, warnings nor trace have the content of a file."""
    (world.overrides / "isurus.toml").write_text(OVERRIDE + "# mine\n")
    (world.templates / "llm.yml").unlink()
    trace: list[str] = []
    params = world._params(host_settings_spec(), {"settings": True})
    for check in (True, False):
        result = run_logic(restore.run, params, check, trace.append)
        assert result["changed"] and SECRET not in repr(result)
        assert result["diff"] == [{"prepared": f"+ {world.templates}/llm.yml\n~ {world.overrides}/isurus.toml\n"}]
    assert trace and SECRET not in "".join(trace)


def test_a_run_that_works_on_the_settings_is_waited_for_or_named(world: SettingsHome) -> None:
    """A restore while a sync has the lock of the settings fails with a hint."""
    from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.lock import RunLocks

    context = load_context(world._params(host_settings_spec(), {}))
    target, _warning = open_for_reading(context.roots)
    with (
        RunLocks(target, context.state(target), context.account) as locks,
        locks.wait_for("(settings)"),
        pytest.raises(ConflictError, match="another run has been working on"),
    ):
        world.restore_settings()
    assert not world.restore_settings()["changed"]


def test_the_registry_that_will_be_in_force_is_returned(world: SettingsHome) -> None:
    """In check mode too, for a restore of repositories that follows; the projects in it are known then."""
    reinstall(world)
    context = load_context(world._params(host_settings_spec(), {}))
    target, _warning = open_for_reading(context.roots)
    assert not context.registry.projects
    restored = host_settings.restore_settings(context, target, None, True, lambda _text: None)
    later = replace(context, registry=parse(restored.registry_text, context.path))
    assert list(later.registry.projects) == ["isurus", "lamna"] and later.roots.backup_root == str(world.backup)
    done = host_settings.restore_settings(context, target, None, False, lambda _text: None)
    assert done.registry_text == restored.registry_text == world.registry.read_text()
    again = host_settings.restore_settings(later, target, None, False, lambda _text: None)
    assert not again.result["changed"] and again.registry_text == world.registry.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to serve another user")
def test_root_restores_for_a_user_as_that_user() -> None:
    """All that is written belongs to the user, and is written with the user's rights."""
    with home_of_nobody() as world:
        user_dir = str(world.templates)
        world.sync(init=True, allow_local=True, user_dir=user_dir)
        reinstall(world)
        done = world.restore_settings(user_dir=user_dir)
        assert done["restored"]["files"] == 4
        saved_directories = world.root.glob("before-*")
        written = [world.registry, *saved_directories, world.overrides, *world.overrides.iterdir(), *world.templates.iterdir()]
        assert {path.stat().st_uid for path in written} == {NOBODY}


def test_a_host_that_is_not_set_up_yet_is_predicted(world: SettingsHome) -> None:
    """With predict, check mode says that settings would be restored."""
    world.registry.unlink()
    result = run_logic(restore.run, world._params(host_settings_spec(), {"settings": True, "predict": True}), True)
    assert result["steps"] == ["restore the settings"] and result["changed"] and "no registry" in result["warnings"][0]
