# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of test_any_order.py: a person's work, and the commands of the product."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar

from any_order import KINDS, Model, differing, tree

FILES = ["a", "b", "sub/c", "ä b", "-n"]
INSTANCES = ["one", "two", "three", "four"]
TEMPLATES = ["mine", "dotfiles", "llm-share"]


class Step:
    """A step that concerns one project.

    :param number: chooses among the ways in which a step can be done.
    """

    TIMES: ClassVar[dict[str, int]]
    """Weights of the steps."""

    def __init__(self, model: Model, name: str, number: int) -> None:
        self.model, self.world, self.name, self.number = model, model.world, name, number
        self.path = self.world.repos / name

    def take(self, step: str) -> None:
        """Take a step by its name."""
        getattr(self, step)()

    def one_of(self, values: list[Any]) -> Any:
        """Choose by the number."""
        return values[self.number % len(values)]

    @property
    def several(self) -> list[str]:
        """One to three projects, in any order."""
        names = [name for at, name in enumerate(KINDS) if self.number >> at & 1] or [self.name]
        return names[::-1] if self.number >> 3 & 1 else names


class Repositories(Step):
    """What happens in repositories."""

    TIMES: ClassVar = {"make": 3, "write": 4, "delete_file": 1, "link": 1, "commit": 3, "lose": 1, "rename": 1}

    def make(self) -> None:
        """Make the repository, if it is not there."""
        if self.path.exists():
            return
        if KINDS[self.name] == "git":
            self.world.git_repository(self.name)
        elif KINDS[self.name] == "hg":
            self.world.mkdir(self.path)
            assert self.world.run("hg", "init", cwd=self.path).code == 0
        self.world.write(self.path / "README", f"{self.name} {self.model.next()}\n")
        self.model.saw(self.name)

    def write(self) -> None:
        """Write a file, new or not."""
        if self.path.exists():
            self.world.write(self.path / self.one_of(FILES), f"{self.model.next()}\n" * (1 + self.number % 3))
            self.model.saw(self.name)

    def link(self) -> None:
        """Make a link, or another one, or a file in its place."""
        path = self.path / "link"
        if self.path.exists():
            path.unlink(missing_ok=True)
            path.symlink_to(self.one_of(FILES)) if self.number % 2 else self.world.write(path, "no link\n")
            self.model.saw(self.name)

    def delete_file(self) -> None:
        """Delete a file."""
        path = self.path / self.one_of(FILES)
        if path.exists():
            path.unlink()
            self.model.saw(self.name)

    def commit(self) -> None:
        """Commit everything."""
        if not self.path.exists() or KINDS[self.name] == "plain" or self.name in self.model.damaged:
            return
        message = f"commit {self.model.next()}"
        self.world.write(self.path / "README", message)
        script = {
            "git": 'git add -A && git -c user.name=Me -c user.email=me@example.org commit -q -m "$0"',
            "hg": 'hg -q --config ui.username=Me addremove && hg --config ui.username=Me -q commit -m "$0"',
        }[KINDS[self.name]]
        done = self.world.run("sh", "-c", script, message, cwd=self.path)
        assert done.code == 0, done
        self.model.saw(self.name)

    def lose(self) -> None:
        """Delete the repository."""
        if self.path.exists() and len(self.model.repositories) == len(KINDS):
            shutil.rmtree(self.path)
            self.model.forget(self.name)

    def rename(self) -> None:
        """Rename the repository, and later back."""
        other = self.world.repos / f"{self.name}-renamed"
        if other.exists() and not self.path.exists():
            other.rename(self.path)
            self.model.saw(self.name)
        elif self.path.exists() and not other.exists():
            self.path.rename(other)
            self.model.forget(self.name)


