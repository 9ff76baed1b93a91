# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a backup run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import SETTINGS
from ansible_collections.homelab.repoman.plugins.module_utils.backup.unit_rules import RuleOptions
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import UsageError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command


@dataclass(frozen=True)
class SyncOptions:
    """The options of the module ``repoman_sync``; see its documentation.

    :param names: of units, and of the host's settings, which are part of each run anyway.
    :param jobs: units at once; 0 for the default.
    :param probe_timeout: seconds.
    :param idle_timeout: seconds.
    :param diff: whether the result shows what changes.
    """

    names: tuple[str, ...]
    init: bool
    allow_local: bool
    take_over: bool
    full: bool
    verify: bool
    allow_shrink: bool
    list_versions: str | None
    jobs: int
    keep_days: int
    xattrs: bool
    acls: bool
    rules: RuleOptions
    probe_timeout: float
    idle_timeout: float
    diff: bool

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> SyncOptions:
        """Return the options in a module's parameters.

        :raises UsageError: an option is invalid, alone or together with another one.
        """
        _check(params)
        flags = ("init", "allow_local", "take_over", "full", "verify", "allow_shrink", "xattrs", "acls")
        plain = (*flags, "list_versions", "jobs", "keep_days")
        return cls(
            names=tuple(params["names"] or ()),
            rules=RuleOptions(tuple(params["exclude"] or ()), params["exclude_caches"], params["follow_mounts"]),
            probe_timeout=params["probe_timeout"],
            idle_timeout=params["idle_timeout"],
            diff=params.get("_diff", True),
            **{key: params[key] for key in plain},
        )

    @property
    def may_lose(self) -> bool:
        """True if the user named units and allowed them to lose everything."""
        return bool(self.unit_names) and self.allow_shrink

    @property
    def unit_names(self) -> tuple[str, ...]:
        """The names of units; none also if the run is about all of them, or only about the settings."""
        return tuple(name for name in self.names if name != SETTINGS)

    @property
    def only_settings(self) -> bool:
        """True if the user named nothing but the settings."""
        return bool(self.names) and not self.unit_names

    @property
    def may_lose_settings(self) -> bool:
        """True if the user allowed to lose settings: ``allow_shrink`` together with names is about those."""
        return self.allow_shrink and (not self.names or SETTINGS in self.names)


def _check(params: Mapping[str, Any]) -> None:
    """Refuse options that are invalid, alone or together with another one.

    :raises UsageError: an option is invalid.
    """
    if params["allow_local"] and not params["init"]:
        raise UsageError("allow_local requires init.", repoman_command("sync", [], "--init", "--allow-local"))
    for key in ("init", "list_versions"):
        if params["take_over"] and params[key]:
            raise UsageError(
                f"take_over makes an existing backup yours, so it cannot be combined with {key}.",
                repoman_command("sync", [], "--take-over"),
            )
    for key in ("init", "take_over", "full", "allow_shrink", "list_versions"):
        if params["verify"] and params[key]:
            raise UsageError(f"verify changes nothing, so it cannot be combined with {key}.", repoman_command("sync", [], "--verify"))
    for key in ("jobs", "keep_days"):
        if params[key] < 0:
            raise UsageError(f"{key} is {params[key]}, but must be 0 or more.", "ansible-doc homelab.repoman.repoman_sync")
