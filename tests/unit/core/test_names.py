# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names: what can be a profile's or a project's."""

from __future__ import annotations

import re

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import UsageError
from ansible_collections.homelab.repoman.plugins.module_utils.core.names import check_file_name, check_project_name
from hypothesis import given
from hypothesis import strategies as st

NEVER = [
    "",
    ".",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "-x",
    "--all",
    ".hidden",
    "a\nb",
    "a\n",
    "a\x00b",
    "a\x1b[2J",
    "a\x7f",
    "a\udcff",
]


@pytest.mark.parametrize("name", NEVER)
@pytest.mark.parametrize("kind", ["profile", "project"])
def test_a_name_that_leaves_its_directory_or_garbles_the_terminal_is_refused(kind: str, name: str) -> None:
    """Neither kind may have it, and the error is one of usage with a hint."""
    with pytest.raises(UsageError) as caught:
        check_file_name(kind, name)
    assert caught.value.exit_code == 2
    assert caught.value.hints
    assert caught.value.message.isprintable()
    assert kind in caught.value.message


@pytest.mark.parametrize("name", ["claude-share", "my profile", "größe", "a.b", "007", "x" * 200])
def test_any_other_file_name_is_a_profile_name(name: str) -> None:
    """It is returned as it is."""
    assert check_file_name("profile", name) == name


@pytest.mark.parametrize("name", [*NEVER, "1abc", "a_b", "a b", "a.b", "abc-", "größe", "x" * 64, "isurus\n"])
def test_a_name_incus_would_not_take_is_no_project_name(name: str) -> None:
    """Incus's rule for instances is checked before anything else happens."""
    with pytest.raises(UsageError):
        check_project_name(name)


@pytest.mark.parametrize("name", ["a", "A", "isurus", "my-project-2", "a--b", "x" * 63])
def test_names_of_instances_are_project_names(name: str) -> None:
    """They are returned as they are."""
    assert check_project_name(name) == name


def test_the_hint_says_how_a_directory_of_another_name_gets_a_project() -> None:
    """A directory my_repo needs a project of another name and --repo."""
    with pytest.raises(UsageError) as caught:
        check_project_name("my_repo")
    assert any("--repo" in hint for hint in caught.value.hints)


@given(st.text(max_size=70))
def test_what_is_accepted_is_one_plain_path_component(name: str) -> None:
    """Whatever comes in, an accepted name has no way out of a directory, and an accepted project name is a host name."""
    try:
        check_file_name("profile", name)
    except UsageError:
        with pytest.raises(UsageError):
            check_project_name(name)
        return
    assert "/" not in name
    assert "\0" not in name
    assert name[0] not in ".-"
    try:
        check_project_name(name)
    except UsageError:
        return
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9-]{0,62}", name, re.ASCII)
    assert not name.endswith("-")
