# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The registry: ``~/.config/repoman/repoman.toml`` and the overrides in ``repos.d/`` beside it.

People edit these files. They are read with the standard library's parser; a write changes only what it
must, through tomlkit, so that comments, order and unknown keys stay, and is locked, atomic and synced.
"""

from __future__ import annotations

import copy
import fcntl
import os
import re
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.homelab.repoman.plugins.module_utils import toml
from ansible_collections.homelab.repoman.plugins.module_utils.errors import NotKnownError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host import Account
from ansible_collections.homelab.repoman.plugins.module_utils.names import check_file_name

SCHEMA = 3
LOCK_SECONDS = 30.0
TEMPORARY = ".repoman-tmp"
LOCK_POLL_SECONDS = 0.02
PROTECTABLE = ("hooks", "config")
OUTPUTS = ("quiet", "verbose")
HEADER = re.compile(r"\s*\[+\s*([^\]]+?)\s*\]+")

DEFAULT_TEXT = """\
# repoman's registry. Edit it freely: comments, order and keys of your own stay as they are.
# It belongs to this host; lan_ip is found again by 'repoman setup'.

[repoman]
schema = 3
output = "quiet"          # or "verbose": name every step

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
    """

    name: str
    repo: str
    image: str = ""
    profiles: tuple[str, ...] | None = None
    created: str = ""
    last_sync: str = ""
    backup: bool = True


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
    config: dict[str, str] = field(default_factory=dict)
    devices: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Effective:
    """The configuration that holds for a project: defaults, its entry, its override, the command line, later over earlier.

    :param repo: as stored: a directory in ``repos_root``, or an absolute path.
    """

    name: str
    repo: str
    image: str
    profiles: tuple[str, ...]
    backup: bool
    protect: tuple[str, ...]
    config: dict[str, str]
    devices: dict[str, dict[str, str]]


def default_path(home: str) -> str:
    """Return where the registry of the user with that home is."""
    return os.path.join(home, ".config", "repoman", "repoman.toml")


def load(path: str) -> Registry:
    """Read the registry.

    :raises NotKnownError: there is none, it cannot be read, is malformed, or of a newer schema: file, line and reason are named.
    """
    text = _read(path)
    if text is None:
        raise NotKnownError(f"there is no registry at {path}.", "repoman setup")
    return parse(text, path)


def load_or_none(path: str) -> Registry | None:
    """Read the registry, or return ``None`` where there is none."""
    text = _read(path)
    return None if text is None else parse(text, path)


def parse(text: str, path: str) -> Registry:
    """Return the registry that ``text`` is, of any schema we know; ``path`` is for the errors.

    :raises NotKnownError: see :func:`load`.
    """
    data = _toml(text, path)
    reader = _Reader(text, path)
    schema = _schema(data, reader)
    data = migrate(data)
    repoman, host, defaults = (reader.table(data, name) for name in ("repoman", "host", "defaults"))
    standard = Defaults()
    return Registry(
        path=path,
        text=text,
        schema=schema,
        output=reader.choice(repoman, "repoman", "output", OUTPUTS, "quiet"),
        lan_ip=reader.string(host, "host", "lan_ip", ""),
        defaults=Defaults(
            repos_root=reader.string(defaults, "defaults", "repos_root", standard.repos_root),
            backup_root=reader.string(defaults, "defaults", "backup_root", standard.backup_root),
            logdir=reader.string(defaults, "defaults", "logdir", standard.logdir),
            incus_project=reader.string(defaults, "defaults", "incus_project", standard.incus_project),
            default_image=reader.string(defaults, "defaults", "default_image", standard.default_image),
            profiles=reader.strings(defaults, "defaults", "profiles", standard.profiles) or (),
        ),
        projects=_projects(data, reader),
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
    llm = new.get("defaults", {}).pop("llm", {}) if isinstance(new.get("defaults", {}), dict) else {}
    host = new.setdefault("host", {})
    if isinstance(host, dict):
        host.setdefault("lan_ip", _host_of(llm.get("ollama_url", "")) if isinstance(llm, dict) else "")
    return new


def change(text: str, path: str, edit: Callable[[Data], None]) -> str:
    """Return ``text`` with ``edit`` done to its data (of schema 3) and everything else as it was.

    :param edit: changes the data in place.
    :raises NotKnownError: ``text`` is no registry. :class:`RepomanError`: it cannot be rewritten faithfully.
    """
    parse(text, path)
    wanted = migrate(_toml(text, path))
    edit(wanted)
    if toml.same(wanted, _toml(text, path)):
        return text
    try:
        return toml.rewrite(text, wanted)
    except (ValueError, KeyError, TypeError, IndexError) as error:
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
    make_directory(os.path.dirname(real), owner)
    with locked(f"{real}.lock", owner):
        text = _read(real)
        before = DEFAULT_TEXT if text is None else text
        after = change(before, path, edit)
        if text is not None:
            schema = parse(text, path).schema
            backup = f"{real}.schema{schema}.bak"
            if schema < SCHEMA and not os.path.exists(backup):
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
    data, reader = _toml(text, path), _Reader(text, path)
    if "install" in data:
        raise NotKnownError(
            f"{path}, line {reader.line_of('install')}: an override has no [install] table.",
            "install scripts are the project's own business: run them with 'repoman shell NAME -- ./install.sh'",
        )
    known = {"repo", "image", "profiles", "backup", "protect", "config", "devices"}
    unknown = sorted(set(data) - known)
    if unknown:
        raise NotKnownError(
            f"{path}, line {reader.line_of(unknown[0])}: unknown key{'s' * (len(unknown) > 1)} {', '.join(unknown)}.",
            f"an override may hold {', '.join(sorted(known))}",
        )
    protect = reader.strings(data, "", "protect", None)
    for item in protect or ():
        if item not in PROTECTABLE:
            raise reader.error("protect", f"cannot protect {item!r}: it is one of {', '.join(PROTECTABLE)}")
    devices = reader.table(data, "devices")
    return Wanted(
        repo=reader.string(data, "", "repo", None),
        image=reader.string(data, "", "image", None),
        profiles=reader.strings(data, "", "profiles", None),
        backup=reader.boolean(data, "", "backup", None),
        protect=protect,
        config=reader.scalars(reader.table(data, "config"), "config"),
        devices={key: reader.scalars(reader.table(devices, key), f"devices.{key}") for key in devices},
    )


def override_path(registry_path: str, name: str) -> str:
    """Return the path of a project's override."""
    return os.path.join(os.path.dirname(registry_path), "repos.d", f"{name}.toml")


