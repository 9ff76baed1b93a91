# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Creates an instance: from its image to the check that the user can work in it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core import progress
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConcurrentChangeError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Step
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import api_path
from ansible_collections.homelab.repoman.plugins.module_utils.incus.images import image_source, with_image_secret
from ansible_collections.homelab.repoman.plugins.module_utils.projects.account import cloud_init_config, create_home
from ansible_collections.homelab.repoman.plugins.module_utils.projects.control import OPERATION_TIMEOUT
from ansible_collections.homelab.repoman.plugins.module_utils.projects.desired import DesiredInstance
from ansible_collections.homelab.repoman.plugins.module_utils.projects.failures import creation_error, start_error
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import (
    CREATING,
    IMAGE_KEY,
    RUN_KEY,
    STATE_KEY,
    expanded_devices,
    is_unfinished,
    mount_targets,
)
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance_setup import InstanceSetup
from ansible_collections.homelab.repoman.plugins.module_utils.projects.mount_index import MountIndex
from ansible_collections.homelab.repoman.plugins.module_utils.projects.overlap import overlap_error
from ansible_collections.homelab.repoman.plugins.module_utils.projects.probes import remove_leftover_probes
from ansible_collections.homelab.repoman.plugins.module_utils.projects.reconcile import diff_text
from ansible_collections.homelab.repoman.plugins.module_utils.projects.task import ProjectTask


class InstanceCreation:
    """The steps that create an instance. It stays marked as unfinished until a later step marks it as ready.

    :param task: its project.
    :param desired: its desired state.
    :raises RepomanError: the repository cannot be protected, or the image does not exist.
    """

    def __init__(self, task: ProjectTask, desired: DesiredInstance) -> None:
        self.task, self.desired, self.control = task, desired, task.control
        self.name, self.image = desired.name, desired.settings.image
        self.target = task.request.target
        self.run_id = secrets.token_hex(8)
        self.directory = task.pin(desired.repository)
        self.setup = InstanceSetup(self.control, desired.repository, self.directory)
        account = task.context.account
        config, devices = desired.config_and_devices()
        self.mount_targets = mount_targets(desired.with_profile_devices(devices).values())
        self.document: dict[str, Any] = {
            "name": self.name,
            "type": "container",
            "source": image_source(self.image, account, task.snapshot.read_images),
            "profiles": list(desired.settings.profiles),
            "config": cloud_init_config(account, desired.config_keys())
            | config
            | {STATE_KEY: CREATING, RUN_KEY: self.run_id, IMAGE_KEY: self.image},
            "devices": devices,
        }

    def add_steps(self) -> None:
        """Add the steps to the task's plan."""
        plan, name, account = self.task.plan, self.name, self.task.context.account
        plan.add(
            Step(
                f"create container {name} from {self.image}",
                self._create,
                undo=self._undo,
                target=f"container {name}",
                after=diff_text(self.document | {"image": self.image}, ("profiles", "config", "devices", "image")),
                progress=f"creating {name} from {self.image}…",
            )
        )
        plan.add(Step(f"prepare the home {account.home}", lambda: create_home(self.control, self.mount_targets)))
        plan.add(Step(f"start {name}", self._start, progress=f"starting {name}…"))
        plan.add(Step(f"create the account {account.name}", self._ensure_account, progress=f"creating the account in {name}…"))
        plan.add(Step(f"verify that {account.name} can write to {self.desired.repository.container_path}", self._verify))

    def _create(self) -> None:
        context = self.task.context
        source = with_image_secret(self.image, context.account, self.document["source"])
        self.directory.open()
        member = self.target or context.cluster_member  # a cluster would choose any member, but the repository is on this one
        member_query = {"target": member} if member else {}
        try:
            operation = context.client.post(
                api_path("/1.0/instances", project=context.incus_project, **member_query), self.document | {"source": source}
            )
            context.client.wait_for_operation(
                operation, OPERATION_TIMEOUT, _progress_reporter(f"creating {self.name}") if progress.is_live() else None
            )
        except incus.IncusError as error:
            raise creation_error(context, error, self.name, self.image, self.target) from error

    def _undo(self) -> None:
        self.setup.close()
        self.directory.close()
        self.control.wait_for_operations(cancel=True)
        response = self.control.read_or_none()
        if response is not None and response.data["config"].get(RUN_KEY) == self.run_id:
            if not is_unfinished(response.data):
                with suppress(RepomanError):  # only so that the next run finishes the deletion if this one cannot
                    self.control.set_config({STATE_KEY: CREATING})
            self.control.delete()

    def _start(self) -> None:
        """Start it, unless another run has created a container in the meantime that overlaps it."""
        instances, others = self.task.context.read_all_instances()
        everything = {**others, **instances}
        index = MountIndex({name: expanded_devices(instance) for name, instance in everything.items()})
        for overlap in index.overlaps(self.name):
            raise overlap_error(overlap, self.name, self.task.context, everything)
        try:
            self.control.start()
        except incus.IncusError as error:
            raise start_error(self.task.context, error, self.name, self.desired.repository) from error

    def _ensure_account(self) -> None:
        self.task.warnings.extend(self.setup.ensure_account(self.desired.settings.sudo, is_new=True))

    def _verify(self) -> None:
        self.setup.verify()
        self.directory.close()


def removal_of_unfinished(task: ProjectTask, repository_paths: set[str]) -> Step:
    """Return the step that deletes the leftovers of a killed run: the container, and its probes in the repository.

    :param repository_paths: directories on the host that may contain its probes.
    """
    control, account = task.control, task.context.account

    def remove() -> None:
        control.wait_for_operations()
        response = control.read_or_none()
        if response is not None and not is_unfinished(response.data):
            raise ConcurrentChangeError(f"the container {task.name!r} was finished by another run.", "run the command again")
        control.delete()
        for path in repository_paths:
            remove_leftover_probes(path, account, 0)

    return Step(
        f"remove the unfinished container {task.name}",
        remove,
        target=f"container {task.name}",
        progress=f"removing the unfinished container {task.name}…",
    )


def _progress_reporter(label: str) -> Callable[[dict[str, Any]], None]:
    """Return a function that shows the progress of an operation, as Incus reports it."""

    def show(metadata: dict[str, Any]) -> None:
        for key, value in metadata.items():
            if key.endswith("_progress") and isinstance(value, str):
                progress.update(f"{label}: {value}")

    return show
