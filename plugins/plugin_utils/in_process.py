# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Base of the action plugins: run a module in this process if the target is this host, and ship it as usual otherwise.

In this process a module needs no second Python that imports ansible and the collection again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date, time
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any, ClassVar

from ansible import constants
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RunInterruptedError
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import escape_control_characters
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import (
    TRACE_KEY,
    TRACE_VERBOSITY,
    argument_failure,
    invocation,
    run_logic,
)
from ansible_collections.homelab.repoman.plugins.plugin_utils.parent_process import end_with_parent

ROOT = "root"
SERVES_ROOT = (
    "a task becomes root and names no user, so it works for root:"
    " set repoman_user, or the module's option user, to the login name of the projects' owner (root, if they are root's)"
)
REPLACED_BY_MITOGEN = ("_execute_module", "_configure_module", "_is_pipelining_enabled")
"""Methods of Ansible's that pack a module for the target."""
VENDOR_DIR = Path(__file__).parents[2] / "profiles"


class InProcessAction(ActionBase):
    """Runs a module.

    Subclasses set ``spec``, the argument spec of the module, and ``run_module``, its logic: a function of the parameters and the
    check mode that returns the result.
    """

    TRANSFERS_FILES = False
    _supports_async = True
    spec: ClassVar[dict[str, Any]]
    run_module: ClassVar[Callable[[dict[str, Any], bool], dict[str, Any]]]

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        emit: Callable[[str], None] | None = None
        if self._display.verbosity >= TRACE_VERBOSITY and not self._task.no_log:
            emit = partial(self._display.vvv, host=(task_vars or {}).get("inventory_hostname"))
        in_process = self._runs_in_process()
        end_with_parent(in_process)
        arguments = plain(self._task.args)
        name = self._task.resolved_action or self._task.action
        if not arguments.get("user") and self._becomes_root():
            self._display.warning(SERVES_ROOT)  # Ansible shows a warning once, whatever the number of tasks and hosts
        if not in_process:
            self._ship_as_ansible_does()
            remote_result: dict[str, Any] = self._execute_module(
                module_name=name,
                module_args={"vendor_templates": vendor_templates()} | arguments,
                task_vars=task_vars,
                wrap_async=bool(self._task.async_val),
            )
            for line in remote_result.pop(TRACE_KEY, ()):
                if emit is not None:
                    emit(escape_control_characters(str(line)))  # the output of another host is not trusted
            return result | remote_result
        validation = ArgumentSpecValidator(**self.spec).validate(arguments)
        if _shows_invocation(task_vars):
            result["invocation"] = invocation(validation.validated_parameters)
        if failure := argument_failure(name, validation):
            return result | failure
        parameters = validation.validated_parameters | {"_diff": bool(self._task.diff)}
        module_result = run_logic(self.run_module, parameters, self._task.check_mode, emit)
        if module_result.get("exit_code") == RunInterruptedError.exit_code:
            raise KeyboardInterrupt  # otherwise Ansible continues a loop with the next item
        if doubled := [f"Both option {each['option']} and its alias {each['alias']} are set." for each in validation._warnings]:
            module_result["warnings"] = [*doubled, *module_result.get("warnings", ())]
        return result | module_result

    def _ship_as_ansible_does(self) -> None:
        """Under mitogen's strategies, run the module in a separate process on the target, as Ansible does under its own.

        mitogen runs modules inside its long-lived process, and fetches what they import from here at that time. Our modules fork, and a
        fork would wait for ever for an import, as would a task with ``async``, which mitogen disconnects first. The connection and the
        files that go over it remain mitogen's.
        """
        if any(each.__module__.startswith("ansible_mitogen.") for each in type(self).__mro__):
            for name in REPLACED_BY_MITOGEN:
                setattr(self, name, MethodType(getattr(ActionBase, name), self))
            execute = type(self)._low_level_execute_command  # not the replacement from an earlier attempt of this task

            def execute_command(*args: Any, process_result: object = None, **options: Any) -> Any:
                return execute(self, *args, **options)  # mitogen does not know that option, which is for PowerShell

            self._low_level_execute_command = execute_command

    def _becomes_root(self) -> bool:
        """True if the task becomes root, with ``become``."""
        return self._connection.become is not None and (self.get_become_option("become_user") or ROOT) == ROOT

    def _runs_in_process(self) -> bool:
        """True if the task targets this host, as this user, with this environment, and is not asynchronous."""
        return (
            self._connection.transport == "local"
            and self._connection.become is None
            and not self._task.async_val
            and not any(self._task.environment or [])
        )


def _shows_invocation(task_vars: dict[str, Any] | None) -> bool:
    """Return whether results have the options of their task: always, before ansible-core 2.21 made it a setting."""
    try:
        return bool(constants.config.get_config_value("INJECT_INVOCATION", variables=task_vars))
    except AnsibleError:
        return True


def vendor_templates() -> dict[str, str]:
    """Return the bundled templates by name, because other hosts do not have the collection."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(VENDOR_DIR.glob("*.yml"))}


def plain(arguments: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the arguments of a task as plain data, with which a module does the same in this process as on another host."""
    result: dict[str, Any] = json.loads(json.dumps(_plain(arguments)))  # text without Ansible's marks
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key if isinstance(key, str | int | float | None) else _plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, date | time):
        return value.isoformat()
    return value if value is None or isinstance(value, str | int | float) else str(value)  # such as an encrypted value
