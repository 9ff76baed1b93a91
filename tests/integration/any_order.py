# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model of what the user has, and the commands of the product as the state machine of test_any_order.py runs them."""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

from invariants import leftovers, mirror_problems, problems, without_times
from world import SetUp, World

Tree = dict[str, tuple[Any, ...]]
"""Each path of a tree, with type, mode and content; of repository data, the newest commit."""
TIME = re.compile(r"\d{8}T\d{6}Z(-\d+)?")
EXIT_CODES = {1, 3, 4}
KINDS = {"one": "git", "two": "hg", "three": "plain"}
"""The repositories."""


def tree(root: Path) -> Tree:
    """Return what is the user's in a tree: working files, and the commits that refs name."""
    found: Tree = {}
    for place, directories, files in os.walk(root):
        here = Path(place)
        for name in [each for each in directories if each in {".git", ".hg"}]:
            directories.remove(name)
            found[str((here / name).relative_to(root))] = ("commits", _commits(here / name))
        for name in [*directories, *files]:
            path = here / name
            status = path.lstat()
            if path.is_symlink():
                found[str(path.relative_to(root))] = ("link", os.readlink(path))
            elif path.is_dir():
                found[str(path.relative_to(root))] = ("directory",)
            else:
                found[str(path.relative_to(root))] = ("file", status.st_mode, path.read_bytes())
    return found


def _commits(data: Path) -> tuple[str, ...]:
    if data.name == ".hg":
        log = data / "store/00changelog.i"
        return (log.read_bytes().hex(),) if log.exists() else ()
    refs = sorted(path for path in (data / "refs").rglob("*") if path.is_file())
    return (*(f"{path.relative_to(data)} {path.read_text().strip()}" for path in refs), (data / "HEAD").read_text())


