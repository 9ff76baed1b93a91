# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run commands as an account, with exactly the given environment, and limits of time and output."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.process.command import Command
from ansible_collections.homelab.repoman.plugins.module_utils.process.identity import Identity
from ansible_collections.homelab.repoman.plugins.module_utils.process.termination import commands_end_too

PATH = "/usr/local/bin:/usr/bin:/bin"
SECONDS = 5.0
"""Default timeout of a command."""
GRACE_SECONDS = 1.0
"""How long a killed command may take to end."""
OUTPUT_BYTES = 64 << 20
FATAL = ("fatal: ", "abort: ")
"""Prefixes of the messages with which git and hg end."""
REASON_LENGTH = 300


class CommandError(RepomanError):
    """A command cannot be run, takes too long or prints too much; the message is the reason, without a full stop."""


@dataclass(frozen=True)
class CompletedCommand:
    """The exit status and output of a command."""

    code: int
    out: bytes
    err: bytes

    def error_summary(self) -> str:
        """Return the fatal error in its standard error, or the last line."""
        lines = [line.strip() for line in self.err.decode(errors="replace").splitlines() if line.strip()]
        if not lines:
            return f"exit status {self.code}"
        fatal = next((number for number, line in enumerate(lines) if line.startswith(FATAL)), len(lines) - 1)
        message = " ".join(lines[fatal:])
        return next((message.removeprefix(word) for word in FATAL if message.startswith(word)), message)[:REASON_LENGTH]


@dataclass(frozen=True)
class CommandRunner:
    """Runs commands as an account, each in its own process group, which is killed when the command has ended.

    :param account: used if this process is root; otherwise commands run as the user of this process.
    :param timeout: seconds that a command may take.
    :param waiting: entered while a command is waited for.
    """

    account: Identity
    timeout: float = SECONDS
    waiting: Callable[[], AbstractContextManager[object]] = field(default=nullcontext, kw_only=True)

    def run(
        self, argv: list[str], environment: Mapping[str, str], cwd: str, stdin: bytes = b"", pass_fds: tuple[int, ...] = ()
    ) -> CompletedCommand:
        """Run a command with exactly this environment.

        :param stdin: its standard input; small.
        :param pass_fds: descriptors that it inherits.
        :raises CommandError: the command does not exist, took too long, or printed too much.
        """
        with commands_end_too():
            process = self._start(argv, environment, cwd, stdin, pass_fds)
            problem = ""
            with self.waiting():
                try:
                    return self._communicate(process, os.path.basename(argv[0]), stdin)
                except CommandError as error:
                    problem = error.message
                    raise
                finally:
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.end(GRACE_SECONDS, problem)

    def _start(self, argv: list[str], environment: Mapping[str, str], cwd: str, stdin: bytes, pass_fds: tuple[int, ...]) -> Command:
        """Start a command; see :meth:`run`."""
        try:
            return Command(
                argv,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environment),
                cwd=cwd,
                start_new_session=True,
                pass_fds=pass_fds,
                **self._credentials(),
            )
        except FileNotFoundError as error:
            raise CommandError(f"there is no {argv[0]} in {environment.get('PATH', '')}") from error
        except OSError as error:
            raise CommandError(f"{argv[0]} cannot be run: {error.strerror}") from error

    def grant_read(self, path: Path) -> None:
        """Let the account read, but not change, a directory that this process created as root."""
        pending = [(str(path), True)] if self._credentials() else []
        while pending:
            name, is_directory = pending.pop()
            os.chown(name, -1, self.account.gid, follow_symlinks=False)
            os.chmod(name, 0o750 if is_directory else 0o640)
            if is_directory:
                with os.scandir(name) as entries:  # os.walk would also access what links lead to
                    pending += [(entry.path, entry.is_dir()) for entry in entries if not entry.is_symlink()]

    def _credentials(self) -> dict[str, Any]:
        if os.geteuid() != 0 or self.account.uid == 0:
            return {}
        return {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}

    def _communicate(self, process: Command, name: str, stdin: bytes) -> CompletedCommand:
        deadline = time.monotonic() + self.timeout
        output: dict[int, list[bytes]] = {stream.fileno(): [] for stream in (process.stdout, process.stderr) if stream}
        size = 0
        with selectors.DefaultSelector() as waiting:
            for descriptor in output:
                waiting.register(descriptor, selectors.EVENT_READ)
            remaining_input = memoryview(stdin)
            if process.stdin and remaining_input:
                os.set_blocking(process.stdin.fileno(), False)
                waiting.register(process.stdin, selectors.EVENT_WRITE)
            while waiting.get_map():
                ready = waiting.select(max(0.0, deadline - time.monotonic()))
                if time.monotonic() > deadline:
                    raise CommandError(f"{name} did not answer within {self.timeout:g} s")
                for key, _events in ready:
                    if process.stdin and key.fileobj is process.stdin:
                        try:
                            remaining_input = remaining_input[os.write(key.fd, remaining_input) :]
                        except BrokenPipeError:
                            remaining_input = remaining_input[:0]
                        if not remaining_input:
                            waiting.unregister(process.stdin)
                            process.stdin.close()
                        continue
                    part = os.read(key.fd, 1 << 16)
                    if not part:
                        waiting.unregister(key.fileobj)
                    output[key.fd].append(part)
                    size += len(part)
                if size > OUTPUT_BYTES:
                    raise CommandError(f"{name} printed more than {OUTPUT_BYTES >> 20} MiB")
        try:
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise CommandError(f"{name} did not answer within {self.timeout:g} s") from None
        out, err = (b"".join(parts) for parts in output.values())
        return CompletedCommand(code, out, err)
