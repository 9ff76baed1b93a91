# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Projects: the instance of a repository, from ``new`` to ``remove``, and what is told of it."""

from __future__ import annotations

import json
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

try:
    import yaml
except ImportError:  # the module says so before it gets here
    yaml = None  # type: ignore[assignment]

from ansible_collections.homelab.repoman.plugins.module_utils import incus, inside, profile, registry
from ansible_collections.homelab.repoman.plugins.module_utils.errors import ConflictError, NotKnownError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host import Account, account, filesystem_of
from ansible_collections.homelab.repoman.plugins.module_utils.names import check_project_name
from ansible_collections.homelab.repoman.plugins.module_utils.plan import Plan, Step, carry_out

MARK = "user.repoman.project"
STATE = "user.repoman.state"
REPO = "user.repoman.repo"
APPLIED = "user.repoman.applied"
RUN = "user.repoman.run"
CREATING, READY = "creating", "ready"
REPO_DEVICE = "repo"
PUBLIC_IMAGES = {"images": "https://images.linuxcontainers.org"}
"""Remotes that the ``incus`` client knows without configuration."""
OPERATION_SECONDS = 600.0
NO_IMAGE = re.compile("not found|image not provided", re.IGNORECASE)
"""How Incus says that there is no such image."""
STOP_SECONDS = 30


@dataclass(frozen=True)
class Repository:
    """Where a project's repository is.

    :param stored: as the registry has it: relative to ``repos_root``.
    :param inside: its path in the instance: as the user writes it.
    :param source: its path on the host, links resolved.
    """

    stored: str
    inside: str
    source: str


@dataclass(frozen=True)
class Host:
    """What a run works with.

    :param me: the account to serve.
    :param path: of the registry.
    :param known: the registry.
    """

    me: Account
    path: str
    known: registry.Registry
    client: incus.Client

    @property
    def project(self) -> str:
        """The Incus project of the instances."""
        return self.known.defaults.incus_project

    def instance_url(self, name: str, rest: str = "") -> str:
        """Return the request path of an instance, or of something of it."""
        return incus.url("/1.0/instances/{}" + rest, name, project=self.project)


