# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shrink guard counts work tree files and names of references, not how git stores them."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.files import source_files

from tests.backup_fixture import BackupHome, actions, git

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> BackupHome:
    """A home with a repository that has 150 tags."""
    home = BackupHome(tmp_path)
    for number in range(150):
        git(home.git("a") if not number else home.repos / "a", "tag", f"t{number}")
    return home


def line_of(result: dict[str, object], name: str = "a") -> dict[str, object]:
    """Return what is said of one unit."""
    return next(each for each in result["units"] if each["name"] == name)  # type: ignore[attr-defined]


def test_packed_references_are_not_gone(world: BackupHome) -> None:
    """git gc packs references and objects: many files go, and nothing that the repository holds."""
    world.init()
    git(world.repos / "a", "gc", "-q")
    assert actions(world.sync())["a"] == "synced"
    assert not world.differences()


def test_packed_references_of_a_bare_repository(world: BackupHome) -> None:
    """In a repository of only references, all of them may move into one file."""
    git(world.repos, "clone", "-q", "--mirror", "a", "m.git")
    git(world.repos / "m.git", "fetch", "-q", "../a", "+refs/*:refs/copy/*")
    world.init()
    git(world.repos / "m.git", "gc", "-q")
    assert actions(world.sync())["m.git"] == "synced"


def test_unpacked_again(world: BackupHome) -> None:
    """Loose references that were packed before count as the same names."""
    git(world.repos / "a", "pack-refs", "--all")
    world.init()
    for number in range(150):
        git(world.repos / "a", "tag", "-f", f"t{number}", "main")
    assert actions(world.sync())["a"] == "synced"


@pytest.mark.parametrize("packed", [False, True])
def test_references_that_are_deleted_are_missed(world: BackupHome, packed: bool) -> None:
    """Whether they were packed or not, and however few files the source lost."""
    if packed:
        git(world.repos / "a", "pack-refs", "--all")
    world.init()
    git(world.repos / "a", "tag", "-d", *(f"t{number}" for number in range(149)))
    refused = line_of(world.sync())
    assert refused["action"] == "failed"
    assert refused["msg"].startswith("149 of ")  # type: ignore[attr-defined]
    assert actions(world.sync(names=["a"], allow_shrink=True))["a"] == "synced"


def test_work_tree_files_are_missed_beside_many_objects(tmp_path: Path) -> None:
    """Objects that stay do not hide that nearly all files of the work tree are gone."""
    world = BackupHome(tmp_path)
    repository = world.git("a")
    for number in range(150):
        world.write(f"a/f{number}", str(number))
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "many")
    world.init()
    for number in range(150):
        (repository / f"f{number}").unlink()
    assert line_of(world.sync())["action"] == "failed"


def test_expired_reflogs_are_not_missed(world: BackupHome) -> None:
    """Logs of references may go."""
    for number in range(200):
        world.write(f"a/.git/logs/refs/heads/b{number}", "")
    world.init()
    git(world.repos / "a", "reflog", "expire", "--expire=now", "--all")
    for number in range(200):
        (world.repos / f"a/.git/logs/refs/heads/b{number}").unlink(missing_ok=True)
    assert actions(world.sync())["a"] == "synced"


def lines_of(data: bytes, hole: int = 0, limit: int = source_files.METADATA_BYTES) -> list[bytes]:
    """Return the lines of a file with a hole of some size before its data."""
    with tempfile.TemporaryFile() as file:
        file.seek(hole)
        file.write(data)
        file.flush()
        return list(source_files.lines(file.fileno(), limit))


def test_lines_of_a_file() -> None:
    """Lines come as they are, but for those that are too long."""
    assert lines_of(b"") == []
    assert lines_of(b"one\ntwo") == [b"one", b"two"]
    assert lines_of(b"one\ntwo\n") == [b"one", b"two"]
    assert lines_of(b"one\n" + b"x" * (source_files.LINE_BYTES + 1) + b"\ntwo\n") == [b"one", b"two"]
    assert lines_of(b"one\n" + b"x" * (3 << 20) + b"\ntwo\n") == [b"one", b"two"]
    many = b"".join(b"%d refs/tags/x\n" % number for number in range(300_000))
    assert lines_of(many) == many.split(b"\n")[:-1]


def test_lines_of_a_file_that_is_mostly_a_hole() -> None:
    """A hole of terabytes costs nothing."""
    assert lines_of(b"one\ntwo\n", hole=1 << 42) == [b"one", b"two"]


def test_lines_end_at_the_limit() -> None:
    """A file that is larger than the limit is not read to its end."""
    assert len(lines_of(b"line\n" * (1 << 20), limit=2 << 20)) < 1 << 19


def test_a_link_or_a_pipe_is_not_read(tmp_path: Path) -> None:
    """Only regular files are read, and no link is followed on the way."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to("secret")
    (tmp_path / "up").symlink_to("..")
    os.mkfifo(tmp_path / "pipe")
    top_fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        assert source_files.read_regular(top_fd, b"secret", 100) == b"secret"
        assert source_files.read_regular(top_fd, b"secret", 5) is None
        for path in (b"link", b"pipe", b"missing", b"up/secret", b"secret/below"):
            assert source_files.read_regular(top_fd, path, 100) is None
    finally:
        os.close(top_fd)
