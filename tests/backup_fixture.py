# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A home with repositories and a backup of them, for the tests of sync and restore."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import quickhg
import tomlkit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror import diff_unit, mirror_units, shrinkage
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore import run as restore
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync import run as sync
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store as registry
from ansible_collections.homelab.repoman.plugins.modules import repoman_restore, repoman_sync

IMPORTED = (tomlkit, diff_unit, mirror_units, shrinkage)
"""A run imports these in a child process, if it needs them. The tests have thousands of runs: imported here once, forks have them."""

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REGISTRY = """\
[repoman]
schema = 3
[defaults]
repos_root = "{root}/repos"
backup_root = "{root}/backup"
logdir = "{root}/log"
"""
GIT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "Me",
    "GIT_AUTHOR_EMAIL": "me@example.org",
    "GIT_COMMITTER_NAME": "Me",
    "GIT_COMMITTER_EMAIL": "me@example.org",
}


class BackupHome:
    """A home below ``root``: ``repos``, ``backup``, ``log``, and a registry.

    :param user: whom root serves; None for the user of this process.
    """

    def __init__(self, root: Path, user: str | None = None) -> None:
        self.root, self.user = root, user
        self.repos, self.backup, self.log = root / "repos", root / "backup", root / "log"
        self.registry = root / "repoman.toml"
        self.repos.mkdir()
        self.backup.mkdir()
        self.registry.write_text(REGISTRY.format(root=root))

    def sync(self, check: bool = False, **params: Any) -> dict[str, Any]:
        """Run the logic of the module; the world's backup is on the same file system."""
        return sync.run(self.params(**params), check)

    def params(self, **given: Any) -> dict[str, Any]:
        """Return the parameters of the module."""
        return self._params(repoman_sync.SPEC, given)

    def init(self) -> dict[str, Any]:
        """Make the first backup."""
        return self.sync(init=True, allow_local=True)

    def restore(self, name: str | None = None, check: bool = False, **params: Any) -> dict[str, Any]:
        """Run the logic of the module."""
        return restore.run(self._params(repoman_restore.SPEC, params | {"name": name}), check)

    def restore_settings(self, check: bool = False, **params: Any) -> dict[str, Any]:
        """Run the logic of the module with ``settings``."""
        return restore.run(self._params(repoman_restore.SPEC, params | {"settings": True}), check)

    def _params(self, spec: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        plain = {key: option.get("default") for key, option in spec["argument_spec"].items()}
        return plain | {"registry_path": str(self.registry), "user": self.user, "probe_timeout": 60.0} | given

    def project(self, name: str, **more: str) -> None:
        """Register a project."""
        text = "".join(f"{key} = {value}\n" for key, value in more.items())
        self.registry.write_text(f'{self.registry.read_text()}\n[[project]]\nname = "{name}"\n{text}')

    def last_sync(self, name: str) -> str:
        """Return what the registry has of a project."""
        return registry.load(str(self.registry)).projects[name].last_sync

    def write(self, path: str, text: str = "text\n") -> Path:
        """Write a file below ``repos``."""
        file = self.repos / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def git(self, name: str) -> Path:
        """Make a git repository with a commit."""
        self.write(f"{name}/README", f"{name}\n")
        git(self.repos / name, "init", "-q", "-b", "main")
        git(self.repos / name, "add", ".")
        git(self.repos / name, "commit", "-q", "-m", "first")
        return self.repos / name

    def hg(self, name: str) -> Path:
        """Make a Mercurial repository with a commit."""
        self.write(f"{name}/README", f"{name}\n")
        for command in (("init",), ("add", "README"), ("commit", "-u", "Me", "-m", "first")):
            subprocess.run(
                ["hg", *command], cwd=self.repos / name, check=True, capture_output=True, env={**os.environ, **quickhg.environment()}
            )
        return self.repos / name

    def kept(self) -> list[Path]:
        """Return the files of units that runs kept, oldest run first; those of the settings have tests of their own."""
        kept = self.backup / ".repoman/kept"
        return sorted(path for path in kept.rglob("*") if not path.is_dir() and "(settings)" not in path.parts)

    @property
    def state(self) -> Path:
        """The local state directory of the backup."""
        (state,) = (self.log / "sync").iterdir()
        return state

    def ours(self, name: str) -> Path:
        """Return a path in the backup's directory of repoman's own."""
        return self.backup / ".repoman" / name

    def differences(self, *more: str) -> list[str]:
        """Ask rsync how repositories and mirrors differ."""
        return differences(self.repos, self.backup, "--exclude=/.repoman", *more)


def actions(result: dict[str, Any]) -> dict[str, str]:
    """Return what came of each unit."""
    return {line["name"]: line["action"] for line in result["units"]}


def git(where: Path, *command: str) -> str:
    """Run git without anybody's configuration."""
    done = subprocess.run(["git", *command], cwd=where, check=True, capture_output=True, env={**os.environ, **GIT})
    return done.stdout.decode()


def differences(one: Path, other: Path, *more: str) -> list[str]:
    """Ask rsync how two trees differ, contents and all; times of directories that hold more than these trees do not count."""
    command = ["rsync", "-aHnci", "--delete", *more, f"{one}/", f"{other}/"]
    lines = subprocess.run(command, check=True, capture_output=True).stdout.decode(errors="backslashreplace").splitlines()
    return [line for line in lines if line != ".d..t...... ./"]


def seen(root: Path) -> dict[str, tuple[object, ...]]:
    """Return everything that can be seen of a tree."""
    tree = {}
    for path in [root, *root.rglob("*")]:
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        tree[str(path.relative_to(root))] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino, content)
    return tree


def killed_after(seconds: float, run: Callable[[], object]) -> None:
    """Call ``run`` in a process that is killed after so long; it, and what it forked, has ended then."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            run()
        os._exit(0)
    os.close(writing)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.read(reading, 1)  # the end of the pipe: nobody holds it any more
    os.close(reading)


@contextmanager
def tmpfs(path: Path, options: str = "size=20m") -> Iterator[None]:
    """Mount a file system of its own; skip, and say so, where that is not allowed."""
    path.mkdir(exist_ok=True)
    with _mounted(path, "-t", "tmpfs", "-o", f"mode=755,{options}", "repoman-test"):
        yield


@contextmanager
def bind_mount(source: Path, path: Path) -> Iterator[None]:
    """Show a file or directory at a path that exists; skip the test if that is not allowed."""
    with _mounted(path, "--bind", str(source)):
        yield


@contextmanager
def _mounted(path: Path, *arguments: str) -> Iterator[None]:
    done = subprocess.run(["mount", *arguments, str(path)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"needs to mount a file system: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def without_times(value: Any) -> str:
    """Return a result as text, with the same word for all times in names: a prediction is made earlier than the run."""
    return re.sub(r"\d{8}T\d{6}Z", "TIME", repr(value))
