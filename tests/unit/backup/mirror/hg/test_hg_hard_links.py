# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files in a Mercurial repository that become one file: hg itself links ``undo.dirstate`` to ``dirstate``, and tools link what is equal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mirroring import MirrorSandbox, hg, hg_problems, run

PAIRS = [
    ("dirstate", "undo.dirstate"),
    ("last-message.txt", "undo.desc"),
    ("store/phaseroots", "store/undo.phaseroots"),
    ("store/00changelog.i", "store/undo.phaseroots"),
]


@pytest.mark.parametrize(("kept", "replaced"), PAIRS, ids=[" ".join(each) for each in PAIRS])
@pytest.mark.parametrize("committed", [False, True], ids=["at rest", "committed"])
def test_a_file_becomes_a_link_to_another(tmp_path: Path, kept: str, replaced: str, committed: bool) -> None:
    """The mirror has one file, too, and the history has what was replaced."""
    place = MirrorSandbox(tmp_path)
    run("hg", "init", "work", cwd=place.repos)
    repository = place.repos / "work"
    for number in range(3):
        (repository / f"file{number}").write_text("x")
        hg(repository, "commit", "-q", "-A", "-m", str(number))
    (repository / ".hg" / replaced).unlink(missing_ok=True)
    (repository / ".hg" / replaced).write_text("its own contents")
    place.settled()
    if committed:
        (repository / "more").write_text("x")
        hg(repository, "commit", "-q", "-A", "-m", "more")
    (repository / ".hg" / replaced).unlink(missing_ok=True)
    os.link(repository / ".hg" / kept, repository / ".hg" / replaced)
    place.settled()
    mirror = place.target / "work/.hg"
    assert (mirror / kept).stat().st_ino == (mirror / replaced).stat().st_ino
    assert hg_problems(place.target / "work") == ""
    texts = [each.read_bytes() for each in place.kept().rglob(f"{Path(replaced).name}*") if each.is_file()]
    assert b"its own contents" in texts
    place.settled()
