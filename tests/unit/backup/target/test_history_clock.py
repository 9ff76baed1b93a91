# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A clock that was wrong: the history stays in order, expires, and is found by time; nothing of it is lost or hidden."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.clock import MAX_JUMPS, Clock, of_data
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.history import VERSION_FORMAT, History, Version
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.records import MirrorRecords, read_records, write_records
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from backup_fixture import BackupHome

NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=timezone.utc)
DAY = timedelta(days=1)
FAKETIME = shutil.which("faketime")


def name(when: datetime) -> str:
    """Return the name of a state made at a time."""
    return when.strftime(VERSION_FORMAT)


@pytest.fixture
def place(tmp_path: Path) -> Target:
    """A target without any state."""
    (tmp_path / ".repoman").mkdir()
    return Target(str(tmp_path), "id")


def made(place: Target, *times: datetime, ordered: bool = True, now: datetime = NOW) -> History:
    """Return a history whose states have these clocks, in the order in which they were made."""
    return History(place, [Version(name(each), ordered) for each in times], now.timestamp())


def claimed(place: Target, me: Account, *times: datetime) -> list[str]:
    """Make states under clocks that say these times."""
    return [history.create_version(place, each, me) for each in times]


# ---- names and order -----------------------------------------------------------------------------------------------------------


def test_a_state_has_the_name_of_the_present_clock_whatever_was_before(place: Target, me: Account) -> None:
    """After a run in 2099 states have names of the present again, and are later in order; a name that is taken gives the next second."""
    far = datetime(2099, 1, 1, tzinfo=timezone.utc)
    names = claimed(place, me, NOW - DAY, far, NOW, NOW, NOW + timedelta(seconds=1))
    assert names == ["20261124T120000Z", "20990101T000000Z", "20261125T120000Z", "20261125T120001Z", "20261125T120002Z"]
    assert history.version_names(place) == names
    assert all(history.created_of(place, each, "a") == [] for each in names)


@pytest.mark.parametrize("harm", ["", "[]", '{"states": 1}', '{"states": [[1, 2]]}', "{", "\0", "[" * 100_000])
def test_an_index_that_is_none_leaves_the_order_of_names(place: Target, me: Account, harm: str) -> None:
    """Without a sequence, as on a target of an earlier version, states are ordered by name."""
    names = claimed(place, me, NOW - DAY, NOW, NOW + DAY)
    place.internal_path("history.json").write_text(harm)
    assert history.version_names(place) == sorted(names)
    assert history.create_version(place, NOW - 2 * DAY, me) == history.version_names(place)[-1]


def test_an_index_that_is_huge_costs_no_memory(place: Target, me: Account) -> None:
    """A sparse index of terabytes is none."""
    names = claimed(place, me, NOW, NOW + DAY)
    os.truncate(place.internal_path("history.json"), 1 << 40)
    assert history.version_names(place) == names


def test_states_that_no_run_indexed_have_their_place_by_name(place: Target, me: Account) -> None:
    """What an earlier version, or a person who corrected a name, put there is found among the others; what is no time is left alone."""
    names = claimed(place, me, NOW - 10 * DAY, NOW - 5 * DAY)
    for each in (NOW - 20 * DAY, NOW - 7 * DAY, NOW):
        place.internal_path("kept", name(each)).mkdir(parents=True)
    for each in ("99999999T999999Z", "20261301T000000Z", "notes", ".20261101T000000Z.new"):
        place.internal_path("kept", each).mkdir()
    assert history.version_names(place) == [name(NOW - 20 * DAY), names[0], name(NOW - 7 * DAY), names[1], name(NOW)]


def test_a_corrected_name_is_used(place: Target, me: Account) -> None:
    """The documented way: a state of 2099 gets the name of the right time, and the warning is gone."""
    claimed(place, me, NOW - 3 * DAY, datetime(2099, 1, 1, tzinfo=timezone.utc), NOW - DAY)
    assert "20990101T000000Z" in history.load(place, NOW.timestamp()).warnings()[0]
    os.rename(place.internal_path("created", "20990101T000000Z"), place.internal_path("created", name(NOW - 2 * DAY)))
    found = history.load(place, NOW.timestamp())
    assert found.names == [name(NOW - number * DAY) for number in (3, 2, 1)]
    assert found.warnings() == []


