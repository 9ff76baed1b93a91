# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The containers in which the playbook of ``restore`` mounts a repository again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_environment import environment

PLAYBOOK = Path(__file__).parents[3] / "playbooks/restore.yml"


@pytest.mark.parametrize(
    ("name", "to", "expected"),
    [
        ("demo", "repos/demo", ["demo", "below"]),
        ("other-name", "repos/demo", ["demo", "below", "other-name"]),
        ("below", "repos/demo/below", ["below"]),
        ("linked", "repos/linked", ["linked"]),
        ("none", "repos/none", []),
    ],
)
def test_only_containers_of_the_restored_directory(tmp_path: Path, name: str, to: str, expected: list[str]) -> None:
    """Those of the project, of the directory and of repositories in it, each once; none of a directory of the same name elsewhere."""
    (tmp_path / "link").symlink_to("repos")
    repos = {
        "demo": "repos/demo",
        "below": "repos/demo/below",
        "deeper": "repos/archive/demo",
        "longer": "repos/demo-2",
        "linked": "link/linked",
        "other-name": "elsewhere",
    }
    projects: list[dict[str, Any]] = [{"name": key, "repo": f"{tmp_path}/{path}", "stale_mount": True} for key, path in repos.items()]
    projects.append({"name": "fresh", "repo": f"{tmp_path}/repos/demo", "stale_mount": False})
    task = yaml.safe_load(PLAYBOOK.read_text(encoding="utf-8"))[0]["tasks"][-1]
    copy = {"ansible.builtin.lineinfile": {"path": f"{tmp_path}/names", "line": "{{ item.name }}", "create": True, "mode": "0600"}}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {
            "ansible_python_interpreter": sys.executable,
            "repoman_restore_name": name,
            "repoman_restore_result": {"restored": {"to": f"{tmp_path}/{to}"}},
            "repoman_restore_info": {"projects": projects},
        },
        "tasks": [copy | {key: task[key] for key in ("loop", "vars", "loop_control") if key in task}],
    }
    (tmp_path / "site.yml").write_text(json.dumps([play]), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "site.yml"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    shown = [line for line in done.stdout.splitlines() if "(item=" in line]
    assert sorted(line.split("(item=")[1].removesuffix(")") for line in shown) == sorted(expected)
