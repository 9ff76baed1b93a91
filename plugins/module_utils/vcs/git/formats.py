# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The format of a git repository, and whether the git of this host knows it.

A container can have a newer git than its host. A format that the host's git does not know is not damage; the repository just cannot be verified here.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from functools import lru_cache

from ansible_collections.homelab.repoman.plugins.module_utils.process.bounded import MEMORY_BYTES, run_lines, run_tail
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.environment import hardened_environment

SECONDS = 60
OUTPUT_BYTES = 16 << 10
MAX_SETTINGS = 1000
INDEX_HEADER = 12
EXTENSION_HEADER = 8
ENTRY_STATUS = 40
"""Bytes of an entry of an index before its object's name."""
MODE_AT = 24
EXTENDED = 0x4000
"""The flag of an entry that has two more bytes of flags."""
GITLINK = 0o160000
SPARSE_SIGNATURE = b"sdir"
"""Extension at the end of an index that has entries for whole directories."""
NOT_NEEDED = frozenset({"noop", "noop-v1", "partialclone", "preciousobjects", "relativeworktrees", "worktreeconfig"})
"""Extensions that do not change how references and objects are read; source: git's documentation of extensions."""
UNKNOWN = re.compile(rb"try upgrading|extension, which we do not understand|unknown repository extension|Expected git repo version")
"""Errors of git for a file or repository that a newer git wrote."""
_MAY_HAVE_FORMAT = re.compile(rb"extensions|repositoryformatversion\s*=\s*[^0\s]", re.IGNORECASE)
_WORD = re.compile(r"[\w.:/@+-]{1,100}\Z", re.ASCII)


def unknown_format(config: bytes) -> str:
    """Return why this host's git does not know a repository's format; empty if it does. Only git itself decides this.

    :param config: the repository's configuration.
    """
    if not _MAY_HAVE_FORMAT.search(config):
        return ""
    settings = read_format(config)
    if settings is None:
        return "its configuration cannot be read"
    version = settings.pop("core.repositoryformatversion", "0")
    extensions = {key.removeprefix("extensions."): value for key, value in settings.items()}
    needed = {key: value for key, value in extensions.items() if key not in NOT_NEEDED and (key, value) != ("refstorage", "files")}
    if version == "0":  # git ignores unknown extensions there, and creates no such repository
        needed = {key: value for key, value in needed.items() if key == "objectformat"}
    odd = [word for pair in needed.items() for word in pair if not _WORD.match(word)]
    if odd or not _WORD.match(version):
        return f"its format says {(odd or [version])[0]!r}"
    if version in {"0", "1"} and needed in ({}, {"objectformat": "sha1"}):
        return ""
    return ask_git(version, tuple(sorted(needed.items())))


def read_format(config: bytes) -> dict[str, str] | None:
    """Return the version and the extensions that a configuration names, as git reads it; None if git cannot."""
    environment = hardened_environment(os.environ.get("PATH", os.defpath), GIT_DIR=os.devnull)
    settings: dict[str, str] = {}

    def on_setting(entry: bytes) -> None:
        key, newline, value = os.fsdecode(entry).partition("\n")
        if key == "core.repositoryformatversion" or key.startswith("extensions."):
            settings[key] = value if newline else "true"
            if len(settings) > MAX_SETTINGS:
                raise ValueError("more settings than any repository has")

    try:
        # git prints a section's name with each of its settings, so a small file can cause a very long output.
        with tempfile.TemporaryFile() as file:
            file.write(config)
            file.seek(0)
            code = run_lines(
                ["git", "config", "--file", "-", "--no-includes", "--list", "-z"],
                env=environment,
                seconds=SECONDS,
                out=on_setting,
                end=b"\0",
                stdin=file.fileno(),
                cwd="/",
            )
    except (OSError, ValueError):
        return {} if shutil.which("git") is None else None
    return None if code else settings


@lru_cache(maxsize=256)
def ask_git(version: str, extensions: tuple[tuple[str, str], ...]) -> str:
    """Return git's error for an empty repository of this format; an empty string if git supports it."""
    with tempfile.TemporaryDirectory(prefix="repoman-format-") as directory:
        for name in ("refs/heads", "objects", "reftable"):
            os.makedirs(os.path.join(directory, name))
        with open(os.path.join(directory, "reftable", "tables.list"), "w", encoding="ascii"):
            pass
        with open(os.path.join(directory, "HEAD"), "w", encoding="ascii") as file:
            file.write("ref: refs/heads/main\n")
        lines = ["[core]", "bare = true", f"repositoryformatversion = {version}", "[extensions]"]
        with open(os.path.join(directory, "config"), "w", encoding="ascii") as file:
            file.write("\n".join([*lines, *(f"{key} = {value}" for key, value in extensions)]) + "\n")
        environment = hardened_environment(os.environ.get("PATH", os.defpath), GIT_DIR=directory)
        try:
            code, _out, err = _run_git(["for-each-ref"], environment)
        except OSError:
            return ""
    if not code:
        return ""
    error = " ".join(line.decode(errors="replace").strip().removeprefix("fatal: ") for line in err.splitlines() if line)
    return f"{git_version()} does not know its format: {error}"


