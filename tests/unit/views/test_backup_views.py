# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What sync and restore say, while they work and after."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.progress import Progress
from ansible_collections.homelab.repoman.plugins.module_utils.backup.progress_display import ProgressDisplay
from ansible_collections.homelab.repoman.plugins.module_utils.backup.results import Action, UnitResult
from ansible_collections.homelab.repoman.plugins.module_utils.core import progress
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import format_bytes, plural
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.common import Mode
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.render import render

SUMMARY = {"synced": 1, "unchanged": 1, "failed": 1, "busy": 1, "files": 5, "bytes": 18234, "kept_bytes": 411, "seconds": 0.84}


def unit(name: str, action: str, **more: Any) -> dict[str, Any]:
    """Return the line of a unit."""
    return {"name": name, "action": action, "files": 0, "bytes": 0, "kept_bytes": 0} | more


def said(view: str, result: dict[str, Any], failed: bool = False, check: bool = False, output: str = "quiet") -> tuple[list[str], int]:
    """Return the lines of a view and its exit code."""
    told = render(view, result, failed, Mode(check, output=output))
    return [line.render() for line in told.lines], told.exit_code


def test_a_run_is_told_in_a_table_and_a_total() -> None:
    """A run is told in a table, its failures after that, and a total; the worst exit code wins."""
    units = [
        unit("isurus", "synced", files=5, bytes=18234, kept_bytes=411, notes=["owner 0 cannot be given"]),
        unit("plain\n", "unchanged"),
        unit("hammer", "busy", msg="hammer is being written.", hints=["run the command again"], exit_code=1, sync_age=180000),
        unit("white", "failed", msg="white is gone.", hints=["repoman restore white"], exit_code=4),
    ]
    result = {"units": units, "steps": ["make /b the backup of /r"], "summary": SUMMARY}
    lines, code = said("sync", result, failed=True)
    assert code == 4
    table = [
        "==> made /b the backup of /r",
        "NAME      STATE        FILES   BYTES     HISTORY",
        "isurus    synced       5       18.2 kB   411 B",
        "plain\\n   up to date   -       -         -",
        "hammer    too busy     -       -         -",
        "white     failed       -       -         -",
    ]
    rest = [
        "==> 1 synced, 1 up to date, 1 too busy, 1 failed; 5 files, 18.2 kB copied, 411 B to the history, 0.8 s",
        "repoman: warning: isurus: owner 0 cannot be given",
        "repoman: error: hammer is being written. Last backup: 2 days ago.",
        "hint: run the command again",
        "repoman: error: white is gone.",
        "hint: repoman restore white",
    ]
    unchanged = table.pop(3)
    assert [line.split() for line in lines] == [line.split() for line in table + rest]
    lines, _code = said("sync", result, failed=True, output="normal")
    assert lines == [*table[:3], unchanged, *table[3:], *rest]


def test_an_unchanged_run_is_one_line() -> None:
    """Without a table, unless the output is normal, or one thing was asked for; what could not be verified is counted."""
    summary = {"unchanged": 2, "files": 0, "bytes": 0, "kept_bytes": 0, "seconds": 0.5}
    result = {"units": [unit("a", "unchanged"), unit("b", "unchanged")], "steps": [], "summary": summary | {"unverified": 2}}
    last = ["==> 2 up to date; 0 files, 0 B copied, 0 B to the history, 0.5 s"]
    last.append("2 repositories are backed up but cannot be verified: repoman status --all")
    assert said("sync", result)[0] == last
    assert len(said("sync", result, output="normal")[0]) == 3 + len(last)
    alone = {"units": [unit("a", "unchanged")], "steps": [], "summary": summary}
    assert said("sync", alone)[0][1].split() == ["a", "up", "to", "date", "-", "-", "-"]


def test_a_plan_is_told_as_one() -> None:
    """In check mode it says what would be."""
    summary = {"synced": 1, "retired": 1, "files": 1, "bytes": 0, "kept_bytes": 0, "seconds": 0.1}
    units = [unit("isurus", "synced", files=1), unit("old", "retired")]
    lines, code = said("sync", {"units": units, "steps": [], "summary": summary}, check=True)
    assert code == 0
    assert lines[1:] == [
        "isurus   to sync     1       -       -",
        "old      to retire   -       -       -",
        "1 to sync, 1 to retire; 1 file, 0.1 s",
    ]


