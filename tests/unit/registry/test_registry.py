# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The registry: schemas, migration, rewrites that keep what people wrote, crashes, concurrency, overrides."""

from __future__ import annotations

import difflib
import importlib
import json
import os
import stat
import subprocess
import sys
import textwrap
import threading
import time
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import write_atomic
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store as registry
from ansible_collections.homelab.repoman.plugins.module_utils.registry.edit import DEFAULT_TEXT, edit_text, put_project, remove_project
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import (
    Data,
    Defaults,
    Project,
    ProjectSettings,
    effective_settings,
    settings_of,
)
from ansible_collections.homelab.repoman.plugins.module_utils.registry.override import load_override, override_path
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import migrate, parse
from ansible_collections.homelab.repoman.plugins.module_utils.registry.store import edit_file
from hypothesis import given
from hypothesis import strategies as st

importlib.import_module("tomlkit")  # the registry loads it when it writes: too late for a child process that may not read it

SCHEMA_1 = """\
[repoman]
schema = 1
output = "verbose"

[defaults]
repos_root = "~/src"
profiles = ["default", "claude-share"]

[[project]]
name = "isurus"
repo = "isurus-project"
"""

SCHEMA_2 = """\
# my registry
[repoman]
schema = 2   # bumped by hand
output = "quiet"
mine = 1979-05-27

[defaults]
repos_root     = "~/repos"      # aligned
backup_root    = '/nfs/repos'
profiles       = ["default",    # one
                  "llm-share"]  # two

# the llm
[defaults.llm]
enabled = true
hermes_default = false
ollama_url = "http://192.168.168.124:11434"
hermes_seed = "x"

# favourites
[[project]]
name        = "isurus"
repo        = "isurus-project"
image       = "images:ubuntu/26.04/cloud"
profiles    = ["default", "claude-share", "llm-share"]
created     = "2026-04-28T15:00:00Z"
last_sync   = ""
backup      = true
color       = "blue"            # mine

[tool.other]
key = "value"
"""

SCHEMA_3 = """\
# about everything

[repoman]
schema = 3          # do not touch
output = "quiet"

# the address
[host]
lan_ip = "10.0.0.1" # of br0
nickname = "attic"

[defaults]
repos_root = "~/repos"
profiles = ["default"]

# first
[[project]]
name = "one"        # the one
repo = "one"
profiles = [
  "default",        # always
  "claude-share",
]
backup = true
color = "blue"

# second
[[project]]
repo = "two-repo"
name = "two"

# third
[[project]]
name = "three"
repo = "three"
image = "local"

# the end
[tool.other]
key = "value"
# really
"""


@pytest.fixture
def path(me: Account) -> str:
    """Return the path of a registry in an empty home; its directory exists."""
    found = Path(registry.default_path(me.home))
    found.parent.mkdir(parents=True)
    return str(found)


def write(path: str, text: str) -> None:
    """Write a file as it is."""
    Path(path).write_bytes(text.encode())


def read(path: str) -> str:
    """Read a file as it is."""
    return Path(path).read_bytes().decode()


def changed_lines(before: str, after: str) -> tuple[list[str], list[str]]:
    """Return the lines that went and the lines that came."""
    lines = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    return [line[2:] for line in lines if line[0] == "-"], [line[2:] for line in lines if line[0] == "+"]


def set_lan_ip(value: str) -> Callable[[Data], None]:
    """Return an edit that stores the address."""

    def edit(data: Data) -> None:
        data.setdefault("host", {})["lan_ip"] = value

    return edit


def put(**entry: Any) -> Callable[[Data], None]:
    """Return an edit that stores a project."""
    return lambda data: put_project(data, Project(**entry))


def drop(name: str) -> Callable[[Data], None]:
    """Return an edit that drops a project."""
    return lambda data: remove_project(data, name)


def nothing(data: Data) -> None:
    """Edit nothing."""


# Reading


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


# Malformed files

