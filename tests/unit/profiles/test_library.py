# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The profile library: its directories, lookup and shadowing, the list."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError, UsageError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import HostFacts, get_account
from ansible_collections.homelab.repoman.plugins.module_utils.profiles import library as library_module
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.comparison import diff_vendor
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.library import (
    Library,
    ProfileEntry,
    library_of,
    list_all,
    lookup,
    lookup_vendor,
    user_dir,
    vendor_dir,
)
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template import Template
from profile_fixtures import HOST, VENDOR, add, installed


def test_the_vendor_directory_is_the_given_the_systems_or_the_collections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this order."""
    assert library_module.SYSTEM_VENDOR_DIR == "/usr/local/share/repoman/profiles"
    monkeypatch.setattr(library_module, "SYSTEM_VENDOR_DIR", str(tmp_path / "system"))
    assert vendor_dir("/given") == "/given"
    assert Path(vendor_dir()).samefile(VENDOR)
    (tmp_path / "system").mkdir()
    assert vendor_dir() == str(tmp_path / "system")
    assert vendor_dir("") == str(tmp_path / "system")


def test_the_users_directory_is_below_the_home() -> None:
    """As the specification says."""
    assert user_dir("/home/alice") == "/home/alice/.config/repoman/profiles.d"


def test_a_user_file_shadows_a_vendor_file(library: Library) -> None:
    """Each has its source."""
    theirs = add(library.vendor_dir, "both", "description: theirs\n")
    mine = add(library.user_dir, "both", "description: mine\n")
    only_theirs, only_mine = add(library.vendor_dir, "theirs"), add(library.user_dir, "mine")
    assert lookup("both", library) == Template("both", "user", mine, True, "description: mine\n")
    assert lookup("theirs", library) == Template("theirs", "vendor", only_theirs, False, "config: {}\n")
    assert lookup("mine", library) == Template("mine", "user", only_mine, False, "config: {}\n")
    assert lookup_vendor("both", library) == Template("both", "vendor", theirs, False, "description: theirs\n")


def test_vendor_files_may_come_along_with_the_task(tmp_path: Path) -> None:
    """They only count if the vendor directory does not exist; the user's files take precedence."""
    params = {"user_dir": str(tmp_path / "mine"), "vendor_dir": str(tmp_path / "theirs")}
    params |= {"vendor_templates": {"handed": "description: handed\n", "both": "description: handed\n"}}
    (tmp_path / "mine").mkdir()
    handed = library_of(params, get_account())
    assert lookup("handed", handed).text == "description: handed\n"
    assert lookup("handed", handed).source == "vendor"
    mine = add(handed.user_dir, "handed", "description: mine\n")
    found = lookup("handed", handed)
    assert (found.file_path, found.source, found.shadows) == (mine, "user", True)
    assert lookup_vendor("handed", handed).text == "description: handed\n"
    assert [entry.name for entry in list_all(handed, {}, HOST)] == ["both", "handed"]
    (tmp_path / "theirs").mkdir()
    add(handed.vendor_dir, "both", "description: theirs\n")
    there = library_of(params, get_account())
    assert lookup("both", there).text == "description: theirs\n"
    assert not lookup("handed", there).shadows
    assert [entry.name for entry in list_all(there, {}, HOST)] == ["both", "handed"]
    Path(mine).unlink()
    with pytest.raises(NotFoundError):
        lookup("handed", there)


