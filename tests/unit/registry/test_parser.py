# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading registries of all schemas, and errors that name file and line."""

from __future__ import annotations

import importlib
import os
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import run_logic
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.registry import keys
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store as registry
from ansible_collections.homelab.repoman.plugins.module_utils.registry.edit import DEFAULT_TEXT, edit_text
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import (
    Defaults,
    Project,
    ProjectSettings,
)
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import parse
from ansible_collections.homelab.repoman.plugins.module_utils.registry.store import edit_file
from registry_texts import HEAD, SCHEMA_1, SCHEMA_2, SCHEMA_3, nothing, read, set_lan_ip, write

importlib.import_module("tomlkit")  # the registry loads it when it writes: too late for a child process that may not read it


def test_every_schema_is_read_as_schema_3() -> None:
    """What an old file does not say has its default."""
    one, two, three = (parse(text, "/r") for text in (SCHEMA_1, SCHEMA_2, SCHEMA_3))
    assert (one.schema, two.schema, three.schema) == (1, 2, 3)
    assert (one.lan_ip, two.lan_ip, three.lan_ip) == ("", "192.168.168.124", "10.0.0.1")
    assert one.output == "verbose"
    assert one.defaults == Defaults(repos_root="~/src", profiles=("default", "claude-share"))
    assert one.projects == {"isurus": Project(name="isurus", repo="isurus-project")}
    assert two.projects["isurus"] == Project(
        name="isurus",
        repo="isurus-project",
        image="images:ubuntu/26.04/cloud",
        profiles=("default", "claude-share", "llm-share"),
        created="2026-04-28T15:00:00Z",
        last_sync="",
        backup=True,
    )
    assert list(three.projects) == ["one", "two", "three"]


def test_tables_of_keys_are_those_of_the_data() -> None:
    """Every field of the data is a key with a meaning, and the defaults are the same."""
    assert [key.name for key in keys.DEFAULTS] == [field.name for field in fields(Defaults)]
    assert [key.name for key in keys.PROJECT] == [field.name for field in fields(Project)]
    assert {key.name for key in keys.OVERRIDE} == {field.name for field in fields(ProjectSettings)} - {"unset"}
    assert all(key.default == getattr(Defaults(), key.name) for key in keys.DEFAULTS)
    tables = (*keys.REPOMAN, *keys.HOST, *keys.DEFAULTS, *keys.PROJECT, *keys.OVERRIDE)
    assert [key.name for key in tables if not key.meaning.endswith(".") or (key.default in (None, "") and not key.default_text)] == []


def test_the_new_registry_is_the_one_the_specification_shows() -> None:
    """Every default of the code is what a new file says."""
    new = parse(DEFAULT_TEXT, "/r")
    assert (new.schema, new.output, new.lan_ip, new.projects) == (3, "quiet", "", {})
    assert new.defaults == Defaults()
    assert new.defaults.profiles == ("default",)
    assert set(tomllib.loads(DEFAULT_TEXT)) == {"repoman", "host", "defaults"}


def test_there_may_be_no_registry(path: str) -> None:
    """Loading it says how to make one; nothing is made."""
    with pytest.raises(NotFoundError, match=path) as caught:
        registry.load(path)
    assert caught.value.hints == ["repoman setup"]
    assert registry.load_or_none(path) is None
    assert os.listdir(os.path.dirname(path)) == []


def test_who_names_a_profile_is_known() -> None:
    """Projects in the file's order, then the defaults; a project without a list of its own counts with the defaults."""
    known = parse(SCHEMA_2, "/r")
    assert known.referencing("llm-share") == ["isurus", "[defaults]"]
    assert known.referencing("claude-share") == ["isurus"]
    assert known.referencing("dotfiles") == []


@pytest.mark.parametrize(
    ("address", "lan_ip"),
    [
        ("http://192.168.168.124:11434", "192.168.168.124"),
        ("https://192.168.168.124:11434", "192.168.168.124"),
        ("http://192.168.168.124:8080/v1?x=1", "192.168.168.124"),
        ("http://192.168.168.124", "192.168.168.124"),
        ("http://192.168.168.124/", "192.168.168.124"),
        ("http://me:secret@192.168.168.124:11434", "192.168.168.124"),
        ("http://[fd00::1]:11434", "fd00::1"),
        ("http://[fd00::1]", "fd00::1"),
        ("http://ollama.lan:11434", "ollama.lan"),
        ("", ""),
        ("http://", ""),
        ("http://[fd00::1", ""),
        ("http://]:1", ""),
        ("what is this", ""),
        ("http://what is this/", ""),
    ],
)
def test_the_address_is_taken_out_of_the_old_url(address: str, lan_ip: str) -> None:
    """Any port, any path, IPv6; junk leaves it empty."""
    text = SCHEMA_2.replace("http://192.168.168.124:11434", address)
    assert parse(text, "/r").lan_ip == lan_ip
    assert tomllib.loads(edit_text(text, "/r", nothing))["host"] == {"lan_ip": lan_ip}


