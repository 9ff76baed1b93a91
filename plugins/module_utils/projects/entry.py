# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The entry of a project in the registry."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import (
    ConcurrentChangeError,
    RepomanError,
    RunInterruptedError,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Step
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import iso_time
from ansible_collections.homelab.repoman.plugins.module_utils.projects.desired import DesiredInstance
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import IMAGE_KEY, is_unfinished
from ansible_collections.homelab.repoman.plugins.module_utils.projects.mirrors import last_sync_of_mirror
from ansible_collections.homelab.repoman.plugins.module_utils.projects.task import ProjectTask
from ansible_collections.homelab.repoman.plugins.module_utils.registry.edit import edit_text, find_project, put_project, remove_project
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Data, Project
from ansible_collections.homelab.repoman.plugins.module_utils.registry.store import edit_file


def plan_entry(task: ProjectTask, desired: DesiredInstance) -> None:
    """Add the step that writes the registry entry, if it changes.

    The entry holds only the requested settings; those of an override stay in the override.
    """
    context, snapshot = task.context, task.snapshot
    exists = task.instance is not None and not is_unfinished(task.instance)
    image = str(task.instance["config"].get(IMAGE_KEY, "")) if task.instance and exists else desired.settings.image
    entry = context.registry.projects.get(task.name)
    last_sync = last_sync_of_mirror(context, desired.repository.relative_path) if entry is None else ""
    edit = RegistryEntryEdit(entry, desired, image, last_sync)
    if not edit.is_needed:
        return
    before = snapshot.registry_text
    snapshot.registry_text = edit.preview(before, context.registry_path)
    task.plan.add(
        Step(
            f"write {task.name} to the registry",
            lambda: edit_file(context.registry_path, edit.apply, context.account),
            undo=lambda: edit_file(context.registry_path, edit.revert, context.account),
            target=context.registry_path,
            before=before,
            after=snapshot.registry_text,
        )
    )


def plan_entry_removal(task: ProjectTask) -> None:
    """Add the step that removes the registry entry."""
    context, snapshot = task.context, task.snapshot

    def remove(data: Data) -> None:
        remove_project(data, task.name)

    def apply() -> None:
        try:
            edit_file(context.registry_path, remove, context.account)
        except (RunInterruptedError, ConcurrentChangeError):
            raise
        except (RepomanError, OSError) as error:
            problem = RepomanError.from_os_error(error) if isinstance(error, OSError) else error
            if task.instance is None:
                raise problem from error
            raise RepomanError(
                f"the container {task.name!r} was deleted, but its entry stays in the registry: {problem.message}",
                *problem.hints,
                f"repoman remove {task.name} --yes   # removes the entry once the cause is fixed",
            ) from error

    before = snapshot.registry_text
    snapshot.registry_text = edit_text(before, context.registry_path, remove)
    task.plan.add(
        Step(
            f"remove {task.name} from the registry",
            apply,
            target=context.registry_path,
            before=before,
            after=snapshot.registry_text,
        )
    )


class RegistryEntryEdit:
    """The change of an entry. Its other keys stay, even if another run writes them in the meantime, such as the time of a backup.

    :param entry: as the registry has it.
    :param desired: the instance of its project.
    :param image: of a new entry.
    :param last_sync: of a new entry, if an earlier project had the repository.
    """

    def __init__(self, entry: Project | None, desired: DesiredInstance, image: str, last_sync: str = "") -> None:
        requested, repo = desired.requested, desired.repository.relative_path
        self.name = desired.name
        previous = entry or Project(self.name, repo, image=image, created=iso_time(), last_sync=last_sync)
        self.entry = replace(
            previous,
            repo=repo,
            image=requested.image or previous.image,
            profiles=requested.profiles if requested.profiles is not None else previous.profiles,
            backup=requested.backup if requested.backup is not None else previous.backup,
        )
        self.is_needed = self.entry != entry
        self.changes: Data = {} if entry and entry.repo == repo else {"repo": repo}
        self.changes |= {"image": requested.image} if requested.image else {}
        self.changes |= {"profiles": list(requested.profiles)} if requested.profiles is not None else {}
        self.changes |= {"backup": requested.backup} if requested.backup is not None else {}
        self.previous: Data | None = None
        """The entry before the last :meth:`apply`; empty if it did not exist."""

    def preview(self, text: str, path: str) -> str:
        """Return the text of the registry after the change.

        :param text: of the registry.
        :param path: of the registry, for errors.
        """
        after = edit_text(text, path, self.apply)
        self.previous = None  # nothing has been written yet, so there is nothing to revert
        return after

    def apply(self, data: Data) -> None:
        """Change the entry in the data of a registry, or add it."""
        table = find_project(data, self.name)
        self.previous = dict(table or {})
        if table is None:
            put_project(data, self.entry)
        else:
            table.update(self.changes)

    def revert(self, data: Data) -> None:
        """Revert the last :meth:`apply`; later changes by other programs stay."""
        table = find_project(data, self.name)
        if table is None or self.previous is None:
            return
        if not self.previous:
            remove_project(data, self.name)
            return
        for key in (key for key, value in self.changes.items() if table.get(key) == value):
            if key in self.previous:
                table[key] = self.previous[key]
            else:
                del table[key]
