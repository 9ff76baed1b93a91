# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys of registries and overrides. The readers, the warnings for misspelled keys and the reference page are made from these tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import OUTPUTS, SCHEMA, Defaults
from ansible_collections.homelab.repoman.plugins.module_utils.registry.toml_reader import Table

PROTECTABLE = ("hooks", "config")
"""What ``protect`` in an override may hold."""
_DEFAULTS = Defaults()


class Kind(StrEnum):
    """The type of a value, as the reference page calls it."""

    NUMBER = "number"
    STRING = "string"
    TIME = "UTC time, as a string"
    DIRECTORY = "directory"
    DURATION = "duration"
    HOST_DIRECTORY = "directory, with {host}"
    STRINGS = "list of strings"
    BOOLEAN = "boolean"
    CHOICE = "one of"
    TABLE = "table"
    TABLES = "tables"


@dataclass(frozen=True)
class Key:
    """A key of a table.

    :param name: of the key.
    :param kind: type of its value.
    :param default: the value if the key is missing.
    :param meaning: one or two sentences for the reference page.
    :param default_text: what the reference page shows as the default, if that is not a value.
    :param choices: the values of a :attr:`Kind.CHOICE`; the first is the default.
    """

    name: str
    kind: Kind
    default: Any
    meaning: str
    default_text: str = ""
    choices: tuple[str, ...] = ()

    def read(self, table: Table) -> Any:
        """Return the value in ``table``, or the default.

        :raises NotFoundError: the value has another type; the message has file and line.
        """
        if self.kind is Kind.CHOICE:
            return table.choice(self.name, self.choices)
        readers: dict[Kind, Callable[[str, Any], Any]] = {
            Kind.DIRECTORY: table.directory,
            Kind.DURATION: table.duration,
            Kind.HOST_DIRECTORY: table.host_directory,
            Kind.STRINGS: table.strings,
            Kind.BOOLEAN: table.boolean,
        }
        return readers.get(self.kind, table.string)(self.name, self.default)


_EXCLUDE = "Patterns, in the syntax of .gitignore, of files that sync leaves out"
_EXCLUDE_CACHES = "Leave the contents of directories with a valid CACHEDIR.TAG out of the backup."
_FOLLOW_MOUNTS = "Also back up file systems that are mounted inside a repository."
_FROM_DEFAULTS = "that of [defaults]"

