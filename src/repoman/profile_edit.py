# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``repoman profile edit``: the editor, the questions, and what is printed.

It runs no playbook: it works on this host only, and everything happens between the user and one file.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import shorten_home
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.comparison import unified
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.context import load_context
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.editing import ProfileEdit
from ansible_collections.homelab.repoman.plugins.plugin_utils.text import Line, diff_lines, sentence, use_color

from repoman.errors import CONFLICT, INTERRUPTED, NOT_FOUND, USAGE, CliError, print_error

VARIABLES = ("VISUAL", "EDITOR")
DEFAULT_EDITORS = ("sensible-editor", "vi")
TIMEOUT = 30.0
"""Seconds to wait for Incus, as in the modules."""
QUICK = 1.0
"""An editor that ends within so many seconds and has changed nothing may have opened a window and not have waited."""


@dataclass
class Editor:
    """The user's editor.

    :ivar command: the program with its arguments.
    :ivar variable: that names it, or that could.
    :ivar profile: name of the profile that is edited.
    :ivar seconds: that its last run took.
    """

    command: list[str]
    variable: str
    profile: str
    seconds: float = 0.0

    def retry(self, editor: str = "nano") -> str:
        """Return the command that uses another editor."""
        return f"{self.variable}={shlex.quote(editor)} repoman profile edit {shlex.quote(self.profile)}"

    @property
    def waiting(self) -> str:
        """The hint for an editor that does not wait."""
        return self.retry("code --wait") + "   # an editor must wait until you close the file"


class Discarded(Exception):
    """The user has discarded the draft."""


def run(name: str, show_diff: bool) -> int:
    """Edit the user's template ``name``; return the exit code.

    :param show_diff: show the change of the file as a unified diff.
    :raises CliError: the file was not changed; a draft with changes is kept, and a hint names it.
    :raises KeyboardInterrupt: the user interrupted and had changed nothing.
    """
    editor = find_editor(name)
    with _as_cli_errors():
        options = {"user": None, "registry_path": None, "socket": None, "user_dir": None}
        edit = ProfileEdit(name, load_context(options | {"vendor_dir": os.environ.get("REPOMAN_VENDOR_DIR"), "timeout": TIMEOUT}))
        edit.make_draft()
    try:
        text = _edit_until_valid(edit, editor)
        is_changed = text != edit.template.text
        if is_changed:
            edit.keep(text)
    except Discarded:
        edit.remove_draft()
        _print([Line("out", "nothing was changed")])
        return 1
    except KeyboardInterrupt as error:
        raise _with_draft(edit, CliError("interrupted.", exit_code=INTERRUPTED)) from error
    except (RepomanError, OSError, CliError) as error:
        raise _with_draft(edit, _cli_error(error)) from error
    if is_changed:
        _print([*(diff_lines(_file_diff(edit, text)) if show_diff else []), Line("done", f"wrote {_short(edit.path)}")])
        _print(_drift(edit))
    else:
        is_quick = editor.seconds < QUICK and sys.stdin.isatty()
        _print([Line("done", _unchanged(edit)), *([Line("hint", editor.waiting)] if is_quick else [])])
    if edit.is_changed(text):
        message = f"{edit.draft} was changed after the editor had returned."
        raise CliError(message, *_draft_hints(edit), editor.waiting, exit_code=CONFLICT)
    edit.remove_draft()
    return 0


def find_editor(name: str) -> Editor:
    """Return the user's editor: of ``VISUAL``, of ``EDITOR``, else the system's.

    :param name: of the profile, for hints.
    :raises CliError: no editor was found, or the one that was found needs a terminal and the command has none.
    """
    for variable in VARIABLES:
        value = os.environ.get(variable, "").strip()
        if not value:
            continue
        retry = Editor([], variable, name).retry()
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise CliError(f"{variable} is not a command: {value!r}: {error}.", retry, exit_code=USAGE) from error
        program = os.path.expanduser(words[0])
        if shutil.which(program) is None:
            raise CliError(f"the editor in {variable} was not found: {words[0]!r}.", retry, exit_code=NOT_FOUND)
        return Editor([program, *words[1:]], variable, name)
    retry = Editor([], "EDITOR", name).retry()
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CliError("profile edit needs a terminal, or an editor in VISUAL or EDITOR.", retry, exit_code=USAGE)
    for editor in DEFAULT_EDITORS:
        if shutil.which(editor):
            return Editor([editor], "EDITOR", name)
    raise CliError("no editor was found: VISUAL and EDITOR are not set, and vi is not installed.", retry, exit_code=NOT_FOUND)


def _edit_until_valid(edit: ProfileEdit, editor: Editor) -> str:
    """Run the editor until the draft is valid or unchanged; return its text.

    :raises Discarded: the user gave up.
    :raises CliError: the draft is invalid, and there is no terminal to ask on; or the editor failed.
    """
    while True:
        _run_editor(editor, edit.draft)
        try:
            text = edit.read_draft()
            if text != edit.template.text:
                edit.check(text)
            return text
        except RepomanError as error:
            problem = CliError(error.message, *error.hints, exit_code=NOT_FOUND)
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise problem
        print_error(problem)
        if not _ask_to_edit_again():
            raise Discarded


