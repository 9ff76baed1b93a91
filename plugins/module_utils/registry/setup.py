# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Setup: Incus's project for the instances, and the registry."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import predicting
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, PlannedItem, Step, plan_and_apply
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account, LanAddress, detect_lan_address, get_account
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.incus import shapes
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import api_path
from ansible_collections.homelab.repoman.plugins.module_utils.incus.root_disk import Devices, read_default_devices, root_disk_warnings
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store as registry
from ansible_collections.homelab.repoman.plugins.module_utils.registry.edit import DEFAULT_TEXT, edit_text
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Data, Registry
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import parse
from ansible_collections.homelab.repoman.plugins.module_utils.registry.predicted import predicted_account_and_registry
from ansible_collections.homelab.repoman.plugins.module_utils.registry.store import edit_file

FEATURES = {"features.images": "false", "features.profiles": "false"}
"""Instances of the project use the images and profiles of Incus's default project."""
DESCRIPTION = "Containers of repositories, kept by repoman"


def predict(params: dict[str, Any]) -> dict[str, Any]:
    """Return the result on a host that has no account, library or Incus yet.

    :raises RepomanError: the registry cannot be read.
    """
    account, current = predicted_account_and_registry(params)
    detected = _requested_address(params) or _detect_or_nothing(current.lan_ip)
    text = current.text
    with suppress(ImportError):  # without the library that edits it
        text = edit_text(text, current.path, lambda data: _apply_options(data, params, detected.ip))
    desired = parse(text, current.path)
    project = desired.defaults.incus_project
    before = registry.read_text(current.path) or ""
    verb = "update" if before else "write"
    steps = [f"create the Incus project {project}", *([] if text == before else [f"{verb} the registry {current.path}"])]
    return {"changed": True, "diff": [], "steps": steps} | _documented(desired, account, detected)


def _requested_address(params: dict[str, Any]) -> LanAddress | None:
    """Return the address that the options set; ``None`` if they leave it to the host."""
    lan_ip = (params["host"] or {}).get("lan_ip")
    return None if lan_ip is None else LanAddress(lan_ip)


def _detect_or_nothing(registered: str) -> LanAddress:
    try:
        return detect_lan_address(registered)
    except RepomanError:
        return LanAddress()


def _documented(desired: Registry, account: Account, detected: LanAddress) -> dict[str, Any]:
    """Return the keys of the result about the registry and the host."""
    return {
        "path": desired.path,
        "text": desired.text,
        "lan_ip": desired.lan_ip,
        "incus_project": desired.defaults.incus_project,
        "detected": {"lan_ip": detected.ip, "interface": detected.interface, "user": account.name, "home": account.home},
    }


@predicting(predict)
def run(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Create or update the registry and the Incus project; see the documentation of the module ``repoman_registry``.

    :raises RepomanError: the registry cannot be read, Incus cannot be reached, or its project is in use with other features.
    """
    account = get_account(params["user"])
    path = account.expand(params["registry_path"] or registry.default_path(account.home))
    client = incus.Client(incus.find_socket(params["socket"]), params["timeout"])
    setup = Setup(path, client, account, params)
    plan_and_apply([setup], check)
    if setup.error is not None:
        raise setup.error
    plan, desired = setup.plan, setup.result
    result = {"changed": plan.changed, "diff": plan.diff, "steps": plan.descriptions} | _documented(desired, account, setup.detected)
    warnings = root_disk_warnings(setup.default_devices, client.path)
    return result | ({"warnings": warnings} if warnings else {})


class Setup(PlannedItem):
    """The desired state of the Incus project and the registry.

    :param path: of the registry.
    :param params: the options of the module.
    :ivar detected: the host's address.
    :ivar result: the registry after the change.
    :ivar default_devices: of Incus's own profile, read before anything changes, because reading may fail.
    """

    default_devices: Devices | None = None
    detected: LanAddress
    result: Registry
    name = "setup"

    def __init__(self, path: str, client: incus.Client, account: Account, params: dict[str, Any]) -> None:
        super().__init__()
        self.path, self.client, self.account, self.params = path, client, account, params

    def make_plan(self) -> Plan:
        """Read the registry and the Incus project, and plan the changes."""
        current = registry.load_or_none(self.path)
        text = current.text if current else ""
        self.detected = detected = _requested_address(self.params) or detect_lan_address(current.lan_ip if current else "")

        def edit(data: Data) -> None:
            _apply_options(data, self.params, detected.ip)

        after = edit_text(text or DEFAULT_TEXT, self.path, edit)
        self.result = parse(after, self.path)
        plan = Plan(incus_project_steps(self.result.defaults.incus_project, self.client))
        if after != text:
            plan.add(_registry_step(self.path, text, after, edit, self.account))
        self.default_devices = read_default_devices(self.client)
        return plan


def _apply_options(data: Data, params: dict[str, Any], lan_ip: str) -> None:
    """Write the requested settings and the host's address to the data of a registry."""
    if lan_ip:
        data.setdefault("host", {})["lan_ip"] = lan_ip
    if params["output"]:
        data["repoman"]["output"] = params["output"]
    defaults = {key: value for key, value in (params["defaults"] or {}).items() if value is not None}
    if defaults:
        data.setdefault("defaults", {}).update(defaults)


def incus_project_steps(name: str, client: incus.Client) -> list[Step]:
    """Return the steps after which Incus has the project ``name``, with :data:`FEATURES`."""
    response = client.read_or_none(api_path("/1.0/projects/{}", name), shapes.PROJECT)
    target = f"incus project {name}"
    if response is None:
        of_another_run = []

        def create() -> None:
            try:
                client.post("/1.0/projects", {"name": name, "description": DESCRIPTION, "config": FEATURES})
            except incus.IncusError:  # another run may have made it meanwhile; Incus has several errors for that
                of_another_run.append(name)
                if incus_project_steps(name, client):
                    raise

        def undo() -> None:
            if not of_another_run:
                client.delete(api_path("/1.0/projects/{}", name))

        text = "".join(f'{key}: "{value}"\n' for key, value in FEATURES.items())
        return [Step(f"create the Incus project {name}", create, undo=undo, target=target, after=text)]
    config = response.data.get("config") or {}
    wrong = {key: config.get(key, "") for key, value in FEATURES.items() if config.get(key) != value}
    if not wrong or name == incus.DEFAULT_PROJECT:
        return []
    if [path for path in response.data.get("used_by") or [] if "/profiles/default" not in path]:
        raise ConflictError(
            f"the incus project {name!r} has {', '.join(sorted(wrong))} switched on and is in use, so it cannot share the profiles and images of 'default'.",
            "name another project in the registry: [defaults].incus_project",
        )

    def update() -> None:
        client.put(
            api_path("/1.0/projects/{}", name),
            {"description": response.data.get("description", ""), "config": config | FEATURES},
            response.etag,
        )

    before, after = (
        "".join(f'{key}: "{value}"\n' for key, value in side.items()) for side in (wrong, {key: FEATURES[key] for key in wrong})
    )
    return [
        Step(f"let the Incus project {name} share the profiles and images of 'default'", update, target=target, before=before, after=after)
    ]


def _registry_step(path: str, before: str, after: str, edit: Any, account: Account) -> Step:
    verb = "update" if before else "write"
    return Step(f"{verb} the registry {path}", lambda: edit_file(path, edit, account), target=path, before=before, after=after)
