# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An override's protect, on a real container with real git and Mercurial."""

from __future__ import annotations

import shlex
from pathlib import Path

from proxy import RecordingProxy
from world import World

ATTACKS = (
    "touch .git/hooks/post-checkout",
    "echo '[core]' >>.git/config",
    "git config core.fsmonitor /tmp/evil",
    "rm -f .git/config",
    "mv .git/config .git/config.old",
    "mv .git/hooks .git/old",
    "mv .git .old",
    "rm -rf .git/hooks",
    "mv .git/modules .git/old",
    "mv .git/modules/library .git/modules/old",
    "touch .git/modules/library/hooks/post-checkout",
    "echo '[core]' >>.git/modules/library/config",
    "echo '[hooks]' >>.hg/hgrc",
    "echo '[hooks]' >>.hg/hgrc-not-shared",
    "echo shared >>.hg/requires",
    "mv .hg .old",
    "ln .git/config second && echo '[core]' >>second",
)
WORK = """
set -e
echo 1 >file; git add file; git commit -qm one; git switch -qc topic; git tag t; git gc -q; git stash -q; git status >/dev/null
hg add -q file; hg commit -qm one; hg status; hg bookmark b
echo 2 >>file; git commit -qam two; hg commit -qm two; git -C library commit -q --allow-empty -m inside; git fsck --no-dangling; hg verify -q
"""


def snapshot(repo: Path) -> dict[str, bytes]:
    """Return all that is protected, byte for byte."""
    tops = [repo / path for path in (".git/config", ".git/hooks", ".git/modules/library/config", ".git/modules/library/hooks", ".hg/hgrc")]
    files = [file for top in tops for file in (top.rglob("*") if top.is_dir() else [top])]
    return {str(file): file.read_bytes() for file in files}


def failed(world: World, attacks: tuple[str, ...] = ATTACKS) -> list[str]:
    """Return the attacks that failed inside."""
    script = "".join(f"({attack}) >/dev/null 2>&1 || echo {shlex.quote(attack)}\n" for attack in attacks)
    return world.repoman("shell", "demo", "--", "sh", "-c", script).out.splitlines()


def test_protect(ready: World, proxy: RecordingProxy) -> None:
    """What is not there is asked for; then no attack succeeds, and the work inside goes on; also when it comes to a running container."""
    ready.git_repository("library")
    repo = ready.git_repository("demo")
    script = (
        "git -c protocol.file.allow=always submodule add -q ../library && git commit -qm library && hg init"
        " && git -C library config user.name Me && git -C library config user.email me@example.org"
    )
    assert ready.run("sh", "-c", script, cwd=repo).code == 0
    override = ready.write(ready.overrides / "demo.toml", 'image = "debian"\nprotect = ["hooks", "config"]\n')
    proxy.clear()
    err = ready.refused("new", "demo", code=3)
    assert f"hint: touch {repo}/.hg/hgrc {repo}/.hg/hgrc-not-shared" in err and proxy.writes == []
    assert ready.run("touch", ".hg/hgrc", ".hg/hgrc-not-shared", cwd=repo).code == 0
    ready.write(repo / ".hg/hgrc", "[ui]\nusername = me\n")

    ready.repoman("new", "demo")
    before = snapshot(repo)
    assert failed(ready) == list(ATTACKS) and snapshot(repo) == before
    assert ready.repoman("shell", "demo", "--", "sh", "-c", WORK).err == ""
    assert ready.run("git", "log", "-1", "--format=%s", cwd=repo).out == "two\n" and snapshot(repo) == before
    assert ready.run("git", "fsck", cwd=repo).code == 0 and ready.run("hg", "verify", "-q", cwd=repo).code == 0

    proxy.clear()
    assert not ready.repoman("--json", "new", "demo").data["changed"] and proxy.writes == []

    harmless = ("touch .git/hooks/x && rm .git/hooks/x", "git config a.b c")
    for text, attacks in (('image = "debian"\n', harmless), ('image = "debian"\nprotect = ["hooks", "config"]\n', ATTACKS)):
        ready.write(override, text)
        before = snapshot(repo)
        told = ready.repoman("new", "demo")
        assert "repoman: warning: protect-.git, " in told.err and snapshot(repo) == before
        ready.incus("stop", "--force", "--project=repoman", "demo")
        assert "warning" not in ready.repoman("new", "demo").err and snapshot(repo) == before
        assert failed(ready, attacks) == ([] if attacks is harmless else list(ATTACKS))

    ready.incus("config", "device", "set", "--project=repoman", "demo", "repo", "propagation=rslave")
    proxy.clear()
    err = ready.refused("new", "demo", code=4)
    assert "would be mounted again, which would hide the mounts inside it: protect-.git, " in err and proxy.writes == []
    ready.incus("stop", "--force", "--project=repoman", "demo")
    ready.repoman("new", "demo")
    assert failed(ready) == list(ATTACKS)
