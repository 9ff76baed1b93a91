# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests that change one instance, against a daemon that answers by script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.control import InstanceControl
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import REPO_DEVICE
from ansible_collections.homelab.repoman.plugins.module_utils.projects.remount import Remount
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import parse

STOPPED = {"status": 400, "kind": "error", "error": "The instance is already stopped", "error_code": 400}


def instance(status: str = "Running", **devices: dict[str, str]) -> dict[str, Any]:
    """Return an instance as Incus describes it."""
    keys: dict[str, Any] = {key: {} for key in ("config", "expanded_config", "expanded_devices")}
    return keys | {"name": "a", "status": status, "devices": devices, "profiles": []}


@pytest.fixture
def control(daemon: Any, me: Account) -> Iterator[InstanceControl]:
    """Yield the requests about an instance of the scripted daemon."""
    path = str(Path(me.home, "repoman.toml"))
    client = Client(daemon.path)
    yield InstanceControl(RunContext(me, path, parse("[repoman]\nschema = 3\n", path), client), "a")
    client.close()


def test_an_instance_that_stops_in_the_meantime(control: InstanceControl, daemon: Any, reply: Any) -> None:
    """A container that stops by itself is stopped, whichever request fails because of it."""
    daemon.say(reply(**STOPPED), reply(instance("Stopped")))
    control.stop()
    assert [method for method, _target in daemon.requests] == ["PUT", "GET"]
    daemon.say(reply({}), reply(instance()), reply(**STOPPED), reply({}), reply(instance("Stopped")))
    control.stop(is_requested=True)
    daemon.say(reply(**STOPPED), reply(instance()), reply(**STOPPED), reply({}), reply(instance()))
    with pytest.raises(RepomanError, match="already stopped"):
        control.stop()


@pytest.mark.parametrize(("is_sent", "is_mounted", "writes"), [(False, True, 0), (True, True, 1), (True, False, 0), (False, False, 0)])
def test_a_mount_that_could_not_be_verified(
    control: InstanceControl, daemon: Any, reply: Any, is_sent: bool, is_mounted: bool, writes: int
) -> None:
    """It is removed, and the error says so; what was not touched stays."""
    remount = Remount.__new__(Remount)
    remount.control, remount.is_sent, remount.is_verified = control, is_sent, False
    now = instance(**({REPO_DEVICE: {"type": "disk"}} if is_mounted else {}))
    daemon.say(reply({}), reply(now), reply(now), reply({}))
    if is_mounted and not is_sent:
        remount.undo()
    else:
        with pytest.raises(RepomanError, match="not mounted in 'a' now") as caught:
            remount.undo()
        assert caught.value.hints == ["repoman new a   # mounts it again"]
    assert [method for method, _target in daemon.requests].count("PUT") == writes


FAILED = {"status": 500, "kind": "error", "error": "Failed to run: incusd forkstart: exit status 1", "error_code": 500}
LOG = 'lxc a 2026 ERROR utils - utils.c:mount_entry:1 - No such file or directory - Failed to mount "/incus/devices/a/disk.x" onto "/x"\n'


def test_a_start_while_incus_cleans_up_is_repeated(control: InstanceControl, daemon: Any, reply: Any) -> None:
    """Only if Incus or the log says that a file or mount is gone, and not for ever; each time after the operations that run."""
    log, none, other = reply(body=LOG.encode()), reply({}), reply(body=b"another reason")
    daemon.say(reply(**FAILED), log, none, reply({}))
    control.start()
    assert [method for method, _target in daemon.requests] == ["PUT", "GET", "GET", "PUT"]
    daemon.seen.clear()
    gone = reply(**FAILED | {"error": "no such file or directory"})
    daemon.say(gone, none, reply({}))
    control.start()
    assert [method for method, _target in daemon.requests] == ["PUT", "GET", "PUT"]
    for error, replies in (
        ("forkstart", [reply(**FAILED), other]),
        ("forkstart", [reply(**FAILED), log, none, reply(**FAILED), log, none, reply(**FAILED)]),
        ("no such file", [gone, none, gone, none, gone]),
    ):
        daemon.seen.clear()
        daemon.say(*replies)
        with pytest.raises(RepomanError, match=error):
            control.start()
        assert len(daemon.seen) == len(replies)


