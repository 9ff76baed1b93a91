# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The account inside, whatever the image."""

from __future__ import annotations

import io
import os
import shlex
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from proxy import RecordingProxy
from world import World

Variant = Callable[..., str]
INSIDE = ("exec", "--project=repoman", "demo", "--")


@pytest.fixture
def variant(ready: World, tmp_path: Path) -> Iterator[Variant]:
    """Makes an image: busybox with files of its own, and with lines more at the end of those it has."""
    made: list[str] = []

    def make(**added: str) -> str:
        ready.incus("image", "export", "busybox", str(tmp_path / "busybox"), "--quiet")
        image = tmp_path / "variant.tar"
        with tarfile.open(next(tmp_path.glob("busybox*"))) as old, tarfile.open(image, "w") as new:
            for member in old:
                path = member.name.removeprefix("rootfs/etc/")
                content = old.extractfile(member).read() if member.isfile() else b""  # type: ignore[union-attr]
                content += added.pop(path, "").encode()
                member.size = len(content)
                new.addfile(member, io.BytesIO(content))
            for path, text in added.items():
                member = tarfile.TarInfo(f"rootfs/etc/{path}")
                member.size, member.mode = len(text.encode()), 0o644
                new.addfile(member, io.BytesIO(text.encode()))
        ready.incus("image", "import", str(image), "--alias", "variant", "--quiet")
        made.append("variant")
        return "variant"

    yield make
    for name in ready.instances():
        ready.incus("delete", "--force", "--project=repoman", name)
    for alias in made:
        ready.incus("image", "delete", alias)


def account_line(world: World, name: str = "") -> str:
    """Return the account's line in the container's passwd."""
    lines = world.incus(*INSIDE, "cat", "/etc/passwd").splitlines()
    return next(line for line in lines if line.startswith(f"{name or world.me.name}:"))


def identity(world: World) -> str:
    """Return what the account is, once it has logged in; it must have made a file in its home and in the repository."""
    script = f"id -u; id -g; id -Gn; echo $HOME; touch ~/proof {world.repos}/demo/proof && rm ~/proof && echo wrote"
    return " ".join(world.incus(*INSIDE, "su", "-l", world.me.name, "-c", script).split())


