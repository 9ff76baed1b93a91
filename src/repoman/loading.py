# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two savings in ansible's loader of collections, together a fifth of the time of a verb.

The loader compiles each file of a collection in every run (70 ms for ``repoman list``): those of this collection are now loaded from
Python's bytecode files. It also reads a table of 10 000 lines with the names of all plugins that ansible once had, with the slow half of
PyYAML (60 ms): here only libyaml reads it.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import SourceFileLoader
from typing import Any

import yaml
from ansible.utils.collection_loader import _collection_finder

PACKAGE = "ansible_collections.homelab.repoman."
BASE_LOADER = "_AnsibleCollectionPkgLoaderBase"
READER = "_meta_yml_to_dict"
"""A global variable of ansible's loader; its documentation allows other programs to replace it."""
ONE_DOCUMENT = [yaml.StreamStartEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent, yaml.StreamEndEvent]
"""What begins and ends a text, around its value."""


def install(collections: str) -> None:
    """Change the loader in this process. Parts that another version of ansible lacks are not changed.

    Root leaves no bytecode files in another user's checkout, who could not delete their directories.

    :param collections: directory of ``ansible_collections`` with this collection.
    """
    if os.geteuid() == 0 and os.stat(os.path.join(collections, *PACKAGE.strip(".").split("."))).st_uid != 0:
        sys.dont_write_bytecode = True
    base: Any = getattr(_collection_finder, BASE_LOADER, None)
    reader: Any = getattr(_collection_finder, READER, None)
    if hasattr(base, "get_code") and hasattr(base, "get_filename"):
        base.get_code = _with_bytecode(base.get_code)
    if reader is not None and hasattr(yaml, "CBaseLoader"):
        setattr(_collection_finder, READER, _with_libyaml(reader))


def _with_bytecode(compile_source: Any) -> Any:
    def get_code(self: Any, fullname: str) -> Any:
        """Return the code of a module, which is ``None`` for a directory without ``__init__.py``."""
        path = self.get_filename(fullname) if fullname.startswith(PACKAGE) else None
        if path is None or not path.endswith(".py"):
            return compile_source(self, fullname)
        return SourceFileLoader(fullname, path).get_code(fullname)

    return get_code


def _with_libyaml(read_slowly: Any) -> Any:
    def read(text: bytes | str, content_id: Any) -> Any:
        """Return the metadata of a collection, in which every scalar is a string."""
        loader = yaml.CBaseLoader(text)
        try:
            events = [loader.get_event(), loader.get_event()]
            value = _value(loader, loader.get_event())
            events += [loader.get_event(), loader.get_event()]
            if [type(event) for event in events] == ONE_DOCUMENT and isinstance(value, dict):
                return value
        except (yaml.YAMLError, LookupError, TypeError):
            pass  # an error, or YAML that this function does not know
        finally:
            loader.dispose()
        return read_slowly(text, content_id)

    return read


def _value(loader: Any, event: Any) -> Any:
    """Return the value that begins with an event.

    :raises LookupError: an alias.
    """
    if isinstance(event, yaml.ScalarEvent):
        return event.value
    if isinstance(event, yaml.MappingStartEvent):
        mapping = {}
        while not isinstance(event := loader.get_event(), yaml.MappingEndEvent):
            key = _value(loader, event)
            mapping[key] = _value(loader, loader.get_event())
        return mapping
    if isinstance(event, yaml.SequenceStartEvent):
        items = []
        while not isinstance(event := loader.get_event(), yaml.SequenceEndEvent):
            items.append(_value(loader, event))
        return items
    raise LookupError(event)
