# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a repository's configuration that git may see."""

from __future__ import annotations

import re

PLAIN_CONFIG = re.compile(
    rb"""(?: [ \t]* (?: [#;] [^\n\0]* )? \n )*
    (?: \[ [A-Za-z0-9.-]+ (?: [ \t]+ "[^"\\\n\0]*" )? \] \n (?: [ \t]* (?: [A-Za-z][A-Za-z0-9-]* [ \t]* = [^"\\\n\0]* | [#;] [^\n\0]* )? \n )* )*""",
    re.VERBOSE,
)
"""Configurations that git can certainly read, so that it need not be started: no quotes or escapes in values, and only complete lines."""
_SHA256 = re.compile(rb"objectformat\s*=\s*\"?sha256", re.IGNORECASE)


def minimal_config(config: bytes, *, derived: bool) -> str:
    """Return a configuration of repoman that has only the object format of a repository.

    :param config: the repository's; only the object format, and whether objects may be missing, are taken from it.
    :param derived: there may be files that git derived from objects; otherwise git starts no process to check them.
    """
    section, extension_values = b"", {b"objectformat": "", b"partialclone": "", b"refstorage": ""}
    promised = False
    for line in config.splitlines():
        stripped = line.strip()
        if stripped.startswith(b"["):
            section = stripped.lower()
            continue
        key, _equals, value = stripped.partition(b"=")
        key = key.strip().lower()
        if (
            section.startswith(b"[extensions]")
            and key in extension_values
            and re.fullmatch(rb"[\w.-]+", value.strip())
            and value.strip() != b"files"
        ):
            extension_values[key] = value.strip().decode()
        if section.startswith(b'[remote "') and key == b"promisor" and value.strip().lower() in {b"true", b"", b"yes", b"on", b"1"}:
            promised = True
    lines = ["[core]", "bare = true", "fsmonitor = false"]
    if not derived:
        lines += ["commitGraph = false", "multiPackIndex = false"]
    extensions = [f"{name.decode()} = {value}" for name, value in extension_values.items() if value and name != b"partialclone"]
    if promised or extension_values[b"partialclone"]:
        extensions.append("partialclone = promised")
        lines += ['[remote "promised"]', "promisor = true", "url = /nonexistent"]
    lines.insert(1, f"repositoryformatversion = {int(bool(extensions))}")
    return "\n".join([*lines, "[extensions]", *extensions] if extensions else lines) + "\n"