class Containers(Step):
    """The verbs of containers."""

    TIMES: ClassVar = {"new": 4, "start": 1, "stop": 2, "restart": 1, "remove": 2, "shell": 1, "look": 2, "typed": 1}

    def drive(self, state: str, **more: Any) -> None:
        """Run the module in the four ways."""
        result = self.model.call("project", projects=[{"name": name} for name in self.several], state=state, **more)
        for each in result.get("projects", ()):
            self.model.note(f"{each['name']}: {each['action']} {each.get('msg', each.get('differences', ''))}")
            if each["action"] == "removed":
                self.model.keys.pop(each["name"], None)
            elif each["action"] != "failed" and state in {"started", "stopped"}:
                instance = self.world.instances()[each["name"]]
                assert (instance["status"] == "Running") == (state == "started"), instance["status"]

    def new(self) -> None:
        """Create or update containers."""
        self.drive("started")

    def start(self) -> None:
        """Start containers that exist."""
        self.drive("started", create=False)

    def stop(self) -> None:
        """Stop containers."""
        self.drive("stopped", create=False)

    def restart(self) -> None:
        """Restart a container, which always changes something."""
        self.model.judge(self.world.module("project", projects=[{"name": self.name}], state="restarted", create=False))

    def remove(self) -> None:
        """Remove projects."""
        self.drive("absent")

    def shell(self) -> None:
        """Run a command in a container."""
        done = self.world.run("repoman", "shell", self.name, "--", "printf", "%s", "ä b\t*")
        assert done.code in {0, 3, 4}, done
        assert done.code or done.out == "ä b\t*", done

    def look(self) -> None:
        """Show everything, which changes nothing."""
        before = self.world.instances()
        for status in (False, True):
            result = self.world.module("project_info", status=status, vcs=True)
            assert not result.get("failed"), result
        result = self.world.module("profile_info")
        assert not result.get("failed"), result
        assert {name: each["config"] for name, each in self.world.instances().items()} == {
            name: each["config"] for name, each in before.items()
        }

    def typed(self) -> None:
        """Type a verb that shows something."""
        verb = self.one_of([["list"], ["status"], ["status", "--all"], ["profile", "list"], ["list", "--git", "--all-users"], ["doctor"]])
        done = self.world.run("repoman", *verb)
        assert done.code in {0, 1} and (not done.err or done.err.startswith(("warning: ", "repoman: ", "hint: "))), done


class ByHand(Step):
    """Changes of instances by hand, with the client of Incus."""

    TIMES: ClassVar = {"rename": 1, "copy": 1, "delete": 1, "make": 1, "set_key": 2, "change": 4, "pause": 1}

    @property
    def there(self) -> bool:
        """True if repoman created the instance."""
        return self.name in self.model.own()

    def rename(self) -> None:
        """Rename an instance."""
        instances, other = self.world.instances(), self.one_of(INSTANCES)
        if self.name in instances and other not in instances:
            if instances[self.name]["status"] != "Stopped":
                self.world.incus("stop", "--force", "--project=repoman", self.name)
            self.world.incus("rename", "--project=repoman", self.name, other)
            if self.name in self.model.keys:
                self.model.keys[other] = self.model.keys.pop(self.name)
            if self.name in self.model.strangers:
                self.model.strangers = self.model.strangers - {self.name} | {other}

    def copy(self) -> None:
        """Copy an instance, which Incus rejects if the directory of a device is missing."""
        instances, other = self.world.instances(), self.one_of(INSTANCES)
        if self.name in instances and other not in instances:
            self.model.incus("copy", "--project=repoman", self.name, other)

    def delete(self) -> None:
        """Delete an instance."""
        name = self.one_of(INSTANCES)
        if name in self.world.instances():
            self.world.incus("delete", "--force", "--project=repoman", name)
        self.model.keys.pop(name, None)
        self.model.strangers.discard(name)

    def make(self) -> None:
        """Make an instance without repoman."""
        name = self.one_of(INSTANCES)
        if name not in self.world.instances():
            self.world.incus("init", "--project=repoman", "busybox", name)
            self.model.strangers.add(name)

    def pause(self) -> None:
        """Freeze an instance."""
        if self.world.instances().get(self.name, {}).get("status") == "Running":
            self.world.incus("pause", "--project=repoman", self.name)

    def set_key(self) -> None:
        """Set a key that repoman does not set."""
        if self.there:
            value = str(self.model.next())
            self.world.incus("config", "set", "--project=repoman", self.name, f"user.mine={value}")
            self.model.keys.setdefault(self.name, {})["user.mine"] = value

    def change(self) -> None:
        """Change or remove what repoman set, or add something."""
        if not self.there:
            return
        where = ("--project=repoman", self.name)
        self.model.incus(
            *self.one_of(
                [
                    ("config", "device", "add", *where, "extra", "disk", f"source={self.world.home}", "path=/mnt/extra"),
                    ("config", "device", "remove", *where, "repo"),
                    ("profile", "assign", *where, "default"),
                    ("profile", "assign", *where, "default,mine"),
                    ("config", "unset", *where, "user.repoman.applied"),
                    ("config", "unset", *where, "user.repoman.image"),
                    ("config", "set", *where, "environment.MINE=ed"),
                    ("config", "set", *where, "user.repoman.state=creating"),
                    ("config", "device", "set", *where, "repo", "readonly=true"),
                    ("config", "device", "remove", *where, "data"),
                ]
            )
        )


