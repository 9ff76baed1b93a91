# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the command line of each verb to the extra variables of its playbook.

A missing option gives no variable, so that the defaults of the roles and modules apply.
"""

from __future__ import annotations

import os
import pwd
import shlex
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from repoman import completion
from repoman.cli.targets import (
    PROJECT_NAME,
    Target,
    backup_names,
    check_directory,
    check_host,
    container_names,
    container_target,
    is_path,
    is_relative_to_directory,
    new_target,
)
from repoman.current_directory import absolute_path, path_in_shell
from repoman.errors import NOT_FOUND, USAGE, CliError

Variables = dict[str, Any]
NEW_OPTIONS = ("repo", "clone", "image", "profile", "no_backup", "adopt", "target")
"""Options of ``new`` about the projects that are named."""


def no_variables(options: Namespace) -> Variables:
    """Return no variables."""
    return {}


def setup_variables(options: Namespace) -> Variables:
    """Return the variables of ``setup``.

    :raises CliError: the command line has an option of earlier versions, or a relative path for another host.
    """
    for key in ("with_llm", "without_llm"):
        if getattr(options, key):
            raise CliError(
                f"setup no longer has --{key.replace('_', '-')}: profiles are installed separately.",
                "repoman profile install llm-share",
                exit_code=USAGE,
            )
    path = options.backup_root
    if not path:
        return {}
    if not path.startswith(("/", "~")):
        if options.inventory or options.limit:
            raise CliError(
                f"{path} is a path on this host, but -i and -l work on others.",
                "repoman setup --backup-root DIR   # an absolute path there",
                exit_code=USAGE,
            )
        path = path_in_shell(path)
    return {"repoman_backup_root": path}


def new_variables(options: Namespace) -> Variables:
    """Return the variables of ``new``.

    :raises CliError: a project cannot be found, a path is on another host, or options contradict each other.
    """
    if options.all:
        return _new_all_variables(options)
    if options.repo and len(options.names or ()) > 1:
        raise CliError(
            "--repo is the directory of one project, but several are named.",
            "repoman new NAME --repo DIR   # one at a time",
            exit_code=USAGE,
        )
    repo = options.repo and shell_path(options, options.repo)
    if options.clone:
        from repoman.cli.cloning import cloned_project

        options.cloned = cloned_project(options, repo)
        settings = _new_settings(options, Target(options.cloned.name, options.cloned.repo), None)
        return {"repoman_projects": [settings]} | ({"repoman_predict": True} if options.check else {})
    projects = [_new_settings(options, new_target(options, word, repo), repo) for word in options.names or [None]]
    return {"repoman_projects": list({project["name"]: project for project in projects}.values())}


def _new_all_variables(options: Namespace) -> Variables:
    """Return the variables of ``new --all``.

    :raises CliError: the command line has names, or options of single projects.
    """
    if options.names:
        raise CliError("--all is every project; new takes no names with it.", "repoman new --all", exit_code=USAGE)
    for key in NEW_OPTIONS:
        if getattr(options, key):
            raise CliError(
                f"--all takes every project as it is configured, so it cannot be combined with --{key.replace('_', '-')}.",
                "repoman new --help",
                exit_code=USAGE,
            )
    return {"repoman_all": True}


def _new_settings(options: Namespace, target: Target, repo: str | None) -> Variables:
    """Return the settings of one project of ``new``."""
    project = {
        "name": target.name,
        "repo": repo or target.repo or None,
        "image": options.image,
        "add_profiles": options.profile,
        "target": options.target,
    }
    settings: Variables = {key: value for key, value in project.items() if value is not None}
    return settings | ({"backup": False} if options.no_backup else {}) | ({"adopt": True} if options.adopt else {})


def list_variables(options: Namespace) -> Variables:
    """Return the variables of ``list``."""
    return ({"repoman_all_users": True} if options.all_users else {}) | ({"repoman_list_vcs": True} if options.git else {})


def shell_path(options: Namespace, path: str) -> str:
    """Return a path as the shell means it: one that starts with ``.`` or ``..`` is relative to the current directory.

    Other relative paths are relative to ``repos_root``. The current directory is named as the shell names it, with links.

    :raises CliError: it is relative to the current directory, and -i or -l name another host.
    """
    if not is_relative_to_directory(path):
        return path
    check_host(options, path)
    return path_in_shell(path)


def remove_variables(options: Namespace) -> Variables:
    """Return the variables of ``remove``."""
    return {"repoman_projects": [{"name": name} for name in container_names(options, "remove", options.names)]}


def status_variables(options: Namespace) -> Variables:
    """Return the variables of ``status``.

    :raises CliError: both names and ``--all``.
    """
    if options.names and options.all:
        raise CliError("--all shows every project; status takes no names with it.", "repoman status --all", exit_code=USAGE)
    return {"repoman_project_names": container_names(options, "status", options.names)} if options.names else {}


def power_variables(verb: str) -> Callable[[Namespace], Variables]:
    """Return the function that returns the variables of ``start``, ``stop`` or ``restart``."""

    def variables(options: Namespace) -> Variables:
        if not options.all:
            names = container_names(options, verb, options.names or [None])
            return {"repoman_projects": [{"name": name} for name in names]}
        if options.names:
            raise CliError(f"--all is every container; {verb} takes no names with it.", f"repoman {verb} --all", exit_code=USAGE)
        return {"repoman_all": True}

    return variables


def shell_variables(options: Namespace) -> Variables:
    """Return the variables of ``shell``. Set in ``options`` the project that was found and the directory to open.

    :raises CliError: the project cannot be found, or the verb does not work on other hosts.
    """
    if options.inventory or options.limit:
        name = options.name or "NAME"
        raise CliError("shell works on this host only.", f"ssh to that host, then: repoman shell {name}", exit_code=USAGE)
    target = container_target(options, "shell", options.name)
    if options.name and is_path(options.name):
        check_directory(options, options.name, target)
    options.word, options.name, options.subdirectory = options.name, target.name, target.subdirectory
    return {"repoman_project_name": target.name} | ({"repoman_create": True} if options.create else {})


def ssh_config_variables(options: Namespace) -> Variables:
    """Return the variables of ``ssh-config``: none. Set in ``options`` the names of the projects, and the user.

    :raises CliError: a project does not exist, or the verb does not work on other hosts.
    """
    from repoman import repositories

    _check_local_text(options, "ssh-config")
    known = sorted(name for name in repositories.load().paths if PROJECT_NAME.match(name))
    options.names = container_names(options, "ssh-config", options.names) if options.names else known
    for name in options.names:
        if name not in known:
            raise CliError(f"there is no project {name!r}.", f"repoman new {shlex.quote(name)}", "repoman list", exit_code=NOT_FOUND)
    options.user = _user_name()
    return {}


def ssh_proxy_variables(options: Namespace) -> Variables:
    """Return the variables of ``ssh-proxy``.

    :raises CliError: the verb does not work on other hosts, and has no check mode.
    """
    _check_local_text(options, "ssh-proxy")
    options.name = container_target(options, "ssh-proxy", options.name).name
    if options.check:
        hint = f"repoman --check shell {shlex.quote(options.name)}"
        raise CliError("ssh-proxy has no --check: it connects to the container.", hint, exit_code=USAGE)
    return {"repoman_project_name": options.name}


def _check_local_text(options: Namespace, verb: str) -> None:
    """Reject hosts and JSON for a verb that has neither."""
    _check_local(options, verb)
    if options.json:
        raise CliError(f"{verb} has no --json: its output is for ssh.", "repoman list --json", exit_code=USAGE)


def _check_local(options: Namespace, verb: str, argument: str = "") -> None:
    """Reject hosts for a verb that works only on this one.

    :param argument: follows the verb in the hint.
    """
    if options.inventory or options.limit:
        raise CliError(f"{verb} works on this host only.", f"ssh to that host, then: repoman {verb}{argument}", exit_code=USAGE)


def _user_name() -> str:
    """Return the login name of this process's user, as the modules find it."""
    from repoman.shared import module_util

    name = os.environ.get("USER", "")
    if module_util("host.account").name_if_current_user(name):
        return name
    with suppress(KeyError):
        return pwd.getpwuid(os.getuid()).pw_name
    return name


