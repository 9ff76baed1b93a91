# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The profile library: rendering without injection, lookup and shadowing, what a template may hold, diffs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import (
    ConflictError,
    NotKnownError,
    RepomanError,
    StaleError,
    UsageError,
)
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import HostFacts, account
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.profiles import library as profile
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.library import Installed, Library, ProfileEntry, Template
from hypothesis import example, given
from hypothesis import strategies as st

HOST = HostFacts(lan_ip="192.168.168.124", user="alice", home="/home/alice")
VENDOR = Path(profile.__file__).parents[3] / "profiles"

ALL_THREE = """\
# for ${USER}
description: of ${USER}
config:
  environment.OLLAMA_HOST: "http://${HOST_LAN_IP}:11434"
devices:
  ${USER}-state:
    type: disk
    source: ${HOME}/.claude
    path: '${HOME}/.claude'
"""


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """Return a library of two empty directories."""
    for name in ("users", "vendors"):
        (tmp_path / name).mkdir()
    return Library(users=str(tmp_path / "users"), vendors=str(tmp_path / "vendors"))


def add(directory: str, name: str, text: str = "config: {}\n") -> str:
    """Write a template and return its path."""
    path = Path(directory) / f"{name}.yml"
    path.write_bytes(text.encode())
    return str(path)


def body_of(text: str, name: str = "x", host: HostFacts = HOST) -> profile.Body:
    """Return what the template ``text`` would become."""
    return profile.body(Template(name, "user", f"/lib/{name}.yml", False, text), host)


# Rendering


def test_all_variables_are_put_in() -> None:
    """Wherever they stand: in comments, keys, plain and quoted texts."""
    assert profile.render(ALL_THREE, HOST) == ALL_THREE.replace("${USER}", "alice").replace("${HOME}", "/home/alice").replace(
        "${HOST_LAN_IP}", "192.168.168.124"
    )


def test_some_variables_are_put_in() -> None:
    """A template need not use all."""
    assert profile.render("a: ${HOME}/x\n", HOST) == "a: /home/alice/x\n"


def test_a_template_without_variables_is_returned_as_it_is() -> None:
    """To the letter, whatever is known of the host."""
    text = "# nothing\nconfig: {a: 'b'}\r\n"
    assert profile.render(text, HostFacts("", "", "")) == text


@pytest.mark.parametrize("text", ["${UNKNOWN}", "$HOME", "$USER", "${home}", "${HOME", "{HOME}", "$${X}", "${ HOME }", "${HOMEX}", "${}"])
def test_what_is_no_variable_of_ours_stays(text: str) -> None:
    """Unknown names, other spellings."""
    document = f"a: '{text}'\nb: ${{USER}}\n"
    assert profile.render(document, HOST) == f"a: '{text}'\nb: alice\n"


def test_a_value_that_looks_like_a_variable_is_not_looked_at_again() -> None:
    """One pass."""
    assert profile.render("a: ${USER}\n", HostFacts("1", "${HOME}", "/h")) == "a: ${HOME}\n"


def test_without_an_address_only_templates_that_need_it_fail() -> None:
    """The hint says who finds it."""
    host = HostFacts("", "alice", "/home/alice")
    assert profile.render("a: ${HOME}\n", host) == "a: /home/alice\n"
    with pytest.raises(NotKnownError, match="HOST_LAN_IP") as caught:
        profile.render(ALL_THREE, host)
    assert caught.value.hints == ["repoman setup", "where there is no bridge br0: set [host].lan_ip in ~/.config/repoman/repoman.toml"]
    assert caught.value.exit_code == 3


PLAIN, SINGLE, DOUBLE = "a: ${USER}\nb: c\n", "a: '${USER}'\nb: c\n", 'a: "${USER}"\nb: c\n'
KEY, COMMENT = "${USER}: a\nb: c\n", "a: b # ${USER}\nb: c\n"
LITERAL, FOLDED = "a: |\n  ${USER}\nb: c\n", "a: >\n  x ${USER}\nb: c\n"
FLOW, ITEM = "a: {x: '${USER}', y: z}\nb: c\n", "a:\n- ${USER}\nb: c\n"


