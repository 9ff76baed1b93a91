# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: projects
short_description: Projects of repoman as hosts
version_added: 0.4.0
author: the repoman contributors (@homelab)
description:
  - Makes a host of each project in the registry of this machine, and of each container repoman made that the registry does not name.
    Tasks run inside its container, through the connection plugin C(community.general.incus).
  - The registry is read, and Incus is asked once. Where Incus does not answer, every state is V(unknown), with a warning, or it is an error
    where O(strict) is set.
  - Its file is YAML, and its name ends in C(repoman.yml) or C(repoman.yaml).
notes:
  - The connection plugin finds Incus as the C(incus) client does, through O(remote) and E(INCUS_SOCKET). O(socket) is not told to it.
  - An image without Python serves the modules M(ansible.builtin.raw) and M(ansible.builtin.script) alone.
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
    description: Says that the file is for this plugin.
    type: str
    required: true
    choices: [homelab.repoman.projects]
  user:
    description:
      - Login name of the user whose projects they are. Its home holds the registry.
      - Where not set, it is the user who runs Ansible.
    type: str
  socket:
    description:
      - Path of Incus's unix socket.
      - Where not set, it is found as the C(incus) client finds it, through E(INCUS_SOCKET), E(INCUS_DIR),
        C(/run/incus/unix.socket) and C(/var/lib/incus/unix.socket).
    type: str
  registry_path:
    description:
      - Path of the registry. Overrides lie in C(repos.d/) beside it.
      - Where not set, it is C(.config/repoman/repoman.toml) in the home of the user.
    type: str
  timeout:
    description: Seconds that Incus may take for its answer.
    type: float
    default: 30.0
  remote:
    description: The C(incus) client's remote through which tasks reach the containers.
    type: str
    default: local
  connect_as:
    description:
      - Whether tasks run inside as V(root) or as the account of the V(user).
      - V(user) needs C(community.general) 10.4.0 or later.
    type: str
    choices: [root, user]
    default: root
  only_running:
    description: Leave out projects whose container does not run.
    type: bool
    default: false
  host_prefix:
    description: Put before the name of each project, should a host of another inventory be called the same.
    type: str
    default: ""
  group:
    description: Group of all the projects. A project's own name cannot hold an underscore, so the default is never one.
    type: str
    default: repoman_projects
"""

EXAMPLES = r"""
# lab.repoman.yml: every project of the user who runs Ansible
plugin: homelab.repoman.projects

# running.repoman.yml: alice's running projects, in groups vcs_git, vcs_hg and vcs_none; those with Claude's state are a group too
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

from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import need_libraries
from ansible_collections.homelab.repoman.plugins.module_utils.projects import inventory as guests

try:
    from ansible.template import trust_as_template
except ImportError:  # before ansible-core 2.19 every text is taken as a template that is not marked as none
    from ansible.utils.unsafe_proxy import wrap_var as mark_as_text

    def trust_as_template(value: str) -> str:
        """Return ``value``."""
        return value

else:

    def mark_as_text(value: str) -> str:
        """Return ``value``, which is no template as long as nobody says that it is."""
        return value


SUFFIXES = ("repoman.yml", "repoman.yaml")


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """The inventory."""

    NAME = "homelab.repoman.projects"

    def verify_file(self, path: str) -> bool:
        """Whether ``path`` looks like a file for this plugin."""
        return bool(super().verify_file(path)) and path.endswith(SUFFIXES)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Add the hosts that the file at ``path`` asks for.

        :param cache: whether what was read before may be used.
        :raises AnsibleParserError: the projects cannot be told.
        """
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        kept = self.get_option("cache")
        key = self.get_cache_key(path) if kept else ""
        found = self._cache.get(key) if kept and cache else None
        if found is None:
            found, complete = self._read()
            if kept and complete:
                self._cache[key] = found
        group = self.inventory.add_group(self.get_option("group"))
        for guest in found:
            if guest["state"] == guests.RUNNING or not self.get_option("only_running"):
                self._add(guest, group)

    def _read(self) -> tuple[list[dict[str, Any]], bool]:
        """Return what is told of the projects, and whether Incus had its say."""
        try:
            need_libraries()
            found, problem = guests.read({key: self.get_option(key) for key in ("user", "socket", "registry_path", "timeout")})
        except RepomanError as error:
            raise AnsibleParserError(_text(error)) from error
        if problem and self.get_option("strict"):
            raise AnsibleParserError(_text(problem)) from problem
        if problem:
            self.display.warning(f"the state of the projects is unknown: {_text(problem)}")
        return found, problem is None

    def _add(self, guest: dict[str, Any], group: str) -> None:
        """Add a project's host to the group and those that are constructed."""
        name = self.inventory.add_host(f"{self.get_option('host_prefix')}{guest['name']}", group)
        variables = guests.variables(guest, self.get_option("remote"), self.get_option("connect_as") == "user")
        for key, value in variables.items():
            self.inventory.set_variable(name, key, _literal(value))
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, name, strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict)


def _literal(value: Any) -> Any:
    """Return ``value`` as a variable that Ansible takes as it is, and prints as it is where there is nothing in it to mistake."""
    if isinstance(value, list):
        return [_literal(each) for each in value]
    if not isinstance(value, str):
        return value
    return mark_as_text(value) if "{" in value else trust_as_template(value)


def _text(error: RepomanError) -> str:
    """Return an error and its hints as one text."""
    return "; ".join((error.message.rstrip("."), *error.hints))