# ---- what a time means ---------------------------------------------------------------------------------------------------------


def test_a_time_is_found_between_states_of_a_wrong_clock(place: Target) -> None:
    """Taking back to a moment takes back what was made after it, in order; a state's name means that state and all after it."""
    far = datetime(2099, 1, 1, tzinfo=timezone.utc)
    times = [NOW - 5 * DAY, far, NOW - 3 * DAY, NOW - 2 * DAY]
    found = made(place, *times)
    assert found.versions_since(name(NOW)) == []
    assert found.versions_since(name(NOW - 3 * DAY - timedelta(hours=1))) == [name(each) for each in times[2:]]
    assert found.versions_since(name(far)) == [name(each) for each in times[1:]]
    assert found.versions_since(name(NOW - 6 * DAY)) == [name(each) for each in times]
    assert found.later == [name(far)]


@pytest.mark.parametrize("back", [datetime(1970, 1, 1, tzinfo=timezone.utc), NOW - 60 * DAY, NOW - timedelta(days=4, hours=1)])
@pytest.mark.parametrize("runs", [1, 3])
def test_a_clock_set_back_hides_nothing(place: Target, back: datetime, runs: int) -> None:
    """States made while the clock was set back have their place in the order; times before and after mean what they meant."""
    wrong = [back + timedelta(minutes=number) for number in range(runs)]
    right = [NOW - number * DAY for number in (6, 5, 4, 2, 1)]
    found = made(place, *right[:3], *wrong, *right[3:])
    assert found.versions_since(name(NOW)) == []
    assert found.versions_since(name(NOW - 3 * DAY)) == [name(each) for each in right[3:]]
    assert found.versions_since(name(NOW - timedelta(days=5, hours=1))) == [name(each) for each in [*right[1:3], *wrong, *right[3:]]]
    assert found.versions_since(name(wrong[0])) == [name(each) for each in [*wrong, *right[3:]]]


def test_under_a_clock_without_battery_the_history_is_as_it_was(place: Target) -> None:
    """While the machine believes it is 1970 times still mean what they say; nothing expires, and that is said."""
    times = [NOW - 40 * DAY, NOW - 2 * DAY, NOW - DAY]
    found = made(place, *times, now=datetime(1970, 1, 1, 0, 5, tzinfo=timezone.utc))
    assert found.versions_since(name(NOW - timedelta(days=1, hours=1))) == [name(NOW - DAY)]
    assert found.expired(Clock(NOW.timestamp()), 30) == []
    assert "19700101T000500Z" in found.warnings()[0]


def test_random_clocks_never_change_the_order(place: Target) -> None:
    """However clocks jump: what is taken back is always the end of the order, less of it the later the time; what expires, its beginning."""
    chance = random.Random(17)  # noqa: S311 - times, no secrets
    for _turn in range(300):
        clocks = {NOW + timedelta(minutes=chance.randrange(-60000, 60000)) for _each in range(chance.randrange(1, 9))}
        times = chance.sample(sorted(clocks), len(clocks))
        found = made(place, *times, now=NOW + timedelta(minutes=chance.randrange(-60000, 60000)))
        names = found.names
        moments = sorted(name(NOW + timedelta(minutes=chance.randrange(-70000, 70000), seconds=7)) for _each in range(6))
        sizes = []
        for moment in moments:
            back = found.versions_since(moment)
            assert back == names[len(names) - len(back) :]
            sizes.append(len(back))
        assert sizes == sorted(sizes, reverse=True)
        gone = found.expired(Clock(found.now - 3600), 30)
        assert gone == names[: len(gone)]


# ---- what expires --------------------------------------------------------------------------------------------------------------


