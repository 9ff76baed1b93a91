# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of the collection without Ansible: a process of the user's has loaded them, and forks for each call."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from world import TIMEOUT, Me, Result

GATE = "sched_get_priority_max"
"""The system call by which a process notices that it is traced; nothing else makes it."""
PROGRAM = (
    f"GATE = {GATE!r}\n"
    + """\
import ctypes, importlib, json, os, signal, subprocess, sys, time, traceback
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
PLUGINS = "ansible_collections.homelab.repoman.plugins."
run_logic = importlib.import_module(PLUGINS + "module_utils.core.module").run_logic
names = ("profile", "profile_info", "project", "project_info", "registry", "restore", "sync")
modules = {name: importlib.import_module(PLUGINS + "modules.repoman_" + name) for name in names}
LIBC = ctypes.CDLL(None)
PR_SET_PTRACER, ANYBODY, ATTACHED = 0x59616D61, ctypes.c_ulong(-1), 4711

def run(call):
    os.environ.clear()
    os.environ.update(call["env"])
    os.chdir(call["cwd"])
    for path, value in call["constants"].items():
        module, _dot, name = path.rpartition(".")
        setattr(importlib.import_module(PLUGINS + "module_utils." + module), name, value)
    module = modules[call["module"]]
    validation = ArgumentSpecValidator(**module.SPEC).validate(call["params"])
    assert not validation.error_messages, validation.error_messages
    logic = module.info if call["module"] == "profile_info" else module.run
    return json.dumps(run_logic(logic, validation.validated_parameters, call["check"]))

def wait_for_tracer(end):
    # Let any process trace this one, and wait for the one that does: only it makes this call return a number that no kernel returns.
    LIBC.prctl(PR_SET_PTRACER, ANYBODY)
    os.close(end)
    while getattr(LIBC, GATE)(999) != ATTACHED:
        time.sleep(0.001)

def traced(child, begun, strace, seconds):
    # Trace a process until it and all that it started have ended, or for so long; return whether they have ended.
    os.read(begun, 1)
    tracer = subprocess.Popen([*strace, "-e", f"inject={GATE}:retval={ATTACHED}", "-p", str(child)], stdin=subprocess.DEVNULL)
    try:
        tracer.wait(seconds)
        return True
    except subprocess.TimeoutExpired:
        os.killpg(child, signal.SIGKILL)
        tracer.kill()
        tracer.wait()
        return False

for module in ("backup.mirror.diff_unit", "backup.mirror.mirror_units", "backup.mirror.shrinkage"):
    importlib.import_module(PLUGINS + "module_utils." + module)  # forks have what most runs import
importlib.import_module("tomlkit")
print("ready", flush=True)
for line in sys.stdin:
    call = json.loads(line)
    output, errors = os.memfd_create("output"), os.memfd_create("errors")
    begun, begin = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.dup2(errors, 2)
            if call["strace"]:
                os.setpgid(0, 0)
                wait_for_tracer(begin)
            os.write(output, run(call).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(begin)
    ended = not call["strace"] or traced(child, begun, call["strace"], call["seconds"])
    os.close(begun)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if ended else None
    texts = []
    for file in (output, errors):
        os.lseek(file, 0, os.SEEK_SET)
        with open(file, errors="surrogateescape") as text:
            texts.append(text.read())
    print(json.dumps([code, *texts]), flush=True)
"""
)


class Logic:
    """Runs modules as a user. Use it as a context manager.

    :param me: the user. :param bin_dir: ``bin`` of the installation.
    """

    def __init__(self, me: Me, bin_dir: Path) -> None:
        self.command = me.command([str(bin_dir / "python3"), "-c", PROGRAM], {"HOME": "/nonexistent", "LANG": "C.UTF-8"})

    def __enter__(self) -> Logic:
        """Start the process."""
        self._process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/")
        assert self._process.stdin and self._process.stdout
        self._calls, self._answers = self._process.stdin, self._process.stdout
        assert self._answers.readline() == b"ready\n"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End it."""
        self._calls.close()
        self._process.wait(TIMEOUT)

    def run(self, module: str, params: dict[str, Any], **how: Any) -> Result:
        """Run a module, which must end by itself and without a traceback; its result is the output, as JSON.

        The parameters are those of :meth:`outcome`.
        """
        result = self.outcome(module, params, **how)
        assert result.code == 0 and "Traceback" not in result.out + result.err, result
        return result

    def outcome(
        self,
        module: str,
        params: dict[str, Any],
        *,
        env: dict[str, str],
        cwd: Path,
        check: bool = False,
        constants: dict[str, Any] | None = None,
    ) -> Result:
        """Run a module, and return also what a killed or failed call left; its code is negative if a signal ended it.

        :param module: its name, without ``repoman_``.
        :param constants: values of names in ``module_utils``.
        """
        call = {"module": module, "params": params, "check": check, "env": env, "cwd": str(cwd), "constants": constants or {}}
        return self._ask(call | {"strace": []})

    def traced(self, module: str, params: dict[str, Any], strace: list[str], *, env: dict[str, str], cwd: Path, seconds: float) -> Result:
        """Run a module that ``strace`` is attached to before it begins, with all processes that it starts; its end may be any.

        :param strace: the command without the process.
        :param seconds: after so long everything is killed, and the code of the result is None.
        """
        call = {"module": module, "params": params, "check": False, "env": env, "cwd": str(cwd), "constants": {}}
        return self._ask(call | {"strace": strace, "seconds": seconds})

    def _ask(self, call: dict[str, Any]) -> Result:
        self._calls.write(os.fsencode(json.dumps(call)) + b"\n")
        self._calls.flush()
        if not select.select([self._answers], [], [], TIMEOUT)[0]:
            self._process.kill()
        return Result(*json.loads(self._answers.readline()))

    def kill(self) -> None:
        """Kill the process of the current call; those that work for it end by themselves."""
        for child in Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
