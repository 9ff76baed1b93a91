# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore: every byte back, from the mirror or an earlier time, over what is there or beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore import layer_copier, options, path_replacer
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import (
    ConflictError,
    NotFoundError,
    RepomanError,
    UsageError,
)
from ansible_collections.homelab.repoman.plugins.module_utils.files import renaming
from backup_fixture import BackupHome, differences, git, killed_after, seen, without_times


@pytest.fixture
def world(empty_world: BackupHome) -> BackupHome:
    """A home with repositories that are backed up."""
    world = empty_world
    world.project("shark", repo='"isurus"')
    world.git("isurus")
    plain = world.write("plain/src/main.c").parent.parent
    (plain / "empty").mkdir()
    (plain / "link").symlink_to("/etc/passwd")
    (plain / "run").write_text("#!/bin/sh\n")
    (plain / "run").chmod(0o755)
    os.link(plain / "run", plain / "also-run")
    (plain / b"odd\n\xff name".decode(errors="surrogateescape")).write_text("odd")
    os.mkfifo(plain / "pipe")
    os.utime(plain / "src", ns=(10**18, 10**18 + 123456789))
    world.write("notes.txt")
    world.init()
    return world


def kept_times(world: BackupHome) -> list[str]:
    """Return the times of the runs that kept something."""
    return sorted(os.listdir(world.ours("kept")))


def next_run(world: BackupHome, **params: object) -> str:
    """Make a run, in a second of its own, and return its time."""
    before = set(history.version_names(Target(str(world.backup), "")))
    assert world.sync(**params)["changed"]
    (when,) = set(history.version_names(Target(str(world.backup), ""))) - before
    return when


@pytest.mark.parametrize("name", ["isurus", "hammer", "plain"])
def test_a_deleted_repository_comes_back_to_the_byte(world: BackupHome, tmp_path: Path, name: str) -> None:
    """A deleted repository comes back to the byte, is accepted by its program, and equals its mirror."""
    if name == "hammer":
        world.hg(name)
        world.sync()
    subprocess.run(["cp", "-a", str(world.repos / name), str(tmp_path / "original")], check=True)
    shutil.rmtree(world.repos / name)
    assert world.sync()["exit_code"] == 4
    predicted = world.restore(name, check=True)
    assert not (world.repos / name).exists()
    done = world.restore(name)
    assert predicted == done
    assert done["changed"]
    assert done["restored"]["has_container"] == (name == "isurus")
    assert differences(world.repos / name, tmp_path / "original") == []
    assert (world.repos / name).stat().st_mtime_ns == (tmp_path / "original").stat().st_mtime_ns
    if name == "isurus":
        assert git(world.repos / name, "fsck", "--full", "--strict") == ""
        assert git(world.repos / name, "--no-optional-locks", "status", "--porcelain") == ""
    if name == "hammer":
        subprocess.run(["hg", "verify", "-q"], cwd=world.repos / name, check=True, env={**os.environ, "HGRCPATH": ""})
    if name == "plain":
        assert (world.repos / "plain/run").stat().st_ino == (world.repos / "plain/also-run").stat().st_ino
    again = world.restore(name)
    assert not again["changed"]
    assert not world.restore(name, check=True)["changed"]
    assert "failed" not in world.sync()
    assert world.differences() == []


def test_a_project_is_restored_by_its_name_to_another_place(world: BackupHome) -> None:
    """A project is restored by its name, to another place; what is there is refused."""
    result = world.restore("shark", to=str(world.root / "a/b/isurus"))
    assert differences(world.repos / "isurus", world.root / "a/b/isurus") == []
    assert not result["restored"]["has_container"]
    (world.root / "a/b/isurus/README").unlink()
    with pytest.raises(ConflictError, match="exists"):
        world.restore("shark", to=str(world.root / "a/b/isurus"))


