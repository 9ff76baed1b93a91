# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container whose programs, or whose superuser, mean harm."""

from __future__ import annotations

import json

from world import World

LOUD = "yes no >&2"
WORDY = 'head -c 300000 /dev/zero | tr "\\\\0" x >&2; exec /bin/busybox sh "$@"'


def inside(world: World, script: str, name: str = "demo") -> str:
    """Run a script in a container as root."""
    return world.incus("exec", "--project=repoman", name, "--", "/bin/busybox", "sh", "-c", script)


def output_files(world: World) -> list[str]:
    """Return the files that Incus keeps of what commands in the container have printed."""
    return list(json.loads(world.incus("query", "/1.0/instances/demo/logs/exec-output?project=repoman", check=False) or "[]"))


def test_what_programs_print_is_limited(ready: World) -> None:
    """One that prints without end is ended, in new and in shell; one that only prints much is not; nothing is left in the volume."""
    ready.git_repository("demo")
    ready.git_repository("other")
    ready.new("demo")
    for text in (WORDY, LOUD):
        inside(ready, f"rm -f /bin/sh; printf '#!/bin/busybox sh\\n%s\\n' '{text}' >/bin/sh; chmod 755 /bin/sh")
        ready.incus("stop", "--force", "--project=repoman", "demo")
        if text is WORDY:
            ready.repoman("new", "demo")
        else:
            assert "'demo' printed more than 1 MiB" in ready.refused("new", "demo", code=1)
            assert "'demo' printed more than 1 MiB" in ready.refused("shell", "demo", "--", "true", code=1)
        assert output_files(ready) == []
    assert ready.instances()["demo"]["status"] == "Stopped"
    ready.incus("publish", "--project=repoman", "demo", "--alias=loud")
    try:
        assert "'other' printed more than 1 MiB" in ready.refused("new", "other", "--image", "loud", code=1)
    finally:
        ready.incus("image", "delete", "loud")
    assert list(ready.instances()) == ["demo"] and sorted(path.name for path in (ready.repos / "other").iterdir()) == [".git"]