def test_what_is_older_expires(place: Target) -> None:
    """What is older than the days it is kept for expires, to the second."""
    times = [datetime(2026, 10, 1, tzinfo=timezone.utc), NOW - 30 * DAY - timedelta(seconds=1), NOW - 30 * DAY, NOW - timedelta(hours=1)]
    yesterday = (NOW - DAY).timestamp()
    assert made(place, *times).expired(Clock(yesterday), 30) == [name(each) for each in times[:2]]
    assert made(place).expired(Clock(yesterday), 30) == []


@pytest.mark.parametrize("days", [1, 7, 400])
def test_nothing_expires_if_it_is_kept_for_ever(place: Target, days: int) -> None:
    """Zero days stand for that, however far runs are apart."""
    times = [NOW - timedelta(days=days) * number for number in range(9, 0, -1)]
    clock = Clock()
    for each in times:
        clock = clock.at(each.timestamp())
    assert made(place, *times).expired(clock, 0) == []


def test_what_is_from_2099_expires_with_its_neighbours(place: Target) -> None:
    """A state of 2099 is as old as the one after it; nothing before it waits for the year 2099."""
    far = datetime(2099, 1, 1, tzinfo=timezone.utc)
    times = [NOW - 50 * DAY, far, far + timedelta(hours=1), NOW - 40 * DAY, NOW - 20 * DAY]
    yesterday = (NOW - DAY).timestamp()
    assert made(place, *times).expired(Clock(yesterday), 30) == [name(each) for each in times[:4]]
    assert made(place, *times[:3], NOW - 20 * DAY).expired(Clock(yesterday), 30) == [name(times[0])]


def test_what_a_clock_set_back_made_stays_as_long_as_its_neighbours(place: Target) -> None:
    """A state of 1970, or of the month before, made yesterday, does not expire today, and neither does one that was made before it."""
    yesterday = (NOW - DAY).timestamp()
    for back in (datetime(1970, 1, 1, tzinfo=timezone.utc), NOW - 90 * DAY):
        for times in ((NOW - 2 * DAY, back, NOW - DAY), (back, back + DAY, NOW - DAY), (NOW - 2 * DAY, back, back + DAY, NOW - DAY)):
            expired = made(place, *times).expired(Clock(yesterday), 30)
            assert not expired or (times[0] == back and back.year != 1970)


def test_nothing_expires_while_the_last_run_is_no_guide(place: Target) -> None:
    """Nothing expires where the clock jumped since the last run, or none is known: the next run decides."""
    found = made(place, datetime(2026, 1, 5, tzinfo=timezone.utc), NOW - DAY)
    for last in (0.0, (NOW - 90 * DAY).timestamp(), (NOW + 9 * DAY).timestamp(), float("inf"), float("nan")):
        assert found.expired(Clock(last), 30) == []
    assert found.expired(Clock((NOW - DAY).timestamp()), 30) == [name(datetime(2026, 1, 5, tzinfo=timezone.utc))]


def test_nothing_expires_under_a_clock_of_2099_however_many_runs(place: Target) -> None:
    """Hourly runs under such a clock agree with each other: that is no reason to believe it. It is said in each of them."""
    far = datetime(2099, 1, 1, tzinfo=timezone.utc)
    for times in ((NOW - 40 * DAY, NOW - DAY), (NOW - DAY, far - timedelta(hours=2))):
        found = made(place, *times, now=far)
        assert found.expired(Clock((far - timedelta(hours=1)).timestamp()), 30) == []
        assert "this machine's clock shows 20990101T000000Z, which cannot be right" in found.warnings()[0]


# ---- a clock that goes far ahead -----------------------------------------------------------------------------------------------