def test_what_is_there_is_saved_before_it_is_replaced(world: BackupHome) -> None:
    """Without overwrite nothing happens; with it, what was there is saved whole."""
    world.write("plain/src/main.c", "precious\n")
    world.write("plain/mine")
    before = seen(world.repos / "plain")
    with pytest.raises(ConflictError, match="exists"):
        world.restore("plain")
    assert seen(world.repos / "plain") == before
    predicted = world.restore("plain", check=True, overwrite=True)
    assert seen(world.repos / "plain") == before
    done = world.restore("plain", overwrite=True)
    assert without_times(done["diff"]) == without_times(predicted["diff"])
    saved = Path(done["restored"]["saved"])
    assert seen(saved) == before
    assert differences(world.backup / "plain", world.repos / "plain") == []
    assert not [entry for entry in os.listdir(world.repos) if entry.startswith(".repoman")]


def test_an_earlier_state_comes_back(world: BackupHome, tmp_path: Path) -> None:
    """Changed, removed and created files, and a directory that became a file and a link, are as they were."""
    states = []
    times = []

    def change() -> None:
        states.append(tmp_path / f"state{len(states)}")
        subprocess.run(["cp", "-a", str(world.repos / "plain"), str(states[-1])], check=True)

    change()
    world.write("plain/src/main.c", "second\n")
    world.write("plain/new/file")
    (world.repos / "plain/link").unlink()
    (world.repos / "plain/link").mkdir()
    world.write("plain/link/file")
    times.append(next_run(world))
    change()
    shutil.rmtree(world.repos / "plain/src")
    world.write("plain/src", "a file now\n")
    shutil.rmtree(world.repos / "plain/new")
    (world.repos / "plain/new").symlink_to("/etc")
    times.append(next_run(world))
    change()
    for number, when in enumerate(times):
        to = world.root / f"restored{number}"
        world.restore("plain", **{"from": when, "to": str(to)})
        lines = differences(states[number], to)
        assert [text for text in lines if not text.startswith(".d")] == []
    world.restore("plain", to=str(world.root / "newest"))
    assert differences(states[-1], world.root / "newest") == []


def test_history_that_was_rewritten_comes_back(world: BackupHome) -> None:
    """A commit that was amended and pruned, at the source and then in the mirror, comes back."""
    repo = world.repos / "isurus"
    lost = git(repo, "rev-parse", "HEAD").strip()
    git(repo, "commit", "-q", "--amend", "--allow-empty", "-m", "rewritten")
    git(repo, "reflog", "expire", "--expire=now", "--all")
    git(repo, "gc", "-q", "--prune=now")
    when = next_run(world)
    while world.sync()["changed"]:
        pass
    assert subprocess.run(["git", "cat-file", "-e", lost], cwd=world.backup / "isurus", check=False).returncode
    old = world.root / "old"
    world.restore("isurus", **{"from": when, "to": str(old)})
    assert git(old, "fsck", "--full") == ""
    assert git(old, "rev-parse", "HEAD").strip() == lost
    assert git(old, "--no-optional-locks", "status", "--porcelain") == ""


def test_directories_that_were_removed_one_by_one_have_their_modes(world: BackupHome) -> None:
    """Those of packed objects, and those that held a repository: the mirror no longer has them."""
    repo = world.repos / "isurus"
    git(repo, "config", "core.sharedRepository", "group")
    world.write("isurus/sub/way/file")
    git(repo, "init", "-q", "sub/way/inner")
    directories = [*repo.glob(".git/objects/??"), repo / "sub", repo / "sub/way"]
    for path in directories:
        path.chmod(0o2775)
    world.sync()
    before = {path: path.stat().st_mode for path in directories}
    git(repo, "gc", "-q")
    shutil.rmtree(repo / "sub")
    when = next_run(world, names=["isurus"], allow_shrink=True)
    while world.sync()["changed"]:
        pass
    old = world.root / "old"
    world.restore("isurus", **{"from": when, "to": str(old)})
    assert {path: (old / path.relative_to(repo)).stat().st_mode for path in directories} == before


def test_there_was_nothing_before_the_first_run(world: BackupHome) -> None:
    """Before the first run there was nothing; the error names that run, and the way to the list of versions."""
    (run,) = (each.name for each in world.ours("created").iterdir())
    world.write("plain/new")
    world.sync()
    with pytest.raises(NotFoundError) as caught:
        world.restore("plain", **{"from": "2020-01-01", "to": str(world.root / "to")})
    assert caught.value.message == f"there is no backup of plain as of 2020-01-01: the first one was made at {run}."
    assert caught.value.hints == ["repoman sync --list-versions plain", "repoman restore plain   # the last version"]


