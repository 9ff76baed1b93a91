# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The profile library: its directories, lookup and shadowing, the list."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotFoundError, UsageError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import HostFacts, get_account
from ansible_collections.homelab.repoman.plugins.module_utils.profiles import library as library_module
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.comparison import diff_vendor, show
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


def test_paths_of_templates_that_came_with_the_task(library: Library) -> None:
    """What names the place of a template names no directory that the host lacks."""
    shipped = replace(library, vendor_dir="/nonexistent", bundled={"a": "config: {}\n"})
    with pytest.raises(NotFoundError) as missing:
        lookup("b", shipped)
    assert missing.value.message.endswith(f"in {library.user_dir} or the templates of the collection.")
    assert (shipped.existing_path("a"), shipped.existing_path("b")) == ("homelab.repoman:profiles/a.yml", "")
    mine = add(library.user_dir, "a")
    theirs = add(library.vendor_dir, "b")
    assert (shipped.existing_path("a"), library.existing_path("a"), library.existing_path("b")) == (mine, mine, theirs)


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


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "-x", "", ".", "..", ".hidden", "a\nb", "a\x00b", "/etc/passwd", "nas:x", ":"])
def test_an_invalid_name_opens_nothing(name: str, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2, before anything is looked at."""
    monkeypatch.setattr(library_module, "read_limited", lambda *arguments: pytest.fail("opened"))
    monkeypatch.setattr(os, "listdir", lambda path: pytest.fail("looked at"))
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
    for name in (".hidden.yml", "-x.yml", "x.yaml~", "x.yml.bak", "x.yml~", "README", ".yml", "a\nb.yml"):
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


@pytest.mark.parametrize("suffix", [".yml", ".yaml"])
def test_both_suffixes_are_templates(suffix: str, library: Library) -> None:
    """In both directories, and in every verb's view of the library."""
    for directory, name in (
        (library.user_dir, "mine"),
        (library.vendor_dir, "theirs"),
        (library.user_dir, "both"),
        (library.vendor_dir, "both"),
    ):
        (Path(directory) / f"{name}{suffix}").write_text(f"name: {name}\n")
    assert [(entry.name, entry.source, entry.shadows, entry.error) for entry in list_all(library, {}, HOST)] == [
        ("both", "user", True, ""),
        ("mine", "user", False, ""),
        ("theirs", "vendor", False, ""),
    ]
    assert library.user_path("mine") == lookup("mine", library).file_path == f"{library.user_dir}/mine{suffix}"
    assert library.existing_path("theirs") == lookup("theirs", library).file_path


def test_two_files_of_one_name_are_one_error(library: Library) -> None:
    """Which of them counts would be a guess; the hint removes the other one, and the list shows it."""
    for suffix in (".yml", ".yaml"):
        (Path(library.user_dir) / f"x{suffix}").write_text("config: {}\n")
    with pytest.raises(ConflictError, match=r"has 2 templates called 'x': x\.yml and x\.yaml\.$") as caught:
        lookup("x", library)
    assert caught.value.hints == [f"rm {library.user_dir}/x.yaml   # or the other one"]
    (entry,) = list_all(library, {"x": installed()}, HOST)
    assert (entry.error, entry.drift) == (caught.value.message, False)


@pytest.mark.parametrize("file", ["x.YML", "x.Yaml"])
def test_a_suffix_in_other_letters_is_an_error_with_the_command_that_renames(file: str, library: Library) -> None:
    """Rather than a file that silently does nothing, or a vendor file that the user wanted to shadow."""
    add(library.vendor_dir, "x")
    path = Path(library.user_dir) / file
    path.write_text("config: {}\n")
    (entry,) = list_all(library, {}, HOST)
    assert entry.error == f"{path}: the name of a template ends with .yml or .yaml."
    with pytest.raises(NotFoundError) as caught:
        lookup("x", library)
    subprocess.run(["sh", "-c", caught.value.hints[0]], check=True)
    assert lookup("x", library).source == "user"


def test_only_regular_files_are_read(library: Library, tmp_path: Path) -> None:
    """A pipe or device would be waited for; a link to a file is a file."""
    os.mkfifo(f"{library.user_dir}/pipe.yml")
    os.symlink("/dev/zero", f"{library.user_dir}/zero.yml")
    os.symlink("nowhere", f"{library.user_dir}/dangling.yml")
    os.symlink("loop.yml", f"{library.user_dir}/loop.yml")
    (Path(library.user_dir) / "directory.yml").mkdir()
    (tmp_path / "elsewhere").write_text("config: {}\n")
    os.symlink(tmp_path / "elsewhere", f"{library.user_dir}/linked.yml")
    with open(f"{library.user_dir}/huge.yml", "w") as file:
        file.truncate(1 << 40)
    errors = {entry.name: entry.error for entry in list_all(library, {}, HOST)}
    assert errors.pop("linked") == ""
    assert all(error.startswith(f"cannot read {library.user_dir}/{name}.yml: ") for name, error in errors.items())
    assert sorted(errors) == ["dangling", "directory", "huge", "loop", "pipe", "zero"]


@pytest.mark.parametrize("text", ["", "\n  \n"])
def test_an_empty_file_of_the_user_does_not_shadow(text: str, library: Library) -> None:
    """The shell makes it before ``profile show NAME >NAME.yml`` reads the library; alone, it is an error."""
    add(library.vendor_dir, "both", "description: theirs\n")
    empty = add(library.user_dir, "both", text)
    alone = add(library.user_dir, "alone", text)
    assert show("both", library, HOST) == "description: theirs\n"
    first, second = list_all(library, {}, HOST)
    assert (first.name, first.error, first.empty_file) == ("alone", f"{alone} is empty.", "")
    assert (second.source, second.shadows, second.error, second.empty_file) == ("vendor", False, "", empty)


def test_the_list_reads_each_directory_once(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many templates there are."""
    for name in ("a", "b", "c"):
        add(library.vendor_dir, name)
        add(library.user_dir, name)
    listed: list[str] = []
    listdir = os.listdir

    def counting(path: str) -> list[str]:
        listed.append(path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", counting)
    assert [entry.shadows for entry in list_all(library, {}, HOST)] == [True] * 3
    assert sorted(listed) == [library.user_dir, library.vendor_dir]
