# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Damaged registries, overrides and profile templates: an error with file and line, or a result."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomlkit
import yaml
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.profiles import yaml_reader
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.library import read_template
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template import (
    Template,
    parse_template,
)
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store
from ansible_collections.homelab.repoman.plugins.module_utils.registry.misspellings import MAX_WARNINGS
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import parse
from fuzzing import ODD, bounded, damaged_bytes, damaged_data
from hypothesis import given
from hypothesis import strategies as st
from registry_texts import HEAD, SCHEMA_1, SCHEMA_2, SCHEMA_3
from settings_readers import HOST, OVERRIDE, TEMPLATE, override_outcome, registry_outcome, settings_place, template_outcome

TOML_VALUES = [value for value in ODD if value is not None and "\\ud" not in repr(value) and "None" not in repr(value)]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory for the files of all examples."""
    with settings_place() as directory:
        yield directory


def as_toml(data: Any) -> bytes:
    """Return data as TOML; what TOML does not have, as the text of Python."""
    try:
        return tomlkit.dumps(data).encode("utf-8", "surrogatepass") if isinstance(data, dict) else repr(data).encode("utf-8", "replace")
    except (ValueError, TypeError):
        return repr(data).encode("utf-8", "replace")


@given(damaged=st.sampled_from([SCHEMA_1, SCHEMA_2, SCHEMA_3]).flatmap(lambda text: damaged_bytes(text.encode())))
def test_bytes_of_a_registry(place: Path, damaged: bytes) -> None:
    """Flipped, lost and inserted ones."""
    registry_outcome(place, damaged)


@given(damaged=damaged_data(tomlkit.parse(SCHEMA_3).unwrap(), TOML_VALUES) | damaged_data(tomlkit.parse(SCHEMA_2).unwrap(), TOML_VALUES))
def test_values_of_a_registry(place: Path, damaged: Any) -> None:
    """Of another type or size, at each place."""
    registry_outcome(place, as_toml(damaged))


@given(damaged=damaged_bytes(OVERRIDE.encode()) | damaged_data(tomlkit.parse(OVERRIDE).unwrap(), TOML_VALUES).map(as_toml))
def test_overrides(place: Path, damaged: bytes) -> None:
    """Both ways."""
    override_outcome(place, damaged)


@given(
    damaged=damaged_bytes(TEMPLATE.encode())
    | damaged_data(yaml_reader.plain(yaml_reader.compose(TEMPLATE))).map(lambda data: json.dumps(data).encode())
)
def test_templates(place: Path, damaged: bytes) -> None:
    """JSON is YAML."""
    template_outcome(place, damaged)


@given(damaged=damaged_bytes(TEMPLATE.encode()))
def test_templates_without_libyaml(place: Path, damaged: bytes) -> None:
    """PyYAML's own parser has other errors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(yaml, "CSafeLoader", raising=False)
        yaml_reader._loader.cache_clear()
        try:
            template_outcome(place, damaged)
        finally:
            yaml_reader._loader.cache_clear()


def long_key(parts: int) -> str:
    """Return a key of many parts."""
    return ".".join("a" * parts)


TOML_BOMBS = {
    "lists": (f"x = {'[' * 100_000}{']' * 100_000}\n", "nested too deeply"),
    "a few hundred lists": (f"x = {'[' * 300}{']' * 300}\n", "nested too deeply"),
    "inline tables": (f"x = {'{a=' * 400}1{'}' * 400}\n", "nested too deeply"),
    "a dotted key": (f"{long_key(600)} = 1\n", "nested too deeply"),
    "a long dotted key": (f"{long_key(200_000)} = 1\n", "nested too deeply"),
    "a dotted key of escapes": (long_key(4000).replace("a", r'"\"\\"') + " = 1\n", "nested too deeply"),
    "a quoted dotted key": (f"{long_key(20_000).replace('a', chr(34) + 'a.' + chr(34))} = 1\n", "nested too deeply"),
    "a header": (f"[{long_key(200_000)}]\n", "nested too deeply"),
    "a long bare key": (f"{'a' * 100_000} = 1\n", ""),
    "digits": (f"x = {'9' * 1_000_000}\n", "Exceeds the limit"),
    "digits of 16": (f"x = 0x{'f' * 1_000_000}\n", "an integer has more than 64 bits"),
    "one bit too many": (f"x = {2**63}\n", "an integer has more than 64 bits"),
    "64 bits": (f"x = {2**63 - 1}\n", ""),
    "too large": (f"x = '{'a' * (5 << 20)}'\n", "larger than"),
}


@pytest.mark.parametrize("name", TOML_BOMBS)
def test_toml_bombs(place: Path, name: str) -> None:
    """Small files that would take much."""
    bomb, expected = TOML_BOMBS[name]
    text = bounded(lambda: registry_outcome(place, f"{HEAD}[tool]\n{bomb}".encode()))
    assert text == ""  # no traceback, and the limits hold
    text = registry_outcome(place, f"{HEAD}[tool]\n{bomb}".encode())
    assert expected in text and bool(expected) == bool(text)


@pytest.mark.parametrize("quote", ['"', '"""', "'''"])
def test_an_error_beside_a_long_text(place: Path, quote: str) -> None:
    """The line is found without much memory."""
    data = f'{HEAD}output = "bad"\n[tool]\nx = {quote}{"a" * (3 << 20)}{quote}\n'.encode()
    assert f"{place}/repoman.toml, line 3: [repoman].output must be one of" in bounded(lambda: store_load(place, data))


