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
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import staged_name, write_atomic, write_new_bytes
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


@pytest.mark.parametrize("nameless", [True, False])
def test_a_new_file_appears_whole(nameless: bool, tmp_path: Path, me: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is complete, the file has no name that a killed run could leave behind, unless the file system needs one."""
    sync, open_file, names = os.fsync, os.open, []
    directory = tmp_path / "directory"
    directory.mkdir()

    def look(fd: int) -> None:
        names.append(os.listdir(directory))
        sync(fd)

    def refuse(path: str, flags: int, *more: int, **options: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not here")
        return open_file(path, flags, *more, **options)

    monkeypatch.setattr(os, "fsync", look)
    if not nameless:
        monkeypatch.setattr(os, "open", refuse)
    path = directory / "file"
    write_new_bytes(str(path), b"whole", me, mtime_ns=5)
    assert names == [[] if nameless else [staged_name("file")], ["file"]]
    status = path.stat()
    assert (path.read_bytes(), stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (b"whole", 0o600, 5)
    if nameless:
        with pytest.raises(RepomanError, match=r"cannot write .*File exists; it was not changed"):
            write_new_bytes(str(path), b"other", me)
        assert path.read_bytes() == b"whole"
