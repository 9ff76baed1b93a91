# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shapes of the results that the views read, after they were JSON. The documentation of the modules explains their keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict


class Steps(TypedDict):
    """The part of a result that lists steps."""

    steps: list[str]


class Failure(TypedDict):
    """An item that may have failed."""

    name: str
    action: str
    msg: NotRequired[str]
    hints: NotRequired[list[str]]
    exit_code: NotRequired[int]


# The modules repoman_registry, repoman_project and repoman_project_info


class Detected(TypedDict):
    """Detected properties of the host."""

    user: str
    home: str
    lan_ip: str
    interface: str


class SetupResult(Steps):
    """The result of ``repoman_registry``."""

    path: str
    lan_ip: str
    incus_project: str
    detected: Detected


class Kept(TypedDict):
    """Paths that a removal leaves untouched."""

    repo: str
    mirror: str


class ChangedProject(Failure, Steps):
    """A project in the result of ``repoman_project``."""

    incus_project: str
    state: str
    differences: list[str]
    kept: Kept
    suggestions: list[str]


class AccountResult(TypedDict):
    """The part of a result that names the user it is for; a prediction may lack it."""

    account: NotRequired[dict[str, Any]]


class ProjectResult(AccountResult):
    """The result of ``repoman_project``."""

    projects: list[ChangedProject]
    socket: str


class ProjectSummary(TypedDict):
    """A project in the result of ``repoman_project_info``."""

    name: str
    state: str
    unfinished: bool
    registered: bool
    relation: str
    owner: str
    origin: str
    repo: str
    container_path: str
    repo_exists: bool
    image: str
    profiles: list[str]
    last_sync: str
    sync_age: float | None
    sync_state: str
    backup: bool
    problem: str
    stale_mount: NotRequired[bool]
    hints: list[str]
    vcs: NotRequired[RepositoryStatus | None]


class ListResult(AccountResult):
    """The result of ``repoman_project_info``."""

    projects: list[ProjectSummary]


class UnverifiedRepository(TypedDict):
    """A repository that this host's git or Mercurial cannot verify."""

    path: str
    reason: str


class LeftOut(TypedDict, total=False):
    """Files that backups leave out."""

    skipped_mounts: list[str]
    exclude: list[str]
    exclude_caches: bool
    excluded: int
    unverified: list[UnverifiedRepository]


class RepositoryStatus(TypedDict):
    """The state of a repository; without one, ``kind`` is empty."""

    kind: str
    problem: str
    branch: str
    commit: str
    detached: bool
    bookmark: str
    bare: bool
    conflicts: int
    staged: int
    unstaged: int
    untracked: int
    upstream: str
    ahead: int | None
    behind: int | None
    last_commit: str


class MissingSource(TypedDict):
    """A device whose source does not exist on the host."""

    device: str
    source: str


class MountOverlap(TypedDict):
    """A mount that another container could replace by a link."""

    container: str
    device: str
    source: str
    writer: str
    directory: str
    msg: str
    hints: list[str]


class ProjectStatus(ProjectSummary):
    """A project in the result of ``repoman_project_info`` with its details."""

    addresses: list[str]
    profile_drift: list[str]
    profiles_missing: list[str]
    missing_sources: list[MissingSource]
    differences: list[str]
    left_out: NotRequired[LeftOut | None]
    overlaps: NotRequired[list[MountOverlap]]
    notes: NotRequired[list[str]]
    security_notes: NotRequired[list[str]]


class AddressStatus(TypedDict):
    """The address of the host in its LAN."""

    registry: str
    detected: str
    interface: str
    matches: bool | None


class LibraryError(TypedDict):
    """A profile template that cannot be used."""

    name: str
    msg: str


class LibraryStatus(TypedDict):
    """The profile library."""

    profiles: int
    installed: int
    drift: list[str]
    errors: list[LibraryError]


class BackupStatus(TypedDict):
    """The backup target, and the newest backup of anything."""

    path: str
    state: str
    detail: str
    free: int
    last_sync: str
    sync_age: float | None
    sync_state: str


