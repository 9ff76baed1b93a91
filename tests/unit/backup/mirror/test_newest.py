# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The newest git and Mercurial are as new as tests need them."""

from __future__ import annotations

import subprocess
from pathlib import Path


def test_git_has_refs_in_tables(newest_git: Path, tmp_path: Path) -> None:
    """It makes, clones and proves a repository in the reftable format, also through programs that it starts itself."""
    source = tmp_path / "source"
    for command in (
        ("init", "-q", "--ref-format=reftable", str(source)),
        ("-C", str(source), "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "--allow-empty", "-m", "first"),
        ("clone", "-q", "--no-local", "--ref-format=reftable", source.as_uri(), str(tmp_path / "clone")),
        ("-C", str(tmp_path / "clone"), "fsck", "--full"),
    ):
        subprocess.run([newest_git, *command], check=True, capture_output=True)
    assert (tmp_path / "clone/.git/reftable/tables.list").is_file()


def test_hg_has_formats_of_its_own(newest_hg: Path, tmp_path: Path) -> None:
    """It makes repositories in a format that an older host's Mercurial does not know."""
    subprocess.run(
        [newest_hg, "init", "--config", "format.use-delta-info-flags=yes", str(tmp_path / "source")], check=True, capture_output=True
    )
    assert "delta-info-revlog" in (tmp_path / "source/.hg/store/requires").read_text()