REPOMAN = (
    Key("schema", Kind.NUMBER, SCHEMA, f"Version of the file's format, from 1 to {SCHEMA}. Earlier ones are read; the next write migrates them.",
        default_text="required"),
    Key("output", Kind.CHOICE, OUTPUTS[0], "How much the command prints. 'normal' adds a line for each unchanged thing, 'verbose' also the steps.",
        choices=OUTPUTS),
)  # fmt: skip
HOST = (
    Key("lan_ip", Kind.STRING, "", "Address of this host for its containers: the value of ${HOST_LAN_IP} in profile templates. repoman setup detects it.",
        default_text="empty"),
)  # fmt: skip
DEFAULTS = (
    Key("repos_root", Kind.DIRECTORY, _DEFAULTS.repos_root, "The directory of all repositories."),
    Key("backup_root", Kind.HOST_DIRECTORY, _DEFAULTS.backup_root, "The target of sync: a mounted directory with a marker, which sync --init makes. "
        "{host} in it stands for the name of this host, as hostname prints it, so that several hosts can share a file system: '/nfs/repos/{host}'."),
    Key("logdir", Kind.DIRECTORY, _DEFAULTS.logdir, "Logs and the state of the backup, profiles that were replaced, and drafts of profile edit."),
    Key("incus_project", Kind.STRING, _DEFAULTS.incus_project, "The Incus project that has the containers."),
    Key("default_image", Kind.STRING, _DEFAULTS.default_image, "Image of new containers: REMOTE:IMAGE, or an alias or fingerprint of a local image."),
    Key("profiles", Kind.STRINGS, _DEFAULTS.profiles, "Profiles of all containers, unless a project has its own list."),
    Key("exclude", Kind.STRINGS, _DEFAULTS.exclude, f"{_EXCLUDE}, in every repository."),
    Key("exclude_caches", Kind.BOOLEAN, _DEFAULTS.exclude_caches, _EXCLUDE_CACHES),
    Key("follow_mounts", Kind.BOOLEAN, _DEFAULTS.follow_mounts, _FOLLOW_MOUNTS),
    Key("stale_after", Kind.DURATION, _DEFAULTS.stale_after,
        "Age at which status and doctor call a backup too old: a number and a unit (s, m, h, d or w), or 'never'."),
)  # fmt: skip
PROJECT = (
    Key("name", Kind.STRING, "", "Name of the project and of its container.", default_text="required"),
    Key("repo", Kind.STRING, None, "Directory of the repository in repos_root.", default_text="the name"),
    Key("image", Kind.STRING, "", "Image of the container, when it is created.", default_text=_FROM_DEFAULTS),
    Key("profiles", Kind.STRINGS, None, "Profiles of the container; they replace those of [defaults].", default_text=_FROM_DEFAULTS),
    Key("created", Kind.TIME, "", "When repoman new added the entry.", default_text="empty"),
    Key("last_sync", Kind.TIME, "", "When sync last backed up the repository.", default_text="empty"),
    Key("backup", Kind.BOOLEAN, True, "Whether sync backs up the repository."),
    Key("exclude", Kind.STRINGS, None, f"{_EXCLUDE}, relative to the repository and in addition to those of [defaults].", default_text="none"),
    Key("exclude_caches", Kind.BOOLEAN, None, _EXCLUDE_CACHES, default_text=_FROM_DEFAULTS),
    Key("follow_mounts", Kind.BOOLEAN, None, _FOLLOW_MOUNTS, default_text=_FROM_DEFAULTS),
)  # fmt: skip
_FROM_ENTRY = "that of the entry"
OVERRIDE = (
    Key("repo", Kind.STRING, None, "Directory of the repository in repos_root.", default_text=_FROM_ENTRY),
    Key("image", Kind.STRING, None, "Image of the container, when it is created.", default_text=_FROM_ENTRY),
    Key("profiles", Kind.STRINGS, None, "Profiles of the container; they replace all others, and the command line may add more.", default_text=_FROM_ENTRY),
    Key("backup", Kind.BOOLEAN, None, "Whether sync backs up the repository.", default_text=_FROM_ENTRY),
    Key("protect", Kind.STRINGS, None, f"Parts of the repository that are read-only in the container: {' and '.join(PROTECTABLE)}.",
        default_text="none"),
    Key("sudo", Kind.BOOLEAN, None, "Whether your account in the container may become root without a password. Read the guide on root inside first.",
        default_text="false"),
    Key("exclude", Kind.STRINGS, None, f"{_EXCLUDE}, in addition to those of [defaults] and of the entry.", default_text="none"),
    Key("exclude_caches", Kind.BOOLEAN, None, _EXCLUDE_CACHES, default_text=_FROM_ENTRY),
    Key("follow_mounts", Kind.BOOLEAN, None, _FOLLOW_MOUNTS, default_text=_FROM_ENTRY),
    Key("config", Kind.TABLE, None, "Configuration keys of Incus for the container: strings, numbers or booleans. An empty text unsets a key.",
        default_text="none"),
    Key("devices", Kind.TABLES, None, "A table [devices.NAME] for each device of Incus. The device repo is reserved.", default_text="none"),
)  # fmt: skip


def read_keys(table: Table, keys: Iterable[Key]) -> dict[str, Any]:
    """Return the values of all keys of a table, by name; those of numbers and tables are read elsewhere.

    :raises NotFoundError: a value has another type; the message has file and line.
    """
    return {key.name: key.read(table) for key in keys if key.kind not in (Kind.NUMBER, Kind.TABLE, Kind.TABLES)}
