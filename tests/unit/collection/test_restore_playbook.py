# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The containers in which the playbook of ``restore`` mounts a repository again."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from real_ansible import run_ansible

pytestmark = pytest.mark.xdist_group("restore-playbook")  # one process, so that all tests share the runs

PLAYBOOK = Path(__file__).parents[3] / "playbooks/restore.yml"


REPOS = {
    "demo": "repos/demo",
    "below": "repos/demo/below",
    "deeper": "repos/archive/demo",
    "longer": "repos/demo-2",
    "linked": "link/linked",
    "other-name": "elsewhere",
}
TARGETS = {
    "demo": "repos/demo",
    "other-name": "repos/demo",
    "below": "repos/demo/below",
    "linked": "repos/linked",
    "none": "repos/none",
    "several": "repos/demo",
}
"""Where each project is restored to."""


def projects() -> list[dict[str, Any]]:
    """Return the projects of the host."""
    running = {"state": "Running", "relation": "own"}
    listed: list[dict[str, Any]] = [
        running | {"name": key, "repo": f"/host/{path}", "repo_real_path": f"/host/{path.replace('link/', 'repos/')}", "stale_mount": True}
        for key, path in REPOS.items()
    ]
    fresh = {"name": "fresh", "repo": "/host/repos/demo", "repo_real_path": "", "stale_mount": False}
    return [
        *listed,
        running | fresh,
        running | fresh | {"name": "off", "state": "Stopped"},
        running | fresh | {"name": "x", "relation": "copy"},
    ]


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], dict[str, list[Any]]]:
    """Return a function that evaluates the playbook's variable for each target, in one run, with and without check mode."""
    shown_by = yaml.safe_load(PLAYBOOK.read_text(encoding="utf-8"))[0]["vars"]

    def play(name: str, to: str) -> dict[str, Any]:
        unit = {"to": f"/host/{to}", "replaces_directory": True}
        same, failed = {"to": "/host/repos/archive/demo", "replaces_directory": False}, {"to": "", "replaces_directory": False}
        variables = {
            "ansible_python_interpreter": sys.executable,
            "repoman_restore_name": name,
            "__repoman_restore_result": {"units": [unit, same, failed]} if name == "several" else {"restored": unit},
            "__repoman_restore_info": {"projects": projects()},
        }
        task = {"ansible.builtin.debug": {"msg": "{{ item }}"}, "loop": "{{ __repoman_restore_shown_by }}"}
        return {"name": name, "hosts": "localhost", "gather_facts": False, "vars": shown_by | variables, "tasks": [task]}

    @cache
    def run(check: bool) -> dict[str, list[Any]]:
        place = tmp_path_factory.mktemp("mounted")
        (place / "site.yml").write_text(json.dumps([play(*each) for each in TARGETS.items()]), encoding="utf-8")
        done = run_ansible("ansible-playbook", place, "site.yml", *(["--check"] if check else []))
        assert done.returncode == 0, done
        parts = re.split(r"^PLAY \[(.*)\] \*+\n", done.stdout, flags=re.MULTILINE)
        return {
            name: [ast.literal_eval(line.split("(item=")[1].partition(") =>")[0]) for line in text.splitlines() if "(item=" in line]
            for name, text in zip(parts[1::2], parts[2::2], strict=True)
        }

    return run


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("name", "to", "expected"),
    [
        ("demo", "repos/demo", ["demo", "below"]),
        ("other-name", "repos/demo", ["demo", "below"]),
        ("below", "repos/demo/below", ["below"]),
        ("linked", "repos/linked", ["linked"]),
        ("none", "repos/none", []),
        ("several", "repos/demo", ["demo", "below", "deeper"]),
    ],
)
def test_only_containers_of_the_restored_directory(
    mounted: Callable[[bool], dict[str, list[Any]]], name: str, to: str, expected: list[str], check: bool
) -> None:
    """Those of the directory and of repositories in it, each once; none of a directory elsewhere, whatever its name or that of the project.

    Nothing is read on the controller: the links are those of the host.

    With several, those that already matched the backup count, too: an earlier run may have ended before it mounted them.

    A check predicts those that run, too, because the restore would replace the directory that they show.
    """
    assert TARGETS[name] == to
    if check and to == "repos/demo":
        expected = [*expected, "fresh"]
    assert sorted(mounted(check)[name], key=str) == sorted(({"name": each} for each in expected), key=str)