@pytest.mark.parametrize(
    ("template", "value"),
    [
        (PLAIN, "x\nd: e"),
        (PLAIN, "x\nb: e"),
        (PLAIN, "x: y"),
        (PLAIN, "x:"),
        (PLAIN, "x #y"),
        (PLAIN, "'x'"),
        (PLAIN, '"x"'),
        (PLAIN, "'x"),
        (PLAIN, "{x: y}"),
        (PLAIN, "{x"),
        (PLAIN, "[x]"),
        (PLAIN, "*x"),
        (PLAIN, "&x y"),
        (PLAIN, "!x y"),
        (PLAIN, "|"),
        (PLAIN, "> "),
        (PLAIN, "%x"),
        (PLAIN, "@x"),
        (PLAIN, "- x"),
        (PLAIN, "? x"),
        (PLAIN, "\t"),
        (PLAIN, " x"),
        (PLAIN, "x "),
        (PLAIN, "x\n---\nd: e"),
        (PLAIN, "x\n...\n"),
        (PLAIN, "x\x00"),
        (PLAIN, "x\x1b"),
        (PLAIN, "x\x85y: z"),
        (PLAIN, "x\u2028y"),
        (SINGLE, "o'neill"),
        (SINGLE, "x'\nd: 'e"),
        (SINGLE, "x\n\ny"),
        (DOUBLE, 'x"'),
        (DOUBLE, 'x"\nd: "e'),
        (DOUBLE, "C:\\temp"),
        (DOUBLE, "C:\\q"),
        (DOUBLE, "\\"),
        (KEY, "x: y\nd"),
        (KEY, "*x"),
        (KEY, "? x"),
        (KEY, "x #"),
        (COMMENT, "x\nd: e"),
        (COMMENT, "x\n  y"),
        (LITERAL, "x\nd: e"),
        (LITERAL, "x\n   y\nz"),
        (FOLDED, "x\nd: e"),
        (FLOW, "x', d: 'e"),
        (FLOW, "x'}\nd: '"),
        (FLOW, "x'"),
        (ITEM, "x\n- y"),
        (ITEM, "x\nd: e"),
        (ITEM, "x: y"),
    ],
)
def test_a_value_that_would_change_the_document_is_refused(template: str, value: str) -> None:
    """The error names the variable and its value and is one line."""
    with pytest.raises(ConflictError, match=r"\$\{USER\}") as caught:
        profile.render(template, HostFacts("1", value, "/h"))
    assert caught.value.hints
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("name", ["HOME", "HOST_LAN_IP"])
def test_every_variable_is_guarded(name: str) -> None:
    """Not only the user's name; the address comes from a file people edit."""
    value = "x\nd: e"
    host = HostFacts(value if name == "HOST_LAN_IP" else "1", "u", value if name == "HOME" else "/h")
    with pytest.raises(ConflictError, match=name):
        profile.render(f"a: ${{{name}}}\n", host)


@pytest.mark.parametrize(
    "value", ["o'neill", "domain\\alice", "alice smith", "a#b", "a:b", "a&b", "größe", "007", "true", "null", "a-{b}", "~"]
)
def test_an_odd_value_that_does_no_harm_is_put_in(value: str) -> None:
    """It stays the text it is."""
    assert body_of("description: ${USER}\n", host=HostFacts("1", value, "/h"))["description"] == value


@pytest.mark.parametrize("value", ["o'neill", "x: y", "x #y", "{x", "*x", "&x", "!x", "- x", " x ", "@x", "|"])
def test_quotes_in_the_template_make_more_values_harmless(value: str) -> None:
    """What the hint advises works."""
    assert body_of('description: "${USER}"\n', host=HostFacts("1", value, "/h"))["description"] == value


