# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets that cannot keep everything: an unchanged tree costs no work there. And extended attributes, where they can be kept."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import mirroring
import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror import target_traits
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.target_traits import Traits
from mirroring import MirrorSandbox

pytestmark = pytest.mark.disk  # what file systems have is the matter

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts, and has these attributes")

FILE_SYSTEMS = {
    "ext4 with seconds": ("mkfs.ext4 -q -I 128 {image}", "mount -o loop {image} {target}"),
    "ext4": ("mkfs.ext4 -q {image}", "mount -o loop {image} {target}"),
    "xfs": ("mkfs.xfs -q {image}", "mount -o loop {image} {target}"),
    "btrfs": ("mkfs.btrfs -q {image}", "mount -o loop {image} {target}"),
    "ntfs": ("mkfs.ntfs -q -F -Q {image}", "ntfs-3g {image} {target}"),
    "exfat": ("mkfs.exfat {image}", "mount -t exfat-fuse -o loop {image} {target}"),
    "vfat": ("mkfs.vfat -F 32 {image}", "mount -o loop,umask=022 {image} {target}"),
}


@pytest.fixture
def place(tmp_path: Path) -> MirrorSandbox:
    """Sources with one unit, and an empty target."""
    place = MirrorSandbox(tmp_path)
    (place.repos / "work").mkdir()
    return place


@pytest.fixture(params=FILE_SYSTEMS)
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MirrorSandbox]:
    """A target on a file system of its own."""
    make, mount = FILE_SYSTEMS[request.param]
    image, target = tmp_path / "image", tmp_path / "target"
    with image.open("wb") as file:
        file.truncate(320 << 20)
    target.mkdir()
    for command in (make, mount):
        words = command.format(image=image, target=target).split()
        if shutil.which(words[0]) is None:
            pytest.skip(f"there is no {words[0]}")
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"{words}: {done.stderr.strip()}")
    try:
        place = MirrorSandbox(tmp_path)
        (place.repos / "work").mkdir()
        yield place
    finally:
        subprocess.run(["umount", str(target)], check=True)


def fill(work: Path) -> None:
    """Make a tree with everything a file system may not be able to keep."""
    mirroring.run("git", "init", "-q", "-b", "main", str(work))
    (work / "dir/inner").mkdir(parents=True)
    for name in ("one", "dir/two", "dir/inner/three"):
        (work / name).write_text(name)
    mirroring.git(work, "add", "-A")
    mirroring.git(work, "commit", "-q", "-m", "first")
    (work / "dir/two").chmod(0o640)
    (work / "dir/inner").chmod(0o2750)
    os.chown(work / "dir/two", 1000, 1001)
    os.utime(work / "one", ns=(1, 1_600_000_001_123_456_789))
    os.utime(work / "dir/inner", ns=(1, 1_600_000_003_999_999_999))
    (work / "link").symlink_to("one")
    os.link(work / "one", work / "hard")
    os.mkfifo(work / "pipe")


def nothing_to_do(place: MirrorSandbox) -> None:
    """See that nothing is left to do, by manifest and by looking at the mirror."""
    assert place.sync() == {}
    plans = place.plans(place.options(full=True))
    assert {plan.unit.name: list(plan.items()) for plan in plans if plan.total} == {}


@root_only
def test_an_unchanged_tree_costs_no_work_on_any_target(elsewhere: MirrorSandbox) -> None:
    """What a target cannot keep is noted, and is not a difference: not for the next run, not for one that looks at the mirror."""
    place = elsewhere
    fill(place.repos / "work")
    outcome = place.sync()["work"]
    assert outcome.error is None, outcome.error.message
    nothing_to_do(place)
    for name in ("one", "dir/inner/three"):
        assert (place.target / "work" / name).read_bytes() == (place.repos / "work" / name).read_bytes()
    assert mirroring.git(place.target / "work", "-c", f"safe.directory={place.target}/work", "log", "--oneline").endswith("first\n")
    (place.repos / "work/one").write_text("changed")
    (place.repos / "work/dir/inner/three").unlink()
    changed = place.sync()["work"]
    assert changed.error is None, changed.error.message
    assert (place.target / "work/one").read_text() == "changed"
    assert (place.target / "work/hard").read_text() == "changed"
    assert not (place.target / "work/dir/inner/three").exists()
    nothing_to_do(place)
    assert place.sync(full=True)["work"].state == "up to date"


