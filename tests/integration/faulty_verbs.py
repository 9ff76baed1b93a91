# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs that change something in Incus, each with the state it begins with: what tests of faults run again and again."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from world import TIMEOUT, IncusRefusalError, World

NEIGHBOUR = "neighbour"
"""An instance and a profile that repoman did not create."""
OVERRIDE = '[config]\n"user.note" = "hi"\n[devices.data]\ntype = "disk"\nsource = "{home}/data"\npath = "{home}/deep/er/data"\n'
HAND_MADE = {"description": "by hand", "config": {"user.mine": "1"}, "devices": {}}
LAST = HAND_MADE | {"description": "another"}
TEMPLATE = 'description: of the library\nconfig:\n  user.who: "${USER}"\n'
PROFILES = ("first", "second", "third", "last")
FLEETING = {"user.repoman.run"}
"""Keys of an instance that differ from run to run, besides those of Incus."""
SEVERAL = ("demo", "one", "two")


@dataclass(frozen=True)
class Verb:
    """A verb.

    :param name: for messages.
    :param module: that it runs, and ``params``, its options.
    :param prepare: creates the state in which the verb starts, from any state in which a previous run ended.
    :param names: of what it changes.
    :param undoes: whether it undoes what it may have changed when it fails, so that it never leaves open what Incus has done.
    """

    name: str
    module: str
    params: dict[str, Any]
    prepare: Callable[[World], None]
    names: tuple[str, ...] = ("demo",)
    undoes: bool = True


def furnish(world: World) -> None:
    """Create what all verbs need, and what repoman must not touch."""
    for name in SEVERAL:
        world.git_repository(name)
    world.mkdir(world.home / "data")
    world.write(world.overrides / "demo.toml", OVERRIDE.format(home=world.home))
    for name in PROFILES:
        world.template(name, TEMPLATE)
    world.api("POST", "/1.0/profiles?project=default", {"name": NEIGHBOUR} | HAND_MADE)
    world.api(
        "POST",
        "/1.0/instances?project=repoman",
        {
            "name": NEIGHBOUR,
            "source": {"type": "image", "alias": "busybox"},
            "profiles": ["default", NEIGHBOUR],
            "config": {"user.note": "mine"},
        },
    )


def parts(world: World, names: tuple[str, ...]) -> dict[str, Any]:
    """Return what there is of some projects and profiles, without what differs from run to run."""
    instances, profiles = world.instances(), world.profiles()
    try:
        entries = {entry["name"]: entry for entry in tomllib.loads(world.registry.read_text()).get("project", [])}
    except FileNotFoundError:
        entries = {"": {}}
    found: dict[str, Any] = {
        name: [
            _essence(instances.get(name)),
            {key: value for key, value in entries.get(name, {}).items() if key not in ("created", "last_sync")},
            _profile(profiles.get(name)),
        ]
        for name in names
    }
    if "setup" in names:
        project = world.projects().get("repoman", {})
        found["setup"] = [project.get("config"), world.registry.exists()]
    return found


def of_others(world: World) -> list[Any]:
    """Return what repoman must not touch, as Incus describes it."""
    instance = world.instances().get(NEIGHBOUR)
    return [
        instance and {key: value for key, value in instance.items() if key != "last_used_at"},
        _profile(world.profiles().get(NEIGHBOUR)),
    ]


def _essence(instance: dict[str, Any] | None) -> Any:
    if instance is None:
        return None
    config = {key: value for key, value in instance["config"].items() if not key.startswith("volatile.") and key not in FLEETING}
    return [instance["status"], config, instance["devices"], instance["profiles"]]


def _profile(profile: dict[str, Any] | None) -> Any:
    return profile and {key: profile[key] for key in ("description", "config", "devices")}


def settle_down(world: World) -> None:
    """Wait until Incus works on nothing any more."""
    deadline = time.monotonic() + TIMEOUT
    while pending(world):
        assert time.monotonic() < deadline, pending(world)
        time.sleep(0.05)


def pending(world: World) -> list[str]:
    """Return the operations that Incus has not ended."""
    groups = world.api("GET", "/1.0/operations?recursion=1&all-projects=true") or {}
    return [f"{each['description']} {each.get('resources')}" for group in groups.values() for each in group if each["status_code"] < 200]


def forget(world: World, *names: str) -> None:
    """Take projects away: container and entry."""
    settle_down(world)
    instances = world.instances()
    for name in names:
        if name not in instances:
            continue
        if instances[name]["status"] != "Stopped":
            power(world, name, "stop")
        world.api("DELETE", f"/1.0/instances/{name}?project=repoman")
    if world.registry.exists():
        head, *tables = world.registry.read_text().split("[[project]]")
        kept = [table for table in tables if not any(f'name = "{name}"' in table for name in names)]
        world.write(world.registry, "[[project]]".join([head, *kept]))


def power(world: World, name: str, action: str) -> None:
    """Change the state of an instance."""
    world.api("PUT", f"/1.0/instances/{name}/state?project=repoman", {"action": action, "force": True, "timeout": 30})


def have(world: World, *names: str) -> None:
    """Have projects that run."""
    settle_down(world)
    world.new(*names, profiles=["default"])


def _without(world: World, *names: str) -> None:
    forget(world, *names)