@pytest.mark.parametrize("name", ["mine", "theirs"])
def test_vendor_diff_needs_a_shadowed_file(name: str, library: Library) -> None:
    """Exit code 3 and a hint."""
    add(library.vendor_dir, "theirs")
    add(library.user_dir, "mine")
    with pytest.raises(NotFoundError, match=name) as caught:
        diff_vendor(name, library, HOST)
    assert caught.value.hints


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "-x", "", ".", "..", ".hidden", "a\nb", "a\x00b", "/etc/passwd"])
def test_an_invalid_name_opens_nothing(name: str, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2, before anything is looked at."""
    monkeypatch.setattr(library_module.Path, "read_text", lambda *arguments, **options: pytest.fail("opened"))
    monkeypatch.setattr(os.path, "lexists", lambda path: pytest.fail("looked at"))
    for look in (lookup, lookup_vendor):
        with pytest.raises(UsageError) as caught:
            look(name, library)
        assert caught.value.exit_code == 2


def test_an_unknown_name_suggests_a_similar_one(library: Library) -> None:
    """With the directories that were searched."""
    add(library.vendor_dir, "claude-share")
    add(library.user_dir, "mine")
    with pytest.raises(NotFoundError) as caught:
        lookup("claude-shar", library)
    error = caught.value
    assert "'claude-shar'" in error.message
    assert library.user_dir in error.message
    assert library.vendor_dir in error.message
    assert any("claude-share" in hint for hint in error.hints)
    assert "repoman profile list" in error.hints
    with pytest.raises(NotFoundError) as caught:
        lookup("zzzzzz", library)
    assert caught.value.hints == ["repoman profile list"]


def test_directories_that_do_not_exist_are_empty(tmp_path: Path) -> None:
    """A new user has none."""
    library = Library(str(tmp_path / "no"), str(tmp_path / "none"))
    assert list_all(library, {}, HOST) == []
    with pytest.raises(NotFoundError):
        lookup("x", library)


@pytest.mark.parametrize("broken", ["link", "directory", "bytes"])
def test_a_user_file_that_cannot_be_read_is_an_error_and_not_the_vendors(broken: str, library: Library) -> None:
    """Falling back in silence would install something else."""
    add(library.vendor_dir, "x", "description: theirs\n")
    mine = Path(library.user_dir) / "x.yml"
    if broken == "link":
        mine.symlink_to("nowhere")
    elif broken == "directory":
        mine.mkdir()
    else:
        mine.write_bytes(b"description: \xff\n")
    with pytest.raises(NotFoundError, match=str(mine)):
        lookup("x", library)


def test_the_list_shows_source_installation_and_drift(library: Library) -> None:
    """In alphabetical order; the order of keys and the server's own keys do not count as drift."""
    same = add(library.vendor_dir, "same", "devices: {a: {x: '1', y: '2'}}\n")
    drifted = add(library.vendor_dir, "drifted", "description: new\n")
    absent = add(library.user_dir, "absent")
    add(library.vendor_dir, "both", "description: theirs\n")
    both = add(library.user_dir, "both", "description: mine\n")
    present = {
        "same": installed(devices={"a": {"y": "2", "x": "1"}}),
        "drifted": installed(description="old"),
        "both": installed(description="theirs"),
        "foreign": installed(),
    }
    assert list_all(library, present, HOST) == [
        ProfileEntry("absent", "user", absent, False, False),
        ProfileEntry("both", "user", both, True, True, shadows=True),
        ProfileEntry("drifted", "vendor", drifted, True, True),
        ProfileEntry("same", "vendor", same, True, False),
    ]


def test_other_files_are_not_listed(library: Library) -> None:
    """Editors leave such."""
    for name in (".hidden.yml", "-x.yml", "x.yaml", "x.yml~", "README", ".yml", "a\nb.yml"):
        (Path(library.user_dir) / name).write_text("config: {}\n")
    assert list_all(library, {}, HOST) == []


@pytest.mark.parametrize(
    "breaking",
    [
        lambda path: path.write_text("config: [\n"),
        lambda path: path.write_text("description: ${HOST_LAN_IP}\n"),
        lambda path: path.write_text("confg: {}\n"),
        lambda path: path.write_bytes(b"\xff"),
        lambda path: path.write_text("config: &a {x: *a}\ndescription: ${USER}\n"),
        lambda path: path.symlink_to("nowhere"),
        lambda path: path.mkdir(),
    ],
    ids=["yaml", "variable", "key", "bytes", "recursive", "link", "directory"],
)
def test_a_broken_template_does_not_hide_the_others(breaking: Callable[[Path], object], library: Library) -> None:
    """Its line says what is wrong, and does not claim drift."""
    good = add(library.vendor_dir, "good")
    path = Path(library.user_dir) / "broken.yml"
    breaking(path)
    entries = list_all(library, {"good": installed(), "broken": installed()}, HostFacts("", "alice", "/home/alice"))
    assert [(entry.name, entry.file_path) for entry in entries] == [("broken", str(path)), ("good", good)]
    broken, other = entries
    assert str(path) in broken.error
    assert (broken.source, broken.installed, broken.drift) == ("user", True, False)
    assert other == ProfileEntry("good", "vendor", good, True, False)


def test_a_broken_template_that_is_not_installed_is_listed(library: Library) -> None:
    """Before it is installed."""
    add(library.vendor_dir, "broken", "config: [\n")
    (entry,) = list_all(library, {}, HOST)
    assert "broken.yml" in entry.error
    assert not entry.installed