def store_load(place: Path, data: bytes) -> None:
    """Read a registry."""
    (place / "repoman.toml").write_bytes(data)
    store.load(str(place / "repoman.toml"))


@pytest.mark.parametrize(("key", "text"), [("schema", f"schema = 0x{'f' * 5000}"), ("schema", f"schema = {2**70}")])
def test_a_huge_schema(place: Path, key: str, text: str) -> None:
    """It cannot even be shown."""
    assert "an integer has more than 64 bits" in registry_outcome(place, f"[repoman]\n{text}\n".encode()), key


def test_a_huge_number_for_incus(place: Path) -> None:
    """Settings are stored as texts."""
    assert "an integer has more than 64 bits" in override_outcome(place, f"[config]\na = 0x{'f' * 5000}\n".encode())


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('[defaults]\nrepos_root = "/a\\u0000b"\n', "[defaults].repos_root"),
        ('[[project]]\nname = "a\\u0000"\n', "[project].name"),
        ('[[project]]\nname = "a"\nexclude = ["\\u0000"]\n', "[project].exclude"),
    ],
)
def test_nul_in_a_registry(place: Path, text: str, where: str) -> None:
    """No path and no name has it; the system's calls would raise ``ValueError``."""
    assert f"{where} has the character \\0." in registry_outcome(place, (HEAD + text).encode())


def test_nul_in_an_override(place: Path) -> None:
    """In a value and in a key."""
    assert "[config].a has the character" in override_outcome(place, b'[config]\na = "\\u0000"\n')
    assert "has the character \\0" in override_outcome(place, b'[devices.x]\n"a\\u0000" = "b"\n')


def test_thousands_of_misspelled_keys(place: Path) -> None:
    """The lines are found once, and the first warnings are enough."""
    text = HEAD + "".join(f'[[project]]\nname = "p{number}"\nimagee = "x"\n' for number in range(2000))
    assert bounded(lambda: parse(text, "/r")) == ""
    warnings = parse(text, "/r").warnings
    assert len(warnings) == MAX_WARNINGS and warnings[1].startswith("/r, line 8: ")


ALIASES = "x-a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"x-{chr(98 + number)}: &{chr(98 + number)} [{', '.join(['*' + chr(97 + number)] * 9)}]\n" for number in range(12)
)
YAML_BOMBS = {
    "aliases": (ALIASES, "too large with its aliases"),
    "aliases in keys": ("x-a: &a {? [x] : y}\n" + "".join(
        f"x-{chr(98 + number)}: &{chr(98 + number)} {{? [*{chr(97 + number)}, *{chr(97 + number)}] : *{chr(97 + number)}}}\n" for number in range(12)
    ), "too large with its aliases"),
    "merges": ("x-a: &a {k: v}\n" + "".join(
        f"x-{chr(98 + number)}: &{chr(98 + number)} {{<<: [{', '.join(['*' + chr(97 + number)] * 9)}]}}\n" for number in range(12)
    ), "too large with its aliases"),
    "lists": (f"x-a: {'[' * 2_000}", "nest"),
    "lists that fit": (f"x-a: {'[' * 700}{']' * 700}\n", "nested too deeply"),
    "lists beside a variable": (f'x-b: "${{USER}}"\nx-a: {"[" * 450}{"]" * 450}\n', "nested too deeply"),
    "a key": (f"x-a:\n  ? {'[' * 300}{']' * 300}\n  : 1\n", "nested too deeply"),
    "mappings": (f"x-a: {'{a: ' * 300}1{'}' * 300}\n", "nested too deeply"),
    "blocks": ("x-a:\n " + "- " * 50_000, "nest"),
    "itself": ("x-a: &a [*a]\n", "it contains itself"),
    "a character that does not exist": ('description: "\\UFFFFFFFF"\n', "web.yaml"),
    "half a character": ('description: "\\uD800"\n', "line 1: "),
    "a version": (f"%YAML 1.{'1' * 5000}\n---\na: 1\n", "web.yaml"),
    "a second document": ("--- {}\n--- {}\n", "a second document"),
    "large": (f"x-a: '{'a' * (5 << 20)}'\n", "larger than"),
}  # fmt: skip


@pytest.mark.parametrize("name", YAML_BOMBS)
@pytest.mark.parametrize("libyaml", [True, False])
def test_yaml_bombs(place: Path, name: str, libyaml: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files that would take much, or that PyYAML's parsers do not expect."""
    if not libyaml:
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    yaml_reader._loader.cache_clear()
    bomb, expected = YAML_BOMBS[name]
    try:
        path = place / "web.yaml"
        path.write_text(bomb)
        text = bounded(lambda: parse_template(Template("web", "user", str(path), False, read_template(str(path))), HOST))
    finally:
        yaml_reader._loader.cache_clear()
    assert text and expected in text


def test_a_template_of_a_hundred_levels_is_read() -> None:
    """No profile needs more."""
    depth = yaml_reader.MAX_DEPTH - 1
    check: Callable[[str], object] = yaml_reader.compose
    assert yaml_reader.plain(yaml_reader.compose(f"x-a: {'[' * depth}{']' * depth}"))
    with pytest.raises(NotFoundError, match="nested too deeply"):
        check(f"x-a: {'[' * (depth + 1)}{']' * (depth + 1)}")


def test_a_large_integer_has_a_line(place: Path) -> None:
    """The message names its line, not the last one."""
    assert "line 3: an integer" in registry_outcome(place, f"[repoman]\nschema = 3\nx = {2**64}\n[host]\nlan_ip = ''\n".encode())
