# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Attributes of all modules of the collection."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: full
  idempotent:
    description: When run twice in a row with the same arguments, the second invocation indicates that nothing changed.
    support: full
  action_group:
    description: Use C(group/homelab.repoman.repoman) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - homelab.repoman.repoman
"""

    INFO = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - This module does not modify anything.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: N/A
    details:
      - This module does not modify anything.
  idempotent:
    description: When run twice in a row with the same arguments, the second invocation indicates that nothing changed.
    support: full
    details:
      - This module does not modify anything.
  action_group:
    description: Use C(group/homelab.repoman.repoman) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - homelab.repoman.repoman
"""