HEAD = "[repoman]\nschema = 3\n"
MALFORMED = {
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


# Rewriting


def test_one_change_changes_one_line() -> None:
    """Comments, order, spacing and foreign keys stay, to the letter."""
    after = edit_text(SCHEMA_3, "/r", set_lan_ip("10.0.0.2"))
    assert after == SCHEMA_3.replace('lan_ip = "10.0.0.1" # of br0', 'lan_ip = "10.0.0.2" # of br0')


def test_a_sync_changes_one_line_of_one_project() -> None:
    """The others are not rewritten, and neither is the list with comments in it."""
    text = SCHEMA_3.replace('image = "local"\n', 'image = "local"\nlast_sync = "" # never\n')

    def edit(data: Data) -> None:
        data["project"][2]["last_sync"] = "2026-05-08T00:00:00Z"

    assert edit_text(text, "/r", edit) == text.replace('last_sync = "" # never', 'last_sync = "2026-05-08T00:00:00Z" # never')


def test_no_change_is_the_same_text() -> None:
    """Also where a value is written anew as it was."""
    assert edit_text(SCHEMA_3, "/r", set_lan_ip("10.0.0.1")) is SCHEMA_3
    assert edit_text(SCHEMA_3, "/r", nothing) is SCHEMA_3
    assert edit_text(SCHEMA_3, "/r", drop("nobody")) == SCHEMA_3


def test_migrating_changes_the_schema_the_llm_table_and_the_address_alone() -> None:
    """Line by line."""
    after = edit_text(SCHEMA_2, "/r", nothing)
    gone, came = changed_lines(SCHEMA_2, after)
    llm = SCHEMA_2[SCHEMA_2.index("[defaults.llm]") : SCHEMA_2.index("# favourites")].split("\n")
    assert [line for line in gone if line] == ["schema = 2   # bumped by hand", *(line for line in llm if line)]
    assert [line for line in came if line] == ["schema = 3   # bumped by hand", "[host]", 'lan_ip = "192.168.168.124"']
    assert "llm]" not in after
    parsed = parse(after, "/r")
    assert parsed.schema == 3
    assert parsed.lan_ip == "192.168.168.124"
    assert tomllib.loads(after)["tool"] == {"other": {"key": "value"}}


def test_migrating_schema_1_needs_only_the_number_and_an_empty_address() -> None:
    """There is nothing else to carry over."""
    after = edit_text(SCHEMA_1, "/r", nothing)
    gone, came = changed_lines(SCHEMA_1, after)
    assert [line for line in gone if line] == ["schema = 1"]
    assert [line for line in came if line] == ["schema = 3", "[host]", 'lan_ip = ""']


def test_migrating_twice_is_migrating_once() -> None:
    """A file of schema 3 is left as it is."""
    once = edit_text(SCHEMA_2, "/r", nothing)
    assert edit_text(once, "/r", nothing) == once


NEW_LINES = ["[[project]]", 'name = "new"', 'repo = "dir"', 'profiles = ["default"]', 'created = "now"', 'last_sync = ""', "backup = false"]
NEW = {"name": "new", "repo": "dir", "profiles": ("default",), "created": "now", "backup": False}


def test_a_new_project_only_adds_lines() -> None:
    """It comes after the others; its entry reads back as it was given."""
    after = edit_text(SCHEMA_3, "/r", put(**NEW))
    gone, came = changed_lines(SCHEMA_3, after)
    assert gone == []
    assert [line for line in came if line] == NEW_LINES
    known = parse(after, "/r")
    assert list(known.projects) == ["one", "two", "three", "new"]
    assert known.projects["new"] == Project(**NEW)


def test_comments_above_the_next_table_stay_above_it() -> None:
    """A new entry or key is not put between a table and the comment that speaks of it."""
    after = edit_text(SCHEMA_3, "/r", put(**NEW))
    assert "# the end\n[tool.other]" in after
    after = edit_text(SCHEMA_3, "/r", put(name="two", repo="two-repo", image="local"))
    assert '# third\n[[project]]\nname = "three"' in after
    text = HEAD + "\n[host]\n\n# about the defaults\n[defaults]\n"
    after = edit_text(text, "/r", set_lan_ip("10.0.0.2"))
    assert "# about the defaults\n[defaults]" in after


@pytest.mark.parametrize("name", ["one", "two", "three"])
def test_dropping_a_project_only_takes_its_own_lines(name: str) -> None:
    """The comments above the tables after it are not its own."""
    others = {"one", "two", "three"} - {name}
    after = edit_text(SCHEMA_3, "/r", drop(name))
    assert set(parse(after, "/r").projects) == others
    gone, came = changed_lines(SCHEMA_3, after)
    assert came == []
    above = {"one": "# first", "two": "# second", "three": "# third"}
    for other in others:
        assert f"{above[other]}\n[[project]]\n" in after
    for comment in ("# about everything", "# the address", "# the end", "# really"):
        assert comment in after
    start = SCHEMA_3.index(above[name])
    own = SCHEMA_3[start : SCHEMA_3.index("\n# ", start)].split("\n")
    assert [line for line in gone if line and line not in own] == []


def test_dropping_the_last_project_leaves_a_registry_without_projects() -> None:
    """And one can be added again."""
    text = edit_text(DEFAULT_TEXT, "/r", put(**NEW))
    assert "new" in parse(text, "/r").projects
    text = edit_text(text, "/r", drop("new"))
    assert parse(text, "/r").projects == {}
    assert "new" in parse(edit_text(text, "/r", put(**NEW)), "/r").projects


def test_a_project_with_tables_of_its_own_can_be_dropped() -> None:
    """Foreign tables below an entry go with it, those of others stay."""
    text = HEAD + '[[project]]\nname = "a"\n[project.mine]\nk = 1\n\n[[project]]\nname = "b"\n[[project.list]]\nk = 2 # two\n'
    after = edit_text(text, "/r", drop("a"))
    assert tomllib.loads(after)["project"] == [{"name": "b", "list": [{"k": 2}]}]
    assert "# two" in after


ODD_FORMS = {
    "dotted keys": 'repoman.schema = 2\ndefaults.llm.ollama_url = "http://10.0.0.9:1"\n',
    "inline tables": 'repoman = { schema = 2 }\ndefaults = { llm = { ollama_url = "http://10.0.0.9:1" } }\n',
    "out of order": '[defaults]\nlogdir = "/x"\n[repoman]\nschema = 2\n[defaults.llm]\nollama_url = "http://10.0.0.9:1"\n[z]\na = 1\n',
    "only a sub-table": '[repoman]\nschema = 2\n[defaults.llm]\nollama_url = "http://10.0.0.9:1"\n',
    "dotted in the table": '[repoman]\nschema = 2\n[defaults]\nllm.ollama_url = "http://10.0.0.9:1"\nllm.x = 1\nlogdir = "/x"\n',
    "quoted keys": '["repoman"]\n"schema" = 2\n[defaults."llm"]\n\'ollama_url\' = "http://10.0.0.9:1"\n',
    "no newline at the end": '[defaults.llm]\nollama_url = "http://10.0.0.9:1"\n[repoman]\nschema = 2',
    "comment without newline at the end": '[defaults.llm]\nollama_url = "http://10.0.0.9:1"\n[repoman]\nschema = 2 # end',
    "projects apart": '[[project]]\nname = "a"\n[repoman]\nschema = 2\n'
    '[defaults.llm]\nollama_url = "http://10.0.0.9:1"\n[[project]]\nname = "b"\n',
    "projects inline": 'project = [{ name = "a" }, { name = "b" }]\n[repoman]\nschema = 2\n[defaults.llm]\nollama_url = "http://10.0.0.9:1"\n',
    "not a number": '[repoman]\nschema = 2\n[defaults.llm]\nollama_url = "http://10.0.0.9:1"\n[mine]\nn = nan\nm = -inf\n',
    "windows": '[repoman]\r\nschema = 2 # s\r\n[defaults.llm]\r\nollama_url = "http://10.0.0.9:1"\r\n[z]\r\nt = """a\r\nb"""\r\n',
}


@pytest.mark.parametrize("text", ODD_FORMS.values(), ids=ODD_FORMS)
def test_whatever_form_the_file_has_it_can_be_migrated_and_edited(text: str) -> None:
    """TOML says the same thing in many ways."""
    foreign = {key: value for key, value in tomllib.loads(text).items() if key in ("z", "mine")}
    names = [entry["name"] for entry in tomllib.loads(text).get("project", [])]
    after = edit_text(text, "/r", put(name="new", repo="dir"))
    known = parse(after, "/r")
    assert (known.schema, known.lan_ip, list(known.projects)) == (3, "10.0.0.9", [*names, "new"])
    after = edit_text(after, "/r", set_lan_ip("10.0.0.10"))
    after = edit_text(after, "/r", drop("new"))
    known = parse(after, "/r")
    assert (known.schema, known.lan_ip, list(known.projects)) == (3, "10.0.0.10", names)
    assert repr({key: value for key, value in tomllib.loads(after).items() if key in ("z", "mine")}) == repr(foreign)


def test_windows_line_ends_stay(path: str, me: Account) -> None:
    """The lines that are not edited are not changed, also not in their ends."""
    text = SCHEMA_3.replace("\n", "\r\n")
    write(path, text)
    edit_file(path, set_lan_ip("10.0.0.2"), me)
    assert read(path) == text.replace("10.0.0.1", "10.0.0.2")


def test_editing_what_is_no_registry_is_refused() -> None:
    """The edit is not even tried."""
    with pytest.raises(NotFoundError):
        edit_text("[repoman]\nschema = 4\n", "/r", lambda data: pytest.fail("edited"))


def test_putting_a_project_keeps_foreign_keys_and_place() -> None:
    """An existing entry is written over key by key."""
    data = tomllib.loads(SCHEMA_3)
    put_project(data, Project(name="one", repo="one", profiles=("x",), created="now"))
    assert data["project"][0] == {
        "name": "one",
        "repo": "one",
        "profiles": ["x"],
        "backup": True,
        "color": "blue",
        "created": "now",
        "last_sync": "",
    }
    assert [entry["name"] for entry in data["project"]] == ["one", "two", "three"]


# Round trips of random registries

LETTERS = st.characters(exclude_categories=("Cs",), exclude_characters="\x00")
ODD_TEXT = st.text(LETTERS, max_size=12) | st.sampled_from(
    ['"', "\\", "#", "]", "[[project]]", "a\nb", "'''", '"""', "\u2028", "\x7f", "= 1", "🦈"]
)
NAMES = st.sampled_from(["a", "b", "c", "d", "isurus"])


def basic(text: str) -> str:
    """Return ``text`` as a basic string of TOML."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


@st.composite
def registries(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Return a registry in TOML, and the comments that speak of no single project or old table."""
    kept: list[str] = []
    count = 0

    def comment(keep: bool, indent: str = "") -> str:
        nonlocal count
        if not draw(st.booleans()):
            return ""
        count += 1
        said = f"# {count} " + draw(st.sampled_from(["about", '"', "]", "[[project]]", "= 1", "ü", "'''"])) + f" {count};"
        if keep:
            kept.append(said)
        return f"{indent}{said}"

    def above() -> str:
        said = comment(keep=True)
        return draw(st.sampled_from(["", "\n", "\n\n"])) + (f"{said}\n" if said else "")

    def line(key: str, value: str, keep: bool) -> str:
        return f"{key}{draw(st.sampled_from([' = ', '=', '   =  ']))}{value}{comment(keep, '  ')}\n"

    def foreign(keep: bool) -> str:
        value = draw(
            st.sampled_from(
                ["1", "1.5", "1979-05-27", "[1, [2]]", "{ a = 1, b.c = 2 }", '"""a\nb"""', "'''[x]\n# no comment'''", "[\n 1, # x\n]"]
            )
        )
        return line(draw(st.sampled_from(["mine", '"my key"', "mine.dotted"])), value, keep) if draw(st.booleans()) else ""

    with_llm = 2
    schema = draw(st.sampled_from([1, with_llm, 3]))
    blocks = [f"{above()}[repoman]{comment(True, ' ')}\n" + line("schema", str(schema), True) + foreign(True)]
    defaults = f"{above()}[defaults]\n" + line("logdir", basic("/" + draw(ODD_TEXT)), True) + foreign(True)
    llm = ""
    if schema == with_llm:
        llm = f"{above()}[defaults.llm]\n" + line(
            "ollama_url", basic(f"http://{draw(st.sampled_from(['10.0.0.1', '[::1]', ']']))}:1"), False
        )
    if draw(st.booleans()):
        blocks.append(defaults + llm)
    else:
        blocks += [defaults, *([llm] if llm else [])]
    if draw(st.booleans()):
        blocks.append(f"{above()}[host]\n" + foreign(True) + (line("lan_ip", basic(draw(ODD_TEXT)), True) if draw(st.booleans()) else ""))
    if draw(st.booleans()):
        blocks.append(f"{above()}[tool.other]\n" + line("key", basic(draw(ODD_TEXT)), True) + above())
    projects = ""
    for name in draw(st.lists(NAMES, unique=True, max_size=4)):
        lines = [line("name", basic(name), False), line("repo", basic(draw(ODD_TEXT)), False), foreign(False)]
        projects += f"{above()}[[project]]\n" + "".join(draw(st.permutations(lines)))
    blocks.append(projects)
    return "".join(draw(st.permutations(blocks))), kept


EDITS = st.one_of(
    st.builds(set_lan_ip, ODD_TEXT),
    st.builds(drop, NAMES),
    st.builds(
        lambda name, repo, image, profiles, backup: put(name=name, repo=repo, image=image, profiles=profiles, backup=backup),
        NAMES,
        ODD_TEXT,
        ODD_TEXT,
        st.none() | st.lists(ODD_TEXT, max_size=3).map(tuple),
        st.booleans(),
    ),
)


@given(registries(), st.lists(EDITS, max_size=5))
def test_any_edits_of_any_registry_say_what_they_mean_and_keep_comments(
    made: tuple[str, list[str]], edits: list[Callable[[Data], None]]
) -> None:
    """After every edit the text parses to exactly the data that was wanted, and foreign comments are all there."""
    text, comments = made
    for edit in edits:
        wanted = migrate(tomllib.loads(text))
        edit(wanted)
        text = edit_text(text, "/r", edit)
        assert tomllib.loads(text) == wanted
        parse(text, "/r")
    assert [comment for comment in comments if comment not in text] == []


# Writing


def test_the_first_write_makes_the_file_private(path: str, me: Account) -> None:
    """File and directories are the user's alone, and the text is the documented one."""
    os.rmdir(os.path.dirname(path))
    edit_file(path, nothing, me)
    assert read(path) == DEFAULT_TEXT
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700


def test_nothing_to_write_writes_nothing(path: str, me: Account) -> None:
    """Not even the same text."""
    write(path, SCHEMA_3)
    before = os.stat(path)
    edit_file(path, nothing, me)
    assert (os.stat(path).st_ino, os.stat(path).st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o660])
