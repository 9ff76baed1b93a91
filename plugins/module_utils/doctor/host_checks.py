# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks of this host: the registry, the directory of repositories, the address, and the programs."""

from __future__ import annotations

import os
import platform
import re
import sys

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import plural
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.check import MAX_HINTS, Check, Outcome, fail, listing, ok, warn
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.context import DoctorContext, MissingRequirementError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import NO_LAN_ADDRESS, mount_of
from ansible_collections.homelab.repoman.plugins.module_utils.host.hung_mounts import hung_mount
from ansible_collections.homelab.repoman.plugins.module_utils.host.idmap import id_mapping_hints, incus_hints, maps_ids
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import UnreachableError
from ansible_collections.homelab.repoman.plugins.module_utils.incus.command_line import client_command
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandError, CommandRunner
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.sources import is_true
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import repository_path
from ansible_collections.homelab.repoman.plugins.module_utils.projects.host_probes import path_errors, probe_address
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import REPO_DEVICE
from ansible_collections.homelab.repoman.plugins.module_utils.projects.ownership import Relation
from ansible_collections.homelab.repoman.plugins.module_utils.registry.override import load_override
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.environment import account_environment
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.hg import MIN_HG_VERSION, is_supported_hg, read_hg_version


def check_registry(context: DoctorContext) -> Outcome:
    """Check that the registry and the overrides of its projects can be read, and have no misspelled keys."""
    registry = context.read_registry()
    problems: list[RepomanError] = []
    for name in registry.projects:
        try:
            load_override(context.registry_path, name)
        except RepomanError as error:
            problems.append(error)
    if problems:
        more = f"; {len(problems) - 1} more" if len(problems) > 1 else ""
        hints = dict.fromkeys(hint for problem in problems for hint in problem.hints)
        return fail(problems[0].message.rstrip(".") + more, *[*hints][:MAX_HINTS])
    if context.registry_warnings:
        return warn("; ".join(context.registry_warnings), f"${{EDITOR:-vi}} {shell_word(context.registry_path)}")
    return ok(f"registry {context.short(context.registry_path)}, {plural(len(registry.projects), 'project')}")


def check_repos_root(context: DoctorContext) -> Outcome:
    """Check that ``repos_root`` can be used, and that containers can map the IDs of its files.

    A running container with a repository there proves it. Tables of file systems and versions cannot prove the opposite.
    """
    path, shown = context.repos_root, context.short(context.repos_root)
    context.read_repos_root()
    if proof := _container_on(context, path):
        return ok(f"repos_root {shown}, whose IDs are mapped in the running container {proof}")
    elsewhere = f"another place: [defaults].repos_root in {context.short(context.registry_path)}"
    try:
        server = context.connect()
    except RepomanError:
        server = {}
    features = server.get("kernel_features") or {}
    faulty = incus_hints(server.get("server_version") or "")
    if features.get("idmapped_mounts") == "false":
        known, *hints = faulty or ["", "uname -r   # Linux 5.12 or later can"]
        return fail(f"this Incus and its Linux cannot map IDs for mounts, which containers need{known and ': '}{known}", *hints)
    if maps_ids(path) and not faulty:
        return ok(f"repos_root {shown}, whose file system can map IDs")
    known, *hints = faulty or [*id_mapping_hints(path, client_command(context.socket, "info local:")), elsewhere]
    return warn(f"no running container shows that IDs can be mapped: {known}", *hints)


def check_address(context: DoctorContext) -> Outcome:
    """Check that the address in the registry is that of the host."""
    address = probe_address(context.registry.lan_ip)
    registered, detected, interface = address["registry"], address["detected"], address["interface"]
    if address["matches"] is False:
        return warn(f"the LAN address in the registry is {registered}, but {interface} has {detected}", "repoman setup")
    if detected and not registered:
        return warn(f"the registry has no LAN address, but {interface} has {detected}", "repoman setup")
    if not registered:
        return ok("no LAN address; only templates with ${HOST_LAN_IP} need one")
    return ok(f"LAN address {registered}" + ("" if detected else f" ({NO_LAN_ADDRESS} to compare with)"))


def check_python(context: DoctorContext) -> Outcome:
    """Report the Python that runs the modules; an older one ends with an error before this."""
    return ok(f"Python {platform.python_version()} ({sys.executable})")


def check_git(context: DoctorContext) -> Outcome:
    """Check that git runs."""
    runner = CommandRunner(context.account)
    try:
        output = runner.run(["git", "--version"], account_environment(context.account), "/").out.decode(errors="replace")
    except CommandError as error:
        return fail(f"git cannot be run: {error.message}", "sudo apt install git")
    match = re.search(r"version (\S+)", output)
    return ok(f"git {match[1]}") if match else fail("git prints no version", "sudo apt install --reinstall git")


def check_hg(context: DoctorContext) -> Outcome:
    """Check that Mercurial runs, if a repository needs it."""
    install = "sudo apt install mercurial"
    try:
        version = read_hg_version(CommandRunner(context.account))
    except CommandError as error:
        users = _mercurial_repositories(context)
        if not users:
            return ok(f"Mercurial cannot be run, and no repository needs it: {error.message}")
        return fail(f"Mercurial cannot be run: {error.message}; {listing(users)} need{'s' * (len(users) == 1)} it", install)
    if is_supported_hg(version):
        return ok(f"Mercurial {version}")
    return warn(f"Mercurial {version or 'of an unknown version'} is older than {'.'.join(map(str, MIN_HG_VERSION))}", install)


def _container_on(context: DoctorContext, path: str) -> str:
    """Return a running container of the user that mounts a repository on the same file system as a path; empty without one.

    :param path: a directory whose file system answers.
    """
    try:
        own = [name for name, owned in context.ownerships.items() if owned.relation == Relation.OWN]
    except UnreachableError as error:
        context.note_unreachable(error)
        return ""
    except (MissingRequirementError, RepomanError):
        return ""
    mount_id = mount_of(path).mount_id
    for name in own:
        instance = context.instances[name]
        device = instance["devices"].get(REPO_DEVICE) or {}
        source = device.get("source", "")
        is_mapped = instance["status"] == "Running" and is_true(device.get("shift", "")) and source and context.is_here(instance)
        if is_mapped and not hung_mount(source) and mount_of(source).mount_id == mount_id:
            return name
    return ""


def _mercurial_repositories(context: DoctorContext) -> list[str]:
    """Return the names of the Mercurial repositories, of the registry and directly in ``repos_root``, as far as they can be read."""
    if context.registry_or_none is None:
        return []
    root = context.repos_root
    try:
        directories = context.read_repos_root()
    except RepomanError:
        directories = []
    repositories = {os.path.join(root, name): name for name in directories}
    repositories |= {repository_path(context.account, root, project.repo): name for name, project in context.registry.projects.items()}
    stores = {os.path.join(path, ".hg"): name for path, name in repositories.items() if not hung_mount(path)}
    try:
        codes = path_errors(stores, context.account)
    except CommandError:
        return []
    return sorted(name for store, name in stores.items() if codes[store] == 0)


REGISTRY_CHECKS = (
    Check("registry", "the registry", check_registry),
    Check("repos_root", "repos_root", check_repos_root),
    Check("lan_address", "the LAN address", check_address),
)
PROGRAM_CHECKS = (
    Check("python", "Python", check_python),
    Check("git", "git", check_git),
    Check("hg", "Mercurial", check_hg),
)
