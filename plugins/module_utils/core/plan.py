# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan, then apply: every change goes through here.

A plan is an ordered list of steps, made from one read of the current state. Check mode shows the plan,
``--diff`` shows its texts before and after, a real run applies it; all three use the same code.

A run that changes several things makes a :class:`PlannedItem` of each and calls :func:`plan_and_apply`.
"""

from __future__ import annotations

import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import FrameType

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConcurrentChangeError, RepomanError, RunInterruptedError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger

_logger = get_logger("plan")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that ask a run to stop: Ctrl-C, the system, a closed terminal or connection."""


@dataclass(frozen=True)
class Step:
    """One change.

    :param description: the change in the imperative, for check mode and progress lines.
    :param apply: makes the change. May raise :class:`RepomanError`.
    :param undo: reverts the change, even if ``apply`` stopped half way; only called if ``apply`` was started.
    :param target: name of the thing that changes; the header of its diff.
    :param before: text of the target before the step; empty if it does not exist yet.
    :param after: text of the target after the step; empty if the step removes it.
    :param progress: text to show while the step runs; empty if it takes no time.
    """

    description: str
    apply: Callable[[], None]
    undo: Callable[[], None] | None = field(default=None, kw_only=True)
    target: str = field(default="", kw_only=True)
    before: str = field(default="", kw_only=True)
    after: str = field(default="", kw_only=True)
    progress: str = field(default="", kw_only=True)


OnStep = Callable[[Step], None]
"""Called with each step before it starts."""


@dataclass
class Plan:
    """The steps from the current to the desired state.

    :param steps: in the order in which they are applied.
    :param interrupted: whether a signal asked to stop while a failure was rolled back.
    """

    steps: list[Step] = field(default_factory=list)
    interrupted: bool = False

    def add(self, step: Step) -> None:
        """Append a step."""
        self.steps.append(step)

    @property
    def changed(self) -> bool:
        """True if there is anything to do."""
        return bool(self.steps)

    @property
    def descriptions(self) -> list[str]:
        """The steps as sentences."""
        return [step.description for step in self.steps]

    @property
    def diff(self) -> list[dict[str, str]]:
        """The plan as Ansible's ``diff``: one entry for each step that changes a text."""
        return [
            {"before_header": step.target, "after_header": step.target, "before": step.before, "after": step.after}
            for step in self.steps
            if step.before != step.after
        ]

    def apply(self, on_step: OnStep | None = None) -> None:
        """Apply the steps. On any failure or signal, roll back the started steps, newest first, and raise.

        :raises RepomanError: raised by the failing step; a failed rollback adds a hint to it.
        """
        started: list[Step] = []
        with signals_as_exceptions() as gate:
            try:
                for step in self.steps:
                    if on_step:
                        on_step(step)
                    started.append(step)
                    _logger.debug("start: %s", step.description)
                    step.apply()
                    _logger.debug("done: %s", step.description)
            except BaseException as error:
                gate.blocked = True
                roll_back(started, error)
                _logger.debug("failed, rolled back: %s: %s", type(error).__name__, error)
                self.interrupted = gate.received
                raise


def roll_back(started: list[Step], error: BaseException) -> None:
    """Undo the ``started`` steps, newest first; a failing undo becomes a hint of ``error``."""
    for step in reversed(started):
        if step.undo is None:
            continue
        try:
            step.undo()
            _logger.debug("undone: %s", step.description)
        except Exception as problem:  # whatever it is, the other steps must be undone
            if isinstance(error, RepomanError):
                error.hints.append(f"could not undo '{step.description}': {problem}")
                error.hints += getattr(problem, "hints", ())


@dataclass
class SignalGate:
    """Holds signals back during a rollback.

    :param blocked: if true, signals are only noted. A plain attribute, because a signal could arrive during a method call.
    :param received: whether a signal arrived while they were blocked.
    """

    blocked: bool = False
    received: bool = False


