# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run commands on a terminal of 80 columns and draw what they print as an SVG picture.

``draw_picture.py FILE PREFIX…`` reads command lines from standard input; the last argument of each process is the command line. Ends with
1 if a command fails.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COLUMNS, LINES = 80, 24
TIME_LIMIT = 300
"""Seconds after which a command, which may wait for a key, is ended."""
FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>The first steps with repoman, on a terminal</title>
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px monospace; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""The format of rich without its fonts, which a reader's browser would load from the network."""


def record(command: list[str]) -> tuple[bytes, int]:
    """Run a command on a terminal; return what it prints, and its exit status."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    process = subprocess.Popen(command, stdin=end, stdout=end, stderr=end, start_new_session=True)
    os.close(end)
    timer = threading.Timer(TIME_LIMIT, lambda: os.killpg(process.pid, signal.SIGKILL))
    timer.start()
    printed = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # Linux's end of file of a terminal
                raise
            break
        if not part:
            break
        printed += part
    os.close(terminal)
    timer.cancel()
    return printed, process.wait()


def visible_lines(printed: str) -> list[str]:
    """Return the lines that stay on the terminal, with their colors: progress is written over itself, and then removed."""
    lines, row, overwrites = [""], 0, False
    for text, code in re.findall(r"([^\x1b\r\n]+)|(\r|\n|\x1b\[[0-9;?]*[A-Za-z])", printed):
        if code == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif code.endswith("K"):
            lines[row] = ""
        elif code.endswith("A"):
            row = max(0, row - int(code[2:-1] or 1))
        elif text or code.endswith("m"):
            lines[row] = text + code if overwrites else lines[row] + text + code
        overwrites = code == "\r"
    return lines


def main() -> int:
    """Record the commands and write the picture."""
    picture, prefix = Path(sys.argv[1]), sys.argv[2:]
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor", highlight=False)
    for number, line in enumerate(sys.stdin.read().splitlines()):
        printed, status = record([*prefix, line])
        text = printed.decode(errors="replace")
        if status:
            sys.stderr.write(f"{line}: exit status {status}\n{text}\n")
            return 1
        console.print(Text("\n" if number else "", end="") + Text("$ ", "bold cyan", end="") + Text(line, "bold"))
        shown = visible_lines(text)
        while shown and not shown[-1]:
            del shown[-1]
        console.print(Text.from_ansi("\n".join(shown), overflow="fold"))
    picture.write_text(console.export_svg(title="repoman", theme=MONOKAI, code_format=FORMAT, unique_id="repoman"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
