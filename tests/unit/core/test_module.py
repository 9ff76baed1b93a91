# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a module reports errors."""

from __future__ import annotations

import errno
import os
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.module import run_logic


def test_no_module_ends_in_a_traceback() -> None:
    """Also what nobody thought of has a sentence, where the system says it."""

    def run(params: dict[str, Any], check: bool) -> dict[str, Any]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full")

    said = run_logic(run, {}, False)
    assert said["failed"] and said["msg"] == "/full: No space left on device." and said["hints"]