class Runs:
    """Runs on a target, each making a state; what expires is gone, and noted with its real age in days.

    :param real: the time.
    """

    def __init__(self, place: Target, real: datetime) -> None:
        self.place, self.real = place, real
        self.clock, self.versions, self.ages = Clock(), list[Version](), list[float]()
        self.made: dict[str, datetime] = {}
        self.warned: list[str] = []

    def run(self, after: timedelta, ahead: timedelta = timedelta(0), times: int = 1) -> None:
        """Run again, some time after the last time, under a clock that is ahead."""
        for _each in range(times):
            self.real += after
            now = self.real + ahead
            found = History(self.place, self.versions, now.timestamp())
            self.warned = found.warnings(self.clock, 30)
            gone = found.expired(self.clock, 30)
            self.ages = [(self.real - self.made[each]) / DAY for each in gone]
            while (new := name(now)) in self.made:
                now += timedelta(seconds=1)
            self.versions = [*self.versions[len(gone) :], Version(new, ordered=True)]
            self.made[new] = self.real
            self.clock = of_data(json.loads(json.dumps(self.clock.at(now.timestamp()).data())), 0)
            assert all(age >= 30 for age in self.ages), (self.real, ahead, self.ages)

    @property
    def oldest(self) -> float:
        """The real age of the oldest state in days."""
        return max((self.real - self.made[each.name]) / DAY for each in self.versions)


@pytest.fixture
def runs(place: Target) -> Runs:
    """A target that was backed up to each day for six weeks."""
    found = Runs(place, NOW - 42 * DAY)
    found.run(DAY, times=42)
    assert 29 <= found.oldest <= 31
    return found


HOUR, YEAR = timedelta(hours=1), timedelta(days=365)
WRONG = {
    "once": [(HOUR, 1)],
    "twice": [(HOUR, 1), (HOUR, 1)],
    "further each time": [(HOUR, 1), (HOUR, 2), (HOUR, 3)],
    "now and then": [(HOUR, 1), (HOUR, 0), (DAY, 1), (HOUR, 0)] * 5,
    "hourly for days": [(HOUR, 1)] * 100,
    "daily for weeks": [(DAY, 1)] * 20,
    "five weeks": [(timedelta(days=32), 0.1)],
}


@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("sequence", WRONG.values(), ids=WRONG)
def test_a_clock_ahead_deletes_nothing_before_its_time(runs: Runs, sequence: list[tuple[timedelta, float]], stays: bool) -> None:
    """Whatever expires is older than the days it is kept for, by a clock that is right. Back again, all goes on as ever; so it does if not."""
    for after, years in sequence:
        runs.run(after, years * YEAR)
        if years:
            assert any("between two runs. If the machine was off, all is well" in each for each in runs.warned), runs.warned
    runs.run(DAY, sequence[-1][1] * YEAR if stays else timedelta(0), times=70)
    assert 29 <= runs.oldest <= 31
    assert runs.warned == []


@pytest.mark.parametrize("back", [DAY * 3, DAY * 60])
def test_a_clock_set_back_that_is_right_again_holds_nothing_up(runs: Runs, back: timedelta) -> None:
    """Its way back is no pause: history expires the next day as ever."""
    for _each in range(3):
        runs.run(HOUR, -back, times=3)
        runs.run(DAY, times=2)
        assert runs.oldest <= 36
    runs.run(DAY, times=40)
    assert runs.oldest <= 31


def test_a_machine_without_a_clock_of_its_own_holds_nothing_up(runs: Runs) -> None:
    """A run in 1970 before each one with the right time changes nothing."""
    for _each in range(40):
        runs.run(HOUR, datetime(1970, 1, 1, tzinfo=timezone.utc) - runs.real)
        runs.run(DAY)
    assert runs.oldest <= 33


def test_a_machine_that_was_off_for_a_year_expires_again(runs: Runs) -> None:
    """Nothing goes at once, which is said; thirty days of runs later what was before is gone."""
    runs.run(YEAR)
    assert runs.ages == []
    assert "from 20261125T120000Z to 20271125T120000Z between two runs" in runs.warned[0]
    runs.run(DAY, times=29)
    assert runs.oldest > 365
    runs.run(DAY, times=3)
    assert runs.oldest <= 31
    assert runs.warned == []


@pytest.mark.parametrize("days", [31, 60, 365])
def test_a_machine_that_is_seldom_used_expires(runs: Runs, days: int) -> None:
    """With runs further apart than history is kept for, a version goes after some of them."""
    runs.run(timedelta(days=days), times=12)
    assert days <= runs.oldest <= 5 * days


