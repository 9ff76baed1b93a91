# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is told of projects: the short list, and the page to look at in the morning. Both come from one read of Incus."""

from __future__ import annotations

import difflib
import errno
import json
import os
import socket
import sys
import tomllib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup import left_out as status_left_out
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotKnownError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import iso_time
from ansible_collections.homelab.repoman.plugins.module_utils.host import account as this_host
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account, HostFacts
from ansible_collections.homelab.repoman.plugins.module_utils.process import child as watch
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import PATH, CommandError, CommandRunner
from ansible_collections.homelab.repoman.plugins.module_utils.profiles import library as profile
from ansible_collections.homelab.repoman.plugins.module_utils.projects import project
from ansible_collections.homelab.repoman.plugins.module_utils.projects.project import Host
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store as registry
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.state import read_states

PROBE_SECONDS = 3.0
"""What a file system may take to answer; one whose server is gone never does."""
MARK = os.path.join(".repoman", "mirror.toml")
MARK_BYTES = 1 << 16
MISSING = "missing"

STAT = """
import json, os, sys
def code(path):
    try:
        os.stat(path)
    except OSError as error:
        return error.errno
    return 0
print(json.dumps([code(path) for path in sys.argv[1:]]))
"""
"""Prints for each path the error number of looking at it."""
LOOK_AT_BACKUP = """
import json, os, sys
root, mark, most = sys.argv[1:]
said = {"errno": 0, "free": None, "mark": None}
try:
    os.stat(root)
    space = os.statvfs(root)
    said["free"] = space.f_bavail * space.f_frsize
    with open(os.open(os.path.join(root, mark), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8", errors="replace") as file:
        said["mark"] = file.read(int(most))
except OSError as error:
    said["errno"] = error.errno
print(json.dumps(said))
"""


@dataclass(frozen=True)
class World:
    """What was read for a status, beside the instances.

    :param profiles: those installed, by name.
    :param drifting: names of the library's profiles that are installed and differ from their templates.
    :param now: when it was read.
    """

    profiles: dict[str, profile.Installed]
    drifting: frozenset[str]
    now: datetime


