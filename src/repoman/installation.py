# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the collection that is installed with the command is, and the file with Ansible's settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from repoman.errors import CliError

COLLECTION = "homelab.repoman"
COLLECTION_PATH = Path("ansible_collections", "homelab", "repoman")
OWN_CONFIG = Path(__file__).with_name("ansible.cfg")


def collection_root() -> Path:
    """Return the directory in which ``ansible_collections`` holds the collection installed with this command.

    :raises CliError: the collection is not installed with it.
    """
    for entry in sys.path:
        if entry and (Path(entry) / COLLECTION_PATH / "galaxy.yml").is_file():
            return Path(entry).absolute()
    raise CliError(f"the collection {COLLECTION} is not installed next to this command.", "pip install homelab-repoman")


def config_file() -> Path:
    """Return the file with Ansible's settings, unless ``ANSIBLE_CONFIG`` names one: the user's, the system's, or repoman's own."""
    files = (Path("~/.ansible.cfg").expanduser(), Path("/etc/ansible/ansible.cfg"), OWN_CONFIG)
    return next(file for file in files if os.access(file, os.R_OK))