def _stopped(world: World, *names: str) -> None:
    have(world, *names)
    for name in names:
        power(world, name, "stop")


def _changed(world: World) -> None:
    """Have a project whose container was edited by hand: what repoman manages, and what it does not."""
    have(world, "demo")
    instance = world.instances()["demo"]
    body = {key: instance[key] for key in ("architecture", "config", "description", "devices", "ephemeral", "profiles", "stateful")}
    body["config"] |= {"user.mine": "1", "user.note": "by hand"}
    body["devices"].pop("data", None)
    world.api("PUT", "/1.0/instances/demo?project=repoman", body)


def _replaced_directory(world: World) -> None:
    """Have a project whose directory was deleted and made again while its container runs."""
    have(world, "demo")
    path = world.repos / "demo"
    assert world.run("sh", "-c", f"cp -a {path} {path}.copy && rm -rf {path} && mv {path}.copy {path}").code == 0


def _adoptable(world: World) -> None:
    """Have a container without marks that mounts the repository."""
    forget(world, "demo")
    device = {"type": "disk", "source": str(world.repos / "demo"), "path": str(world.repos / "demo"), "shift": "true"}
    source = {"type": "image", "alias": "busybox"}
    world.api(
        "POST", "/1.0/instances?project=repoman", {"name": "demo", "source": source, "profiles": ["default"], "devices": {"mine": device}}
    )
    power(world, "demo", "start")


def _no_setup(world: World) -> None:
    forget(world, *SEVERAL, NEIGHBOUR)
    with suppress(IncusRefusalError):
        world.api("DELETE", "/1.0/projects/repoman")
    world.registry.unlink(missing_ok=True)


def _other_features(world: World) -> None:
    _no_setup(world)
    world.api(
        "POST", "/1.0/projects", {"name": "repoman", "description": "", "config": {"features.images": "true", "features.profiles": "true"}}
    )


def _profiles(world: World, **bodies: Any) -> None:
    installed = world.profiles()
    for name in PROFILES:
        path, body = f"/1.0/profiles/{name}?project=default", bodies.get(name)
        if name in installed and body is None:
            world.api("DELETE", path)
        elif name in installed:
            world.api("PUT", path, body)
        elif body is not None:
            world.api("POST", "/1.0/profiles?project=default", {"name": name} | body)


def _some_profiles(world: World) -> None:
    for path in (world.home / ".local/state/repoman/replaced").glob("*"):
        path.unlink()
    _profiles(world, second=HAND_MADE, last=LAST)


def _all_profiles(world: World) -> None:
    _profiles(world, **dict.fromkeys(PROFILES, HAND_MADE))


def _projects(*names: str, **options: Any) -> dict[str, Any]:
    return {"projects": [{"name": name, "image": "busybox", "profiles": ["default"]} | options for name in names]}


def _named(*names: str) -> dict[str, Any]:
    return {"projects": [{"name": name} for name in names], "create": False}


VERBS = (
    Verb("new", "project", _projects("demo") | {"state": "started"}, lambda world: _without(world, "demo")),
    Verb("new-several", "project", _projects(*SEVERAL) | {"state": "started"}, lambda world: _without(world, *SEVERAL), SEVERAL),
    Verb("update", "project", _projects("demo") | {"state": "started"}, _changed),
    Verb("remount", "project", _projects("demo") | {"state": "started"}, _replaced_directory),
    Verb("adopt", "project", {"projects": [{"name": "demo", "adopt": True}], "state": "started"}, _adoptable),
    Verb("start", "project", _named("demo") | {"state": "started"}, lambda world: _stopped(world, "demo")),
    Verb("stop", "project", _named("demo") | {"state": "stopped"}, lambda world: have(world, "demo")),
    Verb(
        "stop-several", "project", _named("demo", "one") | {"state": "stopped"}, lambda world: have(world, "demo", "one"), ("demo", "one")
    ),
    Verb("restart", "project", _named("demo") | {"state": "restarted"}, lambda world: have(world, "demo")),
    Verb("remove", "project", {"projects": [{"name": "demo"}], "state": "absent"}, lambda world: have(world, "demo")),
    Verb(
        "remove-several",
        "project",
        {"projects": [{"name": "demo"}, {"name": "one"}], "state": "absent"},
        lambda world: have(world, "demo", "one"),
        ("demo", "one"),
    ),
    Verb("install", "profile", {"names": list(PROFILES)}, _some_profiles, PROFILES, undoes=False),
    Verb("uninstall", "profile", {"names": list(PROFILES), "state": "absent"}, _all_profiles, PROFILES, undoes=False),
    Verb("setup", "registry", {"host": {"lan_ip": "192.0.2.10"}}, _no_setup, ("setup",), undoes=False),
    Verb("setup-again", "registry", {"host": {"lan_ip": "192.0.2.10"}}, _other_features, ("setup",), undoes=False),
)


def is_lost(world: World, name: str, body: dict[str, Any]) -> bool:
    """Return whether a profile made by hand is neither installed nor saved."""
    saved = [path.read_text() for path in (world.home / ".local/state/repoman/replaced").glob("*.yml")]
    return _profile(world.profiles().get(name)) != body and not any(body["description"] in text for text in saved)
