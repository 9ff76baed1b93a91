# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Installs and removes profiles. Template files are never touched."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConcurrentChangeError, ConflictError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import shorten_home
from ansible_collections.homelab.repoman.plugins.module_utils.core.names import nearest
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, PlannedItem, Step, plan_all
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.core.results import Action
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account, HostFacts
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.incus.command_line import instance_command
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.install_record import InstallRecord
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.installed import (
    Installed,
    create_profile,
    delete_profile,
    read_one,
    update_profile,
)
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.library import Library, lookup
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.replaced import ReplacedProfile
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.sources import missing_sources, optional_hints
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template import Body, Template, diff_text, parse_template
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Registry

INCUS_PROFILE = "default"
"""The profile that Incus makes itself."""
INVALID_CODES = range(400, 500)
"""Codes with which Incus refuses a request before it changes anything."""
STILL_SAVED = "(profile change still saved)"
"""What Incus's error has if it has replaced the profile, but could not apply that to an instance."""


@dataclass(frozen=True)
class ProfileContext:
    """The library, host and Incus of a run.

    :param library: of the templates.
    :param host: values of their variables.
    :param client: connection to Incus.
    :param account: owner of new files.
    :param saved_dir: directory of the profiles that were replaced.
    :param record: of what repoman installed.
    :param registry: ``None`` if it does not exist yet.
    :param force: replace Incus's own profile ``default``, too.
    """

    library: Library
    host: HostFacts
    client: incus.Client
    account: Account
    saved_dir: str
    record: InstallRecord
    registry: Registry | None = None
    force: bool = False


class ProfileChange(PlannedItem):
    """The change of one profile.

    :param name: of the profile.
    :param context: of the run.
    :param current: the installed profile, or ``None``.
    :ivar result: of the profile in the module's result: ``name``, ``action`` and more.
    """

    def __init__(self, name: str, context: ProfileContext, current: Installed | None) -> None:
        super().__init__()
        self.name, self.context, self.current = name, context, current
        self.result: dict[str, Any] = {"name": name}
        self.is_applied = False

    def remake_plan(self) -> Plan:
        """Read the profile again, and plan from that."""
        self.current = read_one(self.name, self.context.client).get(self.name)
        return self.make_plan()

    def on_success(self) -> None:
        """Note that the plan was applied."""
        self.is_applied = True

    def on_failure(self, error: RepomanError) -> None:
        """Report ``error`` as the result.

        :raises UnreachableError: Incus does not answer; the other profiles would wait for it, too.
        """
        super().on_failure(error)
        if isinstance(error, incus.IncusError | incus.UnreachableError | ConcurrentChangeError):
            error.message = f"profile {self.name!r}: {error.message}"
        result = error.as_result()
        self.result |= {"action": Action.FAILED.value} | {key: result[key] for key in ("msg", "hints", "exit_code")}
        if isinstance(error, incus.UnreachableError):
            raise error


