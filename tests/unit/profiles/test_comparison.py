# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Diffs of profiles and templates."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.comparison import diff, diff_vendor, show, unified
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.installed import read_installed
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.library import Library
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template import canonical
from profile_fixtures import HOST, add, body_of


def test_both_sides_of_a_diff_have_one_form() -> None:
    """Keys sorted, texts that look like something else in quotes, nothing wrapped; it parses to what it was."""
    body = {"devices": {"b": {"x": "true"}, "a": {"y": "007"}}, "config": {"k": "word " * 60}, "description": "ü"}
    text = canonical(body)
    assert yaml.safe_load(text) == body
    assert text == canonical(dict(reversed(body.items())))
    assert text.index("config:") < text.index("description:") < text.index("devices:")
    assert "ü" in text
    assert max(map(len, text.splitlines())) > 300
    assert canonical(None) == ""


@pytest.mark.parametrize(
    "text", ["a\nb: c\n", "a\n\n\nb", "  a\nb\n\n", "\n", "\na", "a \nb", "a\tb\nc", "- a\n# b\n", "a\r\nb", "\u2028\na"]
)
def test_texts_of_several_lines_stay_the_same(text: str) -> None:
    """They are blocks where YAML can write them as such, and parse to what they were."""
    assert yaml.safe_load(canonical({"config": {"k": text}})) == {"config": {"k": text}}
    assert canonical({"k": "a\nb: c\n"}) == "k: |\n  a\n  b: c\n"
    assert yaml.safe_dump({"k": "a\nb"}) == "k: 'a\n\n  b'\n", "other programs in this process write YAML as before"


def test_a_unified_diff_names_both_sides() -> None:
    """Equal texts have none."""
    assert unified("a\nb\n", "a\nb\n", "x", "y") == ""
    assert unified("a\nb\n", "a\nc\n", "old", "new") == "--- old\n+++ new\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"


def test_a_vendor_diff_compares_data_not_form(library: Library) -> None:
    """Differences in comments and quotes do not count."""
    theirs = add(library.vendor_dir, "x", "description: about\nconfig: {a: '1'}\n")
    mine = add(library.user_dir, "x", "# my own\nconfig:\n  a: 1\ndescription: 'about'\n")
    assert diff_vendor("x", library, HOST) == ""
    add(library.user_dir, "x", "config:\n  a: 2\ndescription: 'about'\n")
    said = diff_vendor("x", library, HOST)
    assert said.startswith(f"--- {theirs}\n+++ {mine}\n")
    assert "-  a: '1'\n+  a: '2'\n" in said


def test_diffs_hide_what_may_be_secret(library: Library, daemon: Any, client: incus.Client, reply: Any) -> None:
    """Both sides follow the rule of ``install --diff``; a changed value is still a difference."""
    secrets = "config: {{environment.TOKEN: {0}, limits.cpu: '{1}'}}\ndevices: {{x: {{type: unix-char, passphrase: {0}}}}}\n"
    add(library.vendor_dir, "x", secrets.format("old-one", 1))
    add(library.user_dir, "x", secrets.format("new-one", 1))
    installed = reply([body_of(secrets.format("old-one", 1)) | {"name": "x", "used_by": []}])
    daemon.say(installed, installed, installed)
    for text in (diff_vendor("x", library, HOST), diff("x", library, HOST, read_installed(client)["x"])["diff"]):
        assert "old-one" not in text and "new-one" not in text
        assert "-  environment.TOKEN: (not shown)\n+  environment.TOKEN: (not shown, another one)\n" in text
        assert "-    passphrase: (not shown)\n+    passphrase: (not shown, another one)\n" in text
    add(library.user_dir, "x", secrets.format("old-one", 2))
    for text in (diff_vendor("x", library, HOST), diff("x", library, HOST, read_installed(client)["x"])["diff"]):
        assert "old-one" not in text and "-  limits.cpu: '1'\n+  limits.cpu: '2'\n" in text and "another one" not in text
    add(library.user_dir, "x", secrets.format("old-one", 1))
    assert diff_vendor("x", library, HOST) == diff("x", library, HOST, read_installed(client)["x"])["diff"] == ""


def test_shown_templates_are_rendered_and_checked(library: Library) -> None:
    """Comments included; a broken one is not shown as if it were right."""
    add(library.user_dir, "x", "# hello ${USER}\nconfig: {}\n")
    assert show("x", library, HOST) == "# hello alice\nconfig: {}\n"
    add(library.user_dir, "y", "confg: {}\n")
    with pytest.raises(NotFoundError, match="confg"):
        show("y", library, HOST)
