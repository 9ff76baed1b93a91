# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans: order, undo, signals, check mode, planning again."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import (
    ConcurrentChangeError,
    ConflictError,
    RepomanError,
    RunInterruptedError,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, PlannedItem, Step, plan_and_apply


class Log(list[str]):
    """A log of what happened, in order; it makes the steps that write to it."""

    def step(self, name: str, apply: Callable[[], object] = lambda: None, undo: Callable[[], object] | None = lambda: None) -> Step:
        """Return a step that writes ``name`` when it is applied and ``undo name`` when undone."""

        def do() -> None:
            self.append(name)
            apply()

        def take_back() -> None:
            self.append(f"undo {name}")
            if undo:
                undo()

        return Step(f"do {name}", do, undo=take_back if undo else None, target=name, before=f"old {name}", after=f"new {name}")


def fail(error: BaseException) -> Callable[[], None]:
    """Return a function that raises ``error``."""

    def raise_it() -> None:
        raise error

    return raise_it


def test_steps_are_applied_in_order_and_announced_before() -> None:
    """Nothing is undone when all goes well."""
    log = Log()
    Plan([log.step("one"), log.step("two")]).apply(lambda step: log.append(f"begin {step.target}"))
    assert log == ["begin one", "one", "begin two", "two"]


def test_an_empty_plan_changes_nothing() -> None:
    """It says so, and applying it does nothing."""
    plan = Plan()
    plan.apply()
    assert (plan.changed, plan.diff, plan.descriptions) == (False, [], [])


def test_a_plan_describes_its_steps() -> None:
    """Steps without a text have a description and no diff."""
    plan = Plan()
    plan.add(Log().step("one"))
    plan.add(Step("start it", lambda: None))
    assert plan.changed
    assert plan.descriptions == ["do one", "start it"]
    assert plan.diff == [{"before_header": "one", "after_header": "one", "before": "old one", "after": "new one"}]


def test_a_failure_rolls_back_started_steps_newest_first() -> None:
    """The step that failed half way is undone too; the ones after it were never begun."""
    log = Log()
    error = ConflictError("no", "a hint")
    steps = [log.step("one"), log.step("two", undo=None), log.step("three"), log.step("four", apply=fail(error)), log.step("five")]
    with pytest.raises(ConflictError) as caught:
        Plan(steps).apply()
    assert log == ["one", "two", "three", "four", "undo four", "undo three", "undo one"]
    assert caught.value is error
    assert caught.value.hints == ["a hint"]


@pytest.mark.parametrize("problem", [RepomanError("the disk is full"), OSError("the disk is full")])
def test_a_failing_undo_becomes_a_hint(problem: Exception) -> None:
    """The first error stays the error; the other steps are still rolled back."""
    log = Log()
    steps = [log.step("one"), log.step("two", undo=fail(problem)), log.step("three", apply=fail(ConflictError("no", "a hint")))]
    with pytest.raises(ConflictError) as caught:
        Plan(steps).apply()
    assert log == ["one", "two", "three", "undo three", "undo two", "undo one"]
    first, second = caught.value.hints
    assert first == "a hint"
    assert "do two" in second
    assert "the disk is full" in second


