# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection without its command: playbooks by name, and modules in people's own playbooks."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.common import in_past_tense
from proxy import RecordingProxy
from world import CHECKOUT, Result, World, changes

HOMELAB = """\
- hosts: localhost
  gather_facts: false
  module_defaults: {group/homelab.repoman.repoman: {timeout: 20, user_dir: "~/templates"}}
  tasks: [{homelab.repoman.repoman_profile: {names: [tiny, claude-share]}}]
"""

ROLES = """\
- hosts: localhost
  gather_facts: false
  roles:
    - role: homelab.repoman.setup
      repoman_profiles: [dotfiles]
    - role: homelab.repoman.new
      repoman_projects: [{name: demo, image: busybox}]
    - role: homelab.repoman.sync
      repoman_sync_init: true
"""
MOVED = """\
- hosts: localhost
  gather_facts: false
  roles:
    - role: homelab.repoman.setup
      repoman_repos_root: ~/other
    - role: homelab.repoman.new
      repoman_projects: [{name: demo, image: busybox}]
      repoman_registry_path: "{{ its_registry | default('') }}"
"""
DEFAULTS = """\
- hosts: localhost
  gather_facts: false
  module_defaults: {group/homelab.repoman.repoman: {registry_path: "~/play.toml", user_dir: "~/templates"}}
  roles:
    - role: homelab.repoman.setup
      repoman_profiles: [tiny]
      repoman_backup_root: ~/backup
    - role: homelab.repoman.new
    - role: homelab.repoman.sync
      repoman_sync_init: true
      repoman_sync_allow_local: true
    - role: homelab.repoman.setup
      repoman_profiles: [small]
      repoman_registry_path: ~/role.toml
"""


def test_setup_and_new_by_name(world: World, proxy: RecordingProxy) -> None:
    """ansible-playbook homelab.repoman.setup and .new: check, apply, again, check."""
    world.git_repository("demo")
    projects = [{"name": "demo", "image": "busybox"}]
    assert changes(world.playbook("homelab.repoman.setup", "--check")) == 1
    assert proxy.writes == []
    assert changes(world.playbook("homelab.repoman.setup", "--diff")) == 1
    assert changes(world.playbook("homelab.repoman.setup")) == 0
    proxy.clear()
    assert changes(world.playbook("homelab.repoman.new", "--check", "--diff", repoman_projects=projects)) == 1
    assert proxy.writes == [] and world.instances() == {}
    assert changes(world.playbook("homelab.repoman.new", repoman_projects=projects)) == 1
    proxy.clear()
    assert changes(world.playbook("homelab.repoman.new", repoman_projects=projects)) == 0
    assert changes(world.playbook("homelab.repoman.new", "--check", repoman_projects=projects)) == 0
    assert proxy.writes == [] and world.instances()["demo"]["status"] == "Running"


def test_playbook_by_name_on_an_inventory(world: World) -> None:
    """It works on the hosts that repoman_hosts names, and on this one alone where it names none."""
    host = f"ansible_connection=local ansible_python_interpreter={world.bin_dir}/python"
    inventory = str(world.write(world.home / "hosts", f"[homelab]\nnas1 {host}\nnas2 {host}\n"))
    by_name = ("homelab.repoman.profile_list", "-i", inventory)

    def worked(result: Result) -> list[str]:
        return re.findall(r"^(\S+) +: ok=1", result.out, re.MULTILINE)

    assert worked(world.playbook(*by_name, "-e", "repoman_hosts=homelab")) == ["nas1", "nas2"]
    assert worked(world.playbook(*by_name, repoman_hosts="all:!nas1")) == ["nas2"]
    assert worked(world.playbook(*by_name)) == ["localhost"]


def test_five_lines_of_a_homelab_playbook(world: World, proxy: RecordingProxy) -> None:
    """repoman_profile with module_defaults of the action group: check, apply, again, check."""
    world.write(world.home / "templates/tiny.yml", "description: tiny\n")
    book = str(world.write(world.home / "site.yml", HOMELAB))
    assert changes(world.playbook(book, "--check")) == 1
    assert proxy.writes == []
    assert changes(world.playbook(book)) == 1
    assert {"tiny", "claude-share"} <= set(world.profiles())
    proxy.clear()
    assert changes(world.playbook(book)) == 0
    assert changes(world.playbook(book, "--check")) == 0
    assert proxy.writes == []


def test_defaults_of_the_play_reach_the_roles(world: World) -> None:
    """module_defaults of the action group hold in all roles; a variable of a role comes before them."""
    world.git_repository("demo")
    world.write(world.home / "templates/tiny.yml", "description: tiny\n")
    world.write(world.home / "templates/small.yml", "description: small\n")
    book = str(world.write(world.home / "site.yml", DEFAULTS))
    assert changes(world.playbook(book)) == 5
    assert {"tiny", "small"} <= set(world.profiles())
    assert 'backup_root = "~/backup"' in (world.home / "play.toml").read_text() and (world.home / "backup/demo").is_dir()
    assert "~/backup" not in (world.home / "role.toml").read_text()
    assert not world.registry.exists()
    assert changes(world.playbook(book)) == 0


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ({"repoman_user": "repoman-not-yet"}, "user 'repoman-not-yet' is not known on this host"),
        ({"repoman_socket": "/nonexistent/unix.socket"}, "there is no incus socket"),
        ({"repoman_profiles": ["not-yet"], "repoman_backup_root": "~/backup"}, "there is no profile template called 'not-yet'"),
    ],
)
def test_check_mode_allows_for_earlier_tasks(world: World, proxy: RecordingProxy, missing: dict[str, Any], said: str) -> None:
    """What a task before the roles would make is a warning and a change to come; not where it is said that there is none."""
    book = str(world.write(world.home / "site.yml", ROLES))
    world.git_repository("demo")
    assert changes(world.playbook(book, "--check", "--diff", **missing)) == 4
    told = world.playbook(book, "--check", env={"ANSIBLE_STDOUT_CALLBACK": "homelab.repoman.report"}, **missing)
    assert said in told.err and "no error in check mode" in told.err and "callback" not in told.err.lower()
    assert proxy.writes == [] and not world.registry.exists()
    assert said in world.playbook(book, "--check", code=2, repoman_predict=False, **missing).out


