# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Savings in what ansible loads, together a fifth of the time of a verb.

Ansible's loader compiles each file of a collection in every run (70 ms for ``repoman list``): those of this collection are now loaded from
Python's bytecode files. It also reads a table of 10 000 lines with the names of all plugins that ansible once had (60 ms): here libyaml
reads it alone, and the names of modules, nine tenths of the table, only if one is looked up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from typing import Any

from ansible.utils.collection_loader import _collection_finder

from repoman import fast_yaml, shared

PACKAGE = "ansible_collections.homelab.repoman."
PLUGINS = f"{PACKAGE}plugins."
LOGIC = (f"{PLUGINS}module_utils.", f"{PLUGINS}plugin_utils.")
BASE_LOADER = "_AnsibleCollectionPkgLoaderBase"
READER = "_meta_yml_to_dict"
"""A global variable of ansible's loader; its documentation allows other programs to replace it."""
ROUTING = "plugin_routing"
LONG_SECTION = re.compile(rb"^  (modules|module_utils):\n((?:(?:    .*| *#.*| *)\n)+)", re.MULTILINE)
"""A part of the table: its name, and its lines, which are indented deeper."""
PLACEHOLDER = "not read yet"


def install(collections: str) -> None:
    """Change the loader in this process. Parts that another version of ansible lacks are not changed.

    :param collections: directory of ``ansible_collections`` with this collection.
    """
    shared.spare_checkout(collections)
    base: Any = getattr(_collection_finder, BASE_LOADER, None)
    reader: Any = getattr(_collection_finder, READER, None)
    if hasattr(base, "get_code") and hasattr(base, "get_filename"):
        base.get_code = _with_bytecode(base.get_code)
    if reader is not None and fast_yaml.IS_AVAILABLE:
        setattr(_collection_finder, READER, _with_libyaml(reader))


class OwnFinder:
    """Finds the logic of this collection, without the five steps that ansible's finder takes for each part of a module's name.

    :param collections: directory of ``ansible_collections`` with this collection.
    """

    def __init__(self, collections: str) -> None:
        self.root = os.path.join(collections, *PACKAGE.strip(".").split("."), "plugins", "")

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return how to load a module or a directory below :data:`LOGIC`; nothing for others."""
        if not name.startswith(LOGIC):
            return None
        location = self.root + name[len(PLUGINS) :].replace(".", os.sep)
        if os.path.isfile(f"{location}.py"):
            return spec_from_file_location(name, f"{location}.py")
        if not os.path.isdir(location) or os.path.exists(f"{location}/__init__.py"):
            return None
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [location]
        return spec


def _with_bytecode(compile_source: Any) -> Any:
    def get_code(self: Any, fullname: str) -> Any:
        """Return the code of a module, which is ``None`` for a directory without ``__init__.py``."""
        path = self.get_filename(fullname) if fullname.startswith(PACKAGE) else None
        if path is None or not path.endswith(".py"):
            return compile_source(self, fullname)
        return SourceFileLoader(fullname, path).get_code(fullname)

    return get_code


def _with_libyaml(read_slowly: Any) -> Any:
    read_quickly = _quick_reader(read_slowly)

    def read(text: bytes | str, content_id: Any) -> Any:
        """Return the metadata of a collection."""
        try:
            data = text.encode() if isinstance(text, str) else text
            value = _without_long_sections(data, read_quickly, lambda: read_slowly(text, content_id)) or read_quickly(data)
        except fast_yaml.ERRORS:
            return read_slowly(text, content_id)
        return value if isinstance(value, dict) else read_slowly(text, content_id)

    return read


def _quick_reader(read_slowly: Any) -> Callable[[bytes], Any]:
    """Return what reads as this reader of ansible does: before 2.19 it made numbers of scalars, and merged mappings."""
    makes_numbers = read_slowly is not None and read_slowly(b"a: 1", None) != {"a": "1"}
    return fast_yaml.read_values if makes_numbers else fast_yaml.read_strings


class _Section(Mapping[str, Any]):
    """A section of the table, which is read when it is first used.

    :param name: its name.
    :param text: its lines, with the one that names it.
    :param read: reads them.
    :param read_all: reads the whole table.
    """

    def __init__(self, name: str, text: bytes, read: Callable[[bytes], Any], read_all: Callable[[], Any]) -> None:
        self.name, self.text, self.read, self.read_all = name, text, read, read_all

    @cached_property
    def content(self) -> dict[str, Any]:
        """The entries."""
        try:
            content = self.read(self.text)[self.name]
        except fast_yaml.ERRORS:
            content = self.read_all()[ROUTING][self.name]
        return content or {}

    def __getitem__(self, key: str) -> Any:
        return self.content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)


def _without_long_sections(text: bytes, read: Callable[[bytes], Any], read_all: Callable[[], Any]) -> Any:
    """Return the table with long sections unread; ``None`` if it has no such sections, or they are in an unexpected place.

    :param read: reads a text.
    :param read_all: reads the whole table.
    :raises fast_yaml.ERRORS: it is not plain YAML.
    """
    matches = list(LONG_SECTION.finditer(text))
    sections = {match[1].decode(): _Section(match[1].decode(), match[0], read, read_all) for match in matches}
    if not matches or len(sections) < len(matches):
        return None
    table = read(LONG_SECTION.sub(rb"  \1: " + PLACEHOLDER.encode() + rb"\n", text))
    routing = table[ROUTING]
    if any(routing[name] != PLACEHOLDER for name in sections):
        return None
    routing.update(sections)
    return table
