# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What reads bytes that repoman did not write, or that may be damaged: each reader with an example of what it expects."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import scan_in_memory
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
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

    :ivar valid: what it is meant for.
    :ivar opened: its files or its server; the reader returns, or raises what is a fault.
    """

    valid: tuple[bytes, ...]
    opened: Callable[[], AbstractContextManager[Read]]


def in_place(
    make: Callable[[], AbstractContextManager[Path]], read: Callable[[Path, bytes], object]
) -> Callable[[], AbstractContextManager[Read]]:
    """Return what opens a reader of files."""

    @contextmanager
    def opened() -> Iterator[Read]:
        with make() as place:
            yield lambda data: outcome(lambda: read(place, data))

    return opened


def from_server(read: Callable[[Server], object], answer: Callable[[bytes, bytes], bytes]) -> Callable[[], AbstractContextManager[Read]]:
    """Return what opens a reader of answers.

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
    """A place for settings, if PyYAML has only its own parser."""
    fast = vars(yaml).pop("CSafeLoader", None)
    yaml_reader._loader.cache_clear()
    try:
        with settings_place() as place:
            yield place
    finally:
        if fast is not None:
            vars(yaml)["CSafeLoader"] = fast
        yaml_reader._loader.cache_clear()


def manifest_of(place: Path) -> bytes:
    """Return the manifest of a small unit."""
    unit = place / "manifest-unit"
    (unit / "sub").mkdir(parents=True, exist_ok=True)
    (unit / "sub/file").touch()
    scan_in_memory(Unit("unit", str(unit))).save(str(place / "manifest"))
    return (place / "manifest").read_bytes()


def read_a_manifest(place: Path, data: bytes) -> None:
    """None, or all of its entries."""
    (place / "manifest").write_bytes(data)
    loaded = Manifest.load(str(place / "manifest"))
    assert loaded is None or list(loaded.entries())


def _an_answer(metadata: dict[str, Any]) -> tuple[bytes, ...]:
    return (json.dumps(DOCUMENT | metadata).encode(),)


def _manifest() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as directory:
        return (manifest_of(Path(directory)),)


REGISTRIES = tuple(text.encode() for text in (SCHEMA_1, SCHEMA_2, SCHEMA_3))
TEMPLATES = (TEMPLATE.encode(),)
TARGETS = {
    "registry": Target(REGISTRIES, in_place(settings_place, registry_outcome)),
    "override": Target((OVERRIDE.encode(),), in_place(settings_place, override_outcome)),
    "template": Target(TEMPLATES, in_place(settings_place, template_outcome)),
    "template without libyaml": Target(TEMPLATES, in_place(without_libyaml, template_outcome)),
    "marker": Target((MARKER.encode(),), in_place(state_place, read_the_marker)),
    "stored registry": Target(REGISTRIES, in_place(state_place, read_a_stored_registry)),
    "manifest": Target(_manifest(), in_place(state_place, read_a_manifest)),
    "answer": Target(
        (VALID, chunked(json.dumps(DOCUMENT).encode())),
        from_server(read_instances, lambda _request, data: data),
    ),
    "document": Target(_an_answer({}), from_server(read_instances, lambda _request, data: http_answer(data))),
    "operation": Target(
        _an_answer({"type": "async", "metadata": OPERATION}),
        from_server(wait, lambda _request, data: http_answer(data.replace(b": 103", b": 200"))),
    ),
    "frames": Target(
        (FRAMES,),
        from_server(read_stream, lambda request, data: handshake(request) + data),
    ),
} | {name: Target((json.dumps(valid).encode(),), in_place(state_place, read)) for name, (read, valid) in JSON_FILES.items()}
