# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real runs of ansible-playbook, with the ansible-core that runs the tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core import names

COLLECTIONS = Path(names.__file__).parents[6]
"""The directory with ``ansible_collections``: that of the checkout, or of the unpacked archive."""


def search_paths() -> dict[str, str]:
    """Return the variables by which programs of Ansible are found, and find their libraries: ``ansible-test`` sets both."""
    return {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}


def path_of(program: str) -> str:
    """Return the path of a program that belongs to this Python; ``ansible-test`` has those of Ansible elsewhere, first in ``PATH``."""
    beside = Path(sys.executable).with_name(program)
    path = str(beside) if beside.exists() else shutil.which(program)
    assert path, f"there is no {program}"
    return path


def run_ansible(program: str, place: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program of Ansible in ``place``, which is also its home.

    :param environment: variables in addition to those of the tests, none of which configures Ansible.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "INCUS_", "REPOMAN_"))}
    fixed = {
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_HOME": str(place / ".ansible"),
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
        "HOME": str(place),
        "LC_ALL": "C.UTF-8",
    }
    return subprocess.run(
        [path_of(program), *arguments],
        cwd=place,
        env=inherited | fixed | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def play(place: Path, plays: str | list[dict[str, Any]], *arguments: str, code: int = 0, **environment: str) -> str:
    """Run plays and return the output and the warnings; the exit status must be ``code``.

    :param plays: text or data.
    """
    book = place / "site.yml"
    book.write_text(plays if isinstance(plays, str) else json.dumps(plays))
    done = run_ansible("ansible-playbook", place, str(book), *arguments, **environment)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def results_of(place: Path, tasks: list[dict[str, Any]], *arguments: str, **environment: str) -> list[dict[str, Any]]:
    """Run tasks on this host, also after a failure, and return their results."""
    names = [f"result_{number}" for number in range(len(tasks))]
    registered = [task | {"register": name, "ignore_errors": True} for task, name in zip(tasks, names, strict=True)]
    shown = play(place, [{"hosts": "localhost", "gather_facts": False, "tasks": [*registered, show(names)]}], *arguments, **environment)
    results: list[dict[str, Any]] = results_in(shown)
    return results


def show(names: list[str]) -> dict[str, Any]:
    """Return a task that shows what tasks have registered; unlike a copy to a file, it starts no Python."""
    return {"ansible.builtin.debug": {"msg": "{{ [" + ", ".join(names) + "] | to_json }}"}}


def results_in(output: str) -> Any:
    """Return the results that the task has shown."""
    shown = output.rpartition("ok: [localhost] => ")[2]
    return json.loads(json.JSONDecoder().raw_decode(shown)[0]["msg"])
