# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The profile library: templates in two directories. User files shadow vendor files of the same name."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import (
    ConflictError,
    NotCreatedYetError,
    NotFoundError,
    RepomanError,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.names import check_profile_name, suggestions
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.small_files import read_limited
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account, HostFacts
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.installed import Installed
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template import Template, parse_template
from ansible_collections.homelab.repoman.plugins.module_utils.registry.store import default_user_dir

SUFFIXES = (".yml", ".yaml")
TEMPLATE_BYTES = 4 << 20
"""The largest template."""
SYSTEM_VENDOR_DIR = "/usr/local/share/repoman/profiles"
BUNDLED_PREFIX = "homelab.repoman:profiles/"
"""Replaces the directory in the path of a vendor template that came with the task."""
BUNDLED = "the templates of the collection"
"""In errors, what such a template would be part of: no directory of the host has them."""


@dataclass(frozen=True)
class Library:
    """Where templates come from.

    :param user_dir: directory of the user's files.
    :param vendor_dir: directory of the vendor's files.
    :param bundled: vendor templates by name, which came with the task; only used if the vendor directory does not exist.
    :param listed: names of the files of directories that were read before.
    """

    user_dir: str
    vendor_dir: str
    bundled: dict[str, str] = field(default_factory=dict)
    listed: dict[str, list[str]] = field(default_factory=dict)

    def files(self, directory: str) -> list[str]:
        """Return the names of the files in one of the directories."""
        return self.listed[directory] if directory in self.listed else _files(directory)

    def user_path(self, name: str) -> str:
        """Return the path of the user's file, or the one that it would have."""
        return self._path(self.user_dir, name)

    def existing_path(self, name: str) -> str:
        """Return the path of the template ``name``, the user's file before the vendor's; empty if neither exists."""
        paths = (self._path(self.user_dir, name), self._path(self.vendor_dir, name))
        bundled = f"{BUNDLED_PREFIX}{name}{SUFFIXES[0]}" if name in self.bundled else ""
        return next((path for path in paths if os.path.lexists(path)), bundled)

    def vendor_only(self) -> Library:
        """Return the library without the user's files."""
        return replace(self, user_dir=os.devnull)

    def names(self) -> list[str]:
        """Return the names of all templates, sorted, without files whose names cannot be those of files of the library.

        :raises NotFoundError: a directory cannot be read.
        """
        names = set(self.bundled)
        for directory in (self.user_dir, self.vendor_dir):
            stems = (os.path.splitext(file) for file in self.files(directory))
            names |= {stem for stem, suffix in stems if suffix.lower() in SUFFIXES and stem[0] not in ".-" and stem.isprintable()}
        return sorted(names)

    def _path(self, directory: str, name: str) -> str:
        return os.path.join(directory, (spellings(self.files(directory), name) or [name + SUFFIXES[0]])[0])


@dataclass(frozen=True)
class ProfileEntry:
    """One template, as ``profile list`` shows it.

    :param source: ``user`` or ``vendor``.
    :param file_path: of the template.
    :param installed: whether Incus has a profile of that name.
    :param drift: whether the installed profile differs, as data, from the rendered template; false if it is not installed or cannot be compared.
    :param shadows: whether a user file shadows a vendor file.
    :param error: why the template cannot be rendered; empty if it can.
    :param empty_file: path of a user's file that holds nothing, and so does not shadow; empty without one.
    """

    name: str
    source: str
    file_path: str
    installed: bool
    drift: bool
    shadows: bool = False
    error: str = ""
    empty_file: str = ""


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
    return default_user_dir(home)


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
    check_profile_name(name)
    vendor_file = _template_file(library, library.vendor_dir, name)
    shadows = vendor_file is not None or name in library.bundled
    user_file, empty_file = _template_file(library, library.user_dir, name), ""
    if user_file:
        text = read_template(user_file)
        if text.strip():
            return Template(name, "user", user_file, shadows, text)
        if not shadows:
            raise NotFoundError(f"{user_file} is empty.", f"rm {shell_word(user_file)}")
        empty_file = user_file
    if vendor_file:
        return Template(name, "vendor", vendor_file, False, read_template(vendor_file), empty_file)
    if name in library.bundled:
        return Template(name, "vendor", f"{BUNDLED_PREFIX}{name}{SUFFIXES[0]}", False, library.bundled[name], empty_file)
    raise NotCreatedYetError(
        f"there is no profile template called {name!r} in {library.user_dir} or {BUNDLED if library.bundled else library.vendor_dir}.",
        *suggestions([name], library.names()),
        "repoman profile list",
    )


