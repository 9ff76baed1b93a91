# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running a playbook of the collection in this process."""

from __future__ import annotations

import gc
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

from repoman import streams
from repoman.errors import INTERRUPTED, OPEN_SHARED_MEMORY, CliError, print_error
from repoman.installation import COLLECTION, COLLECTION_PATH, collection_root, config_file

PR_SET_PDEATHSIG = 1
QUIET_ENV = {
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
PREVIEWED = ("previous_owner", "restored", "summary")
"""Keys of results that a preview returns; the report shows the rest."""
LOCAL_ENV = {"ANSIBLE_BECOME": "0", "ANSIBLE_BECOME_ASK_PASS": "0", "ANSIBLE_ASK_PASS": "0"}
"""Settings for runs on this host: no privilege escalation and no password prompts, even if the user configured them for other hosts."""


@dataclass(frozen=True)
class PlaybookResult:
    """Result of a run.

    :param exit_code: exit code of the command.
    :param changed: true if anything was changed, or in check mode would be.
    :param results: results of the modules, in order.
    """

    exit_code: int
    changed: bool = False
    results: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Playbook:
    """A playbook of the collection, and the options to run it with.

    :param name: file name without the suffix.
    :param variables: extra variables.
    :param check: check mode: predict, and change nothing.
    :param diff: show changes as unified diffs.
    :param json: print one JSON document.
    :param verbosity: number of ``-v``.
    :param quiet: print only what was done and what failed.
    :param inventory: inventory sources; without any, and without a limit, the playbook runs on this host.
    :param limit: pattern of hosts to work on.
    :param forks: number of hosts to work on at once; 0 for ansible's default.
    :param details: report all of each project instead of an overview.
    :param strict: ``all`` or ``projects``: exit with 1 if something needs attention; see the option of the callback plugin.
    """

    name: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    check: bool = False
    diff: bool = False
    json: bool = False
    verbosity: int = 0
    quiet: bool = False
    inventory: tuple[str, ...] = ()
    limit: str = ""
    forks: int = 0
    details: bool = False
    strict: str = ""

    @property
    def verb(self) -> str:
        """The verb, as typed."""
        return self.name.replace("_", " ")

    @property
    def is_local(self) -> bool:
        """True if it runs on this host only."""
        return not self.inventory and not self.limit

    @property
    def needs_directory(self) -> bool:
        """True if the inventory may be a path relative to the current directory. A list of hosts, which has a comma, is not a path."""
        if not self.inventory:
            return bool(self.limit)
        return any("," not in source and not source.startswith(("/", "~")) for source in self.inventory)

    def arguments(self) -> list[str]:
        """Return the equivalent command line of ``ansible-playbook``."""
        variables = mark_unsafe(self.variables if self.is_local else {"repoman_hosts": "all"} | dict(self.variables))
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

    def environment(self, current: Mapping[str, str], brief: bool = False) -> dict[str, str]:
        """Return the environment variables to set for the run.

        :param current: the current environment; settings in it have precedence.
        :param brief: leave out the parts of the report that a preview has shown.
        """
        variables = QUIET_ENV | {"REPOMAN_FORMAT": "json" if self.json else "text", "REPOMAN_BRIEF": str(int(brief))}
        variables |= {"REPOMAN_DETAILS": "1"} if self.details else {}
        variables |= {"REPOMAN_STRICT": self.strict} if self.strict else {}
        if self.quiet:
            variables |= {"REPOMAN_OUTPUT": "quiet", "ANSIBLE_VERBOSITY": "0"}
        if self.is_local:
            variables |= LOCAL_ENV
        if not current.keys() & {"ANSIBLE_HOME", "ANSIBLE_LOCAL_TEMP"}:
            from repoman import temporary

            directory = temporary.find_parent(Path("~/.ansible/tmp").expanduser())
            variables |= {"ANSIBLE_LOCAL_TEMP": directory} if directory else {}
        if "ANSIBLE_CONFIG" not in current:
            variables["ANSIBLE_CONFIG"] = str(config_file())
        return variables

    def run(self, brief: bool = False) -> PlaybookResult:
        """Run it; the callback plugin prints the report.

        :param brief: leave out the parts of the report that a preview has shown.
        :raises CliError: the run ended without a report.
        :raises KeyboardInterrupt: the run was interrupted and rolled back.
        """
        root = collection_root()
        os.environ.update(self.environment(os.environ, brief))
        code = _import_engine().run(self.arguments(), str(root), self.is_local)
        report = sys.modules.get(f"ansible_collections.{COLLECTION}.plugins.callback.report")
        if report is None:
            raise CliError("ansible did not load repoman's callback plugin, so the run has no report.", f"repoman -vvv {self.verb}")
        summary = report.run_report
        if not summary.hosts or (code and not summary.exit_code):
            raise CliError(f"ansible ended with exit code {code} and no result.", f"repoman -vvv {self.verb}")
        return PlaybookResult(summary.exit_code, summary.changed, summary.results)

    def preview(self) -> PlaybookResult:
        """Run it in check mode, in a fork of this process, because ansible runs only one playbook per process correctly.

        (It keeps the options and variables of the first run in global state.)

        :returns: the exit code, whether anything would change, and of the results the keys :data:`PREVIEWED`.
        :raises CliError: the fork died.
        :raises KeyboardInterrupt: the run was interrupted.
        """
        os.environ.update(self.environment(os.environ))
        _import_engine()
        sys.stdout.flush()
        read_fd, write_fd = os.pipe()
        try:
            child = os.fork()
        except OSError as error:
            raise CliError(f"no process for the preview could be started: {error.strerror}.", "ulimit -a") from error
        if not child:
            _run_in_fork(replace(self, check=True), write_fd)
        os.close(write_fd)
        try:
            with open(read_fd, "rb") as pipe:
                output = pipe.read()
        except KeyboardInterrupt:
            os.kill(child, signal.SIGINT)
            raise
        finally:
            os.waitpid(child, 0)
        if not output:
            raise CliError("the preview died.", f"repoman --check -vvv {self.verb}")
        return PlaybookResult(**json.loads(output))


def _run_in_fork(playbook: Playbook, write_fd: int) -> NoReturn:
    """Run a playbook, write its result to a pipe as JSON, and end this process, which is a fork."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))  # end with the command, if that is killed
    result = PlaybookResult(INTERRUPTED)
    with suppress(KeyboardInterrupt):
        try:
            result = playbook.run()
        except CliError as failure:
            print_error(failure)
            result = PlaybookResult(failure.exit_code)
        results = [{key: each[key] for key in PREVIEWED if key in each} for each in result.results]
        answer = {"exit_code": streams.finish(result.exit_code), "changed": result.changed, "results": results}
        os.write(write_fd, json.dumps(answer).encode())
    from multiprocessing import util

    util._exit_function()  # type: ignore[attr-defined]  # removes ansible's temporary files
    os._exit(0)


def _import_engine() -> ModuleType:
    """Import ansible, which takes most of a second.

    :raises CliError: the import failed.
    """
    _ensure_utf8_locale()
    gc.disable()  # nothing of what is imported is garbage, and looking for it takes a fifth of the import
    try:
        _import_settings()
        from repoman import engine
    except SystemExit as error:
        raise CliError(f"ansible cannot start: {error.code}", "ansible --version   # shows whether it runs at all") from error
    except ImportError as error:
        raise CliError(f"ansible cannot be loaded: {error}.", "pip install ansible-core") from error
    except OSError as error:  # before ansible-core 2.19, importing it creates a lock
        raise CliError(f"ansible cannot be loaded: {error.strerror or error}.", OPEN_SHARED_MEMORY) from error
    finally:
        gc.freeze()
        gc.enable()
    engine.claim_temporary_directory()
    return engine


def _import_settings() -> None:
    """Read ansible's settings, which makes its temporary directory; if ansible's command does that first, an error is a traceback.

    :raises SystemExit: a setting is invalid, or a directory in the settings cannot be made; the code is the reason.
    """
    try:
        from repoman import postponed, settings

        postponed.install(postponed.MODULES)
        settings.install()
        import ansible.constants  # noqa: F401
    except (ImportError, OSError):
        raise
    except Exception as error:
        raise SystemExit(" ".join(str(error).split())) from error


def mark_unsafe(value: Any) -> Any:
    """Return a value for extra variables, in which text is marked so that Ansible never evaluates it as a template."""
    if isinstance(value, str):
        return {"__ansible_unsafe": value} if "{" in value else value
    if isinstance(value, Mapping):
        return {key: mark_unsafe(item) for key, item in value.items()}
    if isinstance(value, list):
        return [mark_unsafe(item) for item in value]
    return value


def version() -> str:
    """Return the version of the collection, which is that of the command.

    :raises CliError: the collection is not installed with the command.
    """
    text = (collection_root() / COLLECTION_PATH / "galaxy.yml").read_text(encoding="utf-8")
    match = re.search(r"^version:\s*(\S+)", text, re.MULTILINE)
    return match[1] if match else "unknown"


def _ensure_utf8_locale() -> None:
    """Switch to C.UTF-8 if the user's locale is not UTF-8 or not installed, because ansible would refuse to start."""
    try:
        locale.setlocale(locale.LC_ALL, "")
        encoding = locale.getlocale()[1] or ""
    except (locale.Error, ValueError):
        encoding = ""
    if encoding.lower().replace("-", "") != "utf8":
        os.environ["LC_ALL"] = "C.UTF-8"
