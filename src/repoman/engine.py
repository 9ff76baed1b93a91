# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible in this process, for one run. Importing this module imports ansible; nothing else of the command does."""

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
from ansible.executor.playbook_executor import PlaybookExecutor
from ansible.executor.process.worker import WorkerProcess
from ansible.plugins import strategy
from ansible.plugins.loader import init_plugin_loader
from ansible.utils.path import cleanup_tmp_file

from repoman.errors import OPEN_SHARED_MEMORY, SHARED_MEMORY, Failure

UNDO_SECONDS = 60.0
PATIENCE_SECONDS = 2.0
ECHO_SECONDS = 0.5
"""Signals that follow each other faster are one: a process group and its leader may both be told."""
TRACEBACK_VERBOSITY = 3


class Engine(PlaybookCLI):  # type: ignore[misc]
    """``ansible-playbook`` that sees this copy of the collection first, and waits for an interrupted step to be undone.

    :param arguments: as for ``ansible-playbook``.
    :param collections: directory whose collections come before all others.
    :param here: this host only; no inventory is read.
    """

    def __init__(self, arguments: list[str], collections: str, here: bool) -> None:
        super().__init__(arguments)
        self.collections = collections
        self.here = here

    def post_process_args(self, options: Any) -> Any:
        """Return the parsed options as ansible wants them."""
        options = super().post_process_args(options)
        if self.here:
            options.inventory = []
        return options

    def run(self) -> int:
        """Run the playbook; return ansible's own exit code."""
        self.parse()
        init_plugin_loader([self.collections])
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
        with Interrupts(self.here):
            return int(executor.run())


class Worker(WorkerProcess):  # type: ignore[misc]
    """Ansible's worker, which says why it could not be started: ansible takes an ``OSError`` for an abort, and leaves the task out.

    :raises Failure: the system gave no process, descriptor or memory.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with _needing_a_process():
            super().__init__(*args, **kwargs)

    def start(self) -> None:
        """Start it."""
        with _needing_a_process():
            super().start()


@contextmanager
def _needing_a_process() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        sentence = f"ansible could not start a process for its next task: {error.strerror or error}."
        raise Failure(sentence, "ulimit -a   shows the limits of this session; try again when the machine does less") from error


class Interrupts:
    """Makes SIGINT and SIGTERM a ``KeyboardInterrupt`` that comes only once the workers have ended.

    Ansible's workers are forked and inherit the writing end of a pipe: its end of file says that the last of them,
    which may be undoing what it had begun, is gone. A second signal ends the waiting. To be entered after ansible
    has set its own handlers, which are called first.

    :param here: this host only; otherwise what the workers run, such as ssh, is ended, or other hosts would never hear of it.
    """

    def __init__(self, here: bool) -> None:
        self.here = here
        self.count = 0
        self.last = 0.0
        self.ended, self.alive = os.pipe()
        self.ansibles: Any = None

    def __enter__(self) -> None:
        self.ansibles = signal.getsignal(signal.SIGINT)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._interrupt)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self.alive)
        try:
            if self.count:
                self._wait()
                raise KeyboardInterrupt from error
        finally:
            os.close(self.ended)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        now, last = time.monotonic(), self.last
        self.last = now
        if now - last < ECHO_SECONDS:
            return
        self.count += 1
        if self.count == 1 and not self.here:
            _hang_up()
        try:
            if self.count == 1 and callable(self.ansibles):
                self.ansibles(signal.SIGINT, frame)
        finally:
            signal.signal(signal.SIGINT, self._interrupt)
        raise KeyboardInterrupt

    def _wait(self) -> None:
        deadline = time.monotonic() + UNDO_SECONDS
        told = False
        while self.count == 1 and time.monotonic() < deadline:
            if select.select([self.ended], [], [], PATIENCE_SECONDS)[0]:
                return
            if not told:
                print("waiting for the step that was begun to be undone; interrupt again to stop waiting", file=sys.stderr)  # noqa: T201
                told = True
            for worker in multiprocessing.active_children():
                worker.terminate()


def _hang_up() -> None:
    """End the programs that the workers run."""
    for worker in multiprocessing.active_children():
        for children in Path(f"/proc/{worker.pid}/task").glob("*/children"):
            with suppress(OSError):
                for child in children.read_text().split():
                    os.kill(int(child), signal.SIGTERM)


def run(arguments: list[str], collections: str, here: bool) -> int:
    """Run ``ansible-playbook`` with these arguments; return its own exit code.

    :param collections: directory whose collections come before all others.
    :param here: this host only; no inventory is read.
    :raises Failure: ansible gave up, with its sentence.
    :raises KeyboardInterrupt: the run was interrupted.
    """
    engine = Engine(arguments, collections, here)
    with _own_signals():
        try:
            return engine.run()
        except Failure:
            raise
        except AnsibleError as error:
            raise _failure(str(error), error) from error
        except SystemExit as error:
            raise Failure(f"ansible refused to start: {error.code}.") from error
        except Exception as error:
            raise _failure(f"{type(error).__name__}: {error}", error) from error


def forget() -> None:
    """Remove ansible's temporary directory now: for a process that is about to become another program."""
    cleanup_tmp_file(constants.DEFAULT_LOCAL_TMP)


def _failure(text: str, error: Exception) -> Failure:
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    verbosity = context.CLIARGS.get("verbosity") or 0
    if verbosity >= TRACEBACK_VERBOSITY:
        traceback.print_exception(error)
    if SHARED_MEMORY in text:
        return Failure(lines[0], OPEN_SHARED_MEMORY)
    if verbosity:
        return Failure(" ".join(lines))
    return Failure(lines[0], "run it again with -v to see more")


@contextmanager
def _own_signals() -> Iterator[None]:
    """Give back the handlers that ansible replaces."""
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, action in previous.items():
            signal.signal(number, action)