def sync_variables(options: Namespace) -> Variables:
    """Return the variables of ``sync``.

    :raises CliError: the options contradict each other.
    """
    if options.allow_local and not options.init:
        raise CliError("--allow-local requires --init.", "repoman sync --init --allow-local", exit_code=USAGE)
    if options.take_over and options.init:
        raise CliError("--take-over cannot be combined with --init.", "repoman sync --take-over", exit_code=USAGE)
    _check_read_only_sync(options)
    keys = (
        "names",
        "init",
        "allow_local",
        "take_over",
        "full",
        "verify",
        "allow_shrink",
        "list_versions",
        "jobs",
        "exclude",
        "exclude_caches",
        "follow_mounts",
    )
    values = {key: getattr(options, key) for key in keys}
    values["names"] = [escape_bytes(name) for name in backup_names(options, "sync", values["names"] or [])]
    if values["list_versions"]:
        values["list_versions"] = escape_bytes(*backup_names(options, "sync --list-versions", [values["list_versions"]]))
    return {f"repoman_sync_{key}": value for key, value in values.items() if value not in (None, False, [])}


def _check_read_only_sync(options: Namespace) -> None:
    """Reject options that change something, or names, next to ``--list-versions`` and ``--verify``."""
    if options.list_versions is None and not options.verify:
        return
    option = "--verify" if options.list_versions is None else "--list-versions"
    for key in ("init", "take_over", "full", "allow_shrink", *(("names", "verify") if option == "--list-versions" else ())):
        if getattr(options, key):
            other = "names" if key == "names" else f"--{key.replace('_', '-')}"
            raise CliError(f"{option} cannot be combined with {other}.", "repoman sync --help", exit_code=USAGE)


