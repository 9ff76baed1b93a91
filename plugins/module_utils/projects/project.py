# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Projects: the instance of a repository, from ``new`` to ``remove``, and what is told of it."""

from __future__ import annotations

import difflib
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.homelab.repoman.plugins.module_utils.core import progress
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import (
    ConflictError,
    InterruptedRunError,
    NotKnownError,
    RepomanError,
    StaleError,
    UsageError,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.names import check_project_name
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, Step, signals_as_exceptions
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import iso_time
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account, account, filesystem_of
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.incus import images
from ansible_collections.homelab.repoman.plugins.module_utils.process import child as watch
from ansible_collections.homelab.repoman.plugins.module_utils.profiles import library as profile
from ansible_collections.homelab.repoman.plugins.module_utils.projects import account as inside
from ansible_collections.homelab.repoman.plugins.module_utils.projects import protect
from ansible_collections.homelab.repoman.plugins.module_utils.projects.lock import claim
from ansible_collections.homelab.repoman.plugins.module_utils.projects.pinned_directory import Witness
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store as registry
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.confined_tree import VcsError, resolve_path

MARK = "user.repoman.project"
STATE = "user.repoman.state"
REPO = "user.repoman.repo"
APPLIED = "user.repoman.applied"
RUN = "user.repoman.run"
"""Which run made it: what that run undoes is known by it, however far it came."""
KINDS = ("config", "devices", "profiles", "asked_config", "asked_devices")
"""Of what the mark APPLIED names what repoman gave; of these, what no file says but a task did."""
CREATING, READY = "creating", "ready"
REPO_DEVICE = "repo"
OPERATION_SECONDS = 600.0
NO_IMAGE = re.compile(r"\bimage\b[^:]*(?:: )?(?:not found|not provided|couldn't be found)", re.IGNORECASE)
"""How Incus says that there is no such image."""
NO_PROJECT = "project not found"
"""How Incus says that there is no such project, in lower case."""
STOP_SECONDS = 30
"""What an instance may take to stop by itself."""
CLAIM_SECONDS = 120.0
"""How long a run waits for another one that works on the same, finished project."""
PROTECTION = "security.protection.delete"
TRUE = ("true", "1", "yes", "on")
"""How Incus writes that something is so."""
PROBE = re.compile(r"\.repoman-probe-[0-9a-f]{16}")
MARKS = "user.repoman."
HIDDEN = re.compile(r"environment\.|.*(?:password|passwd|secret|token|credential|private.?key)", re.IGNORECASE)
"""Keys of a configuration whose values are nobody's business."""
VARIABLE = "environment."
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
HIDDEN_VALUE, NEW_VALUE = "(not shown)", "(not shown, another one)"
OPTIONS = ("name", "repo", "image", "profiles", "backup", "config", "devices", "target")
"""What is said of a single project."""


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
    :param predicting: in check mode, what is missing and an earlier task may make is a warning.
    """

    me: Account
    path: str
    known: registry.Registry
    client: incus.Client
    predicting: bool = False

    @property
    def project(self) -> str:
        """The Incus project of the instances."""
        return self.known.defaults.incus_project

    @cached_property
    def member(self) -> str:
        """The member of the cluster that this host is; empty where its Incus is alone."""
        told = self.client.get("/1.0").data["environment"]
        return str(told["server_name"]) if told.get("server_clustered") else ""

    def local_images(self) -> images.Images:
        """Read the images of this Incus; a project that is not there yet will share the default one's."""
        answer = self.client.get_or_none(incus.url("/1.0/images", recursion=1, project=self.project)) if self.predicting else None
        place = incus.DEFAULT_PROJECT if self.predicting and answer is None else self.project
        try:
            found: images.Images = (answer or self.client.get(incus.url("/1.0/images", recursion=1, project=place))).data
        except incus.IncusError as error:
            raise (_no_project(self) if NO_PROJECT in error.reason.lower() else error) from error
        return found

    def instance_url(self, name: str, rest: str = "") -> str:
        """Return the request path of an instance, or of something of it."""
        return incus.url("/1.0/instances/{}" + rest, name, project=self.project)


@dataclass(frozen=True)
class World:
    """What was read, at once for all projects.

    :param instances: of the Incus project, by name.
    :param profiles: installed ones; none where a project is to go.
    :param text: of the registry.
    :param images: reads the images of this Incus, when they are first needed.
    """

    instances: dict[str, dict[str, Any]]
    profiles: dict[str, profile.Installed]
    text: str
    images: Callable[[], images.Images]


@dataclass
class Work:
    """What is to be done for one project.

    :param options: what was asked for.
    :param line: what is told of it.
    :param text: of the registry, once it is done.
    :param found: the instance as it was read.
    :param asked: whether the instance has been asked to stop, and had its time.
    """

    name: str
    options: dict[str, Any]
    line: dict[str, Any]
    plan: Plan = field(default_factory=Plan)
    text: str = ""
    found: dict[str, Any] | None = None
    asked: bool = False
    warnings: list[str] = field(default_factory=list)

    def fail(self, error: RepomanError) -> None:
        """Let ``error`` be what is told of it."""
        error.hints = error.hints or ["what was begun is undone: mend that and run the command again"]
        self.line = {"name": self.name, "action": "failed", "incus_project": self.line["incus_project"], "steps": []} | error.result()

    def predict(self, error: RepomanError) -> None:
        """Let ``error`` be a warning of what check mode cannot know."""
        self.warnings.append(error.foretold())


def run(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Do what the module ``repoman_project`` is asked to; see its documentation.

    :raises RepomanError: nothing can be done, or the run was interrupted: what was begun is undone, what was finished stays.
        What fails for single projects is in the result.
    """
    wishes = _wishes(params)
    host = host_of(params, check and params["predict"])
    try:
        with signals_as_exceptions():
            works = _plan_all(host, wishes, params["state"])
            if not check:
                _apply_all(host, works, params["state"])
    finally:
        progress.clear()
    return _answer(host, works)


def _wishes(params: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is asked of each project.

    :raises UsageError: a name cannot be, or stands there twice.
    """
    listed = params["projects"] if params["projects"] is not None else [{key: params[key] for key in OPTIONS}]
    names = [check_project_name(each["name"]) for each in listed]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"the project {twice[0]!r} is named twice.", "name each project once")
    return [{key: each.get(key) for key in OPTIONS} for each in listed]


def _plan_all(host: Host, wishes: list[dict[str, Any]], state: str) -> list[Work]:
    """Read the world once and plan for every project."""
    if not wishes:
        return []
    profiles = {} if state == "absent" else profile.read_installed(host.client)
    world = World(read_instances(host), profiles, host.known.text, cache(host.local_images))
    works = []
    for wish in wishes:
        work = Work(wish["name"], wish, {"incus_project": host.project}, text=world.text)
        works.append(work)
        try:
            _plan(host, work, world, state)
        except RepomanError as error:
            work.fail(error)
        except OSError as error:
            work.fail(watch.explained(error))
        world = replace(world, text=work.text)
    return works


def _plan(host: Host, work: Work, world: World, state: str) -> None:
    """Plan for one project."""
    work.plan, work.warnings, work.found = Plan(), [], world.instances.get(work.name)
    if work.found is not None:
        check_ours(host, work.name, work.found)
    if state == "absent":
        _plan_absent(host, work, world)
    else:
        _plan_present(host, work, world, state)
    work.line = {"name": work.name, "incus_project": host.project} | work.line
    work.line |= {"changed": work.plan.changed, "steps": work.plan.descriptions}


def _plan_again(host: Host, work: Work, state: str) -> tuple[Host, Work]:
    """Plan for one project from a fresh look at it."""
    host = replace(host, known=registry.load(host.path))
    found = host.client.get_or_none(host.instance_url(work.name))
    profiles = {} if state == "absent" else profile.read_installed(host.client)
    _plan(host, work, World({work.name: found.data} if found else {}, profiles, host.known.text, host.local_images), state)
    return host, work


def _apply_all(host: Host, works: list[Work], state: str) -> None:
    """Carry every plan out; one failure does not stop the others, an interrupt does."""
    going = [work for work in works if work.plan.changed and work.line["action"] != "failed"]
    stopping: list[str] = []
    try:
        if state == "absent" and len(going) > 1:
            _stop_ahead(host, going, stopping)
        for work in going:
            try:
                _apply(host, work, state)
            except InterruptedRunError:
                raise
            except (RepomanError, OSError) as error:
                problem = watch.explained(error) if isinstance(error, OSError) else error
                work.fail(problem)
                heard = _take_up_all(host, [name for name in stopping if name == work.name], problem) or work.plan.interrupted
                if heard:
                    raise InterruptedRunError(f"interrupted after this: {problem.message}", *problem.hints) from error
            stopping[:] = [name for name in stopping if name != work.name]
    except RepomanError as error:
        _take_up_all(host, stopping, error)
        raise


def _apply(host: Host, work: Work, state: str) -> None:
    """Carry one plan out; where the world has changed, plan once more."""
    is_ready = work.found is not None and work.found["config"].get(STATE) != CREATING
    with claim(host.path, work.name, host.me, CLAIM_SECONDS if is_ready else 0) as waited:
        if waited:
            host, work = _plan_again(host, work, state)
        try:
            work.plan.apply(_tell)
        except StaleError:
            if work.plan.interrupted:
                raise
            host, work = _plan_again(host, work, state)
            work.plan.apply(_tell)
    if state == "absent":
        work.line["state"] = "absent"


def _tell(step: Step) -> None:
    if step.progress:
        progress.phase(step.progress)


def _stop_ahead(host: Host, works: Iterable[Work], names: list[str]) -> None:
    """Have all running instances stop at the same time.

    :param names: takes their names, each before it is asked: whatever happens, they are known.
    """
    for work in works:
        if work.found is not None and work.found["status"] == "Running" and work.found["config"].get(STATE) != CREATING:
            names.append(work.name)
            with suppress(incus.IncusError):  # the removal tries again, and says so
                host.client.put(host.instance_url(work.name, "/state"), {"action": "stop", "timeout": STOP_SECONDS})
                work.asked = True


def _take_up_all(host: Host, names: list[str], error: RepomanError) -> bool:
    """Start instances again that were stopped in advance; what cannot be started becomes a hint of ``error``.

    :returns: whether a signal asked to stop meanwhile.
    """
    with signals_as_exceptions() as gate:
        gate.blocked = True
        for name in names:
            try:
                _take_up(host, name)
            except RepomanError as problem:
                error.hints.append(f"could not start {name} again: {problem.message}")
    return gate.received


def _take_up(host: Host, name: str) -> None:
    """Start an instance again that was stopped for nothing."""
    _settle(host, name)
    found = host.client.get_or_none(host.instance_url(name))
    if found is not None and found.data["status"] == "Stopped":
        _power(host, name, "start")


def _answer(host: Host, works: list[Work]) -> dict[str, Any]:
    """Return the result of a run."""
    lines = [work.line for work in works]
    failed = [line for line in lines if line["action"] == "failed"]
    result: dict[str, Any] = {
        "changed": any(line["changed"] for line in lines),
        "projects": lines,
        "diff": [entry for work in works if work.line["action"] != "failed" for entry in work.plan.diff],
        "account": vars(host.me),
        "socket": host.client.path,
    }
    warnings = [warning for work in works for warning in work.warnings]
    if warnings:
        result["warnings"] = warnings
    if failed:
        worst = max(failed, key=lambda line: line["exit_code"])
        result |= {
            "failed": True,
            "msg": " ".join(line["msg"] for line in failed),
            "hints": worst["hints"],
            "exit_code": worst["exit_code"],
        }
    return result


def repository(stored: str, host: Host) -> Repository:
    """Return where a repository is.

    :param stored: a directory in ``repos_root``: relative to it, or absolute.
    :raises NotKnownError: it does not exist. :class:`ConflictError`: see :func:`place_of`.
    """
    repo = place_of(stored, host)
    if not os.path.isdir(repo.source):
        what = "is not a directory" if os.path.exists(repo.source) else "does not exist"
        raise NotKnownError(f"the repository {repo.inside} {what}.", f"git init {repo.inside}", "name another directory of it: --repo DIR")
    return repo


def place_of(stored: str, host: Host) -> Repository:
    """Return where a repository is or would be.

    :param stored: a directory in ``repos_root``: relative to it, or absolute.
    :raises ConflictError: it is not inside ``repos_root`` once links are resolved, or they lead to each other.
    """
    root = host.me.expand(host.known.defaults.repos_root)
    path = os.path.normpath(os.path.join(root, host.me.expand(stored) if stored[:1] in "~$" else stored))
    try:
        source, real_root = resolve_path(path), os.path.realpath(root)
    except VcsError as error:
        raise ConflictError(f"the repository {path} is behind too many links.", f"namei -l {path}") from error
    outside = not path.startswith(f"{root}/") or not source.startswith(f"{real_root}/")
    if outside:
        raise ConflictError(
            f"the repository {path} is not inside repos_root, {root}.", f"move it there, or change [defaults].repos_root in {host.path}"
        )
    return Repository(os.path.relpath(path, root), path, source)


def host_of(params: dict[str, Any], predicting: bool = False) -> Host:
    """Return what a module's run works with, by its parameters.

    :param predicting: ``registry_text`` stands for the registry.
    :raises NotKnownError: there is no such account, or no registry.
    """
    me = account(params["user"])
    path = me.expand(params["registry_path"] or registry.default_path(me.home))
    known = registry.foreseen(path, params, me) if predicting else registry.load(path)
    client = incus.Client(incus.find_socket(params["socket"]), params["timeout"])
    return Host(me, path, known, client, predicting)


def read_instances(host: Host, recursion: int = 1) -> dict[str, dict[str, Any]]:
    """Read every instance of the Incus project, ours or not, in one request: name to instance.

    :param recursion: 2 for their state too.
    :raises NotKnownError: there is no such Incus project, and this Incus says so.
    """
    read = host.client.get_or_none if host.predicting else host.client.get
    try:
        answer = read(incus.url("/1.0/instances", recursion=recursion, project=host.project))
    except incus.IncusError as error:
        raise (_no_project(host) if NO_PROJECT in error.reason.lower() else error) from error
    return {instance["name"]: instance for instance in answer.data} if answer else {}


def vcs_kind(path: str) -> str:
    """Return ``git`` or ``hg``, of a work tree or a bare repository; empty if it is neither."""
    if os.path.lexists(os.path.join(path, ".git")) or all(os.path.exists(os.path.join(path, part)) for part in ("HEAD", "objects", "refs")):
        return "git"
    return "hg" if os.path.lexists(os.path.join(path, ".hg")) else ""


def _plan_present(host: Host, work: Work, world: World, state: str) -> None:
    name, found = work.name, work.found
    entry = host.known.projects.get(name)
    asked = _asked(work.options, found)
    override = registry.load_override(host.path, name)
    wanted = registry.effective(name, host.known.defaults, *([registry.wanted_of(entry)] if entry else []), override, asked)
    try:
        repo = repository(wanted.repo, host)
    except NotKnownError as error:
        repo = place_of(wanted.repo, host)
        if not host.predicting or os.path.lexists(repo.inside):
            raise
        work.predict(error)
    try:
        _check_profiles(wanted.profiles, world.profiles)
    except ConflictError as error:
        if not host.predicting:
            raise
        work.predict(error)
        nothing = profile.Installed({"description": "", "config": {}, "devices": {}}, [], "")
        world = replace(world, profiles=dict.fromkeys(wanted.profiles, nothing) | world.profiles)
    check_own(wanted, repo, world.profiles)
    action, work.line["differences"] = "unchanged", []
    unfinished = found is not None and found["config"].get(STATE) == CREATING
    before = _repository_before(host, found, repo) if found else repo.source
    if unfinished:
        work.plan.add(
            Step(
                f"remove the unfinished container {name}",
                lambda: _delete_unfinished(host, name, {repo.source, before}),
                None,
                f"container {name}",
                progress=f"removing what is left of {name}…",
            )
        )
        found = None
    if found is None:
        action = "created"
        inside.check_account(host.me)
        _plan_create(host, work, wanted, asked, repo, world)
    elif _plan_match(work, host, wanted, asked, repo, found, world.profiles):
        action = "updated"
    work.text = _plan_entry(work.plan, host, wanted, repo, entry, asked, world.text)
    if found is not None and found["status"] == "Running":
        _plan_proof(host, work, repo)
    if work.plan.changed and action == "unchanged":
        action = "updated"
    if found is None:
        work.plan.add(Step(f"mark {name} as ready", lambda: _set_config(host, name, {STATE: READY})))
    status = "Running" if found is None else found["status"]
    then = _plan_power(host, work, repo, state, status)
    if action == "unchanged" and then != status:
        action = "started" if then == "Running" else "stopped"
    work.line |= {
        "action": action,
        "repo": repo.inside,
        "image": wanted.image,
        "profiles": list(wanted.profiles),
        "backup": wanted.backup,
        "state": then,
        "environment": environment(set((found or {}).get("expanded_config") or {}) | _keys(wanted, world.profiles)),
    }
    if os.path.isdir(repo.source) and not vcs_kind(repo.source):
        work.warnings.append(f"{repo.inside} is neither a git nor a Mercurial repository")


def _repository_before(host: Host, instance: dict[str, Any], repo: Repository) -> str:
    """Return the path of the repository an instance was made for; one that a killed run left may be another of this user's.

    :raises ConflictError: it is another one.
    """
    name, before = instance["name"], instance["config"].get(REPO, repo.source)
    if before != repo.source and not (instance["config"].get(STATE) == CREATING and before.startswith(f"{_root(host)}/")):
        raise ConflictError(
            f"project {name!r} already exists, with the repository {before}.",
            f"repoman remove {name}   (repository and backup stay)",
            "choose another name",
        )
    return str(before)


def environment(keys: Iterable[str]) -> list[str]:
    """Return the names of the variables that keys of an instance's configuration set, as far as a shell can have them."""
    names = {key.removeprefix(VARIABLE) for key in keys if key.startswith(VARIABLE)}
    return sorted(name for name in names if IDENTIFIER.fullmatch(name))


def _asked(options: dict[str, Any], found: dict[str, Any] | None) -> registry.Wanted:
    """Return what is asked for: of ``config`` and ``devices``, where nothing is said, what was asked for earlier.

    :param found: the instance, as Incus tells of it.
    """
    before = asked_before(found) if found is not None else registry.Wanted()
    config, devices = options["config"], options["devices"]
    return registry.Wanted(
        repo=options["repo"],
        image=options["image"],
        profiles=tuple(options["profiles"]) if options["profiles"] is not None else None,
        backup=options["backup"],
        config=_strings(config) if config is not None else before.config,
        devices={key: _strings(device) for key, device in devices.items()} if devices is not None else before.devices,
    )


def asked_before(data: dict[str, Any]) -> registry.Wanted:
    """Return what an instance has because a task asked for it, as it has it now: no file says so.

    :param data: the instance, as Incus tells of it.
    :raises ConflictError: see :func:`applied_to`.
    """
    applied = applied_to(data)
    return registry.Wanted(
        config={key: value for key, value in data["config"].items() if key in applied["asked_config"]},
        devices={name: device for name, device in data["devices"].items() if name in applied["asked_devices"]},
    )


def check_own(wanted: registry.Effective, repo: Repository, profiles: dict[str, profile.Installed]) -> None:
    """See that nothing takes the place of what is repoman's own.

    :raises ConflictError: a device or key does.
    """
    if REPO_DEVICE in wanted.devices:
        raise ConflictError(
            f"project {wanted.name!r} may have no device {REPO_DEVICE!r} of its own: it is the repository's.",
            f"give the device another name in repos.d/{wanted.name}.toml",
            "another repository: repo = 'DIR' there, or --repo DIR",
        )
    for key in wanted.config:
        if key.startswith(MARKS):
            raise ConflictError(f"project {wanted.name!r} may not set {key!r}: these are repoman's own marks.", "leave it out")
    for device, settings in _all_devices(wanted, wanted.devices, profiles).items():
        if settings.get("type") == "disk" and os.path.normpath(settings.get("path", "/")) == repo.inside:
            raise ConflictError(
                f"the device {device!r} of project {wanted.name!r} would be mounted over the repository at {repo.inside}.",
                "give it another path, or leave it out",
            )


def _plan_create(host: Host, work: Work, wanted: registry.Effective, asked: registry.Wanted, repo: Repository, world: World) -> None:
    """Add the steps that make an instance, from its creation to the proof that the user can work in it."""
    name, run_id = wanted.name, secrets.token_hex(8)
    config, devices = desired(wanted, asked, repo, world.profiles)
    taken = _keys(wanted, world.profiles)
    document: dict[str, Any] = {
        "name": name,
        "type": "container",
        "source": images.source(wanted.image, host.me, world.images),
        "profiles": list(wanted.profiles),
        "config": inside.user_data(host.me, taken) | config | {STATE: CREATING, RUN: run_id},
        "devices": devices,
    }
    targets = _targets(_all_devices(wanted, devices, world.profiles))
    witness = Witness(_root(host), repo.source)
    plan, warnings = work.plan, work.warnings
    target: str | None = work.options["target"]

    def create() -> None:
        source = images.unlocked(wanted.image, host.me, document["source"])
        witness.hold()
        member = target or host.member  # the cluster would choose any, and the repository is here
        place = {"target": member} if member else {}
        try:
            begun = host.client.post(incus.url("/1.0/instances", project=host.project, **place), document | {"source": source})
            host.client.wait(begun, OPERATION_SECONDS, _listener(f"creating {name}") if progress.is_live() else None)
        except incus.IncusError as error:
            raise _cannot_create(host, error, name, wanted.image, target) from error

    def undo() -> None:
        witness.release()
        _settle(host, name, cancel=True)
        found = host.client.get_or_none(host.instance_url(name))
        if found is not None and found.data["config"].get(RUN) == run_id:
            if found.data["config"].get(STATE) != CREATING:
                with suppress(RepomanError):  # only so that the next run would finish what cannot be deleted now
                    _set_config(host, name, {STATE: CREATING})
            _delete(host, name)

    def start() -> None:
        try:
            _power(host, name, "start")
        except incus.IncusError as error:
            raise _cannot_start(error, name, repo) from error

    def prove() -> None:
        _prove(host, name, repo, witness)
        witness.release()

    text = _text(document | {"image": wanted.image}, ("profiles", "config", "devices", "image"))
    plan.add(
        Step(
            f"create container {name} from {wanted.image}",
            create,
            undo,
            f"container {name}",
            "",
            text,
            f"creating {name} from {wanted.image}…",
        )
    )
    plan.add(Step(f"prepare the home {host.me.home}", lambda: inside.make_home(host.client, name, host.project, host.me, targets)))
    plan.add(Step(f"start {name}", start, progress=f"starting {name}…"))
    plan.add(
        Step(
            f"make the account {host.me.name}",
            lambda: warnings.extend(inside.make_account(host.client, name, host.project, host.me)),
            progress=f"making the account in {name}…",
        )
    )
    plan.add(Step(f"prove that {host.me.name} can write to {repo.inside}", prove))


def _plan_proof(host: Host, work: Work, repo: Repository) -> None:
    """Add the step that proves again what a killed run had begun to prove, if one left its proof in the repository."""
    try:
        left = _leftovers(repo.source, host.me, 2 * inside.EXEC_SECONDS)
    except OSError:  # a repository that cannot be read is told of by others
        return

    def prove() -> None:
        witness = Witness(_root(host), repo.source)
        witness.hold()
        try:
            _prove(host, work.name, repo, witness)
        finally:
            witness.release()

    if left:
        work.plan.add(Step(f"prove again that {host.me.name} can write to {repo.inside}", prove))


def _prove(host: Host, name: str, repo: Repository, witness: Witness) -> None:
    """Prove that the account can write to the repository, and that it is the one that is held.

    :raises RepomanError: it is not. :class:`ConflictError`: another directory was mounted in its place.
    """
    _sweep(witness.place, host.me, 2 * inside.EXEC_SECONDS)
    try:
        inside.prove(host.client, name, host.project, host.me, repo.inside, witness.place)
    except RepomanError as error:
        if isinstance(error, InterruptedRunError):
            raise
        with suppress(RepomanError):  # a probe that went elsewhere
            host.client.execute(name, host.project, ["/bin/sh", "-c", 'rm -f -- "$0"/.repoman-probe-*', repo.inside], inside.EXEC_SECONDS)
        if not witness.is_in_place():
            raise witness.swapped() from error
        error.message = error.message.replace(witness.place, repo.source)
        error.hints = [hint.replace(witness.place, repo.source) for hint in error.hints]
        raise


def applied_to(data: dict[str, Any]) -> dict[str, list[str]]:
    """Return the names of what repoman gave an instance, by kind, as its mark has them; nothing where there is no mark.

    :param data: the instance, as Incus tells of it.
    :raises ConflictError: somebody made something else of the mark.
    """
    mark: Any = None
    with suppress(ValueError, RecursionError):
        mark = json.loads(data["config"].get(APPLIED) or "{}")
    if isinstance(mark, dict):
        named = {kind: mark.get(kind, []) for kind in KINDS}
        if all(isinstance(names, list) and all(isinstance(each, str) for each in names) for names in named.values()):
            return named
    raise ConflictError(
        f"the mark {APPLIED} of the container {data['name']!r} was changed by hand and cannot be read.",
        f"incus config unset --project {data['project']} {data['name']} {APPLIED}",
    )


def match(
    data: dict[str, Any], config: dict[str, str], devices: dict[str, dict[str, str]], profiles: Iterable[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what of an instance is compared as it is, and as it is to be: ``config``, ``devices`` and ``profiles``.

    What repoman applied and is no longer wanted goes, what it wants is put right; the rest is somebody else's and stays.

    :param data: the instance, as Incus tells of it.
    :param config: that repoman gives it. :param devices: likewise. :param profiles: in order.
    :raises ConflictError: see :func:`applied_to`.
    """
    applied = applied_to(data)
    now: dict[str, Any] = {"config": dict(data["config"]), "devices": dict(data["devices"]), "profiles": list(data["profiles"])}
    wanted = list(profiles)
    kept = [name for name in now["profiles"] if name in wanted or name not in applied["profiles"]]
    in_order = [name for name in kept if name in wanted] == wanted
    then = {
        "config": {key: value for key, value in now["config"].items() if key not in applied["config"] or key in config} | config,
        "devices": {key: value for key, value in now["devices"].items() if key not in applied["devices"] or key in devices} | devices,
        "profiles": kept if in_order else [*wanted, *(name for name in kept if name not in wanted)],
    }
    return now, then


def differences(now: dict[str, Any], then: dict[str, Any]) -> list[str]:
    """Return how an instance differs from what it is to be, one phrase each; both as :func:`match` gives them."""
    told = []
    if now["profiles"] != then["profiles"]:
        told.append(f"profiles: {', '.join(now['profiles']) or 'none'} instead of {', '.join(then['profiles']) or 'none'}")
    for kind, word in (("config", "key"), ("devices", "device")):
        for key in sorted({*now[kind], *then[kind]}):
            if key == APPLIED or now[kind].get(key) == then[kind].get(key):
                continue
            if key not in now[kind]:
                told.append(f"{word} {key} is missing")
            elif key not in then[kind]:
                told.append(f"{word} {key} is no longer wanted")
            else:
                told.append(f"{word} {key} was changed")
    return told


def _correction(
    host: Host, work: Work, repo: Repository, data: dict[str, Any], sides: tuple[dict[str, Any], dict[str, Any]], targets: list[str]
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return what brings an instance of ours to its configuration, and what takes that back.

    Where the repository is mounted anew in a running one and that cannot be proved, it goes without, until the next run.

    :param data: the instance, as it was read.
    :param sides: as :func:`match` gives them.
    :param targets: paths inside that are to be there, to mount something at.
    """
    name, (now, then) = work.name, sides
    body = {key: data[key] for key in ("architecture", "description", "ephemeral", "stateful") if key in data} | then
    remounts = now["devices"].get(REPO_DEVICE) != then["devices"][REPO_DEVICE]
    witness = Witness(_root(host), repo.source)
    is_sent = False
    """Whether Incus may have taken it."""
    is_proved = False
    """Whether what is mounted as the repository is it."""

    def correct() -> None:
        nonlocal is_sent, is_proved
        fresh = host.client.get(host.instance_url(name))
        if any(fresh.data[key] != data[key] for key in now):
            raise StaleError(f"the container {name!r} was changed by somebody else at the same time.", "run the command again")
        if targets:
            inside.make_home(host.client, name, host.project, host.me, targets)
        try:
            if remounts:
                witness.hold()
            is_sent = True
            host.client.wait(host.client.put(host.instance_url(name), body, fresh.etag), OPERATION_SECONDS)
            if remounts and fresh.data["status"] == "Running":
                work.warnings.extend(inside.make_account(host.client, name, host.project, host.me))
                _prove(host, name, repo, witness)
                is_proved = True
            elif remounts and not witness.is_in_place():
                raise witness.swapped()
        except StaleError:
            is_sent = False
            raise
        finally:
            witness.release()

    def undo() -> None:
        _settle(host, name)
        answer = host.client.get(host.instance_url(name))
        fresh = answer.data
        if not is_sent or fresh["config"].get(APPLIED) != then["config"][APPLIED]:
            return
        back: dict[str, Any] = {key: _taken_back(fresh[key], now[key], then[key]) for key in ("config", "devices")}
        back["profiles"] = now["profiles"] if fresh["profiles"] == then["profiles"] else fresh["profiles"]
        if fresh["status"] != "Stopped":
            back["devices"], _waiting = protect.while_running(back["devices"], fresh["devices"], fresh["devices"], repo.inside)
            if remounts:
                there = fresh["devices"].get(REPO_DEVICE)
                back["devices"].pop(REPO_DEVICE, None)  # the old one would be mounted at once, and cannot be proved
                if there is not None and (is_proved or there == now["devices"].get(REPO_DEVICE)):
                    back["devices"][REPO_DEVICE] = there
        host.client.wait(host.client.put(host.instance_url(name), body | back, answer.etag), OPERATION_SECONDS)

    return correct, undo


def _taken_back(fresh: dict[str, Any], now: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """Return what is there without what this run made of it; what somebody else has set since then stays."""
    mine = {key for key in {*now, *then} if now.get(key) != then.get(key) and fresh.get(key) == then.get(key)}
    return {key: value for key, value in fresh.items() if key not in mine} | {key: now[key] for key in mine if key in now}


def _check_remount(host: Host, data: dict[str, Any], devices: dict[str, dict[str, str]], repo: Repository) -> None:
    """See that mounting the repository anew in a running instance would not take away what is mounted in it.

    :raises ConflictError: it would.
    """
    there = data.get("expanded_devices") or data["devices"]
    within = sorted(each for each, device in there.items() if os.path.normpath(device.get("path", "")).startswith(f"{repo.inside}/"))
    if within and data["devices"].get(REPO_DEVICE) != devices[REPO_DEVICE]:
        raise ConflictError(
            f"the repository of {data['name']!r} is to be mounted anew, which would take away what is mounted in it: {', '.join(within)}.",
            f"incus stop --project {host.project} {data['name']} && repoman new {data['name']}",
        )


def _plan_match(
    work: Work,
    host: Host,
    wanted: registry.Effective,
    asked: registry.Wanted,
    repo: Repository,
    data: dict[str, Any],
    profiles: dict[str, profile.Installed],
) -> bool:
    """Add the step that brings an instance of ours to its configuration, and tell where it differs; what is set by hand beside it stays.

    :returns: whether there is one.
    """
    config, devices = desired(wanted, asked, repo, profiles)
    name = wanted.name
    if data["status"] != "Stopped":
        devices, waiting = protect.while_running(devices, data["devices"], applied_to(data)["devices"], repo.inside)
        config |= {APPLIED: _applied(wanted, asked, devices)}
        if waiting:
            work.warnings.append(
                f"{', '.join(waiting)}: what is mounted inside the repository changes only while {name} is stopped; to have it changed:"
                f" incus stop --project {host.project} {name}, and then once more what was run now"
            )
        _check_remount(host, data, devices, repo)
    now, then = match(data, config, devices, wanted.profiles)
    work.line["differences"] = differences(now, then)
    if then == now:
        return False
    there = _targets(data.get("expanded_devices") or {})
    targets = [path for path in _targets(_all_devices(wanted, then["devices"], profiles)) if path not in there]
    correct, undo = _correction(host, work, repo, data, (now, then), targets)
    keys = ("profiles", "config", "devices")
    work.plan.add(
        Step(
            f"bring {name} to its configuration",
            correct,
            undo,
            f"container {name}",
            _text(now, keys),
            _text(then, keys, now),
            f"bringing {name} to its configuration…",
        )
    )
    return True


def _plan_power(host: Host, work: Work, repo: Repository, state: str, now: str) -> str:
    """Add the step that starts or stops an instance; return its state after that."""
    plan, name = work.plan, work.name
    if state == "stopped" and now != "Stopped":
        plan.add(
            Step(
                f"stop {name}",
                lambda: _stop(host, name),
                lambda: _take_up(host, name),
                f"state of {name}",
                f"{now}\n",
                "Stopped\n",
                f"stopping {name}…",
            )
        )
        return "Stopped"
    if state == "stopped" or now == "Running" or (state == "present" and now != "Stopped"):
        return now

    others = False
    """Whether somebody else has started it."""

    def start() -> None:
        nonlocal others
        witness = Witness(_root(host), repo.source)
        witness.hold()
        try:
            _power(host, name, "unfreeze" if now == "Frozen" else "start")
            work.warnings.extend(inside.make_account(host.client, name, host.project, host.me))
            _prove(host, name, repo, witness)
        except incus.IncusError as error:
            problem = _cannot_start(error, name, repo)
            others = isinstance(problem, StaleError)
            raise problem from error
        finally:
            witness.release()

    def undo() -> None:
        _settle(host, name)
        if not others and host.client.get(host.instance_url(name)).data["status"] != now:
            _power(host, name, "freeze") if now == "Frozen" else _power(host, name, "stop", force=True)

    plan.add(Step(f"start {name}", start, undo, f"state of {name}", f"{now}\n", "Running\n", f"starting {name}…"))
    return "Running"


def _plan_entry(
    plan: Plan,
    host: Host,
    wanted: registry.Effective,
    repo: Repository,
    entry: registry.Project | None,
    asked: registry.Wanted,
    text: str,
) -> str:
    """Add the step that writes the registry entry. It holds what was asked for; what the override says stays in the override.

    What somebody else writes to the entry in the meantime stays, such as the time of a backup.

    :param text: of the registry.
    :returns: its text after that.
    """
    old = entry or registry.Project(wanted.name, repo.stored, image=wanted.image, created=iso_time())
    new = replace(
        old,
        repo=repo.stored,
        image=asked.image or old.image,
        profiles=asked.profiles if asked.profiles is not None else old.profiles,
        backup=asked.backup if asked.backup is not None else old.backup,
    )
    if new == entry:
        return text

    own: registry.Data = {} if entry and entry.repo == repo.stored else {"repo": repo.stored}
    own |= {"image": asked.image} if asked.image else {}
    own |= {"profiles": list(asked.profiles)} if asked.profiles is not None else {}
    own |= {"backup": asked.backup} if asked.backup is not None else {}
    before: registry.Data | None = None
    """The entry as it was when it was written over; empty where there was none."""

    def put(data: registry.Data) -> None:
        nonlocal before
        found = registry.entry_of(data, wanted.name)
        before = dict(found or {})
        if found is None:
            registry.put_project(data, new)
        else:
            found.update(own)

    def take_back(data: registry.Data) -> None:
        found = registry.entry_of(data, wanted.name)
        if found is None or before is None:
            return
        if not before:
            registry.drop_project(data, wanted.name)
            return
        for key in (key for key, value in own.items() if found.get(key) == value):
            if key in before:
                found[key] = before[key]
            else:
                del found[key]

    after = registry.change(text, host.path, put)
    before = None
    plan.add(
        Step(
            f"write {wanted.name} to the registry",
            lambda: registry.update(host.path, put, host.me),
            lambda: registry.update(host.path, take_back, host.me),
            host.path,
            text,
            after,
        )
    )
    return after


def _plan_absent(host: Host, work: Work, world: World) -> None:
    name, found = work.name, work.found
    entry = host.known.projects.get(name)
    work.text = world.text
    if found is not None:
        _check_deletable(host, name, found)
        was_up = found["status"] != "Stopped" and found["config"].get(STATE) != CREATING
        work.plan.add(
            Step(
                f"delete container {name}",
                lambda: _delete(host, name, work.asked),
                (lambda: _take_up(host, name)) if was_up else None,
                f"container {name}",
                _text(found, ("profiles", "config", "devices")),
                "",
                f"removing {name}…",
            )
        )
    if entry is not None:

        def drop(data: registry.Data) -> None:
            registry.drop_project(data, name)

        work.text = registry.change(world.text, host.path, drop)
        work.plan.add(
            Step(
                f"take {name} out of the registry",
                lambda: registry.update(host.path, drop, host.me),
                None,
                host.path,
                world.text,
                work.text,
            )
        )
    stored = entry.repo if entry else name
    root, mirrors = (host.me.expand(path) for path in (host.known.defaults.repos_root, host.known.defaults.backup_root))
    work.line |= {
        "action": "removed" if work.plan.changed else "absent",
        "state": found["status"] if found else "absent",
        "kept": {"repo": os.path.join(root, stored), "mirror": os.path.join(mirrors, stored.split("/")[0])},
    }
    if not work.plan.changed:
        known = {*host.known.projects, *(each for each, instance in world.instances.items() if MARK in (instance.get("config") or {}))}
        work.line["near"] = difflib.get_close_matches(name, sorted(known), n=3)


def desired(
    wanted: registry.Effective, asked: registry.Wanted, repo: Repository, profiles: Mapping[str, profile.Installed]
) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Return the ``config`` and ``devices`` repoman gives an instance.

    :param asked: what of ``wanted`` a task asked for.
    :param profiles: those that are installed.
    :raises RepomanError: the repository cannot be protected as is wanted.
    """
    others = _all_devices(wanted, wanted.devices, profiles)
    devices = wanted.devices | protect.devices(repo.source, repo.inside, wanted.protect, others.values())
    devices |= {REPO_DEVICE: {"type": "disk", "source": repo.source, "path": repo.inside, "shift": "true"}}
    return wanted.config | {MARK: wanted.name, REPO: repo.source, APPLIED: _applied(wanted, asked, devices)}, devices


def _applied(wanted: registry.Effective, asked: registry.Wanted, devices: Iterable[str]) -> str:
    """Return the mark that says what repoman gave an instance; see :func:`applied_to`."""
    mark = {"config": sorted(wanted.config), "devices": sorted(devices), "profiles": list(wanted.profiles)}
    for_task = {"asked_config": sorted(asked.config), "asked_devices": sorted(name for name in devices if name in asked.devices)}
    return json.dumps(mark | {kind: names for kind, names in for_task.items() if names}, sort_keys=True)


def _keys(wanted: registry.Effective, profiles: Mapping[str, profile.Installed]) -> set[str]:
    """Return the keys of the configuration that an instance has from its project and its profiles."""
    return set(wanted.config).union(*(profiles[each].body["config"] for each in wanted.profiles))


def _all_devices(
    wanted: registry.Effective, devices: dict[str, dict[str, str]], profiles: Mapping[str, profile.Installed]
) -> dict[str, dict[str, str]]:
    """Return the devices an instance has, its profiles' included."""
    merged: dict[str, dict[str, str]] = {}
    for name in wanted.profiles:
        merged |= profiles[name].body["devices"] if name in profiles else {}
    return merged | devices


def _targets(devices: dict[str, dict[str, str]]) -> list[str]:
    """Return the paths in the instance that something is mounted at."""
    return [device["path"] for device in devices.values() if device.get("type") == "disk" and device.get("path", "/") != "/"]


def _root(host: Host) -> str:
    """Return ``repos_root``, links resolved."""
    return os.path.realpath(host.me.expand(host.known.defaults.repos_root))


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


def check_ours(host: Host, name: str, instance: dict[str, Any]) -> None:
    """See that an instance is the one repoman made for project ``name``.

    :raises ConflictError: it is not.
    """
    if (instance.get("config") or {}).get(MARK) != name:
        raise ConflictError(
            f"incus has an instance {name!r} in project {host.project!r} that repoman did not make; it was not touched.",
            f"incus config show --project {host.project} {name}",
            "choose another name: repoman new NAME --repo DIR",
        )


def _is_protected(instance: dict[str, Any]) -> bool:
    """Whether Incus refuses to delete an instance."""
    return str(instance["expanded_config"].get(PROTECTION, "")).lower() in TRUE


def _check_deletable(host: Host, name: str, instance: dict[str, Any]) -> None:
    """See that Incus will delete an instance, before it is stopped for that.

    :raises ConflictError: it is protected, and has been finished.
    """
    if _is_protected(instance) and instance["config"].get(STATE) != CREATING:
        own = PROTECTION in instance["config"]
        raise ConflictError(
            f"the container {name!r} is protected from being deleted: {PROTECTION} is true; it was not touched.",
            f"incus config {'unset' if own else 'set'} --project {host.project} {name} {PROTECTION}{'' if own else '=false'}",
        )


def _text(side: dict[str, Any], keys: Iterable[str], other: dict[str, Any] | None = None) -> str:
    """Return what a person is shown of an instance: not the server's own keys, and no value that may be secret.

    :param other: what it is compared with: a secret that differs is told to.
    """
    shown = {key: side[key] for key in keys}
    shown["config"] = {
        key: (value if not HIDDEN.match(key) else HIDDEN_VALUE if other is None or other["config"].get(key) == value else NEW_VALUE)
        for key, value in side["config"].items()
        if not key.startswith(("volatile.", "image."))
    }
    return profile.canonical(shown)


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


def _delete(host: Host, name: str, asked: bool = False) -> None:
    """Delete an instance of ours; one that was never ready is not worth a graceful stop.

    :param asked: whether it has been asked to stop already.
    """
    _settle(host, name)
    found = host.client.get_or_none(host.instance_url(name))
    if found is None:
        return
    check_ours(host, name, found.data)
    if found.data["status"] != "Stopped":
        if asked or found.data["config"].get(STATE) == CREATING:
            _power(host, name, "stop", force=True)
        else:
            _stop(host, name)
    if _is_protected(found.data) and found.data["config"].get(STATE) == CREATING:
        _set_config(host, name, {PROTECTION: "false"})
    try:
        host.client.wait(host.client.delete(host.instance_url(name)), OPERATION_SECONDS)
    except incus.IncusError as error:
        raise RepomanError(
            f"cannot delete the container {name!r}: incus said: {error.reason}.", f"incus config show --project {host.project} {name}"
        ) from error


def _delete_unfinished(host: Host, name: str, sources: Iterable[str]) -> None:
    """Delete what a killed run left: the container, and its proof in the repository.

    :param sources: where that may be.
    :raises StaleError: it has been finished meanwhile.
    """
    _settle(host, name)
    found = host.client.get_or_none(host.instance_url(name))
    if found is not None and found.data["config"].get(STATE) != CREATING:
        raise StaleError(f"the container {name!r} was finished by another run.", "run the command again")
    _delete(host, name)
    for source in sources:
        _sweep(source, host.me, 0)


def _sweep(directory: str, me: Account, age: float) -> None:
    """Remove the proofs that killed runs left in a repository, as far as it can be read; ``age`` as for :func:`_leftovers`."""
    with suppress(OSError):
        for path in _leftovers(directory, me, age):
            os.unlink(path)


def _leftovers(directory: str, me: Account, age: float) -> list[str]:
    """Return the paths of the proofs that killed runs left in a repository.

    :param age: seconds after which one is nobody's.
    """
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if PROBE.fullmatch(entry.name):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and not status.st_size and status.st_uid == me.uid and status.st_mtime <= time.time() - age:
                    found.append(entry.path)
    return found


def _settle(host: Host, name: str, cancel: bool = False) -> None:
    """Wait for the operations on an instance that are under way, such as those of an interrupted run, whatever comes of them.

    :param cancel: end those that can be ended, such as the download of an image.
    """
    groups = host.client.get(incus.url("/1.0/operations", recursion=1, project=host.project)).data or {}
    for operation in (each for group in groups.values() for each in group):
        concerned = (operation.get("resources") or {}).get("instances") or []
        if any(urlsplit(path).path.endswith(f"/instances/{name}") for path in concerned):
            with suppress(incus.IncusError):
                if cancel and operation.get("may_cancel"):
                    host.client.delete(incus.url("/1.0/operations/{}", str(operation["id"])))
                host.client.wait(incus.Answer(operation, "", begun=True), OPERATION_SECONDS)


def _listener(what: str) -> Callable[[dict[str, Any]], None]:
    """Return what tells how far an operation is, in Incus's words."""

    def tell(metadata: dict[str, Any]) -> None:
        for key, value in metadata.items():
            if key.endswith("_progress") and isinstance(value, str):
                progress.update(f"{what}: {value}")

    return tell


def _set_config(host: Host, name: str, config: dict[str, str]) -> None:
    host.client.wait(host.client.patch(host.instance_url(name), {"config": config}), OPERATION_SECONDS)


def _no_project(host: Host) -> NotKnownError:
    return NotKnownError(f"incus has no project {host.project!r}, where the containers are to be.", "repoman setup")


def _cannot_create(host: Host, error: incus.IncusError, name: str, image: str, target: str | None) -> RepomanError:
    if "already exists" in error.reason.lower():
        return StaleError(f"another run makes a container {name!r} at the same time.", "repoman list")
    if target and "cluster" in error.reason.lower():
        return NotKnownError(f"the container {name!r} cannot be made on {target!r}: incus said: {error.reason}.", "incus cluster list")
    if NO_PROJECT in error.reason.lower():
        return _no_project(host)
    if NO_IMAGE.search(error.reason):
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
    if "already running" in error.reason.lower():
        return StaleError(f"another run started the container {name!r} at the same time.", "run the command again")
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
