# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An installation of the command as a user has it: a wheel in a separate virtual environment."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

from world import CHECKOUT, remove


def install() -> Path:
    """Make it as ``venv`` in a new directory that every user can read; return the directory, which the caller removes."""
    place = Path(tempfile.mkdtemp(prefix="repoman-t", dir="/var/tmp"))
    place.chmod(0o755)
    venv = place / "venv"
    pip = [str(CHECKOUT / "scripts/retry"), sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check"]
    add = [*pip, "--python", str(venv / "bin/python"), "install"]
    version = os.environ.get("REPOMAN_ANSIBLE_CORE")
    others = ["mitogen"] if find_spec("mitogen") else []
    try:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
        if not version:
            _copy_requirements(venv, others)
        subprocess.run([*add, f"ansible-core=={version}.*" if version else "ansible-core", *others, str(CHECKOUT)], check=True)
    except BaseException:
        remove(place)
        raise
    return place


def _copy_requirements(venv: Path, others: list[str]) -> None:
    """Copy what the command and the tests need from this environment, with its bytecode, so that pip has neither to load nor to compile it."""
    from packaging.requirements import Requirement

    (packages,) = venv.glob("lib/python*/site-packages")
    pending, found = ["homelab-repoman", *others], {}
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found[name] = distribution(name)
        needed = map(Requirement, found[name].requires or ())
        pending += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    del found["homelab-repoman"]
    files = [(each, file) for each in found.values() for file in each.files or ()]
    tops = {str(each.locate_file(file.parts[0])) for each, file in files if file.parts[0] != ".."}
    scripts = [Path(str(each.locate_file(file))) for each, file in files if file.parts[0] == ".." and file.parts[-2] == "bin"]
    subprocess.run(["cp", "-a", *sorted(tops), packages], check=True)
    for script in scripts:
        copy = venv / "bin" / script.name
        copy.write_text(script.read_text().replace(sys.prefix, str(venv)))
        copy.chmod(0o755)
    subprocess.run(["chmod", "-R", "a+rX", venv], check=True)
