# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The profile library: templates in two directories, rendered and installed as Incus profiles.

User files shadow vendor files of the same name. Profiles are installed into Incus's project ``default``,
where every project without profiles of its own sees them.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

try:
    import yaml
except ImportError:  # the module says so before it gets here
    yaml = None  # type: ignore[assignment]

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import (
    ConflictError,
    MissingError,
    NotKnownError,
    RepomanError,
    StaleError,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.names import check_file_name
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, Step
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account, HostFacts, account
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store as registry

SYSTEM_VENDOR_DIR = "/usr/local/share/repoman/profiles"
SUFFIX = ".yml"
HANDED = "homelab.repoman:profiles/"
"""What stands for the directory of vendor templates that came along with the task."""
VARIABLE = re.compile(r"\$\{(HOST_LAN_IP|USER|HOME)\}")
NO_ADDRESS = "the template uses ${HOST_LAN_IP}, but the registry's [host].lan_ip is empty."
NO_BRIDGE = "where there is no bridge br0: set [host].lan_ip in ~/.config/repoman/repoman.toml"
LIBRARY_KEYS = ("name", "description", "config", "devices")
SERVER_KEYS = ("used_by", "project")
"""What ``incus profile show`` adds: allowed in a template, so that its output can be saved as one, and ignored."""
_Loader: Any = getattr(yaml, "CBaseLoader", None) or getattr(yaml, "BaseLoader", None)
"""Takes every scalar as the string it is written as: what Incus stores."""

Body = dict[str, Any]
"""What a profile is made of: ``description``, ``config`` and ``devices``."""


@dataclass(frozen=True)
class Library:
    """Where templates come from.

    :param users: directory of the user's files.
    :param vendors: directory of the vendor's files.
    :param handed: vendor templates by name, given along where the vendor directory does not exist.
    """

    users: str
    vendors: str
    handed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Template:
    """A template as found.

    :param source: ``user`` or ``vendor``.
    :param shadows: whether it is a user file with a vendor file of the same name.
    :param text: as written, not rendered.
    """

    name: str
    source: str
    file_path: str
    shadows: bool
    text: str


@dataclass(frozen=True)
class ProfileEntry:
    """A line of ``profile list``.

    :param source: ``user`` or ``vendor``.
    :param file_path: of the template.
    :param installed: whether Incus has a profile of that name.
    :param drift: whether the installed profile differs, as data, from the rendered template; false if not installed or not known.
    :param shadows: whether a user file shadows a vendor file.
    :param error: why the template cannot be rendered; empty if it can.
    """

    name: str
    source: str
    file_path: str
    installed: bool
    drift: bool
    shadows: bool = False
    error: str = ""


def vendor_dir(given: str | None = None) -> str:
    """Return the vendor directory: ``given``, else the system's, else the collection's own ``profiles/``.

    Modules take ``REPOMAN_VENDOR_DIR`` as their option ``vendor_dir``, so it arrives here as ``given``.
    """
    if given:
        return given
    if os.path.isdir(SYSTEM_VENDOR_DIR):
        return SYSTEM_VENDOR_DIR
    own = Path(__file__).parents[3] / "profiles"
    return str(own) if own.is_dir() else SYSTEM_VENDOR_DIR


def user_dir(home: str) -> str:
    """Return the directory of the user's own templates."""
    return os.path.join(home, ".config", "repoman", "profiles.d")


def library_of(params: dict[str, Any], me: Account) -> Library:
    """Return the library that a module's parameters mean."""
    vendors = me.expand(vendor_dir(params["vendor_dir"]))
    return Library(
        users=me.expand(params["user_dir"] or user_dir(me.home)),
        vendors=vendors,
        handed={} if os.path.isdir(vendors) else params.get("vendor_templates") or {},
    )


def lookup(name: str, library: Library) -> Template:
    """Find the template called ``name``: user files first, then vendor files.

    :raises UsageError: no file can be called so. :class:`NotKnownError`: there is none, or it cannot be read.
    """
    check_file_name("profile", name)
    mine, theirs = (os.path.join(directory, name + SUFFIX) for directory in (library.users, library.vendors))
    shadowed = os.path.isfile(theirs) or name in library.handed
    if os.path.lexists(mine):
        return Template(name, "user", mine, shadowed, _text(mine))
    if os.path.isfile(theirs):
        return Template(name, "vendor", theirs, False, _text(theirs))
    if name in library.handed:
        return Template(name, "vendor", f"{HANDED}{name}{SUFFIX}", False, library.handed[name])
    near = difflib.get_close_matches(name, _names(library), n=1)
    raise MissingError(
        f"there is no profile template called {name!r} in {library.users} or {library.vendors}.",
        *(f"did you mean {match!r}?" for match in near),
        "repoman profile list",
    )


def lookup_vendor(name: str, library: Library) -> Template:
    """Find the vendor file that the user's file ``name`` shadows.

    :raises NotKnownError: there is no such shadow.
    """
    template = lookup(name, library)
    if not template.shadows:
        hint = (
            f"to shadow it: cp {template.file_path} {library.users}/"
            if template.source == "vendor"
            else "only a user file with a vendor file of its name has one"
        )
        raise NotKnownError(f"profile {name!r} does not shadow a vendor profile: there is only {template.file_path}.", hint)
    return lookup(name, replace(library, users=os.devnull))


def list_all(library: Library, installed: dict[str, Installed], host: HostFacts) -> list[ProfileEntry]:
    """Return every template of the library, in alphabetical order.

    :param installed: profiles of Incus by name, as :func:`read_installed` gives them.
    """
    entries = []
    for name in _names(library):
        drift, problem, path, source, shadows = False, "", "", "user", False
        try:
            template = lookup(name, library)
            path, source, shadows = template.file_path, template.source, template.shadows
            wanted = body(template, host)
            drift = name in installed and wanted != installed[name].body
        except RepomanError as error:
            problem = error.message
        entries.append(
            ProfileEntry(name, source, path or os.path.join(library.users, name + SUFFIX), name in installed, drift, shadows, problem)
        )
    return entries


def render(text: str, host: HostFacts) -> str:
    """Return the template ``text`` with ``${HOST_LAN_IP}``, ``${USER}`` and ``${HOME}`` put in; other variables stay.

    The document keeps its shape: what comes out parses to what went in, with its strings substituted.

    :raises NotKnownError: ``text`` is no YAML, or needs the address of the host and that is not known.
    :raises ConflictError: a value would add keys to the document or break it.
    """
    values = {"HOST_LAN_IP": host.lan_ip, "USER": host.user, "HOME": host.home}
    used = sorted({match[1] for match in VARIABLE.finditer(text)})
    if "HOST_LAN_IP" in used and not host.lan_ip:
        raise NotKnownError(NO_ADDRESS, "repoman setup", NO_BRIDGE)

    def substitute(part: str) -> str:
        return VARIABLE.sub(lambda match: values[match[1]], part)

    rendered = substitute(text)
    if not used:
        _compose(text)
        return rendered
    shape = _shape(_compose(text), substitute)
    try:
        same = _shape(_compose(rendered), str) == shape
    except NotKnownError:
        same = False
    if not same:
        said = ", ".join(f"${{{name}}} = {values[name]!r}" for name in used)
        raise ConflictError(
            f"the template would change its shape with {said}.", "put the value in quotes in the template, or mend the variable"
        )
    return rendered


def body(template: Template, host: HostFacts) -> Body:
    """Return what the profile would be: ``description``, ``config`` and ``devices``, all values as strings.

    :raises NotKnownError: the file is not a profile template; it is named, with line and reason.
    """
    return _body(template, rendered_text(template, host))


def rendered_text(template: Template, host: HostFacts) -> str:
    """Render a template; an error names its file.

    :raises RepomanError: see :func:`render`.
    """
    try:
        return render(template.text, host)
    except RepomanError as error:
        separator = ", " if error.message.startswith("line ") else ": "
        raise type(error)(f"{template.file_path}{separator}{error.message}", *error.hints) from error


def canonical(profile: Body | None) -> str:
    """Return a profile in the one form both sides of a diff have; empty for none."""
    if profile is None:
        return ""
    return str(yaml.safe_dump(profile, sort_keys=True, default_flow_style=False, allow_unicode=True, width=10**6))


def unified(before: str, after: str, before_name: str, after_name: str) -> str:
    """Return the unified diff of two texts; empty if they are equal."""
    return "".join(difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), before_name, after_name))


