# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a module reports errors."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ansible
import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import predicting, run_logic


def test_no_module_ends_in_a_traceback() -> None:
    """Also what nobody thought of has a sentence, where the system says it."""

    def run(params: dict[str, Any], check: bool) -> dict[str, Any]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full")

    said = run_logic(run, {}, False)
    assert said["failed"] and said["msg"] == "/full: No space left on device." and said["hints"]


def test_no_prediction_ends_in_a_traceback() -> None:
    """What the system says of a file that a prediction reads."""

    def predict(params: dict[str, Any]) -> dict[str, Any]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/shut")

    @predicting(predict)
    def run(params: dict[str, Any], check: bool) -> dict[str, Any]:
        error = NotFoundError("there is no account.")
        error.may_be_created_later = True
        raise error

    said = run_logic(run, {"predict": True}, True)
    assert said["failed"] and said["msg"] == "/shut: Permission denied." and said["hints"]


CRASH = """
import io, json, sys
from ansible.module_utils import basic
from ansible_collections.homelab.repoman.plugins.module_utils.core import log, module

def run(params, check):
    log.get_logger("run").debug("about to fail")
    raise ZeroDivisionError("a bug")

arguments = {"_ansible_verbosity": int(sys.argv[1])}
basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode(), "legacy"
module.main(run, {"argument_spec": {}})
"""


def test_a_bug_ends_in_a_traceback_with_the_trace() -> None:
    """Nothing else of a shipped module that crashed reaches the user."""
    for verbosity, has_trace in (("0", False), ("3", True)):
        done = subprocess.run([sys.executable, "-c", CRASH, verbosity], capture_output=True, text=True, check=False)
        assert done.returncode and not done.stdout
        assert "ZeroDivisionError: a bug" in done.stderr and ("run: about to fail" in done.stderr) == has_trace, done.stderr


def test_the_trace_is_in_the_result_of_a_shipped_module() -> None:
    """From ``-vvv`` on."""
    program = CRASH.replace('raise ZeroDivisionError("a bug")', "return {}")
    for verbosity in ("2", "3"):
        done = subprocess.run([sys.executable, "-c", program, verbosity], capture_output=True, text=True, check=True)
        said = json.loads(done.stdout)
        assert ("trace" in said) == (verbosity == "3")
    assert [line.split(" ", 2)[2] for line in said["trace"]] == [
        "module: __main__ with options: ",
        "run: about to fail",
        "module: changed: False",
    ]


IN_MEMORY = """
import io, sys
from ansible.module_utils import basic
from ansible_collections.homelab.repoman.plugins.module_utils.core import module
from ansible_collections.homelab.repoman.plugins.module_utils.process.pool import map_forked

basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = b'{"ANSIBLE_MODULE_ARGS": {}}', "legacy"
output, sys.stdin, sys.stdout, sys.stderr = sys.stdout, io.StringIO(), io.StringIO(), io.StringIO()
try:
    module.main(lambda params, check: {"squares": map_forked(lambda number: number * number, [1, 2, 3], 2)}, {"argument_spec": {}})
except SystemExit as end:
    output.write(sys.stdout.getvalue())
    sys.exit(end.code)
"""


def test_streams_need_no_descriptor() -> None:
    """A runner that keeps its process, as mitogen's, takes what a module prints from memory."""
    done = subprocess.run([sys.executable, "-c", IN_MEMORY], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and json.loads(done.stdout)["squares"] == [1, 4, 9], done


EXHAUSTED = """
import os, threading
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import predicting, run_logic
from ansible_collections.homelab.repoman.plugins.module_utils.process.command import Command

for start in (os.fork, threading.Thread(target=print).start, lambda: Command(["true"])):
    print(run_logic(lambda params, check: start(), {}, False)["msg"])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="changes to a user without processes")
def test_no_process_is_left() -> None:
    """A fork, a thread and a command that cannot be started end in one sentence each."""
    if any(not directory.stat().st_mode & 0o001 for directory in Path(ansible.__file__).parents):
        pytest.skip("ansible-test keeps Ansible in a directory that other users cannot read")
    become = ["setpriv", "--reuid=2000000001", "--regid=2000000001", "--clear-groups", "prlimit", "--nproc=1"]
    done = subprocess.run(
        [*become, sys.executable, "-c", EXHAUSTED],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    sentence = "the system had no process, memory or file descriptor left for this run: Resource temporarily unavailable."
    assert done.stdout.splitlines() == [sentence] * 3, done
