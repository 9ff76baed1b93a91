# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests to Incus that change one instance and wait until it has changed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.incus import shapes
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Response, api_path
from ansible_collections.homelab.repoman.plugins.module_utils.incus.command import RunningCommand, run_command
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import (
    PROTECTION_KEY,
    is_protected,
    is_unfinished,
)
from ansible_collections.homelab.repoman.plugins.module_utils.projects.ownership import ownership

OPERATION_TIMEOUT = 600.0
"""Seconds that an operation of Incus may take."""
BUSY = "busy running"
"""Part of the error that Incus reports for a request while it works on another one, which an interrupted run may have sent just before."""
BUSY_SECONDS, BUSY_INTERVAL = 60.0, 0.02
STOP_RECORD_SECONDS = 5.0
"""How long to wait for Incus to record that an instance has stopped. If it never does, the host probably lost power."""
LAST_STATE_KEY = "volatile.last_state.power"
"""Key that Incus sets to ``STOPPED`` when its cleanup begins; from then on, and until its end, Incus rejects changes as busy."""
START_ATTEMPTS = 3
LOST_FILE = "no such file or directory"
"""Part of the error that Incus reports if files that are needed for the start are missing."""
LOST_MOUNT = re.compile(r'No such file or directory - Failed to (?:mount|create detached mount of) "?[^\s"]*/devices/')
"""In the log of an instance: a mount that Incus had prepared for its start is gone."""
FILE_SERVER = "forkfile.sock"
"""Part of the error that Incus reports if it cannot reach the process that it starts for requests about an instance's files: while it cleans up
after such a process, it may remove the socket of a new one, also that of another instance (lxc/incus pull request 3623, canonical/lxd issue 18403)."""
FILE_ATTEMPTS, FILE_INTERVAL = 3, 16.0
"""How often to send such a request, and the seconds in between. The process exits after 15 idle seconds; before, each request fails again."""
STOP_TIMEOUT = 30
"""Seconds that an instance may take to shut down."""