def test_a_home_whose_name_is_not_utf_8_is_refused() -> None:
    """Python keeps such bytes as surrogates; Incus cannot have them."""
    with pytest.raises(RepomanError):
        profile.render("a: ${HOME}\n", HostFacts("1", "u", "/home/\udcff"))


def test_a_template_that_contains_itself_is_refused() -> None:
    """YAML can say that; Incus cannot store it."""
    with pytest.raises(RepomanError):
        body_of("config: &a\n  x: *a\ndescription: ${USER}\n")
    with pytest.raises(RepomanError):
        body_of("config: &a\n  x: *a\n")


def substituted(data: Any, host: HostFacts) -> Any:
    """Return parsed YAML with the variables put into its texts."""
    if isinstance(data, dict):
        return {substituted(key, host): substituted(value, host) for key, value in data.items()}
    if isinstance(data, list):
        return [substituted(item, host) for item in data]
    if data is None:
        return None
    values = {"${HOST_LAN_IP}": host.lan_ip, "${USER}": host.user, "${HOME}": host.home}
    return "".join(values.get(part, part) for part in re.split(r"(\$\{[A-Z_]+\})", data))


TEXTS_ONLY = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
VALUES = st.text(max_size=10) | st.text(st.sampled_from("ab:#'\"{}[]*&!|>-?@%\\,\n\t /\u2028\x85"), max_size=8)
TEMPLATES = st.sampled_from([PLAIN, SINGLE, DOUBLE, KEY, COMMENT, LITERAL, FOLDED, FLOW, ITEM, ALL_THREE]) | st.lists(
    st.sampled_from(
        [
            "a: ${USER}\n",
            "b: '${HOME}'\n",
            'c: "${USER}/${HOME}"\n',
            "d: |-\n  ${USER}\n",
            "${HOME}: e\n",
            "# ${USER}\n",
            "f: {g: ['${HOME}']}\n",
        ]
    ),
    min_size=1,
    max_size=4,
    unique=True,
).map("".join)


@given(TEMPLATES, VALUES, VALUES)
@example(PLAIN, "x\nd: e", "/h")
@example("a: ${USER}\n${HOME}: e\n", "u", "a")
def test_any_value_is_refused_or_changes_nothing_but_texts(template: str, user: str, home: str) -> None:
    """What is rendered parses to the template's own data with the values put in; nothing else ever comes out."""
    host = HostFacts("1.2.3.4", user, home)
    try:
        rendered = profile.render(template, host)
    except RepomanError:
        return
    wanted = substituted(yaml.load(template, Loader=TEXTS_ONLY), host)  # noqa: S506 - makes texts only
    assert yaml.load(rendered, Loader=TEXTS_ONLY) == wanted  # noqa: S506 - makes texts only


@given(st.from_regex(r"[a-z_][a-z0-9_-]{0,15}", fullmatch=True), st.from_regex(r"(/[A-Za-z0-9._-]{1,8}){1,3}", fullmatch=True))
def test_ordinary_users_can_have_every_vendor_profile(user: str, home: str) -> None:
    """The guard refuses nothing that is usual."""
    for path in VENDOR.glob("*.yml"):
        assert home in profile.render(path.read_text(), HostFacts("10.0.0.1", user, home))


# The vendor's templates


def test_the_vendor_library_is_the_specifications() -> None:
    """Three templates; both dotfiles may be missing on the host."""
    assert sorted(path.name for path in VENDOR.iterdir()) == ["claude-share.yml", "dotfiles.yml", "llm-share.yml"]
    bodies = {path.stem: body_of(path.read_text(), path.stem) for path in VENDOR.glob("*.yml")}
    assert bodies["claude-share"]["devices"] == {
        "claude-state": {"type": "disk", "source": "/home/alice/.claude", "path": "/home/alice/.claude", "shift": "true"},
        "claude-bin": {
            "type": "disk",
            "source": "/home/alice/.local/bin/claude",
            "path": "/usr/local/bin/claude",
            "readonly": "true",
            "shift": "true",
        },
    }
    assert bodies["llm-share"]["config"] == {"environment.OLLAMA_HOST": "http://192.168.168.124:11434"}
    assert sorted(bodies["llm-share"]["devices"]) == ["ollama-bin", "ollama-state"]
    assert {device["required"] for device in bodies["dotfiles"]["devices"].values()} == {"false"}


