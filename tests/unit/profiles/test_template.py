# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Templates: rendering without injection, and what a template may hold."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotFoundError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import HostFacts
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template import render
from hypothesis import example, given
from hypothesis import strategies as st
from profile_fixtures import HOST, VENDOR, body_of
from template_texts import DOUBTFUL, EMPTY

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


def test_all_variables_are_replaced() -> None:
    """Wherever they stand: in comments, keys, plain and quoted texts."""
    assert render(ALL_THREE, HOST) == ALL_THREE.replace("${USER}", "alice").replace("${HOME}", "/home/alice").replace(
        "${HOST_LAN_IP}", "192.168.168.124"
    )


def test_some_variables_are_replaced() -> None:
    """A template need not use all."""
    assert render("a: ${HOME}/x\n", HOST) == "a: /home/alice/x\n"


def test_a_template_without_variables_is_unchanged() -> None:
    """To the letter, whatever is known of the host."""
    text = "# nothing\nconfig: {a: 'b'}\r\n"
    assert render(text, HostFacts("", "", "")) == text


@pytest.mark.parametrize("text", ["${UNKNOWN}", "$HOME", "$USER", "${home}", "${HOME", "{HOME}", "$${X}", "${ HOME }", "${HOMEX}", "${}"])
def test_other_variables_stay(text: str) -> None:
    """Unknown names, other spellings."""
    document = f"a: '{text}'\nb: ${{USER}}\n"
    assert render(document, HOST) == f"a: '{text}'\nb: alice\n"


def test_a_value_that_looks_like_a_variable_is_not_replaced() -> None:
    """One pass."""
    assert render("a: ${USER}\n", HostFacts("1", "${HOME}", "/h")) == "a: ${HOME}\n"


def test_without_an_address_only_templates_that_need_it_fail() -> None:
    """The hint says who finds it."""
    host = HostFacts("", "alice", "/home/alice")
    assert render("a: ${HOME}\n", host) == "a: /home/alice\n"
    with pytest.raises(NotFoundError, match="HOST_LAN_IP") as caught:
        render(ALL_THREE, host)
    assert caught.value.hints == [
        "repoman setup",
        "if the host has neither br0 nor an IPv4 default route: set [host].lan_ip in ~/.config/repoman/repoman.toml",
    ]
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
        (PLAIN, "null"),
        (PLAIN, "~"),
        (KEY, "<<"),
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
    """The error has the variable and its value, in one line."""
    with pytest.raises(ConflictError, match=r"\$\{USER\}") as caught:
        render(template, HostFacts("1", value, "/h"))
    assert caught.value.hints
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("name", ["HOME", "HOST_LAN_IP"])
def test_every_variable_is_checked(name: str) -> None:
    """Not only the user's name; the address comes from a file people edit."""
    value = "x\nd: e"
    host = HostFacts(value if name == "HOST_LAN_IP" else "1", "u", value if name == "HOME" else "/h")
    with pytest.raises(ConflictError, match=name):
        render(f"a: ${{{name}}}\n", host)


@pytest.mark.parametrize("value", ["o'neill", "domain\\alice", "alice smith", "a#b", "a:b", "a&b", "größe", "007", "true", "a-{b}"])
def test_an_unusual_but_harmless_value_is_accepted(value: str) -> None:
    """It stays the text it is."""
    assert body_of("description: ${USER}\n", host=HostFacts("1", value, "/h"))["description"] == value


@pytest.mark.parametrize("value", ["o'neill", "x: y", "x #y", "{x", "*x", "&x", "!x", "- x", " x ", "@x", "|"])
def test_quotes_in_the_template_make_more_values_harmless(value: str) -> None:
    """The advice of the hint works."""
    assert body_of('description: "${USER}"\n', host=HostFacts("1", value, "/h"))["description"] == value


def test_a_home_whose_name_is_not_utf_8_is_refused() -> None:
    """Python keeps such bytes as surrogates; Incus cannot have them."""
    with pytest.raises(RepomanError):
        render("a: ${HOME}\n", HostFacts("1", "u", "/home/\udcff"))


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
def test_any_value_is_refused_or_only_changes_strings(template: str, user: str, home: str) -> None:
    """The result always parses to the template's own data with the values inserted."""
    host = HostFacts("1.2.3.4", user, home)
    try:
        rendered = render(template, host)
    except RepomanError:
        return
    wanted = substituted(yaml.load(template, Loader=TEXTS_ONLY), host)  # noqa: S506 - makes texts only
    assert yaml.load(rendered, Loader=TEXTS_ONLY) == wanted  # noqa: S506 - makes texts only


@given(st.from_regex(r"[a-z_][a-z0-9_-]{0,15}", fullmatch=True), st.from_regex(r"(/[A-Za-z0-9._-]{1,8}){1,3}", fullmatch=True))
def test_vendor_profiles_work_for_ordinary_users(user: str, home: str) -> None:
    """The guard refuses nothing that is usual."""
    for path in VENDOR.glob("*.yml"):
        assert home in render(path.read_text(), HostFacts("10.0.0.1", user, home))


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


