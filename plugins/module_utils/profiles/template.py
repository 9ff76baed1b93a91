# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Profile templates: their variables, and the profiles made from them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

try:
    import yaml
except ImportError:  # the module reports it before it gets here
    yaml = None  # type: ignore[assignment]

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotFoundError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger, protect
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import HostFacts

SUFFIX = ".yml"
VARIABLE = re.compile(r"\$\{(HOST_LAN_IP|USER|HOME)\}")
NO_ADDRESS = "the template uses ${HOST_LAN_IP}, but the registry's [host].lan_ip is empty."
NO_BRIDGE = "if there is no bridge br0: set [host].lan_ip in ~/.config/repoman/repoman.toml"
TEMPLATE_KEYS = ("name", "description", "config", "devices")
SERVER_KEYS = ("used_by", "project")
"""Keys that ``incus profile show`` adds: allowed in a template, so that its output can be saved as one, and ignored."""
_Loader: Any = getattr(yaml, "CBaseLoader", None) or getattr(yaml, "BaseLoader", None)
"""Reads every scalar as a string, as it is written, because Incus stores strings."""

Body = dict[str, Any]
"""The content of a profile: ``description``, ``config`` and ``devices``."""


@dataclass(frozen=True)
class Template:
    """A template of the library.

    :param source: ``user`` or ``vendor``.
    :param shadows: whether it is a user file with a vendor file of the same name.
    :param text: as written, with its variables.
    """

    name: str
    source: str
    file_path: str
    shadows: bool
    text: str


def render(text: str, host: HostFacts) -> str:
    """Return the template ``text`` with ``${HOST_LAN_IP}``, ``${USER}`` and ``${HOME}`` replaced; other variables stay.

    The document keeps its shape: the result parses to the same structure as ``text``, with the variables in its strings replaced.

    :raises NotFoundError: ``text`` is not YAML, or needs the address of the host, which is unknown.
    :raises ConflictError: a value would add keys to the document or break it.
    """
    values = {"HOST_LAN_IP": host.lan_ip, "USER": host.user, "HOME": host.home}
    used = sorted({match[1] for match in VARIABLE.finditer(text)})
    if "HOST_LAN_IP" in used and not host.lan_ip:
        raise NotFoundError(NO_ADDRESS, "repoman setup", NO_BRIDGE)

    def substitute(part: str) -> str:
        return VARIABLE.sub(lambda match: values[match[1]], part)

    rendered = substitute(text)
    if not used:
        _compose(text)
        return rendered
    shape = _shape(_compose(text), substitute)
    try:
        is_same_shape = _shape(_compose(rendered), str) == shape
    except NotFoundError:
        is_same_shape = False
    if not is_same_shape:
        assigned = ", ".join(f"${{{name}}} = {values[name]!r}" for name in used)
        raise ConflictError(
            f"the template would change its shape with {assigned}.", "put the value in quotes in the template, or change the variable"
        )
    return rendered


def parse_template(template: Template, host: HostFacts) -> Body:
    """Return the profile of a template: ``description``, ``config`` and ``devices``, with all values as strings.

    :raises NotFoundError: the file is not a profile template; the message has file, line and reason.
    """
    return parse_rendered(template, rendered_text(template, host))


def rendered_text(template: Template, host: HostFacts) -> str:
    """Render a template.

    :raises RepomanError: see :func:`render`; the message names the file.
    """
    try:
        return render(template.text, host)
    except RepomanError as error:
        separator = ", " if error.message.startswith("line ") else ": "
        raise type(error)(f"{template.file_path}{separator}{error.message}", *error.hints) from error


def canonical(profile: Body | None) -> str:
    """Return a profile as text for a diff, always in the same form; empty for ``None``."""
    if profile is None:
        return ""
    return str(yaml.safe_dump(profile, sort_keys=True, default_flow_style=False, allow_unicode=True, width=10**6))


def parse_rendered(template: Template, text: str) -> Body:
    """Return the profile of a template whose rendered text is ``text``.

    :raises NotFoundError: see :func:`parse_template`.
    """
    path = template.file_path
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise _yaml_error(error, path) from error
    protect(data)
    get_logger("profiles").debug("read %s", path)
    if not isinstance(data, dict):
        raise NotFoundError(
            f"{path}: a profile template is a mapping with config and devices.", "repoman profile show dotfiles   shows one"
        )
    unknown = sorted(str(key) for key in set(data) - {*TEMPLATE_KEYS, *SERVER_KEYS})
    if unknown:
        raise NotFoundError(
            f"{path}: unknown key{'s' * (len(unknown) > 1)} {', '.join(unknown)}.", f"a template holds {', '.join(TEMPLATE_KEYS)}"
        )
    if data.get("name", template.name) != template.name:
        raise NotFoundError(
            f"{path}: its name is {data['name']!r}, but the file is called {template.name}{SUFFIX}.",
            "make them the same, or leave the name out",
        )
    config, devices = ({} if data.get(key, "") == "" else data[key] for key in ("config", "devices"))
    if not _is_strings(config):
        raise NotFoundError(f"{path}: config must be a mapping of keys to values.", 'config: {limits.cpu: "2"}')
    if not isinstance(devices, dict) or not all(_is_strings(device) for device in devices.values()):
        raise NotFoundError(f"{path}: devices must be a mapping of names to devices.", "repoman profile show dotfiles   shows some")
    description = data.get("description", "")
    if not isinstance(description, str):
        raise NotFoundError(f"{path}: description must be a text.", "put it in quotes")
    nonempty = {key: value for key, value in config.items() if value}  # an empty value unsets a key: Incus does not store it
    return {"description": description, "config": nonempty, "devices": devices}


def _is_strings(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for pair in value.items() for item in pair)


def _compose(text: str) -> yaml.Node | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NotFoundError("a value is not UTF-8 text.", "see the values of USER and HOME: printenv USER HOME") from error
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise _yaml_error(error) from error
    _check_structure(node, ())
    return node


def _check_structure(node: yaml.Node | None, ancestors: tuple[yaml.Node, ...]) -> None:
    """Raise an error if a document contains itself or names a key twice."""
    if not isinstance(node, yaml.CollectionNode):
        return
    line = node.start_mark.line + 1
    if any(node is ancestor for ancestor in ancestors):
        raise NotFoundError(f"line {line}: it contains itself.", "write it without '*'")
    keys: set[str] = set()
    for item in node.value:
        for child in item if isinstance(item, tuple) else (item,):
            _check_structure(child, (*ancestors, node))
        if isinstance(item, tuple) and isinstance(item[0], yaml.ScalarNode):
            if item[0].value in keys:
                raise NotFoundError(f"line {item[0].start_mark.line + 1}: the key {item[0].value!r} appears twice.", "correct that line")
            keys.add(item[0].value)


def _shape(node: yaml.Node | None, substitute: Callable[[str], str]) -> Any:
    """Return a document as nested tuples, with ``substitute`` applied to its scalars: equal for documents of equal shape."""
    if isinstance(node, yaml.ScalarNode):
        return substitute(node.value)
    if isinstance(node, yaml.SequenceNode):
        return ("list", *(_shape(item, substitute) for item in node.value))
    if isinstance(node, yaml.MappingNode):
        return ("map", *((_shape(key, substitute), _shape(value, substitute)) for key, value in node.value))
    return None


def _yaml_error(error: yaml.YAMLError, path: str = "") -> NotFoundError:
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or str(error).splitlines()[0]
    location = ", ".join(part for part in (path, f"line {mark.line + 1}" if mark else "") if part)
    return NotFoundError(f"{location}: {reason}." if location else f"{reason}.", "correct that line")
