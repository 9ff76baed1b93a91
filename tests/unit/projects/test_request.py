# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the module repoman_project."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import UsageError
from ansible_collections.homelab.repoman.plugins.module_utils.projects.request import (
    OPTIONS,
    YAML_KEYS,
    ProjectRequest,
    named_projects,
    requested_projects,
)


def test_each_project_is_named_once() -> None:
    """A duplicate or invalid name is wrong usage, before anything is opened."""
    with pytest.raises(UsageError, match="named twice"):
        requested_projects({"projects": [{"name": "a"}, {"name": "b"}, {"name": "a"}]})
    with pytest.raises(UsageError):
        requested_projects({"projects": [{"name": "a/b"}]})


def test_one_project_or_a_list() -> None:
    """Both become requests; an option that is not set stays open."""
    single = dict.fromkeys(OPTIONS) | {"name": "a", "projects": None}
    assert requested_projects(single) == [ProjectRequest("a")]
    assert requested_projects({"projects": []}) == []
    assert requested_projects({"projects": [{"name": "a", "profiles": [], "target": "two"}]}) == [
        ProjectRequest("a", profiles=(), target="two")
    ]


def test_all_and_a_list() -> None:
    """All projects need no names; a list next to them adds its own."""
    assert named_projects({"all": True, "projects": None}) == []
    assert named_projects({"all": True, "projects": [{"name": "a"}]}) == [ProjectRequest("a")]
    assert named_projects({"all": None, "projects": [{"name": "a"}]}) == [ProjectRequest("a")]


def test_values_become_strings() -> None:
    """YAML has numbers and booleans; Incus has only strings."""
    options = {"name": "a", "config": {"limits.cpu": 2, "security.nesting": True}, "devices": {"x": {"readonly": False}}}
    (request,) = requested_projects({"projects": [options]})
    assert request.config == {"limits.cpu": "2", "security.nesting": "true"} and request.devices == {"x": {"readonly": "false"}}


def request_for(**options: Any) -> ProjectRequest:
    """Return the request for a project with options."""
    (request,) = requested_projects({"projects": [{"name": "a"} | options]})
    return request


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"config": {"limits.cpu": {"count": 2}}},
            "project 'a': the key limits.cpu must be text, a number or a boolean, and is a mapping.",
        ),
        ({"config": {"user.tags": ["x"]}}, "project 'a': the key user.tags must be text, a number or a boolean, and is a list."),
        ({"config": {"cloud-init.ssh-keys.me": {}}}, "project 'a': the key cloud-init.ssh-keys.me must be text"),
        ({"config": {"environment.X": "1", "limits.memory": []}}, "project 'a': the key limits.memory must be text"),
        ({"devices": {"data": {"path": ["/data"]}}}, "project 'a': the key data.path must be text, a number or a boolean, and is a list."),
        ({"devices": {"data": "disk"}}, "project 'a': the device 'data' must be a mapping of its settings, and is text."),
        ({"devices": {"data": ["disk"]}}, "project 'a': the device 'data' must be a mapping of its settings, and is a list."),
        ({"devices": {"data": 7}}, "project 'a': the device 'data' must be a mapping of its settings, and is a number."),
        ({"devices": {"data": True}}, "project 'a': the device 'data' must be a mapping of its settings, and is a boolean."),
    ],
)
def test_values_that_incus_cannot_have(options: dict[str, Any], sentence: str) -> None:
    """One sentence names the key; it is an error of this project alone."""
    good, bad = requested_projects({"projects": [{"name": "good", "config": {"x": 1}}, {"name": "a"} | options]})
    assert bad.error is not None and bad.error.message.startswith(sentence) and bad.error.hints
    assert ("devices" in options) == any(hint.startswith("devices: ") for hint in bad.error.hints)
    assert good.error is None and good.config == {"x": "1"}


def test_null_and_empty_text_unset() -> None:
    """A key, a device, or a setting of one that is null is not requested; an empty text is the same, because Incus does not store it."""
    request = request_for(
        config={"limits.cpu": None, "user.x": "", "user.zero": 0, "user.false": False, "user.blank": " "},
        devices={"gone": None, "data": {"path": "/x", "source": None, "readonly": ""}},
    )
    assert request.config == {"user.zero": "0", "user.false": "false", "user.blank": " "}
    assert request.devices == {"data": {"path": "/x"}} and request.error is None
    assert request.unset == ("limits.cpu", "user.x")


@pytest.mark.parametrize("key", YAML_KEYS)
@pytest.mark.parametrize("value", [{"b": ["ü", 1], "a": {"x": True, "y": None}}, {"a": [{"a": "b: c"}]}, {}])
def test_data_for_cloud_init_becomes_yaml(key: str, value: Any) -> None:
    """It reads back as it was given, in its order; what cloud-init takes for a configuration has its first line. Text stays as it is."""
    config = request_for(config={key: value}).config
    assert config is not None
    assert yaml.safe_load(config[key]) == value and list(yaml.safe_load(config[key])) == list(value)
    assert config[key].startswith("#cloud-config\n") == key.endswith(("user-data", "vendor-data"))
    assert request_for(config={key: "#!/bin/sh\n"}).config == {key: "#!/bin/sh\n"}


@pytest.mark.parametrize("key", YAML_KEYS)
def test_cloud_init_takes_no_list(key: str) -> None:
    """Except an archive of parts, which needs its own first line and so is given as text; the hint says so."""
    error = request_for(config={key: [{"type": "text/cloud-config", "content": "x: y"}]}).error
    assert error is not None and error.message == f"project 'a': the key {key} must be text or a mapping, and is a list."
    assert any("#cloud-config-archive" in hint for hint in error.hints) == (not key.endswith(("network-config", "meta-data")))
    archive = "#cloud-config-archive\n- {type: text/cloud-config, content: 'x: y'}\n"
    assert request_for(config={key: archive}).config == {key: archive}
