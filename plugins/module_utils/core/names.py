# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check names of profiles and projects, before a file of that name is opened."""

from __future__ import annotations

import re

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import UsageError

INSTANCE_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")


def check_file_name(kind: str, name: str) -> str:
    """Return ``name`` if it is valid as a file name.

    :param kind: ``profile`` or ``project``, for the error.
    :raises UsageError: it is empty, starts with ``.`` or ``-``, or holds ``/`` or a control character.
    """
    if not name:
        raise UsageError(f"the name of a {kind} is empty.", f"name one, as 'repoman {_list_command(kind)}' shows them")
    if name[0] in ".-" or "/" in name or not name.isprintable():
        raise UsageError(
            f"{name!r} cannot be the name of a {kind}.", "a name has no '/' or control characters and does not start with '.' or '-'"
        )
    return name


def check_project_name(name: str) -> str:
    """Return ``name`` if it is valid as the name of a project and its Incus instance.

    :raises UsageError: it is not 1-63 letters, digits and hyphens, starting with a letter, not ending with a hyphen (Incus's rule).
    """
    check_file_name("project", name)
    if not INSTANCE_NAME.match(name):
        raise UsageError(
            f"{name!r} cannot be the name of a project.",
            "a name is 1 to 63 letters, digits and '-', starts with a letter and does not end with '-' (Incus names instances so)",
            "the directory may be called otherwise: repoman new NAME --repo DIR",
        )
    return name


def _list_command(kind: str) -> str:
    return "profile list" if kind == "profile" else "list"
