# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the YAML files of ansible itself with libyaml alone, without the slow half of PyYAML.

Only plain YAML is read: what these functions do not know is an error, after which the caller reads the file as ansible does.
"""

from __future__ import annotations

from typing import Any

import yaml

ERRORS = (yaml.YAMLError, LookupError, TypeError, ValueError)
"""Errors of the functions: wrong YAML, or YAML that they do not know."""
IS_AVAILABLE = hasattr(yaml, "CBaseLoader") and hasattr(yaml, "CSafeLoader")
ONE_DOCUMENT = [yaml.StreamStartEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent, yaml.StreamEndEvent]
"""What begins and ends a text, around its value."""
MERGE = "<<"
ORDINARY_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("bool", "float", "int", "null"))


def read_strings(text: bytes | str) -> Any:
    """Return the value of a text, in which every scalar is a string, as with ``yaml.BaseLoader``.

    :raises ERRORS: it is not one document of plain YAML.
    """
    return _Reader(yaml.CBaseLoader(text)).read()


def read_values(text: bytes | str) -> Any:
    """Return the value of a text, as with ``yaml.SafeLoader``.

    :raises ERRORS: it is not one document of plain YAML.
    """
    return _ValueReader(yaml.CSafeLoader(text)).read()


class _Reader:
    """Makes a value of libyaml's events.

    :param loader: a loader of PyYAML with a text.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.next = loader.get_event
        self.anchors: dict[str | None, Any] = {}

    def read(self) -> Any:
        """Return the value of the only document."""
        try:
            events = [self.next(), self.next()]
            value = self.value(self.next())
            events += [self.next(), self.next()]
        finally:
            self.loader.dispose()
        if [type(event) for event in events] != ONE_DOCUMENT:
            raise LookupError(events)
        return value

    def value(self, event: Any) -> Any:
        """Return the value that begins with an event."""
        if isinstance(event, yaml.AliasEvent):
            return self.anchors[event.anchor]
        if isinstance(event, yaml.ScalarEvent):
            value = self.scalar(event)
        elif event is None or event.tag is not None:  # an empty text, or a type that PyYAML may know
            raise LookupError(event)
        elif isinstance(event, yaml.MappingStartEvent):
            value = self.mapping()
        else:
            value = []
            while not isinstance(item := self.next(), yaml.SequenceEndEvent):
                value.append(self.value(item))
        if event.anchor is not None:
            self.anchors[event.anchor] = value
        return value

    def scalar(self, event: Any) -> Any:
        """Return the value of a scalar."""
        return event.value

    def mapping(self) -> dict[Any, Any]:
        """Return the mapping that has begun."""
        mapping = {}
        while not isinstance(item := self.next(), yaml.MappingEndEvent):
            key = self.value(item)
            mapping[key] = self.value(self.next())
        return mapping


class _ValueReader(_Reader):
    """Makes numbers and booleans of scalars, too, and merges mappings."""

    def __init__(self, loader: Any) -> None:
        super().__init__(loader)
        self.resolvers = loader.yaml_implicit_resolvers

    def scalar(self, event: Any) -> Any:
        """Return the value of a scalar."""
        text = event.value
        if event.tag is not None:
            raise LookupError(event.tag)
        if not event.implicit[0] or text[:1] not in self.resolvers:
            return text
        tag = self.loader.resolve(yaml.ScalarNode, text, event.implicit)
        if tag == self.loader.DEFAULT_SCALAR_TAG:
            return text
        if tag not in ORDINARY_TAGS:
            raise LookupError(tag)
        return self.loader.construct_object(yaml.ScalarNode(tag, text))

    def mapping(self) -> dict[Any, Any]:
        """Return the mapping that has begun; its own keys have precedence over those of the one that it merges."""
        mapping: dict[Any, Any] = {}
        merged = None
        while not isinstance(item := self.next(), yaml.MappingEndEvent):
            if isinstance(item, yaml.ScalarEvent) and item.value == MERGE and item.implicit[0]:
                if merged is not None:
                    raise LookupError(MERGE)
                merged = self.value(self.next())
            else:
                key = self.value(item)
                mapping[key] = self.value(self.next())
        if merged is None:
            return mapping
        if not isinstance(merged, dict):
            raise LookupError(MERGE)
        return merged | mapping
