# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read small files of repoman from directories that other processes may write: never without a limit, never from a pipe or a link."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Any

CHUNK = 1 << 20
_SURROGATE = re.compile(r"\\u[dD](?:[89abABd-fD-F]|[cC][0-7])")
"""An escape of a surrogate. Python stores bytes of paths that are not UTF-8 as U+DC80 to U+DCFF, which do not count."""


def read_limited(path: Path, limit: int, *, waits: bool = False) -> str:
    """Return the text of a regular file.

    The limit holds while reading: a file that grows, or that is sparse and huge, costs no more than ``limit`` bytes of memory.

    :param waits: wait for a file that does not respond at once; the caller abandons this process if it takes too long.
    :raises OSError: it cannot be read, is not a regular file, or is larger than ``limit``.
    :raises ValueError: it is not UTF-8.
    """
    return read_bytes_limited(path, limit, waits=waits)[0].decode("utf-8")


def read_bytes_limited(
    path: str | os.PathLike[str], limit: int, *, waits: bool = False, follow: bool = False, directory_fd: int | None = None
) -> tuple[bytes, os.stat_result]:
    """Return the bytes of a regular file, and its status; the limit holds while reading.

    :param waits: as for :func:`read_limited`.
    :param follow: follow a link at ``path``, to a regular file.
    :param directory_fd: of an open directory that ``path`` is relative to.
    :raises OSError: as :func:`read_limited`.
    """
    links = 0 if follow else os.O_NOFOLLOW
    file = os.open(path, os.O_RDONLY | links | (0 if waits else os.O_NONBLOCK) | os.O_CLOEXEC | os.O_NOCTTY, dir_fd=directory_fd)
    try:
        status = os.fstat(file)
        if not waits and not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        data = bytearray()
        while chunk := os.read(file, CHUNK):
            data += chunk
            if len(data) > limit:
                raise OSError(errno.EFBIG, f"larger than {limit} bytes", str(path))
        return bytes(data), status
    finally:
        os.close(file)


def read_json(path: Path, limit: int) -> Any:
    """Return the contents of a JSON file.

    :raises OSError: as :func:`read_limited`.
    :raises ValueError: it is not JSON, or is nested too deep to be repoman's.
    """
    return parse_json(read_limited(path, limit))


def parse_json(text: str) -> Any:
    """Return the contents of a JSON text that repoman wrote.

    :raises ValueError: it is not JSON; is nested too deep; or has what repoman never writes: a number that is not finite, or half of a
        surrogate pair, which neither a path nor an output can have (the bytes of paths that are not UTF-8 are other characters).
    """
    try:
        data = json.loads(text, parse_constant=finite, parse_float=finite)
        if _SURROGATE.search(text):
            os.fsencode(json.dumps(data, ensure_ascii=False))
    except (RecursionError, MemoryError) as error:
        raise ValueError("it is nested too deep, or too large") from error
    return data


def finite(value: Any) -> float:
    """Convert a value to a finite number; a damaged file may contain it as a string.

    :raises ValueError: (or another error of :class:`float`) it is not one, or not finite.
    """
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("a number in it is not finite")
    return number
