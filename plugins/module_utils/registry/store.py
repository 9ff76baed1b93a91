# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The registry: ``~/.config/repoman/repoman.toml`` and the overrides in ``repos.d/`` beside it.

People edit these files. A write changes only what it must, so that comments, order and unknown keys stay,
and is locked, atomic and synced.
"""

from __future__ import annotations

import copy
import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import MissingError, NotKnownError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.names import check_file_name
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.registry import toml_editor as tomltext

SCHEMA = 3
LOCK_SECONDS = 30.0
TEMPORARY = ".repoman-tmp"
LOCK_POLL_SECONDS = 0.02
PROTECTABLE = ("hooks", "config")
OUTPUTS = ("quiet", "verbose")
HOST = re.compile(r"[A-Za-z0-9._:%-]+")

DEFAULT_TEXT = """\
# repoman's registry. Edit it freely: comments, order and keys of your own stay as they are.
# It belongs to this host; lan_ip is found again by 'repoman setup'.

[repoman]
schema = 3
output = "quiet"

[host]
lan_ip = ""               # what ${HOST_LAN_IP} means in profile templates

[defaults]
repos_root = "~/repos"
backup_root = "/nfs/repos"
logdir = "~/.local/state/repoman"
incus_project = "repoman"
default_image = "images:ubuntu/26.04/cloud"
profiles = ["default"]
"""

Data = dict[str, Any]


@dataclass(frozen=True)
class Defaults:
    """What a project has unless it says otherwise. Paths are as stored: ``~`` expands when used."""

    repos_root: str = "~/repos"
    backup_root: str = "/nfs/repos"
    logdir: str = "~/.local/state/repoman"
    incus_project: str = "repoman"
    default_image: str = "images:ubuntu/26.04/cloud"
    profiles: tuple[str, ...] = ("default",)
    exclude: tuple[str, ...] = ()
    exclude_caches: bool = False
    follow_mounts: bool = False


@dataclass(frozen=True)
class Project:
    """An entry of the registry.

    :param name: name of the project and of its instance.
    :param repo: directory in ``repos_root``.
    :param image: empty for the default.
    :param profiles: ``None`` for the default.
    :param created: UTC time, ISO 8601.
    :param last_sync: UTC time of the last successful backup, ISO 8601; empty if there was none.
    :param backup: whether ``sync`` takes it.
    :param exclude: patterns of what ``sync`` leaves out, added to the defaults'; ``None`` if it names none.
    :param exclude_caches: whether ``sync`` leaves out what is in directories with a cache tag; ``None`` for the default.
    :param follow_mounts: whether ``sync`` takes what is mounted in the repository; ``None`` for the default.
    """

    name: str
    repo: str
    image: str = ""
    profiles: tuple[str, ...] | None = None
    created: str = ""
    last_sync: str = ""
    backup: bool = True
    exclude: tuple[str, ...] | None = None
    exclude_caches: bool | None = None
    follow_mounts: bool | None = None


@dataclass(frozen=True)
class Registry:
    """The registry as read.

    :param path: of the file.
    :param text: of the file.
    :param schema: on disk; what is in memory is always of schema 3.
    :param output: ``quiet`` or ``verbose``.
    :param lan_ip: address of the host for its containers; empty if not known.
    :param defaults: of the projects.
    :param projects: by name, in the file's order.
    """

    path: str
    text: str
    schema: int
    output: str
    lan_ip: str
    defaults: Defaults
    projects: dict[str, Project]

    def referencing(self, profile: str) -> list[str]:
        """Return who names ``profile``: the projects, and ``[defaults]``."""
        named = [name for name, project in self.projects.items() if profile in (project.profiles or ())]
        return named + (["[defaults]"] if profile in self.defaults.profiles else [])


@dataclass(frozen=True)
class Wanted:
    """What some source (an entry, an override, the command line) says of a project; ``None`` where it is silent."""

    repo: str | None = None
    image: str | None = None
    profiles: tuple[str, ...] | None = None
    backup: bool | None = None
    protect: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    exclude_caches: bool | None = None
    follow_mounts: bool | None = None
    config: dict[str, str] = field(default_factory=dict)
    devices: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Effective:
    """The configuration that holds for a project: defaults, its entry, its override, the command line, later over earlier.

    :param repo: as stored: a directory in ``repos_root``, or an absolute path.
    :param exclude: the project's own patterns, relative to its repository: they come after those of the defaults.
    """

    name: str
    repo: str
    image: str
    profiles: tuple[str, ...]
    backup: bool
    protect: tuple[str, ...]
    exclude: tuple[str, ...]
    exclude_caches: bool
    follow_mounts: bool
    config: dict[str, str]
    devices: dict[str, dict[str, str]]


def default_path(home: str) -> str:
    """Return where the registry of the user with that home is."""
    return str(Path(home, ".config", "repoman", "repoman.toml"))


def load(path: str) -> Registry:
    """Read the registry.

    :raises NotKnownError: there is none, it cannot be read, is malformed, or of a newer schema: file, line and reason are named.
    """
    text = _read(path)
    if text is None:
        raise MissingError(f"there is no registry at {path}.", "repoman setup")
    return parse(text, path)


def foreseen(path: str, params: dict[str, Any], me: Account) -> Registry:
    """Return the registry as an earlier task of check mode would have made it: as ``registry_text`` where that is of this path.

    :raises NotKnownError: see :func:`load`.
    """
    text, its_path = params["registry_text"], params["registry_text_path"]
    return parse(text, path) if text and me.expand(its_path or path) == path else load(path)


def load_or_none(path: str) -> Registry | None:
    """Read the registry, or return ``None`` where there is none."""
    text = _read(path)
    return None if text is None else parse(text, path)


def parse(text: str, path: str) -> Registry:
    """Return the registry that ``text`` is, of any schema we know; ``path`` is for the errors.

    :raises NotKnownError: see :func:`load`.
    """
    root = tomltext.read(text, path)
    schema = _schema(root.table("repoman"))
    root.data = migrate(root.data)
    host, defaults = root.table("host"), root.table("defaults")
    standard = Defaults()
    return Registry(
        path=path,
        text=text,
        schema=schema,
        output=root.table("repoman").choice("output", OUTPUTS),
        lan_ip=host.string("lan_ip", ""),
        defaults=Defaults(
            repos_root=defaults.directory("repos_root", standard.repos_root),
            backup_root=defaults.directory("backup_root", standard.backup_root),
            logdir=defaults.directory("logdir", standard.logdir),
            incus_project=defaults.string("incus_project", standard.incus_project),
            default_image=defaults.string("default_image", standard.default_image),
            profiles=defaults.strings("profiles", standard.profiles),
            exclude=defaults.strings("exclude", standard.exclude),
            exclude_caches=defaults.boolean("exclude_caches", standard.exclude_caches),
            follow_mounts=defaults.boolean("follow_mounts", standard.follow_mounts),
        ),
        projects=_projects(root),
    )


def migrate(data: Data) -> Data:
    """Return ``data``, of schema 1, 2 or 3, as schema 3.

    Schema 2 kept the host's address inside ``[defaults.llm].ollama_url``; it becomes ``[host].lan_ip``,
    and the table goes. An address that cannot be found there is left empty: ``repoman setup`` finds it.
    """
    new = copy.deepcopy(data)
    if new["repoman"]["schema"] == SCHEMA:
        return new
    new["repoman"]["schema"] = SCHEMA
    defaults, host = new.get("defaults"), new.setdefault("host", {})
    llm = defaults.pop("llm", None) if isinstance(defaults, dict) else None
    if defaults == {}:
        del new["defaults"]
    if isinstance(host, dict):
        host.setdefault("lan_ip", _host_of(llm.get("ollama_url")) if isinstance(llm, dict) else "")
    return new


def change(text: str, path: str, edit: Callable[[Data], None]) -> str:
    """Return ``text`` with ``edit`` done to its data (of schema 3) and everything else as it was.

    :param edit: changes the data in place.
    :raises NotKnownError: ``text`` is no registry. :class:`RepomanError`: it cannot be rewritten faithfully.
    """
    parse(text, path)
    old = tomltext.read(text, path).data
    wanted = migrate(old)
    edit(wanted)
    if tomltext.same(old, wanted):
        return text
    try:
        return tomltext.rewrite(text, wanted)
    except ValueError as error:
        raise RepomanError(
            f"cannot rewrite {path} without harm to it: {error}; nothing was changed.", "write each table once, with its [header]"
        ) from error


def update(path: str, edit: Callable[[Data], None], owner: Account) -> None:
    """Change the registry: lock it, read it again, ``edit``, write it atomically. Makes it where there is none.

    The first write after a migration keeps the old file as ``repoman.toml.schemaN.bak``.

    :param edit: changes the data in place; see :func:`change`.
    :param owner: whose file it is, should this process be root.
    """
    real = os.path.realpath(path)
    make_directory(str(Path(real).parent), owner)
    with locked(f"{real}.lock", owner):
        text = _read(real)
        before = DEFAULT_TEXT if text is None else text
        after = change(before, path, edit)
        if text is not None:
            schema = parse(text, path).schema
            backup = f"{real}.schema{schema}.bak"
            if schema < SCHEMA and not Path(backup).exists():
                write_atomic(backup, text, owner)
        if after != text:
            write_atomic(real, after, owner)


def load_override(registry_path: str, name: str) -> Wanted:
    """Read ``repos.d/<name>.toml`` beside the registry; an empty :class:`Wanted` where there is none.

    :raises NotKnownError: it is malformed or holds a key that means nothing: file, line and reason are named.
    """
    path = override_path(registry_path, check_file_name("project", name))
    text = _read(path)
    if text is None:
        return Wanted()
    root = tomltext.read(text, path)
    if "install" in root.data:
        raise root.error(
            "install",
            "an override has no [install] table",
            "install scripts are the project's own business: run them with 'repoman shell NAME -- ./install.sh'",
        )
    known = {"repo", "image", "profiles", "backup", "protect", "exclude", "exclude_caches", "follow_mounts", "config", "devices"}
    unknown = sorted(root.data.keys() - known)
    if unknown:
        raise root.error(
            unknown[0],
            f"unknown key{'s' * (len(unknown) > 1)} {', '.join(unknown)}",
            f"an override may hold {', '.join(sorted(known))}",
        )
    protect = root.strings("protect", None)
    for item in protect or ():
        if item not in PROTECTABLE:
            raise root.error("protect", f"cannot protect {item!r}: it is one of {', '.join(PROTECTABLE)}")
    devices = root.table("devices")
    return Wanted(
        repo=root.string("repo", None),
        image=root.string("image", None),
        profiles=root.strings("profiles", None),
        backup=root.boolean("backup", None),
        protect=protect,
        exclude=root.strings("exclude", None),
        exclude_caches=root.boolean("exclude_caches", None),
        follow_mounts=root.boolean("follow_mounts", None),
        config=root.table("config").scalars(),
        devices={key: devices.table(key).scalars() for key in devices.data},
    )


def override_path(registry_path: str, name: str) -> str:
    """Return the path of a project's override.

    :raises UsageError: ``name`` cannot be a file's name.
    """
    return str(Path(registry_path).parent / "repos.d" / f"{check_file_name('project', name)}.toml")


def effective(name: str, defaults: Defaults, *sources: Wanted) -> Effective:
    """Return the configuration of project ``name``: ``defaults``, then each source over what came before it.

    Lists replace lists, except ``exclude``, whose patterns add up; ``config`` and ``devices`` are merged by key.
    """
    config: dict[str, str] = {}
    devices: dict[str, dict[str, str]] = {}
    for source in sources:
        config |= source.config
        devices |= source.devices

    def pick(key: str, standard: Any) -> Any:
        return next((getattr(source, key) for source in reversed(sources) if getattr(source, key) is not None), standard)

    return Effective(
        name=name,
        repo=pick("repo", name),
        image=pick("image", defaults.default_image),
        profiles=pick("profiles", defaults.profiles),
        backup=pick("backup", True),
        protect=pick("protect", ()),
        exclude=tuple(pattern for source in sources for pattern in source.exclude or ()),
        exclude_caches=pick("exclude_caches", defaults.exclude_caches),
        follow_mounts=pick("follow_mounts", defaults.follow_mounts),
        config=config,
        devices=devices,
    )


def wanted_of(project: Project) -> Wanted:
    """Return what an entry of the registry says."""
    return Wanted(
        repo=project.repo,
        image=project.image or None,
        profiles=project.profiles,
        backup=project.backup,
        exclude=project.exclude,
        exclude_caches=project.exclude_caches,
        follow_mounts=project.follow_mounts,
    )


def put_project(data: Data, project: Project) -> None:
    """Add ``project`` to the data of a registry, or write its keys over the entry of that name."""
    entry: Data = {"name": project.name, "repo": project.repo}
    if project.image:
        entry["image"] = project.image
    if project.profiles is not None:
        entry["profiles"] = list(project.profiles)
    entry |= {"created": project.created, "last_sync": project.last_sync, "backup": project.backup}
    old = entry_of(data, project.name)
    if old is None:
        data.setdefault("project", []).append(entry)
    else:
        old.update(entry)


def entry_of(data: Data, name: str) -> Data | None:
    """Return the table of the project of that name in the data of a registry."""
    entries: list[Data] = data.get("project", [])
    return next((entry for entry in entries if entry.get("name") == name), None)


def drop_project(data: Data, name: str) -> None:
    """Take the project of that name out of the data of a registry."""
    data["project"] = [entry for entry in data.get("project", []) if entry.get("name") != name]
    if not data["project"]:
        del data["project"]


def make_directory(path: str, owner: Account) -> None:
    """Make ``path`` and its missing parents, private, and ``owner``'s where this process is root."""
    try:
        missing = [directory for directory in (Path(path), *Path(path).parents) if not directory.is_dir()]
        for directory in reversed(missing):
            directory.mkdir(0o700, exist_ok=True)
            if os.geteuid() == 0:
                os.chown(directory, owner.uid, owner.gid, follow_symlinks=False)
    except OSError as error:
        raise RepomanError(f"cannot make the directory {path}: {error.strerror}.", f"ls -ld {Path(path).parent}") from error


