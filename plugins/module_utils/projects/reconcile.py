# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The differences of an instance from its desired configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.secrets import without_secrets
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template import canonical
from ansible_collections.homelab.repoman.plugins.module_utils.projects.account import USER_DATA, VENDOR_DATA
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import (
    APPLIED_KEY,
    KEY_PREFIX,
    PROTECTED_KEY,
    applied_settings,
)

VOLATILE_PREFIX = "volatile."
"""Prefix of the keys with which Incus remembers the state of an instance, such as its addresses and the image it was made from."""
SERVER_PREFIXES = (VOLATILE_PREFIX, "image.")
"""Prefixes of configuration keys that Incus sets itself."""

Side = dict[str, Any]
"""The part of an instance that is compared: ``config``, ``devices`` and ``profiles``."""


@dataclass(frozen=True)
class Differences:
    """The current and the desired side of an instance."""

    current: Side
    desired: Side

    def __bool__(self) -> bool:
        """Return whether the sides differ."""
        return self.current != self.desired

    def describe(self) -> list[str]:
        """Return the differences, one phrase each."""
        current, desired = self.current, self.desired
        phrases = []
        if current["profiles"] != desired["profiles"]:
            names = [", ".join(side["profiles"]) or "none" for side in (current, desired)]
            phrases.append(f"profiles: {names[0]} instead of {names[1]}")
        for field, word in (("config", "key"), ("devices", "device")):
            for key in sorted({*current[field], *desired[field]}):
                if key in (APPLIED_KEY, PROTECTED_KEY) or current[field].get(key) == desired[field].get(key):
                    continue
                if key not in current[field]:
                    phrases.append(f"{word} {key} is missing")
                elif key not in desired[field]:
                    phrases.append(f"{word} {key} is no longer wanted")
                else:
                    phrases.append(f"{word} {key} was changed")
        return phrases


def reconcile(
    instance: Mapping[str, Any],
    config: dict[str, str],
    devices: dict[str, dict[str, str]],
    profiles: Iterable[str],
    replaced: Iterable[str] = (),
    unset: Iterable[str] = (),
) -> Differences:
    """Return how an instance differs from its desired configuration.

    Settings from repoman are removed if they are no longer desired, and corrected if they are; settings made by hand stay, unless a task
    unsets them.

    :param instance: as Incus describes it.
    :param config: the configuration that repoman gives it.
    :param devices: the devices that repoman gives it.
    :param profiles: its profiles, in order.
    :param replaced: names of further devices that are removed.
    :param unset: further configuration keys that are removed, but not repoman's own data for cloud-init, which makes the account, nor the
        state that Incus keeps under :data:`VOLATILE_PREFIX`.
    :raises ConflictError: see :func:`applied_settings`.
    """
    applied = applied_settings(instance)
    removable = {key for key in unset if key not in (*USER_DATA, *VENDOR_DATA) and not key.startswith(VOLATILE_PREFIX)}
    own_keys = {*applied["config"], PROTECTED_KEY, *removable}
    own_devices = {*applied["devices"], *replaced}
    current: Side = {
        "config": dict(instance["config"]),
        "devices": dict(instance["devices"]),
        "profiles": list(instance["profiles"]),
    }
    desired_profiles = list(profiles)
    staying = [name for name in current["profiles"] if name in desired_profiles or name not in applied["profiles"]]
    in_order = [name for name in staying if name in desired_profiles] == desired_profiles
    desired: Side = {
        "config": {key: value for key, value in current["config"].items() if key not in own_keys or key in config} | config,
        "devices": {key: value for key, value in current["devices"].items() if key not in own_devices or key in devices} | devices,
        "profiles": staying if in_order else [*desired_profiles, *(name for name in staying if name not in desired_profiles)],
    }
    return Differences(current, desired)


def diff_text(side: Side, keys: Iterable[str], other: Side | None = None) -> str:
    """Return an instance as text, for a diff: without the keys of the server and of repoman itself, and without values that may be secret.

    :param keys: of ``side`` that are shown.
    :param other: the other side of the diff; a secret that differs from it is shown as another one.
    """
    document = {key: side[key] for key in keys}
    config = {key: value for key, value in side["config"].items() if not key.startswith((*SERVER_PREFIXES, KEY_PREFIX))}
    document["config"] = without_secrets(config, other and other["config"])
    if "devices" in document:
        document["devices"] = without_secrets(side["devices"], other and other["devices"])
    return canonical(document)