class Profiles(Step):
    """Templates, and profiles in Incus."""

    TIMES: ClassVar = {
        "write": 2,
        "delete_template": 1,
        "copy": 1,
        "install": 4,
        "remove": 1,
        "all": 1,
        "change": 2,
        "delete": 1,
        "break_it": 1,
    }

    def __init__(self, model: Model, name: str, number: int) -> None:
        super().__init__(model, name, number)
        self.profile = self.one_of(TEMPLATES)
        self.template = self.world.user_dir / f"{self.profile}.yml"

    def write(self) -> None:
        """Write a template of the user's."""
        text = f'name: {self.profile}\ndescription: mine {self.model.next()}\nconfig:\n  environment.MINE: "1"\ndevices: {{}}\n'
        self.model.files[self.world.template(self.profile, text)] = text

    def break_it(self) -> None:
        """Write something that is not a template."""
        text = self.number % 2 * "description: [\n" or f"name: {self.profile}\nconfig: 3\n"
        self.model.files[self.world.template(self.profile, text)] = text

    def delete_template(self) -> None:
        """Delete a template of the user's."""
        self.template.unlink(missing_ok=True)
        self.model.files.pop(self.template, None)

    def copy(self) -> None:
        """Copy a template of the vendor's."""
        if not self.model.call("profile", names=[self.profile], state="copied").get("failed"):
            self.model.files[self.template] = self.template.read_text()

    def install(self) -> None:
        """Install a template."""
        self.model.call("profile", names=[self.profile])

    def all(self) -> None:
        """Install all templates."""
        self.model.call("profile", all=True)

    def remove(self) -> None:
        """Remove a profile from Incus."""
        if not self.model.call("profile", names=[self.profile], state="absent").get("failed"):
            self.model.profiles.pop(self.profile, None)

    def change(self) -> None:
        """Make or change a profile in Incus."""
        mark = f"by hand {self.model.next()}."
        body = {"description": mark, "config": {"user.by": "hand"}, "devices": {}}
        if self.profile in self.world.profiles():
            self.world.api("PUT", f"/1.0/profiles/{self.profile}?project=default", body)
        else:
            self.world.api("POST", "/1.0/profiles?project=default", {"name": self.profile} | body)
        self.model.profiles[self.profile] = mark

    def delete(self) -> None:
        """Delete a profile in Incus."""
        if self.model.incus("profile", "delete", "--project=default", self.profile):
            self.model.profiles.pop(self.profile, None)