def test_the_mode_stays(mode: int, path: str, me: Account) -> None:
    """Whatever the user chose."""
    write(path, SCHEMA_3)
    os.chmod(path, mode)
    edit_file(path, set_lan_ip("10.0.0.2"), me)
    assert stat.S_IMODE(os.stat(path).st_mode) == mode
    assert registry.load(path).lan_ip == "10.0.0.2"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_stays_and_a_new_file_is_the_accounts(path: str, me: Account) -> None:
    """Root writes on behalf of somebody."""
    somebody = Account(name="somebody", uid=1500, gid=1501, group="somebody", home=me.home, shell="/bin/sh")
    os.removedirs(os.path.dirname(path))
    edit_file(path, nothing, somebody)
    for made in (path, f"{path}.lock", os.path.dirname(path), os.path.dirname(os.path.dirname(path))):
        assert (os.stat(made).st_uid, os.stat(made).st_gid) == (1500, 1501)
    os.chown(path, 1600, 1601)
    edit_file(path, set_lan_ip("10.0.0.2"), somebody)
    assert (os.stat(path).st_uid, os.stat(path).st_gid) == (1600, 1601)


def test_a_link_stays_a_link(path: str, me: Account, tmp_path: Path) -> None:
    """The registry may live in a repository of dotfiles."""
    dotfiles = tmp_path / "dotfiles"
    dotfiles.mkdir()
    target = dotfiles / "repoman.toml"
    target.write_text(SCHEMA_3)
    target.chmod(0o640)
    os.symlink(os.path.relpath(target, os.path.dirname(path)), path)
    edit_file(path, set_lan_ip("10.0.0.2"), me)
    assert os.path.islink(path)
    assert registry.load(path).lan_ip == "10.0.0.2"
    assert 'lan_ip = "10.0.0.2" # of br0' in target.read_text()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_the_old_file_is_kept_once(path: str, me: Account) -> None:
    """The first write after a migration keeps what was there; a later one does not overwrite it."""
    write(path, SCHEMA_2)
    edit_file(path, set_lan_ip("10.0.0.2"), me)
    backup = f"{path}.schema2.bak"
    assert read(backup) == SCHEMA_2
    assert registry.load(path).schema == 3
    write(path, SCHEMA_2.replace("isurus", "other"))
    edit_file(path, nothing, me)
    assert read(backup) == SCHEMA_2
    assert "other" in registry.load(path).projects
    assert not os.path.exists(f"{path}.schema1.bak")


