# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an action plugin does under mitogen's strategies, which put a class of theirs before it."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.homelab.repoman.plugins.plugin_utils.in_process import InProcessAction


def test_attempts_of_one_task_do_not_add_up() -> None:
    """Ansible runs one object again for ``until`` and ``retries``; each command is passed on once, without the unknown option."""
    seen: list[tuple[Any, ...]] = []

    def execute(self: Any, *args: Any, **options: Any) -> str:
        seen.append((self, args, options))
        return "done"

    before = type("Mixin", (), {"__module__": "ansible_mitogen.mixins", "_low_level_execute_command": execute})
    action: Any = object.__new__(type("Action", (before, InProcessAction), {}))
    for _attempt in range(2000):  # more than Python nests calls
        action._ship_as_ansible_does()
    assert action._low_level_execute_command("true", process_result=1, sudoable=False) == "done"
    assert seen == [(action, ("true",), {"sudoable": False})]
    assert action._execute_module.__func__ is ActionBase._execute_module
