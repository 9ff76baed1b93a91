# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: options, verbs, help, and the action of each verb."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

GARBAGE_THRESHOLD = 20_000
"""How many objects are made before garbage is looked for: with Python's 700, a run of a third of a second would look 80 times."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script ``repoman``.

    :param argv: the arguments; default: those of this process, which ends here if it has loaded ansible.
    :returns: the exit code.
    """
    if argv is None:
        gc.set_threshold(GARBAGE_THRESHOLD)
    from repoman.cli.command import run

    if argv is not None:
        return run(argv)
    code = run(sys.argv[1:])
    if "ansible" in sys.modules:
        _exit(code)
    return code


def _exit(code: int) -> None:
    """End this process as Python does, but leave its memory to the kernel: freeing all modules and objects takes a sixth of a verb's time.

    Returns if a thread still works, for which Python waits.
    """
    import atexit
    import os
    import threading

    from repoman import streams

    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        return
    atexit._run_exitfuncs()
    os._exit(streams.finish(code))
