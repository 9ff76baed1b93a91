# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose an instance is: the user's own, another user's, renamed or copied by hand, made by an earlier version, or not repoman's at all."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command, shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.sources import mounts_host_path
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import (
    OWNER_KEY,
    OWNER_UID_KEY,
    PROJECT_KEY,
    REPO_KEY,
    RUN_KEY,
)

MAX_NAME = 63
"""Characters in the name of an instance."""
Instances = Mapping[str, Mapping[str, Any]]
"""Names of instances to how Incus describes them."""


class Relation(StrEnum):
    """How an instance belongs to the user. Results have the ``value``."""

    OWN = "own"
    """repoman made it for this user, and for the project of its name."""
    RENAMED = "renamed"
    """repoman made it for this user and another project; it is not a copy of the container of that project."""
    COPY = "copy"
    """It is a copy of this user's container of another project."""
    ADOPTABLE = "adoptable"
    """It has no marks, but mounts a repository of this user."""
    FOREIGN = "foreign"
    """repoman made it for another user."""
    UNMANAGED = "unmanaged"
    """repoman did not make it."""


SHOWN = frozenset((Relation.OWN, Relation.RENAMED, Relation.COPY, Relation.ADOPTABLE))
"""Relations of the instances that ``list`` and ``status`` show."""


@dataclass(frozen=True)
class Ownership:
    """How an instance belongs to the user.

    :param relation: in short.
    :param owner: login name in its marks; empty in those of earlier versions, and without marks.
    :param origin: the project in its marks, if its name is another; otherwise empty.
    :param is_of_other_uid: whether its marks name another login name and another UID. Otherwise a foreign one may still be the user's, such as
        after ``repos_root`` or the login name was changed.
    :param error: why it cannot be used, with commands that take it back; ``None`` for the user's own.
    """

    relation: Relation
    owner: str = ""
    origin: str = ""
    is_of_other_uid: bool = False
    error: ConflictError | None = None

    def check_own(self) -> None:
        """Check that the instance is the user's own.

        :raises ConflictError: it is not.
        """
        if self.error is not None:
            raise ConflictError(self.error.message, *self.error.hints)


def is_own(context: RunContext, instance: Mapping[str, Any]) -> bool:
    """Return whether repoman made an instance for this user, and for the project of its name."""
    return ownership(context, instance).relation == Relation.OWN


def ownership(context: RunContext, instance: Mapping[str, Any], instances: Instances = MappingProxyType({})) -> Ownership:
    """Return how an instance belongs to the user.

    :param instances: all of the Incus project, by name: they tell a copy from a renamed instance.
    """
    config = instance.get("config") or {}
    if PROJECT_KEY not in config:
        return _unmarked(context, instance)
    name, project, owner = str(instance["name"]), str(config[PROJECT_KEY]), str(config.get(OWNER_KEY, ""))
    if not _is_users(context, config):
        return _foreign(context, name, config)
    if project == name:
        return Ownership(Relation.OWN, owner)
    if project not in instances:
        return _renamed(context, instance, owner, project)
    return _second(context, instance, owner, {**instances[project], "name": project}, instances)


def mounted_repositories(context: RunContext, instance: Mapping[str, Any]) -> list[str]:
    """Return the directories inside ``repos_root`` that the own devices of an instance mount, as their sources are written."""
    sources = [device["source"] for device in (instance.get("devices") or {}).values() if mounts_host_path(device)]
    return [source for source in sources if _in_repos_root(context, source)]


def _is_users(context: RunContext, config: Mapping[str, str]) -> bool:
    """Return whether the marks of an instance name this user. Marks of earlier versions have no owner: their repository decides."""
    if OWNER_UID_KEY not in config and OWNER_KEY not in config:
        return REPO_KEY not in config or _in_repos_root(context, config[REPO_KEY])
    account = context.account
    return config.get(OWNER_UID_KEY) == str(account.uid) and _is_name_of(account, config.get(OWNER_KEY, ""))


def _is_name_of(account: Account, name: str) -> bool:
    """Return whether a login name is one of the account's: a uid can have several."""
    try:
        return name == account.name or pwd.getpwnam(name).pw_uid == account.uid
    except (KeyError, ValueError):
        return False


def _in_repos_root(context: RunContext, path: str) -> bool:
    roots = {context.repos_root, os.path.realpath(context.repos_root)}
    return any(os.path.normpath(path).startswith(f"{root.rstrip('/')}/") for root in roots)


def relative_repository(context: RunContext, path: str) -> str:
    """Return a directory in ``repos_root`` relative to it, as ``--repo`` takes it."""
    root = context.repos_root
    return os.path.relpath(path, root if path.startswith(f"{root}/") else os.path.realpath(root))


def new_command(context: RunContext, name: str, path: str, *options: str | tuple[str, str]) -> str:
    """Return the command ``repoman new`` for a project whose repository is at ``path``."""
    repo = relative_repository(context, path)
    return repoman_command("new", [name], *([] if repo == name else [("--repo", repo)]), *options)


