# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What repoman reads from an instance."""

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
def test_a_mark_made_by_hand(text: str) -> None:
    """What is no mark is said to be none, with the command that takes it away."""
    data = {"name": "demo", "project": "repoman", "config": {APPLIED_KEY: text}, "devices": {}, "profiles": []}
    with pytest.raises(ConflictError, match="'demo' was edited by hand and cannot be read") as caught:
        applied_settings(data)
    assert caught.value.hints == [f"incus config unset --project repoman demo {APPLIED_KEY}"]
    assert not any(applied_settings(data | {"config": {}}).values())


def test_what_a_task_asked_for_is_as_the_instance_has_it() -> None:
    """What was taken away by hand is not; a mark that does not tell what a task asked for names nothing."""
    names = {"config": ["a", "b", "gone"], "devices": ["repo", "x"]}
    applied = json.dumps(names | {"asked_config": ["b", "gone"], "asked_devices": ["x"]})
    data: dict[str, Any] = {
        "config": {"a": "1", "b": "2", APPLIED_KEY: applied},
        "devices": {"repo": {"path": "/r"}, "x": {"path": "/x"}},
    }
    asked = previously_requested(data)
    assert asked.config == {"b": "2"} and asked.devices == {"x": {"path": "/x"}}
    assert previously_requested(data | {"config": {APPLIED_KEY: json.dumps(names)}}) == ProjectSettings()