def run(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Do what the module ``repoman_project`` is asked to; see its documentation.

    :raises RepomanError: it cannot be done; what was begun is undone.
    """
    name = check_project_name(params["name"])
    host = surroundings(params)

    def make() -> tuple[Plan, dict[str, Any]]:
        found = host.client.get_or_none(host.instance_url(name))
        if params["state"] == "absent":
            return _plan_absent(host, name, found)
        return _plan_present(host, name, found, params)

    plan, report = carry_out(make, check)
    if params["state"] == "absent" and not check:
        report["project"]["state"] = "absent"
    return {"changed": plan.changed, "diff": plan.diff, "steps": plan.descriptions} | report


def info(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Do what the module ``repoman_project_info`` is asked to; see its documentation.

    :raises RepomanError: nothing can be told, or a name is not known.
    """
    host = surroundings(params)
    everything = read_instances(host)
    instances = {name: instance for name, instance in everything.items() if is_marked(instance)}
    names = list(params["names"] or sorted({*host.known.projects, *instances}))
    for name in names:
        if name not in host.known.projects and name not in instances:
            if name in everything:
                _check_ours(host, name, everything[name])
            raise _no_such_project(name, host)
    return {"changed": False, "projects": [describe(host, name, instances.get(name)) for name in names]}


def surroundings(params: dict[str, Any]) -> Host:
    """Return what the common options of a module name.

    :raises NotKnownError: there is no such user, or no registry that can be read.
    """
    me = account(params["user"])
    path = me.expand(params["registry_path"] or registry.default_path(me.home))
    return Host(me, path, registry.load(path), incus.Client(incus.find_socket(params["socket"]), params["timeout"]))


def read_instances(host: Host) -> dict[str, dict[str, Any]]:
    """Read every instance of the Incus project, ours or not, in one request: name to instance."""
    answer = host.client.get(incus.url("/1.0/instances", recursion=1, project=host.project))
    return {instance["name"]: instance for instance in answer.data}


def is_marked(instance: dict[str, Any]) -> bool:
    """Whether repoman made an instance."""
    return MARK in (instance.get("config") or {})


def vcs_kind(path: str) -> str:
    """Return ``git`` or ``hg``, of a work tree or a bare repository; empty if it is neither."""
    if os.path.lexists(os.path.join(path, ".git")) or all(os.path.exists(os.path.join(path, part)) for part in ("HEAD", "objects", "refs")):
        return "git"
    return "hg" if os.path.lexists(os.path.join(path, ".hg")) else ""


def repository(stored: str, host: Host) -> Repository:
    """Return where a repository is.

    :param stored: a directory in ``repos_root``: relative to it, or absolute.
    :raises NotKnownError: it does not exist. :class:`ConflictError`: it is not inside ``repos_root`` once links are resolved.
    """
    root = host.me.expand(host.known.defaults.repos_root)
    path = os.path.normpath(os.path.join(root, host.me.expand(stored) if stored[:1] in "~$" else stored))
    source, real_root = os.path.realpath(path), os.path.realpath(root)
    outside = not path.startswith(f"{root}/") or not source.startswith(f"{real_root}/")
    if outside:
        raise ConflictError(
            f"the repository {path} is not inside repos_root, {root}.", f"move it there, or change [defaults].repos_root in {host.path}"
        )
    if not os.path.isdir(source):
        what = "is not a directory" if os.path.exists(source) else "does not exist"
        raise NotKnownError(f"the repository {path} {what}.", f"git init {path}", "name another directory of it: --repo DIR")
    return Repository(os.path.relpath(path, root), path, source)


def image_source(image: str, me: Account) -> dict[str, str]:
    """Return the source of a new instance, as Incus takes it.

    :param image: ``remote:alias`` of a remote in the user's ``incus`` client configuration, or a local alias or fingerprint.
    :raises NotKnownError: there is no such remote.
    """
    remote, colon, alias = image.partition(":")
    if not colon or remote == "local":
        return {"type": "image", "alias": alias or remote}
    server = _remotes(me).get(remote)
    if server is None:
        raise NotKnownError(f"image {image!r}: the incus client knows no remote called {remote!r}.", "incus remote list")
    return {"type": "image", "mode": "pull", "server": server, "protocol": "simplestreams", "alias": alias}


def _plan_present(host: Host, name: str, found: incus.Answer | None, params: dict[str, Any]) -> tuple[Plan, dict[str, Any]]:
    entry = host.known.projects.get(name)
    override = registry.load_override(host.path, name)
    asked = registry.Wanted(
        repo=params["repo"],
        image=params["image"],
        profiles=tuple(params["profiles"]) if params["profiles"] is not None else None,
        backup=params["backup"],
        config=_strings(params["config"] or {}),
        devices={key: _strings(device) for key, device in (params["devices"] or {}).items()},
    )
    if found is not None:
        _check_ours(host, name, found.data)
    wanted = registry.effective(name, host.known.defaults, *([registry.wanted_of(entry)] if entry else []), override, asked)
    repo = repository(wanted.repo, host)
    profiles = profile.read_installed(host.client)
    _check_profiles(wanted.profiles, profiles)
    plan = Plan()
    if found is not None and found.data["config"].get(STATE) == CREATING:
        plan.add(Step(f"remove the unfinished container {name}", lambda: _delete(host, name), None, f"container {name}"))
        found = None
    ready = {"state": "Running"} if params["state"] != "stopped" else {"state": "Stopped"}
    if found is None:
        _plan_create(plan, host, wanted, repo, profiles)
    else:
        _plan_match(plan, host, wanted, repo, found)
        if params["state"] == "present" and found.data["status"] != "Running":
            ready = {"state": found.data["status"]}
    _plan_entry(plan, host, wanted, repo, entry, asked)
    if found is None:
        plan.add(Step(f"mark {name} as ready", lambda: _set_config(host, name, {STATE: READY, RUN: ""})))
    _plan_power(plan, host, name, params["state"], "Running" if found is None else found.data["status"])
    report: dict[str, Any] = {
        "project": {
            "name": name,
            "incus_project": host.project,
            "repo": repo.inside,
            "image": wanted.image,
            "profiles": list(wanted.profiles),
            "backup": wanted.backup,
        }
        | ready,
        "account": vars(host.me),
        "socket": host.client.path,
    }
    if not vcs_kind(repo.source):
        report["warnings"] = [f"{repo.inside} is neither a git nor a Mercurial repository"]
    return plan, report


def _plan_create(plan: Plan, host: Host, wanted: registry.Effective, repo: Repository, profiles: dict[str, profile.Installed]) -> None:
    """Add the steps that make an instance, from its creation to the proof that the user can work in it."""
    name, run_id = wanted.name, secrets.token_hex(8)
    config, devices = _desired(wanted, repo)
    document: dict[str, Any] = {
        "name": name,
        "type": "container",
        "source": image_source(wanted.image, host.me),
        "profiles": list(wanted.profiles),
        "config": config | {STATE: CREATING, RUN: run_id},
        "devices": devices,
    }
    targets = [
        device["path"]
        for device in _all_devices(wanted, devices, profiles)
        if device.get("type") == "disk" and device.get("path", "/") != "/"
    ]

    def create() -> None:
        try:
            host.client.wait(host.client.post(incus.url("/1.0/instances", project=host.project), document), OPERATION_SECONDS)
        except incus.IncusError as error:
            raise _cannot_create(error, name, wanted.image) from error

    def undo() -> None:
        _settle(host, name)
        found = host.client.get_or_none(host.instance_url(name))
        if found is not None and found.data["config"].get(RUN) == run_id:
            _delete(host, name)

    def start() -> None:
        try:
            _power(host, name, "start")
        except incus.IncusError as error:
            raise _cannot_start(error, name, repo) from error

    text = profile.canonical({key: document[key] for key in ("profiles", "config", "devices")} | {"image": wanted.image})
    plan.add(Step(f"create container {name} from {wanted.image}", create, undo, f"container {name}", "", text))
    plan.add(Step(f"prepare the home {host.me.home}", lambda: inside.make_home(host.client, name, host.project, host.me, targets)))
    plan.add(Step(f"start {name}", start))
    plan.add(Step(f"make the account {host.me.name}", lambda: inside.make_account(host.client, name, host.project, host.me)))
    plan.add(
        Step(
            f"prove that {host.me.name} can write to {repo.inside}",
            lambda: inside.prove(host.client, name, host.project, host.me, repo.inside, repo.source),
        )
    )


def _plan_match(plan: Plan, host: Host, wanted: registry.Effective, repo: Repository, found: incus.Answer) -> None:
    """Add the step that brings an instance of ours to its configuration; what somebody set by hand beside it stays."""
    data = found.data
    if data["config"].get(REPO) != repo.source:
        raise ConflictError(
            f"project {wanted.name!r} already exists, with the repository {data['config'].get(REPO)}.",
            f"repoman remove {wanted.name}   (repository and backup stay)",
            "choose another name",
        )
    config, devices = _desired(wanted, repo)
    applied = json.loads(data["config"].get(APPLIED) or "{}")
    now: dict[str, Any] = {"config": dict(data["config"]), "devices": dict(data["devices"]), "profiles": list(data["profiles"])}
    then = {
        "config": {key: value for key, value in now["config"].items() if key not in applied.get("config", []) or key in config} | config,
        "devices": {key: value for key, value in now["devices"].items() if key not in applied.get("devices", []) or key in devices}
        | devices,
        "profiles": list(wanted.profiles),
    }
    if then == now:
        return
    before, after = (profile.canonical({key: _visible(side[key]) for key in side}) for side in (now, then))
    body = {key: data[key] for key in ("architecture", "description", "ephemeral", "stateful") if key in data} | then

    def correct() -> None:
        host.client.wait(host.client.put(host.instance_url(wanted.name), body, found.etag), OPERATION_SECONDS)

    def undo() -> None:
        host.client.wait(host.client.put(host.instance_url(wanted.name), body | now), OPERATION_SECONDS)

    plan.add(Step(f"bring {wanted.name} to its configuration", correct, undo, f"container {wanted.name}", before, after))


def _plan_power(plan: Plan, host: Host, name: str, state: str, now: str) -> None:
    if state in ("started", "present") and now != "Running" and (state == "started" or now == "Stopped"):
        plan.add(Step(f"start {name}", lambda: _power(host, name, "start"), None, f"state of {name}", f"{now}\n", "Running\n"))
    if state == "stopped" and now != "Stopped":
        plan.add(Step(f"stop {name}", lambda: _stop(host, name), None, f"state of {name}", f"{now}\n", "Stopped\n"))


def _plan_entry(
    plan: Plan, host: Host, wanted: registry.Effective, repo: Repository, entry: registry.Project | None, asked: registry.Wanted
) -> None:
    """Add the step that writes the registry entry. It holds what was asked for; what the override says stays in the override."""
    old = entry or registry.Project(
        wanted.name, repo.stored, image=wanted.image, created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    )
    new = replace(
        old,
        repo=repo.stored,
        image=asked.image or old.image,
        profiles=asked.profiles if asked.profiles is not None else old.profiles,
        backup=asked.backup if asked.backup is not None else old.backup,
    )
    if new == entry:
        return

    def put(data: registry.Data) -> None:
        registry.put_project(data, new)

    def take_back(data: registry.Data) -> None:
        if entry is None:
            registry.drop_project(data, wanted.name)
        else:
            registry.put_project(data, entry)

    plan.add(
        Step(
            f"write {wanted.name} to the registry",
            lambda: registry.update(host.path, put, host.me),
            lambda: registry.update(host.path, take_back, host.me),
            host.path,
            host.known.text,
            registry.change(host.known.text, host.path, put),
        )
    )


def _plan_absent(host: Host, name: str, found: incus.Answer | None) -> tuple[Plan, dict[str, Any]]:
    entry = host.known.projects.get(name)
    plan = Plan()
    if found is not None:
        _check_ours(host, name, found.data)
        text = profile.canonical(_visible({key: found.data[key] for key in ("profiles", "config", "devices")}))
        plan.add(Step(f"delete container {name}", lambda: _delete(host, name), None, f"container {name}", text, ""))
    if entry is not None:

        def drop(data: registry.Data) -> None:
            registry.drop_project(data, name)

        after = registry.change(host.known.text, host.path, drop)
        plan.add(
            Step(
                f"take {name} out of the registry",
                lambda: registry.update(host.path, drop, host.me),
                None,
                host.path,
                host.known.text,
                after,
            )
        )
    stored = entry.repo if entry else name
    root, mirrors = (host.me.expand(path) for path in (host.known.defaults.repos_root, host.known.defaults.backup_root))
    report = {
        "project": {
            "name": name,
            "incus_project": host.project,
            "state": found.data["status"] if found else "absent",
            "known": plan.changed,
        },
        "kept": {"repo": os.path.join(root, stored), "mirror": os.path.join(mirrors, stored.split("/")[0])},
    }
    return plan, report


def describe(host: Host, name: str, instance: dict[str, Any] | None) -> dict[str, Any]:
    """Return what ``list`` tells of a project.

    :param instance: as :func:`read_instances` gives it.
    """
    entry = host.known.projects.get(name) or registry.Project(name, name)
    override = registry.load_override(host.path, name)
    wanted = registry.effective(name, host.known.defaults, registry.wanted_of(entry), override)
    path = os.path.normpath(
        os.path.join(
            host.me.expand(host.known.defaults.repos_root), host.me.expand(wanted.repo) if wanted.repo[:1] in "~$" else wanted.repo
        )
    )
    return {
        "name": name,
        "state": instance["status"] if instance else "missing",
        "repo": path,
        "repo_exists": os.path.isdir(path),
        "vcs": vcs_kind(path),
        "image": wanted.image,
        "profiles": list(wanted.profiles),
        "created": entry.created,
        "last_sync": entry.last_sync,
        "backup": wanted.backup,
        "incus_project": host.project,
    }


def _desired(wanted: registry.Effective, repo: Repository) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Return the ``config`` and ``devices`` repoman gives an instance."""
    devices = wanted.devices | {REPO_DEVICE: {"type": "disk", "source": repo.source, "path": repo.inside, "shift": "true"}}
    applied = json.dumps({"config": sorted(wanted.config), "devices": sorted(devices)}, sort_keys=True)
    return wanted.config | {MARK: wanted.name, REPO: repo.source, APPLIED: applied}, devices


def _all_devices(
    wanted: registry.Effective, devices: dict[str, dict[str, str]], profiles: dict[str, profile.Installed]
) -> list[dict[str, str]]:
    """Return the devices an instance has, its profiles' included."""
    merged: dict[str, dict[str, str]] = {}
    for name in wanted.profiles:
        merged |= profiles[name].body["devices"]
    return list((merged | devices).values())


def _check_profiles(wanted: tuple[str, ...], installed: dict[str, profile.Installed]) -> None:
    missing = [name for name in wanted if name not in installed]
    if missing:
        named = "profile" if len(missing) == 1 else "profiles"
        verb = "it's" if len(missing) == 1 else "they're"
        raise ConflictError(
            f"container references {named} {', '.join(repr(name) for name in missing)} but {verb} not installed in incus.",
            f"repoman profile install {' '.join(missing)}",
            "repoman profile install --all   (to install the vendor library)",
        )


def _check_ours(host: Host, name: str, instance: dict[str, Any]) -> None:
    if (instance.get("config") or {}).get(MARK) != name:
        raise ConflictError(
            f"incus has an instance {name!r} in project {host.project!r} that repoman did not make; it was not touched.",
            f"incus config show --project {host.project} {name}",
            "choose another name: repoman new NAME --repo DIR",
        )


def _visible(value: Any) -> Any:
    """Return a configuration without the server's ``volatile.*`` and ``image.*`` keys."""
    if isinstance(value, dict):
        return {key: _visible(each) for key, each in value.items() if not key.startswith(("volatile.", "image."))}
    return value


def _strings(mapping: dict[str, Any]) -> dict[str, str]:
    """Return a mapping as Incus takes it: all values strings."""
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in mapping.items()}


