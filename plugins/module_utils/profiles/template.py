# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Profile templates: their variables, and the profiles made from them."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

try:
    import yaml
except ImportError:  # the module reports it before it gets here
    yaml = None  # type: ignore[assignment]

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotFoundError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger, protect
from ansible_collections.homelab.repoman.plugins.module_utils.core.names import suggestions
from ansible_collections.homelab.repoman.plugins.module_utils.core.secrets import without_secrets
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import HostFacts
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.yaml_reader import (
    compose,
    is_null,
    name_position,
    pairs,
    plain,
    scalar,
    shape,
    texts,
)

VARIABLE = re.compile(r"\$\{(HOST_LAN_IP|USER|HOME)\}")
NO_ADDRESS = "the template uses ${HOST_LAN_IP}, but the registry's [host].lan_ip is empty."
NO_NETWORK = "if the host has neither br0 nor an IPv4 default route: set [host].lan_ip in ~/.config/repoman/repoman.toml"
TEMPLATE_KEYS = ("name", "description", "config", "devices")
SERVER_KEYS = ("used_by", "project")
"""Keys that ``incus profile show`` adds: allowed in a template, so that its output can be saved as one, and ignored."""
PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
"""Names that need no quotes in YAML, apart from null."""
SHORT = 100
"""Characters of a key; some longer ones are written in another form."""
OWN_KEY = "x-"
"""Start of the keys that are the user's own, such as those that hold anchors: they are ignored."""

Body = dict[str, Any]
"""The content of a profile: ``description``, ``config`` and ``devices``."""


@dataclass(frozen=True)
class Template:
    """A template of the library.

    :param source: ``user`` or ``vendor``.
    :param shadows: whether it is a user file with a vendor file of the same name.
    :param text: as written, with its variables.
    :param empty_file: path of a user's file of that name that holds nothing, and so does not shadow; empty without one.
    """

    name: str
    source: str
    file_path: str
    shadows: bool
    text: str
    empty_file: str = ""


def render(text: str, host: HostFacts) -> str:
    """Return the template ``text`` with ``${HOST_LAN_IP}``, ``${USER}`` and ``${HOME}`` replaced; other variables stay.

    The document keeps its shape: the result parses to the same structure as ``text``, with the variables in its strings replaced.

    :raises NotFoundError: ``text`` is not YAML, or needs the address of the host, which is unknown.
    :raises ConflictError: a value would add keys to the document or break it.
    """
    values = {"HOST_LAN_IP": host.lan_ip, "USER": host.user, "HOME": host.home}
    used = sorted({match[1] for match in VARIABLE.finditer(text)})
    if "HOST_LAN_IP" in used and not host.lan_ip:
        raise NotFoundError(NO_ADDRESS, "repoman setup", NO_NETWORK)

    def substitute(part: str) -> str:
        return VARIABLE.sub(lambda match: values[match[1]], part)

    rendered = substitute(text)
    if not used:
        compose(text)
        return rendered
    desired_shape = shape(compose(text), substitute)
    try:
        is_same_shape = shape(compose(rendered), str) == desired_shape
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
        raise _located(error, template.file_path) from error


def renamed_text(template: Template, name: str) -> str:
    """Return the text of a template under another name: unchanged, except for the name that it may hold.

    :raises NotFoundError: it is not YAML.
    """
    try:
        mark, end = name_position(template.text)
    except NotFoundError as error:
        raise _located(error, template.file_path) from error
    is_plain = PLAIN_NAME.fullmatch(name) and name.casefold() != "null"
    return (
        f"{template.text[:mark]}{name if is_plain else json.dumps(name, ensure_ascii=False)}{template.text[end:]}" if end else template.text
    )


def canonical(profile: Body | None) -> str:
    """Return a profile as text for a diff, always in the same form; empty for ``None``."""
    if profile is None:
        return ""
    return str(
        yaml.dump(
            profile, Dumper=_readable_dumper(_is_simple(profile)), sort_keys=True, default_flow_style=False, allow_unicode=True, width=10**6
        )
    )


def _is_simple(value: Any) -> bool:
    """Return whether libyaml writes a value as Python's emitter does: it differs in rare characters, texts of several lines, some keys."""
    if isinstance(value, dict):
        return all(0 < len(key) < SHORT and _is_simple(key) and _is_simple(each) for key, each in value.items())
    return isinstance(value, str) and value.isascii() and value.isprintable()


