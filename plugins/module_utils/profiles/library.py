# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The profile library: templates in two directories. User files shadow vendor files of the same name."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotCreatedYetError, NotFoundError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.names import check_file_name
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account, HostFacts
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.installed import Installed
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template import SUFFIX, Template, parse_template

SYSTEM_VENDOR_DIR = "/usr/local/share/repoman/profiles"
BUNDLED_PREFIX = "homelab.repoman:profiles/"
"""Replaces the directory in the path of a vendor template that came with the task."""


@dataclass(frozen=True)
class Library:
    """Where templates come from.

    :param user_dir: directory of the user's files.
    :param vendor_dir: directory of the vendor's files.
    :param bundled: vendor templates by name, which came with the task; only used if the vendor directory does not exist.
    """

    user_dir: str
    vendor_dir: str
    bundled: dict[str, str] = field(default_factory=dict)

    def user_path(self, name: str) -> str:
        """Return the path of the user's file."""
        return os.path.join(self.user_dir, name + SUFFIX)

    def vendor_path(self, name: str) -> str:
        """Return the path of the vendor's file."""
        return os.path.join(self.vendor_dir, name + SUFFIX)

    def names(self) -> list[str]:
        """Return the names of all templates, sorted, without files whose names cannot be a profile's.

        :raises NotFoundError: a directory cannot be read.
        """
        names = set(self.bundled)
        for directory in (self.user_dir, self.vendor_dir):
            try:
                files = os.listdir(directory)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise NotFoundError(f"cannot read {directory}: {error.strerror}.", f"ls -ld {directory}") from error
            names |= {file.removesuffix(SUFFIX) for file in files if file.endswith(SUFFIX) and file[0] not in ".-"}
        return sorted(name for name in names if name.isprintable())


@dataclass(frozen=True)
class ProfileEntry:
    """One template, as ``profile list`` shows it.

    :param source: ``user`` or ``vendor``.
    :param file_path: of the template.
    :param installed: whether Incus has a profile of that name.
    :param drift: whether the installed profile differs, as data, from the rendered template; false if it is not installed or cannot be compared.
    :param shadows: whether a user file shadows a vendor file.
    :param error: why the template cannot be rendered; empty if it can.
    """

    name: str
    source: str
    file_path: str
    installed: bool
    drift: bool
    shadows: bool = False
    error: str = ""


def vendor_dir(configured: str | None = None) -> str:
    """Return the vendor directory: ``configured``, else the system's, else ``profiles/`` of the collection.

    Modules read ``REPOMAN_VENDOR_DIR`` into their option ``vendor_dir``, so it arrives here as ``configured``.
    """
    if configured:
        return configured
    if os.path.isdir(SYSTEM_VENDOR_DIR):
        return SYSTEM_VENDOR_DIR
    bundled_dir = Path(__file__).parents[3] / "profiles"
    return str(bundled_dir) if bundled_dir.is_dir() else SYSTEM_VENDOR_DIR


def user_dir(home: str) -> str:
    """Return the directory of the user's own templates."""
    return os.path.join(home, ".config", "repoman", "profiles.d")


def library_of(params: dict[str, Any], account: Account) -> Library:
    """Return the library that a module's parameters describe."""
    vendor_directory = account.expand(vendor_dir(params["vendor_dir"]))
    return Library(
        user_dir=account.expand(params["user_dir"] or user_dir(account.home)),
        vendor_dir=vendor_directory,
        bundled={} if os.path.isdir(vendor_directory) else params.get("vendor_templates") or {},
    )


def lookup(name: str, library: Library) -> Template:
    """Find the template called ``name``: user files first, then vendor files.

    :raises UsageError: the name is not valid.
    :raises NotFoundError: the template does not exist or cannot be read.
    """
    check_file_name("profile", name)
    user_path, vendor_path = library.user_path(name), library.vendor_path(name)
    shadows = os.path.isfile(vendor_path) or name in library.bundled
    if os.path.lexists(user_path):
        return Template(name, "user", user_path, shadows, _read_text(user_path))
    if os.path.isfile(vendor_path):
        return Template(name, "vendor", vendor_path, False, _read_text(vendor_path))
    if name in library.bundled:
        return Template(name, "vendor", f"{BUNDLED_PREFIX}{name}{SUFFIX}", False, library.bundled[name])
    suggestions = difflib.get_close_matches(name, library.names(), n=1)
    raise NotCreatedYetError(
        f"there is no profile template called {name!r} in {library.user_dir} or {library.vendor_dir}.",
        *(f"did you mean {match!r}?" for match in suggestions),
        "repoman profile list",
    )


def lookup_vendor(name: str, library: Library) -> Template:
    """Find the vendor file that the user's file ``name`` shadows.

    :raises NotFoundError: it does not shadow one.
    """
    template = lookup(name, library)
    if not template.shadows:
        hint = (
            f"to shadow it: cp {template.file_path} {library.user_dir}/"
            if template.source == "vendor"
            else "only a user file with the name of a vendor file has one"
        )
        raise NotFoundError(f"profile {name!r} does not shadow a vendor profile: there is only {template.file_path}.", hint)
    return lookup(name, replace(library, user_dir=os.devnull))


def list_all(library: Library, installed: dict[str, Installed], host: HostFacts) -> list[ProfileEntry]:
    """Return every template of the library, in alphabetical order.

    :param installed: profiles of Incus by name, as :func:`read_installed` returns them.
    """
    entries = []
    for name in library.names():
        drift, problem, path, source, shadows = False, "", library.user_path(name), "user", False
        try:
            template = lookup(name, library)
            path, source, shadows = template.file_path, template.source, template.shadows
            desired = parse_template(template, host)
            drift = name in installed and desired != installed[name].body
        except RepomanError as error:
            problem = error.message
        entries.append(ProfileEntry(name, source, path, name in installed, drift, shadows, problem))
    return entries


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise NotFoundError(f"{path}: not UTF-8 text.", "save it as UTF-8") from error
    except OSError as error:
        raise NotFoundError(f"cannot read {path}: {error.strerror}.", f"ls -l {path}") from error
