# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The containers in which the playbook of ``restore`` mounts a repository again."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from real_ansible import run_ansible

PLAYBOOK = Path(__file__).parents[3] / "playbooks/restore.yml"


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("name", "to", "expected"),
    [
        ("demo", "repos/demo", ["demo", "below"]),
        ("other-name", "repos/demo", ["demo", "below"]),
        ("below", "repos/demo/below", ["below"]),
        ("linked", "repos/linked", ["linked"]),
        ("none", "repos/none", []),
    ],
)
def test_only_containers_of_the_restored_directory(tmp_path: Path, name: str, to: str, expected: list[str], check: bool) -> None:
    """Those of the directory and of repositories in it, each once; none of a directory elsewhere, whatever its name or that of the project.

    Nothing is read on the controller: the links are those of the host.

    A check predicts those that run, too, because the restore would replace the directory that they show.
    """
    repos = {
        "demo": "repos/demo",
        "below": "repos/demo/below",
        "deeper": "repos/archive/demo",
        "longer": "repos/demo-2",
        "linked": "link/linked",
        "other-name": "elsewhere",
    }
    running = {"state": "Running", "relation": "own"}
    projects: list[dict[str, Any]] = [
        running | {"name": key, "repo": f"/host/{path}", "repo_real_path": f"/host/{path.replace('link/', 'repos/')}", "stale_mount": True}
        for key, path in repos.items()
    ]
    fresh = {"name": "fresh", "repo": "/host/repos/demo", "repo_real_path": "", "stale_mount": False}
    projects += [
        running | fresh,
        running | fresh | {"name": "off", "state": "Stopped"},
        running | fresh | {"name": "x", "relation": "copy"},
    ]
    if check and to == "repos/demo":
        expected = [*expected, "fresh"]
    shown_by = yaml.safe_load(PLAYBOOK.read_text(encoding="utf-8"))[0]["vars"]
    copy = {"ansible.builtin.debug": {"msg": "{{ item }}"}, "loop": "{{ __repoman_restore_shown_by }}"}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": shown_by
        | {
            "ansible_python_interpreter": sys.executable,
            "repoman_restore_name": name,
            "__repoman_restore_result": {"restored": {"to": f"/host/{to}", "replaces_directory": True}},
            "__repoman_restore_info": {"projects": projects},
        },
        "tasks": [copy],
    }
    (tmp_path / "site.yml").write_text(json.dumps([play]), encoding="utf-8")
    done = run_ansible("ansible-playbook", tmp_path, "site.yml", *(["--check"] if check else []))
    assert done.returncode == 0, done
    shown = [line for line in done.stdout.splitlines() if "(item=" in line]
    items = [ast.literal_eval(line.split("(item=")[1].partition(") =>")[0]) for line in shown]
    assert sorted(items, key=str) == sorted(({"name": name} for name in expected), key=str)