def effective(name: str, defaults: Defaults, *sources: Wanted) -> Effective:
    """Return the configuration of project ``name``: ``defaults``, then each source over what came before it.

    Lists replace lists; of ``config`` and ``devices`` single keys replace single keys.
    """
    config: dict[str, str] = {}
    devices: dict[str, dict[str, str]] = {}
    for source in sources:
        config |= source.config
        devices |= source.devices
    pick: Callable[[str, Any], Any] = lambda key, standard: next(  # noqa: E731
        (getattr(source, key) for source in reversed(sources) if getattr(source, key) is not None), standard
    )
    return Effective(
        name=name,
        repo=pick("repo", name),
        image=pick("image", defaults.default_image),
        profiles=pick("profiles", defaults.profiles),
        backup=pick("backup", True),
        protect=pick("protect", ()),
        config=config,
        devices=devices,
    )


def wanted_of(project: Project) -> Wanted:
    """Return what an entry of the registry says."""
    return Wanted(repo=project.repo, image=project.image or None, profiles=project.profiles, backup=project.backup)


def put_project(data: Data, project: Project) -> None:
    """Add ``project`` to the data of a registry, or write its keys over the entry of that name."""
    entry: Data = {"name": project.name, "repo": project.repo}
    if project.image:
        entry["image"] = project.image
    if project.profiles is not None:
        entry["profiles"] = list(project.profiles)
    entry |= {"created": project.created, "last_sync": project.last_sync, "backup": project.backup}
    entries: list[Data] = data.setdefault("project", [])
    for old in entries:
        if old.get("name") == project.name:
            old.update(entry)
            return
    entries.append(entry)


