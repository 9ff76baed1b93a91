# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``repoman``: every verb is a playbook of the collection ``homelab.repoman``, run in this process.

Root leaves no bytecode files in another user's checkout, who could not delete their directories. Python has already written that of this
file if it could, so it is removed.
"""

import os
import sys

if os.geteuid() == 0 and os.stat(__file__).st_uid != 0:
    from importlib.util import cache_from_source

    sys.dont_write_bytecode = True
    written = cache_from_source(__file__)
    try:
        if os.lstat(written).st_uid == 0:
            os.unlink(written)
            os.rmdir(os.path.dirname(written))
    except OSError:
        pass  # the file does not exist, or its directory is not empty
