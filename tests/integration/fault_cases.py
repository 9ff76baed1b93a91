# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of runs that test_fault_calls.py disturbs: what is there before, what is run, and what must be the same in the end."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from world import World

REPOSITORIES = r"""
set -e
export GIT_CONFIG_GLOBAL=/dev/null HGRCPATH=
mkdir -p repos/plain/sub/deep backup && cd repos
git init -q -b main git && cd git
git config user.name Me && git config user.email me@example.org
for each in one two three; do echo $each >$each; git add .; git commit -q -m $each; done
git tag v1 && git branch side && echo more >>one && git stash -q && cd ..
hg init hg && cd hg
for each in one two; do echo $each >$each; hg add -q $each; hg commit -q -u Me -m $each; done
cd ../plain
echo text >file; ln file other; ln -s file link; echo deep >sub/deep/file; : >empty; echo hidden >.hidden; chmod 600 .hidden
echo away >sub/away
cd .. && echo loose >notes.txt
"""
CHANGES = r"""
set -e
export GIT_CONFIG_GLOBAL=/dev/null HGRCPATH=
cd repos/git && echo four >four && rm two && git add -A && git commit -q -m four && git branch -D side -q
git gc -q --prune=now && git checkout -q -b other && echo edited >one
cd ../hg && echo three >three && hg add -q three && echo changed >one && hg commit -q -u Me -m three && hg bookmark mine
cd ../plain && echo longer text >file && rm -r sub/away && mkdir new && echo new >new/file
mv .hidden seen && rm link && ln -s other link && rm empty && mkdir empty
echo changed >../notes.txt
"""
REGISTRY = """\
# the user's own remark
[repoman]
schema = 3
output = "quiet"   # and one at the end of a line

[host]
lan_ip = "192.0.2.10"
mine = "stays"

[defaults]
repos_root = "{home}/repos"
backup_root = "{home}/backup"
logdir = "{home}/.local/state/repoman"
incus_project = "repoman"
profiles = ["default"]

# a project
[[project]]
name = "git"
repo = "git"
"""
OVERRIDE = '# mine\nbackup = true\n[config]\n"user.note" = "hand-written"\n'
TEMPLATE = 'name: mine\ndescription: hand-written\nconfig:\n  user.mine: "1"\ndevices: {}\n'
TIME = re.compile(r"\d{4}-?\d\d-?\d\dT\d\d:?\d\d:?\d\dZ")
ID = re.compile(r'(?m)^id = ".*"$')
SAVED = re.compile(r"/before-\d+T\d+Z|\.before-\d+T\d+Z")
"""What a run has saved; a killed one leaves its copies, too."""
OWN = re.compile(r"/\.repoman/[^/]*$|/owner\.json$")
"""Files of repoman's own, which runs replace."""
Params = dict[str, Any]
View = Callable[[World], Any]


@dataclass(frozen=True)
class Case:
    """A run to disturb.

    :ivar module: of the collection. :ivar params: its options.
    :ivar prepare: makes what is there before, in a home with :func:`settled_home`.
    :ivar incus: makes in Incus what is there before, after :func:`cleared` took away what a run made; None for a run that uses no Incus.
    :ivar again: options of the next run, if they differ from those of the first.
    :ivar backup: whether there is a backup, whose contents must not be lost.
    :ivar settles: whether it may run again afterwards, and then has nothing to do; otherwise one more run says that there is nothing (exit code 3).
    :ivar replaces_registry: whether the remarks of the registry may go.
    """

    name: str
    module: str
    params: Params
    prepare: Callable[[World], None] = lambda world: None
    incus: Callable[[World], None] | None = None
    again: Params = field(default_factory=dict)
    backup: bool = False
    settles: bool = True
    replaces_registry: bool = False

    def __str__(self) -> str:
        return self.name


def shell(world: World, script: str) -> None:
    """Run a script as the user in the home."""
    done = world.run("sh", "-c", script)
    assert done.code == 0, done


def settled_home(world: World) -> None:
    """Make repositories, a registry with remarks, an override, a template, and the directory of the backup."""
    shell(world, REPOSITORIES)
    world.write(world.registry, REGISTRY.format(home=world.home))
    world.write(world.overrides / "git.toml", OVERRIDE)
    world.template("mine", TEMPLATE)
    world.registry.parent.chmod(0o700)