def drop_project(data: Data, name: str) -> None:
    """Take the project of that name out of the data of a registry."""
    data["project"] = [entry for entry in data.get("project", []) if entry.get("name") != name]
    if not data["project"]:
        del data["project"]


def make_directory(path: str, owner: Account) -> None:
    """Make ``path`` and its missing parents, private, and ``owner``'s where this process is root."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for directory in reversed(missing):
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            continue
        except OSError as error:
            raise RepomanError(f"cannot make the directory {directory}: {error.strerror}.") from error
        if os.geteuid() == 0:
            os.chown(directory, owner.uid, owner.gid)


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

    :param owner: whose file a new one is, should this process be root.
    :raises RepomanError: it cannot be written; the old file is as it was.
    """
    directory = os.path.dirname(path)
    temporary = ""
    try:
        _remove_leftovers(path)
        handle, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", suffix=TEMPORARY, dir=directory)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            try:
                old = os.stat(path)
            except FileNotFoundError:
                uid, gid = owner.uid, owner.gid
            else:
                uid, gid = old.st_uid, old.st_gid
                os.fchmod(file.fileno(), old.st_mode & 0o7777)
            if os.geteuid() == 0:
                os.fchown(file.fileno(), uid, gid)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
        temporary = ""
        entry = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)
    except OSError as error:
        raise RepomanError(f"cannot write {path}: {error.strerror}; it is as it was.", f"df -h {directory}") from error
    finally:
        if temporary:
            os.unlink(temporary)


def _remove_leftovers(path: str) -> None:
    """Remove the temporary files of writers that were killed; the lock keeps living ones out."""
    prefix = f".{os.path.basename(path)}."
    for entry in os.scandir(os.path.dirname(path)):
        if entry.name.startswith(prefix) and entry.name.endswith(TEMPORARY):
            os.unlink(entry.path)


def _read(path: str) -> str | None:
    try:
        return Path(path).read_bytes().decode("utf-8")  # not read_text, which would change the ends of lines
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise NotKnownError(f"{path}, line {line}: not UTF-8 text.", "save it as UTF-8") from error
    except OSError as error:
        raise NotKnownError(f"cannot read {path}: {error.strerror}.", f"ls -l {path}") from error


def _toml(text: str, path: str) -> Data:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise NotKnownError(f"{path}, line 1: nested too deeply.", "mend it; the file was not touched") from None
    except ValueError as error:
        found = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        reason = re.sub(r" \(at .*\)", "", str(error))
        raise NotKnownError(f"{path}, line {line}: {reason}.", "mend that line; the file was not touched") from error


def _schema(data: Data, reader: _Reader) -> int:
    schema = reader.table(data, "repoman").get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise reader.error("schema", f"[repoman].schema is to be a number from 1 to {SCHEMA}", "repoman")
    if schema > SCHEMA:
        raise NotKnownError(
            f"{reader.path}, line {reader.line_of('schema', 'repoman')}: schema {schema} is newer than this repoman knows ({SCHEMA}); the file was not touched.",
            "upgrade repoman",
        )
    return schema