def _ask_to_edit_again() -> bool:
    """Ask what to do with an invalid draft; return false to discard it.

    :raises KeyboardInterrupt: end of input; the draft stays.
    """
    while True:
        print("Edit again, or discard your changes? [E/d] ", end="", file=sys.stderr, flush=True)  # noqa: T201
        line = sys.stdin.readline()
        if not line:
            print(file=sys.stderr)  # noqa: T201
            raise KeyboardInterrupt
        answer = line.strip().lower()
        if answer in ("", "e", "edit"):
            return True
        if answer in ("d", "discard"):
            return False


def _run_editor(editor: Editor, path: str) -> None:
    """Run the editor and wait for it; note how long it took.

    :raises CliError: it could not be started, or it failed.
    :raises KeyboardInterrupt: it was interrupted, or this process was asked to stop.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    started = time.monotonic()
    with _without_interrupts(), _sigterm_postponed() as allow_sigterm:
        try:
            process = subprocess.Popen([*editor.command, path])
        except OSError as error:
            raise CliError(f"the editor {editor.command[0]!r} cannot be started: {error.strerror}.", editor.retry()) from error
        try:
            allow_sigterm()
            status = process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
    editor.seconds = time.monotonic() - started
    if status == -signal.SIGINT:
        raise KeyboardInterrupt
    if status:
        reason = f"exit status {status}" if status > 0 else signal.strsignal(-status) or f"signal {-status}"
        raise CliError(f"the editor failed with {reason}: {shlex.join(editor.command)}.")


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Leave Ctrl-C to the editor, which runs on the same terminal. A handler, unlike ``SIG_IGN``, is not inherited by it."""
    signals = (signal.SIGINT, signal.SIGQUIT)
    previous = {number: signal.signal(number, lambda _number, _frame: None) for number in signals}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _sigterm_postponed() -> Iterator[Callable[[], None]]:
    """Postpone SIGTERM until the function that is yielded is called: while a program starts, there is nothing to pass it on to."""
    received: list[int] = []
    handler = signal.signal(signal.SIGTERM, lambda number, _frame: received.append(number))

    def allow() -> None:
        signal.signal(signal.SIGTERM, handler)
        if received:
            raise KeyboardInterrupt

    try:
        yield allow
    finally:
        signal.signal(signal.SIGTERM, handler)


def _with_draft(edit: ProfileEdit, error: CliError) -> CliError:
    """Return an error with the hints that lead to the draft, which is removed if it has no changes."""
    if edit.is_changed():
        error.hints += _draft_hints(edit)
    else:
        edit.remove_draft()
        error.hints += [] if error.hints else ["nothing was changed"]
    return error


def _draft_hints(edit: ProfileEdit) -> list[str]:
    return [f"your changes are in {edit.draft}", edit.keep_command() + "   # uses them as they are"]


def _short(path: str) -> str:
    return shorten_home(path, os.path.expanduser("~"))


def _unchanged(edit: ProfileEdit) -> str:
    if edit.original == edit.template.text:
        return f"{_short(edit.path)} is unchanged"
    return f"the vendor's template {edit.name} is unchanged, so it was not copied"


def _file_diff(edit: ProfileEdit, text: str) -> str:
    return unified(edit.template.text, text, edit.template.file_path, edit.path)


def _drift(edit: ProfileEdit) -> list[Line]:
    """Return what ``profile install`` would change now, and the command; a warning if that is unknown."""
    command = f"repoman profile install {shell_word(edit.name)}"
    try:
        found = edit.drift()
    except (RepomanError, OSError) as error:
        problem = _cli_error(error)
        text = f"the change is saved, but was not compared with Incus: {problem.message}"
        return [Line("warning", sentence(text)), *(Line("hint", hint) for hint in problem.hints)]
    if not found["installed"]:
        return [Line("out", f"{edit.name} is not installed"), Line("hint", command)]
    if not found["diff"]:
        return [Line("out", "the installed profile is the same")]
    return [*diff_lines(found["diff"]), Line("hint", command)]


def _cli_error(error: Exception) -> CliError:
    if isinstance(error, CliError):
        return error
    shown = RepomanError.from_exception(error) or NotFoundError(str(error))
    return CliError(shown.message, *shown.hints, exit_code=shown.exit_code)


@contextmanager
def _as_cli_errors() -> Iterator[None]:
    try:
        yield
    except (RepomanError, OSError) as error:
        raise _cli_error(error) from error


def _print(lines: Iterable[Line]) -> None:
    for line in lines:
        stream = sys.stderr if line.is_error else sys.stdout
        print(line.render(use_color(stream)), file=stream)
        with suppress(OSError):
            stream.flush()
