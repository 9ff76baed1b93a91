# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Look for inputs that a reader does not expect; those that reach new lines are damaged further.

Usage: coverage_guided.py TARGET [OPTION of libFuzzer | DIRECTORY of inputs | FILE to read once]...

The exit status is not 0 if an input causes an exception, a hang or too much memory; the input is then saved.
"""

from __future__ import annotations

import sys

import atheris

if __name__ == "__main__":
    with atheris.instrument_imports(include=["ansible_collections.homelab.repoman", "tomlkit"]):
        from fuzz_targets import TARGETS
    name = sys.argv.pop(1)
    with TARGETS[name].opened() as read:
        atheris.Setup(sys.argv, read)
        atheris.Fuzz()
