# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a module starts: the options all have in common, and errors as results."""

from __future__ import annotations

import select
import signal
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from ansible.module_utils.basic import AnsibleModule, env_fallback, missing_required_lib

LIBRARIES = {"yaml": "PyYAML", "tomlkit": "tomlkit"}
"""What the logic imports beside Python's own: module to distribution."""

Run = Callable[[dict[str, Any], bool], dict[str, Any]]
"""A module's logic: takes its parameters and whether only to plan; returns its result or raises ``RepomanError``.

Beside the parameters there is ``_diff``: whether somebody wants to see the result's ``diff``."""

COMMON: dict[str, dict[str, Any]] = {
    "user": {"type": "str"},
    "socket": {"type": "str"},
    "registry_path": {"type": "str"},
    "user_dir": {"type": "str"},
    "vendor_dir": {"type": "str", "fallback": (env_fallback, ["REPOMAN_VENDOR_DIR"])},
    "vendor_templates": {"type": "dict"},
    "timeout": {"type": "float", "default": 30.0},
}
"""Options of every module, so that ``module_defaults`` of the action group may set any of them."""


def answer(run: Run, params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Return the result of ``run``; of an error that is meant for people, its sentence, hints and exit code."""
    from ansible_collections.homelab.repoman.plugins.module_utils.errors import RepomanError

    try:
        return run(params, check)
    except RepomanError as error:
        return error.result()
    except OSError as error:
        from ansible_collections.homelab.repoman.plugins.module_utils.watch import explained

        return explained(error).result()


class Module(AnsibleModule):  # type: ignore[misc]
    """A module that writes none of its options' values into the log of its host: a container's environment may be in them."""

    def _log_invocation(self) -> None:
        self.log(f"Invoked with {', '.join(sorted(name for name, value in self.params.items() if value is not None))}")


def main(run: Run, spec: dict[str, Any]) -> None:
    """Be a module.

    :param run: its logic.
    :param spec: what ``AnsibleModule`` takes: ``argument_spec`` and the relations of its options.
    """
    module = Module(supports_check_mode=True, **spec)
    missing = [distribution for library, distribution in LIBRARIES.items() if find_spec(library) is None]
    if missing:
        hints = [f"pip install {' '.join(missing)}"]
        module.fail_json(msg=missing_required_lib(missing[0]), hints=hints, exit_code=1)
    _end_when_nobody_listens()
    result = answer(run, module.params | {"_diff": module._diff}, module.check_mode)
    for warning in result.pop("warnings", []):
        module.warn(warning)
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


def _end_when_nobody_listens() -> None:
    """Have this process told by SIGTERM when nobody reads its output any more, so that what it began is undone.

    A command that ssh runs without a terminal outlives an interrupted client and hears nothing of it, but its standard output is hung up.
    """
    ears = select.poll()
    ears.register(sys.stdout.fileno(), 0)  # the kernel tells of a hangup without being asked

    def listen() -> None:
        ears.poll()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    threading.Thread(target=listen, daemon=True).start()
