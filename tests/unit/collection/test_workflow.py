# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The workflow for forges: it tests what the papers promise, with commands that exist."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]
STEPS = [pytest.param(step, id=f"{name}: {step['name']}") for name, job in JOBS.items() for step in job["steps"]]
SYSTEMS = {entry["system"] for entry in JOBS["checks"]["strategy"]["matrix"]["include"]}
CLONE = "/srv/repoman"


def text(path: str) -> str:
    """Return the text of a file of the checkout."""
    return (ROOT / path).read_text(encoding="utf-8")


def named_systems(prose: str) -> set[str]:
    """Return the systems in a sentence such as ``Debian 12 and 13, Ubuntu 24.04``, as the names of their images."""
    (found,) = re.findall(r"Debian (\d+) (?:and|or) (\d+)(?:,| or) Ubuntu ([\d.]+\d)", prose)
    return {f"debian:{found[0]}", f"debian:{found[1]}", f"ubuntu:{found[2]}"}


@pytest.mark.parametrize("path", ["README.md", "CONTRIBUTING.md", "scripts/dev-incus"])
def test_supported_systems_are_tested(path: str) -> None:
    """A job for each system that is supported, and for no other."""
    assert named_systems(text(path)) == SYSTEMS
    assert JOBS["checks"]["container"]["image"] == "${{ matrix.system }}"


def test_readme_has_a_row_for_each_system() -> None:
    """The table of tested versions is about the same systems."""
    rows = re.findall(r"^\| (Debian|Ubuntu) ([\d.]+) \|", text("README.md"), flags=re.MULTILINE)
    assert {f"{name.lower()}:{version}" for name, version in rows} == SYSTEMS


def test_supported_cores_are_tested() -> None:
    """Those of ``scripts/test-matrix``, which the README names too."""
    known = re.findall(r'"([\d.]+|newest) 3\.', text("scripts/test-matrix"))
    assert JOBS["cores"]["strategy"]["matrix"]["core"] == known
    assert f"ansible-core {', '.join(known[:-1])} and the {known[-1]}" in text("README.md").replace("\n", " ")


def test_checks_are_those_of_every_other_run() -> None:
    """The last step is ``.ci/run``, in what the steps before it fetched and prepared."""
    assert JOBS["checks"]["steps"][-1]["run"].strip() == f"{CLONE}/.ci/run"
    assert JOBS["checks"]["steps"][:-1] == JOBS["cores"]["steps"][:-1]


@pytest.mark.parametrize("name", JOBS)
def test_jobs_are_bounded(name: str) -> None:
    """A job has a time limit and read-only permissions, uses no third-party actions, and can start an Incus."""
    job = JOBS[name]
    assert WORKFLOW["permissions"] == {"contents": "read"} and "permissions" not in job
    assert job["timeout-minutes"] <= 90
    assert [step for step in job["steps"] if "uses" in step] == []
    options = shlex.split(job["container"]["options"])
    assert "--privileged" in options
    assert {after for option, after in itertools.pairwise(options) if option == "--volume"} == {"/tmp", "/var/tmp"}


@pytest.mark.parametrize("step", STEPS)
def test_commands_exist(step: dict[str, str]) -> None:
    """The steps are shell, and the files of the checkout that they run can be run."""
    subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True)
    for path in re.findall(rf"(?:{CLONE}/|^)((?:\.ci|scripts)/[\w.-]+)", step["run"], flags=re.MULTILINE):
        assert os.access(ROOT / path, os.X_OK), path


def test_the_commit_is_fetched(tmp_path: Path) -> None:
    """Also one that no branch has any more, as after a push with force."""
    forge, clone = tmp_path / "forge/homelab/repoman", tmp_path / "clone"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
        done = subprocess.run(["git", *who, "-C", forge, *arguments], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    forge.mkdir(parents=True)
    git("init", "--quiet")
    git("config", "uploadpack.allowAnySHA1InWant", "true")  # as forges have it
    git("commit", "--quiet", "--allow-empty", "-m", "first")
    wanted = git("rev-parse", "HEAD")
    git("commit", "--quiet", "--allow-empty", "--amend", "-m", "second")
    (fetch,) = (step["run"] for step in JOBS["checks"]["steps"] if step["name"] == "Fetch the commit")
    environment |= {"GITHUB_SERVER_URL": f"file://{tmp_path}/forge", "GITHUB_REPOSITORY": "homelab/repoman", "GITHUB_SHA": wanted}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", fetch.replace(CLONE, str(clone))]
    subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    forge = clone
    assert git("rev-parse", "HEAD") == wanted


@pytest.mark.skipif(Path("/sys/fs/cgroup/cgroup.type").exists(), reason="it would prepare this container")
def test_a_machine_is_not_prepared_as_a_container() -> None:
    """The script that moves processes and changes mounts refuses to do so on a machine."""
    done = subprocess.run([ROOT / ".ci/container"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"\.ci/container: (must be root in the container|this is not a container with .*)\n", done.stderr)


def test_papers_link_the_code_of_conduct() -> None:
    """Galaxy shows the README, and who contributes reads CONTRIBUTING."""
    for path in ("README.md", "CONTRIBUTING.md"):
        assert "https://docs.ansible.com/ansible/latest/community/code_of_conduct.html" in text(path), path


def test_readme_names_the_tracker_of_the_collection() -> None:
    """The one that ``galaxy.yml`` names."""
    assert f"]({yaml.safe_load(text('galaxy.yml'))['issues']})" in text("README.md")
