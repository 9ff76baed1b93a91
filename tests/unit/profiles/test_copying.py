# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies of templates: what they hold, and what they never replace."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import yaml
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import plan_and_apply
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.changes import ProfileContext
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.copying import ProfileCopy
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.library import Library, lookup
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template import Template, parse_template, renamed_text
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template_lock import remove_abandoned_locks, template_lock
from profile_fixtures import HOST, add

TEXT = "# of ${USER}\nname: x  # a name\nconfig: {user.a: '${HOME}'}\n"


def copy(name: str, new: str, context: ProfileContext, check: bool = False) -> ProfileCopy:
    """Copy a template, and return the copy."""
    made = ProfileCopy(name, new, context)
    plan_and_apply([made], check)
    return made


def test_a_copy_is_the_template_as_written(library: Library, context: ProfileContext) -> None:
    """With its variables and comments, as a private file that shadows; again, it is unchanged, and check mode only plans."""
    add(library.vendor_dir, "x", TEXT)
    path = f"{library.user_dir}/x.yml"
    planned = copy("x", "x", context, check=True)
    assert (planned.result["action"], planned.plan.diff[0]["after"], os.listdir(library.user_dir)) == ("copied", TEXT, [])
    made = copy("x", "x", context)
    assert made.result == {"name": "x", "action": "copied", "source": "vendor", "file_path": path}
    assert Path(path).read_text() == TEXT
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(library.user_dir) == ["x.yml"]
    assert lookup("x", library).shadows
    assert copy("x", "x", context).result["action"] == "unchanged"


@pytest.mark.parametrize("file", ["x.yml", "x.yaml", "x.YML"])
@pytest.mark.parametrize("text", ["description: mine\n", ""])
def test_a_file_of_the_user_is_never_replaced(file: str, text: str, library: Library, context: ProfileContext) -> None:
    """Exit code 4, whatever it holds and however its suffix is written."""
    add(library.vendor_dir, "x", TEXT)
    path = Path(library.user_dir) / file
    path.write_text(text)
    refused = copy("x", "x", context)
    assert (refused.result["action"], refused.result["exit_code"]) == ("failed", 4)
    assert refused.result["msg"] == f"{path} exists already."
    assert path.read_text() == text
    assert os.listdir(library.user_dir) == [file]


def test_a_file_that_appears_meanwhile_is_not_replaced(library: Library, context: ProfileContext) -> None:
    """Between plan and write."""
    add(library.vendor_dir, "x", TEXT)
    made = ProfileCopy("x", "x", context)
    made.plan = made.make_plan()
    mine = add(library.user_dir, "x", "description: mine\n")
    plan_and_apply([made], False)
    assert made.result["exit_code"] == 4
    assert Path(mine).read_text() == "description: mine\n"


@pytest.mark.parametrize("name", ["other", "50% ü?x", "null", "007", "my profile"])
def test_a_copy_under_another_name_says_that_name(name: str, library: Library, context: ProfileContext) -> None:
    """Or it would not be its template; the rest is as written."""
    add(library.vendor_dir, "x", TEXT)
    copy("x", name, context)
    text = (Path(library.user_dir) / f"{name}.yml").read_text()
    assert yaml.safe_load(text)["name"] == name
    assert len(set(text.splitlines()) - set(TEXT.splitlines())) == 1
    parse_template(lookup(name, library), HOST)


@pytest.mark.parametrize(
    ("text", "renamed"),
    [
        ("\ufeffname: x\n", "\ufeffname: y\n"),
        ("# 🐙ü\r\nname: 'x'\r\nconfig: {}\r\n", "# 🐙ü\r\nname: y\r\nconfig: {}\r\n"),
        ("{config: {}, name: x}", "{config: {}, name: y}"),
        ("config: {name: x}\n", "config: {name: x}\n"),
        ("description: d\n", "description: d\n"),
        ("", ""),
    ],
)
def test_only_the_name_changes(text: str, renamed: str) -> None:
    """Whatever comes before it."""
    assert renamed_text(Template("x", "user", "/x.yml", False, text), "y") == renamed


@pytest.mark.parametrize(
    ("name", "new", "code"), [("x", "a/b", 2), ("x", "nas:x", 2), ("x", ".x", 2), ("nosuch", "nosuch", 3), ("nosuch", "x", 3)]
)
def test_what_cannot_be_copied(name: str, new: str, code: int, library: Library, context: ProfileContext) -> None:
    """Names that cannot be, and templates that are not there."""
    add(library.vendor_dir, "x", TEXT)
    assert copy(name, new, context).result["exit_code"] == code
    assert os.listdir(library.user_dir) == []


def test_a_template_of_the_users_own_can_be_copied(library: Library, context: ProfileContext) -> None:
    """Under another name; under its own it is there already."""
    add(library.user_dir, "x", TEXT)
    assert copy("x", "x", context).result["action"] == "unchanged"
    assert copy("x", "y", context).result["source"] == "user"


def test_locks_of_killed_runs_are_removed(library: Library, context: ProfileContext) -> None:
    """One that another run holds stays, and so does a file of the user's."""
    add(library.vendor_dir, "x", TEXT)
    directory = Path(library.user_dir)
    (directory / ".killed.lock").touch()
    (directory / ".mine.lock").write_text("text")
    with template_lock(str(directory), "held", context.account):
        remove_abandoned_locks(str(directory), context.account)
        assert sorted(os.listdir(directory)) == [".held.lock", ".mine.lock"]
    assert os.listdir(directory) == [".mine.lock"]
    remove_abandoned_locks(f"{directory}/missing", context.account)
