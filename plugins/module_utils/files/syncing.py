# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writing a whole file system to its disk, which Python's library does not offer."""

from __future__ import annotations

import ctypes
import os


def sync_file_system(fd: int) -> None:
    """Write everything of the file system of an open file or directory to its disk; see syncfs(2).

    :raises OSError: it failed, or something could not be written since the file was opened.
    """
    function = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if function is None:
        os.sync()
    elif function(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
