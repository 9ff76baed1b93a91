# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The start of a module: common options, and errors as results."""

from __future__ import annotations

import json
import select
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from ansible.module_utils.basic import AnsibleModule, env_fallback
from ansible.module_utils.errors import UnsupportedError

if sys.version_info < (3, 11):  # noqa: UP036 - what a module imports after this one would end in a traceback
    _too_old = {
        "failed": True,
        "msg": f"{sys.executable} is Python {'.'.join(map(str, sys.version_info[:3]))}, and repoman needs 3.11 or later.",
        "hints": ["set ansible_python_interpreter of that host to a later one, such as /usr/bin/python3.11"],
        "exit_code": 1,
    }
    sys.stdout.write(json.dumps(_too_old))
    raise SystemExit(1)

TRACE_VERBOSITY = 3
"""The number of ``-v`` from which Ansible shows the trace."""
TRACE_KEY = "trace"
"""Key of the result in which a shipped module returns its trace. Ansible shows nothing else that a module says, so the action plugin takes
it out of the result and shows it; only with ``async`` it stays there."""

LIBRARIES = {"yaml": "pyyaml", "tomlkit": "tomlkit"}
"""Third-party modules that the logic imports, with their distributions."""

SECONDS = ("timeout", "vcs_timeout", "probe_timeout", "idle_timeout")
"""Options that are numbers of seconds."""
MOST_SECONDS = 1_000_000

Logic = Callable[[dict[str, Any], bool], dict[str, Any]]
"""The logic of a module: takes its parameters and true for check mode; returns its result or raises ``RepomanError``.

The additional parameter ``_diff`` is true if the result's ``diff`` is shown."""

COMMON_ARGS: dict[str, dict[str, Any]] = {
    "user": {"type": "str"},
    "socket": {"type": "str"},
    "registry_path": {"type": "str"},
    "user_dir": {"type": "str"},
    "vendor_dir": {"type": "str", "fallback": (env_fallback, ["REPOMAN_VENDOR_DIR"])},
    "vendor_templates": {"type": "dict"},
    "timeout": {"type": "float", "default": 30.0},
}
"""Options of every module, so that ``module_defaults`` of the action group may set any of them."""

PREDICT_ARGS: dict[str, dict[str, Any]] = {"predict": {"type": "bool", "default": False}}
"""The option that makes check mode allow for the changes of earlier tasks; the roles set it."""

PREDICTED_REGISTRY_ARGS: dict[str, dict[str, Any]] = PREDICT_ARGS | {
    "registry_text": {"type": "str"},
    "registry_text_path": {"type": "str"},
}
"""The same for modules that read the registry."""

TARGET_ARGS: dict[str, dict[str, Any]] = {
    "probe_timeout": {"type": "float", "default": 3.0},
    "idle_timeout": {"type": "float", "default": 60.0, "aliases": ["patience"]},
}
"""Options of modules that use the target of the backup."""


Prediction = Callable[[dict[str, Any]], dict[str, Any]]
"""Returns the result of a module in check mode, with ``predict``, if something is missing that an earlier task may create.

Takes the parameters; may raise ``RepomanError``. It has no third-party library."""

_predictions: dict[Logic, Prediction] = {}


def predicting(predict: Prediction) -> Callable[[Logic], Logic]:
    """Decorate the logic of a module: ``predict`` returns its result for a host that has not been set up yet."""

    def decorate(run: Logic) -> Logic:
        _predictions[run] = predict
        return run

    return decorate


def require_libraries() -> None:
    """Check that the third-party modules are installed.

    :raises RepomanError: one is missing.
    """
    from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError

    missing = {library: distribution for library, distribution in LIBRARIES.items() if find_spec(library) is None}
    if missing:
        error = RepomanError(
            f"{sys.executable} has no {' and no '.join(missing.values())}, which repoman needs.",
            f"sudo apt install {' '.join(f'python3-{library}' for library in missing)}   (for the system's Python)",
            f"{sys.executable} -m pip install {' '.join(missing.values())}",
            "or set ansible_python_interpreter of that host to a Python that has it",
        )
        error.may_be_created_later = True
        raise error


def check_seconds(params: dict[str, Any]) -> None:
    """Check the options that are numbers of seconds.

    :raises UsageError: one is not positive, or longer than a program can wait.
    """
    from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import UsageError

    for option in SECONDS:
        value = params.get(option)
        if value is not None and not 0 < value <= MOST_SECONDS:  # not a number is neither
            raise UsageError(
                f"{option} is {value:.10g}, but must be more than 0 and at most {MOST_SECONDS} seconds.",
                "leave it out, for the default",
            )