def _synced(*scripts: str) -> Callable[[World], None]:
    """Return what makes the first backup and then runs scripts in the home."""

    def prepare(world: World) -> None:
        result = world.module("sync", init=True, allow_local=True)
        assert not result.get("failed"), result
        for script in scripts:
            shell(world, script)

    return prepare


SETTINGS = r"""
cd .config/repoman && echo '# one more' >>repoman.toml && sed -i s/hand-written/edited/ repos.d/git.toml && echo 'backup = true' >repos.d/hg.toml
mv profiles.d/mine.yml profiles.d/yours.yml
"""
LOST_SETTINGS = r"cd .config/repoman && sed -i 's/stays/differs/; /^# a project/d' repoman.toml && rm repos.d/git.toml && echo '{}' >profiles.d/mine.yml"
OTHER_HOST = r"sed -i 's/^host = .*/host = \"elsewhere\"/' backup/.repoman/mirror.toml"
DAMAGE = r"cd repos/git && for each in $(find .git/objects -type f | sort | head -n 3); do chmod u+w $each; echo x >$each; done"

OLD_REGISTRY = r"sed -i 's/^schema = 3/schema = 2/' .config/repoman/repoman.toml"
PROFILES = ["claude-share", "dotfiles", "llm-share", "mine"]
HAND_MADE = {"name": "mine", "description": "somebody's", "config": {"user.precious": "1"}, "devices": {}}


def _profiles(world: World) -> None:
    """Install all but one, of which one is then changed by hand."""
    world.api("POST", "/1.0/profiles?project=default", HAND_MADE)
    world.api("POST", "/1.0/profiles?project=default", {**HAND_MADE, "name": "dotfiles"})


def _project(world: World) -> None:
    """Make Incus's project."""
    config = {"features.images": "false", "features.profiles": "false"}
    world.api("POST", "/1.0/projects", {"name": "repoman", "description": "", "config": config})


def _container(world: World) -> None:
    """Make a project that runs."""
    _project(world)
    world.new("git")


def _stopped(world: World) -> None:
    """Make a project, and stop it."""
    _container(world)
    world.incus("stop", "--force", "--project=repoman", "git")


def _changed(world: World) -> None:
    """Make a project, and change its override."""
    _container(world)
    world.write(world.overrides / "git.toml", OVERRIDE.replace("hand-written", "edited") + '"limits.memory" = "200MiB"\n')


def _states(name: str, state: str) -> Params:
    return {"projects": [{"name": name, "image": "busybox"}], "state": state}


BACKUPS = [
    Case("sync", "sync", {}, _synced(CHANGES), backup=True),
    Case("sync --init", "sync", {"init": True, "allow_local": True}, backup=True),
    Case("sync settings", "sync", {"names": ["(settings)"]}, _synced(SETTINGS), backup=True),
    Case("sync, take over", "sync", {"take_over": True}, _synced(CHANGES, OTHER_HOST), backup=True),
    Case("sync, retire", "sync", {"names": ["plain"], "allow_shrink": True}, _synced("rm -r repos/plain"), settles=False, backup=True),
    Case("restore", "restore", {"names": ["git"]}, _synced("rm -r repos/git"), backup=True),
    Case("restore over", "restore", {"names": ["git", "plain"], "overwrite": True}, _synced(CHANGES), backup=True),
    Case("restore --all", "restore", {"all": True}, _synced("rm -r repos/*"), backup=True),
    Case(
        "restore paths", "restore", {"name": "plain", "paths": ["file", "sub", "empty"], "overwrite": True}, _synced(CHANGES), backup=True
    ),
    Case("restore --objects", "restore", {"name": "git", "objects": True}, _synced(DAMAGE), backup=True),
    Case("restore --settings", "restore", {"settings": True}, _synced(LOST_SETTINGS), replaces_registry=True, backup=True),
]
SMALL = [
    Case("profile install", "profile", {"names": PROFILES}, incus=_profiles),
    Case("profile copy", "profile", {"names": ["dotfiles", "llm-share"], "state": "copied"}),
    Case("profile remove", "profile", {"names": ["mine", "dotfiles"], "state": "absent"}, incus=_profiles),
    Case("setup", "registry", {"host": {"lan_ip": "192.0.2.11"}, "defaults": {"stale_after": "3d"}}, incus=_project),
    Case(
        "setup anew", "registry", {"host": {"lan_ip": "192.0.2.11"}}, lambda world: shell(world, "rm -r .config"), incus=lambda world: None
    ),
    Case("setup of an old one", "registry", {"host": {"lan_ip": "192.0.2.10"}}, lambda world: shell(world, OLD_REGISTRY), incus=_project),
]
CONTAINERS = [
    Case("new", "project", _states("hg", "started"), incus=_project),
    Case("new, changed", "project", _states("git", "started"), incus=_changed),
    Case("start", "project", _states("git", "started"), incus=_stopped),
    Case("stop", "project", _states("git", "stopped"), incus=_container),
    Case("remove", "project", _states("git", "absent"), incus=_container),
]