def test_paths_alone(world: BackupHome) -> None:
    """Only the paths come back: over what is there, saved first, or elsewhere, with their directories."""
    world.write("plain/src/main.c", "precious\n")
    world.write("plain/src/other.c", "mine\n")
    with pytest.raises(ConflictError, match=r"plain/link exists") as caught:
        world.restore("plain", paths=["link", "src/main.c"], **{"from": "2099-01-01 12:00"})
    again = "repoman restore plain --from '2099-01-01 12:00' --path link --path src/main.c"
    assert [hint.split(": ", 1)[1] for hint in caught.value.hints] == [f"{again} --to DIR", f"{again} --overwrite"]
    done = world.restore("plain", paths=["src/main.c", "./run"], overwrite=True)
    assert (world.repos / "plain/src/main.c").read_text() == "text\n"
    assert (world.repos / "plain/src/other.c").read_text() == "mine\n"
    saved = Path(done["restored"]["saved"])
    assert (saved / "src/main.c").read_text() == "precious\n"
    assert not world.restore("plain", paths=["src/main.c"], overwrite=True)["changed"]

    shutil.rmtree(world.repos / "plain/src")
    assert world.restore("plain", paths=["src"])["restored"]["saved"] == ""
    assert os.listdir(world.repos / "plain/src") == ["main.c"]

    world.restore("plain", paths=["src/main.c", "link"], to=str(world.root / "to"))
    assert sorted(os.listdir(world.root / "to")) == ["link", "src"]
    assert os.readlink(world.root / "to/link") == "/etc/passwd"


@pytest.fixture
def nested_projects(world: BackupHome) -> BackupHome:
    """The same with two projects below one directory."""
    (world.repos / "sharks").mkdir(mode=0o750)
    world.git("sharks/lamna")
    world.git("sharks/mako")
    world.write("sharks/lamna/src/f")
    world.project("lamna", repo='"sharks/lamna"')
    assert world.sync()["changed"]
    return world


def test_a_project_inside_a_directory_is_restored_alone(nested_projects: BackupHome) -> None:
    """Of a project below a directory only what is the project's is restored, replaced and saved."""
    repo, other = nested_projects.repos / "sharks/lamna", nested_projects.repos / "sharks/mako"
    nested_projects.write("sharks/mako/mine", "precious\n")
    nested_projects.write("sharks/lamna/src/f", "precious\n")
    before, others = seen(repo), seen(other)
    with pytest.raises(ConflictError, match="sharks/lamna exists") as caught:
        nested_projects.restore("lamna")
    assert caught.value.hints[0].endswith("repoman restore lamna --to DIR")
    predicted = nested_projects.restore("lamna", check=True, overwrite=True)
    assert seen(repo) == before
    done = nested_projects.restore("lamna", overwrite=True)
    assert without_times(predicted["diff"]) == without_times(done["diff"])
    assert done["restored"]["to"] == str(repo)
    assert done["restored"]["has_container"]
    assert differences(nested_projects.backup / "sharks/lamna", repo) == []
    assert seen(Path(done["restored"]["saved"])) == before
    assert seen(other) == others
    assert not nested_projects.restore("lamna", overwrite=True)["changed"]


def test_a_project_inside_a_directory_is_restored_elsewhere(nested_projects: BackupHome, tmp_path: Path) -> None:
    """Elsewhere it is a directory of its own; an earlier state too."""
    result = nested_projects.restore("lamna", to=str(tmp_path / "to"))
    assert not result["restored"]["has_container"]
    assert differences(nested_projects.repos / "sharks/lamna", tmp_path / "to") == []
    assert (tmp_path / "to").stat().st_mode == (nested_projects.repos / "sharks/lamna").stat().st_mode
    nested_projects.write("sharks/lamna/src/f", "changed\n")
    nested_projects.write("sharks/lamna/src/new")
    when = next_run(nested_projects)
    nested_projects.restore("lamna", **{"from": when, "to": str(tmp_path / "old")})
    assert (tmp_path / "old/src/f").read_text() == "text\n"
    assert not (tmp_path / "old/src/new").exists()
    assert git(tmp_path / "old", "fsck", "--full") == ""
    (kept,) = nested_projects.sync(list_versions="lamna")["kept"]
    assert kept["path"].endswith("sharks/lamna")
    assert nested_projects.sync(list_versions="sharks")["kept"][0]["files"] == kept["files"]