@contextmanager
def locked(path: str, owner: Account) -> Iterator[None]:
    """Hold an exclusive lock on the file at ``path``, which is made for it and stays.

    :raises RepomanError: another process holds it for longer than half a minute.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise RepomanError(f"cannot lock {path}: {error.strerror}.") from error
    try:
        if os.geteuid() == 0:
            os.fchown(handle, owner.uid, owner.gid)
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RepomanError(
                        f"another repoman has held {path} for {LOCK_SECONDS:.0f} s.", f"see which: fuser -v {path}"
                    ) from None
                time.sleep(LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(handle)


def write_atomic(path: str, text: str, owner: Account) -> None:
    """Write ``text`` so that ``path`` holds its old or its new content at any moment; mode and owner of an old file stay.

    The caller holds a lock on it. What a write that was killed left behind goes.

    :param owner: whose file a new one is, should this process be root.
    :raises RepomanError: it cannot be written; the old file is as it was.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        try:
            with open(temporary, "xb", opener=_private) as file:
                _take_after(file.fileno(), target, owner)
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise RepomanError(f"cannot write {path}: {error.strerror}; it is as it was.", f"df -h {target.parent}") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _take_after(handle: int, old: Path, owner: Account) -> None:
    """Give an open file mode and owner of the file ``old``; where there is none, it becomes ``owner``'s."""
    uid, gid = owner.uid, owner.gid
    if old.exists():
        status = old.stat()
        uid, gid = status.st_uid, status.st_gid
        os.fchmod(handle, stat.S_IMODE(status.st_mode))
    if os.geteuid() == 0:
        os.fchown(handle, uid, gid)