@dataclass(frozen=True)
class Installed:
    """A profile as Incus has it.

    :param body: ``description``, ``config`` and ``devices``: what is ours to compare, the rest is the server's.
    :param used_by: API paths of what uses it.
    :param etag: for ``If-Match``.
    """

    body: Body
    used_by: list[str]
    etag: str


@dataclass
class Change:
    """What becomes of one profile.

    :param line: its line in the module's result: ``name``, ``action`` and more.
    :param step: what is to do; ``None`` for nothing.
    :param error: why it failed.
    """

    line: dict[str, Any]
    step: Step | None = None
    error: RepomanError | None = None

    def result(self) -> dict[str, Any]:
        """Return the line with its error, as data."""
        if self.error is None:
            return self.line
        return self.line | {"action": "failed", "msg": self.error.message, "hints": self.error.hints, "exit_code": self.error.exit_code}


def read_installed(client: incus.Client) -> dict[str, Installed]:
    """Read all profiles of Incus's default project, by name, in one request."""
    answer = client.get(incus.url("/1.0/profiles", recursion=1, project=incus.DEFAULT_PROJECT))
    return {profile["name"]: _installed(profile) for profile in answer.data}


def read_one(name: str, client: incus.Client) -> dict[str, Installed]:
    """Read one profile, with the ETag Incus gives it; the answer is as that of :func:`read_installed`."""
    answer = client.get_or_none(_url(name))
    return {} if answer is None else {name: _installed(answer.data, answer.etag)}