def test_a_file_of_schema_3_is_not_kept(path: str, me: Account) -> None:
    """Only a migration is worth a copy."""
    write(path, SCHEMA_3)
    edit_file(path, set_lan_ip("10.0.0.2"), me)
    assert sorted(os.listdir(os.path.dirname(path))) == ["repoman.toml", "repoman.toml.lock"]


def test_a_failing_edit_changes_nothing(path: str, me: Account) -> None:
    """And the lock is free again."""
    write(path, SCHEMA_2)

    def edit(data: Data) -> None:
        data.clear()
        raise RepomanError("no")

    with pytest.raises(RepomanError, match="no"):
        edit_file(path, edit, me)
    assert read(path) == SCHEMA_2
    edit_file(path, set_lan_ip("10.0.0.2"), me)
    assert registry.load(path).lan_ip == "10.0.0.2"


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python process that knows the registry and an owner."""
    prelude = """
        import os, resource, signal, sys
        from ansible_collections.homelab.repoman.plugins.module_utils.registry.edit import DEFAULT_TEXT, edit_text, put_project, remove_project
        from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Project
        from ansible_collections.homelab.repoman.plugins.module_utils.registry.store import edit_file
        from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
        from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
        path = sys.argv[1]
        me = Account("alice", os.getuid(), os.getgid(), "alice", "/home/alice", "/bin/sh")
        """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    command = [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(code), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_many_writers_at_once_lose_nothing(path: str, me: Account) -> None:
    """Each process adds projects of its own and drops every other one again; a reader never sees half a file."""
    write(path, SCHEMA_2)
    code = """
        for number in range(6):
            name = f"p{sys.argv[2]}-{number}"
            edit_file(path, lambda data: put_project(data, Project(name, name)), me)
            if number % 2:
                edit_file(path, lambda data: remove_project(data, name), me)
        """
    writers = [start(code, path, str(number)) for number in range(5)]
    while any(writer.poll() is None for writer in writers):
        registry.load(path)
    assert [writer.communicate()[1] for writer in writers] == [""] * len(writers)
    known = registry.load(path)
    assert set(known.projects) == {"isurus"} | {f"p{writer}-{number}" for writer in range(5) for number in (0, 2, 4)}
    assert known.lan_ip == "192.168.168.124"
    assert read(f"{path}.schema2.bak") == SCHEMA_2
    assert sorted(os.listdir(os.path.dirname(path))) == ["repoman.toml", "repoman.toml.lock", "repoman.toml.schema2.bak"]


def test_a_writer_waits_for_the_lock_but_not_forever(path: str, me: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the lock, and nothing is written."""
    write(path, SCHEMA_3)
    monkeypatch.setattr(registry, "LOCK_SECONDS", 0.1)
    with registry.locked(f"{path}.lock", me), pytest.raises(RepomanError, match=r"repoman\.toml\.lock") as caught:
        edit_file(path, set_lan_ip("10.0.0.2"), me)
    assert caught.value.hints
    assert read(path) == SCHEMA_3


