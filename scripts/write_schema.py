# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make docs/output.schema.json, the JSON Schema of ``repoman --json``, from the documentation of the modules. --check: only compare."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs/output.schema.json"
MODULES = {
    "setup": "registry",
    **dict.fromkeys(("new", "start", "stop", "restart", "remove"), "project"),
    **dict.fromkeys(("list", "status"), "project_info"),
    "doctor": "doctor_info",
    "sync": "sync",
    "restore": "restore",
    **dict.fromkeys(("profile list", "profile diff", "profile show"), "profile_info"),
    **dict.fromkeys(("profile install", "profile remove", "profile copy"), "profile"),
}
"""The module of each verb, whose result is in the document."""
TEXTS = ("help", "version", "completion")
"""Verbs whose result is a text."""
OMITTED = {"msg", "hints", "exit_code", "output"}
"""Keys of results that the envelope has, and the one that the command takes out."""
TYPES = {"str": "string", "list": "array", "dict": "object", "int": "integer", "float": "number", "bool": "boolean"}
STRINGS = {"type": "array", "items": {"type": "string"}}
ENVELOPE: dict[str, dict[str, Any]] = {
    "exit_code": {
        "enum": [0, 1, 2, 3, 4, 130],
        "description": "The exit status of the command: 0 done, 1 failed or different, 2 wrong usage, 3 not found, 4 conflict, 130 interrupted.",
    },
    "changed": {"type": "boolean", "description": "True if something was changed, or with --check would be."},
    "failed": {
        "type": "boolean",
        "description": "True if there is an error. A difference that profile diff finds, a check of doctor that fails, or a need of status --strict, is none.",
    },
    "msg": {"type": "string", "description": "The error with the highest exit code, in one sentence; empty if failed is false."},
    "hints": STRINGS | {"description": "Remedies for that error, each a command or a sentence."},
    "warnings": STRINGS | {"description": "All warnings."},
}
EXTRA: dict[str, dict[str, Any]] = {
    "diff": {"type": ["array", "object"], "description": "With --diff, the changes."},
    "results": {"type": "array", "items": {"type": "object"}, "description": "If a playbook has several tasks, the result of each."},
    "unreachable": {"type": "boolean", "description": "True if the host could not be reached."},
    "ansible": {"type": "object", "description": "What Ansible says about a failure that is not an error of repoman."},
}
RESTORE = {"remounted": STRINGS | {"description": "Projects whose container has the restored directory mounted again."}}


def plain(description: str | list[str]) -> str:
    """Return a description without Ansible's markup."""
    text = " ".join(description) if isinstance(description, list) else description
    return re.sub(r"\b(?:RV|[COVM])\(([^)]*)\)", r"\1", text)


def schema_of(value: dict[str, Any], is_nested: bool = False) -> dict[str, Any]:
    """Return the schema of a documented value. Nested values may be null if they are not known, others if it says so."""
    name, description = TYPES[value["type"]], plain(value["description"])
    is_nullable = is_nested or " or null" in description
    schema: dict[str, Any] = {"type": [name, "null"] if is_nullable else name, "description": description}
    contents = {key: schema_of(item, is_nested=True) for key, item in (value.get("contains") or {}).items()}
    if name == "array":
        items: dict[str, Any] = {"type": TYPES[value["elements"]]}
        schema["items"] = items | ({"properties": contents} if contents else {})
    elif contents:
        schema["properties"] = contents
    return schema


def returned_by(module: str) -> dict[str, Any]:
    """Return the documentation of a module's result."""
    tree = ast.parse((ROOT / f"plugins/modules/repoman_{module}.py").read_text(encoding="utf-8"))
    texts = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Constant)
    }
    documented: dict[str, Any] = yaml.safe_load(str(texts["RETURN"]))
    return documented


def key_of(verb: str) -> str:
    """Return the key of a verb's schema in ``$defs``."""
    return verb.replace(" ", "_") or "other"


def definition(verb: str, result: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """Return the schema of a document of a verb.

    :param required: keys of the result that are there if nothing failed.
    """
    name = f"#/$defs/{key_of(verb)}"
    properties = {
        "verb": {"const": verb},
        **{key: {"$ref": f"#/$defs/envelope/{key}"} for key in ENVELOPE},
        **{key: {"$ref": f"#/$defs/common/{key}"} for key in EXTRA},
        "hosts": {"type": "object", "additionalProperties": {"$ref": name}, "description": "With -i or -l, the document of each host."},
        **result,
    }
    schema = {
        "type": "object",
        "properties": properties,
        "required": ["verb", *ENVELOPE],
        "additionalProperties": False,
    }
    if required:
        present = [{"required": [key]} for key in ("hosts", "results")]
        schema["anyOf"] = [{"required": required}, *present, {"properties": {"failed": {"const": True}}}]
    return schema


def schema() -> dict[str, Any]:
    """Return the schema."""
    modules: dict[str, Any] = {}
    definitions = {}
    for verb, module in MODULES.items():
        documented = returned_by(module)
        name = f"repoman_{module}"
        modules[name] = {key: schema_of(value) for key, value in documented.items() if key not in OMITTED}
        required = [key for key, value in documented.items() if value["returned"].startswith("success") and key in modules[name]]
        result = {key: {"$ref": f"#/$defs/{name}/{key}"} for key in modules[name]}
        definitions[key_of(verb)] = definition(verb, result | (RESTORE if verb == "restore" else {}), required)
    for verb in TEXTS:
        definitions[verb] = definition(verb, {"text": {"type": "string", "description": "The text."}}, ["text"])
    for verb in ("shell", "ssh-config", "ssh-proxy", "profile edit", ""):
        definitions[key_of(verb)] = definition(verb, {}, [])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "repoman --json",
        "description": "The document that repoman --json prints, of any verb. The key verb is empty if there was none, or for another playbook.",
        "type": "object",
        "required": ["verb", *ENVELOPE],
        "allOf": [
            {"if": {"properties": {"verb": {"const": body["properties"]["verb"]["const"]}}}, "then": {"$ref": f"#/$defs/{name}"}}
            for name, body in definitions.items()
        ],
        "properties": {"verb": {"enum": [body["properties"]["verb"]["const"] for body in definitions.values()]}},
        "$defs": {"envelope": ENVELOPE, "common": EXTRA} | modules | definitions,
    }


def main() -> int:
    """Write the file, or compare it; return the exit status."""
    text = json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"
    if "--check" not in sys.argv[1:]:
        FILE.write_text(text, encoding="utf-8")
    elif FILE.read_text(encoding="utf-8") != text:
        print("docs/output.schema.json is not that of the modules: make docs-reference", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
