# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A home with a registry, and the context of the checks of doctor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.context import DoctorContext
from ansible_collections.homelab.repoman.plugins.module_utils.host import hung_mounts
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.process import python_probe
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandRunner
from hung import hung_mount

DeadMount = Callable[[Path], None]
MakeContext = Callable[..., DoctorContext]


@pytest.fixture(autouse=True)
def enough_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give probes and programs time to answer on a busy machine, too."""
    monkeypatch.setattr(python_probe, "PROBE_TIMEOUT", 60)
    monkeypatch.setattr(CommandRunner.__init__, "__defaults__", (60.0,))


@pytest.fixture
def dead_mount(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeadMount]:
    """Return a function that mounts a file system that does not answer; the test fails if a system call was made on it."""
    monkeypatch.setattr(hung_mounts, "PROBE_TIMEOUT", 0.5)
    with ExitStack() as stack:
        events = []

        def mount(place: Path) -> None:
            place.mkdir(parents=True, exist_ok=True)
            events.append(stack.enter_context(hung_mount(place)))
            hung_mounts._served_mounts.cache_clear()

        yield mount
        assert not any(event.is_set() for event in events)
    hung_mounts._served_mounts.cache_clear()


@pytest.fixture
def make_context(me: Account, tmp_path: Path) -> MakeContext:
    """Return a function that makes a context with a registry of this text; without one, there is no registry."""

    def make(text: str | None = "", socket: str = str(tmp_path / "none.socket"), **params: Any) -> DoctorContext:
        path = Path(me.home, ".config/repoman/repoman.toml")
        if text is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"[repoman]\nschema = 3\n{text}", encoding="utf-8")
        options = {"timeout": 30.0, "user_dir": None, "vendor_dir": None} | params
        return DoctorContext(me, str(path), socket, options)

    return make
