# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rendered results, and the lines that several views share: errors and steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import shorten_home
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import OUTPUTS
from ansible_collections.homelab.repoman.plugins.plugin_utils.text import STANDARD_WIDTH, Line, sentence

if TYPE_CHECKING:
    from ansible_collections.homelab.repoman.plugins.plugin_utils.views.types import Failure, Steps

Result = Mapping[str, Any]


MORE_HINT = "run it again with -v to see more"


NOT_FOUND = 3


QUIET, NORMAL, VERBOSE = OUTPUTS
"""How much is printed: what was done and what failed; also what is unchanged; also the steps."""


STRICT = (STRICT_ALL, STRICT_PROJECTS) = ("all", "projects")
"""What makes ``status --strict`` exit with 1: everything that needs attention, or of the host only the backup."""


@dataclass(frozen=True)
class Rendered:
    """Output for a result.

    :param lines: lines to print.
    :param exit_code: exit code of the command.
    :param added: for a task that completes the previous one: keys that ``--json`` adds to the result of the previous task, instead of a
        second result.
    """

    lines: list[Line] = field(default_factory=list)
    exit_code: int = 0
    added: dict[str, Any] | None = None


@dataclass(frozen=True)
class Mode:
    """Mode of the task.

    :param check: check mode: the result is a prediction.
    :param brief: a preview has shown detected properties and plans.
    :param host: name of the host in the inventory; empty for this host.
    :param details: show all of each project, not an overview.
    :param width: columns that a line may take.
    :param output: one of :data:`OUTPUTS`.
    :param strict: one of :data:`STRICT`, or empty: what needs attention does not change the exit code.
    """

    check: bool = False
    brief: bool = False
    host: str = ""
    details: bool = False
    width: int = STANDARD_WIDTH
    output: str = QUIET
    strict: str = ""

    @property
    def shows_unchanged(self) -> bool:
        """True if each unchanged thing of several gets a line. If there is only one, it always does."""
        return self.output != QUIET

    @property
    def shows_steps(self) -> bool:
        """True if all steps are printed; check mode always prints them."""
        return self.check or self.output == VERBOSE


def home_of(result: Result) -> str:
    """Return the home directory of the user that a result is for; empty if the result does not name the user."""
    return str((result.get("account") or {}).get("home", ""))


def render_failure(result: Result) -> Rendered:
    """Return the error of a failed result."""
    code = result.get("exit_code")
    if code is None:
        return Rendered([Line("error", first_sentence(result)), Line("hint", MORE_HINT)], 1)
    return Rendered(error_lines(str(result.get("msg", "")), result.get("hints") or ()), int(code))


def first_sentence(result: Result) -> str:
    """Return the first line of a failure that is not an error of repoman."""
    lines = [line.strip() for line in str(result.get("msg") or result.get("module_stderr") or "").splitlines()]
    return next((line.removeprefix("Task failed: ") for line in lines if line), "the task failed and did not say why.")


def error_lines(message: str, hints: Iterable[str]) -> list[Line]:
    """Return an error and its hints."""
    return [Line("error", sentence(message)), *(Line("hint", sentence(str(hint))) for hint in hints)]


def step_lines(result: Steps, mode: Mode, home: str = "") -> list[Line]:
    """Return the steps of a result, or of one project in it.

    :param home: directory to show as ``~``.
    """
    steps = [shorten_home(step, home) for step in result["steps"]]
    return [Line("out", f"would {step}") if mode.check else Line("done", in_past_tense(step)) for step in steps]


def summary_lines(noun: str, labels: Sequence[str]) -> list[Line]:
    """Return the summary of a run on several things; nothing for one, whose line says it all.

    :param noun: such as ``profile``.
    :param labels: for each thing, what became of it, such as ``up to date`` or ``installed``.
    """
    if len(labels) <= 1:
        return []
    order = sorted(labels, key=lambda label: (label == FAILED, label.endswith(UNCHANGED)))
    counts = {label: labels.count(label) for label in order}
    if len(counts) == 1:
        verb = "" if labels[0] == FAILED or labels[0].startswith("to ") else "are "
        return [Line("out", f"{len(labels)} {noun}s {verb}{labels[0]}")]
    return [Line("out", f"{len(labels)} {noun}s: {', '.join(f'{number} {label}' for label, number in counts.items())}")]


FAILED = "failed"
UNCHANGED = ("up to date", " already")
"""Ends of the labels of what was not changed; in a summary they follow what was done."""


PAST_TENSES = {
    "adopt": "adopted",
    "back": "backed",
    "copy": "copied",
    "create": "created",
    "delete": "deleted",
    "install": "installed",
    "let": "let",
    "make": "made",
    "mount": "mounted",
    "mark": "marked",
    "migrate": "migrated",
    "mirror": "mirrored",
    "move": "moved",
    "prepare": "prepared",
    "remount": "remounted",
    "remove": "removed",
    "replace": "replaced",
    "rename": "renamed",
    "restart": "restarted",
    "restore": "restored",
    "save": "saved",
    "start": "started",
    "stop": "stopped",
    "take": "took",
    "update": "updated",
    "verify": "verified",
    "write": "wrote",
}
"""Past tenses of the words that steps start with."""


def in_past_tense(step: str) -> str:
    """Return the text of a completed step, such as ``created container isurus`` for ``create container isurus``."""
    verb, space, rest = step.partition(" ")
    return f"{PAST_TENSES.get(verb, verb)}{space}{rest}"


def worst_exit_code(results: Iterable[Failure]) -> int:
    """Return the highest exit code of failed profiles or projects."""
    return max((result.get("exit_code", 1 if result["action"] == "failed" else 0) for result in results), default=0)


Views = Mapping[str, Callable[[Any, Mode], Rendered]]
"""Views by verb. Each takes the result of its module as :mod:`types` describes it."""
