# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module ``repoman_doctor_info``: the checks of ``doctor``, in the order of their output."""

from __future__ import annotations

from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.module import predicting
from ansible_collections.homelab.repoman.plugins.module_utils.doctor import backup_checks, host_checks, incus_checks, project_checks
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.check import run_checks, summary
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.context import DoctorContext

CHECKS = (
    *incus_checks.CHECKS,
    *host_checks.REGISTRY_CHECKS,
    *project_checks.CHECKS,
    *backup_checks.CHECKS,
    *host_checks.PROGRAM_CHECKS,
)


@predicting(lambda _params: {"changed": False, "checks": [], "summary": summary([])})
def run(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Return the result of all checks. A problem that they find is in the result; it does not fail the module.

    :raises NotFoundError: the account does not exist.
    """
    context = DoctorContext.of(params)
    results = run_checks(CHECKS, context)
    registry = context.registry_or_none
    known = {"stale_after": registry.defaults.stale_seconds} if registry else {}
    return {"changed": False, "checks": results, "summary": summary(results)} | known
