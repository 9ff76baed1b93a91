# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The schema of the documents of ``--json``, to check real ones with."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).parents[1] / "docs/output.schema.json"
ENVELOPE = ["verb", "exit_code", "changed", "failed", "msg", "hints", "warnings"]
"""Keys that every document has, in this order."""


@cache
def validator() -> Any:
    """Return what checks documents."""
    import jsonschema

    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def check_document(document: dict[str, Any]) -> None:
    """Check that a document follows the schema, and what a schema cannot say."""
    problems = [f"{error.json_path}: {error.message}" for error in validator().iter_errors(document)]
    assert not problems, (problems, document)
    for part in (document, *document.get("hosts", {}).values()):
        assert list(part)[: len(ENVELOPE)] == ENVELOPE
        assert part["failed"] == bool(part["msg"])
        assert not part["failed"] or part["exit_code"]