@pytest.mark.parametrize("value", ["5", "true", "[]", "{}", "1979-05-27"])
def test_an_old_address_that_is_no_text_leaves_it_empty(value: str) -> None:
    """The table goes anyway, so its types are nobody's concern."""
    text = SCHEMA_2.replace('"http://192.168.168.124:11434"', value)
    assert parse(text, "/r").lan_ip == ""


@pytest.mark.parametrize("text", [SCHEMA_1, SCHEMA_2.replace("ollama_url", "other"), SCHEMA_2.replace("[defaults.llm]", "[other.llm]")])
def test_without_an_old_address_it_is_empty(text: str) -> None:
    """``repoman setup`` finds it."""
    assert parse(text, "/r").lan_ip == ""


def test_an_address_of_its_own_is_kept() -> None:
    """It wins over the one in the old URL, and so do its neighbours."""
    text = SCHEMA_2 + '\n[host]\nlan_ip = "10.9.8.7"\nnickname = "attic"\n'
    assert parse(text, "/r").lan_ip == "10.9.8.7"
    assert tomllib.loads(edit_text(text, "/r", nothing))["host"] == {"lan_ip": "10.9.8.7", "nickname": "attic"}


MALFORMED = {
    "another placeholder": (HEAD + '[defaults]\nbackup_root = "/nfs/{user}"\n', 4),
    "half a placeholder": (HEAD + '[defaults]\nbackup_root = "/nfs/host}"\n', 4),
    "two braces": (HEAD + '[defaults]\nbackup_root = "/nfs/{{host}}"\n', 4),
    "syntax": (HEAD + "[host\n", 3),
    "no value": (HEAD + "[host]\nlan_ip =\n", 4),
    "key twice": (HEAD + '[host]\nlan_ip = ""\nlan_ip = ""\n', 5),
    "table twice": (HEAD + "[host]\n[host]\n", 4),
    "open string": (HEAD + '[host]\nlan_ip = "10\n', 4),
    "open text at the end": (HEAD + '[host]\nlan_ip = """10\n', None),
    "empty": ("", 1),
    "only a comment": ("# nothing\n", None),
    "byte order mark": ("\ufeff" + HEAD, 1),
    "no schema": ('[repoman]\noutput = "quiet"\n', None),
    "schema of another table": ("[other]\nschema = 3\n[repoman]\n", None),
    "newer schema": ("\n[repoman]\nschema = 4\n", 3),
    "schema text": ('\n[repoman]\nschema = "x"\n', 3),
    "schema number as text": ('[repoman]\nschema = "3"\n', 2),
    "schema float": ("[repoman]\nschema = 3.0\n", 2),
    "schema true": ("[repoman]\nschema = true\n", 2),
    "schema 0": ("[repoman]\nschema = 0\n", 2),
    "repoman no table": ("repoman = 3\n", 1),
    "output": (HEAD + 'output = "loud"\n', 3),
    "output type": (HEAD + "output = 1\n", 3),
    "host no table": ("host = 1\n" + HEAD, 1),
    "lan_ip": (HEAD + "[host]\nlan_ip = 10\n", 4),
    "defaults no table": ("defaults = []\n" + HEAD, 1),
    "repos_root": (HEAD + "[defaults]\nrepos_root = 1\n", 4),
    "backup_root": (HEAD + "[defaults]\nbackup_root = false\n", 4),
    "logdir": (HEAD + "[defaults]\nlogdir = []\n", 4),
    "repos_root relative": (HEAD + '[defaults]\nrepos_root = "repos"\n', 4),
    "backup_root empty": (HEAD + '[defaults]\nbackup_root = ""\n', 4),
    "logdir of another user": (HEAD + '[defaults]\nlogdir = "~other"\n', 4),
    "stale_after without a unit": (HEAD + '[defaults]\nstale_after = "3"\n', 4),
    "stale_after of nothing": (HEAD + '[defaults]\nstale_after = "0d"\n', 4),
    "stale_after number": (HEAD + "[defaults]\nstale_after = 3\n", 4),
    "stale_after true": (HEAD + "[defaults]\nstale_after = true\n", 4),
    "incus_project": (HEAD + "[defaults]\nincus_project = {}\n", 4),
    "default_image": (HEAD + "[defaults]\ndefault_image = 1.5\n", 4),
    "profiles text": (HEAD + '[defaults]\nprofiles = "default"\n', 4),
    "profiles numbers": (HEAD + "[defaults]\nprofiles = [1]\n", 4),
    "profiles table": (HEAD + "[defaults.profiles]\n", 3),
    "project no list": (HEAD + '[project]\nname = "a"\n', 3),
    "project texts": ('project = ["a"]\n' + HEAD, 1),
    "project without name": (HEAD + '\n[[project]]\nrepo = "a"\n', 4),
    "project with empty name": (HEAD + '\n[[project]]\nname = ""\n', None),
    "name": (HEAD + "[[project]]\nname = 1\n", 4),
    "repo": (HEAD + '[[project]]\nname = "a"\nrepo = 1\n', 5),
    "image": (HEAD + '[[project]]\nname = "a"\nimage = 1\n', 5),
    "project profiles": (HEAD + '[[project]]\nname = "a"\nprofiles = "x"\n', 5),
    "created": (HEAD + '[[project]]\nname = "a"\ncreated = 1979-05-27\n', 5),
    "last_sync": (HEAD + '[[project]]\nname = "a"\nlast_sync = 1979-05-27T07:32:00Z\n', 5),
    "backup": (HEAD + '[[project]]\nname = "a"\nbackup = "yes"\n', 5),
    "backup number": (HEAD + '[[project]]\nname = "a"\nbackup = 0\n', 5),
    "huge number": (HEAD + "[mine]\nn = " + "1" * 5000 + "\n", None),
    "deep": (HEAD + "[mine]\nn = " + "[" * 5000 + "\n", None),
}


