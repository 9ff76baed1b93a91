# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The registry on disk: ``~/.config/repoman/repoman.toml``.

Users edit this file. A write changes as little as possible, so that comments, order and unknown keys stay; it is locked, atomic and synced.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotCreatedYetError, NotFoundError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.core.warnings import set_output, warn
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import (
    discard_staged,
    ensure_private_directory,
    staged_path,
    write_atomic,
)
from ansible_collections.homelab.repoman.plugins.module_utils.files.lock import FileLock
from ansible_collections.homelab.repoman.plugins.module_utils.files.small_files import read_limited
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import SCHEMA, Data, Registry
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import parse

_logger = get_logger("registry")

REGISTRY_BYTES = 4 << 20
"""The largest registry or override."""
LOCK_SECONDS = 30.0
"""Seconds that a write waits for another one."""


def default_path(home: str) -> str:
    """Return the path of the registry in a home directory."""
    return str(Path(home, ".config", "repoman", "repoman.toml"))


def default_user_dir(home: str) -> str:
    """Return the path of the directory of the user's profile templates in a home directory."""
    return str(Path(home, ".config", "repoman", "profiles.d"))


def load(path: str) -> Registry:
    """Read the registry.

    :raises NotFoundError: it does not exist, cannot be read, is malformed or has a newer schema; the message has file and line.
    """
    text = read_text(path)
    if text is None:
        raise NotCreatedYetError(f"there is no registry at {path}.", "repoman setup")
    return _parse(text, path)


def _parse(text: str, path: str) -> Registry:
    registry = parse(text, path)
    for warning in registry.warnings:
        warn(warning)
    set_output(registry.output)
    _logger.debug("read %s: schema %d, %d projects", path, registry.schema, len(registry.projects))
    return registry


def load_predicted(path: str, params: dict[str, Any], account: Account) -> Registry:
    """Return the registry that an earlier task would have written in check mode: ``registry_text``, if it is for this path.

    :raises NotFoundError: see :func:`load`.
    """
    text, text_path = params["registry_text"], params["registry_text_path"]
    return _parse(text, path) if text and account.expand(text_path or path) == path else load(path)


def load_or_none(path: str) -> Registry | None:
    """Read the registry; return ``None`` if it does not exist."""
    text = read_text(path)
    return None if text is None else _parse(text, path)


def edit_file(path: str, edit: Callable[[Data], None], owner: Account) -> None:
    """Change the registry, with a lock, after reading it again; create it if it does not exist.

    The first write after a migration keeps the old file as ``repoman.toml.schemaN.bak``.

    :param edit: changes the data in place; see :func:`edit_text`.
    :param owner: owner of a new file if this process is root.
    """
    from ansible_collections.homelab.repoman.plugins.module_utils.registry.edit import DEFAULT_TEXT, edit_text

    real = os.path.realpath(path)
    ensure_private_directory(str(Path(real).parent), owner)
    with locked(f"{real}.lock", owner):
        text = read_text(real)
        before = DEFAULT_TEXT if text is None else text
        after = edit_text(before, path, edit)
        if text is not None:
            schema = parse(text, path).schema
            backup = f"{real}.schema{schema}.bak"
            if schema < SCHEMA and not Path(backup).exists():
                write_atomic(backup, text, owner)
        if after != text:
            write_atomic(real, after, owner)
            _logger.debug("wrote %s", real)


def remove_unfinished(path: str, owner: Account) -> None:
    """Remove what a killed run left of a write of the registry, for a run that does not write it itself."""
    real = os.path.realpath(path)
    if not os.path.lexists(staged_path(real)):
        return
    with suppress(OSError), FileLock(f"{real}.lock", owner) as lock:
        lock.acquire(0)
        discard_staged(real)


def read_text(path: str) -> str | None:
    """Return the text of a file, or of one that a link names; ``None`` if it does not exist.

    :raises NotFoundError: it cannot be read, is not a regular file, is too large, or is not UTF-8.
    """
    try:
        return read_limited(Path(os.path.realpath(path)), REGISTRY_BYTES)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise NotFoundError(f"{path}, line {line}: not UTF-8 text.", "save it as UTF-8") from error
    except OSError as error:
        raise NotFoundError(f"cannot read {path}: {error.strerror}.", f"ls -l {shell_word(str(path))}") from error


@contextmanager
def locked(path: str, owner: Account) -> Iterator[FileLock]:
    """Hold a lock, such as that of the registry, inside a ``with``.

    :raises RepomanError: another process holds it for longer than ``LOCK_SECONDS``.
    """
    try:
        lock = FileLock(path, owner)
    except OSError as error:
        raise _cannot_lock(path, error) from error
    with lock:
        try:
            lock.acquire(LOCK_SECONDS)
        except TimeoutError:
            raise RepomanError(f"another repoman has held {path} for {LOCK_SECONDS:.0f} s.", f"see which: fuser -v {path}") from None
        except OSError as error:
            raise _cannot_lock(path, error) from error
        yield lock


def _cannot_lock(path: str, error: OSError) -> RepomanError:
    directory = shell_word(os.path.dirname(path))
    return RepomanError(f"cannot lock {path}: {error.strerror}.", f"ls -ld {directory}", f"df -h {directory}")