class InstanceControl:
    """One instance of the Incus project.

    :param context: of the run.
    :param name: of the instance, which need not exist yet.
    """

    def __init__(self, context: RunContext, name: str) -> None:
        self.context, self.name = context, name
        self.client = context.client

    def path(self, suffix: str = "") -> str:
        """Return the API path of the instance.

        :param suffix: rest of the path, such as ``/state``.
        """
        return self.context.instance_path(self.name, suffix)

    def read(self) -> Response:
        """Read the instance; it must exist."""
        return self.client.read(self.path(), shapes.INSTANCE)

    def read_or_none(self) -> Response | None:
        """Read the instance, or return ``None`` if it does not exist."""
        return self.client.read_or_none(self.path(), shapes.INSTANCE)

    def replace(self, body: dict[str, Any], etag: str) -> None:
        """Replace the configuration.

        :param etag: ETag of the response that ``body`` was made from.
        :raises ConcurrentChangeError: it has changed since then.
        """
        self.client.wait_for_operation(self.client.put(self.path(), body, etag), OPERATION_TIMEOUT)

    def set_config(self, config: dict[str, str]) -> None:
        """Set some keys of the configuration."""
        self.client.wait_for_operation(self.client.patch(self.path(), {"config": config}), OPERATION_TIMEOUT)

    def set_power(self, action: str, **options: Any) -> None:
        """Change the power state.

        :param action: ``start``, ``stop``, ``freeze`` or ``unfreeze``.
        :param options: further fields of the request, such as ``force``.
        """
        operation = self.client.put(self.path("/state"), {"action": action, "timeout": STOP_TIMEOUT} | options)
        self.client.wait_for_operation(operation, OPERATION_TIMEOUT)

    def start(self) -> None:
        """Start the instance; again if Incus was still cleaning up after a stop or a removal, and had removed what the start needs."""
        for remaining in reversed(range(START_ATTEMPTS)):
            try:
                self._while_busy(lambda: self.set_power("start"))
                return
            except incus.IncusError as error:
                if not remaining or not (LOST_FILE in error.reason.lower() or self._lost_mounts()):
                    raise
                self.wait_for_operations()

    def _while_busy(self, change: Callable[[], None]) -> None:
        """Make a change, as soon as Incus is not busy with another one, which may be a cleanup that it does not list.

        :raises IncusError: Incus rejects it, or was busy for :data:`BUSY_SECONDS`.
        """
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                change()
                return
            except incus.IncusError as error:
                if BUSY not in error.reason or time.monotonic() > deadline:
                    raise
            time.sleep(BUSY_INTERVAL)

    def _lost_mounts(self) -> bool:
        try:
            return bool(LOST_MOUNT.search(self.client.get_text(self.path("/logs/lxc.log"))))
        except RepomanError:
            return False

    def request_stop(self) -> None:
        """Request a stop of the instance, without waiting for it."""
        self.client.put(self.path("/state"), {"action": "stop", "timeout": STOP_TIMEOUT})

    def stop(self, is_requested: bool = False) -> None:
        """Stop the instance gracefully, or by force if that takes longer than :data:`STOP_TIMEOUT`.

        :param is_requested: a stop was requested earlier; wait for it.
        """
        if is_requested:
            self.wait_for_operations()
        else:
            with suppress(incus.IncusError):
                self.set_power("stop")
                return
        if not self._has_stopped():
            self.force_stop()

    def force_stop(self) -> None:
        """Stop the instance at once. It is not an error if it has stopped in the meantime, for example for an interrupted run."""
        try:
            self._while_busy(lambda: self.set_power("stop", force=True))
        except incus.IncusError:
            self.wait_for_operations()
            if not self._has_stopped():
                raise

    def _has_stopped(self) -> bool:
        """Return whether the instance has stopped, if no request to stop it has succeeded.

        Incus may not have begun to clean up yet; wait until it has, because the cleanup would remove files of a new start.
        """
        deadline = time.monotonic() + STOP_RECORD_SECONDS
        while True:
            instance = self.read().data
            if instance["status"] != "Stopped":
                return False
            if instance["config"].get(LAST_STATE_KEY) != "RUNNING" or time.monotonic() > deadline:
                return True
            time.sleep(BUSY_INTERVAL)

    def restart(self) -> None:
        """Start an instance that was stopped for a change that did not happen."""
        self.wait_for_operations()
        if self.read_or_none() is not None and self._has_stopped():
            self.start()

    def delete(self, stop_requested: bool = False) -> None:
        """Delete the instance, if it exists.

        :param stop_requested: an earlier request to stop it had the time to succeed, so stop it by force, like an unfinished one.
        :raises ConflictError: it is not the user's own.
        :raises RepomanError: Incus rejects the deletion.
        """
        try:
            self._while_busy(lambda: self._delete(stop_requested))
        except incus.IncusError as error:
            raise RepomanError(
                f"cannot delete the container {self.name!r}: incus reports: {error.reason}.",
                self.context.instance_command("config show", self.name),
            ) from error

    def _delete(self, stop_requested: bool) -> None:
        """Delete the instance, if it exists; see :meth:`delete`.

        :raises IncusError: Incus rejects a request.
        """
        self.wait_for_operations()
        response = self.read_or_none()
        if response is None:
            return
        ownership(self.context, response.data).check_own()
        unfinished = is_unfinished(response.data)
        if response.data["status"] != "Stopped":
            if stop_requested or unfinished:
                self.force_stop()
            else:
                self.stop()
        if is_protected(response.data) and unfinished:
            self.set_config({PROTECTION_KEY: "false"})
        try:
            self.client.wait_for_operation(self.client.delete(self.path()), OPERATION_TIMEOUT)
        except RepomanError as error:
            if self._is_gone():
                return
            if not isinstance(error, incus.IncusError):  # without a response, nobody knows
                error.hints.append("run the command again; incus may have deleted the container")
            raise

    def _is_gone(self) -> bool:
        """Return whether Incus has deleted the instance although its response was lost."""
        with suppress(RepomanError):
            self.wait_for_operations()
            return self.read_or_none() is None
        return False

    def wait_for_operations(self, cancel: bool = False) -> None:
        """Wait for pending operations on the instance, such as those of an interrupted run, whether they succeed or not.

        :param cancel: cancel those that can be cancelled, such as the download of an image.
        """
        target = api_path("/1.0/operations", recursion=1, project=self.context.incus_project)
        groups = self.client.read(target, shapes.OPERATIONS).data or {}
        for operation in (operation for group in groups.values() for operation in group or ()):
            paths = (operation.get("resources") or {}).get("instances") or []
            if any(urlsplit(path).path.endswith(f"/instances/{self.name}") for path in paths):
                with suppress(incus.IncusError):
                    if cancel and operation.get("may_cancel"):
                        self.client.delete(api_path("/1.0/operations/{}", str(operation["id"])))
                    self.client.wait_for_operation(incus.Response(operation, "", is_operation=True), OPERATION_TIMEOUT)

    def exec(self, command: list[str], timeout: float) -> tuple[int, str]:
        """Run a command in the instance; return its exit status and the beginning of its standard error."""
        return run_command(self.client, self.name, self.context.incus_project, command, timeout)

    def start_command(self, command: list[str], timeout: float) -> RunningCommand:
        """Start a command in the instance; see :class:`RunningCommand`."""
        return RunningCommand(self.client, self.name, self.context.incus_project, command, timeout)

    def create_directory(self, path: str, uid: int, gid: int) -> None:
        """Create a directory in the instance, which may be stopped; an existing one does not change."""
        headers = {"X-Incus-type": "directory", "X-Incus-uid": str(uid), "X-Incus-gid": str(gid), "X-Incus-mode": "0755"}
        target = api_path("/1.0/instances/{}/files", self.name, path=path, project=self.context.incus_project)
        for remaining in reversed(range(FILE_ATTEMPTS)):
            try:
                self.client.upload(target, b"", headers)
                return
            except incus.IncusError as error:
                if not remaining or FILE_SERVER not in error.reason:
                    raise
            time.sleep(FILE_INTERVAL)
