# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ansible-builder installs into an execution environment with this collection."""

from __future__ import annotations

import subprocess

import yaml
from real_ansible import COLLECTIONS, path_of


def test_requirements() -> None:
    """They are what the collection needs on the host it runs on. ansible-builder leaves out what ansible-core itself requires."""
    command = [path_of("ansible-builder"), "introspect", str(COLLECTIONS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = {kind: [line.partition("  #")[0] for line in lines] for kind, lines in yaml.safe_load(done.stdout).items()}
    assert found["python"] == ["tomlkit"]
    assert {line.split()[0] for line in found["system"]} == {"git", "mercurial", "rsync", "openssh-client", "openssh-clients"}
