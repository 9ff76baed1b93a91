# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: report
type: stdout
short_description: Print results in the format of the command repoman
version_added: 0.4.0
author: the repoman contributors (@homelab)
description:
  - Prints the results of this collection's playbooks and roles like the command C(repoman) - results on standard output, and
    errors, warnings and hints on standard error.
  - Other tasks get one line each, so the callback is also usable with playbooks that contain other tasks.
  - To print a task in the format of a verb, set its variable C(repoman_view) to the name of the verb.
options:
  format:
    description:
      - V(text) prints lines.
      - V(json) prints one JSON document at the end, with the results of repoman's tasks, and nothing else on standard output.
    type: str
    choices: [text, json]
    default: text
    env:
      - name: REPOMAN_FORMAT
    ini:
      - section: repoman
        key: format
  brief:
    description: Leave out the diffs, warnings and detected properties that a preceding run in check mode has printed.
    type: bool
    default: false
    env:
      - name: REPOMAN_BRIEF
    ini:
      - section: repoman
        key: brief
  details:
    description: For the verb C(status), print all details of each project instead of an overview.
    type: bool
    default: false
    env:
      - name: REPOMAN_DETAILS
    ini:
      - section: repoman
        key: details
  strict:
    description:
      - For the verb C(status), let the command exit with 1 if something needs attention.
      - V(all) counts everything that the overview counts. V(projects) counts of the host only the backup target and the newest backup.
    type: str
    choices: [all, projects]
    env:
      - name: REPOMAN_STRICT
    ini:
      - section: repoman
        key: strict
  output:
    description:
      - How much to print. Without it, the key C(output) of the registry's table C([repoman]) on each host decides.
      - V(quiet) prints what was done, what failed and a summary. V(normal) adds a line for each unchanged thing, and V(verbose) the steps.
      - With C(-v) it is V(verbose).
    type: str
    choices: [quiet, normal, verbose]
    env:
      - name: REPOMAN_OUTPUT
    ini:
      - section: repoman
        key: output
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible_collections.homelab.repoman.plugins.module_utils.core import progress
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import shorten_home
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import OUTPUTS
from ansible_collections.homelab.repoman.plugins.plugin_utils.run_report import Failure, HostReport, RunReport, find_failure
from ansible_collections.homelab.repoman.plugins.plugin_utils.text import Line, output_width, sentence, unified, use_color
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.common import (
    QUIET,
    VERBOSE,
    Mode,
    first_sentence,
    render_failure,
)
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.render import MODULES, render

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
LOCALHOST = "localhost"
TRACEBACK_VERBOSITY = 3
OMITTED = (
    *("output", "invocation", "exception", "failed", "item", "ansible_loop_var", "ansible_index_var"),
    *("ansible_facts", "deprecations"),
)
"""Keys that Ansible adds to a result, and the one that is only for this report."""


run_report = RunReport()


