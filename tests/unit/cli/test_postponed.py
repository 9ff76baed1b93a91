# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules that are loaded when they are first used: until then they cost nothing, and then they work."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from ansible.parsing.vault import VaultLib, VaultSecret
from command_environment import environment

OTHERS = "" if find_spec("ansible._internal") else "_ssl"
"""What ansible itself uses at its start: before 2.19, connections with TLS."""
START = (
    f"OTHERS = {OTHERS!r}"
    + """
import sys
from repoman.playbook import _import_engine
loaded = lambda: {name for name in ("cryptography.hazmat", "_ssl", "email", "ansible.executor.powershell.module_manifest") if name in sys.modules}
real = lambda: {name for name in loaded() if name != OTHERS and sys.modules[name].__class__.__name__ != "StandIn"}
_import_engine()
"""
)


def run(home: Path, code: str) -> str:
    """Return what code prints after ansible was imported."""
    done = subprocess.run([sys.executable, "-c", START + code], env=environment(home), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_they_are_not_loaded(tmp_path: Path) -> None:
    """Neither by ansible, which asks for the version of Jinja, nor by what the collection needs for Incus."""
    code = "print(real())\nfrom importlib.metadata import version\nprint(version('jinja2'), 'email.message' in sys.modules)"
    assert run(tmp_path, code).split() == ["set()", version("jinja2"), "False"]
    assert run(tmp_path, "import http.client\nprint(real() - {'email'})") == "set()"


def test_vaults_are_opened_and_closed(tmp_path: Path) -> None:
    """With cryptography, which is loaded for the first of them."""
    secret = [("default", VaultSecret(b"secret"))]
    ours = VaultLib(secret).encrypt("of the test").decode()
    code = f"""
from ansible.parsing.vault import VaultLib, VaultSecret
vault = VaultLib([("default", VaultSecret(b"secret"))])
before = real()
print(vault.decrypt({ours!r}).decode(), "cryptography.hazmat" in real() - before)
print(vault.encrypt("of the command").decode())
try:
    VaultLib([("default", VaultSecret(b"wrong"))]).decrypt({ours!r})
except Exception as error:
    print(type(error).__name__, "Decryption failed" in str(error))
"""
    first, *theirs, last = run(tmp_path, code).splitlines()
    assert first == "of the test True" and last == "AnsibleVaultError True"
    assert VaultLib(secret).decrypt("\n".join(theirs)) == b"of the command"


def test_no_cryptography(tmp_path: Path) -> None:
    """Without that package the error is ansible's."""
    code = """
sys.modules["cryptography"] = None
from ansible.parsing.vault import VaultLib, VaultSecret
try:
    VaultLib([("default", VaultSecret(b"secret"))]).encrypt("x")
except Exception as error:
    print(error)
"""
    assert "requires the cryptography library" in run(tmp_path, code)


def test_connections_with_tls(tmp_path: Path) -> None:
    """The module for HTTP has them as before; so has code that imports the module by name."""
    code = """
import http.client, socket
connection = http.client.HTTPSConnection("localhost", 1)
print("_ssl" in loaded(), connection._context.__class__.__name__)
import ssl
from ssl import SSLError
print(http.client.ssl.SSLError is SSLError is ssl.SSLError)
from ansible.executor.powershell import module_manifest
print(callable(module_manifest.PSModuleDepFinder), module_manifest.__name__)
"""
    assert run(tmp_path, code).splitlines() == ["True SSLContext", "True", "True ansible.executor.powershell.module_manifest"]


def test_versions_of_packages(tmp_path: Path) -> None:
    """Those of others, and what else the module has, come from the module."""
    code = "import importlib.metadata as all\nfrom importlib import metadata\nprint(all.version('PyYAML'), metadata.distribution('jinja2').version)"
    assert run(tmp_path, code).split() == [version("PyYAML"), version("jinja2")]
