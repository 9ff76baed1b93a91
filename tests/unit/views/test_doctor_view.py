# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What doctor prints."""

from __future__ import annotations

from typing import Any

from ansible_collections.homelab.repoman.plugins.plugin_utils.text import Line
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.common import Mode
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.render import render

LONG = "missing on this host: /srv/a-long-path/with-several/directories, /srv/another and /srv/third"


def result(*checks: tuple[str, str, list[str]]) -> dict[str, Any]:
    """Return the result of ``repoman_doctor_info`` with these checks."""
    statuses = [status for status, _message, _hints in checks]
    return {
        "checks": [{"name": "x", "status": status, "message": message, "hints": hints} for status, message, hints in checks],
        "summary": {status: statuses.count(status) for status in ("ok", "warn", "fail")},
    }


def test_page() -> None:
    """A line for each check, wrapped at 80 columns; hints below it, unwrapped; the summary is last. A failure is exit code 1."""
    hint = "x" * 100
    rendered = render("doctor", result(("ok", "Incus 6.0.4", []), ("warn", LONG, [hint]), ("fail", "no", ["a", "b"])), False, Mode())
    assert [line.render() for line in rendered.lines] == [
        "ok    Incus 6.0.4",
        "warn  missing on this host: /srv/a-long-path/with-several/directories,",
        "      /srv/another and /srv/third",
        f"      hint: {hint}",
        "fail  no",
        "      hint: a",
        "      hint: b",
        "3 checks: 1 ok, 1 warning, 1 failure",
    ]
    assert rendered.exit_code == 1 and not any(line.is_error for line in rendered.lines)


def test_width() -> None:
    """Messages use the width of the terminal; a hint that is too long has its remark on the next lines, as comments."""
    check = result(("warn", LONG, [f"repoman {'x' * 50}   # {'remark ' * 5}"]))
    narrow = [line.render() for line in render("doctor", check, False, Mode()).lines]
    assert narrow[2:4] == [f"      hint: repoman {'x' * 50}", "      # remark remark remark remark remark"]
    wide = [line.render() for line in render("doctor", check, False, Mode(width=200)).lines]
    assert wide[:2] == [f"warn  {LONG}", f"      hint: repoman {'x' * 50}   # remark remark remark remark remark"]
    assert max(map(len, narrow)) <= 80


def test_all_is_well() -> None:
    """What did not occur is not counted; warnings alone are exit code 0."""
    well = render("doctor", result(("ok", "a", []), ("ok", "b", [])), False, Mode())
    assert (well.lines[-1].text, well.exit_code) == ("2 checks: 2 ok", 0)
    warned = render("doctor", result(("warn", "a", []), ("warn", "b", [])), False, Mode())
    assert (warned.lines[-1].text, warned.exit_code) == ("2 checks: 0 ok, 2 warnings", 0)


def test_module_that_failed() -> None:
    """Its error is printed as that of any verb."""
    rendered = render("doctor", {"msg": "no user.", "hints": ["do"], "exit_code": 3}, True, Mode())
    assert ([line.render() for line in rendered.lines], rendered.exit_code) == (["repoman: error: no user.", "hint: do"], 3)


def test_colors_keep_the_columns() -> None:
    """Only the label of a line has a color."""
    assert Line("ok", "a").render(color=True) == "\033[32mok\033[0m    a"
    assert Line("fail", "a").render(color=True) == "\033[1;31mfail\033[0m  a"
    assert Line("remedy", "a").render(color=True) == "\033[36m      hint:\033[0m a"


def test_control_characters_are_escaped() -> None:
    """Names come from directories that others can write."""
    rendered = render("doctor", result(("warn", "a\x1b[31m", ["b\x1b"])), False, Mode())
    assert [line.render() for line in rendered.lines][:2] == ["warn  a\\x1b[31m", "      hint: b\\x1b"]
