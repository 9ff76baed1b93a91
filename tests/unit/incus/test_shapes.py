# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Responses of a program that is not Incus: each is the same sentence, at every place that reads one, and never an Incus without projects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.doctor import incus_checks
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.context import DoctorContext
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.incus import shapes
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client, IncusError
from ansible_collections.homelab.repoman.plugins.module_utils.profiles import installed
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.control import InstanceControl
from ansible_collections.homelab.repoman.plugins.module_utils.registry import parser, setup

Daemon = Any
Reply = Callable[..., Any]
INSTANCE = {"name": "a", "status": "Running", "config": {}, "devices": {}, "expanded_config": {}, "expanded_devices": {}, "profiles": []}
WRONG = [None, {}, "text", 7, True, [None], [[]], ["a"], {"a": None}, [{"name": 7}], {"name": "a", "config": []}]
"""Metadata that none of the readers can use."""
NO_OPERATIONS = (None, {}, {"a": None})
"""What Incus may send if no operation is running."""


def read(reader: str, daemon: Daemon, account: Account, directory: Path) -> object:
    """Let one of the readers of responses read one."""
    client = Client(daemon.path)
    context = RunContext(account, str(directory / "repoman.toml"), parser.parse("[repoman]\nschema = 3\n", "repoman.toml"), client)
    control = InstanceControl(context, "a")
    readers: dict[str, Callable[[], object]] = {
        "instances": context.read_instances,
        "all instances": context.read_all_instances,
        "other instances": context.read_other_instances,
        "images": context.read_images,
        "member": lambda: context.cluster_member,
        "instance": control.read,
        "instance or none": control.read_or_none,
        "operations": control.wait_for_operations,
        "profiles": lambda: installed.read_installed(client),
        "profile": lambda: installed.read_one("a", client),
        "project": lambda: setup.incus_project_steps("repoman", client),
    } | doctor_readers(reader, context, directory)
    return readers[reader]()


def doctor_readers(reader: str, context: RunContext, directory: Path) -> dict[str, Callable[[], object]]:
    """Return the readers of doctor, which have read what comes before."""
    path = directory / "repoman.toml"
    path.write_text("[repoman]\nschema = 3\n", encoding="utf-8")
    doctor = DoctorContext(context.account, str(path), context.client.path, {"timeout": 30.0})
    doctor.installed = {}
    if reader not in ("server", "no project"):
        doctor.__dict__["_connection"] = context.client, {}
    return {
        "server": doctor.connect,
        "storage": lambda: incus_checks.check_storage(doctor),
        "storage space": lambda: incus_checks._free_bytes(doctor, "a"),
        "root disk": lambda: incus_checks.check_root_disk(doctor),
        "networks": lambda: incus_checks.check_network(doctor),
        "no project": lambda: doctor.instances,
    }


@pytest.mark.parametrize(
    "reader",
    [
        *(
            "instances",
            "all instances",
            "other instances",
            "images",
            "member",
            "instance",
            "instance or none",
            "operations",
            "profiles",
            "profile",
            "project",
        ),
        *("server", "storage", "storage space", "root disk", "networks", "no project"),
    ],
)
def test_metadata_of_another_shape(daemon: Daemon, reply: Reply, me: Account, tmp_path: Path, reader: str) -> None:
    """It is one sentence."""
    for metadata in WRONG:
        if (reader == "operations" and metadata in NO_OPERATIONS) or (reader == "storage space" and isinstance(metadata, dict)):
            continue
        if reader == "no project":
            daemon.say(reply({"environment": {"server_version": "6.0"}}), reply([]))
        daemon.say(reply(metadata))
        with pytest.raises(RepomanError, match="does not speak Incus's protocol") as caught:
            read(reader, daemon, me, tmp_path)
        assert caught.value.hints == ["set INCUS_SOCKET to Incus's socket"], metadata


UNDESCRIBED = dict.fromkeys(("config", "devices", "profiles", "expanded_config", "expanded_devices", "state"))
"""Keys that are null for an instance on an offline cluster member."""