def test_every_value_stays_a_string_and_null_unsets() -> None:
    """Incus stores texts: nothing becomes a number or a boolean, and null is not a text."""
    text = (
        "config: {a: true, b: 007, c: null, d: 1.50, e: 2026-05-08, f: ~, g: 0x10, h: yes, i: , j: 1_000, k: 'null', l: \"~\", m: NULL}\n"
    )
    text += "devices:\n  x: {shift: true, n: 1:30, size: '', source: , path: null}\n"
    body = body_of(text)
    assert body["config"] == {
        "a": "true",
        "b": "007",
        "d": "1.50",
        "e": "2026-05-08",
        "g": "0x10",
        "h": "yes",
        "j": "1_000",
        "k": "null",
        "l": "~",
    }
    assert body["devices"] == {"x": {"shift": "true", "n": "1:30"}}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_a_template_is_taken_as_the_client_takes_it(name: str) -> None:
    """An integration test asks the client."""
    text, body = DOUBTFUL[name]
    assert body_of(text) == EMPTY | body


def test_aliases_cannot_make_a_document_huge() -> None:
    """Nine levels of nine aliases each would be half a billion texts."""
    levels = "".join(f"x-{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 9)}]\n" for number in range(1, 10))
    with pytest.raises(NotFoundError, match="too large"):
        body_of(f"x-0: &a0 [x]\n{levels}")
    with pytest.raises(NotFoundError, match="nest"):
        body_of("x-0: " + "[" * 990 + "]" * 990)


def test_quoted_and_plain_values_are_the_same() -> None:
    """So a template and what Incus gives back compare as data."""
    assert body_of("config: {a: true}\n") == body_of("config:\n  'a': \"true\"\n")


@pytest.mark.parametrize("text", ["config: {}\n", "name: x\n", "devices:\nconfig:\n", "description: ''\n"])
def test_missing_keys_are_empty(text: str) -> None:
    """Every key is optional."""
    assert body_of(text) == {"description": "", "config": {}, "devices": {}}


def test_output_of_incus_profile_show_can_be_saved_as_a_template() -> None:
    """Keys that the server adds are ignored."""
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
        ("name: ''\nconfig: x\n", "config"),
        ("Config: {}\n", "Config"),
        ('config: {a: "b\\0c"}\n', "line 1: a text contains the character \\0"),
        ('config: {"b\\0c": a}\n', "line 1: a text contains the character \\0"),
        ('devices: {a: {b: "\\0"}}\n', "\\0"),
        ('description: "\\0"\n', "\\0"),
        ("config: {a: !!binary gIGC}\n", "line 1: the value of !!binary is not UTF-8 text"),
        ("config: {a: !!binary '@@'}\n", "line 1: the value of !!binary is not base64"),
        ("config: {<<: text}\n", "line 1: '<<' merges"),
        ("config: {<<: [text]}\n", "line 1: '<<' merges"),
        ("config: {'<<': {a: b}}\n", "the value of '<<' is not a text"),
        ("config: {~: a}\n", "line 1: this key is not a text"),
        ("config: ''\n", "config"),
        ("a: b\n--- \nc: d\n", "line 2: a second document"),
        ("? [a, b]\n: c\n", ""),
        ("config: text\n", "config"),
        ("config: [a]\n", "config"),
        ("config: {a: [b]}\n", "line 1: the value of 'a' is not a text"),
        ("config:\n  a:\n    b: c\n", "line 3: the value of 'a' is not a text"),
        ("devices: [a]\n", "devices"),
        ("devices: text\n", "devices"),
        ("devices: {a: text}\n", "devices"),
        ("devices: {a: {b: [c]}}\n", "line 1: the value of 'b' is not a text"),
        ("devices: {a: }\n", "devices"),
        ("description: [a]\n", "description"),
        ("description: {a: b}\n", "description"),
        ("config: []\n", "config"),
        ("devices: []\n", "devices"),
    ],
)
def test_an_invalid_template_is_reported_with_file_and_reason(text: str, said: str) -> None:
    """Exit code 3, and a hint how it should be."""
    with pytest.raises(NotFoundError) as caught:
        body_of(text)
    assert caught.value.message.startswith("/lib/x.yml: ") or caught.value.message.startswith("/lib/x.yml, ")
    assert said in caught.value.message
    assert caught.value.hints
    assert caught.value.exit_code == 3


def test_a_rendering_error_names_the_file() -> None:
    """And keeps its kind and hints."""
    with pytest.raises(NotFoundError, match=r"^/lib/x\.yml: .*HOST_LAN_IP") as missing:
        body_of("description: ${HOST_LAN_IP}\n", host=HostFacts("", "u", "/h"))
    assert missing.value.hints[0] == "repoman setup"
    with pytest.raises(ConflictError, match=r"^/lib/x\.yml: "):
        body_of("description: ${USER}\n", host=HostFacts("1", "a: b", "/h"))


def test_a_duplicate_key_is_refused() -> None:
    """A second value of a key would silently win."""
    with pytest.raises(RepomanError):
        body_of("config:\n  a: '1'\n  a: '2'\n")


@pytest.mark.parametrize(
    ("key", "hint"),
    [("use_by", "used_by"), ("Config", "config"), ("DEVICES", "devices"), ("device", "devices"), ("descripton", "description")],
)
def test_an_unknown_key_gets_the_nearest_one(key: str, hint: str) -> None:
    """Incus would ignore the key, and all below it."""
    with pytest.raises(NotFoundError) as caught:
        body_of(f"{key}: x\n")
    assert caught.value.hints[0] == f"did you mean {hint!r}?"