@cache
def _readable_dumper(is_simple: bool) -> type[yaml.SafeDumper]:
    """Return a dumper that writes a text of several lines as a block, line by line.

    :param is_simple: if true, libyaml writes it (if installed), in a quarter of the time.
    """
    base: Any = (is_simple and getattr(yaml, "CSafeDumper", None)) or yaml.SafeDumper

    class Dumper(base):  # type: ignore[misc]
        """Keeps its representer apart from the base class, which other programs in this process use."""

    def represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    Dumper.add_representer(str, represent)
    return Dumper


def diff_text(profile: Body | None, other: Body | None = None) -> str:
    """Return a profile like :func:`canonical`, without values that may be secret.

    :param other: the other side of the diff; a secret that differs from it is shown as another one.
    """
    if profile is None:
        return ""
    return canonical(profile | {key: without_secrets(profile[key], other and other[key]) for key in ("config", "devices")})


def parse_rendered(template: Template, text: str) -> Body:
    """Return the profile of a template whose rendered text is ``text``.

    :raises NotFoundError: see :func:`parse_template`.
    """
    try:
        body = _body(template, text)
    except NotFoundError as error:
        raise _located(error, template.file_path) from error
    return body


def _body(template: Template, text: str) -> Body:
    """See :func:`parse_rendered`; the messages do not have the path."""
    document = compose(text)
    protect(plain(document))
    get_logger("profiles").debug("read %s", template.file_path)
    if not isinstance(document, yaml.MappingNode):
        raise NotFoundError("a profile template is a mapping with config and devices.", "repoman profile show dotfiles   # shows one")
    name, description = template.name, ""
    config: dict[str, str] = {}
    devices: dict[str, dict[str, str]] = {}
    unknown = set()
    for key, value in pairs(document):
        if key == "config":
            config = {} if is_null(value) else config | _config(value)
        elif key == "devices":
            devices = {} if is_null(value) else devices | _devices(value)
        elif key == "description":
            description = _text(value, "description must be a text.")
        elif key == "name":
            name = _text(value, "name must be a text.") or template.name
        elif key not in SERVER_KEYS and not key.startswith(OWN_KEY):
            unknown.add(key)
    if unknown:
        raise _unknown_keys(sorted(unknown))
    if name != template.name:
        raise NotFoundError(
            f"its name is {name!r}, but the file is called {os.path.basename(template.file_path)}.",
            "make them the same, or leave the name out",
        )
    return {
        "description": description,
        "config": _without_empty(config),
        "devices": {name: _without_empty(devices[name]) for name in devices},
    }


def _config(node: yaml.Node) -> dict[str, str]:
    config = texts(node)
    if config is None:
        raise NotFoundError("config must be a mapping of keys to values.", 'config: {limits.cpu: "2"}')
    return config


def _devices(node: yaml.Node) -> dict[str, dict[str, str]]:
    devices = {name: texts(device) for name, device in pairs(node)} if isinstance(node, yaml.MappingNode) else {"": None}
    if None in devices.values():
        raise NotFoundError("devices must be a mapping of names to devices.", "devices: {NAME: {type: disk, source: /DIR, path: /DIR}}")
    return {name: device for name, device in devices.items() if device is not None}


def _text(node: yaml.Node, reason: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise NotFoundError(reason, "put it in quotes")
    return scalar(node) or ""


def _without_empty(values: dict[str, str]) -> dict[str, str]:
    """Return keys with a value: an empty one unsets its key, and Incus does not store it."""
    return {key: value for key, value in values.items() if value}


def _unknown_keys(keys: list[str]) -> NotFoundError:
    return NotFoundError(
        f"unknown key{'s' * (len(keys) > 1)} {', '.join(keys)}.",
        *suggestions(keys, (*TEMPLATE_KEYS, *SERVER_KEYS)),
        f"a template holds {', '.join(TEMPLATE_KEYS)}; keys that start with '{OWN_KEY}' are yours",
    )


def _located(error: RepomanError, path: str) -> RepomanError:
    """Return an error with the path of its file in front."""
    separator = ", " if error.message.startswith("line ") else ": "
    return type(error)(f"{path}{separator}{error.message}", *error.hints)
