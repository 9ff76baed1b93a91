# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules ``repoman_profile`` and ``repoman_profile_info``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError, UsageError
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import predicting
from ansible_collections.homelab.repoman.plugins.module_utils.core.names import check_file_name, check_profile_name
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import apply_all, plan_all
from ansible_collections.homelab.repoman.plugins.module_utils.core.results import Action, merge_failures
from ansible_collections.homelab.repoman.plugins.module_utils.core.warnings import warn
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import UnreachableError
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.changes import (
    ProfileChange,
    ProfileContext,
    give_up,
    install,
    remove,
)
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.comparison import diff, diff_vendor, show
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.context import load_context
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.copying import ProfileCopy
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.installed import Installed, read_installed
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.library import ProfileEntry, list_all, list_one, lookup
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template_lock import remove_abandoned_locks

TEXTS = ("raw", "rendered", "diff", "vendor_diff")
"""Options of ``repoman_profile_info`` that each add a text to a profile."""
CHANGES = (Action.INSTALLED, Action.UPDATED, Action.REMOVED, Action.COPIED)


def _predict(params: dict[str, Any]) -> dict[str, Any]:
    """Return the result on a host that has not been set up; only then the code for it is imported."""
    from ansible_collections.homelab.repoman.plugins.module_utils.profiles.prediction import predict

    _check_options(params)
    return predict(params)


@predicting(_predict)
def run(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Install or remove profiles; see the documentation of the module ``repoman_profile``.

    :raises UsageError: neither ``names`` nor ``all`` was given, or both.
    :raises RepomanError: no profile could be processed. Failures of single profiles are in the result.
    """
    _check_options(params)
    predicts = check and params["predict"]
    context = load_context(params)
    names = context.library.names() if params["all"] else list(dict.fromkeys(params["names"] or []))
    changes: Sequence[ProfileChange]
    warnings: list[str] = []
    if params["state"] == "copied":
        changes = _copies(names, params["new_name"], context)
    elif params["state"] == "present":
        changes = installations = install(names, context, _read_installed(context, predicts), predict=predicts)
        warnings += [warning for change in installations for warning in change.warnings + change.source_warnings()]
    else:
        changes = remove(names, context, _read_installed(context, predicts))
    diffs = [entry for change in changes for entry in change.plan.diff]
    if not check:
        try:
            apply_all(changes)
        except UnreachableError as error:
            give_up(changes, error)
        finally:
            context.record.write()
            if params["state"] == "copied":
                remove_abandoned_locks(context.library.user_dir, context.account)
    results = [change.result for change in changes]
    warnings += [
        f"profile '{profile['name']}' is still used by {', '.join(profile['referenced_by'])}: 'repoman new' will fail for them until it is installed again"
        for profile in results
        if profile.get("referenced_by")
    ]
    result: dict[str, Any] = {
        "changed": any(profile["action"] in CHANGES for profile in results),
        "profiles": results,
        "diff": diffs,
    }
    if warnings:
        result["warnings"] = warnings
    return result | merge_failures(results)


def _check_options(params: dict[str, Any]) -> None:
    """Check the options of ``repoman_profile``, also for a prediction.

    :raises UsageError: neither ``names`` nor ``all`` was given, or both; a name is invalid.
    """
    if params["all"] and params["names"]:
        raise UsageError("all profiles and names of profiles exclude each other.", "leave out either 'names' or 'all'")
    if params["names"] is None and not params["all"]:
        raise UsageError("no profile was named.", "names: [NAME], or all: true")
    for name in params["names"] or ():
        check_file_name("profile", name) if params["state"] == "absent" else check_profile_name(name)


def _copies(names: Sequence[str], new_name: str | None, context: ProfileContext) -> list[ProfileCopy]:
    """Plan to copy templates.

    :raises UsageError: several would get one name.
    """
    if new_name is not None and len(names) != 1:
        raise UsageError("one new name is for one template.", "leave 'new_name' out, or name one template")
    copies = [ProfileCopy(name, name if new_name is None else new_name, context) for name in names]
    plan_all(copies)
    return copies


def _predict_info(params: dict[str, Any]) -> dict[str, Any]:
    """See :func:`_predict`."""
    from ansible_collections.homelab.repoman.plugins.module_utils.profiles.prediction import predict_info

    return predict_info(params, _needs_incus(params))


@predicting(_predict_info)
def info(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Return the profiles and templates; see the documentation of the module ``repoman_profile_info``.

    :raises RepomanError: nothing can be read. A template that does not exist or cannot be rendered has an ``error`` in the result.
    """
    context = load_context(params)
    names, predict = params["names"], check and params["predict"]
    installed = _read_installed(context, predict) if _needs_incus(params) else None
    if names is None:
        profiles = [vars(entry) for entry in list_all(context.library, installed or {}, context.host)]
    else:
        profiles = [_named(name, context, installed or {}, params, predict) for name in dict.fromkeys(names)]
    if installed is None:
        profiles = [{key: value for key, value in profile.items() if key not in ("installed", "drift")} for profile in profiles]
    result = {"changed": False, "profiles": profiles} | merge_failures(profiles)
    empty = [profile["empty_file"] for profile in profiles if profile["empty_file"]]
    return result | ({"warnings": [f"{path} is empty, so it does not shadow the vendor's template" for path in empty]} if empty else {})


def _needs_incus(params: dict[str, Any]) -> bool:
    """Return whether the result says which profiles are installed."""
    return params["diff"] or not any(params[key] for key in TEXTS)


def _read_installed(context: ProfileContext, predicts: bool) -> dict[str, Installed]:
    """Read the profiles of Incus. In check mode, an earlier task may have yet to install and start it; then it has none."""
    try:
        return read_installed(context.client)
    except RepomanError as error:
        if not predicts or not error.may_be_created_later:
            raise
        warn(error.as_check_mode_warning())
        return {}


def _named(name: str, context: ProfileContext, installed: dict[str, Installed], params: dict[str, Any], predict: bool) -> dict[str, Any]:
    """Return one profile with the requested texts, or with the error that prevents them."""
    library, host = context.library, context.host
    try:
        template = lookup(name, library)
        details = dict(vars(list_one(name, library, installed, host)))
        if params["raw"]:
            details["raw"] = template.text
        if params["rendered"]:
            details["rendered"] = show(name, library, host)
        if params["vendor_diff"]:
            details["vendor_diff"] = diff_vendor(name, library, host)
        return details | (diff(name, library, host, installed.get(name)) if params["diff"] else {})
    except RepomanError as error:
        known = name in library.names()
        entry = vars(list_one(name, library, installed, host)) if known else vars(ProfileEntry(name, "", "", name in installed, False))
        if predict and error.may_be_created_later:
            warn(error.as_check_mode_warning())
            return entry | {"error": error.message}
        return entry | {"error": error.message, "msg": error.message, "hints": error.hints, "exit_code": error.exit_code}
