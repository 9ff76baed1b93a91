# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Damaged files and answers for tests, and a child process with little memory and time that reads them."""

from __future__ import annotations

import copy
import os
import resource
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from hypothesis import strategies as st

MEMORY = 600 << 20
"""Bytes that a reader may take, in addition to those of the tests."""
SECONDS = 60
"""Only a hang takes longer, on any machine."""

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**63 - 1, 2**64, 10**400, 0.5, -0.0, 1e308, float("inf"), float("-inf"), float("nan"),
    "", "\0", "a\0b", "\n", "\x1b[2J", "\ud800", "\udc80", "ä\u2028\U0010ffff", "x" * 5000, "../../..", "/", "~", "{host}", "${HOME}", "%s",
    "9999-12-31T23:59:59+23:59", "0001-01-01", "1" * 5000, "٣d", [], [[]], [None], [1, "a"], ["a\0"], {}, {"": ""}, {"a": {}}, {"name": None},
]  # fmt: skip
"""Values that stand where others are expected."""
JUNK = [
    b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b"[", b"{", b'"', b"'", b"'''", b'"""', b"\\", b"\\u0000", b"\\ud800", b"=", b"\n",
    b".", b"&a ", b"*a", b"<<: ", b"- ", b"? ", b"!!binary ", b"1e999", b"NaN", b"-", b"9" * 5000, b"0x" + b"f" * 5000, b"#", b"\t", b"..\n",
]  # fmt: skip
"""Bytes that mean something in one of the formats."""


def paths(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value in nested data."""
    yield path
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from paths(value, (*path, key))


def damaged_data(valid: Any, odd: Sequence[Any] = ()) -> st.SearchStrategy[Any]:
    """Return data with up to three changes: a value is replaced by an odd one, removed, or moved to an odd key.

    :param odd: the odd values; without any, :data:`ODD`.
    """
    places = sorted(paths(valid), key=len)

    @st.composite
    def damaged(draw: st.DrawFn) -> Any:
        data = copy.deepcopy(valid)
        for _each in range(draw(st.integers(1, 3))):
            path, value = draw(st.sampled_from(places)), draw(st.sampled_from(odd or ODD))
            kind = draw(st.sampled_from(["replace", "replace", "remove", "rename"]))
            if not path:
                if kind == "replace" and len(places) > 1 and draw(st.booleans()):
                    return value
                continue
            with suppress(LookupError, TypeError, AttributeError):  # an earlier replacement has taken the place away
                holder = data
                for key in path[:-1]:
                    holder = holder[key]
                if kind == "replace":
                    _exists = holder[path[-1]]
                    holder[path[-1]] = copy.deepcopy(value)
                else:
                    old = holder.pop(path[-1])
                    if kind == "rename" and isinstance(value, str) and isinstance(holder, dict):
                        holder[value] = old
        return data

    return damaged()


def damaged_bytes(valid: bytes) -> st.SearchStrategy[bytes]:
    """Return bytes in which up to four places are flipped, replaced, inserted, removed, doubled, or the end is cut off."""
    junk = st.binary(min_size=1, max_size=8) | st.sampled_from(JUNK)

    @st.composite
    def damaged(draw: st.DrawFn) -> bytes:
        data = valid
        for _each in range(draw(st.integers(1, 4))):
            at = draw(st.integers(0, len(data)))
            size = draw(st.integers(0, 12))
            kind = draw(st.sampled_from(["flip", "junk", "junk", "insert", "insert", "remove", "double", "cut"]))
            if kind == "flip":
                data = data[:at] + bytes(byte ^ 1 << size % 8 for byte in data[at : at + 1]) + data[at + 1 :]
            elif kind == "cut":
                data = data[:at]
            else:
                middle = {"remove": b"", "double": data[at : at + size] * 2}.get(kind)
                rest = data[at:] if kind == "insert" else data[at + size :]
                data = data[:at] + (draw(junk) if middle is None else middle) + rest
        return data

    return damaged()


def outcome(read: Callable[[], object]) -> str:
    """Return the message of the user error that a reader raises, or an empty string."""
    try:
        read()
    except RepomanError as error:
        assert error.message
        str(error.as_result()).encode("utf-8", "surrogateescape")
        return error.message
    except OSError as error:
        converted = RepomanError.from_exception(error)
        assert converted is not None
        return converted.message
    return ""


def bounded(read: Callable[[], object]) -> str:
    """Return the :func:`outcome` of a reader that runs in a child process with limits of memory and time."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            try:
                text = outcome(read)
            except BaseException:
                text = traceback.format_exc()
            os.write(write_end, text[-60_000:].encode("utf-8", "backslashreplace"))
            os._exit(0)
        os._exit(1)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        text = pipe.read().decode()
    status = os.waitpid(child, 0)[1]
    assert status == 0, f"the reader ended with {status}: it took too long, or too much memory"
    assert "Traceback" not in text, text
    return text
