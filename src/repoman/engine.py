# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running ansible in this process. Importing this module imports ansible; no other module of the command does."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from ansible.cli import CLI  # isort: skip - ansible wants this module first
from ansible import constants, context
from ansible.cli.playbook import PlaybookCLI
from ansible.errors import AnsibleError
from ansible.executor import playbook_executor, task_queue_manager
from ansible.executor.playbook_executor import PlaybookExecutor
from ansible.executor.process.worker import WorkerProcess
from ansible.plugins import callback, strategy
from ansible.plugins.loader import become_loader, callback_loader, connection_loader, init_plugin_loader, shell_loader
from ansible.utils.path import cleanup_tmp_file

from repoman import loading, temporary
from repoman.errors import OPEN_SHARED_MEMORY, SHARED_MEMORY, STARTED_LINE, CliError, start_line

ROLLBACK_TIMEOUT = 60.0
WAIT_INTERVAL = 2.0
SIGNAL_DEBOUNCE_SECONDS = 0.5
"""Signals in quicker succession count as one: a terminal's Ctrl-C and a parent that forwards it may both reach this process."""
TRACEBACK_VERBOSITY = 3
NO_THREAD = "can't start new thread"
"""The message of Python's ``RuntimeError`` for a system without processes."""


class Engine(PlaybookCLI):  # type: ignore[misc]
    """``ansible-playbook`` with this copy of the collection first, which waits for rollback when it is interrupted.

    :param arguments: command line of ``ansible-playbook``.
    :param collections: directory whose collections have precedence.
    :param local_only: run on this host only, without reading an inventory.
    """

    def __init__(self, arguments: list[str], collections: str, local_only: bool) -> None:
        super().__init__(arguments)
        self.collections = collections
        self.local_only = local_only

    def post_process_args(self, options: Any) -> Any:
        """Return the parsed options."""
        options = super().post_process_args(options)
        if self.local_only:
            options.inventory = []
        return options

    def run(self) -> int:
        """Run the playbook; return ansible's exit code."""
        self.parse()
        loading.install(self.collections)
        init_plugin_loader([self.collections])
        sys.meta_path.insert(0, loading.OwnFinder(self.collections))
        if getattr(constants, "SSH_AGENT", None) == "none":
            self.USES_CONNECTION = False  # all that ansible does with it is to start the agent; its module takes long to load
        loader, inventory, variable_manager = self._play_prereqs()
        CLI.get_host_list(inventory, context.CLIARGS["subset"])
        connection_password, become_password = CLI.ask_passwords()
        executor = PlaybookExecutor(
            playbooks=context.CLIARGS["args"],
            inventory=inventory,
            variable_manager=variable_manager,
            loader=loader,
            passwords={"conn_pass": connection_password, "become_pass": become_password},
        )
        strategy.WorkerProcess = Worker
        if self.local_only:
            playbook_executor.connection_loader = Plugins(connection_loader, "local")
            playbook_executor.shell_loader = Plugins(shell_loader, "sh")
            playbook_executor.become_loader = Plugins(become_loader)
        task_queue_manager.callback_loader = Callbacks(callback_loader)
        with InterruptHandler(self.local_only):
            return int(executor.run())


class Plugins:
    """Stands for a loader of plugins, all of which ansible loads before it runs a playbook: a fifth of a verb's time.

    :param loader: the loader, which does everything else.
    :param names: the plugins that the run needs.
    """

    def __init__(self, loader: Any, *names: str) -> None:
        self.loader = loader
        self.names = names

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __contains__(self, name: str) -> bool:
        return name in self.loader

    def all(self, **how: Any) -> list[Any]:
        """Return the plugins that the run needs."""
        return [self.loader.get(name, **how) for name in self.names]


class Callbacks(Plugins):
    """Stands for the loader of callback plugins. Those of ansible itself do nothing unless a setting enables them."""

    def all(self, **how: Any) -> list[Any]:
        """Return no plugins if none is enabled, and none is installed but those of ansible itself."""
        own_directory = os.path.dirname(callback.__file__)
        if constants.CALLBACKS_ENABLED or any(os.path.dirname(path) != own_directory for path in self.loader.all(path_only=True)):
            return list(self.loader.all(**how))
        return super().all(**how)


