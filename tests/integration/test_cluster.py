# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Incus cluster: a container on a member of one's choice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import make_cluster, private_incus
from world import Me, World, home_of


@pytest.fixture(scope="module")
def cluster(me: Me, installation: Path) -> Iterator[World]:
    """A world on the first of two members of a cluster."""
    with home_of(me) as home, private_incus() as one, private_incus() as two:
        make_cluster(one, two)
        world = World(me, home, installation, one)
        yield world
        world.clean()


def test_container_on_a_member(cluster: World) -> None:
    """It is made there, it is let alone there, and it goes from there; a member that does not exist is an error that leaves nothing."""
    repo = cluster.git_repository("demo")
    cluster.repoman("setup")
    assert "cannot be created on 'three'" in cluster.refused("new", "demo", "--image", "busybox", "--target", "three", code=3)
    assert cluster.instances() == {}
    cluster.repoman("new", "demo", "--image", "busybox", "--target", "two")
    assert (cluster.instances()["demo"]["location"], cluster.instances()["demo"]["status"]) == ("two", "Running")
    assert not cluster.repoman("--json", "new", "demo").data["changed"]
    assert cluster.repoman("shell", "demo", "--", "pwd").out == f"{repo}\n"
    assert cluster.repoman("--json", "list").data["projects"][0]["state"] == "Running"
    cluster.repoman("remove", "demo", "--yes")
    assert cluster.instances() == {}


def test_container_beside_its_repository(cluster: World) -> None:
    """Where no member is named, it is the one that has the repository, not the one that has the fewest containers."""
    cluster.repoman("setup")
    for name in ("a", "b"):
        cluster.git_repository(name)
        cluster.repoman("new", name, "--image", "busybox")
    assert [each["location"] for each in cluster.instances().values()] == ["one", "one"]
