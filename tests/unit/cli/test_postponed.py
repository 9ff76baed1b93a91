# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules that are run when they are first used: until then they cost nothing, and a plugin that uses them does not notice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ansible.cli
import pytest
from command_environment import environment

from repoman import postponed

START = """
import sys
from importlib.util import find_spec
from threading import Barrier, Thread
from types import ModuleType
from repoman.playbook import _import_engine
_import_engine()
NAME = "ansible.executor.powershell.module_manifest"
module = sys.modules[NAME]
was_run = lambda: type(module) is ModuleType
assert not was_run()
"""
MODULE = "ansible.executor.powershell.module_manifest"


def run(home: Path, code: str, **variables: str) -> str:
    """Return what code prints after ansible was imported."""
    done = subprocess.run(
        [sys.executable, "-c", START + code], env=environment(home) | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_only_modules_of_ansible() -> None:
    """Whatever else plugins import is what Python imports."""
    assert all(name.startswith("ansible.") for name in postponed.MODULES)


def test_everything_else_is_loaded_as_usual(tmp_path: Path) -> None:
    """A plugin can replace parts of ssl, and decrypt in threads."""
    code = """
import importlib.metadata, ssl
import ansible.parsing.vault as vault
plain = [ssl, importlib.metadata, vault]
print(all(type(each) is ModuleType and find_spec(each.__name__) is each.__spec__ for each in plain), vault.HAS_CRYPTOGRAPHY)
from ssl import *
print(SSLContext is ssl.SSLContext)
ssl._create_default_https_context = 1
import http.client
print(http.client.ssl._create_default_https_context)
secret = vault.VaultSecret(b"secret")
text, found, barrier = vault.VaultAES256.encrypt(b"of the test", secret), [], Barrier(8)  # before the first object of the class
def decrypt():
    barrier.wait()
    found.append(vault.VaultAES256.decrypt(text, secret))
threads = [Thread(target=decrypt) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(found == [b"of the test"] * 8)
"""
    assert run(tmp_path, code).splitlines() == ["True True", "True", "1", "True"]


def test_they_are_not_run(tmp_path: Path) -> None:
    """Neither by ansible, nor by a search for them, nor by a second import."""
    code = """
import ansible.executor.powershell.module_manifest
from ansible.executor.powershell import module_manifest
spec = find_spec(NAME)
print(was_run(), module_manifest is module, spec is module.__spec__, spec.origin == module.__file__, spec.loader.is_package(NAME))
print(*(name for name in ("ansible._internal._ssh._ssh_agent", "ansible.plugins.become.runas") if name in sys.modules))
"""
    assert run(tmp_path, code).splitlines() == ["False True True True False"]


USES = {
    "attribute": "assert callable(module.PSModuleDepFinder)",
    "import": f"from {MODULE} import PSModuleDepFinder; assert callable(PSModuleDepFinder)",
    "all": f"from {MODULE} import *; assert callable(PSModuleDepFinder)",
    "dir": "assert 'PSModuleDepFinder' in dir(module)",
    "vars": "assert 'PSModuleDepFinder' in vars(module)",
    "assignment": "module.PSModuleDepFinder = 1; assert module.PSModuleDepFinder == 1 and callable(module._create_powershell_wrapper)",
    "deletion": "del module.PSModuleDepFinder; assert not hasattr(module, 'PSModuleDepFinder')",
    "unknown": "assert not hasattr(module, 'nothing')",
    "reload": "import importlib; module.mine = 1; importlib.reload(module); assert module.mine == 1 and callable(module.PSModuleDepFinder)",
}


def test_uses(tmp_path: Path) -> None:
    """A use of any kind runs the module, which stays the same object."""
    code = f"""
import os
for use, code in {USES!r}.items():
    if os.fork() == 0:
        exec(code)
        print(use, was_run(), sys.modules[NAME] is module, module.__name__, flush=True)
        os._exit(0)
    os.wait()
"""
    assert run(tmp_path, code).splitlines() == [f"{use} True True {MODULE}" for use in USES]


def test_threads(tmp_path: Path) -> None:
    """Those that use it while another one runs it wait; it is run once."""
    code = """
lines, found, barrier = [], [], Barrier(8)
def use():
    barrier.wait()
    found.append(module._create_powershell_wrapper)  # one of the last
run_module = type(module.__spec__.loader).exec_module
def counted(self, each):
    lines.append(each.__name__)
    run_module(self, each)
type(module.__spec__.loader).exec_module = counted
sys.setswitchinterval(1e-6)
threads = [Thread(target=use) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(found), len(set(found)), lines.count(NAME))
"""
    assert run(tmp_path, code) == "8 1 1"


def test_a_module_that_fails(tmp_path: Path) -> None:
    """Its error is that of the use, each time."""
    code = """
loader = type(module.__spec__.loader)
real = loader.exec_module
def fail(self, each):
    raise ImportError("of the test")
loader.exec_module = fail
for attempt in range(2):
    try:
        module.PSModuleDepFinder
    except ImportError as error:
        print(error, was_run())
loader.exec_module = real
print(callable(module.PSModuleDepFinder), was_run())
"""
    assert run(tmp_path, code).splitlines() == ["of the test False", "of the test False", "True True"]


@pytest.mark.parametrize("setting", ["none", "/nowhere/agent"])
def test_the_agent(tmp_path: Path, setting: str) -> None:
    """Its module is run if the settings have one."""
    code = """
from repoman.cli import main
agent = sys.modules.get("ansible._internal._ssh._agent_launch")
main(["list"])
print(agent is None or type(agent) is ModuleType)
"""
    shown = run(tmp_path, code, ANSIBLE_SSH_AGENT=setting)
    if "_agent_launch" in vars(ansible.cli):  # since ansible-core 2.19
        assert shown.splitlines()[-1] == str(setting != "none")