def run_logic(run: Logic, params: dict[str, Any], check: bool, emit: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Return the result of ``run``; a ``RepomanError`` becomes a failed result with message, hints and exit code.

    The result has each warning of :func:`core.warnings.warn` once, and ``output``, if the registry was read.

    With ``predict`` in check mode, an error that an earlier task may prevent becomes a warning.

    :param emit: gets each line of the trace; see :mod:`core.log`.
    """
    from ansible_collections.homelab.repoman.plugins.module_utils.core import log, warnings

    with log.tracing(emit), warnings.collecting() as collected:
        log.protect(params)
        logger = log.get_logger("module")
        options = ", ".join(sorted(name for name, value in params.items() if value is not None and not name.startswith("_")))
        name = run.__module__.rpartition(".plugins.")[2].removeprefix("module_utils.")
        logger.debug("%s%s with options: %s", name, " in check mode" if check else "", options)
        result = _run_logic(run, params, check)
        if collected.warnings:
            result["warnings"] = [*collected.warnings, *result.get("warnings", ())]
        if collected.output:
            result["output"] = collected.output
        logger.debug("%s", f"failed: {result['msg']}" if result.get("failed") else f"changed: {result.get('changed', False)}")
        return result


def _run_logic(run: Logic, params: dict[str, Any], check: bool) -> dict[str, Any]:
    """See :func:`run_logic`."""
    from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError

    try:
        check_seconds(params)
        require_libraries()
        return run(params, check)
    except RepomanError as error:
        if check and params.get("predict") and error.may_be_created_later:
            return _predict(run, params) | {"warnings": [error.as_check_mode_warning()]}
        return error.as_result()
    except Exception as error:
        return _failure(error)


def _failure(error: Exception) -> dict[str, Any]:
    """Return the result of a run that ended with an exception; raise it again if it is a bug."""
    from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError

    shown = RepomanError.from_exception(error)
    if shown is None:
        raise error
    return shown.as_result()


def _predict(run: Logic, params: dict[str, Any]) -> dict[str, Any]:
    """Return the prediction for a module; a change if it has none."""
    predict = _predictions.get(run)
    try:
        return {"changed": True} if predict is None else predict(params)
    except Exception as error:
        return _failure(error)


def argument_failure(name: str, validation: Any) -> dict[str, Any]:
    """Return the result of a module whose arguments are wrong; empty if they are right.

    :param name: of the module.
    :param validation: a ``ValidationResult``.
    """
    if not validation.error_messages:
        return {}
    message = validation.errors.msg.rstrip(".")
    if isinstance(validation.errors[0], UnsupportedError):
        message = f"Unsupported parameters for ({name}) module: {message}"
    return {"failed": True, "changed": False, "msg": f"{message}.", "hints": [f"ansible-doc {name}"], "exit_code": 2}


def invocation(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the key ``invocation`` of a result: the options, which Ansible shows with ``-vvv``, without secrets."""
    from ansible_collections.homelab.repoman.plugins.module_utils.core.secrets import shown_options

    return {"module_args": shown_options(params)}


class RepomanModule(AnsibleModule):  # type: ignore[misc]
    """A module that reports wrong arguments like all other errors.

    It does not write the values of its options into the host's log, nor those that may be secret into its result.
    """

    def fail_json(self, msg: str, **result: Any) -> None:
        """Fail; the base class calls this while it checks the arguments."""
        validation = getattr(self, "validation_result", None)
        failure = argument_failure(self._name, validation) if validation is not None else {}
        super().fail_json(**({"msg": msg, "invocation": invocation(getattr(self, "params", {}))} | result | failure))

    def exit_json(self, **result: Any) -> None:
        """Return the result; the base class would add all values of the options."""
        super().exit_json(**({"invocation": invocation(self.params)} | result))

    def add_path_info(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the result. The base class would add mode and owner of the file that the result's ``path`` names."""
        return kwargs

    def _log_invocation(self) -> None:
        self.log(f"Invoked with {', '.join(sorted(name for name, value in self.params.items() if value is not None))}")


def main(run: Logic, spec: dict[str, Any]) -> None:
    """Run as a module.

    :param run: its logic.
    :param spec: arguments of ``AnsibleModule``: ``argument_spec`` and the relations of its options.
    """
    module = RepomanModule(supports_check_mode=True, **spec)
    _terminate_on_hangup()
    trace: list[str] | None = [] if module._verbosity >= TRACE_VERBOSITY else None
    try:
        result = run_logic(run, module.params | {"_diff": module._diff}, module.check_mode, None if trace is None else trace.append)
    except Exception as error:  # a bug: its traceback is all that reaches the user
        error.add_note("\n".join(trace or ()))
        raise
    if trace is not None:
        result[TRACE_KEY] = trace
    for warning in result.pop("warnings", []):
        module.warn(warning)
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


def _terminate_on_hangup() -> None:
    """Send this process SIGTERM when the reader of its output is gone, so that it rolls back.

    A command that ssh runs without a terminal outlives an interrupted client. The only sign is the hangup of its standard output.
    """
    poller = select.poll()
    try:
        poller.register(sys.stdout.fileno(), 0)  # the kernel always reports a hangup
    except (OSError, ValueError):  # something else reads the output, such as mitogen
        return

    def listen() -> None:
        poller.poll()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    threading.Thread(target=listen, daemon=True).start()
