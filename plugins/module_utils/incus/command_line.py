# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands of the ``incus`` client for hints. They reach the Incus that this run used, whatever the client's default remote is."""

from __future__ import annotations

from collections.abc import Container

from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import find_socket

LOCAL = "local:"
"""The client's remote that always leads to the socket."""


def client_command(socket: str, words: str, found: Container[str] | None = None) -> str:
    """Return a command of the client for the Incus at ``socket``.

    :param words: the command after ``incus``; what it is about has the remote :data:`LOCAL`.
    :param found: the sockets that the client uses without the variable (default: the one that it finds on this host).
    """
    variable = "" if socket in ((find_socket(),) if found is None else found) else f"INCUS_SOCKET={shell_word(socket)} "
    return f"{variable}incus {words}"


def instance_command(socket: str, project: str, verb: str, name: str, arguments: str = "", found: Container[str] | None = None) -> str:
    """Return a command of the client about one instance or profile.

    :param project: the Incus project that has it.
    :param verb: such as ``config show``.
    :param arguments: the rest of the command.
    :param found: see :func:`client_command`.
    """
    return client_command(socket, f"{verb} --project {shell_word(project)} {LOCAL}{shell_word(name)} {arguments}".rstrip(), found)