class ProfileInstallation(ProfileChange):
    """Installs a profile, or updates it to its template.

    :ivar warnings: warnings of check mode about objects that an earlier task may create.
    """

    def __init__(self, name: str, context: ProfileContext, current: Installed | None, predict: bool = False) -> None:
        super().__init__(name, context, current)
        self.predict = predict
        self.warnings: list[str] = []
        self.template: Template | None = None
        self.desired: Body = {}

    def make_plan(self) -> Plan:
        """Plan from the template and the installed profile.

        :raises RepomanError: the template does not exist or cannot be rendered.
        """
        context, name, current = self.context, self.name, self.current
        template = lookup(name, context.library)
        self.desired = desired = parse_template(template, context.host)
        self.template = template
        self.result = {"name": name, "action": Action.UNCHANGED.value, "source": template.source, "file_path": template.file_path}
        if current is not None and current.body == desired:
            return Plan()
        plan = Plan()
        if current is None:
            self.result["action"] = Action.INSTALLED.value
            verb, apply = "install", partial(create_profile, name, desired, context.client)
        else:
            if name == INCUS_PROFILE and not context.force:
                raise ConflictError(
                    f"profile {name!r} is Incus's own, and installing the template would replace it.",
                    f"repoman profile diff {name}",
                    f"repoman profile install {name} --force",
                )
            replaced = ReplacedProfile(name, current.body, context.saved_dir, context.account, context.client.path)
            self.result["action"] = Action.UPDATED.value
            if not context.record.is_own(name, current.body):
                self.result |= {"saved": replaced.path, "restore_command": replaced.restoring}
                plan.add(Step(f"save the installed profile {name} to {replaced.path}", replaced.save))
            verb, apply = "update", partial(self._update, desired, current.etag, replaced)
        plan.add(
            Step(
                f"{verb} profile {name} (source: {template.source})",
                apply,
                target=f"profile {name}",
                before=diff_text(current.body if current else None),
                after=diff_text(desired, current.body if current else None),
            )
        )
        return plan

    def _update(self, desired: Body, etag: str, replaced: ReplacedProfile) -> None:
        """Replace the profile; if Incus has certainly not done so, discard the saved one."""
        try:
            update_profile(self.name, desired, etag, self.context.client)
        except incus.IncusError as error:
            if STILL_SAVED in error.reason:
                self._report_instances(error, replaced)
                return
            if error.code in INVALID_CODES or self._is_unchanged():
                replaced.discard()
            else:
                self._hint_at_saved(error, replaced)
            raise
        except (ConcurrentChangeError, incus.NotRunningError):
            replaced.discard()
            raise
        except RepomanError as error:  # without a response, Incus may still replace it
            self._hint_at_saved(error, replaced)
            raise

    def _is_unchanged(self) -> bool:
        """Ask Incus whether the profile is unchanged, because a reported error does not prove it."""
        with suppress(RepomanError):
            installed = read_one(self.name, self.context.client).get(self.name)
            return installed is not None and self.current is not None and installed.body == self.current.body
        return False

    def _hint_at_saved(self, error: RepomanError, replaced: ReplacedProfile) -> None:
        if "saved" in self.result:
            error.hints.append(f"{replaced.restoring}   # if the profile was replaced")

    def _report_instances(self, error: incus.IncusError, replaced: ReplacedProfile) -> None:
        """Report that Incus has the new profile, and which instances could not take it; the former one is saved for the way back."""
        if "saved" not in self.result:
            replaced.save()
            self.result |= {"saved": replaced.path, "restore_command": replaced.restoring}
        lines = [line.strip().removeprefix("- ") for line in error.reason.partition(STILL_SAVED)[2].lstrip(":").splitlines()]
        quote = "; ".join(filter(None, lines))
        failure = RepomanError(
            f"profile {self.name!r} was installed, but incus could not apply it to every instance: {quote}.",
            f"{replaced.restoring}   # brings the former one back",
        )
        self.result |= {"msg": failure.message, "hints": failure.hints, "exit_code": failure.exit_code}

    def source_warnings(self) -> list[str]:
        """Return a warning if a container with the profile could not start, because the host lacks what a device mounts."""
        if self.template is None or self.result.get("action") not in (Action.INSTALLED, Action.UPDATED):
            return []
        missing = missing_sources(self.desired["devices"])
        if not missing:
            return []
        paths = [shorten_home(path, self.context.account.home) for path in missing.values()]
        text = f"{self.name} cannot be used: {' and '.join(paths)} {'is' if len(paths) == 1 else 'are'} missing"
        self.result |= {"warning": text, "warning_hints": optional_hints(self.name, missing, self.template.source == "user")}
        return [text]

    def on_success(self) -> None:
        """Note what was installed."""
        super().on_success()
        self.context.record.add(self.name, self.desired)

    def on_failure(self, error: RepomanError) -> None:
        """Report ``error``; if an earlier task may yet create the missing template, in the user's directory, only warn."""
        if not self.predict or not error.may_be_created_later:
            try:
                super().on_failure(error)
            finally:
                if not os.path.exists(self.result.get("saved", "")):
                    self.result = {key: value for key, value in self.result.items() if key not in ("saved", "restore_command")}
            return
        action = Action.INSTALLED if self.current is None else Action.UPDATED
        self.result |= {"action": action.value, "source": "user", "file_path": self.context.library.user_path(self.name)}
        self.warnings.append(error.as_check_mode_warning())


class ProfileRemoval(ProfileChange):
    """Removes a profile from Incus.

    :param installed: the profiles of Incus.
    """

    def __init__(self, name: str, context: ProfileContext, installed: dict[str, Installed]) -> None:
        super().__init__(name, context, installed.get(name))
        self.installed = installed

    def make_plan(self) -> Plan:
        """Plan from the installed profile.

        :raises RepomanError: it is in use.
        """
        library, name, current = self.context.library, self.name, self.current
        self.result = {
            "name": name,
            "action": Action.ABSENT.value,
            "file_path": library.existing_path(name),
            "referenced_by": [],
        }
        if current is None:
            self.result["suggestions"] = [match] if (match := nearest(name, self.installed)) else []
            return Plan()
        users = current.users()
        if users:
            user_list = ", ".join(f"{user} (project {project})" for user, project in users)
            hints = [
                instance_command(self.context.client.path, project, "profile remove", user, shell_word(name)) for user, project in users
            ]
            raise RepomanError(f"profile {name!r} is currently in use by {user_list}.", *hints)
        registry = self.context.registry
        self.result |= {"action": Action.REMOVED.value, "referenced_by": registry.referencing(name) if registry else []}
        step = Step(
            f"remove profile {name}",
            lambda: delete_profile(name, self.context.client),
            target=f"profile {name}",
            before=diff_text(current.body),
        )
        return Plan([step])


def install(
    names: Iterable[str], context: ProfileContext, installed: dict[str, Installed], predict: bool = False
) -> list[ProfileInstallation]:
    """Plan to install the named templates as profiles, independently of each other.

    :param installed: the profiles of Incus, from one read.
    :param predict: check mode only: objects that an earlier task may create can be missing, with a warning.
    :returns: for each name ``installed``, ``updated`` or ``unchanged``, or the error that prevents it.
    """
    changes = [ProfileInstallation(name, context, installed.get(name), predict) for name in names]
    plan_all(changes)
    return changes


def remove(names: Iterable[str], context: ProfileContext, installed: dict[str, Installed]) -> list[ProfileRemoval]:
    """Plan to remove the named profiles from Incus.

    :param installed: the profiles of Incus, from one read.
    :returns: for each name ``removed`` or ``absent``, or the error that prevents it.
    """
    changes = [ProfileRemoval(name, context, installed) for name in names]
    plan_all(changes)
    return changes


def give_up(changes: Sequence[ProfileChange], error: incus.UnreachableError) -> None:
    """Report the changes that were not tried because Incus does not answer; those that were made stay.

    :raises UnreachableError: there is nothing else to report.
    """
    if not any(change.is_applied or (change.error is not None and change.error is not error) for change in changes):
        raise error
    for change in changes:
        if change.plan.changed and not change.is_applied and change.error is None:
            change.on_failure(RepomanError(f"profile {change.name!r} was not changed, because incus does not answer.", *error.hints))
