# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The error of a failed write says whether the file was changed."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import write_atomic
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account


def test_error_before_and_after_the_rename(tmp_path: Path, me: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only before it, the file was not changed."""
    path = tmp_path / "file"
    path.write_text("old")
    sync = os.fsync
    for kind, sentence, content in (
        (stat.S_ISREG, "it was not changed", "old"),
        (stat.S_ISDIR, "it has its new content, which a power failure may undo", "new"),
    ):

        def fail(fd: int, kind: object = kind) -> None:
            if kind(os.fstat(fd).st_mode):  # type: ignore[operator]
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            sync(fd)

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(RepomanError) as caught:
            write_atomic(str(path), "new", me)
        assert caught.value.message == f"cannot write {path}: Input/output error; {sentence}."
        assert path.read_text() == content and list(tmp_path.glob(".*")) == []
