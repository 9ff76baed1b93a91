# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare manifests block by block, and write changed ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import (
    BLOCK_HEADER,
    Entry,
    pack_block,
    sort_key,
    unpack_block,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest, ManifestWriter


def differing_blocks(before: Manifest, now: Manifest) -> Iterator[tuple[bytes, bytes | None, bytes | None]]:
    """Yield each directory in which two manifests differ, in order, with its block from each of them (None if one is missing)."""
    olds, news = before.blocks(), now.blocks()
    old, new = next(olds, None), next(news, None)
    while old or new:
        if old == new:
            old, new = next(olds, None), next(news, None)
        elif old and new and old[0] == new[0]:
            yield new[0], old[1], new[1]
            old, new = next(olds, None), next(news, None)
        elif old and (new is None or sort_key(old[0]) < sort_key(new[0])):
            yield old[0], old[1], None
            old = next(olds, None)
        elif new:
            yield new[0], None, new[1]
            new = next(news, None)


def differing_entries(directory: bytes, old: bytes | None, new: bytes | None) -> tuple[bytes, list[tuple[Entry | None, Entry | None]]]:
    """Return a directory, and the pairs of entries in which two of its blocks differ (None if one is missing)."""
    if old is None:
        return directory, [(None, entry) for entry in unpack_block(directory, new or b"")]
    were = {entry.path: entry for entry in unpack_block(directory, old)}
    pairs: list[tuple[Entry | None, Entry | None]] = []
    for entry in unpack_block(directory, new or b""):
        was = were.pop(entry.path, None)
        if was != entry:
            pairs.append((was, entry))
    pairs += [(was, None) for was in were.values()]
    return directory, pairs


def merge_blocks(*manifests: Manifest) -> Iterator[tuple[bytes, list[bytes | None]]]:
    """Yield each directory of any manifest, in order, with its block from each of them (None if it is missing)."""
    rests = [manifest.blocks() for manifest in manifests]
    heads = [next(rest, None) for rest in rests]
    while any(heads):
        directory = min((head[0] for head in heads if head), key=sort_key)
        has_directory = [head is not None and head[0] == directory for head in heads]
        yield directory, [head[1] if head and is_match else None for head, is_match in zip(heads, has_directory, strict=True)]
        heads = [next(rest, None) if is_match else head for rest, head, is_match in zip(rests, heads, has_directory, strict=True)]


def patch_manifest(now: Manifest, changes: Mapping[bytes, Entry | None], output_path: str) -> Manifest:
    """Write a copy of a manifest in which some entries are replaced (None: removed)."""
    by_directory: dict[bytes, dict[bytes, Entry | None]] = {}
    for path, entry in changes.items():
        by_directory.setdefault(path.rpartition(b"/")[0], {})[path] = entry
        if entry is not None and entry.type == "d":
            by_directory.setdefault(path, {})
    missing = set(by_directory)
    for directory, _block in now.blocks():
        missing.discard(directory)
    extra = iter(sorted(missing, key=sort_key))
    waiting = next(extra, None)

    def records(directory: bytes, entries: dict[bytes, Entry]) -> bytes:
        entries |= {path: entry for path, entry in by_directory[directory].items() if entry is not None}
        for path, entry in by_directory[directory].items():
            if entry is None:
                entries.pop(path, None)
        return pack_block(directory, [entries[path].record() for path in sorted(entries)])

    with ManifestWriter(output_path) as writer:
        for directory, block in now.blocks():
            while waiting is not None and sort_key(waiting) < sort_key(directory):
                writer.add(records(waiting, {}))
                waiting = next(extra, None)
            if directory in by_directory:
                writer.add(records(directory, {entry.path: entry for entry in unpack_block(directory, block)}))
            else:
                writer.add(BLOCK_HEADER.pack(len(directory), len(block)) + directory + block)
        while waiting is not None:
            writer.add(records(waiting, {}))
            waiting = next(extra, None)
        return writer.finish()
