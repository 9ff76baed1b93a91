# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""setup: Incus's project and the registry."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client, IncusError
from ansible_collections.homelab.repoman.plugins.module_utils.registry.setup import incus_project_steps
from proxy import RecordingProxy
from world import TIMEOUT, SetUp, World

BRIDGE = "ip link add br0 type bridge && ip addr add 198.51.100.7/24 dev br0 && ip link set br0 up"
UPLINK = (
    "ip link add uplink type veth peer far && ip link set far up && ip link set uplink up"
    " && ip addr add 198.51.100.8/24 dev uplink && ip route add default via 198.51.100.1"
)

SCHEMA_2 = """\
# my registry
[repoman]
schema = 2
output = "quiet"

[defaults]
repos_root = "~/repos"   # mine
incus_project = "repoman"
profiles = ["default"]

[defaults.llm]
enabled = true
ollama_url = "http://192.0.2.44:11434"

[[project]]
name = "isurus"
repo = "isurus-project"
colour = "blue"
"""


def test_two_at_once(world: World) -> None:
    """Of two that plan to make the project, the second one finds it, and leaves it there if it is rolled back."""
    client = Client(world.socket)
    (first,), (second,) = (incus_project_steps("race", client) for _number in range(2))
    first.apply()
    second.apply()
    assert first.undo is not None and second.undo is not None
    second.undo()
    assert "race" in world.projects()
    first.undo()
    assert "race" not in world.projects()
    (refused,) = incus_project_steps("no/name", client)
    with pytest.raises(IncusError):
        refused.apply()
    client.close()


def test_four_ways(world: World, proxy: RecordingProxy) -> None:
    """Check changes nothing, apply does, again changes nothing and only reads, check again agrees."""
    checked = world.repoman("-C", "--json", "setup", "--non-interactive").data
    assert checked["changed"] and not world.registry.exists() and "repoman" not in world.projects()
    assert proxy.writes == []
    applied = world.repoman("--json", "setup", "--non-interactive").data
    assert applied["changed"] and applied["steps"] == checked["steps"]
    config = world.projects()["repoman"]["config"]
    assert (config["features.profiles"], config["features.images"]) == ("false", "false")
    before = world.registry.read_text()
    assert 'profiles = ["default"]' in before and "schema = 3" in before
    proxy.clear()
    again = world.repoman("setup", "--non-interactive")
    assert "nothing" in again.out.lower()
    assert world.registry.read_text() == before and proxy.requests == [
        ("GET", "/1.0/projects/repoman"),
        ("GET", "/1.0/profiles/default?project=default"),
    ]
    assert not world.repoman("-C", "--json", "setup").data["changed"]


def test_backup_root_is_written_and_the_rest_of_the_registry_stays(world: World) -> None:
    """A new registry gets it, an existing one is changed in this line alone; check mode says so, and the second run has nothing to do."""
    world.repoman("setup", "--non-interactive", "--backup-root", "/nfs/old")
    assert 'backup_root = "/nfs/old"' in world.registry.read_text()
    before = world.write(world.registry, world.registry.read_text() + "# mine\n").read_text()
    checked = world.repoman("--check", "--diff", "setup", "--backup-root", "/nfs/new").out
    assert '+backup_root = "/nfs/new"' in checked and world.registry.read_text() == before
    world.repoman("setup", "--backup-root", "/nfs/new")
    assert world.registry.read_text() == before.replace("/nfs/old", "/nfs/new")
    assert not world.repoman("--json", "setup", "--backup-root", "/nfs/new").data["changed"]
    assert world.refused("setup", "--backup-root", "", code=2)


def test_default_profile_without_a_root_disk(ready: World) -> None:
    """setup and status name the command that adds one; a failing ``new`` does, too."""
    ready.incus("profile", "device", "remove", "default", "root")
    try:
        command = "incus profile device add --project default local:default root disk path=/ pool="
        for verb in (["setup", "--non-interactive"], ["status"]):
            assert f"has no root disk, so no container can be created with it alone: {command}POOL" in ready.repoman(*verb).err.replace(
                f"INCUS_SOCKET={ready.socket} ", ""
            )
        ready.git_repository("one")
        assert f"hint: {command}default" in ready.refused("new", "one", "--image", "busybox", code=1)
    finally:
        ready.incus("profile", "device", "add", "default", "root", "disk", "path=/", "pool=default")
    assert "root disk" not in ready.repoman("setup", "--non-interactive").err + ready.repoman("status").err


def test_what_other_tests_begin_with(world: World, set_up: SetUp) -> None:
    """They copy what setup left in another home: it is what setup makes here, in the home and in Incus."""

    def state() -> tuple[object, ...]:
        paths = {path.relative_to(world.home): path for path in world.home.rglob("*")}
        files = {name: (path.stat()[:1] + path.stat()[4:6], path.read_bytes() if path.is_file() else b"") for name, path in paths.items()}
        return files, world.projects(), world.profiles()

    set_up.copy_to(world)
    copied = state()
    world.clean()
    for path in world.home.iterdir():
        shutil.rmtree(path)
    world.repoman("setup", "--non-interactive")
    assert state() == copied