@root_only
def test_a_change_is_seen_on_a_target_with_coarse_times(elsewhere: MirrorSandbox) -> None:
    """The same size within the same second: the contents are compared, whatever the times say."""
    place = elsewhere
    path = place.repos / "work/file"
    path.write_text("one")
    os.utime(path, ns=(1, 1_600_000_000_000_000_000))
    assert place.sync()["work"].error is None
    path.write_text("two")
    os.utime(path, ns=(1, 1_600_000_000_400_000_000))
    assert place.sync(full=True)["work"].error is None
    assert (place.target / "work/file").read_text() == "two"
    nothing_to_do(place)


@root_only
def test_names_that_the_target_takes_for_one(elsewhere: MirrorSandbox) -> None:
    """On a target that does not tell upper from lower case one of two names is left out and named; elsewhere both are mirrored."""
    place = elsewhere
    work = place.repos / "work"
    (work / "dir").mkdir()
    (work / "DIR/inner").mkdir(parents=True)
    for name in ("file", "File", "dir/one", "DIR/two", "DIR/inner/three"):
        (work / name).write_text(name)
    outcome = place.sync()["work"]
    if target_traits.load(str(place.target / ".repoman/work")).case:
        assert outcome.error is None
        assert sorted(os.listdir(place.target / "work")) == ["DIR", "File", "dir", "file"]
        assert (place.target / "work/file").read_text() == "file"
        return
    for _turn in range(2):
        assert outcome.error is not None
        assert "is not case-sensitive" in outcome.error.message
        assert "Everything else in work was mirrored" in outcome.error.message
        assert (place.target / "work/File").read_text() == "File"
        assert sorted(os.listdir(place.target / "work/DIR")) == ["inner", "two"]
        (work / "other").write_text("later")
        outcome = place.sync()["work"]
    assert (place.target / "work/other").exists()
    assert {plan.unit.name for plan in place.plans(place.options(full=True)) if plan.total} == set()


@pytest.mark.parametrize(
    ("exact", "times", "step"),
    [
        (True, [2 * 10**9], 1),
        (False, [2 * 10**9, 4 * 10**9], 2 * 10**9),
        (False, [2 * 10**9, 3 * 10**9], 10**9),
        (False, [3 * 10**9, 3_100_000_000], 10**7),
        (False, [1_600_000_000_123_456_700], 100),
        (False, [1_600_000_000_123_456_700, 1_600_000_000_123_456_789], 1),
        (False, [], 2 * 10**9),
    ],
)
def test_the_step_of_times(exact: bool, times: list[int], step: int) -> None:
    """It is found in the mirror's own times, and only believed of a file system that may have one."""
    assert target_traits.tick(Traits(exact=exact), times) == step


@pytest.mark.parametrize(("mirrored", "source", "step", "same"), [(5, 5, 1, True), (5, 6, 1, False), (4, 5, 2, True), (4, 6, 2, False)])
def test_times_are_the_same_within_a_step(mirrored: int, source: int, step: int, same: bool) -> None:
    """Cut off or rounded."""
    assert target_traits.same_time(mirrored, source, step) is same


def test_what_was_found_out_holds_for_one_mount(place: MirrorSandbox) -> None:
    """Traits are read back for the mount they were found under, and for no other."""
    place.sync()
    work = place.target / ".repoman/work"
    traits = target_traits.load(str(work))
    assert traits.mount
    assert traits.modes
    (work.parent / target_traits.FILE).write_text('{"mount": "other", "modes": false}')
    assert target_traits.load(str(work)) == Traits()
    place.sync()
    assert target_traits.load(str(work)) == traits
    (work.parent / target_traits.FILE).write_text("{broken")
    assert target_traits.load(str(work)) == Traits()


def test_links_between_links_and_pipes(place: MirrorSandbox) -> None:
    """Symbolic links, pipes and sockets with several names have them in the mirror, too."""
    work = place.repos / "work"
    (work / "dir").mkdir()
    (work / "link").symlink_to("nowhere")
    os.mkfifo(work / "pipe")
    with socket.socket(socket.AF_UNIX) as each:
        before = os.getcwd()
        os.chdir(work)
        each.bind("socket")
        os.chdir(before)
    for name in ("link", "pipe", "socket"):
        os.link(work / name, work / "dir" / name, follow_symlinks=False)
        os.link(work / name, work / f"{name}2", follow_symlinks=False)
    place.settled()
    for name in ("link", "pipe", "socket"):
        assert os.lstat(place.target / "work" / name).st_nlink == 3
        assert os.path.samestat(os.lstat(place.target / "work" / name), os.lstat(place.target / "work/dir" / name))
    nothing_to_do(place)
    (work / "link2").unlink()
    (work / "link2").symlink_to("nowhere")
    (work / "pipe2").unlink()
    os.mkfifo(work / "pipe2")
    place.settled()
    assert os.lstat(place.target / "work/link2").st_nlink == 1
    assert os.lstat(place.target / "work/pipe2").st_nlink == 1
    nothing_to_do(place)


