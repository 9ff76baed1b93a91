# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies templates to the directory of the user, so that they can be changed and shadow those of the vendor."""

from __future__ import annotations

from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import (
    ConcurrentChangeError,
    ConflictError,
    NotCreatedYetError,
    RepomanError,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.names import check_profile_name
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, Step
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.core.results import Action
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import ensure_private_directory, write_atomic
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.changes import ProfileChange, ProfileContext
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.library import lookup, read_template, spellings
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template import Template, renamed_text
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template_lock import template_lock


class ProfileCopy(ProfileChange):
    """Copies a template, as written, to the user's directory.

    :param original: name of the template.
    :param name: of the copy; the same as ``original`` for one that shadows the vendor's template.
    """

    def __init__(self, original: str, name: str, context: ProfileContext) -> None:
        super().__init__(name, context, None)
        self.original = original

    def remake_plan(self) -> Plan:
        """Look at the library again, and plan from that."""
        return self.make_plan()

    def make_plan(self) -> Plan:
        """Plan from the library.

        :raises RepomanError: there is no such template. :class:`ConflictError`: the user has another file for that name.
        """
        library = self.context.library
        check_profile_name(self.name)
        template = self._template()
        text = template.text if self.name == self.original else renamed_text(template, self.name)
        path = library.user_path(self.name)
        self.result = {"name": self.name, "action": Action.UNCHANGED.value, "source": template.source, "file_path": path}
        if files := spellings(library.files(library.user_dir), self.name):
            with suppress(RepomanError):
                if len(files) == 1 and read_template(path) == text:
                    return Plan()
            raise ConflictError(
                f"{path} exists already.",
                f"repoman profile copy {shell_word(self.original)} NAME   # under another name",
                f"mv {shell_word(path)} {shell_word(f'{path}.old')}   # to copy it again",
            )
        self.result["action"] = Action.COPIED.value
        return Plan([Step(f"copy the template {self.original} to {path}", lambda: self._write(path, text), target=path, after=text)])

    def _template(self) -> Template:
        """Return the template: under its own name the vendor's, if there is one."""
        library = self.context.library
        if self.name == self.original:
            with suppress(NotCreatedYetError):
                return lookup(self.original, library.vendor_only())
        return lookup(self.original, library)

    def _write(self, path: str, text: str) -> None:
        """Write a new file.

        :raises ConcurrentChangeError: another process has written one.
        """
        directory, owner = self.context.library.user_dir, self.context.account
        ensure_private_directory(directory, owner)
        with template_lock(directory, self.name, owner):
            if spellings(self.context.library.files(directory), self.name):
                raise ConcurrentChangeError(f"{path} was written at the same time.", "run the command again")
            write_atomic(path, text, owner)
