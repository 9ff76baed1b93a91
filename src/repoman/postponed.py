# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that ansible and the collection import at their start, and few runs use: they are loaded when they are first used.

Together they take 25 ms. Parts that another version of ansible lacks are not changed.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from repoman.stand_in import StandIn

AGENT = "ansible._internal._ssh._agent_launch"
METADATA = "importlib.metadata"
OTHERS = ("ansible.executor.powershell.module_manifest", "ssl")
"""The module that packs modules for Windows; and that for connections with TLS, which the one for HTTP imports."""
VAULT = "ansible.parsing.vault"
CRYPTOGRAPHY = "cryptography.exceptions"
"""The first module of cryptography that the module of vaults imports."""
JINJA = "jinja2"
JINJA_DIRECTORY = re.compile(r"jinja2-([0-9][0-9.]*)\.dist-info", re.IGNORECASE)


def install() -> None:
    """Replace these modules, unless they are loaded. Call it before ``engine`` is imported."""
    for module in (_Agent(AGENT), _Metadata(METADATA), *map(StandIn, OTHERS)):
        if module.__name__ not in sys.modules:
            sys.modules[module.__name__] = module
            if module.__name__ == METADATA:
                importlib.metadata = module  # as if it had been imported
    if VAULT not in sys.modules and CRYPTOGRAPHY not in sys.modules:
        sys.meta_path.insert(0, _VaultFinder())


class _Agent(StandIn):
    """Stands for the module that starts an agent for ssh."""

    def launch_ssh_agent(self) -> None:
        """Start an agent, unless there should be none, which is the default."""
        from ansible import constants

        if constants.config.get_config_value("SSH_AGENT") != "none":
            self.load().launch_ssh_agent()


class _Metadata(StandIn):
    """Stands for the module that reads the properties of installed packages: ansible asks for the version of Jinja only."""

    def version(self, distribution_name: str) -> Any:
        """Return the version of a package; that of Jinja is in the name of the directory next to it."""
        package = sys.modules.get(JINJA)
        if distribution_name == JINJA and package is not None and package.__file__:
            matches = [JINJA_DIRECTORY.fullmatch(name) for name in os.listdir(os.path.dirname(os.path.dirname(package.__file__)))]
            versions = [match[1] for match in matches if match]
            if len(versions) == 1:
                return versions[0]
        return self.load().version(distribution_name)


class _VaultFinder:
    """Finds the module of vaults, and lets it import cryptography when the first vault is opened."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return how to load that module; nothing for others."""
        if name != VAULT:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_without(module: Any) -> None:
                sys.modules[CRYPTOGRAPHY] = None  # type: ignore[assignment]  # importing it raises an ImportError
                try:
                    run(module)
                finally:
                    del sys.modules[CRYPTOGRAPHY]
                if getattr(module, "HAS_CRYPTOGRAPHY", None) is False and hasattr(module, "VaultAES256"):
                    _import_when_used(module)
                else:  # a version with another way to import it
                    run(module)

            spec.loader.exec_module = run_without  # type: ignore[method-assign]
        return spec


def _import_when_used(vault: Any) -> None:
    """Let the class that encrypts and decrypts import cryptography, with ansible's own statement, when it is first used."""
    check = vault.VaultAES256.__init__

    def import_and_check(cipher: Any) -> None:
        """Make a cipher."""
        vault.VaultAES256.__init__ = check
        tree = ast.parse(Path(vault.__file__).read_bytes())
        tree.body = [statement for statement in tree.body if isinstance(statement, ast.Try) and _imports_cryptography(statement)]
        exec(compile(tree, vault.__file__, "exec"), vars(vault))  # noqa: S102  # the same code that Python ran without it
        check(cipher)

    vault.VaultAES256.__init__ = import_and_check


def _imports_cryptography(statement: ast.Try) -> bool:
    return any(isinstance(each, ast.ImportFrom) and each.module == CRYPTOGRAPHY for each in ast.walk(statement))
