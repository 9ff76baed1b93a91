# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The picture of the architecture shows the imports of the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
DEVELOPMENT = ROOT / "docs/development"


def test_picture_is_up_to_date() -> None:
    """``python3 scripts/draw_architecture.py`` would change nothing."""
    done = subprocess.run([sys.executable, ROOT / "scripts/draw_architecture.py", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_links_and_folders_exist() -> None:
    """Every link in the papers leads somewhere, and every folder that they name exists."""
    for page in (*DEVELOPMENT.glob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "README.md"):
        text = page.read_text(encoding="utf-8")
        links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)#:]+)\)", text)]
        assert [link for link in links if not (page.parent / link).exists()] == [], page
        folders = re.findall(r"`((?:plugins|src|tests|docs|roles|playbooks|scripts|changelogs)/[\w./-]+)`", text)
        assert [folder for folder in folders if not (ROOT / folder).exists()] == [], page


def test_folders_of_the_logic_are_described() -> None:
    """The table in architecture.md has every folder of ``module_utils``."""
    text = (DEVELOPMENT / "architecture.md").read_text(encoding="utf-8")
    shared = ROOT / "plugins/module_utils"
    folders = {path.name for path in shared.iterdir() if any(path.glob("*.py"))}
    folders |= {f"backup/{path.name}" for path in (shared / "backup").iterdir() if any(path.glob("*.py"))}
    assert {folder for folder in folders if f"`{folder}`" not in text} == set()