class Model:
    """What must be there, whatever the product does, and the commands that may do it.

    :param world: a home in which nothing was done yet; this sets it up.
    """

    def __init__(self, world: World, set_up: SetUp) -> None:
        self.world = world
        world.clean()
        for path in world.home.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        set_up.copy_to(world)
        self.backup = world.mkdir(world.home / "backup")
        world.write(world.registry, world.registry.read_text().replace('"/nfs/repos"', f'"{self.backup}"'))
        text = re.sub(r"(?m)^default_image = .*$", 'default_image = "busybox"', world.registry.read_text())
        world.write(world.registry, re.sub(r'(?m)^lan_ip = ""$', 'lan_ip = "192.0.2.10"', text))
        self.comments: set[str] = set()
        self.files: dict[Path, str] = {}
        """Overrides and templates: repoman never writes them."""
        self.repositories: dict[str, Tree] = {}
        """Contents of each existing repository."""
        self.keys: dict[str, dict[str, str]] = {}
        """Configuration keys that were set in instances by hand."""
        self.strangers: set[str] = set()
        self.profiles: dict[str, Any] = {}
        """Bodies of the profiles that were made or changed by hand."""
        self.synced: dict[str, Tree] = {}
        self.history: dict[str, dict[str, Tree]] = {}
        self.damaged: dict[str, tuple[Path, bytes]] = {}
        self.touched: set[str] = set()
        """Mirrors that may have changed since they were last verified."""
        self.number = 0
        self.journal: list[str] = []
        """The steps so far, with their results."""

    def note(self, text: str) -> None:
        """Write the result of a step into the journal."""
        self.journal.append(f"    {text}")

    def next(self) -> int:
        """Return a number that was not used before."""
        self.number += 1
        return self.number

    def call(self, module: str, /, **params: Any) -> Any:
        """Run a module in the four ways; return the result of the run that may change something.

        A failure must be foreseen, have a sentence and a hint, and happen again.
        """
        predicted = self.world.module(module, check=True, **params)
        done = self.world.module(module, **params)
        if module == "sync" and any("damaged" in unit.get("msg", "") for unit in done.get("units", ())):
            self.judge(done)  # only a run reads the contents and finds the damage
            return done
        again = self.world.module(module, **params)
        after = again if module == "sync" else self.world.module(module, check=True, **params)
        assert essence(predicted) == essence(done), (module, params, predicted, done)
        for result in (again, after):
            assert not result.get("changed"), (module, params, done, result)
            if any(unit["action"] == "retired" for unit in done.get("units", ())) and result.get("failed"):
                assert result["exit_code"] == 3, result  # nothing has this name any more
                continue
            assert bool(result.get("failed")) == bool(done.get("failed")), (module, params, done, result)
        self.judge(done)
        return done

    def judge(self, result: Any) -> None:
        """Check that failures are in sentences with hints."""
        for each in (result, *result.get("projects", ()), *result.get("units", ())):
            if each.get("failed") or each.get("action") == "failed":
                assert each["msg"].endswith(".") and "Error" not in each["msg"], each
                assert each.get("hints"), each
                assert each.get("exit_code", 1) in EXIT_CODES, each

    def problems(self) -> list[str]:
        """Return what does not hold."""
        found = [said for name in sorted(self.touched) for said in mirror_problems(self.backup / name)]
        self.touched.clear()
        return [*found, *problems(self.world), *leftovers(self.world, self.backup), *self._lost()]

    def _lost(self) -> list[str]:
        text = self.world.registry.read_text()
        lost = [f"the registry has lost {comment!r}" for comment in self.comments if comment not in text]
        lost += [f"{path} was changed" for path, mine in self.files.items() if not path.exists() or path.read_text() != mine]
        for name, mine in self.repositories.items():
            lost += [f"{name}: {path} was lost or changed" for path in differing(mine, tree(self.world.repos / name))]
        instances = self.world.instances()
        for name in self.strangers:
            if name not in instances:
                lost.append(f"the instance {name} is gone, which repoman did not make")
        for name, keys in self.keys.items():
            config = instances[name]["config"] if name in instances else {}
            lost += [f"{name} has lost the key {key}" for key, value in keys.items() if config.get(key) != value]
        return lost + self._lost_profiles()

    def _lost_profiles(self) -> list[str]:
        saved = "".join(path.read_text() for path in (self.world.home / ".local/state/repoman/replaced").glob("*"))
        now = self.world.profiles()
        return [
            f"the profile {name} was replaced and not saved"
            for name, mark in self.profiles.items()
            if mark not in now.get(name, {}).get("description", "") and mark not in saved
        ]

    def forget(self, name: str) -> None:
        """A repository is not there any more."""
        self.repositories.pop(name, None)
        self.damaged.pop(name, None)

    def saw(self, name: str) -> None:
        """Remember what a repository has now."""
        self.repositories[name] = tree(self.world.repos / name)

    def entries(self) -> list[str]:
        """Return the projects of the registry."""
        return [each["name"] for each in tomllib.loads(self.world.registry.read_text()).get("project", [])]

    def own(self) -> dict[str, Any]:
        """Return the instances that repoman made, by name."""
        return {name: each for name, each in self.world.instances().items() if "user.repoman.project" in each["config"]}

    def incus(self, *argv: str) -> bool:
        """Do something by hand; return whether Incus did it."""
        try:
            self.world.incus(*argv)
        except AssertionError:
            return False
        return True

    def versions(self, name: str) -> list[str]:
        """Return the times of a unit's versions in the history."""
        return [each["time"] for each in self.world.module("sync", list_versions=name).get("kept", [])]

    def sync(self, **params: Any) -> Any:
        """Run sync in the four ways, and remember the versions that it makes."""
        before = {name: set(self.history.get(name, {})) for name in KINDS}
        result = self.call("sync", **params)
        self.touched |= {unit["name"] for unit in result.get("units", []) if unit["action"] != "unchanged" and unit["name"] in KINDS}
        self.note(f"{[(unit['name'], unit['action'], unit.get('msg')) for unit in result.get('units', [])] or result}")
        for unit in result.get("units", []):
            name = unit["name"]
            if name not in KINDS:
                continue
            old = self.synced.get(name)
            new = (
                set(self.versions(name)) - before[name]
                if unit.get("kept_bytes") or unit["action"] not in {"unchanged", "failed"}
                else set()
            )
            assert len(new) <= 1, (name, new)
            if old is not None:
                self.history.setdefault(name, {}).update(dict.fromkeys(new, old))
            if unit["action"] == "retired":
                self.synced.pop(name, None)
            elif name not in self.repositories and name not in self.synced:
                assert unit["action"] in {"unchanged", "failed"}, unit  # there is neither a repository nor a mirror
            elif unit["action"] in {"synced", "unchanged"} and name not in self.damaged:
                assert name in self.repositories, unit
                self.synced[name] = self.repositories[name]
                wrong = differing(self.synced[name], tree(self.backup / name))
                assert not wrong, (unit, wrong)
        return result


def essence(result: Any) -> Any:
    """Return what a prediction and the run have in common."""
    if result.get("failed") and "projects" not in result and "units" not in result:
        return TIME.sub("TIME", result["msg"])
    if "units" in result:
        return sorted((unit["name"], unit["action"], TIME.sub("TIME", unit.get("msg", ""))) for unit in result["units"])
    if "restored" in result:
        return TIME.sub("TIME", repr(without_times(result["restored"])))
    return TIME.sub("TIME", repr(without_times(result.get("projects", result.get("profiles", result.get("changed"))))))


def differing(one: Tree, other: Tree) -> list[str]:
    """Return the paths that differ."""
    return sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))