@pytest.mark.parametrize(
    ("passwd", "group", "groups", "said"),
    [
        ("", "", "{name}", ""),
        (
            "ubuntu:x:{uid}:{gid}:U:/home/ubuntu:/bin/sh\n",
            "ubuntu:x:{gid}:\nwheel:x:27:a,ubuntu\nsudo:x:28:ubuntu,ubuntu\naudio:x:29:ubuntu\n",
            "{name} audio",
            "'ubuntu'",
        ),
        ("{name}:x:4321:4321:N:/home/n:/bin/sh\n", "{name}:x:4321:\nwheel:x:27:{name}\n", "{name} wheel", "had uid 4321"),
        ("{name}:x:{uid}:100:N:/home/n:/no/shell\n", "users:x:100:\n", "{name}", ""),
        ("", "users:x:{gid}:\n", "users", ""),
        ("", "{name}:x:777:\n", "{name}-{gid}", ""),
    ],
    ids=["no account", "uid held", "name held", "both held by one", "gid held", "name of the group held"],
)
def test_accounts_the_image_has(ready: World, variant: Variant, passwd: str, group: str, groups: str, said: str) -> None:
    """Whatever the image's passwd and group hold: the account has the host user's name, ids and home, and keeps the image's groups."""
    ready.git_repository("demo")
    me = vars(ready.me)
    has_sudo = "wheel" in groups
    rules = f"# of the image\n{ready.me.name} ALL=(ALL) NOPASSWD:ALL\n#{ready.me.uid} ALL=(ALL) ALL\n{ready.me.name}2 ALL=(ALL) ALL\n"
    image = variant(passwd=passwd.format(**me), group=group.format(**me), **({"sudoers.d/90-image": rules} if said else {}))
    ready.write(ready.overrides / "demo.toml", f"sudo = {str(has_sudo).lower()}\n")
    result = ready.repoman("new", "demo", "--image", image)
    assert ("could become root through wheel sudo /etc/sudoers.d/90-image" in result.err) == (bool(said) and not has_sudo)
    if said:
        assert ready.incus(*INSIDE, "cat", "/etc/sudoers.d/90-image").count("\n# ") == (0 if has_sudo else 2)
        assert ready.incus(*INSIDE, "ls", "/etc/sudoers.d").split() == (["90-image", "90-repoman"] if has_sudo else ["90-image"])
        ready.write(ready.overrides / "demo.toml", "")
        ready.incus("stop", "--force", "--project=repoman", "demo")
        again = ready.repoman("new", "demo").err
        assert ready.incus(*INSIDE, "ls", "/etc/sudoers.d").split() == ["90-image"]
        still = f"in demo, the account {ready.me.name} can become root through wheel /etc/sudoers.d/90-image; to allow it: sudo = true"
        assert (still in again) == has_sudo and ("can become root" in again) == has_sudo
        if has_sudo:  # the hint's command opens a shell of root
            command = again.partition("remove it there as root: ")[2].splitlines()[0]
            out = f"sed -i s/:{ready.me.name}$/:/ /etc/group && rm /etc/sudoers.d/90-image"
            assert ready.run("sh", "-c", f"{command} -c {shlex.quote(out)}").code == 0
            groups = "{name}"
            ready.incus("stop", "--force", "--project=repoman", "demo")
            assert "can become root" not in ready.repoman("new", "demo").err
    assert said in result.err and bool(said) == ("repoman: warning: " in result.err)
    assert identity(ready) == f"{ready.me.uid} {ready.me.gid} {groups.format(**me)} {ready.home} wrote"
    fields = account_line(ready).split(":")
    assert fields[2:4] == [str(ready.me.uid), str(ready.me.gid)] and fields[5:] == [str(ready.home), "/bin/sh"]
    assert len({line.split(":")[0] for line in ready.incus(*INSIDE, "cat", "/etc/passwd").splitlines()}) == 2
    assert os.stat(ready.repos / "demo/proof").st_uid == ready.me.uid


@pytest.mark.parametrize(
    ("passwd", "said"),
    [
        ("{name}:x:33:33::/var/www:/bin/sh\n", "system account '{name}'"),
        ("{name}:x:4321:33::/var/www:/bin/sh\nubuntu:x:{uid}:33::/:/bin/sh\n", "both"),
    ],
)
def test_accounts_that_cannot_be_taken_over(ready: World, variant: Variant, passwd: str, said: str) -> None:
    """A system account is not touched, and of two in its place none is chosen: an error, and nothing is left."""
    ready.git_repository("demo")
    before = ready.registry.read_text()
    err = ready.refused("new", "demo", "--image", variant(passwd=passwd.format(**vars(ready.me))), code=1)
    assert said.format(**vars(ready.me)) in err and ready.instances() == {} and ready.registry.read_text() == before


def test_home_has_the_images_skeleton(ready: World, variant: Variant) -> None:
    """The skeleton's files and directories are the account's own; what the host mounts there stays."""
    ready.git_repository("demo")
    ready.write(ready.home / ".gitconfig", "[user]\n")
    ready.install("dotfiles")
    image = variant(**{"skel/.profile": "export SKEL=yes\n", "skel/.config/x/y": "deep\n", "skel/.gitconfig": "not this\n"})
    ready.repoman("new", "demo", "--image", image, "--profile", "default", "--profile", "dotfiles")
    assert ready.repoman("shell", "demo", "--", "sh", "-c", "echo $SKEL; cat ~/.config/x/y ~/.gitconfig").out == "yes\ndeep\n[user]\n"
    owners = ready.incus(*INSIDE, "stat", "-c", "%u:%g", *(f"{ready.home}/{path}" for path in ("", ".profile", ".config/x/y", "repos")))
    assert set(owners.split()) == {f"{ready.me.uid}:{ready.me.gid}"}