def test_a_prediction_says_what_goes_to_the_history() -> None:
    """Files that are changed or removed, as before a backup is taken over."""
    units = [
        unit("isurus", "synced", files=9, created=2, changed=3, removed=4),
        unit("lamna", "synced", files=1, created=1, changed=0, removed=0),
    ]
    summary = {"synced": 2, "files": 10, "bytes": 0, "kept_bytes": 0, "seconds": 0.1}
    assert (
        said("sync", {"units": units, "steps": [], "summary": summary}, check=True)[0][-1] == "2 to sync; 10 files, 7 to the history, 0.1 s"
    )


def test_differences_are_told_and_not_all() -> None:
    """What verify found is told, up to a number; the exit status is 1."""
    units = [unit("isurus", "differs", differences=[f">f {number}" for number in range(60)]), unit("plain", "same")]
    summary = {"differs": 1, "same": 1, "files": 0, "bytes": 0, "kept_bytes": 0, "seconds": 1.0}
    lines, code = said("sync", {"units": units, "steps": [], "summary": summary}, failed=True)
    assert code == 1
    assert "isurus: >f 49" in lines and "isurus: >f 50" not in lines
    assert "isurus: and 10 more; --json has all" in lines
    assert lines[-2] == "==> 1 same, 1 differs; 1.0 s"
    assert lines[-1].startswith("hint: repoman sync --full isurus   # ")


def test_what_is_kept() -> None:
    """What is kept is listed, with how to get it back."""
    kept = [{"time": "20261125T120000Z", "files": 2, "bytes": 8, "path": "/b/.repoman/kept/20261125T120000Z/plain"}]
    lines, _code = said("sync", {"name": "plain", "kept": kept})
    assert lines[1].split() == ["20261125T120000Z", "2", "8", "B", kept[0]["path"]]
    assert lines[2] == "next: repoman restore plain --from 20261125T120000Z --to DIR"
    assert said("sync", {"name": "plain", "kept": []})[0] == ["the history has no versions of plain"]


def test_a_restore_names_what_it_saved() -> None:
    """A restore names what it saved; one that found nothing to do says so."""
    restored = {"name": "shark", "to": "/r/isurus", "saved": "/r/isurus.before-x", "has_container": True}
    steps = ["save the existing files as /r/isurus.before-x", "restore shark to /r/isurus (3 files)"]
    lines, _code = said("restore", {"steps": steps, "restored": restored})
    assert lines == ["==> saved the existing files as /r/isurus.before-x", "==> restored shark to /r/isurus (3 files)"]
    assert said("restore", {"steps": ["restore it"], "restored": restored | {"saved": ""}})[0] == ["==> restored it"]
    assert said("restore", {"steps": [], "restored": restored})[0] == ["==> /r/isurus already matches the backup"]
    assert said("restore", {"steps": ["restore it"], "restored": restored}, check=True)[0] == ["would restore it"]


