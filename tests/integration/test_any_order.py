# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands and changes by hand in any order: each command is foreseen, settles, and loses nothing that is the user's."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import ClassVar

from any_order import KINDS, Model
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from order_rules import Backup, ByHand, Containers, Profiles, Repositories, Settings, Step
from world import SetUp, World

EXAMPLES = int(os.environ.get("REPOMAN_EXAMPLES", "1"))
NAMES = st.sampled_from(sorted(KINDS))
NUMBERS = st.integers(0, 999)


def steps(group: type[Step]) -> st.SearchStrategy[str]:
    """Return the names of the group's steps, the frequent ones several times."""
    return st.sampled_from([name for name, times in group.TIMES.items() for _each in range(times)])


class AnyOrder(RuleBasedStateMachine):
    """Each rule is a group of steps: hypothesis leaves some rules out of each order."""

    make: ClassVar[Callable[[], Model]]

    def __init__(self) -> None:
        super().__init__()
        self.model = type(self).make()

    @initialize()
    def begin(self) -> None:
        """A host that is in use."""
        for name in KINDS:
            self.take(Repositories, name, 0, "make")
            self.take(Repositories, name, 0, "commit")
        self.take(Containers, "one", 0, "new")
        self.take(Backup, "one", 0, "sync")

    def take(self, group: type[Step], name: str, number: int, step: str) -> None:
        """Take a step; if it fails, show all steps at once: some faults depend on the time, and hypothesis would not find them again."""
        self.model.journal.append(f"{group.__name__}.{step}({name!r}, {number})")
        try:
            group(self.model, name, number).take(step)
            found = self.model.problems()
            assert not found, found
        except BaseException:
            sys.stdout.write("\n".join([*self.model.journal, traceback.format_exc()]))
            raise

    @rule(name=NAMES, number=NUMBERS, step=steps(Repositories))
    def repository(self, name: str, number: int, step: str) -> None:
        """Work in a repository."""
        self.take(Repositories, name, number, step)

    @rule(name=NAMES, number=NUMBERS, step=steps(Containers))
    def container(self, name: str, number: int, step: str) -> None:
        """Run a verb of containers."""
        self.take(Containers, name, number, step)

    @rule(name=NAMES, number=NUMBERS, step=steps(ByHand))
    def by_hand(self, name: str, number: int, step: str) -> None:
        """Change instances with the client of Incus."""
        self.take(ByHand, name, number, step)

    @rule(name=NAMES, number=NUMBERS, step=steps(Profiles))
    def profile(self, name: str, number: int, step: str) -> None:
        """Run a verb of profiles, or change them by hand."""
        self.take(Profiles, name, number, step)

    @rule(name=NAMES, number=NUMBERS, step=steps(Settings))
    def setting(self, name: str, number: int, step: str) -> None:
        """Edit the registry or an override, or set up again."""
        self.take(Settings, name, number, step)

    @rule(name=NAMES, number=NUMBERS, step=steps(Backup))
    def backup(self, name: str, number: int, step: str) -> None:
        """Back up, damage, verify, restore."""
        self.take(Backup, name, number, step)


def test_any_order(ready: World, set_up: SetUp) -> None:
    """Whatever the order; the number of orders grows with REPOMAN_EXAMPLES, and ``--hypothesis-seed`` runs the same ones again."""
    AnyOrder.make = lambda: Model(ready, set_up)
    run_state_machine_as_test(
        AnyOrder,
        settings=settings(
            max_examples=1 + EXAMPLES,  # the first one is always the same, and short
            stateful_step_count=25 if EXAMPLES == 1 else 60,
            deadline=None,
            report_multiple_bugs=False,
            database=None,
            derandomize=bool(os.environ.get("CI")),
            phases=[Phase.generate],  # to find a shorter order would take hours
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity[os.environ.get("REPOMAN_VERBOSITY", "normal")],
        ),
    )
