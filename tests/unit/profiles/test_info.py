# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``repoman_profile_info`` returns, and which arguments ``repoman_profile`` refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import run_logic
from ansible_collections.homelab.repoman.plugins.module_utils.profiles import run
from ansible_collections.homelab.repoman.plugins.modules import repoman_profile, repoman_profile_info
from profile_fixtures import add
from scripted_daemon import Daemon, Reply

LISTED = {"name", "source", "file_path", "installed", "drift", "shadows", "error", "empty_file"}
FROM_INCUS = {"installed", "drift"}
TEMPLATES = ("raw", "rendered", "vendor_diff")
"""Texts for which Incus is not asked."""
Ask = Callable[..., dict[str, Any]]
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a module leaves its connection to the end


@pytest.fixture
def ask(tmp_path: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """A function that runs one of the two modules on a library with the templates a, b (not installed) and broken."""
    monkeypatch.setenv("HOME", str(tmp_path))
    directories = {name: str(tmp_path / name) for name in ("user_dir", "vendor_dir")}
    for directory in directories.values():
        Path(directory).mkdir()
    add(directories["vendor_dir"], "a", "description: vendor\n")
    add(directories["user_dir"], "a", "description: user\n")
    add(directories["vendor_dir"], "b", "description: b\n")
    add(directories["user_dir"], "broken", "config: [\n")
    daemon.default = lambda _seen: Reply([{"name": "a", "description": "by hand", "config": {}, "devices": {}}])

    def call(module: Any = repoman_profile_info, check: bool = False, **options: Any) -> dict[str, Any]:
        params = {name: option.get("default") for name, option in module.SPEC["argument_spec"].items()}
        logic = run.info if module is repoman_profile_info else run.run
        return run_logic(logic, params | directories | {"socket": daemon.path} | options, check)

    return call


@pytest.mark.parametrize("text", ["raw", "rendered", "diff", "vendor_diff"])
def test_a_text_is_an_addition(ask: Ask, daemon: Daemon, text: str) -> None:
    """With each of the options, a profile has what the list has, and the text; Incus is only asked if its profiles matter."""
    (listed,) = (profile for profile in ask()["profiles"] if profile["name"] == "a")
    daemon.seen.clear()
    (profile,) = ask(names=["a"], **{text: True})["profiles"]
    assert listed.keys() == LISTED and listed["drift"] and listed["shadows"]
    keys = LISTED - FROM_INCUS if text in TEMPLATES else LISTED
    assert {key: profile[key] for key in keys} == {key: listed[key] for key in keys} and bool(daemon.seen) == (text not in TEMPLATES)
    assert profile.keys() - LISTED == {text} | ({"rendered"} if text == "diff" else set()) and "user" in profile[text]


@pytest.mark.parametrize("texts", [{}, {"raw": True}, {"rendered": True, "diff": True}])
@pytest.mark.parametrize(("name", "code"), [("nosuch", 3), ("a/b", 2)])
def test_one_bad_name_is_its_own_error(ask: Ask, texts: dict[str, bool], name: str, code: int) -> None:
    """The others are returned, in the order of the names; the task fails with that error."""
    result = ask(names=["b", name, "a"], **texts)
    assert result["failed"] and result["exit_code"] == code and result["hints"]
    b, bad, a = result["profiles"]
    assert (a["name"], b["name"]) == ("a", "b") and not a["error"] and "exit_code" not in a and texts.keys() <= b.keys()
    assert (bad["name"], bad["error"], bad["msg"], bad["exit_code"]) == (name, result["msg"], result["msg"], code)
    assert bad.keys() >= (LISTED - FROM_INCUS if texts.keys() == {"raw"} else LISTED) and not texts.keys() & bad.keys()


def test_a_template_that_cannot_be_rendered(ask: Ask) -> None:
    """It can be listed and shown as written; rendering it is an error."""
    listed, raw = (ask(names=["broken"], **options) for options in ({}, {"raw": True}))
    assert not listed.get("failed") and listed["profiles"][0]["error"]
    assert raw["profiles"][0]["raw"] == "config: [\n" and not raw.get("failed")
    rendered = ask(names=["broken", "a"], rendered=True)
    assert rendered["failed"] and rendered["profiles"][0]["exit_code"] and rendered["profiles"][1]["rendered"]
    assert rendered["profiles"][0]["source"] == "user"


def test_templates_are_shown_without_incus(ask: Ask) -> None:
    """Then nothing says whether they are installed; a diff or the list needs Incus."""
    for text in ("raw", "rendered", "vendor_diff"):
        (profile,) = ask(names=["a"], socket="/nonexistent", **{text: True})["profiles"]
        assert profile[text] and LISTED - profile.keys() == FROM_INCUS
    for options in ({}, {"names": ["a"]}, {"names": ["a"], "diff": True, "raw": True}):
        assert ask(socket="/nonexistent", **options)["exit_code"] == 1


@pytest.mark.parametrize("state", ["present", "absent", "copied"])
@pytest.mark.parametrize("options", [{}, {"all": False}, {"all": True, "names": ["a"]}])
def test_names_or_all(ask: Ask, state: str, options: dict[str, Any]) -> None:
    """One of them is required, and only one; an empty list is a list."""
    result = ask(repoman_profile, state=state, **options)
    assert result["failed"] and result["exit_code"] == 2 and result["hints"]
    assert ask(repoman_profile, state=state, names=[]) == {"changed": False, "profiles": [], "diff": []}


@pytest.mark.parametrize("value", [0, -1, -0.5, float("inf"), float("nan"), 1e12])
@pytest.mark.parametrize("option", ["timeout", "vcs_timeout", "probe_timeout", "idle_timeout"])
def test_seconds_are_positive(option: str, value: float) -> None:
    """A number that nothing can wait for is a wrong argument, before anything is done."""
    result = run_logic(lambda params, check: {"changed": True}, {option: value}, False)
    assert result["failed"] and result["exit_code"] == 2 and result["msg"].startswith(f"{option} is ") and result["hints"]
    assert run_logic(lambda params, check: {"changed": True}, {option: 0.1}, False) == {"changed": True}