class CallbackModule(CallbackBase):
    """Callback plugin that prints the report."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "homelab.repoman.report"

    def __init__(self) -> None:
        super().__init__()
        self.by_host = False

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Start the report of a run."""
        path = Path(playbook._file_name).resolve()
        run_report.reset(path.stem.replace("_", " ") if path.parent == PLAYBOOKS else "")

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Group the output by host for other hosts than this one; show progress for this host."""
        self.by_host = list(play.hosts) != [LOCALHOST]
        shows_progress = bool(run_report.verb) and not self.by_host and (run_report.verb != "shell" or sys.stderr.isatty())
        if shows_progress and progress.output is None:
            progress.set_output(os.fdopen(os.dup(2), "w"))  # workers have no standard error
        progress.set_preview(self._status_preview())

    def _status_preview(self) -> progress.Preview | None:
        """Return what shows, before the page of status, what is known of projects; only to a person at this terminal."""
        is_text = self.get_option("format") == "text" and self.get_option("output") != QUIET
        if run_report.verb != "status" or self.by_host or not is_text or self._display.verbosity or not sys.stdout.isatty():
            return None
        from ansible_collections.homelab.repoman.plugins.plugin_utils.views.overview import preview_rows  # other verbs do not need it

        return preview_rows

    def v2_playbook_on_no_hosts_matched(self) -> None:
        """Report that no host matches."""
        report = run_report.host_report("")
        report.exit_code = 1
        lines = [Line("error", "no host matches."), Line("hint", "ansible-inventory -i INVENTORY --graph   # shows the hosts")]
        report.fail(find_failure({}, True, lines, 1))
        self._emit(report, lines)

    def v2_runner_on_ok(self, result: Any) -> None:
        """Report a successful task."""
        if not self._was_reported_per_item(result):
            self._report_task(result, failed=False)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Report a failed task."""
        if not self._was_reported_per_item(result):
            self._report_task(result, failed=True, ignored=ignore_errors)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """With ``-v``, report a skipped task of another playbook."""
        if self._display.verbosity and not run_report.verb:
            self._report_foreign_task("skipped", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Report an unreachable host."""
        host, _task, data = _unpack_result(result)
        report = run_report.host_report(host)
        report.exit_code = max(report.exit_code, 1)
        report.results.append({"unreachable": True, "msg": str(data.get("msg", ""))})
        reason = sentence(str(data.get("msg") or "no answer"))
        error = Line("error", f"{host} is unreachable: {reason.removeprefix('Task failed: ')}")
        lines = [error, Line("hint", f"ansible -i INVENTORY {host} -m ansible.builtin.ping -vvv   # shows why")]
        report.fail(find_failure({}, True, lines, 1))
        self._emit(report, lines)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Report a successful item of a loop."""
        self._report_task(result, failed=False, looped=True)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """Report a failed item of a loop."""
        self._report_task(result, failed=True, looped=True)

    def v2_on_file_diff(self, result: Any) -> None:
        """Show the diff of a task without a view."""
        host, task, data = _unpack_result(result)
        if _view(task):
            return
        for item in data.get("results") or [data]:
            if isinstance(item, dict) and item.get("diff") and item.get("changed"):
                self._emit(run_report.host_report(host), unified(item["diff"]))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Print the JSON document or the buffered lines at the end of the run."""
        if self.get_option("format") == "json":
            self._display.display(json.dumps(run_report.document(self.by_host), indent=2, default=str))
            return
        if not self._buffered:
            return
        for host, report in sorted(run_report.hosts.items()):
            if any(not line.is_error for line in report.lines):
                self._print(Line("head", f"== {host} =="))
            for line in report.lines:
                if not line.is_error:
                    self._print(line)
        for _host, report in sorted(run_report.hosts.items()):
            for line in report.lines:
                if line.is_error:
                    self._print(line)

    @property
    def _buffered(self) -> bool:
        """True if lines are buffered until the end, to group them by host."""
        return self.by_host and bool(run_report.verb)

    def _report_task(self, result: Any, failed: bool, ignored: bool = False, looped: bool = False) -> None:
        host, task, data = _unpack_result(result)
        view = _view(task)
        report = run_report.host_report(host)
        brief = self.get_option("brief")
        lines: list[Line] = []
        if failed and not ignored:
            report.exit_code = max(report.exit_code, int(data.get("exit_code") or 1))
        if view:
            report.looped |= looped
            report.changed |= bool(data.get("changed"))
            if task.diff and data.get("diff") and not brief:
                lines += unified(data["diff"])
            rendered = render(view, data, failed, self._mode(task, host, data))
            report.exit_code = max(report.exit_code, rendered.exit_code)
            if rendered.added is not None and report.results:
                report.results[-1] = _completed(report.results[-1], rendered.added, data)
            else:
                report.results.append(_strip_internal(data, failed, bool(task.diff)) | {"exit_code": rendered.exit_code})
            lines += rendered.lines
        elif failed and run_report.verb:
            report.results.append(_strip_internal(data, failed, False))
            lines += render_failure(data).lines
        elif failed and not ignored:
            report.fail(Failure(report.exit_code, first_sentence(data)))
        if not view and not run_report.verb:
            self._report_foreign_task(
                "fatal" if failed else "changed" if data.get("changed") else "ok", result, "; ignored" if ignored else ""
            )
        if not ignored:
            report.fail(find_failure(data if view else {}, failed, lines, report.exit_code))
        run_report.warned.update((host, line.text) for line in lines if line.style == "warning")
        if not brief:
            start = next((index for index, line in enumerate(lines) if line.style == "error"), len(lines))
            lines[start:start] = [Line("warning", text) for text in self._warnings(host, result, data)]  # errors stand last
        report.warn(line.text for line in lines if line.style == "warning")
        if failed and (view or run_report.verb):
            lines += self._details(data)
        if view in ("sync", "restore", "remount") and not self.by_host:
            lines = [_shorten_home(line) for line in lines]
        lines.sort(key=lambda line: line.is_error)  # errors stand last, below the table that they are about
        self._emit(report, self._prefix_host(host, lines))

    def _mode(self, task: Any, host: str, data: dict[str, Any]) -> Mode:
        """Return the mode of a task."""
        output = VERBOSE if self._display.verbosity else self.get_option("output") or data.get("output")
        return Mode(
            check=bool(task.check_mode),
            brief=self.get_option("brief"),
            host=host if self.by_host else "",
            details=self.get_option("details"),
            width=output_width(sys.stdout),
            output=output if output in OUTPUTS else QUIET,
            strict=self.get_option("strict") or "",
        )

    def _report_foreign_task(self, word: str, result: Any, suffix: str = "") -> None:
        """Report a task without a view in one line."""
        host, task, data = _unpack_result(result)
        label = f" (item={self._get_item_label(data)})" if "ansible_loop_var" in data else ""
        reason = f": {first_sentence(data)}{suffix}" if word == "fatal" else ""
        lines = [Line("out", f"{word}: [{host}] {task.get_name()}{label}{reason}")]
        if self._run_is_verbose(result):
            lines.append(Line("raw", self._dump_results(data, indent=4)))
        self._emit(run_report.host_report(host), lines, to_stderr=word == "fatal")

    def _was_reported_per_item(self, result: Any) -> bool:
        """Return true for the result of a loop, whose items have been reported."""
        _host, _task, data = _unpack_result(result)
        return bool(data.get("results")) and all(isinstance(item, dict) and "ansible_loop_var" in item for item in data["results"])

    def _prefix_host(self, host: str, lines: list[Line]) -> list[Line]:
        """With other hosts, add the host to errors and warnings."""
        if not self.by_host:
            return lines
        return [Line(line.style, f"[{host}] {line.text}") if line.style in ("error", "warning") else line for line in lines]

    def _warnings(self, host: str, result: Any, data: dict[str, Any]) -> list[str]:
        """Return the warnings of a result that were not printed for its host yet; ansible-core before 2.19 has them only in the data."""
        texts = [sentence(_warning_text(warning)) for warning in data.get("warnings") or getattr(result, "warnings", None) or ()]
        new = [text for text in dict.fromkeys(texts) if (host, text) not in run_report.warned]
        run_report.warned.update((host, text) for text in new)
        return new

    def _details(self, data: dict[str, Any]) -> list[Line]:
        """Return the details of a failure for ``-v`` (unless it is an error of repoman) and the traceback for ``-vvv``."""
        lines = []
        if self._display.verbosity and "exit_code" not in data:
            lines.append(Line("trace", self._dump_results({key: value for key, value in data.items() if key != "exception"}, indent=4)))
        if self._display.verbosity >= TRACEBACK_VERBOSITY and data.get("exception"):
            lines.append(Line("trace", str(data["exception"])))
        return lines

    def _emit(self, report: HostReport, lines: list[Line], to_stderr: bool = False) -> None:
        """Print lines, or buffer them until the end of the run."""
        if self._buffered and self.get_option("format") == "text":
            report.lines += lines
            return
        for line in lines:
            self._print(line, to_stderr)

    def _print(self, line: Line, to_stderr: bool = False) -> None:
        to_stderr = to_stderr or line.is_error
        if self.get_option("format") == "json" and not to_stderr:
            return
        if to_stderr:
            sys.stdout.flush()  # so that an error stands after the lines before it if both streams go to the same file
        self._display.display(line.render(use_color(sys.stderr if to_stderr else sys.stdout)), stderr=to_stderr)


def _shorten_home(line: Line) -> Line:
    """Return a line with ``~`` for the home directory; not a hint, which must work inside quotes, too."""
    return line if line.style == "hint" else replace(line, text=shorten_home(line.text, str(Path.home())))


def _unpack_result(result: Any) -> tuple[str, Any, dict[str, Any]]:
    """Return the name of the host, the task and the data of a result; ansible-core before 2.19 has other attributes for them."""
    if hasattr(result, "task"):
        return str(result.host.get_name()), result.task, result.result
    return str(result._host.get_name()), result._task, result._result


def _view(task: Any) -> str:
    """Return the view of a task, or empty."""
    view = (task.vars or {}).get("repoman_view", "")
    return str(view) if view in MODULES else ""


def _strip_internal(data: dict[str, Any], failed: bool, with_diff: bool) -> dict[str, Any]:
    """Return a result without the keys that Ansible adds."""
    omitted = OMITTED if with_diff else (*OMITTED, "diff")
    public = {key: value for key, value in data.items() if key not in omitted and not key.startswith("_ansible")}
    if failed and "exit_code" not in data:  # Ansible's own words about a failure, such as the output of a module that crashed
        public = {"ansible": public}
    if "warnings" in public:
        public["warnings"] = [_warning_text(warning) for warning in public["warnings"]]
    return public | ({"failed": True} if failed else {})


def _completed(result: dict[str, Any], added: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Return a result with the keys that a later task adds, and with its warnings and steps after those of the result.

    :param data: of the later task.
    """
    added = added | {"warnings": [_warning_text(warning) for warning in data.get("warnings") or ()]}
    joined = {key: [*(result.get(key) or ()), *(added.get(key) or ())] for key in ("steps", "warnings")}
    return result | added | {key: texts for key, texts in joined.items() if texts or key in result}


def _warning_text(warning: Any) -> str:
    """Return the text of a warning; its type depends on the version of ansible-core."""
    details = getattr(warning, "details", None) or getattr(getattr(warning, "event", None), "msg", None)
    if isinstance(details, str):
        return details
    if details:
        return str(details[0].msg)
    return str(warning)
