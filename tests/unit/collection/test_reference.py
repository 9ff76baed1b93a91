# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The reference pages and the man page are those of the command and of the registry's reader."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.registry import keys
from ansible_collections.homelab.repoman.plugins.module_utils.registry.override import load_override

from repoman.cli.verbs import VERBS

ROOT = Path(__file__).parents[3]
PAGES = ("docs/docsite/rst/command_reference.rst", "docs/docsite/rst/registry_reference.rst", "docs/man/repoman.1")


def test_pages_are_up_to_date() -> None:
    """``make docs-reference`` would change nothing."""
    command = [sys.executable, ROOT / "scripts/write_reference.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 0, done.stderr


def test_pages_have_every_verb_and_key() -> None:
    """Each verb has a section in both forms, and each key of the registry its row."""
    command, registry, man = ((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    assert [verb.words for verb in VERBS if f"\nrepoman {verb.words}\n---" not in command] == []
    assert [verb.words for verb in VERBS if "\n.SS {}\n".format(verb.words.replace("-", r"\-")) not in man] == []
    tables = (*keys.REPOMAN, *keys.HOST, *keys.DEFAULTS, *keys.PROJECT, *keys.OVERRIDE)
    assert [key.name for key in tables if f"* - ``{key.name}``" not in registry] == []


def test_man_page_is_clean() -> None:
    """groff has no warning, and no line is longer than a terminal of 80 columns."""
    command = ["groff", "-man", "-ww", "-Tutf8", "-rLL=80n", "-P-c", "-P-b", "-P-u", ROOT / PAGES[2]]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode()
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert "repoman profile install NAME...|--all [--force]" in text and "\\" not in text


def test_example_of_an_override_is_one(tmp_path: Path) -> None:
    """The reader takes the example of the page."""
    page = (ROOT / PAGES[1]).read_text(encoding="utf-8")
    lines = page.partition(".. code-block:: toml\n\n")[2].partition(".. list-table")[0].splitlines()
    text = "\n".join(line.removeprefix("   ") for line in lines)
    (tmp_path / "repos.d").mkdir()
    (tmp_path / "repos.d/demo.toml").write_text(text)
    settings = load_override(str(tmp_path / "repoman.toml"), "demo")
    assert settings.devices["data"]["shift"] == "true" and settings.protect == keys.PROTECTABLE
    assert tomllib.loads(text).keys() <= {key.name for key in keys.OVERRIDE}


@pytest.mark.parametrize("page", PAGES)
def test_pages_say_how_they_are_made(page: str) -> None:
    """So that nobody edits them by hand."""
    assert "make docs-reference" in (ROOT / page).read_text(encoding="utf-8").splitlines()[0]
