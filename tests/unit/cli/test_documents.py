# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The documents of ``--json`` that the command prints itself, and the schema of all."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from output_schema import ENVELOPE, SCHEMA, check_document, validator

from repoman import cli
from repoman.cli.verbs import VERBS

ROOT = Path(__file__).parents[3]


def document(line: str, code: int, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Run the command; return its document, which follows the schema."""
    assert cli.main(shlex.split(line)) == code
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    check_document(result)
    assert result["exit_code"] == code
    return result


@pytest.mark.parametrize(
    ("line", "verb", "message"),
    [
        ("--json", "", "no verb was given."),
        ("--json profile", "", "profile needs a verb: list, install, diff, remove, show, copy or edit."),
        ("--json zzz", "", "there is no verb 'zzz'."),
        ("list --json --jobs 1", "", "repoman list has no option --jobs."),
        ("sync --json --allow-local", "sync", "--allow-local requires --init."),
        ("--json remove isurus", "remove", "remove asks before it deletes a container, but there is no terminal."),
        ("--json -q -v list", "list", "-q and -v exclude each other."),
        ("shell isurus --json", "shell", "shell has no --json: its output is that of the command."),
    ],
)
def test_wrong_usage(line: str, verb: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The document has the envelope, and nothing else."""
    monkeypatch.setattr(sys, "stdin", open("/dev/null"))  # noqa: SIM115
    result = document(line, 2, capsys)
    assert list(result) == ENVELOPE and result["hints"]
    assert (result["verb"], result["msg"], result["failed"], result["changed"]) == (verb, message, True, False)


@pytest.mark.parametrize(
    ("line", "verb", "begin"),
    [
        ("--json version", "version", "repoman "),
        ("--json --help", "help", "usage: repoman"),
        ("list --help --json", "help", "usage: repoman list"),
        ("--json help sync", "help", "usage: repoman sync"),
        ("--json completion bash", "completion", ""),
    ],
)
def test_texts(line: str, verb: str, begin: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They are in a document, too."""
    result = document(line, 0, capsys)
    assert result["verb"] == verb and result["text"].startswith(begin) and result["text"].endswith("\n")


def test_schema_is_that_of_the_modules(capsys: pytest.CaptureFixture[str]) -> None:
    """The file is up to date and has each verb; the command prints it."""
    subprocess.run([sys.executable, "scripts/write_schema.py", "--check"], cwd=ROOT, check=True)
    assert set(validator().schema["properties"]["verb"]["enum"]) == {"", *(verb.words for verb in VERBS)}
    assert cli.main(["help", "--json-schema"]) == 0
    assert capsys.readouterr().out == SCHEMA.read_text(encoding="utf-8")


def test_schema_is_strict() -> None:
    """A document with a missing, additional or wrong key does not follow it, also in the part of a host."""
    envelope = {"exit_code": 0, "changed": False, "failed": False, "msg": "", "hints": [], "warnings": []}
    good = {"verb": "list"} | envelope | {"projects": [], "account": {}, "socket": "", "stale_after": None}
    by_host = {"verb": "list"} | envelope | {"hosts": {"nas": good}}
    bad: list[dict[str, Any]] = [
        good | {"msg": None},
        good | {"exit_code": 7},
        good | {"more": 1},
        good | {"verb": "lst"},
        good | {"hints": "x"},
        {"verb": "list"} | envelope,
        by_host | {"hosts": {"nas": good | {"more": 1}}},
        by_host | {"hosts": {"nas": good | {"verb": "sync"}}},
        *({key: value for key, value in good.items() if key != missing} for missing in ENVELOPE),
    ]
    check_document(good)
    check_document(by_host)
    for each in bad:
        with pytest.raises(jsonschema.ValidationError):
            validator().validate(each)
