# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make install`` and ``make uninstall``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]
COMPLETIONS = {
    "bash": "share/bash-completion/completions/repoman",
    "zsh": "share/zsh/site-functions/_repoman",
    "fish": "share/fish/vendor_completions.d/repoman.fish",
}
MAN_PAGE = "share/man/man1/repoman.1"


def make(*arguments: str) -> None:
    """Run make in the checkout."""
    done = subprocess.run(["make", "-s", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stderr


def files(place: Path) -> set[str]:
    """Return all that is in a directory, as paths relative to it."""
    return {str(path.relative_to(place)) for path in place.rglob("*")}


def test_install_and_uninstall(tmp_path: Path) -> None:
    """The command and the profiles come under DESTDIR and PREFIX, and go; what somebody put beside the profiles stays."""
    stage, prefix = tmp_path / "stage", tmp_path / "opt"
    make("install", f"DESTDIR={stage}", f"PREFIX={prefix}")
    root = stage / prefix.relative_to("/")
    profiles = root / "share/repoman/profiles"
    assert {path.name: path.stat().st_mode & 0o777 for path in profiles.iterdir()} == {
        "claude-share.yml": 0o644,
        "dotfiles.yml": 0o644,
        "llm-share.yml": 0o644,
    }
    for shell, path in COMPLETIONS.items():
        subprocess.run([shell, "-n", root / path], check=True)
        assert "repoman completion --complete" in (root / path).read_text() and (root / path).stat().st_mode & 0o777 == 0o644
    page = (CHECKOUT / "docs/man/repoman.1").read_text()
    assert page == (root / MAN_PAGE).read_text() == (root / "lib/repoman/venv" / MAN_PAGE).read_text(), "make and the wheel install it"
    assert not prefix.exists()
    root.rename(prefix)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run([prefix / "bin/repoman", "--version"], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, "0.4.0" in done.stdout) == (0, True), done.stderr
    planted = tmp_path / "repository/repoman"
    planted.mkdir(parents=True)
    for name in ("__init__.py", "__main__.py"):
        (planted / name).write_text("raise SystemExit('planted')\n")
    done = subprocess.run(
        [prefix / "bin/repoman", "--version"], capture_output=True, text=True, check=False, env=environment, cwd=planted.parent
    )
    assert (done.returncode, "0.4.0" in done.stdout) == (0, True), f"a module in the current directory ran: {done.stderr}"
    (prefix / "share/repoman/profiles/mine.yml").write_text("description: mine\n")
    make("uninstall", f"PREFIX={prefix}")
    standard = {str(parent) for path in (MAN_PAGE, *COMPLETIONS.values()) for parent in Path(path).parents} - {"."} | {"bin", "lib"}
    assert files(prefix) == standard | {"share/repoman", "share/repoman/profiles", "share/repoman/profiles/mine.yml"}
    (prefix / "share/repoman/profiles/mine.yml").unlink()
    make("uninstall", f"PREFIX={prefix}")
    assert files(prefix) == standard, "the directories of other packages stay"
