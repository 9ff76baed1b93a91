# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the module repoman_project."""

from __future__ import annotations

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import UsageError
from ansible_collections.homelab.repoman.plugins.module_utils.projects.request import OPTIONS, ProjectRequest, requested_projects


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


def test_values_become_strings() -> None:
    """YAML has numbers and booleans; Incus has only strings."""
    options = {"name": "a", "config": {"limits.cpu": 2, "security.nesting": True}, "devices": {"x": {"readonly": False}}}
    (request,) = requested_projects({"projects": [options]})
    assert request.config == {"limits.cpu": "2", "security.nesting": "true"} and request.devices == {"x": {"readonly": "false"}}
