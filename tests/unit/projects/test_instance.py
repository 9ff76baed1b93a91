# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading repoman's keys of an instance."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import APPLIED_KEY, applied_settings, previously_requested
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import ProjectSettings


@pytest.mark.parametrize(
    "text", ["nonsense", "[]", "1", '"x"', "null", '{"config": 1}', '{"devices": [1]}', '{"profiles": null}', "[" * 100_000, "{" * 9]
)
def test_applied_settings_edited_by_hand(text: str) -> None:
    """An unreadable value is reported, with the command that removes it."""
    data = {"name": "demo", "config": {APPLIED_KEY: text}, "devices": {}, "profiles": []}
    with pytest.raises(ConflictError, match="'demo' was edited by hand and cannot be read") as caught:
        applied_settings(data, "incus config unset …")
    assert caught.value.hints == ["incus config unset …"]
    assert not any(applied_settings(data | {"config": {}}).values())


def test_previously_requested_has_the_current_values() -> None:
    """A key that was removed by hand is not among them; without a record of requests the result is empty."""
    names = {"config": ["a", "b", "gone"], "devices": ["repo", "x"]}
    applied = json.dumps(names | {"asked_config": ["b", "gone"], "asked_devices": ["x"]})
    data: dict[str, Any] = {
        "config": {"a": "1", "b": "2", APPLIED_KEY: applied},
        "devices": {"repo": {"path": "/r"}, "x": {"path": "/x"}},
    }
    asked = previously_requested(data)
    assert asked.config == {"b": "2"} and asked.devices == {"x": {"path": "/x"}}
    assert previously_requested(data | {"config": {APPLIED_KEY: json.dumps(names)}}) == ProjectSettings()
