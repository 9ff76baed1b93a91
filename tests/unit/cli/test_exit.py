# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of the command's process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_environment import environment

NO_REGISTRY = 3
PROGRAM = """\
import atexit, os, sys, threading
from repoman.cli import main
returned = threading.Event()
def work():
    returned.wait()
    os.write(2, b"worked to the end\\n")
atexit.register(os.write, 2, b"exit function\\n")
sys.argv = sys.argv[1:]
if {starts}:
    threading.Thread(target=work, daemon={daemon}).start()
code = main()
os.write(2, b"returned\\n")
returned.set()
sys.exit(code)
"""


def run(home: Path, *argv: str, starts: bool = False, daemon: bool = False) -> tuple[int, set[str]]:
    """Run the command in a process that reports how it ends; return its exit code and its reports."""
    program = PROGRAM.format(starts=starts, daemon=daemon)
    done = subprocess.run(
        [sys.executable, "-c", program, "repoman", *argv], env=environment(home), capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, {"exit function", "returned", "worked to the end"} & set(done.stderr.splitlines())


def test_verb_ends_without_freeing_its_memory(tmp_path: Path) -> None:
    """The exit functions run, and remove ansible's temporary directory; nothing after ``main`` does."""
    assert run(tmp_path, "list") == (NO_REGISTRY, {"exit function"})
    assert list(tmp_path.glob(".ansible/tmp/*")) == []


def test_what_did_not_load_ansible_returns(tmp_path: Path) -> None:
    """Help and usage errors."""
    assert run(tmp_path, "nonsense") == (2, {"exit function", "returned"})


def test_thread_that_works(tmp_path: Path) -> None:
    """Python waits for it; a daemon thread ends with the process."""
    assert run(tmp_path, "list", starts=True) == (NO_REGISTRY, {"exit function", "returned", "worked to the end"})
    assert run(tmp_path, "list", starts=True, daemon=True) == (NO_REGISTRY, {"exit function"})


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    """What an exit function prints is output, too."""
    program = (
        "import atexit, sys\nfrom repoman.cli import main\natexit.register(print, 'late')\nsys.argv = ['repoman', 'list']\nsys.exit(main())"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment(tmp_path),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == NO_REGISTRY
    assert "repoman: error: cannot write the output: No space left on device." in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes a user whom the user database does not have")
def test_home_is_unknown(tmp_path: Path) -> None:
    """Without HOME and without an entry of the user: a sentence and a hint, also in the document; completion offers nothing."""
    program = """
import os
from repoman.cli import main
os.setresuid(54321, 54321, 54321)
for argv in (["list"], ["list", "--json"], ["ssh-config"], ["completion", "--complete", "fish", "--", "stop", ""]):
    print(main(argv))
"""
    variables = {key: value for key, value in environment(tmp_path).items() if key != "HOME"}
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=False)
    message, hint = "the home directory is unknown.", "export HOME=/home/NAME   # the directory with your files"
    assert done.stderr == f"repoman: error: {message}\nhint: {hint}\n" * 3
    document, end = json.JSONDecoder().raw_decode(done.stdout, 2)
    assert (document["msg"], document["hints"]) == (message, [hint])
    assert (done.stdout[:2] + done.stdout[end:]).split() == ["3", "3", "3", "0"]


def test_garbage_is_not_looked_for_at_the_start() -> None:
    """Nothing of what is imported is garbage."""
    code = "import gc, sys; before = gc.get_stats()[0]['collections']; sys.argv[1:] = ['--help']; from repoman.cli import main; main()\n"
    code += "print(gc.get_stats()[0]['collections'] - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)})
    assert int(done.stdout.splitlines()[-1]) <= 3  # with Python's own threshold, 15
