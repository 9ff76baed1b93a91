# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Overrides, and the settings that result from them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import (
    Defaults,
    Project,
    ProjectSettings,
    effective_settings,
    settings_of,
)
from ansible_collections.homelab.repoman.plugins.module_utils.registry.override import load_override, override_path
from registry_texts import SCHEMA_3, write

importlib.import_module("tomlkit")  # the registry loads it when it writes: too late for a child process that may not read it


@pytest.fixture
def override(path: str) -> Callable[[str], ProjectSettings]:
    """Return a function that writes the override of project isurus and loads it."""

    def load(text: str) -> ProjectSettings:
        made = Path(override_path(path, "isurus"))
        made.parent.mkdir(exist_ok=True)
        made.write_bytes(text.encode())
        return load_override(path, "isurus")

    return load


def test_no_override_says_nothing(path: str) -> None:
    """It is the usual case."""
    assert load_override(path, "isurus") == ProjectSettings()
    assert override_path("/c/repoman/repoman.toml", "isurus") == "/c/repoman/repos.d/isurus.toml"


def test_an_override_may_say_all_this(override: Callable[[str], ProjectSettings]) -> None:
    """Values for Incus become strings, as Incus stores them."""
    found = override(
        'repo = "dir"\nimage = "local"\nprofiles = []\nbackup = false\nprotect = ["hooks", "config"]\n'
        '[config]\n"limits.cpu" = 2\n"security.nesting" = true\n"limits.memory" = "4GiB"\n'
        '[devices.web]\ntype = "proxy"\nbind = 1.5\n[devices.cache]\ntype = "disk"\nreadonly = false\n'
    )
    assert found == ProjectSettings(
        repo="dir",
        image="local",
        profiles=(),
        backup=False,
        protect=("hooks", "config"),
        config={"limits.cpu": "2", "security.nesting": "true", "limits.memory": "4GiB"},
        devices={"web": {"type": "proxy", "bind": "1.5"}, "cache": {"type": "disk", "readonly": "false"}},
    )


def test_an_empty_value_unsets(override: Callable[[str], ProjectSettings]) -> None:
    """Incus does not store it; it is not missing there."""
    found = override('[config]\n"user.x" = ""\n"user.y" = 0\n[devices.cache]\ntype = "disk"\nreadonly = ""\n')
    assert found == ProjectSettings(config={"user.y": "0"}, unset=("user.x",), devices={"cache": {"type": "disk"}})


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('repo = "dir"\nimgae = "local"\n', 2, "imgae"),
        ('# one\n[confg]\nx = "1"\n', 2, "confg"),
        ('repo = "dir"\n\n[install]\nrun = "make"\n', 3, "install"),
        ('install = "make"\n', 1, "install"),
        ("repo = 1\n", 1, "repo"),
        ("\nimage = []\n", 2, "image"),
        ('profiles = "x"\n', 1, "profiles"),
        ("profiles = [1]\n", 1, "profiles"),
        ('backup = "no"\n', 1, "backup"),
        ("protect = true\n", 1, "protect"),
        ('protect = ["hook"]\n', 1, "hook"),
        ("config = 1\n", 1, "config"),
        ("[config]\nlimits = [1]\n", 2, "limits"),
        ("[config]\n[config.limits]\ncpu = 1\n", 2, "limits"),
        ("devices = []\n", 1, "devices"),
        ('[devices]\nweb = "proxy"\n', 2, "web"),
        ("[devices.web]\nport = 1979-05-27\n", 2, "port"),
        ("[devices.web\n", 1, ""),
        ('repo = "a"\nrepo = "b"\n', 2, ""),
    ],
)
def test_what_an_override_may_not_say_is_named_with_file_and_line(
    override: Callable[[str], ProjectSettings], path: str, text: str, line: int, said: str
) -> None:
    """The exit code is 3, and a hint says what may be there."""
    with pytest.raises(NotFoundError) as caught:
        override(text)
    assert f"{override_path(path, 'isurus')}, line {line}: " in caught.value.message
    assert said in caught.value.message.partition(f", line {line}: ")[2]
    assert caught.value.exit_code == 3
    assert caught.value.hints


def test_all_unknown_keys_are_named_at_once(override: Callable[[str], ProjectSettings]) -> None:
    """With the keys that there are."""
    with pytest.raises(NotFoundError, match="alpha, beta") as caught:
        override("beta = 1\nalpha = 1\n")
    assert "profiles" in caught.value.hints[0]


@pytest.mark.parametrize(
    ("key", "hint"), [("profile", "profiles"), ("Image", "image"), ("device", "devices"), ("follow_mount", "follow_mounts")]
)
def test_an_unknown_key_gets_the_nearest_one(key: str, hint: str, override: Callable[[str], ProjectSettings]) -> None:
    """It is the first hint."""
    with pytest.raises(NotFoundError) as caught:
        override(f"{key} = []\n")
    assert caught.value.hints[0] == f"did you mean {hint!r}?"


def test_an_install_table_is_refused_with_its_reason(override: Callable[[str], ProjectSettings]) -> None:
    """Install scripts are the project's own business."""
    with pytest.raises(NotFoundError) as caught:
        override('[install]\nrun = "make"\n')
    assert any("project's own business" in hint for hint in caught.value.hints)


def test_later_sources_win_and_silence_changes_nothing() -> None:
    """Defaults, entry, override, command line."""
    defaults = Defaults(default_image="standard", profiles=("default",))
    entry = settings_of(Project(name="p", repo="dir", image="entry", backup=False))
    override = ProjectSettings(
        profiles=("a", "b"), protect=("hooks",), config={"x": "1", "y": "1"}, devices={"d": {"type": "disk", "path": "/a"}}
    )
    command = ProjectSettings(image="command", backup=True, config={"y": "2"}, devices={"d": {"type": "nic"}})
    found = effective_settings("p", defaults, entry, override, command)
    assert (found.name, found.repo, found.image, found.profiles) == ("p", "dir", "command", ("a", "b"))
    assert (found.backup, found.protect) == (True, ("hooks",))
    assert (found.config, found.devices) == ({"x": "1", "y": "2"}, {"d": {"type": "nic"}})
    assert override.config == {"x": "1", "y": "1"}
    assert effective_settings("p", defaults, entry).backup is False


def test_without_any_source_the_defaults_hold() -> None:
    """The repository is called as the project."""
    found = effective_settings("p", Defaults(default_image="standard", profiles=("a",)))
    assert (found.repo, found.image, found.profiles, found.backup) == ("p", "standard", ("a",), True)
    assert (found.protect, found.config, found.devices) == ((), {}, {})


def test_an_empty_list_is_a_wish_too() -> None:
    """No profiles at all is not silence; an entry without an image is."""
    silent = settings_of(Project(name="p", repo="p"))
    assert (silent.image, silent.profiles) == (None, None)
    assert effective_settings("p", Defaults(), silent, ProjectSettings(profiles=())).profiles == ()


@pytest.mark.parametrize("name", ["../repoman", "../../etc/passwd", "a/b", ".x"])
def test_a_name_that_is_no_file_name_opens_no_override(name: str, path: str) -> None:
    """Names are checked before anything is opened."""
    write(path, SCHEMA_3)
    made = Path(override_path(path, "x")).parent
    made.mkdir()
    with suppress(OSError):
        (made / f"{name}.toml").write_text('image = "evil"\n')
    with pytest.raises(RepomanError, match="name"):
        load_override(path, name)