def test_registry_is_private(world: World) -> None:
    """The registry may hold private paths: only its owner reads it."""
    world.repoman("setup", "--non-interactive")
    assert world.registry.stat().st_mode & 0o777 == 0o600
    assert world.registry.parent.stat().st_mode & 0o777 == 0o700
    assert world.registry.stat().st_uid == world.me.uid


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs a private network namespace")
def test_without_a_network_only_who_uses_the_address_hears_of_it(world: World) -> None:
    """setup and status are quiet, one profile fails, and its hints do not lead back to it; an address in the registry stays."""
    done = run_in_namespace(in_turn(world, "setup --non-interactive", "status", "profile install --all"), code=3)
    assert "LAN address   none (neither br0 nor an IPv4 default route)" in done.stdout and "repoman setup" not in done.stdout
    assert "lan_ip" not in done.stderr.split("llm-share", 1)[0] and "HOST_LAN_IP" in done.stderr
    assert "hint: if the host has neither br0 nor an IPv4 default route: set [host].lan_ip in" in done.stderr
    assert {"claude-share", "dotfiles"} < set(world.profiles()) and "llm-share" not in world.profiles()
    world.write(world.registry, world.registry.read_text().replace('lan_ip = ""', 'lan_ip = "192.0.2.9"'))
    run_in_namespace(in_turn(world, "setup --non-interactive"))
    assert 'lan_ip = "192.0.2.9"' in world.registry.read_text()


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs a private network namespace")
def test_without_a_bridge_the_address_is_that_of_the_default_route(world: World) -> None:
    """setup names the interface; then all profiles can be installed."""
    done = run_in_namespace(f"{UPLINK} && {in_turn(world, 'setup --non-interactive', 'profile install --all')}")
    assert "LAN address  198.51.100.8 (uplink)" in done.stdout and 'lan_ip = "198.51.100.8"' in world.registry.read_text()
    assert world.profiles()["llm-share"]["config"]["environment.OLLAMA_HOST"] == "http://198.51.100.8:11434"


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs a private network namespace")
def test_address_of_the_bridge_is_found_and_refreshed(world: World) -> None:
    """setup writes br0's address, also over an old one; br0 lives in a network namespace of the test."""
    script = f"{UPLINK} && {BRIDGE} && {in_turn(world, 'setup --non-interactive')}"
    for old in ('lan_ip = ""', 'lan_ip = "192.0.2.9"'):
        if world.registry.exists():
            world.write(world.registry, world.registry.read_text().replace('lan_ip = "198.51.100.7"', old))
        run_in_namespace(script)
        assert 'lan_ip = "198.51.100.7"' in world.registry.read_text()


def in_turn(world: World, *verbs: str) -> str:
    """Return a shell script with runs of the command by the user; its exit status is that of the last."""
    return "; ".join(" ".join(world.me.command(["repoman", *verb.split()], world.env())) for verb in verbs)


def run_in_namespace(script: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a shell script as root in a network namespace that ends with it."""
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    done = subprocess.run([*sudo, "unshare", "--net", "sh", "-c", script], check=False, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs a private network namespace")
def test_old_registry_is_migrated_with_a_backup(world: World) -> None:
    """Schema 2 becomes 3 with its address, comments and unknown keys; the old file stays beside it."""
    world.write(world.registry, SCHEMA_2)
    run_in_namespace(in_turn(world, "setup --non-interactive"))  # with a network, the host's own address would be found
    text = world.registry.read_text()
    assert 'lan_ip = "192.0.2.44"' in text and "schema = 3" in text and "llm" not in text
    assert "# my registry" in text and "# mine" in text and 'colour = "blue"' in text
    assert (world.registry.parent / "repoman.toml.schema2.bak").read_text() == SCHEMA_2


@pytest.mark.parametrize("flag", ["--with-llm", "--without-llm"])
def test_removed_flags_are_refused(world: World, flag: str) -> None:
    """The flags of old versions say where their job went."""
    assert "repoman profile install llm-share" in world.refused("setup", flag, code=2)
    assert not world.registry.exists()


def test_project_with_profiles_of_its_own_in_use_is_not_touched(world: World) -> None:
    """A project of the user's that cannot share profiles is left alone."""
    world.incus("project", "create", "repoman", "-c", "features.images=true", "-c", "features.profiles=true")
    world.incus("profile", "create", "mine", "--project=repoman")
    try:
        assert "repoman" in world.refused("setup", "--non-interactive", code=4)
        assert world.projects()["repoman"]["config"]["features.profiles"] == "true"
        assert not world.registry.exists()
    finally:
        world.incus("profile", "delete", "mine", "--project=repoman")


def test_features_of_an_empty_project_are_set(world: World) -> None:
    """An empty project is made fit."""
    world.incus("project", "create", "repoman")
    world.repoman("setup", "--non-interactive")
    assert world.projects()["repoman"]["config"]["features.profiles"] == "false"


def test_wizard_shows_its_plan_and_asks_once(world: World) -> None:
    """On a terminal: what was found, the plan, one question; no means nothing changed; done means no question."""
    refused = world.on_terminal("repoman setup", "n\n")
    assert refused.code == 1 and "nothing was changed" in refused.out and not world.registry.exists()
    agreed = world.on_terminal("repoman setup", "y\n")
    assert agreed.code == 0 and str(world.home) in agreed.out and "create the Incus project repoman" in agreed.out
    assert agreed.out.count("[") - agreed.out.count("[host]") == 1
    assert world.registry.exists() and "repoman" in world.projects()
    again = world.on_terminal("repoman setup", "")
    assert again.code == 0 and "nothing" in again.out.lower() and "[" not in again.out.replace("[host]", "")
