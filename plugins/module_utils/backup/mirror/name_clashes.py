# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of a unit that are the same name on the target, because it is not case-sensitive."""

from __future__ import annotations

import os
import unicodedata

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import pack_block, unpack_block
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest, ManifestWriter
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import MirrorError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.target_traits import Traits
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import shorten_path


def without_clashes(unit: Unit, source_manifest: Manifest, traits: Traits, path: str) -> tuple[Manifest, list[MirrorError]]:
    """Return a manifest without entries that would replace another one in the mirror, and an error for each of them.

    :param path: file for the manifest, if names clash.
    """
    left_out: dict[bytes, bytes] = {}
    if traits.case:
        return source_manifest, []
    for directory, block in source_manifest.blocks():
        first: dict[str, bytes] = {}
        for entry in unpack_block(directory, block):
            if entry.path != directory or not directory:
                other = first.setdefault(_folded(entry.name), entry.path)
                if other != entry.path:
                    left_out[entry.path] = other
    if not left_out:
        return source_manifest, []
    below_left_out: set[bytes] = set()
    with ManifestWriter(path) as writer:
        for directory, block in source_manifest.blocks():
            if directory in left_out or directory.rpartition(b"/")[0] in below_left_out:
                below_left_out.add(directory)
                continue
            writer.add(pack_block(directory, [entry.record() for entry in unpack_block(directory, block) if entry.path not in left_out]))
        manifest = writer.finish()
    source = os.fsencode(unit.source)
    return manifest, [clash(os.path.join(source, path), os.path.basename(other)) for path, other in sorted(left_out.items())]


def clash(path: bytes, other: bytes) -> MirrorError:
    """Return the error for a name that is the same as another one in its directory on the target."""
    return MirrorError(
        f"{shorten_path(path)!r} clashes with {shorten_path(other)!r} on the target, which is not case-sensitive.",
        "rename one of them",
    )


def _folded(name: bytes) -> str:
    return unicodedata.normalize("NFC", name.decode("utf-8", "surrogateescape").casefold())
