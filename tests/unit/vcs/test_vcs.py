# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state of repositories, real and booby-trapped: each trap fires with plain git or hg, and none of them here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandError, CommandRunner
from ansible_collections.homelab.repoman.plugins.module_utils.vcs import borrowed_objects, hg, state
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.confined_tree import (
    COPY_BYTES,
    ENTRIES,
    ConfinedTree,
    VcsError,
)
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.config import config_section, parse_config
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.refs import REFS_BYTES
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.hg import open_hg
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.state import read_state, read_states
from backup_fixture import bind_mount, tmpfs
from hypothesis import given
from hypothesis import strategies as st

WHO = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_AUTHOR_DATE": "1700000000 +0000",
    "GIT_COMMITTER_DATE": "1700000000 +0000",
    "HGUSER": "a",
    "HGRCPATH": "",
    "LC_ALL": "C.UTF-8",
    "PATH": os.environ["PATH"],
}


class VcsSandbox:
    """A ``repos_root``, and a place where a trap that fires leaves a file."""

    def __init__(self, me: Account) -> None:
        self.me, self.root, self.fired_dir = me, Path(me.home, "repos"), Path(me.home, "fired")
        self.root.mkdir()
        self.fired_dir.mkdir()

    def run(self, *argv: str, cwd: Path | None = None, check: bool = True) -> str:
        """Run a command as a person would, with nothing neutralised."""
        done = subprocess.run(
            argv, cwd=cwd or self.root, env=WHO | {"HOME": self.me.home}, capture_output=True, text=True, timeout=300, check=False
        )
        assert not check or done.returncode == 0, done
        return done.stdout

    def git(self, name: str = "demo") -> Path:
        """Make a git repository with one commit of ``file``, on ``main``."""
        path = self.root / name
        self.run("git", "init", "--quiet", "--initial-branch=main", str(path))
        (path / "file").write_text("one\n")
        self.run("git", "add", "file", cwd=path)
        self.run("git", "commit", "--quiet", "--message=one", cwd=path)
        return path

    def hg(self, name: str = "demo") -> Path:
        """Make a Mercurial repository with one changeset of ``file``."""
        path = self.root / name
        self.run("hg", "init", str(path))
        (path / "file").write_text("one\n")
        self.run("hg", "commit", "--addremove", "--message=one", "--date=1700000000 0", cwd=path)
        return path

    def trap(self, body: str = "") -> Path:
        """Return a program that leaves a file when it runs."""
        path = Path(self.me.home, "trap.sh")
        path.write_text(f"#!/bin/sh\n: >{self.fired_dir}/fired\n{body}")
        path.chmod(0o755)
        return path

    def fired(self) -> bool:
        """Whether a trap has fired; forgets it."""
        found = list(self.fired_dir.iterdir())
        for path in found:
            path.unlink()
        return bool(found)

    def look(self, path: Path, seconds: float = 20) -> dict[str, Any]:
        """Look at a repository as ``status`` does."""
        return read_states({"it": str(path)}, str(self.root), self.me, seconds)["it"]


@pytest.fixture
def ground(me: Account) -> VcsSandbox:
    """A ground for repositories."""
    return VcsSandbox(me)


