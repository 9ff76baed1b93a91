# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Readers of bytes that repoman did not write or that may be damaged, each with valid examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from ansible_collections.homelab.repoman.plugins.module_utils.profiles import yaml_reader
from answer_readers import VALID, chunked, read_instances, wait
from fuzzing import outcome
from hostile_server import DOCUMENT, OPERATION, Server, http_answer, serving
from registry_texts import SCHEMA_1, SCHEMA_2, SCHEMA_3
from settings_readers import OVERRIDE, TEMPLATE, override_outcome, registry_outcome, settings_place, template_outcome
from state_readers import JSON_FILES, MARKER, read_a_stored_registry, read_the_marker, state_place
from stream_readers import FRAMES, handshake, read_stream

Read = Callable[[bytes], object]


class Target(NamedTuple):
    """One reader.

    :ivar valid: inputs that it accepts.
    :ivar opened: creates its files or its server; an exception that the reader raises is a fault.
    """

    valid: tuple[bytes, ...]
    opened: Callable[[], AbstractContextManager[Read]]


def in_place(
    make: Callable[[], AbstractContextManager[Path]], read: Callable[[Path, bytes], object], *, is_harmless: bool = False
) -> Callable[[], AbstractContextManager[Read]]:
    """Return a function that opens a reader of files.

    :param is_harmless: the reader never reports an error.
    """

    @contextmanager
    def opened() -> Iterator[Read]:
        with make() as place:

            def read_file(data: bytes) -> None:
                message = outcome(lambda: read(place, data))
                assert not (is_harmless and message), message

            yield read_file

    return opened


def from_server(read: Callable[[Server], object], answer: Callable[[bytes, bytes], bytes]) -> Callable[[], AbstractContextManager[Read]]:
    """Return a function that opens a reader of answers.

    :param answer: gets the request and the data, and returns what to send.
    """

    @contextmanager
    def opened() -> Iterator[Read]:
        with serving() as server:

            def read_answer(data: bytes) -> object:
                server.answer = lambda request: [answer(request, data)]
                return outcome(lambda: read(server))

            yield read_answer

    return opened


@contextmanager
def without_libyaml() -> Iterator[Path]:
    """A place for settings while PyYAML has no libyaml."""
    fast = vars(yaml).pop("CSafeLoader", None)
    yaml_reader._loader.cache_clear()
    try:
        with settings_place() as place:
            yield place
    finally:
        if fast is not None:
            vars(yaml)["CSafeLoader"] = fast
        yaml_reader._loader.cache_clear()


def _an_answer(metadata: dict[str, Any]) -> tuple[bytes, ...]:
    return (json.dumps(DOCUMENT | metadata).encode(),)


REGISTRIES = tuple(text.encode() for text in (SCHEMA_1, SCHEMA_2, SCHEMA_3))
TEMPLATES = (TEMPLATE.encode(),)
TARGETS = {
    "registry": Target(REGISTRIES, in_place(settings_place, registry_outcome)),
    "override": Target((OVERRIDE.encode(),), in_place(settings_place, override_outcome)),
    "template": Target(TEMPLATES, in_place(settings_place, template_outcome)),
    "template without libyaml": Target(TEMPLATES, in_place(without_libyaml, template_outcome)),
    "marker": Target((MARKER.encode(),), in_place(state_place, read_the_marker)),
    "stored registry": Target(REGISTRIES, in_place(state_place, read_a_stored_registry, is_harmless=True)),
    "answer": Target(
        (VALID, chunked(json.dumps(DOCUMENT).encode())),
        from_server(read_instances, lambda _request, data: data),
    ),
    "document": Target(_an_answer({}), from_server(read_instances, lambda _request, data: http_answer(data))),
    "operation": Target(
        _an_answer({"type": "async", "metadata": OPERATION}),
        from_server(lambda server: wait(server, seconds=0.01), lambda _request, data: http_answer(data)),
    ),
    "frames": Target(
        (FRAMES,),
        from_server(read_stream, lambda request, data: handshake(request) + data),
    ),
} | {name: Target((json.dumps(valid).encode(),), in_place(state_place, read)) for name, (read, valid) in JSON_FILES.items()}
