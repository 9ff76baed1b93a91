# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``repoman shell NAME`` for a container that is ready, without the parser of all verbs, whose modules take a third of the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

UNUSED = ("calendar", "inspect", "ipaddress", "random", "ssl", "traceback")
"""Modules that those of the standard library import for what the logic does not use."""


def parse(argv: Sequence[str]) -> tuple[str, list[str], bool] | None:
    """Return the name, the command, and whether it is for root, of a command line ``shell [--root] NAME [[--] COMMAND…]``.

    :returns: what the parser of all verbs would return; ``None`` for other command lines, which only that parser understands.
    """
    if argv[:1] != ["shell"]:
        return None
    is_root = argv[1:2] == ["--root"]
    name, *command = argv[2 if is_root else 1 :] or [""]
    if not (name[:1].isalpha() and name.isascii() and name.replace("-", "").isalnum()):
        return None
    if command[:1] == ["--"]:
        return name, command[1:], is_root
    if command and command[0].startswith("-"):
        return None
    return name, command, is_root


def enter_if_ready(name: str, command: Sequence[str], is_root: bool) -> None:
    """Replace this process with a shell, or a command, in the container of a project; return if the container is not ready.

    :raises CliError: the collection or the ``incus`` client is not installed.
    """
    from repoman import postponed

    postponed.install(UNUSED)
    from repoman import running

    result = running.read_project(name)
    if result is not None:
        from repoman import shell

        shell.exec_shell(shell.as_root(result) if is_root else result, command)
    postponed.run_all(UNUSED)  # plugins may patch them
