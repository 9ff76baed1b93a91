# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The backup of all of ``repos_root``: what is to be done, doing it, and what came of it.

The work is done in a child process (see ``watch.py``); this process asks for it, shows how it goes on, and
writes to the registry which projects have been backed up.
"""

from __future__ import annotations