class Settings(Step):
    """The registry, overrides and setup."""

    TIMES: ClassVar = {"comment": 1, "entry": 1, "drop_entry": 1, "default_profiles": 1, "override": 4, "setup": 1}

    @property
    def text(self) -> str:
        """The registry."""
        return self.world.registry.read_text()

    def comment(self) -> None:
        """Write a comment somewhere between the tables."""
        comment = f"# mine {self.model.next()}."
        lines = self.text.splitlines()
        at = self.one_of([at for at, line in enumerate(lines) if line.startswith("[") or not line] or [0])
        self.world.write(self.world.registry, "\n".join([*lines[:at], comment, *lines[at:]]) + "\n")
        self.model.comments.add(comment)

    def entry(self) -> None:
        """Write an entry of a project."""
        if self.name not in self.model.entries():
            self.world.write(self.world.registry, f'{self.text}\n[[project]]\nname = "{self.name}"\nbackup = true\nnote = "mine"\n')

    def drop_entry(self) -> None:
        """Delete an entry of a project."""
        head, *entries = self.text.split("[[project]]")
        kept = [each for each in entries if f'name = "{self.name}"' not in each]
        self.world.write(self.world.registry, "[[project]]".join([head, *kept]))
        self.model.comments = {comment for comment in self.model.comments if comment in self.text}

    def default_profiles(self) -> None:
        """Add a default profile, or take it away."""
        one, other = 'profiles = ["default"]', 'profiles = ["default", "mine"]'
        self.world.write(self.world.registry, self.text.replace(one, other) if self.number % 2 else self.text.replace(other, one))

    def override(self) -> None:
        """Write or delete an override."""
        path = self.world.overrides / f"{self.name}.toml"
        disk = f'type = "disk"\nsource = "{self.world.registry.parent}"\npath = "/mnt/data"\nreadonly = "true"\n'
        text = self.one_of(
            [
                f'# mine\n[config]\n"environment.MINE" = "{self.model.next()}"\n',
                f"[devices.data]\n{disk}",
                'profiles = ["default", "mine"]\n',
                "backup = false\n",
                'image = "other"\n',
                "config = [\n",
                'sudo = true\nprotect = ["hooks", "config"]\n',
                "",
                "",
            ]
        )
        if text:
            self.model.files[self.world.write(path, text)] = text
        else:
            path.unlink(missing_ok=True)
            self.model.files.pop(path, None)

    def setup(self) -> None:
        """Set up again."""
        self.model.call("registry")