def _power(host: Host, name: str, action: str, **more: Any) -> None:
    begun = host.client.put(host.instance_url(name, "/state"), {"action": action, "timeout": STOP_SECONDS} | more)
    host.client.wait(begun, OPERATION_SECONDS)


def _stop(host: Host, name: str) -> None:
    """Stop an instance gracefully; one that does not stop in time is stopped all the same."""
    try:
        _power(host, name, "stop")
    except incus.IncusError:
        _power(host, name, "stop", force=True)


def _delete(host: Host, name: str) -> None:
    """Delete an instance of ours; one that was never ready is not worth a graceful stop."""
    _settle(host, name)
    found = host.client.get_or_none(host.instance_url(name))
    if found is None:
        return
    if found.data["status"] != "Stopped":
        if found.data["config"].get(STATE) == CREATING:
            _power(host, name, "stop", force=True)
        else:
            _stop(host, name)
    host.client.wait(host.client.delete(host.instance_url(name)), OPERATION_SECONDS)


def _settle(host: Host, name: str) -> None:
    """Wait for the operations on an instance that are under way, such as those of an interrupted run, whatever comes of them."""
    groups = host.client.get(incus.url("/1.0/operations", recursion=1, project=host.project)).data or {}
    for operation in (each for group in groups.values() for each in group):
        concerned = (operation.get("resources") or {}).get("instances") or []
        if any(urlsplit(path).path.endswith(f"/instances/{name}") for path in concerned):
            with suppress(incus.IncusError):
                host.client.wait(incus.Answer(operation, "", begun=True), OPERATION_SECONDS)


