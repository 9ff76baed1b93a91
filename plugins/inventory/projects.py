# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: projects
short_description: Projects of repoman as inventory hosts
version_added: 0.4.0
author: the repoman contributors (@homelab)
description:
  - Adds a host for each project in the registry of this machine, and for each container created by repoman that is not in the registry.
    Tasks run in the container, through the connection plugin C(community.general.incus).
  - Reads the registry, and Incus once. If Incus does not respond, all states are V(unknown), with a warning, or with O(strict) it is an
    error.
  - The inventory file is YAML, with a name that ends with C(repoman.yml) or C(repoman.yaml).
notes:
  - 'Each host has variables for the connection: C(ansible_connection), C(ansible_incus_host), C(ansible_incus_project),
    C(ansible_incus_remote) and C(ansible_user).'
  - 'Each host has variables about its project: C(repoman_project), its name; C(repoman_user), the login name of its user;
    C(repoman_incus_project); C(repoman_repo), the path of the repository; C(repoman_repo_exists); C(repoman_vcs), V(git), V(hg) or empty;
    C(repoman_image); C(repoman_profiles); C(repoman_state), as Incus has it, V(missing) or V(unknown); C(repoman_backup), whether it is
    backed up; C(repoman_created) and C(repoman_last_sync), times or empty.'
  - The connection plugin finds Incus like the C(incus) client, with O(remote) and E(INCUS_SOCKET). O(socket) does not affect it.
  - Values from the registry, overrides, repositories and containers are never evaluated as templates or conditions, and neither is what
    O(compose) makes of them.
  - In a container without Python only M(ansible.builtin.raw) and M(ansible.builtin.script) work.
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
requirements:
  - python >= 3.11
  - pyyaml
  - tomlkit
  - the collection community.general 8.2.0 or later, for its connection plugin C(incus)
options:
  plugin:
    description: Name of this plugin.
    type: str
    required: true
    choices: [homelab.repoman.projects]
  user:
    description:
      - Login name of the user whose projects they are. The registry is in the user's home directory.
      - If not set, it is the user that runs Ansible.
    type: str
  socket:
    description:
      - Path of the Incus unix socket.
      - If not set, it is found like by the C(incus) client, with E(INCUS_SOCKET), E(INCUS_DIR),
        C(/run/incus/unix.socket) and C(/var/lib/incus/unix.socket).
    type: str
  registry_path:
    description:
      - Path of the registry. Overrides are in C(repos.d/) in the same directory.
      - If not set, it is C(~/.config/repoman/repoman.toml).
    type: str
  timeout:
    description: Seconds to wait for the response of Incus.
    type: float
    default: 30.0
  remote:
    description: Remote of the C(incus) client that tasks use to reach the containers.
    type: str
    default: local
  connect_as:
    description:
      - Account for tasks in the container, V(root) or that of the V(user).
      - V(user) needs C(community.general) 10.4.0 or later.
    type: str
    choices: [root, user]
    default: root
  only_running:
    description: Leave out projects whose container is not running.
    type: bool
    default: false
  host_prefix:
    description: Prefix for the names of the hosts, to avoid conflicts with hosts of other inventories.
    type: str
    default: ""
  group:
    description: Group of all projects. Names of projects cannot contain an underscore, so the default does not conflict with them.
    type: str
    default: repoman_projects
"""

EXAMPLES = r"""
# lab.repoman.yml: all projects of the user that runs Ansible
plugin: homelab.repoman.projects

# running.repoman.yml: alice's running projects, in groups vcs_git, vcs_hg and vcs_none, and a group for those that share Claude's state
plugin: homelab.repoman.projects
user: alice
connect_as: user
only_running: true
strict: true
keyed_groups:
  - key: repoman_vcs
    prefix: vcs
    default_value: none
groups:
  claude: "'claude-share' in repoman_profiles"
compose:
  mirror: "'/nfs/repos/' ~ repoman_project"
