# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.homelab.repoman.plugins.modules.repoman_doctor_info import SPEC, run
from ansible_collections.homelab.repoman.plugins.plugin_utils.in_process import InProcessAction


class ActionModule(InProcessAction):
    """Runs the module of the same name, in this process if the target is this host."""

    spec = SPEC
    run_module = staticmethod(run)
