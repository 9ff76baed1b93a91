# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fast path of every module: in this process where the target is this host, shipped as usual elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import InterruptedRunError
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import answer

VENDOR_DIR = Path(__file__).parents[2] / "profiles"


class LocalAction(ActionBase):
    """Base of the action plugins; each names its module's ``spec`` and ``logic``."""

    TRANSFERS_FILES = False
    _supports_async = True
    spec: ClassVar[dict[str, Any]]
    logic: ClassVar[Callable[[dict[str, Any], bool], dict[str, Any]]]

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        if not self._is_here():
            return result | self._execute_module(
                module_args=self._with_vendor_templates(), task_vars=task_vars, wrap_async=bool(self._task.async_val)
            )
        checked = ArgumentSpecValidator(**self.spec).validate(
            json.loads(json.dumps(self._task.args))
        )  # plain, as a shipped module gets them
        if checked.error_messages:
            return result | {
                "failed": True,
                "msg": f"{'; '.join(checked.error_messages)}.",
                "hints": [f"ansible-doc {self._task.action}"],
                "exit_code": 2,
            }
        said = answer(self.logic, checked.validated_parameters | {"_diff": bool(self._task.diff)}, self._task.check_mode)
        if said.get("exit_code") == InterruptedRunError.exit_code:
            raise KeyboardInterrupt  # an interrupted item must not be followed by the loop's next
        return result | said

    def _is_here(self) -> bool:
        """Whether the task is for this host, as this user, with this environment, and waited for."""
        return (
            self._connection.transport == "local"
            and self._connection.become is None
            and not self._task.async_val
            and not any(self._task.environment or [])
        )

    def _with_vendor_templates(self) -> dict[str, Any]:
        """Return the task's arguments with the collection's own templates, for a host that has none."""
        own = {path.stem: path.read_text(encoding="utf-8") for path in sorted(VENDOR_DIR.glob("*.yml"))}
        return {"vendor_templates": own} | self._task.args
