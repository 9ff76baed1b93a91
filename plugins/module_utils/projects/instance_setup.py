# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes a started instance usable with one command in it: wait until it has booted, create the account, write to the repository."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError, RunInterruptedError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import filesystem_of
from ansible_collections.homelab.repoman.plugins.module_utils.host.idmap import id_mapping_hints
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.incus.command import RunningCommand, another_image_hints
from ansible_collections.homelab.repoman.plugins.module_utils.incus.command_line import client_command
from ansible_collections.homelab.repoman.plugins.module_utils.projects.account_scripts import (
    ACCOUNT_MARK,
    ARGUMENTS_SCRIPT,
    ENSURE_ACCOUNT_SCRIPT,
    READY_MARK,
    VERIFY_WRITE_SCRIPT,
    WAIT_READY_SCRIPT,
)
from ansible_collections.homelab.repoman.plugins.module_utils.projects.control import InstanceControl
from ansible_collections.homelab.repoman.plugins.module_utils.projects.pinned_directory import PinnedDirectory
from ansible_collections.homelab.repoman.plugins.module_utils.projects.probes import PROBE_LIFETIME, PROBE_TIMEOUT, remove_leftover_probes
from ansible_collections.homelab.repoman.plugins.module_utils.projects.repository import Repository

START_TIMEOUT = ACCOUNT_TIMEOUT = 60.0
BOOT_TIMEOUT = 30
CLOUD_INIT_TIMEOUT = 300
POLL_INTERVAL = 0.02
AS_ROOT = "as root"
"""End of a sentence of the script to which the command for a shell of root belongs."""


class InstanceSetup:
    """The check that the user can work in a running instance; :meth:`ensure_account` first, if it was just started.

    Starting a process in an instance takes as long as many requests, so one command does all parts. It prints a mark after each, and waits
    for the name of the probe before it writes the probe. So each part has its own time limit, its own errors and its own step in the plan.

    :param instance: the instance.
    :param repository: the repository.
    :param directory: directory of the repository, open when :meth:`verify` is called.
    """

    def __init__(self, instance: InstanceControl, repository: Repository, directory: PinnedDirectory) -> None:
        self.instance, self.repository, self.directory = instance, repository, directory
        self.account = instance.context.account
        self._command: RunningCommand | None = None

    def __enter__(self) -> InstanceSetup:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the command in the instance, if it runs."""
        if self._command is not None:
            self._command.close()
            self._command = None

    def ensure_account(self, sudo: bool, is_new: bool = False) -> list[str]:
        """Wait until the instance can run commands and has finished booting, including cloud-init; make sure that the account exists.

        :param sudo: whether it may become root.
        :param is_new: whether the instance was just made from its image: then an account of the image loses what would let it become root.
        :returns: sentences about changes to an account of the image, and about what lets one of an older instance become root.
        :raises RepomanError: the image has an account of that name or uid that cannot be taken over.
        """
        command = self._wait_until_ready(sudo, is_new)
        command.continue_with(ACCOUNT_TIMEOUT)
        text = command.read_until(ACCOUNT_MARK)
        if text is None:
            code, text = command.finish()
            if code:
                raise RepomanError(
                    f"cannot create the account {self.account.name!r} in the container:"
                    f" {text.strip() or command.stderr.strip() or f'exit status {code}'}.",
                    *another_image_hints(self.instance.name),
                )
        root_shell = self.instance.context.instance_command("exec", self.instance.name, "-- sh")
        return [f"{line}: {root_shell}" if line.endswith(AS_ROOT) else line for line in text.splitlines()]

    def verify(self) -> None:
        """Check that the account can write to the repository, and that the mounted directory is the open one.

        :raises RepomanError: it cannot write.
        :raises ConflictError: another directory was mounted instead.
        """
        directory, path = self.directory, self.repository.container_path
        before = os.stat(directory.fd_path)
        try:
            remove_leftover_probes(directory.fd_path, self.account, PROBE_LIFETIME)
            self._verify_write_access()
        except RunInterruptedError:
            raise
        except RepomanError as error:
            with suppress(RepomanError):  # the probe may have been written to another directory
                self.instance.exec(["/bin/sh", "-c", 'rm -f -- "$0"/.repoman-probe-*', path], PROBE_TIMEOUT)
            if not directory.is_unchanged():
                raise directory.replaced_error() from error
            raise
        finally:
            with suppress(OSError):  # probes change the time of the directory, which the backup compares
                os.utime(directory.fd_path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def _wait_until_ready(self, sudo: bool, is_new: bool) -> RunningCommand:
        """Start the command, as soon as that is possible, and wait until the instance has booted.

        :raises IncusError: it cannot run commands.
        """
        script = WAIT_READY_SCRIPT + ENSURE_ACCOUNT_SCRIPT + VERIFY_WRITE_SCRIPT
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                command = self._start(script, BOOT_TIMEOUT + CLOUD_INIT_TIMEOUT + START_TIMEOUT, sudo, is_new)
                if command.read_until(READY_MARK) is None:
                    command.finish()
                return command
            except incus.IncusError:
                self.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_INTERVAL)

    def _start(self, script: str, timeout: float, sudo: bool = False, is_new: bool = False) -> RunningCommand:
        account = self.account
        arguments = [account.name, str(account.uid), str(account.gid), account.group, account.home, account.shell]
        arguments += [*("yes" if flag else "no" for flag in (sudo, is_new)), self.instance.name]
        arguments += [self.repository.container_path, str(BOOT_TIMEOUT), str(CLOUD_INIT_TIMEOUT)]
        self._command = self.instance.start_command(["/bin/sh", "-c", ARGUMENTS_SCRIPT + script, "repoman", *arguments], timeout)
        return self._command

    def _verify_write_access(self) -> None:
        account, repository = self.account, self.repository
        probe = f".repoman-probe-{secrets.token_hex(8)}"
        path = os.path.join(self.directory.fd_path, probe)
        try:
            command = self._command or self._start(VERIFY_WRITE_SCRIPT, PROBE_TIMEOUT)
            command.continue_with(PROBE_TIMEOUT, probe)
            code, text = command.finish()
            if code:
                owner, file_system = os.stat(self.directory.fd_path).st_uid, filesystem_of(self.directory.fd_path)
                raise RepomanError(
                    f"{account.name!r} cannot write to {repository.container_path} from inside the container:"
                    f" {text.strip() or f'exit status {code}'}.",
                    f"the repository must be {account.name!r}'s and writable; it is owned by uid {owner}, on {file_system}",
                )
            status = os.lstat(path)
            if (status.st_uid, status.st_gid) != (account.uid, account.gid):
                look = client_command(self.instance.context.client.path, "info local:")
                raise RepomanError(
                    f"a file created in the container belongs to {status.st_uid}:{status.st_gid} on the host, not to {account.uid}:{account.gid}.",
                    *id_mapping_hints(repository.host_path, look, fstype=filesystem_of(self.directory.fd_path)),
                )
        except FileNotFoundError as error:
            raise RepomanError(
                f"a file created in {repository.container_path} in the container does not appear in {repository.host_path}.",
                "check whether another device is mounted over it",
                "on another member of a cluster, the repository must be on a file system that all members share",
            ) from error
        finally:
            self.close()
            if os.path.lexists(path):
                os.unlink(path)


def verify_mount(instance: InstanceControl, repository: Repository, directory: PinnedDirectory) -> None:
    """Check that the account can write to the repository in a running instance that has it; see :meth:`InstanceSetup.verify`."""
    with InstanceSetup(instance, repository, directory) as setup:
        setup.verify()