def install(names: Iterable[str], library: Library, host: HostFacts, installed: dict[str, Installed], client: incus.Client) -> list[Change]:
    """Plan to bring the named templates into Incus, each on its own.

    :param installed: what Incus has, of one read.
    :returns: for each name ``installed``, ``updated`` or ``unchanged``, or the error that stops it.
    """
    return [_install_one(name, library, host, installed.get(name), client) for name in names]


def remove(
    names: Iterable[str], library: Library, installed: dict[str, Installed], client: incus.Client, known: registry.Registry | None
) -> list[Change]:
    """Plan to take the named profiles out of Incus. Template files are never touched.

    :param known: the registry, to tell who still names the profile.
    :returns: for each name ``removed`` or ``absent``, or the error that stops it.
    """
    return [_remove_one(name, library, installed.get(name), client, known) for name in names]


def diff(name: str, library: Library, host: HostFacts, client: incus.Client) -> dict[str, Any]:
    """Return how the installed profile and the rendered template differ: ``installed``, ``rendered`` and ``diff``."""
    template = lookup(name, library)
    text = rendered_text(template, host)
    wanted = _body(template, text)
    current = read_installed(client).get(name)
    difference = "" if current is None else unified(canonical(current.body), canonical(wanted), f"incus: {name}", template.file_path)
    return {"installed": current is not None, "rendered": text, "diff": difference}


def diff_vendor(name: str, library: Library, host: HostFacts) -> str:
    """Return how the user's shadow differs from the vendor's file, both rendered, as data."""
    theirs, mine = lookup_vendor(name, library), lookup(name, library)
    return unified(canonical(body(theirs, host)), canonical(body(mine, host)), theirs.file_path, mine.file_path)


def show(name: str, library: Library, host: HostFacts) -> str:
    """Return the rendered template.

    :raises RepomanError: there is none, or it cannot be rendered.
    """
    template = lookup(name, library)
    text = rendered_text(template, host)
    _body(template, text)
    return text


