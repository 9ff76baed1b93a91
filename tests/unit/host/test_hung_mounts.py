# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Paths behind a file system whose server does not answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import list_units
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host import hung_mounts
from ansible_collections.homelab.repoman.plugins.module_utils.projects.mount_index import find_overlaps
from ansible_collections.homelab.repoman.plugins.module_utils.projects.notes import find_set_user_id_files
from hung import hung_mount


@pytest.fixture
def server(tmp_path: Path) -> Iterator[threading.Event]:
    """A mount at ``repos/dead`` that does not answer, and links to it and away from it."""
    (tmp_path / "repos/dead").mkdir(parents=True)
    (tmp_path / "repos/alive").mkdir()
    (tmp_path / "link").symlink_to("repos/./dead/x")
    (tmp_path / "repos/back").symlink_to(f"{tmp_path}/link/../../alive")
    with hung_mount(tmp_path / "repos/dead") as gave_up:
        hung_mounts._served_mounts.cache_clear()
        yield gave_up
    hung_mounts._served_mounts.cache_clear()


@pytest.mark.parametrize(
    ("path", "is_hung"),
    [
        ("repos/dead", True),
        ("repos/dead/x/y", True),
        ("link", True),
        ("link/z", True),
        ("repos/back", True),
        ("repos/alive/../dead", True),
        ("repos", False),
        ("repos/alive", False),
        ("repos/dead-2", False),
        ("repos/nothing/dead", False),
    ],
)
def test_paths_are_tried_in_a_child(tmp_path: Path, server: threading.Event, path: str, is_hung: bool) -> None:
    """Whatever leads to the mount is known to hang, and is not touched; nothing else is."""
    assert hung_mounts.hung_mount(f"{tmp_path}/{path}") == (f"{tmp_path}/repos/dead" if is_hung else "")
    if is_hung:
        with pytest.raises(RepomanError, match=f"the file system mounted at {tmp_path}/repos/dead does not answer"):
            hung_mounts.check_answers(f"{tmp_path}/{path}")
    assert not server.is_set()


def test_automounts_are_tried_too(tmp_path: Path, server: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a directory of an automount mounts is not in the table of mounts before it is used."""
    table = tmp_path / "mountinfo"
    table.write_text(f"1 0 0:1 / {tmp_path}/repos rw - autofs /etc/auto.misc rw\n")
    monkeypatch.setattr(hung_mounts, "MOUNTINFO", table)
    hung_mounts._served_mounts.cache_clear()
    assert hung_mounts.hung_mount(f"{tmp_path}/repos/dead/x") == f"{tmp_path}/repos/dead"
    assert hung_mounts.hung_mount(f"{tmp_path}/repos/alive/dead") == hung_mounts.hung_mount(f"{tmp_path}/repos/nothing") == ""
    assert not server.is_set()


def test_many_are_waited_for_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that hang take as long as one, and one with several paths is tried once; a terminal says what is waited for."""
    table, tried, together = tmp_path / "mountinfo", [], threading.Barrier(5)
    table.write_text("".join(f"{number} 0 0:{number} / /srv/{number} rw - nfs host:/x rw\n" for number in range(5)))
    monkeypatch.setattr(hung_mounts, "MOUNTINFO", table)

    def probe(path: str, _mount_id: bytes) -> bool:
        if path not in tried:
            tried.append(path)
            together.wait(60)
            assert is_shown.wait(60)
        return False

    shown, is_shown = [], threading.Event()

    def show(text: str) -> None:
        shown.append(text)
        is_shown.set()

    monkeypatch.setattr(hung_mounts, "_probe", probe)
    monkeypatch.setattr(hung_mounts.progress, "update", show)
    monkeypatch.setattr(hung_mounts.progress, "clear", lambda: shown.append(""))
    hung_mounts._served_mounts.cache_clear()
    paths = [f"/srv/{number}/{name}" for number in range(5) for name in "ab"]
    assert hung_mounts.read_behind_mounts(hung_mounts.hung_mount, paths) == [path[:-2] for path in paths]
    assert sorted(tried) == sorted({path[:-2] for path in paths})
    assert shown == ["waiting for file systems that do not answer…", ""]
    table.write_text("1 0 0:1 / / rw - ext4 /dev/x rw\n")
    hung_mounts._served_mounts.cache_clear()
    threads = hung_mounts.read_behind_mounts(lambda _path: threading.get_ident(), paths)
    assert set(threads) == {threading.get_ident()}
    hung_mounts._served_mounts.cache_clear()


def test_overlaps_and_searches_pass_it_by(tmp_path: Path, server: threading.Event) -> None:
    """Links on it are not resolved, and searches do not open it."""
    inner = {"type": "disk", "source": f"{tmp_path}/link/z", "path": "/mnt"}
    outer = {"type": "disk", "source": f"{tmp_path}/repos", "path": "/mnt"}
    found = find_overlaps({"inner": {"x": inner}, "outer": {"x": outer}})
    assert [(each.container, each.writer, each.source) for each in found] == [("inner", "outer", f"{tmp_path}/repos/dead/x/z")]
    assert find_set_user_id_files(f"{tmp_path}/repos") == ([], False)
    assert [unit.name for unit in list_units(f"{tmp_path}/repos")] == ["alive", "dead", "(loose files)"]
    assert not server.is_set()
