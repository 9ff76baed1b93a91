# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles and modules under mitogen's strategies: over ssh, with become, in the background, and on the controller."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from lab import Lab, lab
from world import Me, changes

pytestmark = pytest.mark.skipif(find_spec("mitogen") is None, reason="mitogen is not installed: pip install mitogen")
BOOK = """\
- hosts: all
  gather_facts: false
  roles:
    - role: homelab.repoman.setup
      repoman_lan_ip: 192.0.2.10
      repoman_backup_root: ~/backup
      repoman_profiles: [dotfiles]
    - role: homelab.repoman.new
      repoman_projects: [{name: demo, image: busybox}]
    - role: homelab.repoman.sync
      repoman_sync_init: true
      repoman_sync_allow_local: true
  tasks:
    - name: Wait for a task in the background
      homelab.repoman.repoman_profile:
        names: [llm-share]
        user: "{{ repoman_user | default(omit) }}"
        socket: "{{ repoman_socket | default(omit) }}"
      async: 120
      poll: 1
      when: not ansible_check_mode
    - name: Look at the profiles in the controller's own process
      homelab.repoman.repoman_profile_info: {socket: "{{ its_socket }}"}
      delegate_to: localhost
      become: false
      vars: {ansible_connection: local}
      run_once: true
      register: found
    - name: Compare
      ansible.builtin.assert: {that: "'dotfiles' in found.profiles | map(attribute='name')"}
      run_once: true
    - name: Have an error
      homelab.repoman.repoman_profile:
        names: [nosuch]
        user: "{{ repoman_user | default(omit) }}"
        socket: "{{ repoman_socket | default(omit) }}"
      register: failure
      failed_when: failure.exit_code != 3 or not failure.hints
"""


@pytest.fixture(scope="module")
def built(me: Me, installation: Path) -> Iterator[Lab]:
    """The lab, with a repository on each host."""
    with lab(me, installation) as built:
        for host in built.hosts.values():
            host.git_repository("demo")
        yield built
        for host in built.hosts.values():
            host.clean()


def test_roles_and_modules_under_mitogen(built: Lab) -> None:
    """The first run changes both hosts; the next ones, one with another strategy and one in check mode, change nothing."""
    (plugins,) = built.controller.bin_dir.parent.glob("lib/python*/site-packages/ansible_mitogen/plugins/strategy")
    book = built.controller.write(built.controller.home / "site.yml", BOOK)
    inventory, local = built.inventory(), built.hosts["nas1"].socket

    def run(strategy: str, *argv: str) -> int:
        env = {"ANSIBLE_STRATEGY_PLUGINS": str(plugins), "ANSIBLE_STRATEGY": strategy}
        return changes(built.controller.playbook("-i", inventory, str(book), *argv, env=env, its_socket=local))

    assert run("mitogen_linear") > 0
    for host in built.hosts.values():
        assert host.instances()["demo"]["status"] == "Running" and {"dotfiles", "llm-share"} <= set(host.profiles())
        assert host.run("git", "fsck", cwd=host.home / "backup/demo").code == 0
        assert host.registry.stat().st_uid == host.me.uid
    assert run("mitogen_free") == 0
    assert run("mitogen_linear", "--check") == 0
