# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a program on an untrusted repository as the user who owns it."""

from __future__ import annotations

import os
from typing import Any


def run_as(directory: str, account: tuple[int, int] | None) -> dict[str, Any]:
    """Make an account the owner of a directory; return the arguments that start a process as that account.

    Nothing changes unless root runs for another account.

    :param account: uid and gid; None for this process's own.
    """
    if account is None or os.geteuid() != 0 or account[0] == 0:
        return {}
    for base, _directories, names in os.walk(directory):
        os.chown(base, *account)
        for name in names:
            os.chown(os.path.join(base, name), *account, follow_symlinks=False)
    return {"user": account[0], "group": account[1], "extra_groups": []}
