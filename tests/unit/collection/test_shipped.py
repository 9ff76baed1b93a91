# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules that are shipped to an interpreter, which may not be what they need."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible import constants
from backup_fixture import BackupHome
from real_ansible import COLLECTIONS, path_of, results_in, search_paths, show

INFO = "homelab.repoman.repoman_project_info"
SHIPPED = {"environment": {"A": "b"}}
PROJECT = "homelab.repoman.repoman_project"


@dataclass(frozen=True)
class Answer:
    """The result of a task, and Ansible's output about it."""

    said: dict[str, Any]
    shown: str


def answers(home: Path, interpreter: Path, *tasks: dict[str, Any], verbosity: int = 0, inject: bool = False) -> list[Answer]:
    """Run tasks under ``interpreter`` in one play; one with an environment is never run in Ansible's own process.

    :param inject: results have the options of their task; ansible-core before 2.21 always does that.
    """
    names = [f"said_{number}" for number in range(len(tasks))]
    registered = [{"name": name, "ignore_errors": True, "register": name} | task for name, task in zip(names, tasks, strict=True)]
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": str(interpreter)},
        "tasks": [*registered, show(names)],
    }
    (home / "site.yml").write_text(json.dumps([play]), encoding="utf-8")
    environment = {
        **search_paths(),
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_ASYNC_DIR": str(home / "jobs"),
        "ANSIBLE_REMOTE_TEMP": str(home / "tmp"),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_INJECT_INVOCATION": str(int(inject)),
    }
    command = [path_of("ansible-playbook"), "site.yml", *["-v"] * verbosity]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    shown = re.split(r"^TASK \[.*\] \*+$", done.stdout, flags=re.MULTILINE)[1:-1]
    return [Answer(*each) for each in zip(results_in(done.stdout), shown, strict=True)]


def shipped(home: Path, interpreter: Path, module: str = INFO, options: dict[str, Any] | None = None, **task: Any) -> dict[str, Any]:
    """Return what a module answers that runs under ``interpreter``, in a task that has an environment if it is not given one."""
    (answer,) = answers(home, interpreter, SHIPPED | {module: options} | task)
    return answer.said


@pytest.mark.parametrize("where", [SHIPPED, {"environment": {}}])
def test_the_trace_is_shown(tmp_path: Path, where: dict[str, Any]) -> None:
    """With ``-vvv``, of a module that is shipped as of one in Ansible's own process; it is no part of the result, and has no secret."""
    options = {"name": "demo", "config": {"environment.API_KEY": "hush-1"}, "socket": str(tmp_path / "hush-1")}
    registry = tmp_path / ".config/repoman/repoman.toml"
    registry.parent.mkdir(parents=True)
    registry.write_text('[repoman]\nschema = 3\n[[project]]\nname = "demo"\nrepo = "demo"\n', encoding="utf-8")
    task = {PROJECT: options} | where
    traced, secret = answers(tmp_path, Path(sys.executable), task, task | {"no_log": True}, verbosity=3)
    lines = [line.split(" ", 3)[3] for line in traced.shown.splitlines() if re.match(r"<localhost> \d{4}-\d\d-\d\dT[\d:.]+Z \d+ ", line)]
    assert lines[0].startswith("module: projects.run") and "config" in lines[0], traced
    assert f"registry: read {registry}: schema 3, 1 projects" in lines
    assert lines[-1].startswith("module: failed: ")
    assert "trace" not in traced.said and "hush-1" not in "".join(lines)
    assert "registry: read" not in secret.shown
    (quiet,) = answers(tmp_path, Path(sys.executable), task)
    assert quiet.said["failed"] and "registry: read" not in quiet.shown


@pytest.mark.parametrize("where", [SHIPPED, {"environment": {}}])
def test_options_are_shown_without_secrets(tmp_path: Path, where: dict[str, Any]) -> None:
    """With ``-vvv``, the same ones both ways, if the module runs and if its arguments are wrong; short secrets do not mask other texts."""
    settings = {
        "config": {"environment.API_KEY": "hush-1", "user.pin": "demo", "limits.cpu": 2},
        "devices": {"x": {"passphrase": "hush-2"}},
    }
    wrong_arguments = {"name": "demo", "nosuch": 1} | settings
    tasks = [{PROJECT: options} | where for options in ({"projects": [{"name": "demo"} | settings]}, wrong_arguments)]
    for answer in answers(tmp_path, Path(sys.executable), *tasks, verbosity=3, inject=True):
        assert "hush" not in answer.shown + json.dumps(answer.said), answer
        arguments = json.JSONDecoder().raw_decode(answer.shown.partition("FAILED! => ")[2])[0]["invocation"]["module_args"]
        project = (arguments.get("projects") or [arguments])[0]
        hidden = {"environment.API_KEY": "(not shown)", "user.pin": "(not shown)", "limits.cpu": 2}
        assert (project["name"], project["config"], project["devices"]) == ("demo", hidden, {"x": {"passphrase": "(not shown)"}})
    (answer,) = answers(tmp_path, Path(sys.executable), {PROJECT: {"name": "demo"} | settings} | where, verbosity=3)
    assert ('"invocation"' in answer.shown) == ("INJECT_INVOCATION" not in constants.config.get_configuration_definitions())


