# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documents of ``--json`` that the command prints itself: errors before a run, and texts such as the help.

Those of runs are made by the collection's callback plugin. ``docs/output.schema.json`` describes both.
"""

from __future__ import annotations

from repoman.errors import CliError


def print_document(verb: str, failure: CliError | None, **result: object) -> None:
    """Print a document.

    :param verb: as typed; empty if there was none.
    :param failure: ``None`` if there was none.
    :param result: further keys.
    """
    import json  # few documents are printed without a run, which imports it

    document = {
        "verb": verb,
        "exit_code": failure.exit_code if failure else 0,
        "changed": False,
        "failed": failure is not None,
        "msg": failure.message if failure else "",
        "hints": failure.hints if failure else [],
        "warnings": [],
    }
    print(json.dumps(document | result, indent=2))  # noqa: T201


def print_text(verb: str, text: str, as_json: bool) -> None:
    """Print a text of several lines, with ``as_json`` as the key ``text`` of a document."""
    if as_json:
        print_document(verb, None, text=text)
    else:
        print(text, end="")  # noqa: T201