# Directories and lookup


def test_the_vendor_directory_is_the_given_the_systems_or_the_collections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this order."""
    assert profile.SYSTEM_VENDOR_DIR == "/usr/local/share/repoman/profiles"
    monkeypatch.setattr(profile, "SYSTEM_VENDOR_DIR", str(tmp_path / "system"))
    assert profile.vendor_dir("/given") == "/given"
    assert Path(profile.vendor_dir()).samefile(VENDOR)
    (tmp_path / "system").mkdir()
    assert profile.vendor_dir() == str(tmp_path / "system")
    assert profile.vendor_dir("") == str(tmp_path / "system")


def test_the_users_directory_is_below_the_home() -> None:
    """As the specification says."""
    assert profile.user_dir("/home/alice") == "/home/alice/.config/repoman/profiles.d"


def test_a_user_file_shadows_a_vendor_file(library: Library) -> None:
    """Each says where it is from."""
    theirs = add(library.vendors, "both", "description: theirs\n")
    mine = add(library.users, "both", "description: mine\n")
    only_theirs, only_mine = add(library.vendors, "theirs"), add(library.users, "mine")
    assert profile.lookup("both", library) == Template("both", "user", mine, True, "description: mine\n")
    assert profile.lookup("theirs", library) == Template("theirs", "vendor", only_theirs, False, "config: {}\n")
    assert profile.lookup("mine", library) == Template("mine", "user", only_mine, False, "config: {}\n")
    assert profile.lookup_vendor("both", library) == Template("both", "vendor", theirs, False, "description: theirs\n")


def test_vendor_files_may_come_along_with_the_task(tmp_path: Path) -> None:
    """They count only where there is no vendor directory; the user's files come before them."""
    params = {"user_dir": str(tmp_path / "mine"), "vendor_dir": str(tmp_path / "theirs")}
    params |= {"vendor_templates": {"handed": "description: handed\n", "both": "description: handed\n"}}
    (tmp_path / "mine").mkdir()
    handed = profile.library_of(params, account())
    assert profile.lookup("handed", handed).text == "description: handed\n"
    assert profile.lookup("handed", handed).source == "vendor"
    mine = add(handed.users, "handed", "description: mine\n")
    found = profile.lookup("handed", handed)
    assert (found.file_path, found.source, found.shadows) == (mine, "user", True)
    assert profile.lookup_vendor("handed", handed).text == "description: handed\n"
    assert [entry.name for entry in profile.list_all(handed, {}, HOST)] == ["both", "handed"]
    (tmp_path / "theirs").mkdir()
    add(handed.vendors, "both", "description: theirs\n")
    there = profile.library_of(params, account())
    assert profile.lookup("both", there).text == "description: theirs\n"
    assert not profile.lookup("handed", there).shadows
    assert [entry.name for entry in profile.list_all(there, {}, HOST)] == ["both", "handed"]
    Path(mine).unlink()
    with pytest.raises(NotKnownError):
        profile.lookup("handed", there)


