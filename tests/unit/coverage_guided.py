# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Look for inputs that break a reader; an input that reaches new code is mutated further.

Usage: coverage_guided.py TARGET [OPTION of libFuzzer | DIRECTORY of inputs | FILE to read once]...

The exit status is not 0 if an input causes an exception, a hang or too much memory; the input is then saved.
"""

from __future__ import annotations

import importlib
import sys

import atheris

if __name__ == "__main__":
    with atheris.instrument_imports(include=["ansible_collections", "tomlkit", "tomllib", "yaml"]):
        importlib.import_module("tomlkit")  # the collection imports it at its first use, which would be too late
        from fuzz_targets import TARGETS
    name = sys.argv.pop(1)
    with TARGETS[name].opened() as read:
        atheris.Setup(sys.argv, read)
        atheris.Fuzz()  # ends the process: whoever starts it removes its temporary files
