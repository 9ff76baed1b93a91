# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A trace for bug reports: what a run read, decided and did, without secrets.

The logic logs with the standard library, at level DEBUG, to children of the logger ``repoman``. Nothing is written unless a run starts the
trace: into the file that ``REPOMAN_LOG`` names, and with ``-vvv`` to Ansible's display.

Forks log like their parent. They write to the file themselves, but Ansible's display works in one process only, so they leave their
lines in memory that all processes of the run share, and the process with the display passes them on.

Do not log values that may be secret. :func:`protect` is the second line of defence: it masks them in texts of other programs, such as errors of
Incus.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.secrets import is_secret_key

if TYPE_CHECKING:
    from ansible_collections.homelab.repoman.plugins.module_utils.core.trace import Handler

FILE_VARIABLE = "REPOMAN_LOG"
MASK = "(secret)"
MIN_SECRET_LENGTH = 4
"""Shorter values are not masked, because they are part of too many texts."""
MAX_WORD_LENGTH = 80
"""Longer words of a command, such as a script, are cut."""

_NAME = "repoman"
_secrets: set[str] = set()


class Logger:
    """Logs to the logger of the standard library with the same name, unless nothing has imported ``logging``: then nobody listens.

    :param name: of the logger.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def debug(self, message: str, *values: object, exc_info: bool = False) -> None:
        """Log at level DEBUG.

        :param message: with a placeholder of ``%`` for each value.
        :param exc_info: as in ``logging``.
        """
        if logging := sys.modules.get("logging"):
            logging.getLogger(self.name).debug(message, *values, exc_info=exc_info)


def get_logger(name: str) -> Logger:
    """Return the logger of a part of the logic, such as ``incus``."""
    return Logger(f"{_NAME}.{name}")


@contextmanager
def tracing(emit: Callable[[str], None] | None = None) -> Iterator[None]:
    """Write the trace inside a ``with``.

    :param emit: gets each line, too, also those of forks; called in this process only.
    """
    path = os.environ.get(FILE_VARIABLE)
    if emit is None and not path:
        yield
        return
    # "shell" and "list" start faster without it
    from ansible_collections.homelab.repoman.plugins.module_utils.core import trace

    handlers: list[Handler] = []
    if emit is not None:
        handlers.append(trace.EmitHandler(emit, _masked))
    if path:
        handlers.append(trace.FileHandler(path, _masked))
    with trace.handled(_NAME, handlers):
        yield


def relay_forks() -> None:
    """Pass on the lines of forks; for a process that waits for them and logs nothing itself."""
    if trace := sys.modules.get(f"{__package__}.trace"):
        trace.relay_forks(_NAME)


def protect(data: Any, secret: bool = False) -> None:
    """Mask, in all later lines, the values of nested data that may be secret.

    :param secret: treat all values as secret.
    """
    logging = sys.modules.get("logging")
    if logging is None or not logging.getLogger(_NAME).isEnabledFor(logging.DEBUG):
        return
    rest = [(data, secret)]  # not by recursion: what another program sent may be nested deep
    while rest:
        value, is_secret = rest.pop()
        if isinstance(value, dict):
            rest += ((inner, is_secret or is_secret_key(str(key))) for key, inner in value.items())
        elif isinstance(value, list | tuple):
            rest += ((inner, is_secret) for inner in value)
        elif is_secret and value is not None:
            text = str(value)
            _secrets.update(part for part in (text, *text.splitlines()) if len(part.strip()) >= MIN_SECRET_LENGTH)


def format_command(argv: Sequence[str | bytes]) -> str:
    """Return a command as one line; long words, such as scripts, are cut."""
    words = [_masked(os.fsdecode(word)) for word in argv]
    return shlex.join(word if len(word) <= MAX_WORD_LENGTH else f"{word[:MAX_WORD_LENGTH]}…" for word in words)


def _masked(text: str) -> str:
    """Return a text with every known secret masked, long ones first."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text
