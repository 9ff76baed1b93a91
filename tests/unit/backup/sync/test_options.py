# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of a backup run: from the module's parameters, with their old names."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.options import SyncOptions
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import UsageError
from ansible_collections.homelab.repoman.plugins.modules.repoman_sync import SPEC


def options(**params: Any) -> SyncOptions:
    """Return the options that the module gets from these parameters."""
    found = ArgumentSpecValidator(SPEC["argument_spec"]).validate(params)
    assert found.error_messages == []
    return SyncOptions.from_params(found.validated_parameters)


def test_old_names_of_options_still_work() -> None:
    """A playbook that uses the old names gets the same options."""
    assert options(list_kept="isurus", patience=5.0) == options(list_versions="isurus", idle_timeout=5.0)
    assert options(list_kept="isurus").list_versions == "isurus"
    assert options(patience=5.0).idle_timeout == 5.0


def test_rules_come_from_the_run() -> None:
    """Exclude patterns and the two switches of a run are its rules; switches that are not set leave the choice to the registry."""
    rules = options(exclude=["*.o"], exclude_caches=False).rules
    assert (rules.exclude, rules.exclude_caches, rules.follow_mounts) == (("*.o",), False, None)


def test_only_named_units_may_lose_everything() -> None:
    """Without names, allow_shrink never retires a mirror."""
    assert not options(allow_shrink=True).may_lose
    assert not options(names=["isurus"]).may_lose
    assert options(names=["isurus"], allow_shrink=True).may_lose


@pytest.mark.parametrize(
    "params",
    [
        {"allow_local": True},
        {"take_over": True, "init": True},
        {"take_over": True, "verify": True},
        {"take_over": True, "list_versions": "a"},
        {"verify": True, "init": True},
        {"verify": True, "list_versions": "a"},
        {"jobs": -1},
        {"keep_days": -1},
    ],
)
def test_options_that_make_no_sense_are_refused(params: dict[str, Any]) -> None:
    """Each is a usage error with a hint."""
    with pytest.raises(UsageError) as caught:
        options(**params)
    assert caught.value.hints