@pytest.mark.parametrize("name", ["mine", "theirs"])
def test_what_shadows_nothing_has_no_vendor_diff(name: str, library: Library) -> None:
    """Exit code 3 and a hint."""
    add(library.vendors, "theirs")
    add(library.users, "mine")
    with pytest.raises(NotKnownError, match=name) as caught:
        profile.diff_vendor(name, library, HOST)
    assert caught.value.hints


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "-x", "", ".", "..", ".hidden", "a\nb", "a\x00b", "/etc/passwd"])
def test_a_name_that_is_no_file_name_opens_nothing(name: str, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2, before anything is looked at."""
    monkeypatch.setattr(profile.Path, "read_text", lambda *arguments, **options: pytest.fail("opened"))
    monkeypatch.setattr(os.path, "lexists", lambda path: pytest.fail("looked at"))
    for look in (profile.lookup, profile.lookup_vendor):
        with pytest.raises(UsageError) as caught:
            look(name, library)
        assert caught.value.exit_code == 2


def test_an_unknown_name_suggests_the_nearest(library: Library) -> None:
    """With the directories that were searched."""
    add(library.vendors, "claude-share")
    add(library.users, "mine")
    with pytest.raises(NotKnownError) as caught:
        profile.lookup("claude-shar", library)
    error = caught.value
    assert "'claude-shar'" in error.message
    assert library.users in error.message
    assert library.vendors in error.message
    assert any("claude-share" in hint for hint in error.hints)
    assert "repoman profile list" in error.hints
    with pytest.raises(NotKnownError) as caught:
        profile.lookup("zzzzzz", library)
    assert caught.value.hints == ["repoman profile list"]


def test_directories_that_do_not_exist_are_empty(tmp_path: Path) -> None:
    """A new user has none."""
    library = Library(str(tmp_path / "no"), str(tmp_path / "none"))
    assert profile.list_all(library, {}, HOST) == []
    with pytest.raises(NotKnownError):
        profile.lookup("x", library)


@pytest.mark.parametrize("broken", ["link", "directory", "bytes"])
def test_a_user_file_that_cannot_be_read_is_an_error_and_not_the_vendors(broken: str, library: Library) -> None:
    """Falling back in silence would install something else."""
    add(library.vendors, "x", "description: theirs\n")
    mine = Path(library.users) / "x.yml"
    if broken == "link":
        mine.symlink_to("nowhere")
    elif broken == "directory":
        mine.mkdir()
    else:
        mine.write_bytes(b"description: \xff\n")
    with pytest.raises(NotKnownError, match=str(mine)):
        profile.lookup("x", library)


# What a template may hold


def test_every_value_is_the_text_it_is_written_as() -> None:
    """Incus stores texts: nothing becomes a number, a truth or nothing."""
    text = "config: {a: true, b: 007, c: null, d: 1.50, e: 2026-05-08, f: ~, g: 0x10, h: yes, i: , j: 1_000}\n"
    text += "devices:\n  x: {shift: true, n: 1:30}\n"
    body = body_of(text)
    assert body["config"] == {
        "a": "true",
        "b": "007",
        "c": "null",
        "d": "1.50",
        "e": "2026-05-08",
        "f": "~",
        "g": "0x10",
        "h": "yes",
        "j": "1_000",
    }
    assert body["devices"] == {"x": {"shift": "true", "n": "1:30"}}


def test_quoted_and_plain_values_are_the_same() -> None:
    """So a template and what Incus gives back compare as data."""
    assert body_of("config: {a: true}\n") == body_of("config:\n  'a': \"true\"\n")


@pytest.mark.parametrize("text", ["config: {}\n", "name: x\n", "devices:\nconfig:\n", "description: ''\n"])
def test_what_is_left_out_is_empty(text: str) -> None:
    """Every key is optional."""
    assert body_of(text) == {"description": "", "config": {}, "devices": {}}


def test_output_of_incus_profile_show_can_be_saved_as_a_template() -> None:
    """What the server adds is ignored."""
    text = "config: {}\ndescription: mine\ndevices: {}\nname: x\nused_by:\n- /1.0/instances/a\nproject: default\n"
    assert body_of(text) == {"description": "mine", "config": {}, "devices": {}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b\n c: d\n", "line 2"),
        ("config: {}\ndevices:\n\tx: y\n", "line 3"),
        ("config: [\n", "line"),
        ("config: *x\n", "line 1"),
        ("description: ${USER}\nconfig: {\n", "line"),
        ("a: b\n---\nc: d\n", "line"),
        ("a: \x01\n", ""),
        ("", "mapping"),
        ("# nothing\n", "mapping"),
        ("- a\n", "mapping"),
        ("text\n", "mapping"),
        ("confg: {}\n", "confg"),
        ("devices: {}\nzeta: 1\nalpha: 1\n", "alpha, zeta"),
        ("name: other\n", "'other'"),
        ("name:\n", "name"),
        ("? [a, b]\n: c\n", ""),
        ("config: text\n", "config"),
        ("config: [a]\n", "config"),
        ("config: {a: [b]}\n", "config"),
        ("config: {a: {b: c}}\n", "config"),
        ("devices: [a]\n", "devices"),
        ("devices: text\n", "devices"),
        ("devices: {a: text}\n", "devices"),
        ("devices: {a: {b: [c]}}\n", "devices"),
        ("devices: {a: }\n", "devices"),
        ("description: [a]\n", "description"),
        ("description: {a: b}\n", "description"),
        ("config: []\n", "config"),
        ("devices: []\n", "devices"),
    ],
)
def test_what_is_no_template_is_named_with_file_and_reason(text: str, said: str) -> None:
    """Exit code 3, and a hint how it should be."""
    with pytest.raises(NotKnownError) as caught:
        body_of(text)
    assert caught.value.message.startswith("/lib/x.yml: ") or caught.value.message.startswith("/lib/x.yml, ")
    assert said in caught.value.message
    assert caught.value.hints
    assert caught.value.exit_code == 3


def test_an_error_of_rendering_names_the_file() -> None:
    """And keeps its kind and hints."""
    with pytest.raises(NotKnownError, match=r"^/lib/x\.yml: .*HOST_LAN_IP") as missing:
        body_of("description: ${HOST_LAN_IP}\n", host=HostFacts("", "u", "/h"))
    assert missing.value.hints[0] == "repoman setup"
    with pytest.raises(ConflictError, match=r"^/lib/x\.yml: "):
        body_of("description: ${USER}\n", host=HostFacts("1", "a: b", "/h"))


def test_a_broken_template_with_a_duplicate_key_is_not_guessed_at() -> None:
    """A second value of a key would silently win."""
    with pytest.raises(RepomanError):
        body_of("config:\n  a: '1'\n  a: '2'\n")


# Listing


def installed(**body: Any) -> Installed:
    """Return a profile as Incus has it."""
    return Installed({"description": "", "config": {}, "devices": {}} | body, [], "etag")


def test_the_list_tells_source_installation_and_drift(library: Library) -> None:
    """In alphabetical order; order of keys and server's own keys are no drift."""
    same = add(library.vendors, "same", "devices: {a: {x: '1', y: '2'}}\n")
    drifted = add(library.vendors, "drifted", "description: new\n")
    absent = add(library.users, "absent")
    add(library.vendors, "both", "description: theirs\n")
    both = add(library.users, "both", "description: mine\n")
    present = {
        "same": installed(devices={"a": {"y": "2", "x": "1"}}),
        "drifted": installed(description="old"),
        "both": installed(description="theirs"),
        "foreign": installed(),
    }
    assert profile.list_all(library, present, HOST) == [
        ProfileEntry("absent", "user", absent, False, False),
        ProfileEntry("both", "user", both, True, True, shadows=True),
        ProfileEntry("drifted", "vendor", drifted, True, True),
        ProfileEntry("same", "vendor", same, True, False),
    ]


def test_files_that_are_no_templates_are_not_listed(library: Library) -> None:
    """Editors leave such."""
    for name in (".hidden.yml", "-x.yml", "x.yaml", "x.yml~", "README", ".yml", "a\nb.yml"):
        (Path(library.users) / name).write_text("config: {}\n")
    assert profile.list_all(library, {}, HOST) == []


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
    good = add(library.vendors, "good")
    path = Path(library.users) / "broken.yml"
    breaking(path)
    entries = profile.list_all(library, {"good": installed(), "broken": installed()}, HostFacts("", "alice", "/home/alice"))
    assert [(entry.name, entry.file_path) for entry in entries] == [("broken", str(path)), ("good", good)]
    broken, other = entries
    assert str(path) in broken.error
    assert (broken.source, broken.installed, broken.drift) == ("user", True, False)
    assert other == ProfileEntry("good", "vendor", good, True, False)


def test_a_broken_template_that_is_not_installed_is_told_too(library: Library) -> None:
    """Before somebody tries to install it."""
    add(library.vendors, "broken", "config: [\n")
    (entry,) = profile.list_all(library, {}, HOST)
    assert "broken.yml" in entry.error
    assert not entry.installed


# Comparing


def test_both_sides_of_a_diff_have_one_form() -> None:
    """Keys sorted, texts that look like something else in quotes, nothing wrapped; it parses to what it was."""
    body = {"devices": {"b": {"x": "true"}, "a": {"y": "007"}}, "config": {"k": "word " * 60}, "description": "ü"}
    text = profile.canonical(body)
    assert yaml.safe_load(text) == body
    assert text == profile.canonical(dict(reversed(body.items())))
    assert text.index("config:") < text.index("description:") < text.index("devices:")
    assert "ü" in text
    assert max(map(len, text.splitlines())) > 300
    assert profile.canonical(None) == ""


def test_a_unified_diff_names_both_sides() -> None:
    """Equal texts have none."""
    assert profile.unified("a\nb\n", "a\nb\n", "x", "y") == ""
    assert profile.unified("a\nb\n", "a\nc\n", "old", "new") == "--- old\n+++ new\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"


def test_a_vendor_diff_compares_data_not_form(library: Library) -> None:
    """Comments and quotes are no difference."""
    theirs = add(library.vendors, "x", "description: about\nconfig: {a: '1'}\n")
    mine = add(library.users, "x", "# my own\nconfig:\n  a: 1\ndescription: 'about'\n")
    assert profile.diff_vendor("x", library, HOST) == ""
    add(library.users, "x", "config:\n  a: 2\ndescription: 'about'\n")
    said = profile.diff_vendor("x", library, HOST)
    assert said.startswith(f"--- {theirs}\n+++ {mine}\n")
    assert "-  a: '1'\n+  a: '2'\n" in said


def test_what_is_shown_is_rendered_and_checked(library: Library) -> None:
    """Comments included; a broken one is not shown as if it were right."""
    add(library.users, "x", "# hello ${USER}\nconfig: {}\n")
    assert profile.show("x", library, HOST) == "# hello alice\nconfig: {}\n"
    add(library.users, "y", "confg: {}\n")
    with pytest.raises(NotKnownError, match="confg"):
        profile.show("y", library, HOST)


# Plans for Incus, over the wire


@pytest.fixture
def client(daemon: Any) -> incus.Client:
    """Return a client of the scripted daemon."""
    return incus.Client(daemon.path)


def test_all_profiles_are_read_at_once(daemon: Any, client: incus.Client, reply: Any) -> None:
    """From the project default; the ETag is computed where the bulk answer has none."""
    daemon.say(
        reply(
            [
                {
                    "name": "a",
                    "description": "d",
                    "config": {"k": "v"},
                    "devices": {},
                    "used_by": ["/1.0/instances/i"],
                    "project": "default",
                },
                {"name": "b", "config": None, "devices": None, "used_by": None},
            ]
        )
    )
    found = profile.read_installed(client)
    assert daemon.requests == [("GET", "/1.0/profiles?recursion=1&project=default")]
    assert found["a"] == Installed(
        {"description": "d", "config": {"k": "v"}, "devices": {}}, ["/1.0/instances/i"], incus.etag({"k": "v"}, "d", {})
    )
    assert found["b"].body == {"description": "", "config": {}, "devices": {}}
    assert found["b"].used_by == []


def test_one_profile_is_read_with_its_own_etag(daemon: Any, client: incus.Client, reply: Any) -> None:
    """Or found missing."""
    daemon.say(
        reply({"name": "a b", "description": "d", "config": {}, "devices": {}, "used_by": []}, headers={"ETag": "given"}),
        reply(status=404, kind="error", error="not found", error_code=404),
    )
    assert profile.read_one("a b", client)["a b"].etag == "given"
    assert profile.read_one("a b", client) == {}
    assert daemon.requests == [("GET", "/1.0/profiles/a%20b?project=default")] * 2


def test_planning_an_installation_writes_nothing(library: Library, daemon: Any, client: incus.Client) -> None:
    """Each name gets what it needs, or its own error."""
    add(library.vendors, "new", "description: new\n")
    add(library.vendors, "old", "description: new\n")
    add(library.vendors, "same", "description: new\n")
    add(library.vendors, "broken", "config: [\n")
    present = {"old": installed(description="old"), "same": installed(description="new")}
    changes = profile.install(["new", "old", "same", "broken", "missing"], library, HOST, present, client)
    lines = [change.result() for change in changes]
    assert [line["action"] for line in lines] == ["installed", "updated", "unchanged", "failed", "failed"]
    assert [change.step is not None for change in changes] == [True, True, False, False, False]
    assert [line.get("exit_code") for line in lines] == [None, None, None, 3, 3]
    assert daemon.requests == []
    step = changes[1].step
    assert step
    assert ("description: old" in step.before, "description: new" in step.after) == (True, True)


def test_applying_an_installation_writes_once_each(library: Library, daemon: Any, client: incus.Client) -> None:
    """A new profile is created, a drifted one replaced only if it is still as it was read."""
    add(library.vendors, "new", "description: new\n")
    add(library.vendors, "old", "description: new\n")
    for change in profile.install(["new", "old"], library, HOST, {"old": installed(description="old")}, client):
        assert change.step
        change.step.apply()
    create, update = daemon.seen
    assert (create.method, create.target) == ("POST", "/1.0/profiles?project=default")
    assert yaml.safe_load(create.body) == {"name": "new", "description": "new", "config": {}, "devices": {}}
    assert (update.method, update.target, update.headers["If-Match"]) == ("PUT", "/1.0/profiles/old?project=default", "etag")
    assert yaml.safe_load(update.body) == {"description": "new", "config": {}, "devices": {}}


def test_a_profile_made_meanwhile_is_stale(library: Library, daemon: Any, client: incus.Client, reply: Any) -> None:
    """The caller plans again instead of failing."""
    add(library.vendors, "new")
    (change,) = profile.install(["new"], library, HOST, {}, client)
    daemon.say(reply(status=409, kind="error", error='The profile "new" already exists', error_code=409))
    assert change.step
    with pytest.raises(StaleError):
        change.step.apply()


def test_removing_leaves_files_alone_and_tells_who_is_in_the_way(library: Library, daemon: Any, client: incus.Client) -> None:
    """A profile in use is not tried; the hint frees it."""
    mine = add(library.users, "x")
    used = Installed({"description": "", "config": {}, "devices": {}}, ["/1.0/instances/my%20box?project=repoman", "/1.0/profiles/p"], "e")
    gone, busy, done = profile.remove(["absent", "busy", "x"], library, {"busy": used, "x": installed()}, client, None)
    assert (gone.line["action"], gone.step) == ("absent", None)
    assert busy.error
    assert "my box (project repoman)" in busy.error.message
    assert "incus profile remove --project repoman my box busy" in busy.error.hints or any("'my box'" in hint for hint in busy.error.hints)
    assert busy.result()["exit_code"] == 1
    assert (done.line["action"], done.line["file_path"]) == ("removed", mine)
    assert daemon.requests == []
    assert done.step
    done.step.apply()
    assert daemon.requests == [("DELETE", "/1.0/profiles/x?project=default")]
    assert os.path.exists(mine)