"""

import re
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import check_seconds, require_libraries
from ansible_collections.homelab.repoman.plugins.module_utils.core.names import check_project_name
from ansible_collections.homelab.repoman.plugins.module_utils.projects import inventory as inventory_logic

try:
    from ansible.template import trust_as_template
except ImportError:  # before ansible-core 2.19 all text is a template unless it is marked as unsafe
    from ansible.utils.unsafe_proxy import wrap_var as mark_unsafe

    def trust_as_template(value: str) -> str:
        """Return ``value``."""
        return value

else:

    def mark_unsafe(value: str) -> str:
        """Return ``value``, which is not a template unless it is marked as one."""
        return value


SUFFIXES = ("repoman.yml", "repoman.yaml")
HARMLESS = re.compile(r"[\w./:@+~ -]*").fullmatch
"""Matches text in which nothing can be called. ``ansible-inventory`` shows it as it is, and all other text with a mark."""


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """The inventory."""

    NAME = "homelab.repoman.projects"

    def verify_file(self, path: str) -> bool:
        """Return true if ``path`` has a name for this plugin."""
        return bool(super().verify_file(path)) and path.endswith(SUFFIXES)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Add the hosts for the inventory file at ``path``.

        :param cache: use cached data if there is any.
        :raises AnsibleParserError: the projects cannot be read.
        """
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        use_cache = self.get_option("cache")
        key = self.get_cache_key(path) if use_cache else ""
        projects = self._cache.get(key) if use_cache and cache else None
        if projects is None:
            projects, is_complete = self._load()
            if use_cache and is_complete:
                self._cache[key] = projects
        group = self.inventory.add_group(self.get_option("group"))
        for project in projects:
            if not _is_legal(project["name"]):  # it may be a template, and before ansible-core 2.19 the name of a host is evaluated
                self.display.warning(f"the project {project['name']!r} is left out: its name is not one that a container can have")
            elif project["state"] == inventory_logic.RUNNING or not self.get_option("only_running"):
                self._add(project, group)

    def _load(self) -> tuple[list[dict[str, Any]], bool]:
        """Return the projects, and false if Incus did not respond."""
        try:
            options = {key: self.get_option(key) for key in ("user", "socket", "registry_path", "timeout")}
            check_seconds(options)
            require_libraries()
            projects, problem = inventory_logic.load_projects(options)
        except RepomanError as error:
            raise AnsibleParserError(_one_line(error)) from error
        if problem and self.get_option("strict"):
            raise AnsibleParserError(_one_line(problem)) from problem
        if problem:
            self.display.warning(f"the state of the projects is unknown: {_one_line(problem)}")
        return projects, problem is None

    def _compose(self, *args: Any, **options: Any) -> Any:
        """Return the value of an expression. It is data: before ansible-core 2.19, what is joined to a marked text loses the mark."""
        return _mark_texts(super()._compose(*args, **options))

    def _add(self, project: dict[str, Any], group: str) -> None:
        """Add the host of a project, with its variables and groups."""
        name = self.inventory.add_host(f"{self.get_option('host_prefix')}{project['name']}", group)
        variables = inventory_logic.host_variables(project, self.get_option("remote"), self.get_option("connect_as") == "user")
        variables = _mark_texts(variables)  # before anything is composed of them
        for key, value in variables.items():
            self.inventory.set_variable(name, key, value)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, name, strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict)


def _is_legal(name: str) -> bool:
    try:
        check_project_name(name)
    except RepomanError:
        return False
    return True


def _mark_texts(value: Any) -> Any:
    """Mark the texts in ``value`` so that Ansible does not evaluate them, neither as templates nor as conditions."""
    if isinstance(value, dict):
        return {key: _mark_texts(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mark_texts(item) for item in value]
    if not isinstance(value, str):
        return value
    return trust_as_template(value) if HARMLESS(value) else mark_unsafe(value)


def _one_line(error: RepomanError) -> str:
    """Return an error and its hints as one line."""
    return "; ".join((error.message.rstrip("."), *error.hints))