COMMANDS = {"sync": ["sync"], "restore --all": ["restore", "--all"], "profile install": ["profile", "install", *PROFILES]}
"""What is typed for a case."""


def cleared(world: World, case: Case) -> None:
    """Make Incus what it is before a run."""
    if case.incus is not None:
        world.clean()
        case.incus(world)


def files(*roots: Path, skip: tuple[str, ...] = ()) -> dict[str, tuple[int, str]]:
    """Return mode and contents (a digest, or where a link leads) of everything below ``roots``, by path.

    :param skip: names of directories and files that are left out.
    """
    found = {}
    waiting = [str(root) for root in roots]
    while waiting:
        place = waiting.pop()
        try:
            entries = list(os.scandir(place))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if entry.name in skip:
                continue
            if stat.S_ISDIR(status.st_mode):
                waiting.append(entry.path)
                contents = ""
            elif stat.S_ISLNK(status.st_mode):
                contents = os.readlink(entry.path)
            else:
                contents = hashlib.sha256(Path(entry.path).read_bytes()).hexdigest()
            found[entry.path] = (status.st_mode, contents)
    return found


def view(world: World) -> dict[str, Any]:
    """Return what must be the same after a disturbed run and the next as after one run that nothing disturbed; without times."""
    home = world.home
    trees = files(world.repos, home / "backup", skip=(".repoman",)) | files(
        home / "backup/.repoman/settings", skip=("owner.json", "repoman.toml")
    )
    config = files(world.registry.parent, skip=("repoman.toml", "repoman.toml.lock"))
    seen: dict[str, Any] = {TIME.sub("TIME", path): entry for path, entry in (trees | config).items() if not SAVED.search(path)}
    seen |= in_incus(world)
    seen["registry"] = TIME.sub("TIME", world.registry.read_text())
    marker = home / "backup/.repoman/mirror.toml"
    seen["marker"] = ID.sub("ID", TIME.sub("TIME", marker.read_text())) if marker.exists() else ""
    return seen


def in_incus(world: World) -> dict[str, Any]:
    """Return profiles, project and instances, without what differs from run to run."""
    hidden = re.compile(r"volatile\.|image\.|user\.repoman\.(run|applied)$")
    seen: dict[str, Any] = {
        f"profile {name}": [each[key] for key in ("description", "config", "devices")] for name, each in world.profiles().items()
    }
    seen |= {f"project {name}": [each["description"], each["config"]] for name, each in world.projects().items()}
    for name, each in world.instances().items():
        config = {key: value for key, value in each["config"].items() if not hidden.match(key)}
        seen[f"instance {name}"] = [each["status"], config, each["devices"], each["profiles"]]
    return seen


def contents(world: World) -> set[str]:
    """Return the contents that no run may lose: repositories, mirrors, history and settings, wherever they are."""
    home = world.home
    found = files(world.repos, home / "backup", world.registry.parent, skip=("work", "created", "repoman.toml"))
    found |= {path: entry for path, entry in files(home / ".local").items() if "/damaged/" in path or "/replaced/" in path}
    return {digest for path, (mode, digest) in found.items() if stat.S_ISREG(mode) and not OWN.search(path)}


def remarks(world: World) -> set[str]:
    """Return what the user wrote into the registry: each line but those that a run may write."""
    text = world.registry.read_text() if world.registry.exists() else ""
    return {line for line in text.splitlines() if "#" in line or "mine" in line}


def snapshot(home: Path, place: Path) -> None:
    """Copy a home, with modes, owners and times."""
    subprocess.run(["cp", "-a", f"{home}/.", place], check=True)


def put_back(place: Path, home: Path) -> None:
    """Make a home again what it was when it was copied."""
    subprocess.run(["find", str(home), "-mindepth", "1", "-delete"], check=True)
    subprocess.run(["cp", "-a", f"{place}/.", home], check=True)
