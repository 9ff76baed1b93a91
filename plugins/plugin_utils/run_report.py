# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run: lines, results and exit code of each host, and the document of ``--json``.

``docs/output.schema.json`` describes the document.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.homelab.repoman.plugins.plugin_utils.text import Line

ENVELOPE = ("verb", "exit_code", "changed", "failed", "msg", "hints", "warnings")
"""Keys that every document has, and the part of each host in it."""
ITEMS = ("profiles", "projects")
"""Keys of results on several things, each of which may have failed."""


@dataclass(frozen=True)
class Failure:
    """A failure.

    :param exit_code: of the command.
    :param msg: one sentence.
    :param hints: remedies, each a command or a sentence.
    """

    exit_code: int
    msg: str
    hints: tuple[str, ...] = ()


def worst(failures: Iterable[Failure | None]) -> Failure | None:
    """Return the failure with the highest exit code, the first of several; ``None`` if there is none."""
    return max((failure for failure in failures if failure is not None), key=lambda failure: failure.exit_code, default=None)


def find_failure(result: dict[str, Any], failed: bool, lines: Sequence[Line], exit_code: int) -> Failure | None:
    """Return the failure in a result; ``None`` if it has none.

    :param result: of a module. If it has several failures, the worst one is returned.
    :param failed: the task failed.
    :param lines: the printed form of the result. It has an error also if only the command, and not the module, fails.
    """
    items = [item for key in ITEMS for item in result.get(key) or () if isinstance(item, dict) and item.get("exit_code")]
    failure = worst(Failure(int(item["exit_code"]), str(item["msg"]), tuple(map(str, item.get("hints") or ()))) for item in items)
    if failure is not None:
        return failure
    if failed and "exit_code" in result:
        return Failure(int(result["exit_code"]), str(result.get("msg", "")), tuple(map(str, result.get("hints") or ())))
    start = next((index for index, line in enumerate(lines) if line.style == "error"), None)
    if start is None:
        return None
    end = next((index for index in range(start + 1, len(lines)) if lines[index].style != "hint"), len(lines))
    return Failure(max(exit_code, 1), lines[start].text, tuple(line.text for line in lines[start + 1 : end]))


class HostReport:
    """Report of one host: lines, results and exit code."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.results: list[dict[str, Any]] = []
        self.looped = False
        self.changed = False
        self.exit_code = 0
        self.failure: Failure | None = None
        self.warnings: list[str] = []

    def fail(self, failure: Failure | None) -> None:
        """Note a failure, unless it is ``None`` or a worse one was noted before."""
        self.failure = worst((self.failure, failure))

    def warn(self, texts: Iterable[str]) -> None:
        """Note warnings, each once."""
        self.warnings += [text for text in dict.fromkeys(texts) if text not in self.warnings]

    def document(self, verb: str) -> dict[str, Any]:
        """Return the document of ``--json`` for this host: the envelope, and the keys of the result."""
        document = {
            "verb": verb,
            "exit_code": self.exit_code,
            "changed": self.changed,
            "failed": self.failure is not None,
            "msg": self.failure.msg if self.failure else "",
            "hints": list(self.failure.hints) if self.failure else [],
            "warnings": self.warnings,
        }
        if len(self.results) == 1 and not self.looped:
            return document | {key: value for key, value in self.results[0].items() if key not in ENVELOPE}
        return document | ({"results": self.results} if self.results else {})


class RunReport:
    """Report of a run; the command reads it after the run."""

    def __init__(self) -> None:
        self.reset("")

    def reset(self, verb: str) -> None:
        """Start a new run.

        :param verb: the verb of a playbook of this collection, or empty for other playbooks.
        """
        self.verb = verb
        self.hosts: dict[str, HostReport] = {}
        self.warned: set[tuple[str, str]] = set()

    def host_report(self, host: str) -> HostReport:
        """Return the report of a host. The one without a name is about the run as a whole."""
        return self.hosts.setdefault(host, HostReport())

    @property
    def exit_code(self) -> int:
        """Highest exit code of all hosts."""
        return max((report.exit_code for report in self.hosts.values()), default=0)

    @property
    def changed(self) -> bool:
        """True if anything was changed on any host, or in check mode would be."""
        return any(report.changed for report in self.hosts.values())

    @property
    def results(self) -> list[dict[str, Any]]:
        """Results of repoman's tasks, in order."""
        return [result for report in self.hosts.values() for result in report.results]

    def document(self, by_host: bool) -> dict[str, Any]:
        """Return the document of ``--json``.

        :param by_host: it has a part for each host, which is a document itself.
        """
        if not by_host:
            return next(iter(self.hosts.values()), HostReport()).document(self.verb)
        whole = HostReport()
        whole.exit_code, whole.changed = self.exit_code, self.changed
        for host, report in sorted(self.hosts.items()):
            prefix = f"[{host}] " if host else ""
            if report.failure:
                whole.fail(Failure(report.failure.exit_code, prefix + report.failure.msg, report.failure.hints))
            whole.warn(prefix + text for text in report.warnings)
        hosts = {host: report.document(self.verb) for host, report in sorted(self.hosts.items()) if host}
        return whole.document(self.verb) | {"hosts": hosts}
