# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read objects of a damaged repository with one ``git cat-file``, which is started again when it gives up on an object."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.process.bounded import limit_memory
from ansible_collections.homelab.repoman.plugins.module_utils.process.command import Command


class ObjectReader:
    """Reads one object after the other; the process starts with the first.

    :param environment: for git, which sees the objects in it.
    :param how: further arguments of the process.
    :param max_restarts: number of objects that git may give up on.
    """

    def __init__(self, environment: dict[str, str], how: dict[str, Any], max_restarts: int) -> None:
        self.environment, self.how, self.max_restarts = environment, how, max_restarts
        self.process: Command | None = None
        self.restarts = 0

    def close(self) -> None:
        """End the process."""
        process, self.process = self.process, None
        if process is not None:
            process.end()

    def head(self, name: bytes) -> tuple[bytes, int] | None:
        """Return an object's kind and size; None if git does not have it or cannot read it.

        :param name: in hex.
        :raises OSError: git gave up on too many objects.
        """
        return self._request(b"info", name)

    def contents(self, name: bytes) -> bytes | None:
        """Return an object's contents, which are all read into memory; None if git cannot read it.

        :raises OSError: git gave up on too many objects.
        """
        head = self._request(b"contents", name)
        if head is None or self.process is None or self.process.stdout is None:
            return None
        data = self.process.stdout.read(head[1] + 1)
        if len(data) != head[1] + 1:
            self._restart()
            return None
        return data[:-1]

    def _request(self, command: bytes, name: bytes) -> tuple[bytes, int] | None:
        if self.process is None:
            self.process = Command(
                ["git", "cat-file", "--batch-command"],
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                **self.how,
            )
            limit_memory(self.process.pid)
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("a process without pipes")
        answer: list[bytes] = []
        with suppress(BrokenPipeError):
            stdin.write(command + b" " + name + b"\n")
            stdin.flush()
            answer = stdout.readline(200).split()
        if not answer:  # git gave up on this object
            self._restart()
            return None
        if len(answer) != 3 or not answer[2].isdigit():  # noqa: PLR2004 - name, kind and size
            return None
        return answer[1], int(answer[2])

    def _restart(self) -> None:
        self.close()
        self.restarts += 1
        if self.restarts > self.max_restarts:
            raise OSError("too many damaged objects")