@root_only
def test_access_lists_that_the_target_gives_by_itself(place: MirrorSandbox) -> None:
    """A default list on the target's directory changes the modes of what is made there; they are put right, and stay so."""
    mirroring.run("setfacl", "-m", "u:1000:rwx,d:u:1000:rwx,d:g::rwx,d:o::rwx", str(place.target))
    place.repos.chmod(place.target.stat().st_mode)
    fill(place.repos / "work")
    place.settled()
    nothing_to_do(place)
    (place.repos / "work/dir/new").mkdir()
    (place.repos / "work/dir/new/file").write_text("new")
    (place.repos / "work/dir/new/file").chmod(0o600)
    place.settled()
    nothing_to_do(place)


# ---- extended attributes ---------------------------------------------------------------------------------------------------------


def attributes(path: Path) -> str:
    """Return what getfattr and getfacl show of a tree."""
    output = mirroring.run("getfattr", "-R", "-P", "-h", "-d", "-m", "-", ".", cwd=path)
    return output + mirroring.run("getfacl", "-R", "-P", "-n", ".", cwd=path)


@root_only
def test_attributes_alone_change(place: MirrorSandbox) -> None:
    """Set, changed and removed again, with nothing else: on files, directories, links, pipes, names of one file, and in ``.git``."""
    work = place.repos / "work"
    fill(work)
    place.settings |= {"xattrs": True, "acls": True}
    place.settled()
    commands = [
        ("setfattr", "-n", "user.one", "-v", "1", str(work / "one")),
        ("setfattr", "-n", "user.dir", "-v", "1", str(work / "dir/inner")),
        ("setfattr", "-n", "user.top", "-v", "1", str(work)),
        ("setfattr", "-h", "-n", "trusted.link", "-v", "1", str(work / "link")),
        ("setfattr", "-n", "trusted.pipe", "-v", "1", str(work / "pipe")),
        ("setfattr", "-n", "user.head", "-v", "1", str(work / ".git/HEAD")),
        ("setfattr", "-n", "user.two", "-v", "2", str(work / "one")),
        ("setfattr", "-x", "user.one", str(work / "one")),
        ("setcap", "cap_net_raw=ep", str(work / "dir/two")),
        ("setfacl", "-m", "u:1234:rx", str(work / "dir/two")),
        ("setfacl", "-m", "d:u:1234:rwx", str(work / "dir")),
        ("setfacl", "-b", str(work / "dir/two")),
        ("setfattr", "-x", "user.dir", str(work / "dir/inner")),
        ("setfattr", "-h", "-x", "trusted.link", str(work / "link")),
    ]
    for command in commands:
        mirroring.run(*command)
        assert place.sync()["work"].error is None
        assert attributes(place.target / "work") == attributes(work), command
    nothing_to_do(place)
    os.chown(work / "dir/two", 1002, 1002)
    mirroring.run("setcap", "cap_net_raw=ep", str(work / "dir/two"))
    place.settled()
    assert attributes(place.target / "work") == attributes(work)


@root_only
def test_attributes_are_brought_later(place: MirrorSandbox) -> None:
    """Once they are asked for, a full comparison brings what the mirror lacks, and then finds nothing more."""
    work = place.repos / "work"
    fill(work)
    mirroring.run("setfattr", "-n", "user.one", "-v", "1", str(work / "one"))
    mirroring.run("setfattr", "-n", "user.dir", "-v", "1", str(work / "dir"))
    place.settled()
    assert attributes(place.target / "work") != attributes(work)
    place.settings |= {"xattrs": True, "acls": True}
    assert place.sync(full=True)["work"].error is None
    assert attributes(place.target / "work") == attributes(work)
    nothing_to_do(place)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("bindfs"), reason="needs root and bindfs")
def test_links_that_a_target_makes_and_does_not_show(tmp_path: Path) -> None:
    """As sshfs: names of one file are files of their own there. That is no work in later runs, and no difference."""
    place = MirrorSandbox(tmp_path)
    work = place.repos / "work"
    work.mkdir()
    (work / "f").write_text("f")
    os.link(work / "f", work / "g")
    (tmp_path / "real").mkdir()
    subprocess.run(["bindfs", "--hide-hard-links", str(tmp_path / "real"), str(place.target)], check=True)
    try:
        place.sync()
        for _again in range(2):
            assert not [each for each in place.sync(full=True).values() if each.files or each.error]
        (work / "g").write_text("changed")
        place.sync()
        assert [(place.target / "work" / each).read_text() for each in "fg"] == ["changed", "changed"]
        assert not [each for each in place.sync(full=True).values() if each.files or each.error]
    finally:
        subprocess.run(["umount", str(place.target)], check=True)
