# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lets the user edit a template: a draft is edited, checked, and written only if the file is still the same."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import ensure_private_directory, write_atomic
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.changes import ProfileContext
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.comparison import diff
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.installed import read_one
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.library import lookup, read_template, spellings
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template import parse_template
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template_lock import remove_abandoned_locks, template_lock

DIRECTORY = "drafts"
"""Directory of the drafts, in the registry's ``logdir``."""
EXAMPLE_ADDRESS = "192.0.2.1"
"""Used in checks if the host's address is unknown, because that is not an error in the template."""
PREFIX_LENGTH = 40


class ProfileEdit:
    """The edit of one template.

    :param name: name of the profile.
    :param context: of the run.
    :ivar template: the template as found, the user's or the vendor's.
    :ivar path: the user's file, or the one that will be created.
    :ivar original: text of the user's file when the edit began; ``None`` if it does not exist.
    :ivar draft: path of the private copy that is edited; empty before :meth:`make_draft`.
    :raises RepomanError: the template does not exist or cannot be read.
    """

    def __init__(self, name: str, context: ProfileContext) -> None:
        """See the class."""
        self.name, self.context = name, context
        self.template = lookup(name, context.library)
        self.path = context.library.user_path(name)
        self.original: str | None = None
        if self.template.source == "user":
            self.original = self.template.text
        elif self.template.empty_file:
            self.original = read_template(self.template.empty_file)
        self.draft = ""

    def make_draft(self) -> None:
        """Write the template to a new private file, which has the name of a template.

        :raises RepomanError: the directory cannot be created, or the file cannot be written.
        :raises OSError: a private directory for it cannot be created.
        """
        account = self.context.account
        parent = os.path.join(os.path.dirname(self.context.saved_dir), DIRECTORY)
        ensure_private_directory(parent, account)
        directory = tempfile.mkdtemp(prefix=f"{self.name[:PREFIX_LENGTH]}-", dir=parent)
        self.draft = os.path.join(directory, f"{self.name}.yml")
        write_atomic(self.draft, self.template.text, account)

    def remove_draft(self) -> None:
        """Remove the draft and what the editor left next to it, such as a backup copy."""
        directory = os.path.dirname(self.draft)
        with suppress(OSError):
            for file in os.listdir(directory):
                os.unlink(os.path.join(directory, file))
        with suppress(OSError):
            os.rmdir(directory)

    def read_draft(self) -> str:
        """Return the text of the draft.

        :raises NotFoundError: the editor has removed it, or it is not UTF-8 text.
        """
        return read_template(self.draft)

    def is_changed(self, text: str | None = None) -> bool:
        """Return whether the draft differs from a text, by default the template's; true if it cannot be read."""
        try:
            return self.read_draft() != (self.template.text if text is None else text)
        except NotFoundError:
            return os.path.lexists(self.draft)

    def check(self, text: str) -> None:
        """Check a text as ``profile install`` does; an unknown address of the host is not an error here.

        :raises RepomanError: it cannot be installed; the message names the draft and the line.
        """
        if not text.strip():
            raise NotFoundError(f"{self.draft} is empty.", f"rm {shell_word(self.path)}   # deletes your file, if you want that")
        host = self.context.host
        template = replace(self.template, source="user", file_path=self.draft, text=text)
        parse_template(template, host if host.lan_ip else replace(host, lan_ip=EXAMPLE_ADDRESS))

    def keep(self, text: str) -> None:
        """Write a checked text to the user's file, or to the file that a link there names.

        :raises ConflictError: another process has changed the file since the edit began.
        :raises RepomanError: it cannot be written.
        """
        directory, account = self.context.library.user_dir, self.context.account
        ensure_private_directory(directory, account)
        with template_lock(directory, self.name, account):
            if self._current_text() != self.original:
                raise ConflictError(
                    f"{self.path} was changed while you edited it, so it was not written.",
                    f"diff {shell_word(self.path)} {shell_word(self.draft)}",
                )
            write_atomic(os.path.realpath(self.path), text, account)
        remove_abandoned_locks(directory, account)

    def _current_text(self) -> str | None:
        """Return the text of the user's file; ``None`` if it does not exist."""
        library = self.context.library
        return read_template(library.user_path(self.name)) if spellings(library.files(library.user_dir), self.name) else None

    def keep_command(self) -> str:
        """Return the command that writes the draft where :meth:`keep` does, without any check."""
        return f"install -D -m 600 {shell_word(self.draft)} {shell_word(os.path.realpath(self.path))}"

    def drift(self) -> dict[str, Any]:
        """Compare the installed profile with the user's file; see :func:`comparison.diff`.

        :raises RepomanError: Incus does not answer, or the host's address is needed and unknown.
        """
        installed = read_one(self.name, self.context.client).get(self.name)
        return diff(self.name, self.context.library, self.context.host, installed)