@contextmanager
def signals_as_exceptions() -> Iterator[SignalGate]:
    """Turn :data:`SIGNALS` into :class:`RunInterruptedError` inside the block; an ignored signal stays ignored (``nohup``).

    Outside the main thread, where Python receives no signals, this changes nothing.

    :returns: the gate that blocks signals during a rollback.
    :raises RunInterruptedError: in the block, when the signal arrives.
    """
    gate = SignalGate()

    def handler(number: int, frame: FrameType | None) -> None:
        if gate.blocked:
            gate.received = True
        else:
            gate.blocked = True  # a second signal must not arrive before the rollback has started
            raise RunInterruptedError(f"interrupted by {signal.Signals(number).name}; unfinished changes were rolled back")

    if threading.current_thread() is not threading.main_thread():
        yield gate
        return
    previous = {number: signal.signal(number, handler) for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield gate
    finally:
        for number, action in previous.items():
            signal.signal(number, action)


class PlannedItem(ABC):
    """One of the things that a run changes. If planning or applying it fails, the run goes on with the next one.

    :ivar name: of the thing, for the trace.
    :ivar plan: of the last :meth:`make_plan`.
    :ivar error: why it could not be planned or applied.
    """

    name: str = ""

    def __init__(self) -> None:
        self.plan = Plan()
        self.error: RepomanError | None = None

    @abstractmethod
    def make_plan(self) -> Plan:
        """Return the plan, made from the state that the run has read for all items.

        :raises RepomanError: the desired state cannot be reached.
        """

    def remake_plan(self) -> Plan:
        """Return a new plan, made from a fresh read: the state has changed since :meth:`make_plan`."""
        return self.make_plan()

    def lock(self) -> AbstractContextManager[bool]:
        """Keep other runs away while the plan is applied; yield whether it had to wait, so that the plan may be outdated."""
        return nullcontext(False)

    def on_success(self) -> None:  # noqa: B027 - optional to override
        """Note that the plan was applied."""

    def on_failure(self, error: RepomanError) -> None:
        """Note why planning or applying failed."""
        self.error = error


def plan_and_apply(items: Iterable[PlannedItem], check: bool, on_step: OnStep | None = None) -> None:
    """Plan all items from the state that was read for them, then apply one after the other unless ``check``.

    An item whose state changed in the meantime is planned and applied once more.

    :raises RunInterruptedError: a signal asked to stop; finished items stay, the current one is rolled back.
    """
    items = list(items)
    plan_all(items)
    if not check:
        apply_all(items, on_step)


def plan_all(items: Iterable[PlannedItem]) -> None:
    """Plan every item; an error becomes the item's own.

    :raises RunInterruptedError: a signal asked to stop.
    """
    for item in items:
        try:
            item.plan = item.make_plan()
            _logger.debug("%s planned: %s", item.name, "; ".join(item.plan.descriptions) or "nothing to do")
        except RunInterruptedError:
            raise
        except (RepomanError, OSError) as error:
            _logger.debug("%s cannot be planned: %s", item.name, error)
            item.on_failure(_as_repoman_error(error))


def apply_all(items: Iterable[PlannedItem], on_step: OnStep | None = None) -> None:
    """Apply the plans of all items that have something to do; an error becomes the item's own.

    :raises RunInterruptedError: a signal asked to stop.
    """
    for item in items:
        if item.error is not None or not item.plan.changed:
            continue
        try:
            _apply(item, on_step)
        except RunInterruptedError:
            raise
        except (RepomanError, OSError) as error:
            problem = _as_repoman_error(error)
            item.on_failure(problem)
            if item.plan.interrupted:
                raise RunInterruptedError(f"interrupted after this error: {problem.message}", *problem.hints) from error
        else:
            item.on_success()


def _apply(item: PlannedItem, on_step: OnStep | None) -> None:
    """Apply the plan of one item; if the state changed in the meantime, plan and apply once more."""
    with item.lock() as had_to_wait:
        if had_to_wait:
            item.plan = item.remake_plan()
        try:
            item.plan.apply(on_step)
        except ConcurrentChangeError:
            if item.plan.interrupted:
                raise
            item.plan = item.remake_plan()
            item.plan.apply(on_step)


def _as_repoman_error(error: RepomanError | OSError) -> RepomanError:
    return RepomanError.from_os_error(error) if isinstance(error, OSError) else error
