# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mercurial for tests that build and judge repositories: the machine's own, or the newest, which answers from one process.

Starting ``hg`` takes longer than what it is asked, and tests ask thousands of times. ``chg`` comes with Mercurial: it hands each
command to a process that has loaded everything and forks. What is tested never runs it. Without it, there is ``hg``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

IDLE_SECONDS = 120
"""Processes end this long after their last command, should nobody end them."""


_MINE = os.getpid()


@cache
def _place() -> Path:
    place = Path(tempfile.mkdtemp(prefix="repoman-hg-"))
    if chg := shutil.which("chg"):
        (place / "hg").symlink_to(chg)
    return place


def environment(config: str = "", program: str = "") -> dict[str, str]:
    """Return variables with which ``hg`` is quick; ``PATH`` is among them.

    :param config: of the commands, the only configuration they have; not for children of a test.
    :param program: the ``hg`` that answers, where it is not the one in ``PATH``.
    """
    path = os.environ["PATH"]
    if program:
        path = f"{Path(program).parent}:{path}"
    if os.getpid() != _MINE:  # a test's own child, which may be another user
        return {"PATH": path, "HGRCPATH": ""}
    place = _place()
    text = f"{config}[chgserver]\nidletimeout = {IDLE_SECONDS}\n"
    hgrc = place / f"hgrc-{abs(hash(text)):x}"
    if not hgrc.exists():
        hgrc.write_text(text)
    hg = program or shutil.which("hg") or "hg"
    socket = place / f"socket-{abs(hash(hg)):x}"
    return {"PATH": f"{place}:{path}", "HGRCPATH": str(hgrc), "CHGHG": hg, "CHGSOCKNAME": str(socket)}


def end() -> None:
    """End the processes: they do so once their sockets are gone."""
    if _place.cache_info().currsize:
        shutil.rmtree(_place(), ignore_errors=True)
        _place.cache_clear()