class DirectoryStatus(TypedDict):
    """A directory of ``repos_root`` without a project."""

    name: str
    last_sync: str
    sync_age: float | None
    sync_state: str


class HostStatus(TypedDict):
    """The host in the result of ``repoman_project_info``."""

    incus_version: str
    incus_project: str
    lan_ip: AddressStatus
    library: LibraryStatus
    backup: BackupStatus
    directories: list[DirectoryStatus]
    skipped_mounts: NotRequired[list[str]]
    unverified: NotRequired[list[UnverifiedRepository]]


class StatusResult(AccountResult):
    """The result of ``repoman_project_info`` with details."""

    time: str
    host: HostStatus
    projects: list[ProjectStatus]


# The module repoman_doctor_info


class CheckResult(TypedDict):
    """The result of a check."""

    name: str
    status: str
    message: str
    hints: list[str]


class DoctorResult(TypedDict):
    """The result of ``repoman_doctor_info``. ``summary`` has the number of results of each status."""

    checks: list[CheckResult]
    summary: dict[str, int]


# The modules repoman_sync and repoman_restore


class SyncedUnit(Failure):
    """A unit in the result of ``repoman_sync``."""

    files: int
    bytes: int
    kept_bytes: int
    changed: NotRequired[int | None]
    removed: NotRequired[int | None]
    sync_age: NotRequired[int]
    differences: NotRequired[list[str] | None]
    notes: NotRequired[list[str] | None]


class SyncResult(Steps):
    """The result of ``repoman_sync``. ``summary`` has a number for each action that occurred, and the totals."""

    units: list[SyncedUnit]
    settings: NotRequired[SyncedUnit]
    summary: dict[str, Any]
    previous_owner: NotRequired[dict[str, str]]


class Version(TypedDict):
    """A version of a unit in the history."""

    time: str
    files: int
    bytes: int
    path: str


class VersionsResult(TypedDict):
    """The result of ``repoman_sync`` with ``list_versions``."""

    name: str
    kept: list[Version]


class Restored(TypedDict):
    """The restored files."""

    name: str
    to: str
    saved: str
    has_container: bool
    replaces_directory: bool
    objects: NotRequired[list[str]]


class RestoreResult(Steps):
    """The result of ``repoman_restore``."""

    restored: Restored


class RestoredUnit(Failure):
    """One of several in the result of ``repoman_restore``."""

    to: str
    files: int
    bytes: int
    saved: str


class RestoredUnitsResult(Steps):
    """The result of ``repoman_restore`` for several. ``summary`` has a number for each action that occurred, and the totals."""

    units: list[RestoredUnit]
    summary: dict[str, Any]


RemountResult = Mapping[str, Any]
"""The result of ``repoman_project``, or of ``debug`` with an excerpt of one as its message."""


# The modules repoman_profile and repoman_profile_info


class ListedProfile(TypedDict):
    """A profile in the result of ``repoman_profile_info``."""

    name: str
    source: str
    shadows: bool
    installed: bool
    drift: bool | None
    error: str


class ProfileListResult(TypedDict):
    """The result of ``repoman_profile_info``."""

    profiles: list[ListedProfile]


class ChangedProfile(Failure):
    """A profile in the result of ``repoman_profile``."""

    source: str
    file_path: str
    saved: NotRequired[str]
    restore_command: NotRequired[str]
    warning: NotRequired[str]
    warning_hints: NotRequired[list[str]]
    suggestions: NotRequired[list[str]]


class ProfileResult(TypedDict):
    """The result of ``repoman_profile``."""

    profiles: list[ChangedProfile]


class RenderedProfile(TypedDict):
    """A profile in the result of ``repoman_profile_info`` with its text or diff."""

    name: str
    rendered: str
    raw: NotRequired[str]
    installed: NotRequired[bool]
    diff: NotRequired[str]
    vendor_diff: NotRequired[str]
    msg: NotRequired[str]
    hints: NotRequired[list[str]]
    exit_code: NotRequired[int]


class RenderedProfileResult(TypedDict):
    """The result of ``repoman_profile_info`` with texts or diffs."""

    profiles: list[RenderedProfile]
