# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible's settings, which are read faster: the values stay the same."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible import constants
from ansible.config import manager

from repoman import settings

HOME = {"ANSIBLE_HOME": "/home/alice/.ansible", "NUMBER": 1, "LIST": "[1]", "REJECT_EXTS": [".a"]}


def refuse(*_args: object) -> Any:
    """Stand for the slow way, which is not needed."""
    raise AssertionError


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The changes, for one test."""
    monkeypatch.setattr(manager, "yaml_load", manager.yaml_load)
    monkeypatch.setattr(manager.ConfigManager, "template_default", manager.ConfigManager.template_default)
    settings.install()
    yield


def test_definitions(installed: None) -> None:
    """They are those that ansible reads, without the slow half of PyYAML."""
    settings._with_libyaml(refuse)(io.BytesIO(Path(manager.__file__).with_name("base.yml").read_bytes()))
    assert manager.ConfigManager().get_configuration_definitions().items() <= constants.config.get_configuration_definitions().items()


def test_text_that_libyaml_alone_cannot_read() -> None:
    """Ansible's function reads it."""
    assert settings._with_libyaml(lambda text: text)(io.BytesIO(b"a: 2020-01-01")) == b"a: 2020-01-01"


def defaults() -> list[Any]:
    """Return the default values of all settings."""
    return [definition.get("default") for definition in constants.config.get_configuration_definitions().values()]


def test_default_values() -> None:
    """Each has the value that Jinja returns; paths are evaluated without Jinja."""
    evaluate = manager.ConfigManager.template_default
    quick = settings._without_templates(evaluate)
    for value in (
        *defaults(),
        "{{NUMBER}}",
        "{{ LIST }}",
        "{{LIST ~ '/x'}}",
        "{{ ANSIBLE_HOME ~ '/x' }} ",
        "{{ ANSIBLE_HOME ~ '\\n' }}",
        "{{}}",
    ):
        result, expected = quick(constants.config, value, HOME), evaluate(constants.config, value, HOME)
        assert result == expected and type(result) is type(expected), value
    assert quick(constants.config, "{{ ANSIBLE_HOME ~ '/x' }}", None) == "{{ ANSIBLE_HOME ~ '/x' }}"
    paths = [value for value in defaults() if "ANSIBLE_HOME ~" in str(value)]
    assert len(paths) > 20
    assert all(settings._without_templates(refuse)(None, value, HOME).startswith("/home/alice/") for value in paths)


def test_another_ansible_keeps_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not exist is not replaced."""
    monkeypatch.delattr(manager, "yaml_load")
    monkeypatch.delattr(manager.ConfigManager, "template_default")
    settings.install()
    assert not hasattr(manager, "yaml_load") and not hasattr(manager.ConfigManager, "template_default")
