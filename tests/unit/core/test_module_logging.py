# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a module that is shipped writes into the log of its host."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from real_ansible import COLLECTIONS, path_of, search_paths


def test_no_value_is_logged(tmp_path: Path) -> None:
    """Anybody may read the log, and any value may be a secret: the options' names must do."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "python"], check=True)
    (packages,) = (tmp_path / "python").glob("lib/python*/site-packages")
    log = tmp_path / "log"
    (packages / "log.pth").write_text(f"import syslog; syslog.syslog = lambda *said: print(*said, file=open({str(log)!r}, 'a'))\n")
    options = {"name": "demo", "image": "hush", "config": {"environment.API_KEY": "hush"}, "devices": {"x": {"source": "hush"}}}
    task = {"homelab.repoman.repoman_project": options, "environment": {"SHIPPED": "1"}, "ignore_errors": True}
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [task]}
    play["vars"] = {"ansible_python_interpreter": str(tmp_path / "python/bin/python")}
    (tmp_path / "site.yml").write_text(json.dumps([play]))
    environment = {
        **search_paths(),
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_REMOTE_TEMP": str(tmp_path / "tmp"),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
    }
    command = [path_of("ansible-playbook"), "site.yml"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    told = log.read_text()
    assert "Invoked with accept_protected, config, create, devices, image, name, " in told and "hush" not in told
