# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that are put back into a repository."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.source_repair import replace_file


@pytest.mark.parametrize("moment", ["write", "rename"])
def test_a_killed_run_leaves_nothing_after_the_next(tmp_path: Path, moment: str) -> None:
    """The next run uses the same temporary name."""
    place, saved = tmp_path / "place", tmp_path / "saved"
    place.mkdir()
    saved.mkdir()
    (place / "file").write_text("damaged")

    def write(out: int) -> None:
        os.write(out, b"sound")

    def kill(*_arguments: object, **_more: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def replace(directory_fd: int) -> None:
        replace_file(directory_fd, b"file", b"temporary", write, os.fsencode(saved / "file"))

    directory_fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        pid = os.fork()
        if not pid:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(os, moment, kill)
                replace(directory_fd)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        assert sorted(os.listdir(place)) == ["file", "temporary"]
        (saved / "file").unlink(missing_ok=True)
        replace(directory_fd)
    finally:
        os.close(directory_fd)
    assert {path.name: path.read_text() for path in place.iterdir()} == {"file": "sound"}
    assert (saved / "file").read_text() == "damaged"
