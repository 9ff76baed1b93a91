# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The run of all checks: errors are results, and checks without their requirement are one line."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.doctor import run as doctor
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.check import (
    Check,
    Outcome,
    listing,
    ok,
    run_checks,
    summary,
    warn,
)
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.context import DoctorContext, Requirement
from ansible_collections.homelab.repoman.plugins.modules import repoman_doctor_info

MakeContext = Callable[..., DoctorContext]


def refuse(context: DoctorContext) -> Outcome:
    """Raise a RepomanError."""
    raise ConflictError("it is busy.", "wait", "or stop it")


def fail_to_read(context: DoctorContext) -> Outcome:
    """Raise an error of the system."""
    raise OSError(errno.EACCES, os.strerror(errno.EACCES), "/a/b")


def need_registry(context: DoctorContext) -> Outcome:
    """Read the registry."""
    return ok(context.registry.path)


def need_incus(context: DoctorContext) -> Outcome:
    """Ask Incus."""
    return ok(context.client.path)


def test_errors_are_results_and_stop_nothing(make_context: MakeContext) -> None:
    """A check that raises an error fails, with its hints; the next check runs."""
    checks = [Check("a", "a", refuse), Check("b", "b", fail_to_read), Check("c", "c", lambda _context: warn("hm", "do"))]
    results = run_checks(checks, make_context())
    assert results == [
        {"name": "a", "status": "fail", "message": "it is busy", "hints": ["wait", "or stop it"]},
        {
            "name": "b",
            "status": "fail",
            "message": "/a/b: Permission denied",
            "hints": ["check that file or directory, and the free space: df -h /a"],
        },
        {"name": "c", "status": "warn", "message": "hm", "hints": ["do"]},
    ]
    assert summary(results) == {"ok": 0, "warn": 1, "fail": 2}


def test_bug_is_not_hidden(make_context: MakeContext) -> None:
    """Other exceptions are bugs of repoman, which the user must see as such."""
    with pytest.raises(ZeroDivisionError):
        run_checks([Check("a", "a", lambda _context: ok(str(1 // 0)))], make_context())


def test_checks_without_their_requirement(make_context: MakeContext) -> None:
    """They are one warning for each requirement, at the end."""
    checks = [Check("i", "storage", need_incus), Check("r", "mounts", need_registry), Check("j", "networks", need_incus)]
    results = run_checks([*checks, Check("k", "k", lambda _context: ok("fine"))], make_context(None))
    assert [(result["name"], result["status"], result["message"]) for result in results] == [
        ("k", "ok", "fine"),
        ("without_incus", "warn", "not checked without Incus: storage, networks"),
        ("without_registry", "warn", "not checked without the registry: mounts"),
    ]


def test_neither_incus_nor_registry(make_context: MakeContext) -> None:
    """All checks run: the two failures have their remedies, programs are checked, and each other check is listed once."""
    results = {result["name"]: result for result in run_checks(doctor.CHECKS, make_context(None))}
    assert sorted(results) == ["git", "hg", "incus", "python", "registry", "without_incus", "without_registry"]
    assert results["incus"]["status"] == results["registry"]["status"] == "fail"
    assert "there is no incus socket" in results["incus"]["message"]
    assert "sudo systemctl start incus" in results["incus"]["hints"][0]
    assert results["registry"]["hints"] == ["repoman setup"]
    messages = [results[f"without_{name}"]["message"].partition(": ")[2] for name in ("incus", "registry")]
    listed = sorted(", ".join(messages).split(", "))
    assert listed == sorted(check.subject for check in doctor.CHECKS if check.name not in results)


def test_incus_that_stops_to_answer_is_asked_once(make_context: MakeContext, silent_socket: str) -> None:
    """Only the first check waits for it; all others are listed as not made."""
    results = {result["name"]: result for result in run_checks(doctor.CHECKS, make_context("", silent_socket, timeout=0.2))}
    assert results["incus"]["status"] == "fail" and "did not answer" in results["incus"]["message"]
    assert "storage" in results["without_incus"]["message"] and "root_disk" not in results


def test_every_check_is_documented() -> None:
    """By the module and the guide, and no other is."""
    names = {check.name for check in doctor.CHECKS}
    assert len(names) == len(doctor.CHECKS)
    description = " ".join(yaml.safe_load(repoman_doctor_info.RETURN)["checks"]["description"])
    requirements = {f"without_{requirement.name.lower()}" for requirement in Requirement}
    assert set(re.findall(r"V\((\w+)\)", description)) == names | requirements
    guide = (Path(__file__).parents[3] / "docs/docsite/rst/doctor.rst").read_text(encoding="utf-8")
    lists = re.findall(r"^``\w+``(?:, ``\w+``)*$", guide, flags=re.MULTILINE)
    assert sorted(re.findall(r"\w+", " ".join(lists))) == sorted(names)


def test_listing() -> None:
    """At most three names, and how many more there are."""
    assert [listing("abcde"[:count]) for count in (1, 3, 5)] == ["a", "a, b, c", "a, b, c and 2 more"]