def _read(path: str) -> str | None:
    try:
        return Path(path).read_bytes().decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise NotKnownError(f"{path}, line {line}: not UTF-8 text.", "save it as UTF-8") from error
    except OSError as error:
        raise NotKnownError(f"cannot read {path}: {error.strerror}.", f"ls -l {path}") from error


def _schema(repoman: tomltext.Table) -> int:
    schema = repoman.data.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise repoman.error("schema", f"[repoman].schema is to be a number from 1 to {SCHEMA}")
    if schema > SCHEMA:
        raise repoman.error(
            "schema", f"schema {schema} is newer than this repoman knows ({SCHEMA}); the file was not touched", "upgrade repoman"
        )
    return schema


def _projects(root: tomltext.Table) -> dict[str, Project]:
    projects: dict[str, Project] = {}
    for entry in root.tables("project"):
        name = entry.string("name", "")
        if not name:
            raise entry.error("name", "a [[project]] has no name")
        if name in projects:
            raise entry.error("name", f"two [[project]] tables are called {name!r}")
        projects[name] = Project(
            name=name,
            repo=entry.string("repo", name),
            image=entry.string("image", ""),
            profiles=entry.strings("profiles", None),
            created=entry.string("created", ""),
            last_sync=entry.string("last_sync", ""),
            backup=entry.boolean("backup", True),
            exclude=entry.strings("exclude", None),
            exclude_caches=entry.boolean("exclude_caches", None),
            follow_mounts=entry.boolean("follow_mounts", None),
        )
    return projects


def _host_of(address: object) -> str:
    """Return the host part of a URL, or an empty string."""
    try:
        host = urlsplit(address).hostname if isinstance(address, str) else None
    except ValueError:
        return ""
    return host if host and HOST.fullmatch(host) else ""
