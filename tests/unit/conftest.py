# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the unit tests share: an account, a daemon that answers by script, a child process without privileges."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import quickhg
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from backup_fixture import BackupHome
from hypothesis import HealthCheck, settings
from newest import newest
from scripted_daemon import Daemon, Reply, serve

# Where nobody looks, the same examples each time, so that a red run can be run again; at a desk, new ones.
settings.register_profile(
    "repoman",
    deadline=None,
    max_examples=60 * int(os.environ.get("REPOMAN_EXAMPLES", "1")),
    derandomize=bool(os.environ.get("CI")) and "REPOMAN_SEED" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],  # how fast a busy machine is, is no fault
)
settings.load_profile("repoman")

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so would all they start
os.umask(0o022)  # modes that tests expect, whoever runs them

NOBODY = 65534

MATRICES = {"test_git_damage": 2, "test_object_restore": 2, "test_hg_damage": 3, "test_hg_damage_kinds": 3}
"""Files whose large tables of cases cost minutes: ``make test`` runs every second or third case, ``make test-long`` all of them."""
LARGE = 7


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Thin out large tables of cases, the same way in each process."""
    if os.environ.get("REPOMAN_ZOO"):
        return
    tables: dict[tuple[str, str], list[pytest.Item]] = {}
    for item in items:
        if item.path.stem in MATRICES and isinstance(item, pytest.Function):
            tables.setdefault((item.path.stem, item.originalname), []).append(item)
    left_out = {
        id(item)
        for (file, _name), cases in tables.items()
        if len(cases) > LARGE
        for number, item in enumerate(cases)
        if number % MATRICES[file]
    }
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if id(item) in left_out])
        items[:] = [item for item in items if id(item) not in left_out]


def pytest_collection_finish() -> None:
    """Exclude the collected tests from garbage collection, which would copy all their pages in each fork."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """End what the tests keep running."""
    quickhg.end()


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """pytest's own, which ``make test`` has in memory; a directory on the disk for tests with the mark ``disk``."""
    if not request.node.get_closest_marker("disk"):
        yield tmp_path
        return
    parent = Path(tempfile.mkdtemp(prefix="repoman-test-", dir="/var/tmp"))
    directory = parent / "tmp"  # nothing that is not the test's beside it
    directory.mkdir()
    yield directory
    shutil.rmtree(parent, ignore_errors=True)


@pytest.fixture
def empty_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BackupHome:
    """A home without repositories."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "alice")
    return BackupHome(tmp_path)


@pytest.fixture
def newest_git() -> Path:
    """The newest git, of a Debian newer than the machine's."""
    return newest("git")


@pytest.fixture
def newest_hg() -> Path:
    """The newest Mercurial."""
    return newest("hg")


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """Return a directory whose path leaves room for a socket's name, open to every user."""
    directory = Path(tempfile.mkdtemp(prefix="repoman-test-", dir=os.environ.get("TEST_TMP", "/var/tmp")))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def daemon(short_dir: Path) -> Iterator[Daemon]:
    """Return a running scripted daemon."""
    with serve(str(short_dir / "unix.socket")) as script:
        yield script


@pytest.fixture
def reply() -> type[Reply]:
    """Return the class of the scripted daemon's answers."""
    return Reply


@pytest.fixture
def me(tmp_path: Path) -> Account:
    """Return an account of this process whose home is empty."""
    home = tmp_path / "home"
    home.mkdir()
    return Account(name="alice", uid=os.getuid(), gid=os.getgid(), group="alice", home=str(home), shell="/bin/sh")


@pytest.fixture
def unprivileged() -> Callable[[Callable[[], object]], str]:
    """Return a function that calls another in a child process that is not root, and returns its result, or its traceback, as a text."""

    def run(action: Callable[[], object]) -> str:
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setgid(NOBODY)
                    os.setuid(NOBODY)
                try:
                    output = str(action())
                except BaseException:
                    output = traceback.format_exc()
                os.write(write_end, output.encode())
            os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            output = pipe.read().decode()
        os.waitpid(child, 0)
        return output

    return run


@pytest.fixture
def silent_socket(short_dir: Path) -> Iterator[str]:
    """Return the path of a socket that takes connections and says nothing."""
    path = str(short_dir / "silent.socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(8)
        yield path
