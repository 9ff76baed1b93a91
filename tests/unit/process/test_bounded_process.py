# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What git prints of a repository that was made to make it print costs no memory."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror import fixtures
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git import run_git as git_runner
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.run_git import git_environment, run_git
from ansible_collections.homelab.repoman.plugins.module_utils.process import bounded as bounded_process
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git import formats as git_formats
from mirroring import git, run

MIB = 1 << 20


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Let this process have 200 MiB more than it has now."""
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 200 * MIB, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def repository(where: Path) -> Path:
    """Make a repository with one commit."""
    run("git", "init", "-q", str(where))
    (where / "f").write_text("text")
    git(where, "add", ".")
    git(where, "commit", "-q", "-m", "one")
    return where


def test_a_configuration_that_is_printed_a_thousand_times_as_long(little_memory: None) -> None:
    """git prints a section's name with each setting: 1 MiB of configuration becomes 400 MiB."""
    config = b'[core]\nrepositoryformatversion = 1\n[a "' + b"x" * MIB + b'"]\n' + b"k\n" * 400 + b"[extensions]\nobjectformat = sha1\n"
    assert git_formats.read_format(config) == {"core.repositoryformatversion": "1", "extensions.objectformat": "sha1"}


def test_a_configuration_with_more_extensions_than_any_has() -> None:
    """It is not kept."""
    config = b"[extensions]\n" + b"".join(b"e%d = 1\n" % number for number in range(5000))
    assert git_formats.read_format(config) is None
    assert git_formats.read_format(b"[extensions]\n" + b"e = 1\n" * 5000) == {"extensions.e": "1"}
    assert git_formats.read_format(b"[extensions\n") is None


def index_of_missing_objects(where: Path, count: int, name: str) -> None:
    """Let the index name objects that are not there."""
    lines = "".join(f"100644 {number:040x}\t{name}{number}\n" for number in range(1, count + 1))
    (where / "list").write_text(lines)
    run("sh", "-c", "git update-index --index-info < list", cwd=where)


def test_more_missing_objects_than_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """git names all of them; some are remembered, and the first ones are told."""
    monkeypatch.setattr(git_runner, "MAX_NAMED", 1000)
    where = repository(tmp_path / "r")
    index_of_missing_objects(where, 3 * git_runner.MAX_NAMED, "d/f")
    missing: set[str] = set()
    environment = git_environment(str(where / ".git"))
    problem = run_git(["fsck", "--connectivity-only"], environment, None, str(where), missing)
    assert "missing blob" in problem or "invalid" in problem
    assert len(problem) < 1000
    assert len(missing) == git_runner.MAX_NAMED
    assert all(int(each, 16) <= 3 * git_runner.MAX_NAMED for each in missing)


def test_objects_of_an_odd_form_do_not_hide_one_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first of them are remembered, and all that follows is still heard."""
    monkeypatch.setattr(git_runner, "MAX_NAMED", 3)
    where = repository(tmp_path / "r")
    tree = git(where, "rev-parse", "HEAD^{tree}").strip()
    for number in range(6):
        text = f"tree {tree}\nauthor a<a@example.org> {number} +0000\ncommitter a <a@example.org> 0 +0000\n\nodd\n"
        (where / "odd").write_text(text)
        made = run("git", "hash-object", "-t", "commit", "--literally", "-w", "odd", cwd=where).strip()
        (where / f".git/refs/heads/odd{number}").write_text(made + "\n")
    excused: list[bytes] = []
    environment = git_environment(str(where / ".git"))
    assert run_git(["fsck", "--full"], environment, None, str(where), excused=excused) == ""
    assert len(excused) == 3
    blob = git(where, "rev-parse", "HEAD:f").strip()
    (where / f".git/objects/{blob[:2]}/{blob[2:]}").unlink()
    assert "missing blob" in run_git(["fsck", "--full"], environment, None, str(where), excused=[])


def test_an_index_with_more_names_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether an index names something in a directory is known with the first name."""
    where = repository(tmp_path / "r")
    index_of_missing_objects(where, 20_000, "bare.git/" + "x" * 200 + "/")
    heard: list[bytes] = []
    found = fixtures._found
    monkeypatch.setattr(fixtures, "_found", lambda path: (heard.append(path), found(path)))
    top = os.open(where, os.O_PATH)
    try:
        assert fixtures._in_index(top, b".git", b".git", b"bare.git", str(tmp_path / "scratch"), None)
        assert not fixtures._in_index(top, b".git", b".git", b"other.git", str(tmp_path / "scratch"), None)
    finally:
        os.close(top)
    assert len(heard) == 1


def test_a_program_that_says_one_endless_line(little_memory: None) -> None:
    """Its beginning is heard."""
    lines: list[bytes] = []
    program = "import sys\nfor _each in range(400): sys.stdout.write('x' * (1 << 20))\nsys.stdout.write('\\nend')"
    code = bounded_process.run_lines([sys.executable, "-c", program], env={}, seconds=600, out=lines.append)
    assert code == 0
    assert lines == [b"x" * bounded_process.LINE_BYTES, b"end"]


def test_a_program_that_does_not_end_is_ended() -> None:
    """Silent or not, also once it has closed its output."""
    for program in ("sleep 1000", "yes", "exec sleep 1000 >&- 2>&-"):
        with pytest.raises(TimeoutError):
            bounded_process.run_lines(["sh", "-c", program], env={"PATH": os.defpath}, seconds=0.3, out=lambda _line: None)


def test_output_and_errors_are_told_apart() -> None:
    """Each goes where it is wanted, with its last line although that has no end."""
    out: list[bytes] = []
    err: list[bytes] = []
    code = bounded_process.run_lines(
        ["sh", "-c", "printf 'a\\nb'; printf 'c\\n\\nd' >&2; exit 3"], env={"PATH": os.defpath}, seconds=60, out=out.append, err=err.append
    )
    assert (code, out, err) == (3, [b"a", b"b"], [b"c", b"", b"d"])