def info(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Do what the module ``repoman_project_info`` is asked to; see its documentation.

    :raises RepomanError: nothing can be told, or a name is not known.
    """
    host = project.host_of(params)
    found = list(project.read_instances(host, recursion=2 if params["status"] else 1).values())
    instances = {each["name"]: each for each in found if is_ours(each)}
    names = list(params["names"] or sorted({*host.known.projects, *instances}))
    for name in names:
        if name not in host.known.projects and name not in instances:
            for other in (each for each in found if each["name"] == name):
                project.check_ours(host, name, other)
            raise _no_such_project(name, host, {*host.known.projects, *instances})
    lines = [line(host, name, instances.get(name)) for name in names]
    if not params["status"]:
        return {"changed": False, "projects": lines, "account": vars(host.me), "socket": host.client.path}
    return {"changed": False} | status(host, lines, instances, params)


def is_ours(instance: Mapping[str, Any]) -> bool:
    """Whether repoman made an instance, for the project of its name."""
    return bool((instance.get("config") or {}).get(project.MARK) == instance["name"])


def line(host: Host, name: str, instance: dict[str, Any] | None) -> dict[str, Any]:
    """Return what ``list`` tells of a project. An override that cannot be read is its ``problem``."""
    entry = host.known.projects.get(name)
    problem = ""
    try:
        wanted = effective(host, name)
    except RepomanError as error:
        problem = error.message
        wanted = registry.effective(name, host.known.defaults, *([registry.wanted_of(entry)] if entry else []))
    path = repository_path(host, wanted.repo)
    return {
        "name": name,
        "state": instance["status"] if instance else MISSING,
        "unfinished": bool(instance) and (instance or {})["config"].get(project.STATE) == project.CREATING,
        "registered": entry is not None,
        "repo": path,
        "repo_exists": os.path.isdir(path),
        "image": wanted.image,
        "profiles": list(wanted.profiles),
        "created": entry.created if entry else "",
        "last_sync": entry.last_sync if entry else "",
        "backup": wanted.backup,
        "incus_project": host.project,
        "environment": project.environment((instance or {}).get("expanded_config") or {}),
        "problem": problem,
    }


def effective(host: Host, name: str, *asked: registry.Wanted) -> registry.Effective:
    """Return a project's configuration; one that is not in the registry has the defaults.

    :param asked: what a task asked for.
    :raises NotKnownError: its override cannot be read.
    """
    entry = host.known.projects.get(name)
    override = registry.load_override(host.path, name)
    return registry.effective(name, host.known.defaults, *([registry.wanted_of(entry)] if entry else []), override, *asked)


def repository_path(host: Host, stored: str) -> str:
    """Return where a repository is meant to be, whether or not it is there."""
    root = host.me.expand(host.known.defaults.repos_root)
    return os.path.normpath(os.path.join(root, host.me.expand(stored) if stored[:1] in "~$" else stored))


def status(host: Host, lines: list[dict[str, Any]], instances: dict[str, dict[str, Any]], params: dict[str, Any]) -> dict[str, Any]:
    """Return what ``status`` tells: of the host, and of each project more than ``list`` does.

    :param lines: of the projects, as :func:`line` gives them.
    """
    server = host.client.get("/1.0").data
    installed = profile.read_installed(host.client)
    facts = HostFacts(host.known.lan_ip, host.me.name, host.me.home)
    library = profile.list_all(profile.library_of(params, host.me), installed, facts)
    world = World(installed, frozenset(entry.name for entry in library if entry.drift), datetime.now(timezone.utc))
    root = host.me.expand(host.known.defaults.repos_root)
    repositories = {each["name"]: each["repo"] for each in lines if each["repo_exists"]}
    optional = {each["name"]: optional_sources(host, each, instances.get(each["name"]), world) for each in lines}
    skipped_mounts, left_out, unverified = status_left_out.read(host.me, host.path, host.known)
    with ThreadPoolExecutor() as pool:
        states = pool.submit(read_states, repositories, root, host.me, params["vcs_timeout"])
        backup = pool.submit(look_at_backup, host.me.expand(host.known.defaults.backup_root), host.me)
        gone = pool.submit(missing, {source for sources in optional.values() for source in sources.values()}, host.me)
        address = pool.submit(look_at_address, host.known.lan_ip)
    told = [
        each
        | compare(host, each, instances.get(each["name"]), world)
        | {
            "missing_sources": [
                {"device": device, "source": source} for device, source in optional[each["name"]].items() if source in gone.result()
            ],
            "vcs": states.result().get(each["name"]),
            "sync_age": age(each["last_sync"], world.now),
        }
        | {
            "left_out": left_out.get(each["name"], status_left_out.NOTHING),
        }
        for each in lines
    ]
    return {
        "host": {
            "incus_version": server["environment"]["server_version"],
            "incus_project": host.project,
            "registry": host.path,
            "lan_ip": address.result(),
            "library": {
                "profiles": len(library),
                "installed": sum(entry.installed for entry in library),
                "drift": sorted(world.drifting),
                "errors": [{"name": entry.name, "msg": entry.error} for entry in library if entry.error],
            },
            "backup": backup.result(),
            "skipped_mounts": skipped_mounts,
            "unverified": unverified,
        },
        "projects": told,
        "time": iso_time(world.now),
    }


def compare(host: Host, told: Mapping[str, Any], instance: dict[str, Any] | None, world: World) -> dict[str, Any]:
    """Return how a project is against how it should be: its addresses, profiles and differences.

    :param told: its line of the list.
    """
    profiles: list[str] = instance["profiles"] if instance else told["profiles"]
    found: dict[str, Any] = {
        "addresses": addresses(instance),
        "profile_drift": [name for name in profiles if name in world.drifting],
        "profiles_missing": [name for name in told["profiles"] if name not in world.profiles],
        "differences": [],
        "problem": told["problem"],
    }
    if told["unfinished"] or told["problem"] or not told["repo_exists"]:
        return found
    try:
        asked = project.asked_before(instance) if instance else registry.Wanted()
        wanted = effective(host, told["name"], asked)
        repository = project.repository(wanted.repo, host)
        project.check_own(wanted, repository, world.profiles)
        if instance is None:
            return found
        config, devices = project.desired(wanted, asked, repository, world.profiles)
        return found | {"differences": project.differences(*project.match(instance, config, devices, wanted.profiles))}
    except RepomanError as error:
        return found | {"problem": error.message}
    except OSError as error:
        return found | {"problem": watch.explained(error).message}


def addresses(instance: Mapping[str, Any] | None) -> list[str]:
    """Return the addresses at which an instance can be reached, IPv4 first."""
    networks = ((instance or {}).get("state") or {}).get("network") or {}
    found = [each for name, network in networks.items() if name != "lo" for each in network["addresses"] if each["scope"] == "global"]
    return [each["address"] for each in sorted(found, key=lambda each: str(each["family"]))]


def optional_sources(host: Host, told: Mapping[str, Any], instance: Mapping[str, Any] | None, world: World) -> dict[str, str]:
    """Return the sources on the host that a container goes without where they are missing, by device."""
    devices: dict[str, dict[str, str]] = {}
    if instance:
        devices = instance.get("expanded_devices") or {}
    else:
        for name in told["profiles"]:
            devices |= world.profiles[name].body["devices"] if name in world.profiles else {}
    return {
        name: device["source"]
        for name, device in devices.items()
        if device.get("type") == "disk"
        and device.get("required") in ("false", "0", "no", "off")
        and os.path.isabs(device.get("source", ""))
        and not device.get("pool")
    }


def missing(paths: Iterable[str], me: Account) -> frozenset[str]:
    """Return which paths do not exist; a child looks, with a time limit. One that cannot be looked at is not missing."""
    listed = sorted(paths)
    if not listed:
        return frozenset()
    try:
        codes = _ask(me, STAT, *listed)
    except CommandError:
        return frozenset()
    return frozenset(path for path, code in zip(listed, codes, strict=True) if code in (errno.ENOENT, errno.ENOTDIR))


def look_at_address(known: str) -> dict[str, Any]:
    """Return the host's address against the registry's.

    :returns: ``matches`` is ``None`` where one of them is not known.
    """
    try:
        detected = this_host.detect_lan_ip()
    except RepomanError:
        detected = ""
    matches = detected == known if detected and known else None
    return {"registry": known, "detected": detected, "interface": this_host.LAN_INTERFACE, "matches": matches}


def look_at_backup(path: str, me: Account) -> dict[str, Any]:
    """Return what there is to say of the backup's target.

    :returns: ``state`` is ``ready``; ``missing``, ``unmarked``, ``foreign`` (of another host or user), ``unreadable``, or
        ``unreachable`` where nothing answered in time. ``detail`` says more; ``free`` is in bytes.
    """
    try:
        said = _ask(me, LOOK_AT_BACKUP, path, MARK, str(MARK_BYTES))
    except CommandError as error:
        return {
            "path": path,
            "state": "unreachable",
            "detail": error.message.removeprefix(f"{os.path.basename(sys.executable)} "),
            "free": None,
        }
    state, detail = "ready", ""
    if said["mark"] is not None:
        state, detail = _judge_mark(said["mark"], me)
    elif said["errno"] in (errno.ENOENT, errno.ENOTDIR):
        state = MISSING if said["free"] is None else "unmarked"
    else:
        state, detail = "unreadable", os.strerror(said["errno"])
    return {"path": path, "state": state, "detail": detail, "free": said["free"]}


def age(last: str, now: datetime) -> int | None:
    """Return how many seconds ago a time of the registry was; ``None`` where there is none."""
    try:
        when = datetime.fromisoformat(last)
    except ValueError:
        return None
    return max(0, int((now - (when if when.tzinfo else when.replace(tzinfo=timezone.utc))).total_seconds()))


def _judge_mark(text: str, me: Account) -> tuple[str, str]:
    try:
        mark = tomllib.loads(text)
    except ValueError:
        return "unreadable", f"{MARK} is not TOML"
    if "host" not in mark:
        return "unreadable", f"{MARK} names no host"
    for key, own in (("host", socket.gethostname()), ("user", me.name)):
        if mark.get(key) != own:
            return "foreign", f"of {key} {mark.get(key)!r}"
    return "ready", ""


def _ask(me: Account, program: str, *arguments: str) -> Any:
    """Run a small Python program as the account, with a time limit; return the JSON it prints."""
    done = CommandRunner(me, PROBE_SECONDS).run(
        [sys.executable, "-IS", "-c", program, *arguments], {"PATH": PATH, "LC_ALL": "C.UTF-8"}, "/"
    )
    try:
        return json.loads(done.out)
    except ValueError:
        raise CommandError(done.error_summary()) from None


def _no_such_project(name: str, host: Host, known: Iterable[str]) -> NotKnownError:
    near = difflib.get_close_matches(name, list(known), n=3)
    hints = [f"did you mean {match!r}?" for match in near]
    return NotKnownError(f"there is no project called {name!r} in {host.path}.", *hints, "repoman list", f"repoman new {name}")
