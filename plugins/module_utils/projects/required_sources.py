# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Refuses a container that Incus could not start, because the host lacks something that one of its devices mounts."""

from __future__ import annotations

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.library import Library, user_dir
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.sources import missing_sources, optional_hints
from ansible_collections.homelab.repoman.plugins.module_utils.projects.desired import DesiredInstance, Devices
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import REPO_DEVICE
from ansible_collections.homelab.repoman.plugins.module_utils.projects.task import ProjectTask


def check_required_sources(task: ProjectTask, desired: DesiredInstance, devices: Devices) -> None:
    """Check that the sources that the devices of a container require exist.

    :param devices: of the container, with those of its profiles.
    :raises RepomanError: some do not exist. With ``predict``, that is a warning, because an earlier task may have yet to create them.
    """
    missing = missing_sources({name: device for name, device in devices.items() if name != REPO_DEVICE})
    if not missing:
        return
    by_profile: dict[str, list[str]] = {}
    phrases = []
    for device, source in missing.items():
        profile = _profile_of(device, source, desired)
        phrases.append(f"{source} (device {device}{f' of profile {profile}' if profile else ''})")
        by_profile.setdefault(profile, []).append(device)
    hints = (
        []
        if "" not in by_profile
        else [f"create {missing[by_profile[''][0]]}, or set required to 'false' on the device {by_profile[''][0]}"]
    )
    library = Library(user_dir(task.context.account.home), "")
    for profile, names in by_profile.items():
        if profile:
            hints += optional_hints(profile, names, profile in library.names())
    error = RepomanError(f"the container {task.name!r} cannot start without {' and '.join(phrases)}: missing on this host.", *hints)
    if not task.context.predict:
        raise error
    task.predict(error)


def _profile_of(device: str, source: str, desired: DesiredInstance) -> str:
    """Return the profile that a device with this source comes from; empty if it is the container's own."""
    for name in reversed(desired.settings.profiles):
        body = desired.profiles[name].body if name in desired.profiles else {"devices": {}}
        if (body["devices"].get(device) or {}).get("source") == source:
            return name
    return ""
