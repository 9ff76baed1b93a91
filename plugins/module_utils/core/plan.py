# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan, then apply: the one path every change takes.

A plan is an ordered list of steps, made from one read of the world. Check mode shows the plan,
``--diff`` shows its before and after, the real run applies it: there is no second code path.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import TypeVar

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import InterruptedRunError, RepomanError, StaleError

Result = TypeVar("Result")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What asks a run to stop: somebody at the terminal, the system, a terminal or a connection that is gone."""


@dataclass(frozen=True)
class Step:
    """One change.

    :param description: what the step does, in the imperative, for the wizard and progress lines.
    :param apply: does it. May raise :class:`RepomanError`.
    :param undo: takes back what ``apply`` did, also when ``apply`` stopped half way; called only if it was begun.
    :param target: what is changed; the header of its diff.
    :param before: the text of the target before the step; empty where it does not exist.
    :param after: the text of the target after the step; empty where it is removed.
    :param doing: what is told while it is under way; empty where it takes no time.
    """

    description: str
    apply: Callable[[], None]
    undo: Callable[[], None] | None = None
    target: str = ""
    before: str = ""
    after: str = ""
    doing: str = ""


@dataclass
class Plan:
    """The steps that lead from what is to what should be.

    :param steps: in the order they are applied.
    :param heard: whether a signal asked to stop while a failure was being undone.
    """

    steps: list[Step] = field(default_factory=list)
    heard: bool = False

    def add(self, step: Step) -> None:
        """Append a step."""
        self.steps.append(step)

    @property
    def changed(self) -> bool:
        """Whether anything is to do."""
        return bool(self.steps)

    @property
    def descriptions(self) -> list[str]:
        """The steps as sentences."""
        return [step.description for step in self.steps]

    @property
    def diff(self) -> list[dict[str, str]]:
        """The plan as Ansible's ``diff``: one entry for each step that has a text."""
        return [
            {"before_header": step.target, "after_header": step.target, "before": step.before, "after": step.after}
            for step in self.steps
            if step.before != step.after
        ]

    def apply(self, on_step: Callable[[Step], None] | None = None) -> None:
        """Apply the steps; on any failure, also a signal, undo what was begun, newest first, and raise.

        :param on_step: told of each step before it begins.
        :raises RepomanError: what the failing step raised; a failed undo adds a hint to it.
        """
        begun: list[Step] = []
        with interruptible() as quiet:
            try:
                for step in self.steps:
                    if on_step:
                        on_step(step)
                    begun.append(step)
                    step.apply()
            except BaseException as error:
                quiet.on = True
                undo(begun, error)
                self.heard = quiet.heard
                raise


def undo(begun: list[Step], error: BaseException) -> None:
    """Undo ``begun`` steps, newest first; what cannot be undone becomes a hint of ``error``."""
    for step in reversed(begun):
        if step.undo is None:
            continue
        try:
            step.undo()
        except Exception as problem:  # whatever it is, the other steps are undone all the same
            if isinstance(error, RepomanError):
                error.hints.append(f"could not undo '{step.description}': {problem}")


@dataclass
class Quiet:
    """Whether signals are to be ignored.

    :param on: a plain attribute: nothing can come between a failure and its setting, as it could with a call.
    :param heard: whether one came while they were.
    """

    on: bool = False
    heard: bool = False


@contextmanager
def interruptible() -> Iterator[Quiet]:
    """Turn :data:`SIGNALS` into :class:`InterruptedRunError` for the time of the block; one that is ignored stays so (``nohup``).

    Yields what makes them wait, for the undoing. Outside the main thread, where Python takes no signals, it changes nothing.

    :raises InterruptedRunError: in the block, when the signal arrives.
    """
    quiet = Quiet()

    def handler(number: int, frame: FrameType | None) -> None:
        if quiet.on:
            quiet.heard = True
        else:
            quiet.on = True  # a second signal must not hit before the undoing has begun
            raise InterruptedRunError(f"interrupted by {signal.Signals(number).name}; what this run had made was undone")

    if threading.current_thread() is not threading.main_thread():
        yield quiet
        return
    previous = {number: signal.signal(number, handler) for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield quiet
    finally:
        for number, action in previous.items():
            signal.signal(number, action)


def carry_out(make: Callable[[], tuple[Plan, Result]], check: bool, on_step: Callable[[Step], None] | None = None) -> tuple[Plan, Result]:
    """Make a plan and, unless ``check``, apply it; plan once more if the world changed in between.

    :param make: reads the world once and returns the plan with what the caller wants to report of it.
    :param check: only plan.
    :param on_step: told of each step before it begins.
    :returns: the plan that was applied (or would be) and the report that came with it.
    :raises RepomanError: from planning or applying; :class:`StaleError` if the world changed twice.
    """
    plan, report = make()
    if check:
        return plan, report
    try:
        plan.apply(on_step)
    except StaleError:
        if plan.heard:
            raise
        plan, report = make()
        plan.apply(on_step)
    return plan, report
