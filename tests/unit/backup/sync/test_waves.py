# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Planning in the background: what is planned is worked on, whatever takes long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync import waves as sync_waves
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.waves import Waves
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from backup_fixture import BackupHome, actions


def test_what_takes_long_comes_in_a_later_wave(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first wave has all that is planned in time, in the order of the run; the slow one comes alone."""
    monkeypatch.setattr(sync_waves, "WAVE_SECONDS", 0.2)
    go_on = threading.Event()

    def plan(done: Callable[[str], None]) -> None:
        done("c")
        done("b")
        go_on.wait()
        done("a")

    waves = iter(Waves(["a", "b", "c", "gone"], ["gone"], plan))
    assert next(waves) == ["b", "c", "gone"]
    go_on.set()
    assert next(waves) == ["a"]
    assert list(waves) == []


def test_planning_begins_with_the_first_wave() -> None:
    """Until then other threads may import modules, and a process that is forked meanwhile could wait for them for ever."""
    begun, go_on = threading.Event(), threading.Event()

    def plan(_done: Callable[[str], None]) -> None:
        begun.set()
        go_on.wait()

    waves = Waves(["a"], ["a"], plan)
    assert not begun.wait(0.2)
    go_on.set()
    assert list(waves) == [["a"]]
    assert begun.is_set()


def test_a_run_without_units_is_one_empty_wave() -> None:
    """There is always a wave, which also saves what there is to save."""
    assert list(Waves([], [], lambda done: None)) == [[]]


def test_what_planning_as_a_whole_fails_of_ends_the_run() -> None:
    """A process that was killed while it scanned is an error of the run."""

    def plan(done: Callable[[str], None]) -> None:
        raise RepomanError("killed.")

    with pytest.raises(RepomanError, match="killed"):
        list(Waves(["a"], [], plan))


def test_a_run_in_many_waves_is_one_run(empty_world: BackupHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However units come, one at a time or all: one state of the history, the same result, the same restore."""
    monkeypatch.setattr(sync_waves, "WAVE_SECONDS", 0.0001)
    world = empty_world
    names = [f"unit{number:02}" for number in range(12)]
    for name in names:
        world.write(f"{name}/file", "1")
    assert list(actions(world.init())) == names
    for name in names:
        world.write(f"{name}/file", "2")
        world.write(f"{name}/new")
    predicted = world.sync(check=True)
    result = world.sync()
    assert sorted(each["prepared"] for each in result["diff"]) == sorted(each["prepared"] for each in predicted["diff"])
    assert list(actions(result)) == names
    assert len(list(world.ours("kept").iterdir())) == 1
    assert world.differences() == []
    (time,) = (each["time"] for each in world.sync(list_versions=names[7])["kept"])
    for name in names:
        world.restore(name, to=str(tmp_path / "out" / name), **{"from": time})
        assert [path.name for path in (tmp_path / "out" / name).iterdir()] == ["file"]
        assert (tmp_path / "out" / name / "file").read_text() == "1"
    assert not world.sync()["changed"]