def test_what_is_remembered_of_the_clock_is_bounded(place: Target, me: Account) -> None:
    """It is written with the stamps, and read again; an earlier version's stamps tell when the last run was; damaged ones nothing."""
    clock = Clock()
    for number in range(MAX_JUMPS + 9):
        clock = clock.at(NOW.timestamp() + number * 3 * DAY.total_seconds())
    assert len(clock.jumps) == MAX_JUMPS
    write_records(place, MirrorRecords({}, 5.0, clock), me)
    assert read_records(place).clock == clock
    path = place.internal_path("stamps.json")
    path.write_text('{"run": 7, "units": {}}')
    assert read_records(place).clock == Clock(7.0)
    for damaged in ('{"last": 1, "high": 0, "jumps": [[1]]}', "[]", '{"last": NaN, "high": 0, "jumps": []}', '{"last": 1}'):
        path.write_text(f'{{"run": 7, "clock": {damaged}, "units": {{}}}}')
        assert read_records(place) == MirrorRecords({})


# ---- what a run created --------------------------------------------------------------------------------------------------------


def test_of_a_new_directory_only_itself_is_noted(place: Target, me: Account) -> None:
    """What a run created stays small, however many files are in a new directory."""
    when = history.create_version(place, NOW, me)
    paths = ["new", *(f"new/{number}/file" for number in range(1000)), "newer", "old/file", "old/file2"]
    history.write_created(place, when, {"a": paths, "b": None, "c\udcff": ["\udcfe"]}, me)
    assert history.created_of(place, when, "a") == [b"new", b"newer", b"old/file", b"old/file2"]
    assert history.created_of(place, when, "b") is None
    assert history.created_of(place, when, "c\udcff") == [b"\xfe"]
    assert history.created_file(place, when).stat().st_mode & 0o777 == 0o600


def test_a_long_list_of_one_unit_is_not_in_the_way_of_others(place: Target, me: Account) -> None:
    """It has a file of its own, which is only read for that unit, and goes with the state."""
    when, later = history.create_version(place, NOW, me), history.create_version(place, NOW, me)
    paths = [f"new{number:0100}" for number in range(1000)]
    for each in (when, later):
        history.write_created(place, each, {"a": ["new"], "b": None, "many": paths[:1]}, me)
        history.write_created(place, each, {"a": ["new"], "b": None, "many": paths}, me)
    assert history.created_of(place, when, "many") == [each.encode() for each in paths]
    assert history.created_of(place, when, "a") == [b"new"]
    assert history.created_of(place, when, "b") is None
    assert history.created_file(place, when).stat().st_size < 1000
    assert history.version_names(place) == [when, later]
    own = history.created_file(place, when, "many")
    assert own.stat().st_mode & 0o777 == 0o600
    os.truncate(own, 1 << 40)
    with pytest.raises(RepomanError, match="too large to be repoman's"):
        history.created_of(place, when, "many")
    assert history.created_of(place, when, "a") == [b"new"]
    history.write_created(place, when, {"a": ["newer"], "many": paths}, me, {"a"})
    assert own.stat().st_size == 1 << 40  # nothing changed there
    assert history.created_of(place, when, "a") == [b"newer"]
    history.remove_created(place, when)
    assert history.version_names(place) == [later]
    assert len(os.listdir(place.internal_path("created"))) == 2
    assert history.created_of(place, later, "many") == [each.encode() for each in paths]


def test_a_list_that_is_huge_is_a_sentence(place: Target, me: Account) -> None:
    """A list of what a run created that somebody filled is refused, not read; of one that is garbage nothing is known."""
    when = history.create_version(place, NOW, me)
    os.truncate(history.created_file(place, when), 1 << 40)
    with pytest.raises(RepomanError, match="too large to be repoman's"):
        history.created_of(place, when, "a")
    for text in ("[", "[]", '{"a": 1}', "[" * 100_000):
        history.created_file(place, when).write_text(text)
        assert history.created_of(place, when, "a") == []