class Worker(WorkerProcess):  # type: ignore[misc]
    """A worker that reports why it could not be started; ansible silently skips the task after an ``OSError``.

    :raises CliError: no process, file descriptor or memory was available.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with _os_errors_as_cli_errors():
            super().__init__(*args, **kwargs)

    def start(self) -> None:
        """Start the process."""
        with _os_errors_as_cli_errors():
            super().start()


@contextmanager
def _os_errors_as_cli_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _no_process(error.strerror or str(error)) from error


def _no_process(reason: str) -> CliError:
    return CliError(
        f"ansible could not start a process for its next task: {reason}.",
        "ulimit -a   # shows the limits of this session; try again when the machine is less busy",
    )


class InterruptHandler:
    """Turns SIGINT and SIGTERM into a ``KeyboardInterrupt`` that is raised only after all workers have ended.

    A worker may be rolling back. Workers are forked and inherit the write end of a pipe, so end of file on the read end means that
    the last one has ended. A second signal stops the wait. Enter this context after ansible has set its signal handlers, because
    they are called first.

    :param local_only: the run is on this host only. Otherwise the programs that workers run, such as ssh, are terminated, which is
        how other hosts learn of the interrupt.
    """

    def __init__(self, local_only: bool) -> None:
        self.local_only = local_only
        self.count = 0
        self.last = 0.0
        self.all_ended_fd, self.alive_fd = os.pipe()
        self.previous_handler: Any = None

    def __enter__(self) -> None:
        self.previous_handler = signal.getsignal(signal.SIGINT)
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self._interrupt)

    def __exit__(self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self.alive_fd)
        try:
            if self.count:
                start_line()
                self._wait()
                raise KeyboardInterrupt(STARTED_LINE) from error
        finally:
            os.close(self.all_ended_fd)

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        now, last = time.monotonic(), self.last
        self.last = now
        if now - last < SIGNAL_DEBOUNCE_SECONDS:
            return
        self.count += 1
        if self.count == 1 and not self.local_only:
            _terminate_children()
        try:
            if self.count == 1 and callable(self.previous_handler):
                self.previous_handler(signal.SIGINT, frame)
        finally:
            signal.signal(signal.SIGINT, self._interrupt)
        raise KeyboardInterrupt

    def _wait(self) -> None:
        deadline = time.monotonic() + ROLLBACK_TIMEOUT
        has_printed = False
        while self.count == 1 and time.monotonic() < deadline:
            if select.select([self.all_ended_fd], [], [], WAIT_INTERVAL)[0]:
                return
            if not has_printed:
                print("waiting for the rollback of the current step; interrupt again to stop waiting", file=sys.stderr)  # noqa: T201
                has_printed = True
            for worker in multiprocessing.active_children():
                worker.terminate()


def _terminate_children() -> None:
    """Terminate the programs that workers run."""
    for worker in multiprocessing.active_children():
        for children in Path(f"/proc/{worker.pid}/task").glob("*/children"):
            with suppress(OSError):
                for child in children.read_text().split():
                    os.kill(int(child), signal.SIGTERM)


def run(arguments: list[str], collections: str, local_only: bool) -> int:
    """Run ``ansible-playbook`` with these arguments; return its exit code.

    :param collections: directory whose collections have precedence.
    :param local_only: run on this host only, without reading an inventory.
    :raises CliError: ansible failed before it ran a task; the message is ansible's.
    :raises KeyboardInterrupt: the run was interrupted.
    """
    engine = Engine(arguments, collections, local_only)
    with _restored_signal_handlers():
        try:
            return engine.run()
        except CliError:
            raise
        except AnsibleError as error:
            raise _failure(str(error), error) from error
        except SystemExit as error:
            raise CliError(f"ansible refused to start: {error.code}.") from error
        except Exception as error:
            if str(error) == NO_THREAD:
                raise _no_process(str(error)) from error
            raise _failure(f"{type(error).__name__}: {error}", error) from error


def claim_temporary_directory() -> None:
    """Mark ansible's temporary directory as one that is in use, and remove those of runs that were killed."""
    temporary.claim(constants.DEFAULT_LOCAL_TMP)


def cleanup() -> None:
    """Remove ansible's temporary directory now, for a process that is about to exec another program."""
    cleanup_tmp_file(constants.DEFAULT_LOCAL_TMP)


def _failure(text: str, error: Exception) -> CliError:
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    verbosity = context.CLIARGS.get("verbosity") or 0
    if verbosity >= TRACEBACK_VERBOSITY:
        traceback.print_exception(error)
    if SHARED_MEMORY in text:
        return CliError(lines[0], OPEN_SHARED_MEMORY)
    if verbosity:
        return CliError(" ".join(lines))
    return CliError(lines[0], "run it again with -v to see more")


@contextmanager
def _restored_signal_handlers() -> Iterator[None]:
    """Restore the signal handlers that ansible replaces."""
    previous = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