def test_cloud_init_makes_the_account(ready: World, proxy: RecordingProxy) -> None:
    """With cloud-init it is there by user data, without a default user, and it owns its home with the skeleton. One command does it all."""
    ready.git_repository("demo")
    proxy.clear()
    ready.repoman("new", "demo", "--image", "debian-cloud")
    assert sum("/exec?" in target for _method, target in proxy.requests) == 1
    assert "groupadd" in ready.instances()["demo"]["config"]["cloud-init.user-data"]
    log = ready.incus(*INSIDE, "cat", "/var/log/cloud-init.log")
    assert f"Adding user {ready.me.name}" in log and "config-users-groups: SUCCESS" in log
    assert identity(ready) == f"{ready.me.uid} {ready.me.gid} {ready.me.name} {ready.home} wrote"
    people = [line for line in ready.incus(*INSIDE, "cat", "/etc/passwd").splitlines() if 1000 <= int(line.split(":")[2]) < 65534]
    assert [line.split(":")[0] for line in people] == [ready.me.name]
    assert account_line(ready).endswith(f":{ready.home}:/bin/bash")
    owners = ready.incus(*INSIDE, "stat", "-c", "%u:%g", str(ready.home), f"{ready.home}/.bashrc")
    assert set(owners.split()) == {f"{ready.me.uid}:{ready.me.gid}"}


def test_user_data_of_the_users_own_stays(ready: World) -> None:
    """A profile's user data reaches cloud-init beside the account, which comes as vendor data."""
    ready.git_repository("demo")
    ready.template("mine", 'config:\n  cloud-init.user-data: "#cloud-config\\n{write_files: [{path: /etc/mine, content: kept}]}"\n')
    ready.install("mine")
    ready.repoman("new", "demo", "--image", "debian-cloud", "--profile", "default", "--profile", "mine")
    config = ready.instances()["demo"]["config"]
    assert "cloud-init.user-data" not in config and ready.me.name in config["cloud-init.vendor-data"]
    assert ready.incus(*INSIDE, "cat", "/etc/mine") == "kept"
    assert f"Adding user {ready.me.name}" in ready.incus(*INSIDE, "cat", "/var/log/cloud-init.log")
    assert not ready.repoman("--json", "new", "demo").data["changed"]


def test_git_and_mercurial_trust_the_repository(ready: World) -> None:
    """Inside, the repositories are the account's own: neither git nor hg has anything to say of it, and the host agrees after."""
    repo = ready.git_repository("demo")
    assert ready.run("sh", "-c", "hg init && printf '[ui]\nusername = me\n' >.hg/hgrc", cwd=repo).code == 0
    ready.repoman("new", "demo", "--image", "debian")
    done = ready.repoman(
        "shell", "demo", "--", "sh", "-c", "echo 1 >f && git add f && git commit -qm in && hg add f && hg ci -m in && hg st"
    )
    assert done.err == ""
    assert ready.run("git", "log", "-1", "--format=%s", cwd=repo).out == "in\n"
    assert ready.run("hg", "log", "-l1", "-T", "{desc} {author}", cwd=repo).out == "in me"
    assert ready.run("git", "fsck", cwd=repo).code == 0 and ready.run("hg", "verify", "-q", cwd=repo).code == 0
    assert {os.lstat(path).st_uid for path in repo.rglob("*")} == {ready.me.uid}
    wrapper = '#!/bin/sh\n[ -e /run/systemd/private ] && echo "$@" >>/var/tmp/calls || echo early >>/var/tmp/calls\nexec /bin/systemctl.real "$@"\n'
    put = 'mv /bin/systemctl /bin/systemctl.real && printf %s "$1" >/bin/systemctl && chmod 755 /bin/systemctl'
    ready.incus(*INSIDE, "sh", "-c", put, "sh", wrapper)
    ready.incus("stop", "--force", "--project=repoman", "demo")
    ready.repoman("new", "demo")  # the boot is not slowed down by a systemctl that cannot answer yet
    assert ready.incus(*INSIDE, "cat", "/var/tmp/calls").splitlines() == ["is-system-running --wait"]