def test_numbers_as_people_read_them() -> None:
    """Bytes and files as people read them."""
    assert [format_bytes(size) for size in (0, 999, 1000, 18234, 10**9, 5 * 10**12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "18.2 kB",
        "1.0 GB",
        "5.0 TB",
    ]
    assert [plural(number) for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True

    def fileno(self) -> int:
        """Return a real one, for its size."""
        return 1


@pytest.fixture
def captured_progress() -> Iterator[None]:
    """Leave nobody listening."""
    yield
    progress.set_output(None)


def work(display: ProgressDisplay) -> None:
    """Go on as a run does."""
    display.update(Progress(total=103))
    display.update(Progress(3, 2000, {f"unit{number}": "copying \x1b[31m" for number in range(14)}))
    display.unit_finished(UnitResult("isurus", Action.SYNCED, files=1, bytes=5))
    display.unit_finished(UnitResult("plain", Action.UNCHANGED))
    display.unit_finished(UnitResult("white", Action.FAILED))
    display.unit_finished(UnitResult("whale", Action.RETIRED))


def test_elsewhere_than_on_a_terminal_a_line_for_each_unit(captured_progress: None) -> None:
    """Elsewhere than on a terminal there is a plain line for each unit that something came of."""
    stream = io.StringIO()
    progress.set_output(stream)
    with ProgressDisplay(check=False) as display:
        work(display)
    assert stream.getvalue() == "isurus: synced, 1 file, 5 B\nwhite: failed\nwhale: retired\n"


def test_on_a_terminal_live_lines(captured_progress: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal there is a live line for each running unit, up to a number, and a total; all go away."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(os, "get_terminal_size", lambda *_where: os.terminal_size((100, 40)))
    stream = Terminal()
    progress.set_output(stream)
    with ProgressDisplay(check=False) as display:
        work(display)
    text = stream.getvalue()
    assert "unit11: copying" in text and "and 2 more" in text and "sync: 0 of 103, 3 files, 2.0 kB" in text
    assert "sync: 4 of 103, 3 files, 2.0 kB" in text and "/s: unit0" in text
    assert "\x1b[31m" not in text
    assert "synced" not in text
    assert text.rstrip().endswith(("\x1b[2K", "\x1b[?25h"))


def test_nobody_listens_or_nothing_is_done(captured_progress: None) -> None:
    """In check mode, or where nobody listens, nothing is shown."""
    stream = io.StringIO()
    with ProgressDisplay(check=False) as display:
        work(display)
    progress.set_output(stream)
    with ProgressDisplay(check=True) as display:
        work(display)
    assert stream.getvalue() == ""


def restored_unit(name: str, action: str, **more: Any) -> dict[str, Any]:
    """Return what became of one of several."""
    facts = {"to": f"/r/{name}", "files": 3, "bytes": 1200, "saved": "", "has_container": False, "replaces_directory": True}
    return {"name": name, "action": action, **facts, **more}


def test_a_restore_of_several() -> None:
    """Changed ones in a table, then what was saved, the summary, and errors last; in a check, in the conditional."""
    units = [
        restored_unit("a", "restored", saved="/r/a.before-x"),
        restored_unit("b", "same"),
        restored_unit("c", "failed", to="", files=0, bytes=0, msg="c exists.", hints=["repoman restore c --overwrite"], exit_code=4),
        restored_unit("d", "busy", to="", files=0, bytes=0, msg="another run", hints=[], exit_code=1),
    ]
    summary = {"restored": 1, "same": 1, "failed": 1, "busy": 1, "files": 3, "bytes": 1200, "seconds": 3.21}
    result = {"steps": ["restore a to /r/a (3 files)"], "units": units, "summary": summary}
    lines, code = said("restore", result)
    assert code == 4
    assert lines == [
        "NAME   STATE      FILES   BYTES",
        "a      restored   3       1.2 kB",
        "c      failed     -       -",
        "d      too busy   -       -",
        "a: the existing files were saved in /r/a.before-x",
        "==> 1 restored, 1 same, 1 too busy, 1 failed; 3 files, 1.2 kB, 3.2 s",
        "repoman: error: c exists.",
        "hint: repoman restore c --overwrite",
        "repoman: error: another run",
    ]
    lines, _code = said("restore", result, check=True)
    assert lines[1].split()[1:3] == ["to", "restore"] and "would be saved in" in lines[4] and lines[5].startswith("1 to restore, 1 same")
    assert said("restore", {"steps": [], "units": [], "summary": {}}) == (["there is nothing to restore"], 0)


def test_containers_that_show_a_restored_directory_are_named() -> None:
    """In the past tense, in a check in the conditional; without Incus, the user is reminded of them. The result of the restore gets their names."""
    done = {"name": "demo", "action": "updated", "steps": ["remount /r/isurus in demo"], "differences": []}
    other = {"name": "limits", "action": "updated", "steps": ["update container limits"], "differences": []}
    lost = {"name": "other", "action": "failed", "msg": "other is busy.", "hints": ["again"], "exit_code": 4, "steps": []}
    failure = {"failed": True, "msg": "other is busy.", "hints": ["again"]}
    result = render("remount", {"projects": [done, other, lost], **failure, "exit_code": 4}, True, Mode())
    assert [line.render() for line in result.lines] == [
        "==> remounted /r/isurus in demo",
        "==> updated container limits",
        "repoman: error: other is busy.",
        "hint: again",
    ]
    steps = ["remount /r/isurus in demo", "update container limits"]
    assert (result.exit_code, result.added) == (4, failure | {"remounted": ["demo"], "steps": steps})
    summary = {"name": "demo", "container_path": "/r/isurus"}
    result = render("remount", {"msg": {"projects": [summary]}}, False, Mode(check=True))
    assert [line.render() for line in result.lines] == ["would remount /r/isurus in demo"]
    assert result.added == {"remounted": ["demo"], "steps": steps[:1]}
    result = render("remount", {"msg": {"projects": []}}, False, Mode())
    assert (result.lines, result.added) == ([], {"remounted": [], "steps": []})
    result = render("remount", {"msg": {}}, False, Mode())
    assert [line.render() for line in result.lines] == ["a running container may still see the previous contents; restart it"]
    assert result.added == {"remounted": []} and render("remount", {"msg": {}}, False, Mode(check=True)).lines == []


def test_a_remount_that_fails_as_a_whole_completes_the_result_of_the_restore() -> None:
    """As one that fails for a project: ``--json`` has one form for both."""
    failure = {"failed": True, "msg": "there is no incus socket.", "hints": ["start it"]}
    result = render("remount", failure | {"changed": False, "exit_code": 1}, True, Mode())
    assert [line.render() for line in result.lines] == ["repoman: error: there is no incus socket.", "hint: start it"]
    assert (result.exit_code, result.added) == (1, failure | {"remounted": []})


def test_the_settings_are_told_if_they_changed_or_failed() -> None:
    """A step says that they were backed up, an error that they were not; a difference is named, without a count among the units."""
    summary = SUMMARY | {"unchanged": 1}
    settings = unit("(settings)", "synced")
    result = {"units": [unit("a", "unchanged")], "steps": ["back up the settings (3 files)"], "summary": summary, "settings": settings}
    lines, code = said("sync", result)
    assert "==> backed up the settings (3 files)" in lines and code == 0
    assert "would back up the settings (3 files)" in said("sync", result, check=True)[0]
    assert not [line for line in lines if "(settings)" in line]
    settings |= {"action": "failed", "msg": "9 of 9 settings are gone.", "hints": ["repoman restore --settings"], "exit_code": 4}
    lines, code = said("sync", result | {"steps": [], "settings": settings}, failed=True)
    assert [line for line in lines if "9 of 9" in line or "restore --settings" in line] == lines[-2:] and code == 4
    settings = unit("(settings)", "differs") | {"differences": ["repoman.toml differs"]}
    lines, code = said("sync", result | {"steps": [], "settings": settings}, failed=True)
    assert "(settings): repoman.toml differs" in lines and code == 1


def test_a_run_that_is_only_about_the_settings_shows_them_as_its_unit() -> None:
    """Their state is the line of the run, and nothing says that there was nothing to do."""
    result = {"units": [], "steps": [], "summary": SUMMARY, "settings": unit("(settings)", "unchanged")}
    lines, code = said("sync", result)
    assert [line.split() for line in lines] == [
        ["NAME", "STATE", "FILES", "BYTES", "HISTORY"],
        ["(settings)", "up", "to", "date", "-", "-", "-"],
    ]
    assert code == 0
    del result["settings"]
    assert "there is nothing to back up" in said("sync", result)[0]


def test_restored_settings_are_told_step_by_step() -> None:
    """Where the existing files are, then each file; or that there was nothing to do. Their versions have the command to restore them."""
    restored = {"name": "(settings)", "to": "/home/a/.config/repoman", "saved": "/s"}
    result = {"steps": ["save the existing files in /s", "restore /x", "replace /y"], "restored": restored}
    assert said("restore", result) == (["==> saved the existing files in /s", "==> restored /x", "==> replaced /y"], 0)
    assert said("restore", result, check=True)[0][2] == "would replace /y"
    nothing = "==> the settings in /home/a/.config/repoman already match the backup"
    assert said("restore", result | {"steps": []}) == ([nothing], 0)
    version = {"time": "20261125T120000Z", "files": 2, "bytes": 5, "path": "/b"}
    assert said("sync", {"name": "(settings)", "kept": [version]})[0][-1] == "next: repoman restore --settings --from 20261125T120000Z"