@lru_cache(maxsize=1)
def git_version() -> str:
    """Return the name and version of this host's git."""
    try:
        _code, out, _err = _run_git(["--version"], hardened_environment(os.environ.get("PATH", os.defpath)))
    except OSError:
        return "git"
    match = re.match(rb"git version (\S+)", out)
    return f"git {match[1].decode(errors='replace')}" if match else "git"


def _run_git(arguments: list[str], environment: dict[str, str]) -> tuple[int, bytes, bytes]:
    return run_tail(["git", *arguments], env=environment, seconds=SECONDS, memory=MEMORY_BYTES, size=OUTPUT_BYTES, cwd="/")


def is_index(path: bytes) -> bool:
    """Return whether a path in a git directory is an index or the shared part of a split index."""
    name = path.rpartition(b"/")[2]
    return name == b"index" or name.startswith(b"sharedindex.")


def add_index_hash(path: bytes, object_format: str) -> None:
    """Write the hash to the end of an index that has zeros there.

    git since 2.40 can leave it out (``index.skipHash``, ``feature.manyFiles``), which an older one calls corrupt.

    :param path: path of a private copy.
    """
    digest = hashlib.sha256() if object_format == "sha256" else hashlib.sha1(usedforsecurity=False)
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END) - digest.digest_size
        if size < INDEX_HEADER:
            return
        file.seek(size)
        if any(file.read()):
            return
        file.seek(0)
        if file.read(4) != b"DIRC":
            return
        file.seek(0)
        while size > 0 and (part := file.read(min(size, 1 << 20))):
            digest.update(part)
            size -= len(part)
        file.write(digest.digest())


def without_sparse_directories(index: bytes, object_format: str) -> tuple[bytes, list[str]]:
    """Return an index without the form in which it has one entry for a directory outside the sparse checkout, and the trees of those entries.

    git replaces such an entry by a whole tree before it checks an index, and so writes trees into the object store, or updates the times of
    existing ones. Here the entries become links to other repositories, which git does not follow.

    :param index: its contents; returned unchanged, without trees, if they do not have this form or cannot be read.
    """
    digest_size = 32 if object_format == "sha256" else 20
    end = len(index) - digest_size
    if not index.startswith(b"DIRC") or end < INDEX_HEADER or SPARSE_SIGNATURE not in index:
        return index, []
    version, count = int.from_bytes(index[4:8], "big"), int.from_bytes(index[8:INDEX_HEADER], "big")
    changed = bytearray(index[:INDEX_HEADER])
    trees: list[str] = []
    at = INDEX_HEADER
    for _number in range(count):
        start, flags_at = at, at + ENTRY_STATUS + digest_size
        if flags_at + 2 > end:
            return index, []
        flags = int.from_bytes(index[flags_at : flags_at + 2], "big")
        at = flags_at + (4 if flags & EXTENDED else 2)
        if version == 4:  # noqa: PLR2004 - a name there begins with how much of the last one it is without
            while at < end and index[at] & 0x80:
                at += 1
            at += 1
        at = index.find(b"\0", at, end) + 1
        if not at:
            return index, []
        if version != 4:  # noqa: PLR2004
            at = start + -(-(at - start) // 8) * 8
        entry = bytearray(index[start:at])
        if int.from_bytes(entry[MODE_AT : MODE_AT + 4], "big") == stat.S_IFDIR:
            entry[MODE_AT : MODE_AT + 4] = GITLINK.to_bytes(4, "big")
            trees.append(bytes(entry[ENTRY_STATUS : ENTRY_STATUS + digest_size]).hex())
        changed += entry
    is_sparse = False
    while at + EXTENSION_HEADER <= end:
        size = EXTENSION_HEADER + int.from_bytes(index[at + 4 : at + EXTENSION_HEADER], "big")
        if index[at : at + 4] == SPARSE_SIGNATURE:
            is_sparse = True
        else:
            changed += index[at : at + size]
        at += size
    if not is_sparse or at != end:
        return index, []
    digest = hashlib.sha256() if object_format == "sha256" else hashlib.sha1(usedforsecurity=False)
    digest.update(changed)
    return bytes(changed) + digest.digest(), trees
