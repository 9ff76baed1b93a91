# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of one playbook of the collection, in this process."""

from __future__ import annotations

import json
import locale
import os
import re
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from repoman.errors import INTERRUPTED, OPEN_SHARED_MEMORY, Failure, tell

COLLECTION = "homelab.repoman"
PLACE = Path("ansible_collections", "homelab", "repoman")
OWN_SETTINGS = Path(__file__).with_name("ansible.cfg")
QUIET = {
    "ANSIBLE_DEPRECATION_WARNINGS": "0",
    "ANSIBLE_DEVEL_WARNING": "0",
    "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
    "ANSIBLE_LOCALHOST_WARNING": "0",
    "ANSIBLE_NOCOWS": "1",
    "ANSIBLE_PIPELINING": "1",
    "ANSIBLE_RETRY_FILES_ENABLED": "0",
    "ANSIBLE_STDOUT_CALLBACK": f"{COLLECTION}.report",
    "ANSIBLE_VERBOSE_TO_STDERR": "1",
}
HERE = {"ANSIBLE_BECOME": "0", "ANSIBLE_BECOME_ASK_PASS": "0", "ANSIBLE_ASK_PASS": "0"}
"""On this host the command serves the user who runs it, whatever their settings for other hosts say."""


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    :param exit_code: of the command.
    :param changed: whether anything was changed, or would be in check mode.
    :param results: what the modules answered, in order.
    """

    exit_code: int
    changed: bool = False
    results: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Playbook:
    """A playbook of the collection and how it is to be run.

    :param name: of its file, without the suffix.
    :param variables: extra variables of the run.
    :param check: only tell what would be done.
    :param diff: show what changes as unified diffs.
    :param json: print one JSON document.
    :param verbosity: how often ``-v`` was given.
    :param inventory: where the hosts are; where there are none and no limit, this host.
    :param limit: pattern of the hosts to work on.
    :param forks: how many hosts to work on at a time; 0 leaves it to ansible's settings.
    """

    name: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    check: bool = False
    diff: bool = False
    json: bool = False
    verbosity: int = 0
    inventory: tuple[str, ...] = ()
    limit: str = ""
    forks: int = 0

    @property
    def verb(self) -> str:
        """The verb as the user types it."""
        return self.name.replace("_", " ")

    @property
    def is_here(self) -> bool:
        """Whether it runs on this host only."""
        return not self.inventory and not self.limit

    def arguments(self) -> list[str]:
        """Return the command line of ``ansible-playbook`` that says the same; the variables are one JSON object."""
        variables = literal(self.variables if self.is_here else {"repoman_hosts": "all"} | dict(self.variables))
        return [
            "ansible-playbook",
            f"{COLLECTION}.{self.name}",
            *([f"--extra-vars={json.dumps(variables)}"] if variables else []),
            *(["--check"] if self.check else []),
            *(["--diff"] if self.diff else []),
            *([f"-{'v' * self.verbosity}"] if self.verbosity else []),
            *(f"--inventory={source}" for source in self.inventory),
            *([f"--limit={self.limit}"] if self.limit else []),
            *([f"--forks={self.forks}"] if self.forks else []),
        ]

    def settings(self, environment: Mapping[str, str], brief: bool = False) -> dict[str, str]:
        """Return the environment variables to set for the run.

        :param environment: the environment as it is.
        :param brief: leave out what a preview has told.
        """
        settings = QUIET | {"REPOMAN_FORMAT": "json" if self.json else "text", "REPOMAN_BRIEF": str(int(brief))}
        if self.is_here:
            settings |= HERE
        if not environment.keys() & {"ANSIBLE_HOME", "ANSIBLE_LOCAL_TEMP"}:
            try:
                Path("~/.ansible/tmp").expanduser().mkdir(0o700, parents=True, exist_ok=True)
            except OSError:  # ansible would end with a traceback
                import tempfile

                settings["ANSIBLE_LOCAL_TEMP"] = tempfile.gettempdir()
        if "ANSIBLE_CONFIG" not in environment:
            files = (Path("~/.ansible.cfg").expanduser(), Path("/etc/ansible/ansible.cfg"), OWN_SETTINGS)
            settings["ANSIBLE_CONFIG"] = str(next(file for file in files if os.access(file, os.R_OK)))
        return settings

    def run(self, brief: bool = False) -> Outcome:
        """Run it; the report goes to standard output and standard error.

        :param brief: leave out what a preview has told.
        :raises Failure: it ended before there was anything to report.
        :raises KeyboardInterrupt: it was interrupted, and what was being done has been undone.
        """
        root = collection_root()
        os.environ.update(self.settings(os.environ, brief))
        code = _engine().run(self.arguments(), str(root), self.is_here)
        report = sys.modules.get(f"ansible_collections.{COLLECTION}.plugins.callback.report")
        if report is None:
            raise Failure("ansible did not load the report of repoman, so nothing is known of the run.", f"repoman -vvv {self.verb}")
        told = report.outcome
        if not told.hosts or (code and not told.exit_code):
            raise Failure(f"ansible ended with exit code {code} and no result.", f"repoman -vvv {self.verb}")
        return Outcome(told.exit_code, told.changed, told.results)

    def preview(self) -> Outcome:
        """Run it in check mode, in a fork of this process: ansible keeps the options and variables of a process's first run.

        :returns: its exit code, and whether it would change anything.
        :raises Failure: the fork died.
        :raises KeyboardInterrupt: it was interrupted.
        """
        os.environ.update(self.settings(os.environ))
        _engine()
        sys.stdout.flush()
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            _answer(replace(self, check=True), writing)
        os.close(writing)
        try:
            with open(reading, "rb") as answer:
                said = answer.read()
        except KeyboardInterrupt:
            os.kill(child, signal.SIGINT)
            raise
        finally:
            os.waitpid(child, 0)
        if not said:
            raise Failure("the preview ended without an answer.", f"repoman --check -vvv {self.verb}")
        return Outcome(**json.loads(said))


def _answer(playbook: Playbook, writing: int) -> NoReturn:
    """Run a playbook in a fork, write its outcome as JSON, and end the process."""
    outcome = Outcome(INTERRUPTED)
    with suppress(KeyboardInterrupt, BrokenPipeError):
        try:
            outcome = playbook.run()
        except Failure as failure:
            tell(failure)
            outcome = Outcome(failure.exit_code)
        sys.stdout.flush()
        os.write(writing, json.dumps({"exit_code": outcome.exit_code, "changed": outcome.changed}).encode())
    from multiprocessing import util

    util._exit_function()  # type: ignore[attr-defined]  # it removes what ansible has in the temporary directory
    os._exit(0)


def _engine() -> ModuleType:
    """Import ansible.

    :raises Failure: it cannot be.
    """
    _settle_locale()
    try:
        from repoman import engine
    except SystemExit as error:
        raise Failure(f"ansible cannot start: {error.code}", "ansible --version   shows whether it runs at all") from error
    except ImportError as error:
        raise Failure(f"ansible cannot be loaded: {error}.", "pip install ansible-core") from error
    except OSError as error:  # before ansible-core 2.19 a lock is made as it is loaded
        raise Failure(f"ansible cannot be loaded: {error.strerror or error}.", OPEN_SHARED_MEMORY) from error
    return engine


def literal(value: Any) -> Any:
    """Return ``value`` as extra variables take it, with every text that Ansible would read as a template marked as one that is none."""
    if isinstance(value, str):
        return {"__ansible_unsafe": value} if "{" in value else value
    if isinstance(value, Mapping):
        return {key: literal(each) for key, each in value.items()}
    if isinstance(value, list):
        return [literal(each) for each in value]
    return value


def collection_root() -> Path:
    """Return the directory that holds this command's own copy of the collection, as ``ansible_collections/…``.

    :raises Failure: there is none beside the command.
    """
    for entry in sys.path:
        if entry and (Path(entry) / PLACE / "galaxy.yml").is_file():
            return Path(entry).absolute()
    raise Failure(f"the collection {COLLECTION} is not installed beside this command.", "pip install homelab-repoman")


def version() -> str:
    """Return the collection's version, which is the command's.

    :raises Failure: there is no collection beside the command.
    """
    text = (collection_root() / PLACE / "galaxy.yml").read_text(encoding="utf-8")
    found = re.search(r"^version:\s*(\S+)", text, re.MULTILINE)
    return found[1] if found else "unknown"


def _settle_locale() -> None:
    """Take a UTF-8 locale where the user's is none, or not installed: ansible does not start without."""
    try:
        locale.setlocale(locale.LC_ALL, "")
        encoding = locale.getlocale()[1] or ""
    except (locale.Error, ValueError):
        encoding = ""
    if encoding.lower().replace("-", "") != "utf8":
        os.environ["LC_ALL"] = "C.UTF-8"