# ---- real runs under a wrong clock ---------------------------------------------------------------------------------------------


def run_at(world: BackupHome, clock: str, verb: str = "sync", **params: Any) -> dict[str, Any]:
    """Run sync, or restore, in a process of its own with another clock."""
    if FAKETIME is None:
        pytest.skip("needs faketime")
    program = textwrap.dedent(f"""
        import json, sys
        sys.path[:0] = {sys.path!r}
        from pathlib import Path
        from backup_fixture import BackupHome
        world = BackupHome.__new__(BackupHome)
        world.root, world.user = Path({str(world.root)!r}), None
        world.repos, world.backup, world.log = (world.root / each for each in ("repos", "backup", "log"))
        world.registry = world.root / "repoman.toml"
        try:
            print(json.dumps(getattr(world, {verb!r})(**json.loads(sys.argv[1]))))
        except Exception as error:
            print(json.dumps({{"error": repr(error)}}))
    """)
    command = [FAKETIME, "-f", clock, sys.executable, "-c", program, json.dumps(params)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert "error" not in result, result
    return result


@pytest.mark.parametrize("clock", ["@2099-01-01 00:00:00", "@1970-01-02 00:00:00", "-40d", "+400d"])
def test_a_run_with_a_wrong_clock_hides_nothing(empty_world: BackupHome, tmp_path: Path, clock: str) -> None:
    """Runs after one with a wrong clock: every state is found by its time and its name; nothing is gone; the wrong one is named."""
    world = empty_world
    world.write("a/f", "1")
    world.init()
    world.write("a/f", "2")
    run_at(world, clock)
    times = []
    for text in ("3", "4"):
        time.sleep(1.1)
        times.append(datetime.now(timezone.utc).strftime(VERSION_FORMAT))
        world.write("a/f", text)
        result = world.sync()
    future = clock[0] == "+" or "2099" in clock
    assert len([each for each in result["warnings"] if "has a name that is later than this machine's clock" in each]) == future
    time.sleep(1.1)
    names = [each["time"] for each in world.sync(list_versions="a")["kept"]]
    assert len(names) == 3
    now = datetime.now(timezone.utc).isoformat()
    for number, (since, text) in enumerate(
        [(now, "4"), (names[2], "3"), (times[1], "3"), (times[0], "2"), (names[1], "2"), (names[0], "1")]
    ):
        result = world.restore("a", to=str(tmp_path / f"out{number}"), **{"from": since})
        assert not result.get("warnings"), since
        assert (tmp_path / f"out{number}/f").read_text() == text, since
    assert not [each for each in world.sync()["warnings"] if "cannot be" in each]


def test_history_expires_again_after_a_run_in_2099(empty_world: BackupHome) -> None:
    """Forty days later nothing but the newest states is there, and the mirror is as the source."""
    world = empty_world
    world.write("a/f", "1")
    world.init()
    world.write("a/f", "2")
    run_at(world, "@2099-01-01 00:00:00")
    world.write("a/f", "3")
    world.sync()
    assert len(world.kept()) == 2
    for clock in ("+25d", "+50d"):
        run_at(world, clock)
    world.write("a/f", "4")
    run_at(world, "+51d")
    assert [path.read_text() for path in world.kept()] == ["3"]
    assert (world.backup / "a/f").read_text() == "4"


def test_a_clock_a_year_ahead_deletes_nothing(empty_world: BackupHome) -> None:
    """Two real runs in a row a year ahead, and one after, leave every version; each of the wrong ones warns."""
    world = empty_world
    for text in ("1", "2"):
        world.write("a/f", text)
        world.init() if text == "1" else world.sync()
    for text in ("3", "4"):
        world.write("a/f", text)
        assert any("between two runs" in each for each in run_at(world, "+365d")["warnings"])
        time.sleep(1.1)
    world.write("a/f", "5")
    world.sync()
    assert sorted(path.read_text() for path in world.kept()) == ["1", "2", "3", "4"]