BUSY = FAILED | {"error": 'Instance is busy running a "stop" operation'}


def test_a_change_waits_while_incus_is_busy(control: InstanceControl, daemon: Any, reply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start, a forced stop; but not for ever."""
    daemon.say(reply(**BUSY), reply(**BUSY), reply({}), reply(**BUSY), reply({}))
    control.start()
    control.force_stop()
    assert [method for method, _target in daemon.requests] == ["PUT"] * 5
    monkeypatch.setattr("ansible_collections.homelab.repoman.plugins.module_utils.projects.control.BUSY_SECONDS", 0.0)
    daemon.say(reply(**BUSY), reply(body=b"log"))
    with pytest.raises(RepomanError, match="busy running"):
        control.start()


def test_a_start_waits_until_incus_has_recorded_the_stop(
    control: InstanceControl, daemon: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it never does, as after a power failure."""
    late = reply(instance("Stopped") | {"config": {"volatile.last_state.power": "RUNNING"}})
    done = reply(instance("Stopped") | {"config": {"volatile.last_state.power": "STOPPED"}})
    daemon.say(reply({}), late, late, late, done, reply({}))
    control.restart()
    assert [method for method, _target in daemon.requests] == ["GET"] * 5 + ["PUT"]
    daemon.seen.clear()
    monkeypatch.setattr("ansible_collections.homelab.repoman.plugins.module_utils.projects.control.STOP_RECORD_SECONDS", 0.0)
    daemon.say(reply({}), late, late, reply({}))
    control.restart()
    assert [method for method, _target in daemon.requests] == ["GET"] * 3 + ["PUT"]


@pytest.mark.parametrize(
    "reason",
    [
        "dial unix /proc/self/fd/35/forkfile.sock: connect: no such file or directory",
        "error receiving version packet from server: read unix @->/proc/self/fd/22/forkfile.sock: read: connection reset by peer",
        "dial unix /proc/self/fd/22/forkfile.sock: connect: connection refused",
    ],
    ids=["missing", "reset", "refused"],
)
def test_a_directory_while_incus_restarts_its_file_server(
    control: InstanceControl, daemon: Any, reply: Any, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """The request is repeated, but not for ever, and not for another reason."""
    monkeypatch.setattr("ansible_collections.homelab.repoman.plugins.module_utils.projects.control.FILE_INTERVAL", 0.0)
    lost, other = reply(**FAILED | {"error": reason}), reply(**FAILED | {"error": "no such file or directory"})
    for replies, error in (
        ([lost, lost, reply({})], None),
        ([lost] * 3, "forkfile.sock"),
        ([lost, other], "refused: no such file"),
    ):
        daemon.seen.clear()
        daemon.say(*replies)
        if error is None:
            control.create_directory("/home/me", 1000, 1000)
        else:
            with pytest.raises(RepomanError, match=error):
                control.create_directory("/home/me", 1000, 1000)
        assert [target.partition("?")[0] for _method, target in daemon.requests] == ["/1.0/instances/a/files"] * len(replies)


def test_a_deletion_whose_response_is_lost(control: InstanceControl, daemon: Any, reply: Any) -> None:
    """It succeeds if the instance no longer exists; otherwise the error says that it may have been deleted."""
    gone = reply(status=404, kind="error", error="Instance not found", error_code=404)
    lost = reply(body=b"no JSON")
    stopped = instance("Stopped")
    stopped["config"] = {
        "user.repoman.project": "a",
        "user.repoman.owner": control.context.account.name,
        "user.repoman.uid": str(control.context.account.uid),
    }
    daemon.say(reply({}), reply(stopped), lost, reply({}), gone)
    control.delete()
    assert [method for method, _target in daemon.requests] == ["GET", "GET", "DELETE", "GET", "GET"]
    daemon.say(reply({}), reply(stopped), lost, reply({}), reply(stopped))
    with pytest.raises(RepomanError) as caught:
        control.delete()
    assert caught.value.hints[-1] == "run the command again; incus may have deleted the container"