def test_paths_of_a_project_inside_a_directory(nested_projects: BackupHome, tmp_path: Path) -> None:
    """Paths are the project's, there and elsewhere."""
    nested_projects.write("sharks/lamna/src/f", "precious\n")
    done = nested_projects.restore("lamna", paths=["src/f"], overwrite=True)
    assert not done["restored"]["has_container"]
    assert (nested_projects.repos / "sharks/lamna/src/f").read_text() == "text\n"
    assert (Path(done["restored"]["saved"]) / "src/f").read_text() == "precious\n"
    nested_projects.restore("lamna", paths=["src/f"], to=str(tmp_path / "to"))
    assert [str(path.relative_to(tmp_path / "to")) for path in (tmp_path / "to").rglob("*")] == ["src", "src/f"]
    with pytest.raises(NotFoundError, match="'nowhere' is not in this version of the backup of lamna"):
        nested_projects.restore("lamna", paths=["nowhere"])


@pytest.mark.parametrize("there", ["nothing", "empty", "others"])
def test_a_project_inside_a_directory_comes_back(nested_projects: BackupHome, there: str) -> None:
    """Deleted, alone or with the directory it was in, it comes back as it was, and alone."""
    mode = (nested_projects.repos / "sharks").stat().st_mode
    shutil.rmtree(nested_projects.repos / "sharks")
    if there != "nothing":
        (nested_projects.repos / "sharks").mkdir()
    if there == "others":
        nested_projects.write("sharks/other")
    done = nested_projects.restore("lamna")
    assert done["restored"]["saved"] == ""
    assert "restore lamna" in done["steps"][0]
    assert sorted(os.listdir(nested_projects.repos / "sharks")) == ["lamna"] + ["other"] * (there == "others")
    assert differences(nested_projects.backup / "sharks/lamna", nested_projects.repos / "sharks/lamna") == []
    assert there == "others" or (nested_projects.repos / "sharks").stat().st_mode == mode
    assert not nested_projects.restore("lamna")["changed"]


def test_a_link_on_the_way_to_a_project_is_not_followed(nested_projects: BackupHome, tmp_path: Path) -> None:
    """Whoever may write to the directory above a project cannot turn its restore to another place."""
    (tmp_path / "outside/lamna").mkdir(parents=True)
    nested_projects.write("sharks/deep/lamna/file")
    nested_projects.project("deep", repo='"sharks/deep/lamna"')
    nested_projects.sync()
    shutil.rmtree(nested_projects.repos / "sharks/deep")
    (nested_projects.repos / "sharks/deep").symlink_to(tmp_path / "outside")
    with pytest.raises(ConflictError, match="not a directory"):
        nested_projects.restore("deep", overwrite=True)
    assert os.listdir(tmp_path / "outside/lamna") == []
    nested_projects.sync()
    assert os.readlink(nested_projects.backup / "sharks/deep") == str(tmp_path / "outside")
    with pytest.raises(NotFoundError, match="no backup of deep"):
        nested_projects.restore("deep", to=str(tmp_path / "to"))


def test_loose_files(world: BackupHome) -> None:
    """Loose files come back among the directories."""
    (world.repos / "notes.txt").unlink()
    assert world.restore("(loose files)")["changed"]
    assert (world.repos / "notes.txt").read_text() == "text\n"
    assert (world.repos / "plain").is_dir()