def test_an_instance_of_another_incus_project_that_incus_cannot_describe(daemon: Daemon, reply: Reply, me: Account, tmp_path: Path) -> None:
    """It is left out and all others are read, even if Incus omits keys that repoman does not use."""
    away = UNDESCRIBED | {"name": "away", "status": "Error", "location": "m2", "project": "default", "type": "container"}
    plain = {"name": "plain", "status": "Stopped", "project": "default", "expanded_devices": {}}
    own = INSTANCE | {"project": "repoman"}
    daemon.say(reply([away, plain, own]), reply([away, plain]))
    assert read("all instances", daemon, me, tmp_path) == ({"a": own}, {"default/plain": plain})
    assert read("other instances", daemon, me, tmp_path) == {"default/plain": plain}


@pytest.mark.parametrize("reader", ["instances", "all instances"])
def test_an_own_instance_that_incus_cannot_describe(daemon: Daemon, reply: Reply, me: Account, tmp_path: Path, reader: str) -> None:
    """The sentence names it, and its member of the cluster."""
    for location, place, command in (
        ("m2", " on the cluster member 'm2'", "incus cluster list local:   # shows which members are offline"),
        ("none", "", "incus info --project repoman local:away"),
    ):
        away = UNDESCRIBED | {"name": "away", "status": "Error", "location": location, "project": "repoman"}
        daemon.say(reply([away]))
        with pytest.raises(RepomanError) as caught:
            read(reader, daemon, me, tmp_path)
        assert caught.value.message == f"incus cannot describe the container 'away'{place}: its state is 'Error'."
        assert caught.value.hints[0].endswith(command)


@pytest.mark.parametrize(
    "part", [{"status_code": "x"}, {"id": None}, {"metadata": []}, {"status_code": None}, {"status_code": True}, {"err": 7}]
)
def test_operation_of_another_shape(daemon: Daemon, reply: Reply, part: dict[str, Any]) -> None:
    """At once, and while it is waited for."""
    client, operation = Client(daemon.path), {"id": "a", "status_code": 103, "metadata": None, "err": ""}
    daemon.say(reply(operation | part, status=202, kind="async"), reply(operation, status=202, kind="async"), reply(operation | part))
    for _time in range(2):
        response = client.post("/1.0/instances", {})
        with pytest.raises(RepomanError, match="does not speak Incus's protocol"):
            client.wait_for_operation(response, 5)


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[]",
        b"7",
        b"{}",
        b'"text"',
        b"[" * 100_000,
        b'{"type": 7}',
        b'{"type": "error", "error": "no", "error_code": "x"}',
        b'{"type": "error", "error": [], "error_code": 404}',
        b'{"type": "error", "error_code": ' + b"9" * 5000 + b"}",
        b"\xff\xfe",
        b"",
    ],
)
def test_document_of_another_shape(daemon: Daemon, reply: Reply, body: bytes) -> None:
    """It is one sentence, for a read and for a write."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    client = Client(daemon.path)
    for request in (lambda: client.get("/1.0"), lambda: client.post("/1.0/profiles", {})):
        daemon.say(reply(raw=head + body))
        with pytest.raises(RepomanError, match="does not speak Incus's protocol"):
            request()
        client.close()


@pytest.mark.parametrize("length", [b"-1", b"x", b"1e3", b""])
def test_length_that_is_none(daemon: Daemon, reply: Reply, length: bytes) -> None:
    """It is not waited for."""
    daemon.say(reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b'\r\n\r\n{"type": "sync", "metadata": {}}'))
    with pytest.raises(RepomanError, match="does not speak Incus's protocol"):
        Client(daemon.path, timeout=5).get("/1.0")


def test_shapes_of_incus(daemon: Daemon, reply: Reply, me: Account, tmp_path: Path) -> None:
    """What Incus leaves out, or sends as ``null``, is accepted."""
    daemon.say(reply([INSTANCE | {"state": None, "unknown": [1]}]))
    assert read("instances", daemon, me, tmp_path) == {"a": INSTANCE | {"state": None, "unknown": [1]}}
    assert shapes.has_shape({"Running": None}, shapes.OPERATIONS) and shapes.has_shape(None, shapes.OPERATIONS)
    assert shapes.has_shape({"fingerprint": "a", "aliases": None}, shapes.IMAGE)
    assert not shapes.has_shape(INSTANCE | {"profiles": None}, shapes.INSTANCE)
    assert not shapes.has_shape(INSTANCE | {"state": {"network": {"eth0": {"addresses": [None]}}}}, shapes.INSTANCE)
    daemon.say(reply(None, status=404, kind="error", error="gone", error_code=404))
    with pytest.raises(IncusError):
        read("instance", daemon, me, tmp_path)
