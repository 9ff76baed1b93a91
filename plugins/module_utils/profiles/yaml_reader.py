# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read YAML as ``incus profile edit`` does.

Each scalar is its text as written, because Incus stores strings; only null has a meaning of its own. ``<<`` merges mappings at its
place: keys that follow it replace merged ones, and merged keys replace those before it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

try:
    import yaml
except ImportError:  # the module reports it before it gets here
    yaml = None  # type: ignore[assignment]

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError

NULL = "tag:yaml.org,2002:null"
MERGE = "tag:yaml.org,2002:merge"
BINARY = "tag:yaml.org,2002:binary"
MAX_NODES = 100_000
"""The largest document, in scalars and collections, with its aliases written out."""
MAX_DEPTH = 100
"""The deepest nesting of mappings and lists."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_MEANING = {NULL: NULL, MERGE: MERGE, BINARY: BINARY}


@cache
def _loader() -> Any:
    """Return the class that reads YAML; it knows null and merge keys, and leaves all other scalars as they are."""
    null = (NULL, re.compile(r"(?:~|null|Null|NULL|)\Z"))
    resolvers = {first: [null] for first in ("", "~", "n", "N")} | {"<": [(MERGE, re.compile(r"<<\Z"))]}
    return type("Loader", (getattr(yaml, "CSafeLoader", None) or yaml.SafeLoader,), {"yaml_implicit_resolvers": resolvers})


def compose(text: str) -> yaml.Node | None:
    """Return the only document in ``text``; ``None`` if it is empty.

    :raises NotFoundError: it is not YAML, has a second document, contains itself or names a key twice; the message starts with the line.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NotFoundError("a value is not UTF-8 text.", "see the values of USER and HOME: printenv USER HOME") from error
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=_loader())
    except yaml.YAMLError as error:
        raise _yaml_error(error) from error
    except RecursionError:
        raise _too_deep() from None
    except (ValueError, OverflowError) as error:  # an escaped character that does not exist, without libyaml
        raise NotFoundError(f"{error}.", "correct it") from error
    for number, _node in enumerate(_walk(node, ())):
        if number > MAX_NODES:
            raise NotFoundError("it is too large with its aliases written out.", "write it with fewer '*'")
    return node


def shape(node: yaml.Node | None, substitute: Callable[[str], str]) -> Any:
    """Return a document as nested tuples, with ``substitute`` applied to its scalars: equal for documents of equal shape."""
    if isinstance(node, yaml.ScalarNode):
        return (_MEANING.get(node.tag), substitute(node.value))
    if isinstance(node, yaml.SequenceNode):
        return ("list", *(shape(item, substitute) for item in node.value))
    if isinstance(node, yaml.MappingNode):
        return ("map", *((shape(key, substitute), shape(value, substitute)) for key, value in node.value))
    return None


def plain(node: yaml.Node | None) -> Any:
    """Return a document as dictionaries, lists and texts."""
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [plain(item) for item in node.value]
    return node.value if node else None


def name_position(text: str) -> tuple[int, int]:
    """Return start and end of the value of the key ``name`` in ``text``; zeros if it has none.

    :raises NotFoundError: see :func:`compose`.
    """
    document = compose(text)
    for key, value in document.value if isinstance(document, yaml.MappingNode) else ():
        if key.value == "name" and isinstance(value, yaml.ScalarNode) and value.start_mark.index > key.start_mark.index:
            offset = text.startswith("\ufeff")  # libyaml does not count it
            return value.start_mark.index + offset, value.end_mark.index + offset
    return 0, 0


def pairs(node: yaml.MappingNode) -> Iterator[tuple[str, yaml.Node]]:
    """Yield the keys and values of a mapping in the order in which they apply, with merged ones at their place.

    :raises NotFoundError: a key is not a text, or ``<<`` does not merge mappings.
    """
    for key, value in node.value:
        if key.tag == MERGE:
            sources = list(reversed(value.value)) if isinstance(value, yaml.SequenceNode) else [value]
            for source in sources:
                if not isinstance(source, yaml.MappingNode):
                    raise _error(key, "'<<' merges a mapping or a list of mappings", "write the name of an anchor: <<: *name")
                yield from pairs(source)
            continue
        name = scalar(key) if isinstance(key, yaml.ScalarNode) else None
        if name is None:
            raise _error(key, "this key is not a text", "put it in quotes")
        yield name, value


def scalar(node: yaml.ScalarNode) -> str | None:
    """Return the text of a scalar; ``None`` for null.

    :raises NotFoundError: Incus cannot store it.
    """
    text = str(node.value)
    if node.tag == NULL:
        return None
    if node.tag == BINARY:
        try:
            text = base64.b64decode("".join(text.split()), validate=True).decode()
        except ValueError as error:
            reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else "not base64"
            raise _error(node, f"the value of !!binary is {reason}", "Incus stores text: write it without !!binary") from error
    if "\0" in text:
        raise _error(node, "a text contains the character \\0, which Incus cannot store", "take it out")
    if _SURROGATE.search(text):  # libyaml does not read it
        raise _error(node, "a text contains half a character", "write it in UTF-8, without '\\u'")
    return text


def texts(node: yaml.Node) -> dict[str, str] | None:
    """Return a mapping of keys to texts, in which null is empty; ``None`` if the node is not a mapping.

    :raises NotFoundError: a value is a list or a mapping.
    """
    if not isinstance(node, yaml.MappingNode):
        return None
    values: dict[str, str] = {}
    for key, value in pairs(node):
        if not isinstance(value, yaml.ScalarNode):
            raise _error(value, f"the value of {key!r} is not a text", f"write a longer text as a block: '{key}: |'")
        values[key] = scalar(value) or ""
    return values


def is_null(node: yaml.Node) -> bool:
    """Return whether a node is null, which means unset."""
    return isinstance(node, yaml.ScalarNode) and scalar(node) is None


def _walk(node: yaml.Node | None, ancestors: tuple[yaml.Node, ...]) -> Iterator[yaml.Node]:
    """Yield every node of a document, those of aliases each time.

    :raises NotFoundError: it contains itself, or names a key twice.
    """
    if node is None:
        return
    yield node
    if not isinstance(node, yaml.CollectionNode):
        return
    if any(node is ancestor for ancestor in ancestors):
        raise _error(node, "it contains itself", "write it without '*'")
    if len(ancestors) == MAX_DEPTH:
        raise _too_deep()
    keys: set[str] = set()
    for item in node.value:
        for child in item if isinstance(item, tuple) else (item,):
            yield from _walk(child, (*ancestors, node))
        if isinstance(item, tuple) and isinstance(item[0], yaml.ScalarNode) and item[0].tag != MERGE:
            if item[0].value in keys:
                raise _error(item[0], f"the key {item[0].value!r} appears twice", "correct that line")
            keys.add(item[0].value)


def _error(node: yaml.Node, reason: str, hint: str) -> NotFoundError:
    return NotFoundError(f"line {node.start_mark.line + 1}: {reason}.", hint)


def _too_deep() -> NotFoundError:
    return NotFoundError("it is nested too deeply.", "write it flat")


def _yaml_error(error: yaml.YAMLError) -> NotFoundError:
    mark: yaml.Mark | None = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or str(error).splitlines()[0]
    if mark is None:
        return NotFoundError(f"{reason}.", "correct it")
    line = mark.line + 1
    if reason == "but found another document":
        return NotFoundError(f"line {line}: a second document begins, and a template is only one.", "write each into its own file")
    return NotFoundError(f"line {line}: {reason}.", "correct that line")
