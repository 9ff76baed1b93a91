# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Edits that keep what people wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable

import pytest
import tomlkit  # also for a child process that may not read it
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.registry.edit import DEFAULT_TEXT, edit_text, put_project
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import (
    Data,
    Project,
)
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import migrate, parse
from ansible_collections.homelab.repoman.plugins.module_utils.registry.store import edit_file
from ansible_collections.homelab.repoman.plugins.module_utils.registry.toml_syntax import to_toml
from hypothesis import given
from hypothesis import strategies as st
from registry_texts import HEAD, SCHEMA_1, SCHEMA_2, SCHEMA_3, changed_lines, drop, nothing, put, read, set_lan_ip, write


@given(
    st.text()
    | st.sampled_from(["", "~/repos", "images:a/b", 'a"b', "a\\b", "a\tb", "ä", "\x7f", " #[]{}=,'~!"])
    | st.booleans()
    | st.integers()
)
def test_values_are_written_as_tomlkit_does(value: object) -> None:
    """Also those that are written without it."""
    assert to_toml(value) == tomlkit.item(value).as_string()


def test_an_entry_is_written_without_tomlkit() -> None:
    """Loading it would take longer than all the rest of the edit."""
    script = (
        "import sys; from ansible_collections.homelab.repoman.plugins.module_utils.registry import edit, model;"
        "print(edit.edit_text(edit.DEFAULT_TEXT, '/r', lambda data: edit.put_project(data, model.Project('a', 'a', profiles=('b',)))));"
        "assert 'tomlkit' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and '[[project]]\nname = "a"\n' in done.stdout, done.stderr


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
    """It comes last, and its entry reads back with the values given."""
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
