# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the verbs that only read need: the modules that they load, and their requests, each exactly.

A verb that loads one module more, or makes one request more, fails here. If it needs the module, add it to the table; otherwise import
it in the function that uses it.
"""

from __future__ import annotations

import re
import sys

import pytest
from proxy import RecordingProxy, Request
from world import World

RECORDER = """\
import os, sys
log = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)  # workers have it, too
def record(event, arguments):
    if event == "exec" and getattr(arguments[0], "co_name", "") == "<module>":
        os.write(log, (arguments[0].co_filename + "\\n").encode())
sys.addaudithook(record)
"""
"""Python runs it first: it writes the file of each module that is loaded, in this process and in its workers."""
OWN = re.compile(r"/homelab/repoman/plugins/(?:module_utils/)?(.+)/(\w+)\.py")
LOGIC = re.compile(r"/homelab/repoman/plugins/module_utils/(.+)/\w+\.py")
SLOW = re.compile(r"/((?:passlib|paramiko|requests|resolvelib|tomlkit)/|_agent_launch\.py$|module_manifest\.py$)")
"""What takes long to load and no verb that reads needs."""
PLAYBOOK = re.compile(r"/site-packages/(?!repoman/)|/repoman/(?:engine|loading|playbook|settings)\.py")
"""What only verbs that run a playbook need."""
READS = """\
callback: report
core: bounded_toml errors formatting log module names progress quoting secrets times warnings
files: atomic directory_cursor lock small_files tree
host: account hung_mounts mounts
incus: client command_line shapes transport
plugin_utils: in_process parent_process run_report text
registry: keys misspellings model parser store toml_reader toml_syntax
"""
"""What the fast verbs load of the collection, by directory. The table has what each of them adds."""
LIST = """\
action: repoman_project_info
modules: repoman_project_info
plugin_utils/views: common projects render repository
profiles: sources
projects: context instance listing ownership stale_mount summary
registry: override
"""
LIST_GIT = """\
files: beneath paths source_files
process: command identity runner termination
vcs: borrowed_objects confined_tree detect hg hg_extension parallel state
vcs/git: commit config environment location refs repository scratch scratch_place
"""
PROFILES = """\
action: repoman_profile_info
core: plan results
modules: repoman_profile_info
plugin_utils/views: common profiles render
profiles: changes comparison context copying install_record installed library replaced run sources template template_lock yaml_reader
"""
SHELL = """\
core: bounded_toml errors formatting log names progress quoting secrets times warnings
files: atomic directory_cursor lock small_files tree
host: account hung_mounts mounts
incus: client command_line shapes transport
profiles: sources
projects: context instance ownership running stale_mount summary
registry: keys misspellings model override parser store toml_reader toml_syntax
"""
"""What a shell in a running container loads of the collection."""
COMMAND = "__init__ attach cli command current_directory document errors installation plain_shell postponed running shared shell streams"
"""What it loads of the command."""
OF_DATACLASSES = "" if sys.version_info >= (3, 12) else "|inspect|tokenize"
"""Since Python 3.12, a dataclass cannot be defined without them."""
COSTLY = re.compile(
    rf"/(argparse|bz2|calendar|difflib|gettext|ipaddress|locale|logging/__init__|lzma|random|shutil|ssl|textwrap|traceback{OF_DATACLASSES})\.py$"
)
"""Modules of the standard library that take long to load and that it does not need."""
INSTANCES = ("GET", "/1.0/instances?recursion=1&project=repoman")
INSTALLED = ("GET", "/1.0/profiles?recursion=1&project=default")
FAST: dict[str, tuple[str, list[Request]]] = {
    "list": (LIST, [INSTANCES]),
    "list --git": (LIST + LIST_GIT, [INSTANCES]),
    "profile list": (PROFILES, [INSTALLED]),
    "profile show dotfiles": (PROFILES, []),
    "profile diff dotfiles": (PROFILES, [INSTALLED]),
}
SLOWER: dict[str, tuple[str, list[Request]]] = {
    "status": (
        "backup backup/manifest backup/target profiles projects vcs vcs/git",
        [
            ("GET", "/1.0/instances?recursion=2&project=repoman"),
            ("GET", "/1.0"),
            INSTALLED,
            ("GET", "/1.0/instances?recursion=1&all-projects=true&filter=project%20ne%20repoman"),
        ],
    ),
    "doctor": (
        "backup backup/manifest backup/target doctor profiles projects vcs vcs/git",
        [
            ("GET", "/1.0"),
            ("GET", "/1.0/projects/repoman"),
            ("GET", "/1.0/storage-pools?recursion=1"),
            INSTALLED,
            ("GET", "/1.0/storage-pools/default/resources"),
            ("GET", "/1.0/networks?recursion=1&project=default"),
            INSTANCES,
        ],
    ),
    "sync --list-versions demo": ("backup backup/manifest backup/mirror backup/settings backup/sync backup/target", []),
}
"""The directories below ``module_utils`` of which these load something, without those of ``SHARED``; and their requests."""
SHARED = {"core", "files", "host", "incus", "process", "registry"}
"""Directories that all verbs use, which are not pinned for the slower ones."""


class Recorder:
    """Runs the command, and records what it loads and asks.

    :param world: the account that runs it.
    :param proxy: records its requests to Incus.
    """

    def __init__(self, world: World, proxy: RecordingProxy) -> None:
        self.world, self.proxy = world, proxy
        self.record = world.home / "record"
        world.write(world.home / "first/sitecustomize.py", RECORDER)
        self.files: list[str] = []

    def run(self, *argv: str, code: int = 0) -> None:
        """Run the command."""
        self.record.unlink(missing_ok=True)
        self.proxy.clear()
        self.world.repoman(*argv, code=code, env={"PYTHONPATH": str(self.world.home / "first"), "RECORD": str(self.record)})
        self.files = self.record.read_text().splitlines()

    def own(self) -> dict[str, set[str]]:
        """Return the modules of the collection that were loaded, by directory."""
        found: dict[str, set[str]] = {}
        for match in filter(None, map(OWN.search, self.files)):
            found.setdefault(match[1], set()).add(match[2])
        return found


def modules(table: str) -> dict[str, set[str]]:
    """Return the modules in lines of a table, by directory."""
    found: dict[str, set[str]] = {}
    for directory, names in re.findall(r"(?m)^(.+): (.+)$", table):
        found.setdefault(directory, set()).update(names.split())
    return found


@pytest.fixture
def recorder(ready: World, proxy: RecordingProxy) -> Recorder:
    """For a host with a project, its container, a profile and a backup."""
    ready.git_repository("demo")
    ready.write(ready.registry, ready.registry.read_text().replace('"/nfs/repos"', f'"{ready.home}/backup"'))
    ready.new("demo")
    ready.install("dotfiles")
    ready.repoman("sync", "--init", "--allow-local")
    return Recorder(ready, proxy)


@pytest.mark.parametrize("argv", [("--help",), ("completion", "--complete", "bash", "--", " ", "repoman shell d")])
def test_without_a_playbook(ready: World, proxy: RecordingProxy, argv: tuple[str, ...]) -> None:
    """Help and completion load the command alone, and no other package."""
    recorder = Recorder(ready, proxy)
    recorder.run(*argv)
    assert recorder.own() == {} and [name for name in recorder.files if PLAYBOOK.search(name)] == [] and proxy.requests == []


def test_a_shell(recorder: Recorder) -> None:
    """In a running container it loads what the tables say, and asks once before the client does."""
    recorder.run("shell", "demo", "true")
    assert recorder.own() == modules(SHELL)
    command = {match[1] for match in map(re.compile(r"/repoman/(?:cli/)?(\w+)\.py$").search, recorder.files) if match}
    assert command - {"cli"} == set(COMMAND.split()) - {"cli"}
    assert [name for name in recorder.files if COSTLY.search(name)] == []
    assert recorder.proxy.requests[0] == ("GET", "/1.0/instances/demo?project=repoman")


def test_with_a_playbook(recorder: Recorder) -> None:
    """Each verb that reads loads what the tables say, and asks what they say, in this order."""
    for verb, (table, requests) in FAST.items():
        recorder.run(*verb.split())
        assert recorder.own() == modules(READS + table), verb
        assert recorder.proxy.requests == requests, verb
        assert [name for name in recorder.files if SLOW.search(name)] == [], verb
    for verb, (directories, requests) in SLOWER.items():
        recorder.run(*verb.split())
        below = {match[1] for match in map(LOGIC.search, recorder.files) if match} - SHARED
        assert below == set(directories.split()), verb
        assert recorder.proxy.requests == requests, verb
        assert [name for name in recorder.files if SLOW.search(name)] == [], verb
