# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors of repositories whose mirror cannot be updated."""

from __future__ import annotations

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError

TYPE_PHRASES = {"f": "a file", "d": "a directory", "l": "a link", "p": "a pipe", "s": "a socket", "b": "a device", "c": "a device"}
"""Types of files, for messages."""


class BusyError(ConflictError):
    """The repository kept changing, so no consistent state could be read."""


class DamagedError(RepomanError):
    """The source is damaged."""