def test_check_mode_of_new_knows_what_setup_changes(world: World) -> None:
    """The second run's plan in check mode is of the registry that the role setup would leave, and of no other."""
    report = {"ANSIBLE_STDOUT_CALLBACK": "homelab.repoman.report", "REPOMAN_OUTPUT": "verbose"}
    world.playbook("homelab.repoman.setup")
    before = world.registry.read_text()
    world.git_repository("../other/demo")
    book = str(world.write(world.home / "site.yml", MOVED))
    two = str(world.write(world.home / "two.toml", before.replace("~/repos", "~/two")))
    foreign = world.playbook(book, "--check", env=report, its_registry=two)
    assert f"the repository {world.home}/two/demo does not exist" in foreign.err
    checked = world.playbook(book, "--check", "--diff", env=report)
    assert "no error in check mode" not in checked.err
    assert world.registry.read_text() == before and world.instances() == {}
    done = world.playbook(book, "--diff", env=report)

    def plan(result: Result) -> list[str]:
        lines = [line for line in result.out.splitlines() if not line.startswith("next: ")]
        lines = [in_past_tense(line.removeprefix("would ")) if line.startswith("would ") else line.removeprefix("==> ") for line in lines]
        return [re.sub(r"\b[0-9a-f]{16}\b|\d{4}-\d\d-\d\dT[\d:]+Z", "ANY", line) for line in lines]

    assert plan(checked) == plan(done)
    assert world.instances()["demo"]["devices"]["repo"]["source"] == str(world.home / "other/demo")


def test_shipped_module_says_the_same(world: World) -> None:
    """The module that is shipped (here: a task with an environment of its own) gives the result of the fast path."""
    book = world.write(
        world.home / "both.yml",
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n"
        "    - homelab.repoman.repoman_profile_info:\n      register: here\n"
        "    - homelab.repoman.repoman_profile_info:\n      environment: {ANYTHING: '1'}\n      register: shipped\n"
        "    - ansible.builtin.assert:\n        that:\n"
        "          - here.profiles | map(attribute='name') == shipped.profiles | map(attribute='name')\n"
        "          - here.profiles | map(attribute='drift') == shipped.profiles | map(attribute='drift')\n"
        "          - here.profiles | length == 3\n",
    )
    world.playbook(str(book))


@pytest.mark.parametrize("environment", ["{}", "{ANYTHING: '1'}"])
def test_failing_module_has_hints_and_exit_code(world: World, environment: str) -> None:
    """Both ways fail alike: one sentence, hints, the exit code."""
    book = world.write(
        world.home / "fail.yml",
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n"
        f"    - homelab.repoman.repoman_profile: {{names: [nosuch]}}\n      environment: {environment}\n      register: it\n      ignore_errors: true\n"
        "    - ansible.builtin.assert:\n        that:\n          - it is failed\n          - it.exit_code == 3\n          - it.hints | length > 0\n",
    )
    world.playbook(str(book))


def test_wrong_arguments_are_refused(world: World) -> None:
    """The fast path checks arguments as a module does."""
    book = world.write(
        world.home / "bad.yml", "- hosts: localhost\n  gather_facts: false\n  tasks: [{homelab.repoman.repoman_profile: {nams: [x]}}]\n"
    )
    assert "nams" in world.playbook(str(book), code=2).out


def test_collection_built_and_installed_alone(world: World, tmp_path: Path) -> None:
    """ansible-galaxy collection build && install, no ansible.cfg: the playbooks run from there."""
    galaxy = world.bin_dir / "ansible-galaxy"
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    )
    source = tmp_path / "source"
    for name in filter(None, listed.stdout.split("\0")):
        if (CHECKOUT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, source / name)
    subprocess.run([galaxy, "collection", "build", "--output-path", tmp_path, source], check=True, capture_output=True)
    (tarball,) = tmp_path.glob("homelab-repoman-*.tar.gz")
    with tarfile.open(tarball) as archive:
        names = set(archive.getnames())
    assert {"profiles/dotfiles.yml", "plugins/modules/repoman_project.py", "roles/new/tasks/main.yml", "playbooks/new.yml"} <= names
    assert not [name for name in names if name.startswith(("src", "scripts", "."))]
    shutil.copy2(tarball, world.home / tarball.name)
    assert world.run("ansible-galaxy", "collection", "install", "--offline", "--force", str(world.home / tarball.name)).code == 0
    out = world.run("ansible-galaxy", "collection", "list", "homelab.repoman").out
    assert str(world.home / ".ansible") in out
    assert changes(world.playbook("homelab.repoman.setup")) == 1
