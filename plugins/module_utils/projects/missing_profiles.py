# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Profiles that projects need and Incus does not have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.projects.task import ProjectTask


class MissingProfilesError(ConflictError):
    """Profiles of a project are not installed.

    :ivar names: the missing profiles.
    """

    names: Sequence[str] = ()


def missing_profiles_error(names: Sequence[str]) -> MissingProfilesError:
    """Return the error of a project for missing profiles."""
    noun = "profile" if len(names) == 1 else "profiles"
    subject = "it's" if len(names) == 1 else "they're"
    error = MissingProfilesError(
        f"container references {noun} {', '.join(repr(name) for name in names)} but {subject} not installed in incus.",
        *install_hints(names),
    )
    error.names = names
    return error


def install_hints(names: Iterable[str]) -> tuple[str, str]:
    """Return the commands that install profiles."""
    return (
        f"repoman profile install {' '.join(names)}",
        "repoman profile install --all   (to install the vendor library)",
    )


def name_all_missing_profiles(tasks: Sequence[ProjectTask]) -> None:
    """Give the projects of a run that lack profiles the same hint, which installs everything that is missing.

    In a run of several projects, each of their errors also names its project.
    """
    failures = [(task, task.error) for task in tasks if isinstance(task.error, MissingProfilesError)]
    if len(tasks) == 1 or not failures:
        return
    hints = install_hints(dict.fromkeys(name for _task, error in failures for name in error.names))
    for task, error in failures:
        task.result |= {"msg": f"{task.name}: {error.message}", "hints": list(hints)}
