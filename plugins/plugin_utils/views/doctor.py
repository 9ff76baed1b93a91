# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Output of doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import plural
from ansible_collections.homelab.repoman.plugins.plugin_utils.text import PREFIXES, Line, hint_texts, wrap
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.common import Mode, Rendered, Views

if TYPE_CHECKING:
    from ansible_collections.homelab.repoman.plugins.plugin_utils.views.types import CheckResult, DoctorResult

INDENT = " " * len(PREFIXES["ok"])


def render_doctor(result: DoctorResult, mode: Mode) -> Rendered:
    """Show a line for each check, hints below the problems, and a summary."""
    lines = [line for check in result["checks"] for line in check_lines(check, mode.width)]
    counts = result["summary"]
    details = [f"{counts['ok']} ok"]
    details += [plural(counts["warn"], "warning")] if counts["warn"] else []
    details += [plural(counts["fail"], "failure")] if counts["fail"] else []
    lines.append(Line("head", f"{plural(len(result['checks']), 'check')}: {', '.join(details)}"))
    return Rendered(lines, 1 if counts["fail"] else 0)


def check_lines(check: CheckResult, width: int) -> list[Line]:
    """Return the lines of a check: its message, wrapped, and its hints, whose commands are not, so that they can be pasted."""
    first, *rest = wrap(check["message"], width - len(INDENT))
    lines = [Line(check["status"], first), *(Line("out", INDENT + line) for line in rest)]
    for hint in check["hints"]:
        command, *remarks = hint_texts(hint, width - len(PREFIXES["remedy"]))
        lines += [Line("remedy", command), *(Line("out", INDENT + line) for line in remarks)]
    return lines


VIEWS: Views = {
    "doctor": render_doctor,
}