def snapshot(path: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return all that is below a directory: mode, time, content."""
    found = {}
    for directory, directories, files in os.walk(path):
        for name in (*directories, *files):
            each = Path(directory, name)
            status = each.lstat()
            found[str(each)] = (status.st_mode, status.st_mtime_ns, each.read_bytes() if each.is_file() and not each.is_symlink() else b"")
    return found


# --- git -----------------------------------------------------------------------------------------


def test_git_state(ground: VcsSandbox) -> None:
    """Branch, changes of every kind, distance to the upstream, and the time of the last commit are told."""
    ground.git("origin")
    ground.run("git", "clone", "--quiet", "origin", "demo")
    path = ground.root / "demo"
    clean = ground.look(path)
    assert clean == {
        "kind": "git",
        "branch": "main",
        "bookmark": "",
        "commit": ground.run("git", "rev-parse", "HEAD", cwd=path).strip(),
        "detached": False,
        "bare": False,
        "staged": 0,
        "unstaged": 0,
        "conflicts": 0,
        "untracked": 0,
        "upstream": "origin/main",
        "ahead": 0,
        "behind": 0,
        "last_commit": "2023-11-14T22:13:20Z",
        "problem": "",
    }
    (ground.root / "origin/file").write_text("theirs\n")
    ground.run("git", "commit", "--quiet", "--all", "--message=theirs", cwd=ground.root / "origin")
    ground.run("git", "fetch", "--quiet", cwd=path)
    for text in ("two", "three"):
        ground.run("git", "commit", "--quiet", "--allow-empty", f"--message={text}", cwd=path)
    (path / "staged").write_text("new\n")
    ground.run("git", "add", "staged", cwd=path)
    (path / "file").write_text("changed\n")
    (path / "directory").mkdir()
    (path / "directory/untracked\n? x").write_text("")
    (path / "ignored").write_text("")
    (path / ".git/info/exclude").write_text("ignored\n")
    before = snapshot(path)
    state = ground.look(path)
    assert (state["staged"], state["unstaged"], state["untracked"], state["ahead"], state["behind"]) == (1, 1, 1, 2, 1)
    assert snapshot(path) == before


def test_git_packed_refs_detached_unborn_and_bare(ground: VcsSandbox) -> None:
    """What is checked out is found wherever it is kept."""
    path = ground.git()
    commit = ground.run("git", "rev-parse", "HEAD", cwd=path).strip()
    ground.run("git", "pack-refs", "--all", cwd=path)
    assert not (path / ".git/refs/heads/main").exists() and ground.look(path)["commit"] == commit
    ground.run("git", "checkout", "--quiet", "--detach", cwd=path)
    state = ground.look(path)
    assert (state["branch"], state["detached"], state["commit"], state["problem"]) == ("", True, commit, "")
    ground.run("git", "clone", "--quiet", "--bare", "demo", "bare")
    state = ground.look(ground.root / "bare")
    assert (state["kind"], state["bare"], state["commit"], state["problem"]) == ("git", True, commit, "")
    ground.run("git", "init", "--quiet", "--initial-branch=new", "unborn")
    state = ground.look(ground.root / "unborn")
    assert (state["branch"], state["commit"], state["last_commit"], state["problem"]) == ("new", "", "", "")


@pytest.mark.parametrize("options", [("--object-format=sha256",), ("--object-format=sha1",)])
def test_git_formats(ground: VcsSandbox, options: tuple[str, ...]) -> None:
    """Repositories of other formats are read as well."""
    path = ground.root / "demo"
    ground.run("git", "init", "--quiet", "--initial-branch=main", *options, str(path))
    (path / "file").write_text("one\n")
    ground.run("git", "add", "file", cwd=path)
    ground.run("git", "commit", "--quiet", "--message=one", cwd=path)
    (path / "file").write_text("two\n")
    state = ground.look(path)
    assert (state["problem"], state["unstaged"], state["commit"]) == ("", 1, ground.run("git", "rev-parse", "HEAD", cwd=path).strip())


def test_git_linked_working_tree_submodule_and_split_index(ground: VcsSandbox) -> None:
    """A git directory that is elsewhere in repos_root is found; a split index is read whole."""
    path = ground.git()
    ground.run("git", "worktree", "add", "--quiet", "-b", "side", "../linked", cwd=path)
    (ground.root / "linked/file").write_text("changed\n")
    state = ground.look(ground.root / "linked")
    assert (state["branch"], state["unstaged"], state["problem"]) == ("side", 1, "")
    ground.git("library")
    ground.run("git", "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(ground.root / "library"), "sub", cwd=path)
    assert (path / "sub/.git").is_file()
    state = ground.look(path / "sub")
    assert (state["branch"], state["upstream"], state["problem"]) == ("main", "origin/main", "")
    ground.run("git", "update-index", "--split-index", cwd=path)
    (path / "file").write_text("changed\n")
    state = ground.look(path)
    assert (state["unstaged"], state["staged"], state["problem"]) == (1, 1, "")


def test_git_index_as_old_as_a_change_is_not_trusted(ground: VcsSandbox) -> None:
    """A change of the same size, in the same moment as the index was written, shows."""
    path = ground.git()
    ground.run("git", "config", "core.checkStat", "minimal", cwd=path)
    moment = (1700000000, 1700000000)
    (path / "file").write_text("two\n")
    os.utime(path / "file", moment)
    ground.run("git", "add", "file", cwd=path)
    (path / "file").write_text("six\n")
    for name in ("file", ".git/index"):
        os.utime(path / name, moment)
    assert ground.run("git", "--no-optional-locks", "status", "--porcelain", cwd=path) == "MM file\n"
    assert ground.look(path)["unstaged"] == 1


def test_user_settings_count(ground: VcsSandbox) -> None:
    """What the user ignores everywhere is not untracked."""
    path = ground.git()
    (path / "mine").write_text("")
    assert ground.look(path)["untracked"] == 1
    Path(ground.me.home, ".gitconfig").write_text("[core]\n\texcludesFile = ~/.ignored\n")
    Path(ground.me.home, ".ignored").write_text("mine\n")
    assert ground.look(path)["untracked"] == 0


def test_git_reftable(ground: VcsSandbox) -> None:
    """Refs in the reftable format are told by a git that knows it, and are a reason with one that does not."""
    path = ground.root / "demo"
    known = subprocess.run(["git", "init", "--ref-format=reftable", str(path)], env=WHO, capture_output=True, check=False).returncode == 0
    ground.git()
    if not known:
        ground.run("git", "config", "extensions.refStorage", "reftable", cwd=path)
        assert ground.look(path)["problem"].startswith("git says: unknown repository extension")
        return
    commit = ground.run("git", "rev-parse", "HEAD", cwd=path).strip()
    state = ground.look(path)
    assert (state["commit"], state["problem"]) == (commit, "") and state["branch"]


def test_git_unknown_format(ground: VcsSandbox) -> None:
    """A format that is not known here is a reason."""
    path = ground.git()
    ground.run("git", "config", "extensions.other", "1", cwd=path)
    assert ground.look(path)["problem"] == "its format has the extension 'other', which is not known here"


def test_git_branch_that_is_not_text(ground: VcsSandbox) -> None:
    """Its bytes are escaped."""
    path = ground.git()
    ground.run("git", "checkout", "--quiet", "-b", "x\udcffy", cwd=path)
    assert ground.look(path)["branch"] == "x\\xffy"


def test_git_alternates_in_the_tree(ground: VcsSandbox) -> None:
    """A clone that borrows objects from a neighbour is read."""
    ground.git("source")
    ground.run("git", "clone", "--quiet", "--shared", "source", "demo")
    assert (ground.root / "demo/.git/objects/info/alternates").exists()
    state = ground.look(ground.root / "demo")
    assert (state["problem"], state["ahead"], state["last_commit"]) == ("", 0, "2023-11-14T22:13:20Z")


def test_git_sparse_and_shallow(ground: VcsSandbox) -> None:
    """A sparse checkout is clean; a shallow clone is counted as far as it goes."""
    source = ground.git("source")
    for name in ("a", "b"):
        (source / name).mkdir()
        (source / name / "file").write_text("")
    ground.run("git", "add", ".", cwd=source)
    ground.run("git", "commit", "--quiet", "--message=two", cwd=source)
    ground.run("git", "clone", "--quiet", "--depth=1", f"file://{source}", "demo")
    path = ground.root / "demo"
    ground.run("git", "sparse-checkout", "set", "--cone", "--sparse-index", "a", cwd=path)
    assert not (path / "b").exists()
    ground.run("git", "commit", "--quiet", "--allow-empty", "--message=mine", cwd=path)
    state = ground.look(path)
    assert (state["problem"], state["staged"], state["unstaged"], state["ahead"], state["behind"]) == ("", 0, 0, 1, 0)


def test_user_settings_of_hg_count(ground: VcsSandbox) -> None:
    """What the user ignores everywhere is not untracked."""
    path = ground.hg()
    (path / "mine").write_text("")
    Path(ground.me.home, ".hgrc").write_text("[ui]\nignore = ~/.ignored\n")
    Path(ground.me.home, ".ignored").write_text("mine\n")
    assert ground.look(path)["untracked"] == 0
    (path / "other").write_text("")
    assert ground.look(path)["untracked"] == 1


@dataclass(frozen=True)
class Trap:
    """A booby-trapped repository.

    :param set_up: plants it: takes the ground, the repository, the program that must not run.
    :param plain: the command that falls for it.
    :param expected: of what is told, what a trap must not change.
    """

    name: str
    set_up: Callable[[VcsSandbox, Path, Path], None]
    plain: tuple[str, ...] = ("git", "status")


def config(*settings: tuple[str, str]) -> Callable[[VcsSandbox, Path, Path], None]:
    """Return what plants a trap by ``git config``; ``TRAP`` in a value is the program."""

    def set_up(ground: VcsSandbox, path: Path, trap: Path) -> None:
        for key, value in settings:
            ground.run("git", "config", key, value.replace("TRAP", str(trap)), cwd=path)

    return set_up


def clean_filter(*settings: tuple[str, str]) -> Callable[[VcsSandbox, Path, Path], None]:
    """Return what plants a filter on a file whose times tell nothing."""

    def set_up(ground: VcsSandbox, path: Path, trap: Path) -> None:
        (path / ".git/info/attributes").write_text("file filter=x diff=x\n")
        config(*settings)(ground, path, trap)
        (path / "file").write_text("two\n")
        os.utime(path / "file", (1, 1))

    return set_up


def by_include(ground: VcsSandbox, path: Path, trap: Path) -> None:
    """Plant a monitor in an included file."""
    (path / "more").write_text(f'[core]\n\tfsmonitor = "{trap}"\n')
    config(("include.path", str(path / "more")))(ground, path, trap)


def by_worktree_config(ground: VcsSandbox, path: Path, trap: Path) -> None:
    """Plant a monitor in the configuration of the working tree."""
    config(("extensions.worktreeConfig", "true"))(ground, path, trap)
    ground.run("git", "config", "--worktree", "core.fsmonitor", str(trap), cwd=path)


def hook(ground: VcsSandbox, path: Path, trap: Path) -> None:
    """Plant a hook that runs when the index is refreshed."""
    shutil.copy(trap, path / ".git/hooks/post-index-change")
    os.utime(path / "file", (1, 1))


def hooks_path(ground: VcsSandbox, path: Path, trap: Path) -> None:
    """Plant that hook elsewhere."""
    (path / "hooks").mkdir()
    shutil.copy(trap, path / "hooks/post-index-change")
    config(("core.hooksPath", str(path / "hooks")))(ground, path, trap)
    os.utime(path / "file", (1, 1))


def submodule(ground: VcsSandbox, path: Path, trap: Path) -> None:
    """Plant a monitor in a submodule."""
    ground.git("library")
    ground.run("git", "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(ground.root / "library"), "sub", cwd=path)
    config(("core.fsmonitor", "TRAP"))(ground, path / "sub", trap)


def nested_git_directory(ground: VcsSandbox, path: Path, trap: Path) -> None:
    """Plant a monitor in a git directory that a file names."""
    config(("core.fsmonitor", "TRAP"))(ground, path, trap)
    (path / ".git").rename(path / "inner")
    (path / ".git").write_text("gitdir: inner\n")


def promisor(ground: VcsSandbox, path: Path, trap: Path) -> None:
    """Take an object away that a plain git then fetches, through a program."""
    config(
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.url", "ssh://example.invalid/x"),
        ("core.sshCommand", "TRAP"),
    )(ground, path, trap)
    tree = ground.run("git", "rev-parse", "HEAD^{tree}", cwd=path).strip()
    (path / ".git/objects" / tree[:2] / tree[2:]).unlink()
    (path / ".git/index").unlink()


def alternates_command(ground: VcsSandbox, path: Path, trap: Path) -> None:
    """Plant a remote helper that a fetch runs."""
    config(("remote.origin.url", "ext::TRAP"), ("protocol.ext.allow", "always"))(ground, path, trap)


GIT_TRAPS = [
    Trap("monitor", config(("core.fsmonitor", "TRAP"))),
    Trap("include", by_include),
    Trap("worktree config", by_worktree_config),
    Trap("clean filter", clean_filter(("filter.x.clean", "TRAP"))),
    Trap("process filter", clean_filter(("filter.x.process", "TRAP"), ("filter.x.required", "true"))),
    Trap("hook", hook),
    Trap("hooks path", hooks_path),
    Trap("submodule", submodule),
    Trap("git file", nested_git_directory),
    Trap("lazy fetch", promisor),
    Trap("pager", config(("core.pager", "TRAP")), ("script", "-qec", "git --paginate log", "/dev/null")),
    Trap("alias", config(("alias.st", "!TRAP")), ("git", "st")),
    Trap("external diff", clean_filter(("diff.external", "TRAP")), ("git", "diff")),
    Trap("textconv", clean_filter(("diff.x.textconv", "TRAP")), ("git", "diff")),
    Trap("ssh", config(("core.sshCommand", "TRAP"), ("remote.origin.url", "ssh://example.invalid/x")), ("git", "fetch")),
    Trap("remote helper", alternates_command, ("git", "fetch")),
    Trap(
        "credential helper",
        config(("credential.helper", "!TRAP"), ("credential.https://example.invalid.username", "x")),
        ("sh", "-c", "printf 'protocol=https\\nhost=example.invalid\\n\\n' | git credential fill"),
    ),
    Trap(
        "signature program",
        config(("log.showSignature", "true"), ("gpg.program", "TRAP"), ("user.signingKey", "x"), ("commit.gpgSign", "true")),
        ("git", "commit", "--allow-empty", "--message=x"),
    ),
]


@pytest.mark.parametrize("trap", GIT_TRAPS, ids=lambda trap: trap.name)
def test_git_traps(ground: VcsSandbox, trap: Trap) -> None:
    """Nothing that a git repository configures runs; the same trap catches plain git."""
    path = ground.git()
    trap.set_up(ground, path, ground.trap())
    ground.fired()
    before = snapshot(path)
    state = ground.look(path)
    assert not ground.fired() and snapshot(path) == before
    assert state["kind"] == "git" and state["branch"] == "main"
    assert not state["problem"] or trap.name == "lazy fetch"
    ground.run(*trap.plain, cwd=path, check=False)
    assert ground.fired()


def test_git_work_tree_elsewhere_is_not_followed(ground: VcsSandbox) -> None:
    """The working tree is the project's directory, whatever the configuration says."""
    path = ground.git()
    elsewhere = Path(ground.me.home, "private")
    elsewhere.mkdir()
    for number in range(3):
        (elsewhere / f"secret{number}").write_text("")
    ground.run("git", "config", "core.worktree", str(elsewhere), cwd=path)
    assert ground.run("git", "status", "--porcelain", cwd=path).count("secret") == 3
    state = ground.look(path)
    assert (state["untracked"], state["unstaged"], state["problem"]) == (0, 0, "")


def outside(ground: VcsSandbox) -> Path:
    """Return the git directory of a repository that is not in repos_root."""
    path = Path(ground.me.home, "outside")
    (ground.git("moved")).rename(path)
    return path / ".git"


def by_git_file(ground: VcsSandbox, path: Path) -> None:
    """Lead outside by a file."""
    shutil.rmtree(path / ".git")
    (path / ".git").write_text(f"gitdir: {outside(ground)}\n")


def by_link(ground: VcsSandbox, path: Path) -> None:
    """Lead outside by a link."""
    shutil.rmtree(path / ".git")
    (path / ".git").symlink_to(outside(ground))


def by_common(ground: VcsSandbox, path: Path) -> None:
    """Lead outside by ``commondir``."""
    (path / ".git/commondir").write_text(f"{outside(ground)}\n")


def by_objects(ground: VcsSandbox, path: Path) -> None:
    """Lead outside by the objects."""
    shutil.rmtree(path / ".git/objects")
    (path / ".git/objects").symlink_to(outside(ground) / "objects")


def by_alternates(ground: VcsSandbox, path: Path) -> None:
    """Lead outside by alternates, of alternates."""
    inner = ground.git("inner")
    (path / ".git/objects/info/alternates").write_text("../../../inner/.git/objects\n")
    (inner / ".git/objects/info/alternates").write_text(f"{outside(ground)}/objects\n")


def by_index(ground: VcsSandbox, path: Path) -> None:
    """Lead outside by the index."""
    (path / ".git/index").unlink()
    (path / ".git/index").symlink_to(outside(ground) / "index")


def by_ref(ground: VcsSandbox, path: Path) -> None:
    """Lead outside by a ref."""
    (path / ".git/refs/heads/main").unlink()
    (path / ".git/refs/heads/main").symlink_to(outside(ground) / "refs/heads/main")


def by_quoted_alternates(ground: VcsSandbox, path: Path) -> None:
    """Lead outside by alternates, in quotes that only git takes away."""
    (path / ".git/objects/info/alternates").write_text(f'"{outside(ground)}/objects"\n')


def by_link_that_is_hidden(ground: VcsSandbox, path: Path) -> None:
    """Lead outside by alternates, through a name that ends with what is no end of a line to git."""
    (path / ".git/objects/x\r").symlink_to(outside(ground) / "objects")
    (path / ".git/objects/info/alternates").write_text("x\r")


def by_links_in_a_row(ground: VcsSandbox, path: Path) -> None:
    """Lead outside by an index that is as many links away as the kernel follows."""
    by_index(ground, path)
    for number in range(39):
        (path / ".git/index").rename(path / f".git/{number}")
        (path / ".git/index").symlink_to(str(number))


@pytest.mark.parametrize(
    "lead",
    [
        by_git_file,
        by_link,
        by_common,
        by_objects,
        by_alternates,
        by_quoted_alternates,
        by_link_that_is_hidden,
        by_index,
        by_links_in_a_row,
        by_ref,
    ],
)
def test_git_leads_outside(ground: VcsSandbox, lead: Callable[[VcsSandbox, Path], None]) -> None:
    """What leads out of repos_root is not followed, and said; the same leads plain git there."""
    path = ground.git()
    lead(ground, path)
    ground.run("git", "rev-parse", "HEAD", cwd=path)
    state = ground.look(path)
    assert re.search("leads outside|from outside repos_root", state["problem"]) and not state["commit"]


def alternates_of_themselves(ground: VcsSandbox, path: Path, lines: int) -> None:
    """Have a repository borrow its own objects."""
    (path / ".git/objects/info/alternates").write_text(".\n" * lines)


def alternates_in_a_fan(ground: VcsSandbox, path: Path) -> None:
    """Have it borrow from many places, in two steps."""
    for name in range(50):
        for inner in (f"a{name}/info", f"b{name}"):
            (path / ".git/objects" / inner).mkdir(parents=True)
        (path / f".git/objects/a{name}/info/alternates").write_text(f"../b{name}\n")
    (path / ".git/objects/info/alternates").write_text("".join(f"a{name}\n" for name in range(50)))


def links_without_end(ground: VcsSandbox, path: Path) -> None:
    """Put links that lead to each other where the index was."""
    for number in range(1100):
        (path / f".git/link{number}").symlink_to(f"link{number + 1}")
    (path / ".git/index").unlink()
    (path / ".git/index").symlink_to("link0")


def long_path(ground: VcsSandbox, path: Path) -> None:
    """Name a git directory by a path that has no end either."""
    shutil.rmtree(path / ".git")
    (path / ".git").write_text(f"gitdir: {'a/' * (7 << 20)}\n")


def many_entries(ground: VcsSandbox, path: Path) -> None:
    """Fill the git directory."""
    for number in range(ENTRIES):
        (path / f".git/x{number}").touch()


def large_shared_indexes(ground: VcsSandbox, path: Path) -> None:
    """Make an index that names many others, all of which are large and take no space."""
    names = [f"{number:064x}" for number in range(3)]
    (path / ".git/index").write_bytes(b"".join(b"link" + bytes(4) + bytes.fromhex(name) for name in names))
    for name in names:
        (path / f".git/sharedindex.{name}").touch()
        os.truncate(path / f".git/sharedindex.{name}", COPY_BYTES // 2)


def large_reftable(ground: VcsSandbox, path: Path) -> None:
    """Make tables of refs that are large and take no space."""
    ground.run("git", "config", "core.repositoryFormatVersion", "1", cwd=path)
    ground.run("git", "config", "extensions.refStorage", "reftable", cwd=path)
    (path / ".git/reftable").mkdir()
    for number in range(COPY_BYTES // REFS_BYTES + 1):
        (path / f".git/reftable/{number}").touch()
        os.truncate(path / f".git/reftable/{number}", REFS_BYTES)


def many_reftables(ground: VcsSandbox, path: Path) -> None:
    """Make many tables."""
    large_reftable(ground, path)
    for number in range(200):
        (path / f".git/reftable/{number}").write_bytes(b"")


@pytest.mark.parametrize(
    ("plant", "problem"),
    [
        (partial(alternates_of_themselves, lines=1000), "it borrows objects from more than 100 places"),
        (alternates_in_a_fan, "it borrows objects from more than 100 places"),
        (links_without_end, "has more than 40 symbolic links on its path"),
        (long_path, "a path in it is too long: "),
        (many_entries, "has more than 2000 entries"),
        (large_shared_indexes, "its state is larger than 256 MiB"),
        (large_reftable, "its state is larger than 256 MiB"),
        (many_reftables, "its refs are in more than 100 tables"),
    ],
)
def test_git_without_end(ground: VcsSandbox, plant: Callable[[VcsSandbox, Path], None], problem: str) -> None:
    """What would be read or copied for ever, or until nothing is left, is a reason."""
    path = ground.git()
    plant(ground, path)
    found = ground.look(path)["problem"]
    assert problem in found and len(found) < 1000


def test_git_borrows_from_itself(ground: VcsSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """What borrows from itself, and what many borrow from, is looked at once."""
    path = ground.git()
    alternates_of_themselves(ground, path, 50)
    looks: list[int] = []
    look = borrowed_objects._check_entries

    def counted(*arguments: Any) -> int:
        looks.append(1)
        return look(*arguments)

    monkeypatch.setattr(borrowed_objects, "_check_entries", counted)
    assert ground.look(path)["problem"] == ""
    assert len(looks) <= 2 * len(list((path / ".git/objects").iterdir()))


def test_a_full_temporary_directory_is_named(ground: VcsSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not the repository that cannot be read."""
    path = ground.git()
    with tmpfs(tmp_path / "small", "size=64k"):
        (tmp_path / "small/filler").write_bytes(bytes(os.statvfs(tmp_path / "small").f_bavail * 4096))
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "small"))
        problem = ground.look(path)["problem"]
    assert problem == f"cannot use temporary files in {tmp_path}/small: No space left on device"


@pytest.mark.parametrize("name", ["HEAD", "packed-refs"])
def test_a_file_that_cannot_be_read_is_named(ground: VcsSandbox, name: str) -> None:
    """Whatever is wrong with it: the temporary files are not to blame. The file is memory of this process, which cannot be read at 0."""
    path = ground.git()
    (path / ".git" / name).touch()
    with bind_mount(Path(f"/proc/{os.getpid()}/mem"), path / ".git" / name):
        assert ground.look(path)["problem"] == f"cannot read {path}/.git/{name}: Input/output error"


@pytest.mark.parametrize(
    ("filename", "problem"),
    [("/a", "cannot read /a: x"), (b"/a", "cannot read /a: x"), (None, "it cannot be read: x"), (7, "it cannot be read: x")],
)
def test_errors_of_the_system(filename: str | bytes | int | None, problem: str) -> None:
    """One about a descriptor has its number in place of a name."""
    assert state._read_error(OSError(5, "x", filename)).message == problem


def test_time_is_up(ground: VcsSandbox) -> None:
    """The look at a repository has an end, whatever is in it."""
    tree = ConfinedTree(str(ground.root), 0)
    assert read_state(str(ground.git()), tree, CommandRunner(ground.me)).problem == "reading it took longer than 0 s"


@pytest.mark.parametrize(
    "head", ["ref: refs/heads/../../../../escape", "ref: /etc/passwd", "ref: refs/heads/a b", "ref: refs/heads/\x1b[31m", "x", ""]
)
def test_git_broken_head(ground: VcsSandbox, head: str) -> None:
    """A HEAD that names nothing is a reason, and no file is written by it."""
    path = ground.git()
    (path / ".git/HEAD").write_text(f"{head}\n")
    assert ground.look(path)["problem"]


@pytest.mark.parametrize("name", ["HEAD", "config", "index", "packed-refs", "info/exclude", "refs/heads/main", "objects/info/alternates"])
def test_git_fifo(ground: VcsSandbox, name: str) -> None:
    """A FIFO where a file belongs is not waited for."""
    path = ground.git()
    (path / ".git" / name).unlink(missing_ok=True)
    os.mkfifo(path / ".git" / name)
    assert ground.look(path)["problem"].endswith("is not a file")


@pytest.mark.parametrize("name", [".gitignore", ".gitattributes"])
def test_git_that_waits_for_ever(ground: VcsSandbox, name: str) -> None:
    """A FIFO that git itself opens is given up on; what was found out before is told."""
    path = ground.git()
    os.mkfifo(path / name)
    state = ground.look(path, seconds=4)
    assert (state["branch"], state["problem"]) == ("main", "git did not answer within 4 s")


def test_time_limit(ground: VcsSandbox) -> None:
    """What does not answer in time is a reason; the command and its children are gone."""
    runner = CommandRunner(ground.me, 2)
    with pytest.raises(CommandError, match=r"sh did not answer within 2 s"):
        runner.run(["sh", "-c", f"sleep 1000 & echo $! >{ground.fired_dir}/pid; wait"], WHO, "/")
    while Path("/proc", (ground.fired_dir / "pid").read_text().strip(), "exe").exists():
        time.sleep(0.01)  # it was killed, so it will go


def test_too_much_output(ground: VcsSandbox) -> None:
    """What says too much is stopped."""
    with pytest.raises(CommandError, match="printed more than"):
        CommandRunner(ground.me, 60).run(["cat", "/dev/zero"], WHO, "/")


@given(
    st.text(st.characters(exclude_characters="\n\0", codec="utf-8"), min_size=1),
    st.text(st.characters(exclude_characters="\0\r", codec="utf-8")),
)
def test_quoting(sub: str, value: str) -> None:
    """What we write into a configuration is read back as it was."""
    me = Account("a", os.getuid(), os.getgid(), "a", "/nonexistent", "/bin/sh")
    text = config_section("branch", sub, {"merge": value})
    assert parse_config(text.encode(), CommandRunner(me)) == {f"branch.{sub}.merge": [value]}


# --- Mercurial -----------------------------------------------------------------------------------


def test_hg_state(ground: VcsSandbox) -> None:
    """Branch, bookmark, changes, what is not public, what is newer, and the time are told; nothing is written."""
    path = ground.hg()
    first = ground.run("hg", "log", "--rev=.", "--template={node}", cwd=path)
    ground.run("hg", "bookmark", "work", cwd=path)
    (path / "untracked").write_text("")
    (path / "file").write_text("two\n")
    state = ground.look(path)
    assert state == {
        "kind": "hg",
        "branch": "default",
        "bookmark": "work",
        "commit": first,
        "detached": False,
        "bare": False,
        "staged": 0,
        "unstaged": 1,
        "conflicts": 0,
        "untracked": 1,
        "upstream": "",
        "ahead": 1,
        "behind": 0,
        "last_commit": "2023-11-14T22:13:20Z",
        "problem": "",
    }
    ground.run("hg", "commit", "--message=two", cwd=path)
    ground.run("hg", "update", "--quiet", first, cwd=path)
    shutil.rmtree(path / ".hg/cache")
    shutil.rmtree(path / ".hg/wcache")
    os.utime(path / "file", (1, 1))
    before = snapshot(path)
    assert ground.look(path)["behind"] == 1 and snapshot(path) == before
    ground.run("hg", "phase", "--public", "--rev=.", cwd=path)
    assert ground.look(path)["ahead"] == 0


def hgrc(text: str) -> Callable[[VcsSandbox, Path, Path], None]:
    """Return what plants a trap in the repository's ``hgrc``."""

    def set_up(ground: VcsSandbox, path: Path, trap: Path) -> None:
        extension = path / "evil.py"
        extension.write_text(f"open({str(ground.fired_dir / 'extension')!r}, 'w').close()\n")
        (path / ".hg/hgrc").write_text(text.replace("TRAP", str(trap)).replace("EXTENSION", str(extension)))

    return set_up


def hg_include(ground: VcsSandbox, path: Path, trap: Path) -> None:
    """Plant an extension in an included file."""
    hgrc("%include ../more\n")(ground, path, trap)
    (path / "more").write_text(f"[extensions]\nevil = {path / 'evil.py'}\n")


def hg_shared(ground: VcsSandbox, path: Path, trap: Path) -> None:
    """Plant an extension in the repository whose store is shared."""
    path.rename(path.with_name("source"))
    ground.run(
        "hg", "--config=extensions.share=", "--config=format.use-share-safe=yes", "share", "--quiet", "source", "demo", cwd=ground.root
    )
    (path / ".hg/hgrc").write_text(f"[hooks]\npre-status = {trap}\n")


def hg_subrepository(ground: VcsSandbox, path: Path, trap: Path) -> None:
    """Plant an extension in a repository inside the repository."""
    inner = ground.hg("demo/sub")
    (path / ".hgsub").write_text("sub = sub\n")
    ground.run("hg", "commit", "--addremove", "--message=two", cwd=path)
    hgrc("[extensions]\nevil = EXTENSION\n")(ground, inner, trap)


HG_TRAPS = [
    Trap("extension", hgrc("[extensions]\nevil = EXTENSION\n"), ("hg", "status")),
    Trap("include", hg_include, ("hg", "status")),
    Trap("hook", hgrc("[hooks]\npre-status = TRAP\npre-repoman-state = TRAP\n"), ("hg", "status")),
    Trap("shared", hg_shared, ("hg", "status")),
    Trap("alias", hgrc("[alias]\nstatus = !TRAP\nrepoman-state = !TRAP\n"), ("hg", "status")),
    Trap("editor", hgrc("[ui]\neditor = TRAP\nusername = a\n"), ("hg", "commit", "--amend", "--edit")),
    Trap("subrepository", hg_subrepository, ("hg", "status", "--subrepos")),
    Trap("ssh", hgrc("[ui]\nssh = TRAP\n[paths]\ndefault = ssh://example.invalid/x\n"), ("hg", "pull")),
]


@pytest.mark.parametrize("trap", HG_TRAPS, ids=lambda trap: trap.name)
def test_hg_traps(ground: VcsSandbox, trap: Trap) -> None:
    """Nothing that a Mercurial repository configures runs; the same trap catches plain hg."""
    path = ground.hg()
    trap.set_up(ground, path, ground.trap())
    ground.fired()
    before = snapshot(path)
    state = ground.look(path)
    assert not ground.fired() and snapshot(path) == before
    assert (state["kind"], state["branch"], state["problem"]) == ("hg", "default", "")
    ground.run(*trap.plain, cwd=path, check=False)
    assert ground.fired()


def hg_by_link(ground: VcsSandbox, path: Path) -> None:
    """Lead outside by a link in place of the caches."""
    shutil.rmtree(path / ".hg/wcache", ignore_errors=True)
    (path / ".hg/wcache").symlink_to(ground.fired_dir)


def hg_by_share(ground: VcsSandbox, path: Path) -> None:
    """Lead outside by a shared store."""
    target = Path(ground.me.home, "outside")
    ground.hg("moved").rename(target)
    (path / ".hg/sharedpath").write_text(str(target / ".hg"))


@pytest.mark.parametrize("lead", [hg_by_link, hg_by_share])
def test_hg_leads_outside(ground: VcsSandbox, lead: Callable[[VcsSandbox, Path], None]) -> None:
    """What leads out of repos_root is not followed, and said."""
    path = ground.hg()
    lead(ground, path)
    assert "leads outside" in ground.look(path)["problem"]
    assert not ground.fired()


def test_hg_tells_nothing_of_files_elsewhere(ground: VcsSandbox) -> None:
    """What ``.hgignore`` leads to outside the repository is not read, so no line of it can be told."""
    path, secret = ground.hg(), Path(ground.me.home, "secret")
    secret.write_text("secret(\n")
    for text in (f"include:{secret}\n", f"subinclude:{secret}\n"):
        (path / ".hgignore").write_text(text)
        assert "secret(" not in ground.look(path)["problem"]
    (path / ".hgignore").unlink()
    (path / ".hgignore").symlink_to(secret)
    assert "secret(" in subprocess.run(["hg", "status"], cwd=path, env=WHO, capture_output=True, text=True, check=False).stderr
    assert "secret" not in ground.look(path)["problem"]
    (path / ".hgignore").unlink()
    (path / ".hgignore").write_text("include:more\n")
    (path / "more").write_text("untracked\n")
    (path / "untracked").write_text("")
    assert ground.look(path)["untracked"] == 2


def test_damaged_hg_history(ground: VcsSandbox) -> None:
    """Reading a repository changes nothing in it; a damaged one is an error with hg's reason."""
    path = ground.hg()
    tree, runner = ConfinedTree(str(ground.root)), CommandRunner(ground.me, 30)
    before = snapshot(path)
    with open_hg(str(path), tree, runner) as repository:
        assert b'"untracked": 0' in repository.run("repoman-state")
        assert snapshot(path) == before
        (path / ".hg/store/00changelog.i").write_bytes(b"x" * 80)
        with pytest.raises(VcsError, match="hg says"):
            repository.run("repoman-state")


def test_old_mercurial_is_refused(ground: VcsSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Mercurial that may read the repository's hgrc is not run in it."""
    path = ground.hg()
    tools = Path(ground.me.home, "bin")
    tools.mkdir()
    (tools / "hg").write_text(f"#!/bin/sh\n[ $# = 2 ] || : >{ground.fired_dir}/fired\necho 'Mercurial Distributed SCM (version 5.4)'\n")
    (tools / "hg").chmod(0o755)
    monkeypatch.setattr(hg, "PATH", str(tools))
    assert "older than 6.0" in ground.look(path)["problem"] and not ground.fired()


# --- any -----------------------------------------------------------------------------------------


def test_neither_and_missing(ground: VcsSandbox) -> None:
    """A directory that is no repository is none; one that is not there is a reason; the others are told all the same."""
    (ground.root / "plain").mkdir()
    ground.git()
    paths = {name: str(ground.root / name) for name in ("plain", "gone", "demo")}
    states = read_states(paths, str(ground.root), ground.me, 20)
    assert [(states[name]["kind"], states[name]["problem"]) for name in paths] == [("", ""), ("", "it does not exist"), ("git", "")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_becomes_the_account(ground: VcsSandbox) -> None:
    """As root the commands run as the user, on a repository that is the user's, without a word of its ownership."""
    paths = [ground.git("one"), ground.hg("two")]
    nobody = Account("nobody", 65534, 65534, "nogroup", ground.me.home, "/bin/sh")
    for directory in (*Path(ground.me.home).parents, Path(ground.me.home)):
        if directory.stat().st_mode & 0o005 != 0o005:
            directory.chmod(directory.stat().st_mode | 0o055)
    for path in [ground.root, *ground.root.rglob("*")]:
        os.chown(path, nobody.uid, nobody.gid, follow_symlinks=False)
    states = read_states({str(path): str(path) for path in paths}, str(ground.root), nobody, 20)
    assert [state["problem"] for state in states.values()] == ["", ""]
    assert CommandRunner(nobody).run(["id", "--user"], WHO, "/").out == b"65534\n"
    assert CommandRunner(nobody).run(["id", "--groups"], WHO, "/").out == b"65534\n"
