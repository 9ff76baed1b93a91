# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare the settings of this host with those on the target, and refuse settings that look lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.files import REGISTRY, HostSettings, digest, project_names
from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.stored import Owner, StoredSettings
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import SETTINGS
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import escape_control_characters, first_of, plural
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

SHRINK_MIN = 3
"""Settings look lost if more than this and more than half are gone, or all of two or more: of one kind, or of all together."""
MAX_NAMED = 3
PROJECT = "project "


@dataclass(frozen=True)
class Changes:
    """The differences between the settings of this host and those on the target, as relative names.

    :param is_first: the target has no settings yet.
    :param new_owner: the target has them as those of another host, user or home.
    """

    created: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    is_first: bool = False
    new_owner: bool = False

    @property
    def count(self) -> int:
        """The number of files that differ."""
        return len(self.created) + len(self.changed) + len(self.removed)

    def __bool__(self) -> bool:
        return bool(self.count) or self.new_owner

    @property
    def description(self) -> str:
        """The step, as a sentence."""
        return f"back up the settings ({plural(self.count)})" if self.count else "update the owner of the settings in the backup"

    def lines(self) -> list[tuple[str, str]]:
        """Return pairs of a relative name and ``created``, ``changed`` or ``removed``, sorted."""
        kinds = {"created": self.created, "changed": self.changed, "removed": self.removed}
        return sorted((name, kind) for kind, names in kinds.items() for name in names)


def compare(settings: HostSettings, stored: StoredSettings, me: Owner, *, full: bool) -> Changes:
    """Return how the settings differ from the stored ones.

    :param me: the owner of the settings.
    :param full: read the stored files even if their names and the digests in ``owner.json`` match.
    :raises OSError: the target cannot be read.
    """
    owner = stored.owner()
    current = {name: digest(name, file.data) for name, file in settings.files.items()}
    if not full and owner is not None and _names(owner.digests, settings) == current and owner.digests.keys() == set(stored.names()):
        return Changes(new_owner=not owner.is_same(me))
    found = stored.digests()
    is_first = owner is None and not found
    known = _names(found, settings)
    return Changes(
        created=tuple(name for name in current if name not in found),
        changed=tuple(name for name in current if name in found and found[name] != current[name]),
        removed=tuple(name for name in known if name not in current),
        is_first=is_first,
        new_owner=owner is None
        or not owner.is_same(me)
        or owner.digests != (current | {name: found[name] for name in found.keys() - known}),
    )


def _names(digests: dict[str, str], settings: HostSettings) -> dict[str, str]:
    """Return the digests of stored files, without those of files that cannot be read here: they stay as they are."""
    return {name: value for name, value in digests.items() if not settings.is_unknown(name)}


def check_loss(settings: HostSettings, stored: StoredSettings, me: Owner) -> None:
    """Refuse settings that look lost: a new installation, or a directory that is not mounted, must not replace good ones.

    :raises ConflictError: they look lost.
    :raises OSError: the target cannot be read.
    """
    owner = stored.owner()
    here = _things(settings.files.keys(), settings.files[REGISTRY].data if REGISTRY in settings.files else b"")
    names = stored.names()
    in_backup = _things(names, stored.read(REGISTRY)[0] if REGISTRY in names and not settings.is_unknown(REGISTRY) else b"")
    gone = sorted(thing for thing in in_backup - here if not settings.is_unknown(thing))
    is_foreign = owner is not None and not owner.is_same_account(me)
    if not (gone and is_foreign) and not _look_lost(gone, in_backup):
        return
    whose = escape_control_characters(f" of {owner.user} on {owner.host}") if owner is not None and is_foreign else ""
    named = first_of([escape_path(thing.encode(errors="surrogateescape")) for thing in gone], MAX_NAMED)
    raise ConflictError(
        f"{len(gone)} of {plural(len(in_backup), 'setting')}{whose} that the backup has are not here ({named});"
        " the settings in the backup were not changed.",
        "repoman restore --settings   # gets them back",
        f"{repoman_command('sync', [SETTINGS], '--allow-shrink')}   # if that is on purpose: what is gone is moved to the history",
    )


def _look_lost(gone: Iterable[str], in_backup: Iterable[str]) -> bool:
    """Return whether too many things are gone: of one kind, because what stays of others says nothing about it, or of all together."""
    total, lost = Counter(map(_kind, in_backup)), Counter(map(_kind, gone))
    pairs = [(lost[kind], total[kind]) for kind in total]
    pairs.append((lost.total(), total.total()))
    return any((missing > SHRINK_MIN and missing * 2 > count) or missing == count > 1 for missing, count in pairs)


def _kind(thing: str) -> str:
    """Return what a thing is: ``PROJECT``, or for an override or a template its directory."""
    return PROJECT if thing.startswith(PROJECT) else thing.partition("/")[0]


def _things(names: Iterable[str], registry: bytes) -> set[str]:
    """Return what a person would miss: the projects in the registry, and the overrides and templates."""
    return {f"{PROJECT}{name}" for name in project_names(registry)} | {name for name in names if name != REGISTRY}