def test_a_writer_takes_over_when_the_lock_is_free(path: str, me: Account) -> None:
    """What the other wrote meanwhile is read again before the edit."""
    write(path, SCHEMA_3)
    with registry.locked(f"{path}.lock", me):
        waiting = threading.Thread(target=edit_file, args=(path, set_lan_ip("10.0.0.2"), me))
        waiting.start()
        time.sleep(0.1)
        assert read(path) == SCHEMA_3
        write_atomic(path, SCHEMA_3.replace("attic", "cellar"), me)
    waiting.join()
    assert read(path) == SCHEMA_3.replace("attic", "cellar").replace("10.0.0.1", "10.0.0.2")


def test_a_lock_that_is_a_link_is_not_followed(path: str, me: Account, tmp_path: Path) -> None:
    """Root must not be led to make or change a file elsewhere."""
    victim = tmp_path / "victim"
    os.symlink(victim, f"{path}.lock")
    with pytest.raises(RepomanError, match="lock"):
        edit_file(path, nothing, me)
    assert not victim.exists()


@pytest.mark.parametrize("moment", ["rename", "fsync"])
def test_a_kill_in_the_middle_leaves_the_old_file(moment: str, path: str, me: Account) -> None:
    """The next write works, and nothing of the dead one stays behind."""
    write(path, SCHEMA_3)
    code = f"""
        os.{moment} = os.replace = lambda *arguments, **options: os.kill(os.getpid(), signal.SIGKILL)
        edit_file(path, lambda data: put_project(data, Project("lost", "lost")), me)
        """
    process = start(code, path)
    process.communicate()
    assert process.returncode == -9
    assert read(path) == SCHEMA_3
    edit_file(path, set_lan_ip("10.0.0.2"), me)
    assert read(path) == SCHEMA_3.replace("10.0.0.1", "10.0.0.2")
    assert sorted(os.listdir(os.path.dirname(path))) == ["repoman.toml", "repoman.toml.lock"]