class Backup(Step):
    """The verbs of the backup, and damage."""

    TIMES: ClassVar = {
        "version": 3,  # the first one is that of the order with which hypothesis begins; it is cheap
        "sync": 4,
        "sync_one": 2,
        "verify": 1,
        "restore": 2,
        "restore_paths": 1,
        "damage": 1,
        "damage_mirror": 1,
        "heal": 2,
        "all": 1,
    }

    def sync(self) -> None:
        """Back up everything."""
        self.model.sync(init=True, allow_local=True, full=self.number % 4 == 0)

    def sync_one(self) -> None:
        """Back up a project, and allow that it is gone."""
        self.model.sync(names=[self.name], allow_shrink=True)

    def verify(self) -> None:
        """Verify everything; changes nothing."""
        result = self.world.module("sync", verify=True)
        self.model.judge(result)

    def restore(self) -> None:
        """Restore a repository in place."""
        before = self.model.repositories.get(self.name)
        result = self.model.call("restore", name=self.name, overwrite=bool(self.number % 2))
        self.model.note(str(result)[:2000])
        if result.get("failed"):
            assert before is not None or self.name not in self.model.synced, result
            return
        now = tree(self.path)
        assert not differing(now, self.model.synced[self.name]), differing(now, self.model.synced[self.name])
        if before is not None and differing(before, now):
            saved = tree(Path(result["restored"]["saved"]))
            assert not differing(before, saved), differing(before, saved)
        self.model.damaged.pop(self.name, None)
        self.model.saw(self.name)

    def restore_paths(self) -> None:
        """Restore some paths of a repository in place."""
        before = self.model.repositories.get(self.name)
        file = self.one_of(FILES)
        result = self.model.call("restore", name=self.name, overwrite=bool(self.number % 2), paths=[file])
        self.model.note(str(result)[:2000])
        if result.get("failed") or before is None:
            return
        now = tree(self.path)
        wrong = [path for path in differing(before, now) if path not in {file, "sub"} and not path.startswith(f"{file}.before-")]
        assert not wrong, wrong
        assert now[file] == self.model.synced[self.name][file]
        self.model.saw(self.name)

    def version(self) -> None:
        """Restore a version from the history into another directory."""
        times = self.model.versions(self.name)
        assert set(times) == set(self.model.history.get(self.name, {})), (self.name, times)
        if times:
            time = self.one_of(times)
            to = self.world.home / "elsewhere" / str(self.model.next())
            result = self.world.module("restore", **{"name": self.name, "from": time, "to": str(to)})
            assert not result.get("failed"), result
            wrong = differing(tree(to), self.model.history[self.name][time])
            assert not wrong, (time, wrong)

    def all(self) -> None:
        """Restore everything that is missing."""
        result = self.model.call("restore", all=True)
        for unit in result.get("units", ()):
            if unit["action"] in {"restored", "same"} and unit["name"] in KINDS:
                now = tree(self.world.repos / unit["name"])
                assert not differing(now, self.model.synced[unit["name"]]), unit
                self.model.saw(unit["name"])

    def _object(self, root: Path) -> Path | None:
        """Return a file of a repository's data that can be proven wrong."""
        if KINDS[self.name] == "plain" or not root.exists():
            return None
        found = root.glob(".git/objects/??/*" if KINDS[self.name] == "git" else ".hg/store/**/*.i")
        files = sorted(path for path in found if path.stat().st_size > 20)
        return self.one_of(files) if files else None

    @staticmethod
    def _flip(path: Path) -> bytes:
        """Flip a byte in a file, and return what it then has; in a revlog a byte of the last revision: the middle may be padding."""
        data = bytearray(path.read_bytes())
        data[-1 if path.suffix == ".i" else len(data) // 2] ^= 0x10
        with path.open("r+b") as file:
            file.write(data)
        return bytes(data)

    def damage(self) -> None:
        """Flip a byte in the repository's data."""
        path = self._object(self.path)
        if path is not None and self.name not in self.model.damaged and self.name in self.model.synced:
            self.model.damaged[self.name] = (path, path.read_bytes())
            self._flip(path)
            self.model.saw(self.name)

    def damage_mirror(self) -> None:
        """Flip a byte in the mirror's data; a full run repairs it."""
        path = self._object(self.model.backup / self.name)
        if path is None or self.name in self.model.damaged or not {self.name} <= self.model.repositories.keys() & self.model.synced.keys():
            return
        damaged = self._flip(path)
        result = self.world.module("sync", verify=True)
        self.model.judge(result)
        self.model.note(str(result)[:2000])
        assert result.get("failed"), result
        (self.world.overrides / f"{self.name}.toml").unlink(missing_ok=True)  # it may exclude the repository from backups, or be malformed
        self.model.files.pop(self.world.overrides / f"{self.name}.toml", None)
        result = self.world.module("sync", full=True, names=[self.name], allow_shrink=True)
        self.model.judge(result)
        self.model.touched.add(self.name)
        kept, old = self.model.history.setdefault(self.name, {}), self.model.synced[self.name]
        if path.name == "00changelog.i":  # the history then has the damaged file
            old = old | {".hg": ("commits", (damaged.hex(),))}
        kept.update({time: old for time in self.model.versions(self.name) if time not in kept})
        self.model.synced[self.name] = self.model.repositories[self.name]

    def heal(self) -> None:
        """Restore damaged objects from the mirror, or by hand if the mirror never had them."""
        if self.name not in self.model.damaged:
            return
        result = self.world.module("restore", name=self.name, objects=True)
        self.model.note(str(result)[:2000])
        self.model.judge(result)
        path, data = self.model.damaged[self.name]
        if result.get("failed"):
            with path.open("r+b") as file:
                file.write(data)
        assert path.read_bytes() == data
        self.model.damaged.pop(self.name)
        self.model.saw(self.name)