def run(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Do what the module ``repoman_profile`` is asked to; see its documentation.

    :raises RepomanError: nothing can be done. What fails for single profiles is in the result.
    """
    known, library, host, client = _surroundings(params)
    names = _names(library) if params["all"] else list(dict.fromkeys(params["names"] or []))
    for name in names:
        check_file_name("profile", name)

    def plan(names: list[str], installed: dict[str, Installed]) -> list[Change]:
        if params["state"] == "present":
            return install(names, library, host, installed, client)
        return remove(names, library, installed, client, known)

    installed = read_installed(client)
    changes = plan(names, installed)
    foretold = _foretell(changes, library, installed) if check and params["predict"] else []
    diffs = Plan([change.step for change in changes if change.step]).diff
    if not check:
        changes = [_apply(change, lambda name: plan([name], read_one(name, client))[0]) for change in changes]
    results = [change.result() for change in changes]
    changed = any(line["action"] in ("installed", "updated", "removed") for line in results)
    failures = [line for line in results if line["action"] == "failed"]
    result: dict[str, Any] = {"changed": changed, "profiles": results, "diff": diffs}
    warnings = foretold + [
        f"profile '{line['name']}' is still named by {', '.join(line['referenced_by'])}: they will not start with 'repoman new' until it is installed again"
        for line in results
        if line.get("referenced_by")
    ]
    if warnings:
        result["warnings"] = warnings
    if failures:
        worst = max(failures, key=lambda line: line["exit_code"])
        result |= {
            "failed": True,
            "msg": " ".join(line["msg"] for line in failures),
            "hints": worst["hints"],
            "exit_code": worst["exit_code"],
        }
    return result


def info(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Do what the module ``repoman_profile_info`` is asked to; see its documentation.

    :raises RepomanError: nothing can be told. Templates that cannot be rendered are lines with an ``error``.
    """
    _known, library, host, client = _surroundings(params)
    names = params["names"]
    if params["vendor_diff"] or params["rendered"] or params["diff"]:
        return {"changed": False, "profiles": [_closer_look(name, library, host, client, params) for name in names]}
    for name in names or []:
        lookup(name, library)
    entries = [entry for entry in list_all(library, read_installed(client), host) if names is None or entry.name in names]
    return {"changed": False, "profiles": [vars(entry) for entry in entries]}


def _foretell(changes: list[Change], library: Library, installed: dict[str, Installed]) -> list[str]:
    """Let templates that are missing be what an earlier task puts into the user's directory; return the warnings."""
    warnings = []
    for change in changes:
        if change.error is not None and change.error.may_come:
            name = change.line["name"]
            action, path = "updated" if name in installed else "installed", os.path.join(library.users, name + SUFFIX)
            change.line |= {"action": action, "source": "user", "file_path": path}
            warnings.append(change.error.foretold())
            change.error = None
    return warnings


def _closer_look(name: str, library: Library, host: HostFacts, client: incus.Client, params: dict[str, Any]) -> dict[str, Any]:
    line: dict[str, Any] = {"name": name}
    if params["rendered"]:
        line["rendered"] = show(name, library, host)
    if params["vendor_diff"]:
        line["vendor_diff"] = diff_vendor(name, library, host)
    return line | (diff(name, library, host, client) if params["diff"] else {})


def _surroundings(params: dict[str, Any]) -> tuple[registry.Registry | None, Library, HostFacts, incus.Client]:
    me = account(params["user"])
    known = registry.load_or_none(me.expand(params["registry_path"] or registry.default_path(me.home)))
    library = library_of(params, me)
    client = incus.Client(incus.find_socket(params["socket"]), params["timeout"])
    lan_ip = params.get("lan_ip") or (known.lan_ip if known else "")
    return known, library, HostFacts(lan_ip, me.name, me.home), client


def _apply(change: Change, plan_again: Callable[[str], Change]) -> Change:
    """Apply one change; if the profile was changed meanwhile, plan once more from a fresh read of it. A refusal becomes the change's error."""
    try:
        try:
            if change.step:
                change.step.apply()
        except StaleError:
            change = plan_again(change.line["name"])
            if change.step:
                change.step.apply()
    except (incus.IncusError, StaleError) as error:
        error.message = f"profile {change.line['name']!r}: {error.message}"
        change.error = error
    return change


def _install_one(name: str, library: Library, host: HostFacts, current: Installed | None, client: incus.Client) -> Change:
    try:
        template = lookup(name, library)
        wanted = body(template, host)
    except RepomanError as error:
        return Change({"name": name}, error=error)
    line = {"name": name, "action": "unchanged", "source": template.source, "file_path": template.file_path}
    if current is None:
        return Change(
            line | {"action": "installed"},
            Step(
                f"install profile {name} (source: {template.source})",
                lambda: _create(name, wanted, client),
                target=f"profile {name}",
                after=canonical(wanted),
            ),
        )
    if current.body == wanted:
        return Change(line)
    return Change(
        line | {"action": "updated"},
        Step(
            f"update profile {name} (source: {template.source})",
            lambda: _update(name, wanted, current.etag, client),
            target=f"profile {name}",
            before=canonical(current.body),
            after=canonical(wanted),
        ),
    )


def _remove_one(name: str, library: Library, current: Installed | None, client: incus.Client, known: registry.Registry | None) -> Change:
    mine = os.path.join(library.users, name + SUFFIX)
    line: dict[str, Any] = {
        "name": name,
        "action": "absent",
        "file_path": mine if os.path.lexists(mine) else os.path.join(library.vendors, name + SUFFIX),
        "referenced_by": [],
    }
    if current is None:
        return Change(line)
    users = [_user(path) for path in current.used_by]
    if users:
        said = ", ".join(f"{who} (project {project})" for who, project in users)
        hints = [f"incus profile remove --project {project} {who} {name}" for who, project in users]
        return Change(line, error=RepomanError(f"profile {name!r} is currently in use by {said}.", *hints))
    return Change(
        line | {"action": "removed", "referenced_by": known.referencing(name) if known else []},
        Step(f"remove profile {name}", lambda: _delete(name, client), target=f"profile {name}", before=canonical(current.body)),
    )


def _create(name: str, wanted: Body, client: incus.Client) -> None:
    try:
        client.post(incus.url("/1.0/profiles", project=incus.DEFAULT_PROJECT), {"name": name} | wanted)
    except incus.IncusError as error:
        if error.code == incus.HTTP_CONFLICT or "already exists" in error.reason:
            raise StaleError(error.message) from error
        raise


def _update(name: str, wanted: Body, etag: str, client: incus.Client) -> None:
    client.put(_url(name), wanted, if_match=etag)


def _delete(name: str, client: incus.Client) -> None:
    client.delete(_url(name))


def _installed(profile: dict[str, Any], etag: str = "") -> Installed:
    config, devices, description = profile.get("config") or {}, profile.get("devices") or {}, profile.get("description", "")
    return Installed(
        body={"description": description, "config": config, "devices": devices},
        used_by=profile.get("used_by") or [],
        etag=etag or incus.etag(config, description, devices),
    )


def _url(name: str) -> str:
    return incus.url("/1.0/profiles/{}", name, project=incus.DEFAULT_PROJECT)


def _user(path: str) -> tuple[str, str]:
    """Return who an entry of ``used_by`` is, and its project."""
    parts = urlsplit(path)
    return unquote(parts.path.rsplit("/", 1)[-1]), parse_qs(parts.query).get("project", [incus.DEFAULT_PROJECT])[0]


def _names(library: Library) -> list[str]:
    """Return the names of all templates, sorted; files whose names cannot be a profile's are none."""
    found = set(library.handed)
    for directory in (library.users, library.vendors):
        try:
            files = os.listdir(directory)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise NotKnownError(f"cannot read {directory}: {error.strerror}.", f"ls -ld {directory}") from error
        found |= {file.removesuffix(SUFFIX) for file in files if file.endswith(SUFFIX) and file[0] not in ".-"}
    return sorted(name for name in found if name.isprintable())


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise NotKnownError(f"{path}: not UTF-8 text.", "save it as UTF-8") from error
    except OSError as error:
        raise NotKnownError(f"cannot read {path}: {error.strerror}.", f"ls -l {path}") from error


def _body(template: Template, text: str) -> Body:
    """Return the rendered ``text`` of a template as what Incus is to be given."""
    where = template.file_path
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise _not_yaml(error, where) from error
    if not isinstance(data, dict):
        raise NotKnownError(
            f"{where}: a profile template is a mapping with config and devices.", "repoman profile show dotfiles   shows one"
        )
    unknown = sorted(str(key) for key in set(data) - {*LIBRARY_KEYS, *SERVER_KEYS})
    if unknown:
        raise NotKnownError(
            f"{where}: unknown key{'s' * (len(unknown) > 1)} {', '.join(unknown)}.", f"a template holds {', '.join(LIBRARY_KEYS)}"
        )
    if data.get("name", template.name) != template.name:
        raise NotKnownError(
            f"{where}: its name is {data['name']!r}, but the file is called {template.name}{SUFFIX}.",
            "make them the same, or leave the name out",
        )
    config, devices = ({} if data.get(key, "") == "" else data[key] for key in ("config", "devices"))
    if not _is_strings(config):
        raise NotKnownError(f"{where}: config is to be a mapping of keys to values.", 'config: {limits.cpu: "2"}')
    if not isinstance(devices, dict) or not all(_is_strings(device) for device in devices.values()):
        raise NotKnownError(f"{where}: devices is to be a mapping of names to devices.", "repoman profile show dotfiles   shows some")
    description = data.get("description", "")
    if not isinstance(description, str):
        raise NotKnownError(f"{where}: description is to be a text.", "put it in quotes")
    kept = {key: value for key, value in config.items() if value}  # an empty value unsets a key: Incus does not store it
    return {"description": description, "config": kept, "devices": devices}


def _is_strings(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for pair in value.items() for item in pair)


def _compose(text: str) -> yaml.Node | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NotKnownError("a value is not UTF-8 text.", "see the values of USER and HOME: printenv USER HOME") from error
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise _not_yaml(error) from error
    _check(node, ())
    return node


def _check(node: yaml.Node | None, above: tuple[yaml.Node, ...]) -> None:
    """Raise an error if a document contains itself or names a key twice."""
    if not isinstance(node, yaml.CollectionNode):
        return
    line = node.start_mark.line + 1
    if any(node is each for each in above):
        raise NotKnownError(f"line {line}: it contains itself.", "write it without '*'")
    keys: set[str] = set()
    for item in node.value:
        for each in item if isinstance(item, tuple) else (item,):
            _check(each, (*above, node))
        if isinstance(item, tuple) and isinstance(item[0], yaml.ScalarNode):
            if item[0].value in keys:
                raise NotKnownError(f"line {item[0].start_mark.line + 1}: the key {item[0].value!r} is there twice.", "mend that line")
            keys.add(item[0].value)


def _shape(node: yaml.Node | None, substitute: Callable[[str], str]) -> Any:
    """Return a document as nested tuples, with ``substitute`` done to its scalars: equal for documents of equal shape."""
    if isinstance(node, yaml.ScalarNode):
        return substitute(node.value)
    if isinstance(node, yaml.SequenceNode):
        return ("list", *(_shape(item, substitute) for item in node.value))
    if isinstance(node, yaml.MappingNode):
        return ("map", *((_shape(key, substitute), _shape(value, substitute)) for key, value in node.value))
    return None


def _not_yaml(error: yaml.YAMLError, where: str = "") -> NotKnownError:
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or str(error).splitlines()[0]
    place = ", ".join(part for part in (where, f"line {mark.line + 1}" if mark else "") if part)
    return NotKnownError(f"{place}: {reason}." if place else f"{reason}.", "mend that line")