def restore_variables(options: Namespace) -> Variables:
    """Return the variables of ``restore``; a relative directory is resolved here, because modules run elsewhere.

    :raises CliError: a relative directory on another host, no name, or options that contradict each other.
    """
    if options.to and (options.inventory or options.limit) and not options.to.startswith(("/", "~")):
        raise CliError(
            f"--to {options.to} is a relative path, but -i and -l need an absolute one.",
            f"--to ~/{options.to}   is below the home directory on that host",
            exit_code=USAGE,
        )
    _check_restore(options)
    names = [escape_bytes(name) for name in dict.fromkeys(backup_names(options, "restore", options.names or []))]
    values = {
        "name": names[0] if len(names) == 1 else None,
        "names": names if len(names) > 1 else None,
        "all": options.all,
        "to": options.to and (options.to if options.to.startswith("~") else absolute_path(options.to)),
        "from": getattr(options, "from"),
        "paths": options.path and [escape_bytes(path) for path in options.path],
        "overwrite": options.overwrite,
        "objects": options.objects,
        "jobs": options.jobs,
        "settings": options.settings,
    }
    return {f"repoman_restore_{key}": value for key, value in values.items() if value not in (None, False)}


def _check_restore(options: Namespace) -> None:
    """Reject options of ``restore`` that contradict each other.

    :raises CliError: they do.
    """
    if not options.names and not options.all and not options.settings:
        raise CliError(
            "restore needs a NAME, or --all.",
            "repoman restore NAME",
            "repoman restore --all   # everything that the backup has",
            "repoman restore --settings   # the registry, overrides and profile templates",
            exit_code=USAGE,
        )
    for other in ("to", "path", "objects"):
        if options.settings and getattr(options, other):
            raise CliError(f"--settings cannot be combined with --{other}.", "repoman restore --help", exit_code=USAGE)
    if options.names and options.all:
        raise CliError("--all is everything; restore takes no names with it.", "repoman restore --all", exit_code=USAGE)
    if options.path and (options.all or len(options.names) > 1):
        raise CliError("--path is a path of one repository.", "repoman restore NAME --path P   # one at a time", exit_code=USAGE)
    if options.objects:
        for other in ("to", "from", "path", "overwrite"):
            if getattr(options, other):
                raise CliError(f"--objects cannot be combined with --{other}.", "repoman restore --help", exit_code=USAGE)


def escape_bytes(name: str) -> str:
    r"""Return a file name as the modules take it: text, with ``\xNN`` for bytes that are not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def profile_variables(options: Namespace) -> Variables:
    """Return the variables of verbs about one profile."""
    return {"repoman_profile_names": [options.name]}


def profile_show_variables(options: Namespace) -> Variables:
    """Return the variables of ``profile show``."""
    return profile_variables(options) | ({"repoman_profile_raw": True} if options.raw else {})


def profile_copy_variables(options: Namespace) -> Variables:
    """Return the variables of ``profile copy``."""
    return profile_variables(options) | ({} if options.new_name is None else {"repoman_profile_new_name": options.new_name})


def profile_edit_variables(options: Namespace) -> Variables:
    """Return the variables of ``profile edit``: none.

    :raises CliError: an option that makes no sense for an editor on this host.
    """
    _check_local(options, "profile edit", f" {options.name}")
    for option in ("json", "check"):
        if getattr(options, option):
            hint = "repoman profile show --json --raw" if option == "json" else "repoman profile diff"
            raise CliError(f"profile edit has no --{option}.", f"{hint} {shlex.quote(options.name)}", exit_code=USAGE)
    return {}


def profile_diff_variables(options: Namespace) -> Variables:
    """Return the variables of ``profile diff``."""
    return profile_variables(options) | {"repoman_vendor_diff": options.vendor}


def profile_install_variables(options: Namespace) -> Variables:
    """Return the variables of ``profile install``.

    :raises CliError: neither names nor ``--all``, or both.
    """
    if bool(options.names) == options.all:
        message = "--all installs every profile; it takes no names." if options.all else "which profile? Name some, or give --all."
        raise CliError(message, "repoman profile list", "repoman profile install --help", exit_code=USAGE)
    selection: Variables = {"repoman_profile_all": True} if options.all else {"repoman_profile_names": options.names}
    return selection | ({"repoman_profile_force": True} if options.force else {})


def completion_variables(options: Namespace) -> Variables:
    """Return the variables of ``completion``: none.

    :raises CliError: the shell is not supported.
    """
    if not options.names:
        completion.check_shell(options.shell)
    return {}