def bare(place: Path, *lines: str) -> Path:
    """Make a Python without any library.

    :param lines: what it does before anything else.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "first.pth").write_text("".join(f"import sys; {line}\n" for line in lines), encoding="utf-8")
    return place / "bin/python"


def test_interpreter_without_the_libraries(tmp_path: Path) -> None:
    """It is named, with what it lacks and the ways out."""
    python = bare(tmp_path / "bare")
    said = shipped(tmp_path, python)
    assert (said["msg"], said["exit_code"]) == (f"{python} has no pyyaml and no tomlkit, which repoman needs.", 1)
    assert f"{python} -m pip install pyyaml tomlkit" in said["hints"]
    assert any("ansible_python_interpreter" in hint for hint in said["hints"])


def test_libraries_that_an_earlier_task_installs(tmp_path: Path) -> None:
    """In check mode with predict they are a warning, and a change."""
    python = bare(tmp_path / "bare")
    projects = [{"name": "bad", "devices": {"x": "disk"}}, {"name": "good", "config": {"cloud-init.user-data": {"packages": ["git"]}}}]
    check = SHIPPED | {"check_mode": True}
    tasks = ({"homelab.repoman.repoman_sync": {"predict": True}}, {PROJECT: {"projects": projects, "predict": True}})
    sync, project = (answer.said for answer in answers(tmp_path, python, *(task | check for task in tasks)))
    assert sync["changed"] and not sync["failed"]
    assert any("no pyyaml" in str(warning) and "no error in check mode" in str(warning) for warning in sync["warnings"])
    assert [each["action"] for each in project["projects"]] == ["failed", "created"] and project["exit_code"] == 2, project


def test_interpreter_that_is_too_old(tmp_path: Path) -> None:
    """It says so before it imports what an old Python does not have."""
    python = bare(tmp_path / "old", "sys.version_info = (3, 10, 9, 'final', 0); sys.modules['tomllib'] = None")
    said = shipped(tmp_path, python)
    assert (said["msg"], said["exit_code"]) == (f"{python} is Python 3.10.9, and repoman needs 3.11 or later.", 1)
    assert any("ansible_python_interpreter" in hint for hint in said["hints"])


def test_task_in_the_background(tmp_path: Path) -> None:
    """``async`` and ``poll`` are obeyed: the answer is the module's own."""
    said = shipped(tmp_path, Path(sys.executable), **{"async": 60, "poll": 1, "environment": {}})
    assert said["msg"] == f"there is no registry at {tmp_path}/.config/repoman/repoman.toml.", said
    assert said["finished"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to serve another")
def test_a_shipped_module_backs_up_what_belongs_to_another(tmp_path: Path) -> None:
    """Its archive can be read by root alone, and the work is done as the other user: all it needs was loaded before."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        home = BackupHome(Path(name), user="nobody")
        home.git("isurus")
        home.hg("lamna")
        home.write("plain/file")

        def sync(**options: Any) -> dict[str, str]:
            for path in [home.root, *home.root.rglob("*")]:
                os.chown(path, 65534, 65534, follow_symlinks=False)
            fixed = {"registry_path": str(home.registry), "user": "nobody", "probe_timeout": 60}
            result = shipped(tmp_path, Path(sys.executable), "homelab.repoman.repoman_sync", fixed | options)
            return {unit["name"]: unit["action"] for unit in result["units"]}

        home.root.chmod(0o755)
        assert sync(init=True, allow_local=True) == {"isurus": "synced", "lamna": "synced", "plain": "synced"}
        home.write("isurus/new")
        home.write("lamna/new")
        assert set(sync().values()) == {"synced"}  # also the plain one, whose times were set
        assert sync(verify=True) == {"isurus": "same", "lamna": "same", "plain": "same"}