def test_what_lay_in_the_target_before_is_not_restored(world: BackupHome) -> None:
    """Files of others in the target are no loose files; where this machine knows nothing of the backup, all are."""
    (world.backup / "photos.zip").write_text("photos")
    (world.repos / "notes.txt").unlink()
    assert world.restore("(loose files)")["restored"]["files"] == 1
    assert sorted(os.listdir(world.repos)) == ["isurus", "notes.txt", "plain"]
    with pytest.raises(NotFoundError):
        world.restore("(loose files)", paths=["photos.zip"])
    world.write("notes.txt", "changed\n")
    when = next_run(world)
    (world.repos / "notes.txt").unlink()
    (world.state / "manifests").rename(world.state / "elsewhere")
    world.restore("(loose files)", to=str(world.root / "all"))
    assert sorted(os.listdir(world.root / "all")) == ["notes.txt", "photos.zip"]
    (world.state / "elsewhere").rename(world.state / "manifests")
    world.restore("(loose files)", to=str(world.root / "old"), **{"from": when})
    assert [path.read_text() for path in (world.root / "old").iterdir()] == ["text\n"]


@pytest.mark.parametrize("path", ["../isurus/README", "/etc/passwd", "src/../../isurus", "", "a\0b"])
def test_paths_that_lead_out_are_refused(world: BackupHome, path: str) -> None:
    """Paths that lead out of the repository are wrong usage."""
    with pytest.raises(UsageError):
        world.restore("plain", paths=[path], overwrite=True)


def test_links_are_not_followed(world: BackupHome) -> None:
    """Neither a link in the mirror nor one in the way leads out of the tree."""
    outside = world.root / "outside"
    outside.mkdir()
    (world.repos / "plain/way").symlink_to(outside)
    world.sync()
    with pytest.raises(NotFoundError):
        world.restore("plain", paths=["way/file"], overwrite=True)
    shutil.rmtree(world.repos / "plain/src")
    (world.repos / "plain/src").symlink_to(outside)
    with pytest.raises(ConflictError, match="not a directory"):
        world.restore("plain", paths=["src/main.c"], overwrite=True)
    assert os.listdir(outside) == []
    world.restore("plain", paths=["src"], overwrite=True)
    assert not (world.repos / "plain/src").is_symlink()
    assert os.listdir(outside) == []


def test_a_link_as_destination_is_refused(world: BackupHome) -> None:
    """A link in place of the repository is refused; it is not followed."""
    shutil.rmtree(world.repos / "plain")
    (world.repos / "plain").symlink_to(world.root)
    before = sorted(os.listdir(world.root))
    with pytest.raises(ConflictError, match="not a directory"):
        world.restore("plain", overwrite=True)
    assert sorted(os.listdir(world.root)) == before


def test_nothing_a_repository_configures_is_run(world: BackupHome) -> None:
    """A booby-trapped repository is restored as it is; nothing of it runs."""
    trap = world.root / "sprung"
    script = world.write("isurus/trap.sh", f"#!/bin/sh\ntouch {trap}\n")
    script.chmod(0o755)
    world.hg("hammer")
    for key in ("core.fsmonitor", "core.sshCommand", "core.pager"):
        git(world.repos / "isurus", "config", key, str(script))
    for hook in ("post-checkout", "post-index-change", "reference-transaction"):
        shutil.copy(script, world.repos / f"isurus/.git/hooks/{hook}")
    world.write("hammer/.hg/hgrc", f"[hooks]\npre-verify = {script}\n[extensions]\nevil = {script}\n")
    world.sync()
    for name in ("isurus", "hammer"):
        shutil.rmtree(world.repos / name)
        world.restore(name)
        assert differences(world.backup / name, world.repos / name) == []
    assert not trap.exists()


def test_names_and_times_that_are_not_known(world: BackupHome) -> None:
    """Names and times that are not known get a hint."""
    with pytest.raises(NotFoundError) as caught:
        world.restore("plian")
    assert "did you mean 'plain'?" in caught.value.hints
    with pytest.raises(UsageError):
        world.restore("plain", **{"from": "yesterday"})
    with pytest.raises(NotFoundError, match="'nowhere' is not in"):
        world.restore("plain", paths=["nowhere"])