@pytest.mark.parametrize(("text", "line"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_registry_is_named_with_its_line_and_left_alone(text: str, line: int | None, path: str, me: Account) -> None:
    """Reading and writing both refuse it, with exit code 3."""
    write(path, text)
    for attempt in (lambda: registry.load(path), lambda: edit_file(path, set_lan_ip("10.0.0.2"), me)):
        with pytest.raises(NotFoundError) as caught:
            attempt()
        error = caught.value
        assert error.exit_code == 3
        assert f"{path}, line {'' if line is None else f'{line}: '}" in error.message
        assert error.hints
    assert read(path) == text
    assert [name for name in os.listdir(os.path.dirname(path)) if not name.endswith(".lock")] == ["repoman.toml"]


@pytest.mark.parametrize(("text", "seconds"), [("", 259200), ('stale_after = "36h"', 129600), ('stale_after = "never"', None)])
def test_age_at_which_a_backup_is_too_old(text: str, seconds: int | None) -> None:
    """Three days by default; a wrong one has an error with an example."""
    assert parse(f"{HEAD}[defaults]\n{text}\n", "/r").defaults.stale_seconds == seconds
    with pytest.raises(NotFoundError) as caught:
        parse(f"{HEAD}[defaults]\nstale_after = 3\n", "/r")
    message = "/r, line 4: [defaults].stale_after must be a number and a unit (s, m, h, d or w), such as '3d', or 'never'."
    assert caught.value.message == message


def test_the_line_is_that_of_the_project_at_fault() -> None:
    """Not that of the first project that has such a key."""
    text = HEAD + '[[project]]\nname = "a"\nbackup = true\n\n[[project]]\nname = "b"\nbackup = "no"\n'
    with pytest.raises(NotFoundError, match=r"/r, line 9: "):
        parse(text, "/r")


def test_the_line_is_that_of_the_second_project_of_a_name() -> None:
    """The error names the project too."""
    text = HEAD + '[[project]]\nname = "a"\n\n[[project]]\nname = "b"\n\n[[project]]\nname = "a"\n'
    with pytest.raises(NotFoundError, match=r"/r, line (9|10): .*'a'"):
        parse(text, "/r")


def test_the_line_is_that_of_the_table_at_fault() -> None:
    """A key of the same name in a foreign table above does not mislead."""
    text = '[mine]\nlan_ip = "x"\n' + HEAD + "[host]\nlan_ip = 5\n"
    with pytest.raises(NotFoundError, match=r"/r, line 6: "):
        parse(text, "/r")


def test_lines_are_counted_as_editors_count_them() -> None:
    """A line separator inside a comment is no end of a line."""
    with pytest.raises(NotFoundError, match=r"/r, line 4: "):
        parse("# a\u2028b\x85c\n[repoman]\nschema = 3\noutput = 1\n", "/r")


def test_a_newer_schema_asks_for_a_newer_repoman() -> None:
    """The hint says so."""
    with pytest.raises(NotFoundError, match="4") as caught:
        parse("[repoman]\nschema = 4\n", "/r")
    assert any("upgrade" in hint for hint in caught.value.hints)


def test_a_file_that_is_not_utf_8_is_named_with_its_line(path: str, me: Account) -> None:
    """It is not touched."""
    raw = HEAD.encode() + b'[host]\nlan_ip = "\xff"\n'
    Path(path).write_bytes(raw)
    for attempt in (lambda: registry.load(path), lambda: edit_file(path, nothing, me)):
        with pytest.raises(NotFoundError, match=f"{path}, line 4: .*UTF-8"):
            attempt()
    assert Path(path).read_bytes() == raw


def test_a_registry_that_cannot_be_read_is_named(path: str) -> None:
    """A directory of that name, for one."""
    os.mkdir(path)
    with pytest.raises(NotFoundError, match=path):
        registry.load(path)


MISSPELLED = (
    HEAD
    + """\
outptu = "quiet"
[hosts]
lan_ip = "10.0.0.1"
[host]
lanip = "10.0.0.2"
[default]
profiles = ["x"]
[defaults]
repo_root = "~/src"
profile = ["x"]
[[project]]
name = "a"
Profiles = ["x"]
[[projects]]
name = "b"
"""
)


def test_a_misspelled_key_is_named_with_its_line_and_the_nearest_one() -> None:
    """Tables, arrays of tables, and keys of each; they have no effect."""
    read_registry = parse(MISSPELLED, "/r.toml")
    assert read_registry.warnings == (
        "/r.toml, line 4: the table [hosts] is not known and has no effect; did you mean [host]?",
        "/r.toml, line 8: the table [default] is not known and has no effect; did you mean [defaults]?",
        "/r.toml, line 16: the table [[projects]] is not known and has no effect; did you mean [[project]]?",
        "/r.toml, line 3: the key 'outptu' of [repoman] is not known and has no effect; did you mean 'output'?",
        "/r.toml, line 7: the key 'lanip' of [host] is not known and has no effect; did you mean 'lan_ip'?",
        "/r.toml, line 11: the key 'repo_root' of [defaults] is not known and has no effect; did you mean 'repos_root'?",
        "/r.toml, line 12: the key 'profile' of [defaults] is not known and has no effect; did you mean 'profiles'?",
        "/r.toml, line 15: the key 'Profiles' of [[project]] is not known and has no effect; did you mean 'profiles'?",
    )
    assert (read_registry.lan_ip, read_registry.defaults.profiles, list(read_registry.projects)) == ("", ("default",), ["a"])
    assert edit_text(MISSPELLED, "/r.toml", nothing) == MISSPELLED


@pytest.mark.parametrize(
    "text", [SCHEMA_1, SCHEMA_2, SCHEMA_3, DEFAULT_TEXT, HEAD + '[mine]\nx = 1\n[work.hosts]\ny = 2\n[host]\ncolour = "red"\n']
)
def test_keys_of_the_users_own_are_no_misspellings(text: str) -> None:
    """Nor is what older versions wrote."""
    assert parse(text, "/r.toml").warnings == ()


def test_a_run_warns_once_of_each_misspelling(path: str) -> None:
    """However often it reads the registry, and also if it fails."""
    write(path, HEAD + "[default]\n")

    def run(params: dict[str, Any], check: bool) -> dict[str, Any]:
        registry.load(path)
        registry.load_or_none(path)
        if check:
            raise NotFoundError("no.")
        return {"changed": False, "warnings": ["another"]}

    warning = f"{path}, line 3: the table [default] is not known and has no effect; did you mean [defaults]?"
    assert run_logic(run, {}, False) == {"changed": False, "warnings": [warning, "another"], "output": "quiet"}
    assert run_logic(run, {}, True)["warnings"] == [warning]
