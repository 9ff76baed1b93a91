# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Output of the profile verbs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import escape_control_characters, shorten
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.plugin_utils.text import Line, diff_lines, sentence, table
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.common import (
    FAILED,
    Mode,
    Rendered,
    Views,
    error_lines,
    summary_lines,
    worst_exit_code,
)

if TYPE_CHECKING:
    from ansible_collections.homelab.repoman.plugins.plugin_utils.views.types import (
        ListedProfile,
        ProfileListResult,
        ProfileResult,
        RenderedProfile,
        RenderedProfileResult,
    )

PROFILE_WIDTHS = (16, 23, 12)
OTHER_WIDTH = 43
"""Columns of the table that the longest cells of the others take, with the gaps."""
LABELS = {"installed": "installed", "updated": "installed", "unchanged": "up to date", "failed": FAILED}
"""Actions of an installation, as the summary names them."""
CHECK_LABELS = LABELS | {"installed": "to install", "updated": "to update"}
"""The same in check mode."""


def render_list(result: ProfileListResult, mode: Mode) -> Rendered:
    """List the profile library."""
    profiles = result["profiles"]
    if not profiles:
        return Rendered([Line("out", "the profile library is empty")])
    rows = [
        (
            shorten(escape_control_characters(profile["name"]), mode.width - OTHER_WIDTH),
            "user (shadows vendor)" if profile["shadows"] else profile["source"],
            "yes" if profile["installed"] else "no",
            drift_label(profile),
        )
        for profile in profiles
    ]
    warnings = [Line("warning", sentence(profile["error"])) for profile in profiles if profile["error"]]
    return Rendered([*table(("NAME", "SOURCE", "INSTALLED", "DRIFT"), rows, PROFILE_WIDTHS), *warnings])


def drift_label(profile: ListedProfile) -> str:
    """Return the cell of the column DRIFT."""
    if profile["error"]:
        return "error"
    if not profile["installed"]:
        return "n/a"
    return "yes" if profile["drift"] else "no"


def render_install(result: ProfileResult, mode: Mode) -> Rendered:
    """Show the result for each profile, and a summary of several."""
    lines: list[Line] = []
    profiles = result["profiles"]
    for profile in profiles:
        name, action, saved = profile["name"], profile["action"], profile.get("saved")
        if saved and mode.check:
            lines.append(Line("out", f"would save the installed {name} in {os.path.dirname(saved)}"))
        elif saved:
            lines.append(Line("done", f"saved the former {name}; to bring it back: {profile['restore_command']}"))
        if action == "unchanged":
            if mode.shows_unchanged or len(profiles) == 1:
                lines.append(Line("done", f"{name} is up to date (source: {profile['source']})"))
        elif action != "failed" and mode.check:
            lines.append(Line("out", f"would {'install' if action == 'installed' else 'update'} {name} (source: {profile['source']})"))
        elif action != "failed":
            lines.append(Line("done", f"installed {name} (source: {profile['source']})"))
        if "warning" in profile:
            lines.append(Line("warning", sentence(profile["warning"])))
            lines += [Line("hint", sentence(hint)) for hint in profile["warning_hints"]]
        if "msg" in profile:
            lines += error_lines(profile["msg"], profile.get("hints") or ())
    labels = CHECK_LABELS if mode.check else LABELS
    lines += summary_lines("profile", [labels[profile["action"]] for profile in profiles])
    return Rendered(lines, worst_exit_code(profiles))


def render_remove(result: ProfileResult, mode: Mode) -> Rendered:
    """Show the result for each profile; one that is not installed is an error."""
    lines: list[Line] = []
    code = worst_exit_code(result["profiles"])
    for profile in result["profiles"]:
        name, action = profile["name"], profile["action"]
        if action == "failed":
            lines += error_lines(profile["msg"], profile.get("hints") or ())
        elif action == "absent":
            code = max(code, 1)
            hints = [f"repoman profile remove {shell_word(match)}   # did you mean {match!r}?" for match in profile.get("suggestions", ())]
            lines += error_lines(f"profile {name!r} is not installed.", (*hints, "repoman profile list"))
        else:
            text = f"{name} from incus" + (f" (file at {profile['file_path']} untouched)" if profile["file_path"] else "")
            lines.append(Line("out", f"would remove {text}") if mode.check else Line("done", f"removed {text}"))
    return Rendered(lines, code)


def render_diff(result: RenderedProfileResult, mode: Mode) -> Rendered:
    """Show the diff of each profile."""
    lines: list[Line] = []
    differ = False
    for profile in result["profiles"]:
        difference = profile.get("vendor_diff", profile.get("diff", ""))
        if profile.get("exit_code"):
            lines += error_lines(profile["msg"], profile["hints"])
        elif "vendor_diff" not in profile and not profile.get("installed", True):
            differ = True
            lines += [Line("out", f"not installed; would install {profile['name']}"), Line("raw", profile["rendered"])]
        elif difference:
            differ = True
            lines += diff_lines(difference)
        else:
            lines.append(Line("out", "no difference"))
    return Rendered(lines, max(int(differ), failed_exit_code(result["profiles"])))


def render_show(result: RenderedProfileResult, mode: Mode) -> Rendered:
    """Print each profile as it would be installed, or its template."""
    lines: list[Line] = []
    for profile in result["profiles"]:
        if profile.get("exit_code"):
            lines += error_lines(profile["msg"], profile["hints"])
        else:
            lines.append(Line("raw", profile["raw"] if "raw" in profile else profile["rendered"]))
    return Rendered(lines, failed_exit_code(result["profiles"]))


def failed_exit_code(profiles: list[RenderedProfile]) -> int:
    """Return the highest exit code of profiles that could not be shown."""
    return max((profile.get("exit_code", 0) for profile in profiles), default=0)


def render_copy(result: ProfileResult, mode: Mode) -> Rendered:
    """Show where each copy is."""
    lines: list[Line] = []
    for profile in result["profiles"]:
        path = profile.get("file_path", "")
        if profile["action"] == "failed":
            lines += error_lines(profile["msg"], profile.get("hints") or ())
        elif profile["action"] == "unchanged":
            lines.append(Line("done", f"{path} is the same already"))
        elif mode.check:
            lines.append(Line("out", f"would copy the template to {path}"))
        else:
            lines.append(Line("done", f"copied the template to {path}"))
    return Rendered(lines, worst_exit_code(result["profiles"]))


VIEWS: Views = {
    "profile_list": render_list,
    "profile_install": render_install,
    "profile_diff": render_diff,
    "profile_remove": render_remove,
    "profile_show": render_show,
    "profile_copy": render_copy,
}