def _projects(data: Data, reader: _Reader) -> dict[str, Project]:
    entries = data.get("project", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise reader.error("project", "projects are written as [[project]] tables")
    projects: dict[str, Project] = {}
    for reader.entry, entry in enumerate(entries):
        name = reader.string(entry, "project", "name", "")
        if not name:
            raise reader.error("name", "a [[project]] has no name", "project")
        if name in projects:
            raise reader.error("name", f"two [[project]] tables are called {name!r}", "project")
        projects[name] = Project(
            name=name,
            repo=reader.string(entry, "project", "repo", name),
            image=reader.string(entry, "project", "image", ""),
            profiles=reader.strings(entry, "project", "profiles", None),
            created=reader.string(entry, "project", "created", ""),
            last_sync=reader.string(entry, "project", "last_sync", ""),
            backup=reader.boolean(entry, "project", "backup", True) is not False,
        )
    return projects


def _host_of(address: object) -> str:
    """Return the host part of a URL, or an empty string."""
    try:
        host = urlsplit(str(address)).hostname or ""
    except ValueError:
        return ""
    return host if re.fullmatch(r"[\w.:%-]+", host) else ""


class _Reader:
    """Takes typed values out of parsed TOML; an error names file and line.

    :param text: of the file, to find the line of a key.
    :param path: of the file.

    ``entry`` is the number of the array's table that is being read.
    """

    def __init__(self, text: str, path: str) -> None:
        self.lines = text.split("\n")
        self.path = path
        self.entry = 0

    def line_of(self, key: str, where: str = "", entry: int = 0) -> int:
        """Return the line of ``key`` in the table ``where``, the ``entry``-th of that name; else that of the table, the first that names it, or 1."""
        name = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]")
        header, seen, first, table = "", -1, 0, 0
        for number, line in enumerate(self.lines, 1):
            found = HEADER.match(line)
            if found:
                header = found[1].replace('"', "").replace("'", "").replace(" ", "")
                seen += header == where
                if header == (f"{where}.{key}" if where else key):
                    return number
                if header == where and seen == entry:
                    table = number
            elif name.match(line):
                if header == where and seen in (entry, -1):
                    return number
                first = first or number
        return table or first or 1

    def error(self, key: str, reason: str, where: str = "") -> NotKnownError:
        """Return the error that ``key`` of table ``where`` is not as it should be."""
        return NotKnownError(
            f"{self.path}, line {self.line_of(key, where, self.entry)}: {reason}.", "mend that line; the file was not touched"
        )

    def table(self, data: Data, name: str) -> Data:
        """Return the table called ``name``; an empty one where there is none."""
        value = data.get(name, {})
        if not isinstance(value, dict):
            raise self.error(name, f"[{name}] is to be a table")
        return value

    def string(self, table: Data, where: str, key: str, standard: Any) -> Any:
        """Return a string of ``table``, or ``standard``."""
        return self._typed(table, where, key, standard, str, "a string")

    def boolean(self, table: Data, where: str, key: str, standard: bool | None) -> bool | None:
        """Return a boolean of ``table``, or ``standard``."""
        value: bool | None = self._typed(table, where, key, standard, bool, "true or false")
        return value

    def strings(self, table: Data, where: str, key: str, standard: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Return a list of strings of ``table``, or ``standard``."""
        value = self._typed(table, where, key, standard, (list, tuple), "a list of strings")
        if value is None:
            return None
        if not all(isinstance(item, str) for item in value):
            raise self.error(key, f"{self._name(where, key)} is to be a list of strings", where)
        return tuple(value)

    def choice(self, table: Data, where: str, key: str, choices: tuple[str, ...], standard: str) -> str:
        """Return one of ``choices``, or ``standard``."""
        value = str(self.string(table, where, key, standard))
        if value not in choices:
            raise self.error(key, f"{self._name(where, key)} is to be one of {', '.join(choices)}", where)
        return value

    def scalars(self, table: Data, where: str) -> dict[str, str]:
        """Return a table of scalars as Incus takes them: all strings."""
        for key, value in table.items():
            if not isinstance(value, (str, int, float, bool)):
                raise self.error(key, f"{self._name(where, key)} is to be a string, number or boolean", where)
        return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in table.items()}

    def _typed(self, table: Data, where: str, key: str, standard: Any, kind: Any, what: str) -> Any:
        value = table.get(key, standard)
        if value is not standard and not isinstance(value, kind):
            raise self.error(key, f"{self._name(where, key)} is to be {what}", where)
        return value

    @staticmethod
    def _name(where: str, key: str) -> str:
        return f"[{where}].{key}" if where else key