def _set_config(host: Host, name: str, config: dict[str, str]) -> None:
    host.client.wait(host.client.patch(host.instance_url(name), {"config": config}), OPERATION_SECONDS)


def _remotes(me: Account) -> dict[str, str]:
    """Return the simplestreams remotes of the user's ``incus`` client: name to address."""
    path = Path(os.environ.get("INCUS_CONF") or os.path.join(me.home, ".config", "incus"), "config.yml")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return PUBLIC_IMAGES
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise NotKnownError(f"cannot read {path}: {str(error).splitlines()[0]}.", "incus remote list") from error
    remotes = data.get("remotes") if isinstance(data, dict) else None
    own = {
        str(name): str(remote["addr"])
        for name, remote in (remotes or {}).items()
        if isinstance(remote, dict) and remote.get("protocol") == "simplestreams" and "addr" in remote
    }
    return PUBLIC_IMAGES | own


def _no_such_project(name: str, host: Host) -> NotKnownError:
    return NotKnownError(f"there is no project called {name!r} in {host.path}.", "repoman list", f"repoman new {name}")


def _cannot_create(error: incus.IncusError, name: str, image: str) -> RepomanError:
    if error.code == incus.HTTP_NOT_FOUND or NO_IMAGE.search(error.reason):
        return NotKnownError(
            f"there is no image {image!r}: incus said: {error.reason}.",
            "incus image list",
            "incus image list images:   (what the public server has)",
        )
    return RepomanError(
        f"cannot create the container {name!r} from {image!r}: incus said: {error.reason}.",
        "nothing of it is left; mend that and run the command again",
    )


def _cannot_start(error: incus.IncusError, name: str, repo: Repository) -> RepomanError:
    if "idmap" in error.reason.lower():
        return RepomanError(
            f"{repo.source} is on {filesystem_of(repo.source)}, which cannot map ids for a container (idmapped mounts).",
            "move the repository to ext4, xfs or btrfs",
        )
    return RepomanError(
        f"cannot start {name!r}: incus said: {error.reason}.",
        "a source that may be missing wants required: 'false' in its profile",
        "incus operation list",
    )
