# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install pip with Python's ensurepip, then the given packages: get-pip.py without a download."""

from __future__ import annotations

import ensurepip
import os
import subprocess
import sys

UNSUPPORTED = ("--no-setuptools", "--no-wheel")

ensurepip.bootstrap(upgrade=True)
arguments = [argument for argument in sys.argv[1:] if argument not in UNSUPPORTED]
environment = {name: value for name, value in os.environ.items() if name not in ("GET_PIP", "PIP_CONFIG_FILE")}
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *arguments], env=environment))