def lookup_vendor(name: str, library: Library) -> Template:
    """Find the vendor file that the user's file ``name`` shadows.

    :raises NotFoundError: it does not shadow one.
    """
    template = lookup(name, library)
    if not template.shadows:
        hint = (
            f"repoman profile copy {shell_word(name)}   # shadows it"
            if template.source == "vendor"
            else "only a user file with the name of a vendor file has one"
        )
        raise NotFoundError(f"profile {name!r} does not shadow a vendor profile: there is only {template.file_path}.", hint)
    return lookup(name, library.vendor_only())


def list_all(library: Library, installed: dict[str, Installed], host: HostFacts) -> list[ProfileEntry]:
    """Return every template of the library, in alphabetical order.

    :param installed: profiles of Incus by name, as :func:`read_installed` returns them.
    """
    library = replace(library, listed={directory: _files(directory) for directory in (library.user_dir, library.vendor_dir)})
    return [list_one(name, library, installed, host) for name in library.names()]


def list_one(name: str, library: Library, installed: dict[str, Installed], host: HostFacts) -> ProfileEntry:
    """Return the template called ``name``, whether or not it can be rendered.

    :param installed: profiles of Incus by name.
    """
    drift, problem, empty_file, shadows = False, "", "", False
    path, source = library.user_path(name), "user"
    try:
        template = lookup(name, library)
        path, source, shadows, empty_file = template.file_path, template.source, template.shadows, template.empty_file
        desired = parse_template(template, host)
        drift = name in installed and desired != installed[name].body
    except RepomanError as error:
        problem = error.message
    return ProfileEntry(name, source, path, name in installed, drift, shadows, problem, empty_file)


def _files(directory: str) -> list[str]:
    """Return the names of the files in a directory of the library; none if it does not exist.

    :raises NotFoundError: it cannot be read.
    """
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise NotFoundError(f"cannot read {directory}: {error.strerror}.", f"ls -ld {shell_word(directory)}") from error


def spellings(files: list[str], name: str) -> list[str]:
    """Return the files of a directory that are a template called ``name``, whatever the case of their suffix; ``.yml`` is the first."""
    files = [file for file in files if file.startswith(name) and file[len(name) :].lower() in SUFFIXES]
    return sorted(files, key=lambda file: (SUFFIXES.index(file[len(name) :].lower()), file))


def _template_file(library: Library, directory: str, name: str) -> str | None:
    """Return the path of the file in a directory that is the template called ``name``; ``None`` without one.

    :raises NotFoundError: its suffix is not in lower case. :class:`ConflictError`: there are several.
    """
    files = spellings(library.files(directory), name)
    paths = [os.path.join(directory, file) for file in files]
    if not files:
        return None
    if len(files) > 1:
        raise ConflictError(
            f"{directory} has {len(files)} templates called {name!r}: {' and '.join(files)}.",
            f"rm {shell_word(paths[-1])}   # or the other one",
        )
    if not files[0].endswith(SUFFIXES):
        right = paths[0][: -len(files[0])] + name + files[0][len(name) :].lower()
        raise NotFoundError(
            f"{paths[0]}: the name of a template ends with .yml or .yaml.", f"mv {shell_word(paths[0])} {shell_word(right)}"
        )
    return paths[0]


def read_template(path: str) -> str:
    """Return the text of a regular file, or of one that a link names; anything else, such as a pipe, is not opened for reading."""
    try:
        return read_limited(Path(os.path.realpath(path)), TEMPLATE_BYTES)
    except UnicodeDecodeError as error:
        raise NotFoundError(f"{path}: not UTF-8 text.", "save it as UTF-8") from error
    except OSError as error:
        raise NotFoundError(f"cannot read {path}: {error.strerror}.", f"ls -l {shell_word(path)}") from error