def test_times_are_understood() -> None:
    """A time is what list-kept prints, or ISO 8601."""
    assert options.parse_time("20261125T120000Z") == options.parse_time("2026-11-25T13:00:00+01:00") == "20261125T120000Z"


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:00", "2026-13-01", "yesterday", ""])
def test_times_that_do_not_exist(text: str) -> None:
    """A time that no calendar has is wrong usage."""
    with pytest.raises(UsageError, match="is not a valid time"):
        options.parse_time(text)
    assert options.parse_time("0987-01-02T03:04:05Z") == "09870102T030405Z"


def test_a_time_before_all_that_is_kept(world: BackupHome, tmp_path: Path) -> None:
    """The oldest state there is says that it is not the one that was asked for."""
    for each in world.ours("created").iterdir():
        each.unlink()
    long_ago = {"from": "2020-01-01"}
    assert "The history begins at" in world.restore("plain", to=str(tmp_path / "a"), **long_ago)["warnings"][0]
    world.write("plain/new")
    world.sync()
    (run,) = (each.name for each in world.ours("created").iterdir())
    result = world.restore("plain", to=str(tmp_path / "b"), **long_ago)
    assert result["warnings"] == [f"The history begins at {run}; this is the oldest version."]
    assert not (tmp_path / "b/new").exists()
    assert "warnings" not in world.restore("plain", to=str(tmp_path / "c"), **{"from": run})


def test_a_backup_does_not_become_a_destination(world: BackupHome) -> None:
    """Nothing is restored into the backup."""
    for to in (world.backup / "plain", world.backup, world.backup / "x/y"):
        with pytest.raises(ConflictError, match="inside the backup"):
            world.restore("plain", to=str(to), overwrite=True)


def test_another_hosts_backup_can_be_restored_from(world: BackupHome) -> None:
    """On a new machine the old one's backup is no use to sync, and of use to restore, with a warning."""
    mark = world.ours("mirror.toml")
    mark.write_text(mark.read_text().replace("host = ", 'host = "old"  # '))
    shutil.rmtree(world.repos)
    world.repos.mkdir()
    shutil.rmtree(world.log)
    with pytest.raises(ConflictError):
        world.sync()
    result = world.restore("isurus")
    assert "on old" in result["warnings"][0]
    assert differences(world.backup / "isurus", world.repos / "isurus") == []


def test_without_a_backup_there_is_nothing_to_restore(world: BackupHome) -> None:
    """Without a mark there is nothing to restore."""
    world.ours("mirror.toml").unlink()
    with pytest.raises(ConflictError, match="not a backup"):
        world.restore("plain")