def test_any_exception_is_undone() -> None:
    """A bug must not leave half a container behind."""
    log = Log()
    with pytest.raises(ZeroDivisionError):
        Plan([log.step("one"), log.step("two", apply=lambda: 1 // 0)]).apply()
    assert log == ["one", "two", "undo two", "undo one"]


def test_a_failing_announcement_rolls_back_earlier_steps() -> None:
    """The announced step itself was not begun."""
    log = Log()

    def announce(step: Step) -> None:
        if step.target == "two":
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        Plan([log.step("one"), log.step("two")]).apply(announce)
    assert log == ["one", "undo one"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_interrupts_and_rolls_back(number: signal.Signals) -> None:
    """The error names the signal and exits with 130; handlers are put back."""
    log = Log()
    before = signal.getsignal(number)
    steps = [log.step("one"), log.step("two", apply=lambda: os.kill(os.getpid(), number)), log.step("three")]
    with pytest.raises(RunInterruptedError, match=number.name) as caught:
        Plan(steps).apply()
    assert log == ["one", "two", "undo two", "undo one"]
    assert caught.value.exit_code == 130
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_stop_the_rollback(number: signal.Signals) -> None:
    """People press Ctrl-C twice."""
    log = Log()
    again: Callable[[], None] = lambda: os.kill(os.getpid(), number)  # noqa: E731
    steps = [log.step("one", undo=again), log.step("two", apply=lambda: os.kill(os.getpid(), signal.SIGINT), undo=again)]
    with pytest.raises(RunInterruptedError, match="SIGINT"):
        Plan(steps).apply()
    assert log == ["one", "two", "undo two", "undo one"]


def signal_at_next_call(number: signal.Signals) -> None:
    """Send ``number`` to this process when the next Python function is called."""

    def profiler(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            sys.setprofile(None)
            os.kill(os.getpid(), number)

    sys.setprofile(profiler)


@pytest.mark.parametrize("first", [ConflictError("no"), RunInterruptedError("interrupted by SIGTERM")])
def test_a_signal_right_after_a_failure_does_not_skip_the_rollback(first: RepomanError) -> None:
    """A signal does no harm at any moment between the failure and the rollback."""
    log = Log()

    def fail_and_be_interrupted() -> None:
        signal_at_next_call(signal.SIGINT)
        raise first

    bare = Step("two", fail_and_be_interrupted, undo=lambda: log.append("undo two"))
    try:
        with pytest.raises(RepomanError):
            Plan([log.step("one"), bare]).apply()
    finally:
        sys.setprofile(None)
    assert log == ["one", "undo two", "undo one"]


def test_two_signals_at_once_are_one_interruption() -> None:
    """A terminal and a supervisor may both send one."""
    log = Log()

    def interrupted_twice() -> None:
        signal_at_next_call(signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)

    bare = Step("two", interrupted_twice, undo=lambda: log.append("undo two"))
    try:
        with pytest.raises(RunInterruptedError):
            Plan([log.step("one"), bare]).apply()
    finally:
        sys.setprofile(None)
    assert log == ["one", "undo two", "undo one"]


def test_a_signal_during_a_rollback_keeps_the_failure() -> None:
    """The user hears why it failed, not that they pressed a key."""
    log = Log()
    steps = [log.step("one"), log.step("two", apply=fail(ConflictError("no")), undo=lambda: os.kill(os.getpid(), signal.SIGINT))]
    with pytest.raises(ConflictError):
        Plan(steps).apply()
    assert log == ["one", "two", "undo two", "undo one"]


def test_outside_the_main_thread_plans_work_without_signals() -> None:
    """Python takes signals in the main thread only."""
    log = Log()
    caught: list[BaseException] = []

    def work() -> None:
        try:
            Plan([log.step("one"), log.step("two", apply=fail(ConflictError("no")))]).apply()
        except ConflictError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert log == ["one", "two", "undo two", "undo one"]
    assert len(caught) == 1


SLOW_PLAN = """
    import sys, time
    from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RunInterruptedError
    from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, Step

    def say(text):
        print(text, flush=True)

    def hold():
        say("ready")
        time.sleep(300)

    def slow_undo():
        say("undoing")
        time.sleep(0.3)
        say("undone")

    try:
        Plan([Step("one", lambda: say("one"), undo=lambda: say("undo one")), Step("two", hold, undo=slow_undo)]).apply()
    except RunInterruptedError as error:
        sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_process_rolls_back_first(number: signal.Signals) -> None:
    """A signal in the middle of a wait ends it; a second one during the undoing waits."""
    command = [sys.executable, "-c", textwrap.dedent(SLOW_PLAN)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        said = [process.stdout.readline(), process.stdout.readline()]
        process.send_signal(number)
        said.append(process.stdout.readline())
        process.send_signal(number)
        said += process.stdout.readlines()
        assert process.wait() == 130
    assert [line.strip() for line in said] == ["one", "ready", "undoing", "undone", "undo one"]


class Item(PlannedItem):
    """An item whose plans are given: one for each time that it is planned; an error in their place is raised."""

    def __init__(self, name: str, log: Log, *plans: Plan | Exception, waits: bool = False) -> None:
        super().__init__()
        self.name, self.log, self.plans, self.waits = name, log, list(plans), waits

    def make_plan(self) -> Plan:
        """Return the next plan."""
        self.log.append(f"plan {self.name}")
        plan = self.plans.pop(0)
        if isinstance(plan, Exception):
            raise plan
        return plan

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Write when it is held."""
        self.log.append(f"lock {self.name}")
        yield self.waits
        self.log.append(f"unlock {self.name}")

    def on_success(self) -> None:
        """Write it."""
        self.log.append(f"finished {self.name}")


def test_check_plans_and_applies_nothing() -> None:
    """The plan is the one a real run would apply."""
    log = Log()
    item = Item("a", log, Plan([log.step("one")]))
    plan_and_apply([item], check=True)
    assert log == ["plan a"]
    assert item.plan.descriptions == ["do one"]


def test_all_items_are_planned_before_the_first_is_applied() -> None:
    """An item without steps is neither locked nor applied."""
    log = Log()
    plan_and_apply([Item("a", log, Plan([log.step("one")])), Item("b", log, Plan()), Item("c", log, Plan([log.step("two")]))], check=False)
    assert log == ["plan a", "plan b", "plan c", "lock a", "one", "unlock a", "finished a", "lock c", "two", "unlock c", "finished c"]


def test_a_changed_state_is_planned_again() -> None:
    """The started steps are rolled back first; the second plan stays."""
    log = Log()
    stale = Plan([log.step("one"), log.step("two", apply=fail(ConcurrentChangeError("changed")))])
    item = Item("a", log, stale, Plan([log.step("three")]))
    plan_and_apply([item], check=False)
    assert log == ["plan a", "lock a", "one", "two", "undo two", "undo one", "plan a", "three", "unlock a", "finished a"]
    assert item.plan.descriptions == ["do three"] and item.error is None


def test_an_item_that_had_to_wait_is_planned_again() -> None:
    """Another run has worked on it in the meantime: the first plan is never applied."""
    log = Log()
    plan_and_apply([Item("a", log, Plan([log.step("one")]), Plan([log.step("two")]), waits=True)], check=False)
    assert log == ["plan a", "lock a", "plan a", "two", "unlock a", "finished a"]


def test_a_state_that_keeps_changing_is_an_error() -> None:
    """Two attempts, not more."""
    log = Log()
    item = Item("a", log, *(Plan([log.step("one", apply=fail(ConcurrentChangeError("changed")))]) for _each in range(2)))
    plan_and_apply([item], check=False)
    assert isinstance(item.error, ConcurrentChangeError)
    assert log == ["plan a", "lock a", "one", "undo one", "plan a", "one", "undo one"]


def test_other_errors_are_not_tried_again() -> None:
    """Trying again would not resolve a conflict."""
    log = Log()
    item = Item("a", log, Plan([log.step("one", apply=fail(ConflictError("no")))]))
    plan_and_apply([item], check=False)
    assert isinstance(item.error, ConflictError) and log == ["plan a", "lock a", "one", "undo one"]


@pytest.mark.parametrize("problem", [ConflictError("no"), FileNotFoundError(errno.ENOENT, "No such file or directory", "/x")])
@pytest.mark.parametrize("when", ["planned", "applied"])
def test_a_failed_item_does_not_stop_the_others(problem: Exception, when: str) -> None:
    """Its error stays with it, also one of the operating system, which names its path."""
    log = Log()
    failing = Item("a", log, problem if when == "planned" else Plan([log.step("one", apply=fail(problem))]))
    other = Item("b", log, Plan([log.step("two")]))
    plan_and_apply([failing, other], check=False)
    assert failing.error is not None and failing.error.message == (
        "no" if isinstance(problem, ConflictError) else "/x: No such file or directory."
    )
    assert log[-3:] == ["two", "unlock b", "finished b"] and other.error is None


@pytest.mark.parametrize("when", ["planned", "applied"])
def test_an_interrupt_ends_the_run(when: str) -> None:
    """It does not count as a failure of the current item, and no other item is started."""
    log = Log()
    stop = RunInterruptedError("interrupted by SIGINT")
    first = Item("a", log, stop if when == "planned" else Plan([log.step("one", apply=fail(stop))]))
    with pytest.raises(RunInterruptedError):
        plan_and_apply([first, Item("b", log, Plan([log.step("two")]))], check=False)
    assert "two" not in log and first.error is None


def test_an_interrupt_during_a_rollback_ends_the_run_after_it() -> None:
    """The failure is the item's; the interrupt names it and nothing else is started."""
    log = Log()
    step = log.step("one", apply=fail(ConflictError("no", "a hint")), undo=lambda: os.kill(os.getpid(), signal.SIGTERM))
    first = Item("a", log, Plan([step]))
    with pytest.raises(RunInterruptedError, match="interrupted after this error: no") as caught:
        plan_and_apply([first, Item("b", log, Plan([log.step("two")]))], check=False)
    assert caught.value.hints == ["a hint"] and isinstance(first.error, ConflictError) and "two" not in log