def _foreign(context: RunContext, name: str, config: Mapping[str, str]) -> Ownership:
    account, owner = context.account, config.get(OWNER_KEY, "")
    marks = f"{OWNER_KEY}={shell_word(account.name)} {OWNER_UID_KEY}={account.uid}"
    hints = ["repoman list --all-users", "repoman new NAME --repo DIR   # chooses another name"]
    other_uid = config.get(OWNER_UID_KEY, "") not in ("", str(account.uid))
    is_of_other_uid = bool(owner) and other_uid and not _is_name_of(account, owner)
    if not is_of_other_uid:
        hints.append(f"{context.instance_command('config set', name, marks)}   # if it is yours")
    if owner:
        error = ConflictError(f"the container {name!r} belongs to the user {owner!r}; it was not changed.", *hints)
        return Ownership(Relation.FOREIGN, owner, is_of_other_uid=is_of_other_uid, error=error)
    error = ConflictError(
        f"the container {name!r} has the repository {config.get(REPO_KEY)}, which is not inside {context.repos_root}; it was not changed.",
        *hints,
    )
    return Ownership(Relation.FOREIGN, error=error)


def _renamed(context: RunContext, instance: Mapping[str, Any], owner: str, project: str) -> Ownership:
    error = ConflictError(
        f"the container {instance['name']!r} was made for the project {project!r}, and renamed or restored under another name;"
        " it was not changed.",
        f"{_rename_command(context, instance, project)}   # gives it its name back",
        _keep_hint(context, instance),
    )
    return Ownership(Relation.RENAMED, owner, project, error=error)


def _second(context: RunContext, instance: Mapping[str, Any], owner: str, current: Mapping[str, Any], instances: Instances) -> Ownership:
    """Return the ownership of an instance whose project has a container already: it is a copy of that one if the same run made both.

    :param current: the container of the project. No command touches it unless it is the user's own.
    """
    name, project, config = str(instance["name"]), str(current["name"]), instance["config"]
    holder = ownership(context, current)
    if holder.relation != Relation.OWN:
        is_users = holder.relation == Relation.FOREIGN and holder.owner
        whose = f"belongs to the user {holder.owner!r}" if is_users else "is not one that repoman made for you and that project"
        error = ConflictError(
            f"the container {name!r} was made for the project {project!r}, but the container {project!r} {whose}; it was not changed.",
            _keep_hint(context, instance),
        )
        return Ownership(Relation.RENAMED, owner, project, error=error)
    again = new_command(context, project, str(config.get(REPO_KEY) or context.repository_path(project)))
    other_run = (current.get("config") or {}).get(RUN_KEY, "")
    free = _free_name(project, instances)
    # not "repoman remove", which would drop the entry's settings
    exchange = f"{_rename_command(context, current, free)} && {_rename_command(context, instance, project)} && {again}"
    if not other_run or config.get(RUN_KEY, "") in ("", other_run):
        error = ConflictError(
            f"the container {name!r} is a copy of the container of the project {project!r}; it was not changed.",
            f"{exchange}   # uses the copy instead, and keeps the other one as {free}",
            f"{_delete_command(context, instance)}   # deletes the copy",
        )
        return Ownership(Relation.COPY, owner, project, error=error)
    error = ConflictError(
        f"the container {name!r} was made for the project {project!r}, which has another container now; it was not changed.",
        f"{exchange}   # uses it instead, and keeps the other one as {free}",
        f"{_delete_command(context, instance)}   # deletes it",
    )
    return Ownership(Relation.RENAMED, owner, project, error=error)


def _keep_hint(context: RunContext, instance: Mapping[str, Any]) -> str:
    """Return the hint that makes an instance the container of the project of its name."""
    name, repo = str(instance["name"]), str(instance["config"].get(REPO_KEY, ""))
    keep = context.instance_command("config set", name, f"{PROJECT_KEY}={shell_word(name)}")
    again = new_command(context, name, repo) if _in_repos_root(context, repo) else f"repoman new {shell_word(name)}"
    return f"{keep} && {again}   # keeps the new name"


def _free_name(project: str, instances: Instances) -> str:
    """Return a name that no instance of the Incus project has."""
    suffixes = ("-old", *(f"-old{number}" for number in range(2, len(instances) + 3)))
    names = (project[: MAX_NAME - len(suffix)] + suffix for suffix in suffixes)
    return next(name for name in names if name not in instances)


def _delete_command(context: RunContext, instance: Mapping[str, Any]) -> str:
    return context.instance_command("delete" if instance.get("status") == "Stopped" else "delete --force", str(instance["name"]))


def _rename_command(context: RunContext, instance: Mapping[str, Any], project: str) -> str:
    name = str(instance["name"])
    rename = context.instance_command("rename", name, shell_word(project))
    return rename if instance.get("status") == "Stopped" else f"{context.instance_command('stop', name)} && {rename}"


def _unmarked(context: RunContext, instance: Mapping[str, Any]) -> Ownership:
    name = str(instance["name"])
    mounted = mounted_repositories(context, instance) if instance.get("type", "container") == "container" else []
    if mounted:
        error = ConflictError(
            f"the container {name!r} mounts {mounted[0]}, but has no keys of repoman; it was not changed.",
            f"{new_command(context, name, mounted[0], '--adopt')}   # takes it over",
        )
        return Ownership(Relation.ADOPTABLE, error=error)
    error = ConflictError(
        f"incus has an instance {name!r} in project {context.incus_project!r} that repoman did not create; it was not changed.",
        context.instance_command("config show", name),
        "repoman new NAME --repo DIR   # chooses another name",
    )
    return Ownership(Relation.UNMANAGED, error=error)


def other_containers_of(context: RunContext, project: str, instances: Instances) -> list[str]:
    """Return a sentence about each container that was made for a project, and has another name."""
    sentences = []
    for name, instance in instances.items():
        owned = ownership(context, instance)
        if owned.origin == project and name != project:
            sentences.append(
                f"the container {name!r} was made for the project {project!r} and renamed or copied; it stays as it is:"
                " repoman list   # says how to use it"
            )
    return sentences