def test_a_failed_copy_changes_nothing(world: BackupHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that fails leaves source and saved things as they were."""
    before = seen(world.repos)
    world.write("plain/src/main.c", "precious\n")
    before = seen(world.repos / "plain")

    def full(out: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(layer_copier, "_write", full)
    with pytest.raises(RepomanError, match=r"plain/.* cannot be written: No space left on device; nothing was restored"):
        world.restore("plain", overwrite=True)
    assert seen(world.repos / "plain") == before
    assert sorted(os.listdir(world.repos)) == ["isurus", "notes.txt", "plain"]


def test_a_restore_that_is_killed_leaves_the_old_or_the_new(world: BackupHome) -> None:
    """Killed at any moment, the repository is its old or its new self, and the old one is somewhere."""
    for turn in range(8):
        shutil.rmtree(world.repos / "plain")
        world.write("plain/src/main.c", f"precious {turn}\n")
        killed_after(turn * 0.02, lambda: world.restore("plain", overwrite=True))
        texts = [path.read_text() for path in world.repos.rglob("main.c") if ".repoman-restore-" not in str(path)]
        assert f"precious {turn}\n" in texts
        assert (world.repos / "plain/src/main.c").read_text() in ("text\n", f"precious {turn}\n")
    world.restore("plain", overwrite=True)
    assert differences(world.backup / "plain", world.repos / "plain") == []
    assert not [entry for entry in os.listdir(world.repos) if entry.startswith(".repoman")]


def test_read_only_directories_of_an_ordinary_user(short_dir: Path, unprivileged: Callable[[Callable[[], object]], str]) -> None:
    """Directories that their owner may not write take their places, and what is in them, and forbid it afterwards as before."""
    world = BackupHome(short_dir)
    for path in [short_dir, *short_dir.iterdir()] if os.geteuid() == 0 else ():
        os.chown(path, 65534, 65534)

    def work() -> None:
        plain = world.write("plain/closed/file").parent.parent
        world.write("plain/other/file").parent.chmod(0o555)
        (plain / "closed").chmod(0o555)
        world.init()
        for each in ("closed/file", "other/file"):
            (plain / each).write_text("mine\n")
        restored = world.restore("plain", paths=["closed", "other/file"], overwrite=True)["restored"]
        assert differences(world.backup / "plain", plain, "--omit-dir-times") == []
        assert [(Path(restored["saved"]) / each).read_text() for each in ("closed/file", "other/file")] == ["mine\n", "mine\n"]
        for each in (plain / "closed", plain / "other", Path(restored["saved"], "closed")):
            assert each.stat().st_mode & 0o777 == 0o555
            each.chmod(0o755)

    assert unprivileged(work) == "None"


def test_a_path_is_restored_with_what_is_below_it(world: BackupHome) -> None:
    """Who names a directory and something in it, or a thing twice, gets it once."""
    world.write("plain/src/main.c", "mine\n")
    world.restore("plain", paths=["src/main.c", "src", "link", "src"], overwrite=True)
    assert differences(world.backup / "plain", world.repos / "plain", "--omit-dir-times") == []
    (saved,) = world.repos.glob("plain.before-*")
    assert (saved / "src/main.c").read_text() == "mine\n"


@pytest.mark.parametrize("exchanged", [True, False])
def test_paths_are_restored_all_or_none(world: BackupHome, monkeypatch: pytest.MonkeyPatch, exchanged: bool) -> None:
    """Where one path cannot take its place, those that had taken theirs are put back, and what was there is where it was."""
    world.write("plain/src/main.c", "mine\n")
    (world.repos / "plain/run").unlink()
    (world.repos / "plain/link").unlink()
    (world.repos / "plain/link").mkdir()
    before = seen(world.repos / "plain")
    exchange = path_replacer.rename_exchange

    def fail(one_fd: int, one: bytes, other_fd: int, other: bytes) -> None:
        if other == b"link":
            if exchanged:
                exchange(one_fd, one, other_fd, other)
            monkeypatch.undo()
            monkeypatch.setenv("HOME", str(world.root))
            raise OSError(28, "No space left on device")
        exchange(one_fd, one, other_fd, other)

    monkeypatch.setattr(path_replacer, "rename_exchange", fail)
    with pytest.raises(RepomanError, match=r"plain/link cannot be moved into place: No space left on device; nothing was restored"):
        world.restore("plain", paths=["src", "run", "link"], overwrite=True)
    after = seen(world.repos / "plain")
    assert {path: status for path, status in after.items() if path != "."} == {path: each for path, each in before.items() if path != "."}
    assert sorted(os.listdir(world.repos)) == ["isurus", "notes.txt", "plain"]


def test_what_was_changed_meanwhile_is_named(world: BackupHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that somebody replaced while it was restored is not touched again, and what was there before stays saved."""
    world.write("plain/src/main.c", "mine\n")
    (world.repos / "plain/link").unlink()
    (world.repos / "plain/link").mkdir()
    exchange = path_replacer.rename_exchange

    def fail(one_fd: int, one: bytes, other_fd: int, other: bytes) -> None:
        if other == b"link":
            (world.repos / "plain/src").rename(world.root / "moved")
            world.write("plain/src/main.c", "another's\n")
            monkeypatch.undo()
            monkeypatch.setenv("HOME", str(world.root))
            raise OSError(28, "No space left on device")
        exchange(one_fd, one, other_fd, other)

    monkeypatch.setattr(path_replacer, "rename_exchange", fail)
    with pytest.raises(RepomanError, match="link cannot be moved into place") as caught:
        world.restore("plain", paths=["src", "link"], overwrite=True)
    (saved,) = world.repos.glob("plain.before-*")
    assert (saved / "src/main.c").read_text() == "mine\n"
    assert (world.repos / "plain/src/main.c").read_text() == "another's\n"
    assert any(f"plain/src changed during the restore; its previous contents are in {saved}." in hint for hint in caught.value.hints)


def test_all_loose_files_are_not_their_directory(world: BackupHome) -> None:
    """The directory of loose files holds the repositories too: it is not replaced, however the files are named."""
    world.write("notes.txt", "mine\n")
    world.restore("(loose files)", paths=["."], overwrite=True)
    assert (world.repos / "notes.txt").read_text() != "mine\n"
    assert {"isurus", "notes.txt", "plain"} <= set(os.listdir(world.repos))


@pytest.mark.parametrize("filename", [None, b"main.c", 7])
def test_paths_that_cannot_be_put_back_are_named(world: BackupHome, monkeypatch: pytest.MonkeyPatch, filename: bytes | int | None) -> None:
    """If a failed restore cannot be taken back either, the error says which path that is, and where its previous contents are.

    The system's error may name a file relative to an open directory, or only a descriptor.
    """
    world.write("plain/src/main.c", "mine\n")
    (world.repos / "plain/run").unlink()
    exchange = path_replacer.rename_exchange
    calls: list[bytes] = []

    def fail(one_fd: int, one: bytes, other_fd: int, other: bytes) -> None:
        calls.append(other)
        if len(calls) > 1:
            raise OSError(5, "Input/output error", filename)
        exchange(one_fd, one, other_fd, other)

    (world.repos / "plain/also-run").write_text("mine\n")
    monkeypatch.setattr(path_replacer, "rename_exchange", fail)
    with pytest.raises(RepomanError, match="cannot be moved into place") as caught:
        world.restore("plain", paths=["src/main.c", "also-run"], overwrite=True)
    (saved,) = world.repos.glob("plain.before-*")
    assert (saved / "src/main.c").read_text() == "mine\n"
    answer = f"{world.repos}/plain/src/main.c cannot be put back: Input/output error; the previous contents are in {saved}."
    assert any(answer in hint for hint in caught.value.hints)


@pytest.mark.parametrize("number", [22, 38])
def test_where_names_cannot_be_exchanged_they_are_moved(world: BackupHome, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Where a file system cannot exchange names, they are moved one after the other; a failure puts them back."""

    class Libc:
        def renameat2(self, *_arguments: object) -> int:
            return -1

    monkeypatch.setattr(renaming.ctypes, "CDLL", lambda *_arguments, **_more: Libc())
    monkeypatch.setattr(renaming.ctypes, "get_errno", lambda: number)
    world.write("plain/src/main.c", "mine\n")
    for params in ({}, {"paths": ["src"]}):
        world.write("plain/src/main.c", "mine\n")
        saved = world.restore("plain", overwrite=True, **params)["restored"]["saved"]
        assert (Path(saved) / "src/main.c").read_text() == "mine\n"
        assert (world.repos / "plain/src/main.c").read_text() == "text\n"
        shutil.rmtree(saved)
    assert sorted(os.listdir(world.repos)) == ["isurus", "notes.txt", "plain"]
    with pytest.raises(FileExistsError):
        renaming.rename_new(-100, os.fsencode(world.repos / "plain"), -100, os.fsencode(world.repos / "isurus"))


def test_what_a_restore_saved_may_be_deleted(world: BackupHome) -> None:
    """What a restore saved is backed up as all else, and may be deleted without a word: its mirror goes to what is kept."""
    world.write("isurus/README.md", "a line that the backup has not\n")
    saved = Path(world.restore("isurus", overwrite=True)["restored"]["saved"])
    assert world.sync()["changed"]
    assert (world.backup / saved.name / "README.md").read_text() == "a line that the backup has not\n"
    shutil.rmtree(saved)
    verified = world.sync(verify=True)
    assert "failed" not in verified
    assert {line["action"] for line in verified["units"]} == {"same"}
    predicted, done = world.sync(check=True), world.sync()
    assert "failed" not in done
    assert not (world.backup / saved.name).exists()
    assert [line["action"] for line in done["units"] if line["name"] == saved.name] == ["retired"]
    assert [line["action"] for line in predicted["units"]] == [line["action"] for line in done["units"]]
    assert list(world.backup.glob(f".repoman/kept/*/{saved.name}/README.md"))
    assert not world.sync()["changed"]