def test_a_full_disk_leaves_the_old_file(path: str) -> None:
    """The kernel refuses the write; the error names the file, and no temporary file stays."""
    write(path, SCHEMA_3)
    code = """
        edit_text(DEFAULT_TEXT, path, lambda data: data["host"].update(lan_ip="x"))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            edit_file(path, lambda data: put_project(data, Project("lost", "lost")), me)
        except RepomanError as error:
            print(error.exit_code, error.message)
        """
    process = start(code, path)
    said, problems = process.communicate()
    assert problems == ""
    assert said.startswith(f"1 cannot write {path}")
    assert read(path) == SCHEMA_3
    assert sorted(os.listdir(os.path.dirname(path))) == ["repoman.toml", "repoman.toml.lock"]


@pytest.mark.parametrize("locked_before", [True, False])
def test_a_directory_that_cannot_be_written_leaves_the_old_file(
    locked_before: bool, short_dir: Path, unprivileged: Callable[[Callable[[], object]], str]
) -> None:
    """The error is a sentence that names the file."""
    path = str(short_dir / "repoman.toml")
    write(path, SCHEMA_3)
    os.chmod(path, 0o644)
    if locked_before:
        write(f"{path}.lock", "")
        os.chmod(f"{path}.lock", 0o666)
    short_dir.chmod(0o555)

    def attempt() -> object:
        me = Account(name="nobody", uid=os.getuid(), gid=os.getgid(), group="nogroup", home="/", shell="/bin/sh")
        try:
            edit_file(path, set_lan_ip("10.0.0.2"), me)
        except RepomanError as error:
            return f"{type(error).__name__}: {error.message}"
        return "written"

    said = unprivileged(attempt)
    short_dir.chmod(0o755)
    assert said.startswith("RepomanError: cannot ")
    assert path in said
    assert read(path) == SCHEMA_3
    assert sorted(set(os.listdir(short_dir)) - {"repoman.toml.lock"}) == ["repoman.toml"]


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path, me: Account) -> None:
    """A file is in its way."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RepomanError, match=str(tmp_path / "file")):
        edit_file(str(tmp_path / "file" / "repoman" / "repoman.toml"), nothing, me)


# Overrides


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
