# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check names of profiles and projects, before a file of that name is opened."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import UsageError

INSTANCE_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")
SIMILARITY = 0.7
"""The least similarity of a misspelling, as :mod:`difflib` measures it."""


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


def check_profile_name(name: str) -> str:
    """Return ``name`` if it is valid as the name of a profile that the incus client can address.

    :raises UsageError: it is not a file name, or contains ``:``.
    """
    check_file_name("profile", name)
    if ":" in name:
        raise UsageError(
            f"{name!r} cannot be the name of a profile.",
            f"a name has no ':': the incus client takes {name.partition(':')[0]!r} for a remote",
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


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that ``name`` seems to be a misspelling of, such as ``used_by`` for ``use_by`` or ``Used_by``, or empty."""
    import difflib  # most runs have no misspelling

    by_folded = {word.casefold(): word for word in known}
    matches = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=SIMILARITY)
    return by_folded[matches[0]] if matches else ""


def suggestions(names: Iterable[str], known: Collection[str]) -> list[str]:
    """Return a hint for each known name that one of ``names`` seems to be a misspelling of."""
    matches = dict.fromkeys(match for name in names if (match := nearest(name, known)))
    return [f"did you mean {match!r}?" for match in matches]


def _list_command(kind: str) -> str:
    return "profile list" if kind == "profile" else "list"
