# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks of the host: the registry, the directory of repositories, and programs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.doctor import context as doctor_context
from ansible_collections.homelab.repoman.plugins.module_utils.doctor import host_checks
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.check import Check, Status, run_checks
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.context import DoctorContext
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.host_checks import (
    check_address,
    check_git,
    check_hg,
    check_python,
    check_registry,
    check_repos_root,
)
from ansible_collections.homelab.repoman.plugins.module_utils.host.idmap import maps_ids
from ansible_collections.homelab.repoman.plugins.module_utils.process import python_probe
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandRunner
from ansible_collections.homelab.repoman.plugins.module_utils.vcs import hg

NOBODY = 65534
MakeContext = Callable[..., DoctorContext]


def result(check: Callable[[DoctorContext], Any], context: DoctorContext) -> dict[str, Any]:
    """Return the result of a check, with errors as failures."""
    return run_checks([Check("x", "x", check)], context)[0]


def test_registry(make_context: MakeContext) -> None:
    """A good one, a misspelled key, a broken override, a broken file."""
    entry = '[[project]]\nname = "demo"\nrepo = "demo"\n'
    context = make_context(entry)
    assert result(check_registry, context)["message"] == "registry ~/.config/repoman/repoman.toml, 1 project"
    misspelled = result(check_registry, make_context(f'[default]\nrepos_root = "~/x"\n{entry}'))
    assert misspelled["status"] == "warn" and "[default]" in misspelled["message"]
    assert misspelled["hints"] == [f"${{EDITOR:-vi}} {context.registry_path}"]
    override = Path(context.registry_path).parent / "repos.d/demo.toml"
    override.parent.mkdir()
    override.write_text("imag = 'x'\n", encoding="utf-8")
    broken = result(check_registry, make_context(entry))
    assert broken["status"] == "fail" and f"{override}, line 1" in broken["message"] and "did you mean 'image'?" in broken["hints"]
    unreadable = result(check_registry, make_context("nonsense\n"))
    assert unreadable["status"] == "fail" and "repoman.toml, line 3" in unreadable["message"]


def test_repos_root(make_context: MakeContext, me: Any) -> None:
    """Missing, a file, and in order."""
    repos = Path(me.home, "repos")
    missing = result(check_repos_root, make_context())
    assert missing["message"] == "there is no directory repos_root, ~/repos" and missing["hints"][0] == f"mkdir -p {repos}"
    repos.write_text("")
    assert result(check_repos_root, make_context())["message"] == "repos_root, ~/repos, cannot be read: Not a directory"
    repos.unlink()
    repos.mkdir()
    assert make_context().read_repos_root() == []
    expected = "ok" if maps_ids(str(repos)) else "warn"
    assert result(check_repos_root, make_context())["status"] == expected


@pytest.mark.parametrize(
    ("fstype", "status", "message"),
    [
        ("ext4", "ok", "repos_root ~/repos, whose file system can map IDs"),
        ("nfs4", "warn", "is on nfs4, which is not known to map ids"),
        ("zfs", "warn", "is on zfs, which maps ids in some versions only"),
        ("virtiofs", "warn", "is on virtiofs, which maps ids in some versions only"),
    ],
)
def test_file_system_of_repos_root(
    make_context: MakeContext, me: Any, monkeypatch: pytest.MonkeyPatch, fstype: str, status: str, message: str
) -> None:
    """One that is not known to map IDs is a warning, with another place as remedy."""
    Path(me.home, "repos").mkdir()
    monkeypatch.setattr("ansible_collections.homelab.repoman.plugins.module_utils.host.idmap.filesystem_of", lambda _path: fstype)
    outcome = result(check_repos_root, make_context())
    assert outcome["status"] == status and message in outcome["message"]
    assert ("another place: [defaults].repos_root in ~/.config/repoman/repoman.toml" in outcome["hints"]) == (status == "warn")


def test_repos_root_that_does_not_answer(make_context: MakeContext, me: Any, dead_mount: Callable[[Path], None]) -> None:
    """It is named, and nothing reads it; what needs it is not checked."""
    repos = Path(me.home, "repos")
    dead_mount(repos)
    context = make_context()
    outcome = result(check_repos_root, context)
    assert (outcome["status"], outcome["message"]) == (
        "fail",
        f"{repos} cannot be read: the file system mounted at {repos} does not answer",
    )
    assert outcome["hints"][0] == f"findmnt {repos}   # shows its server"
    with pytest.raises(doctor_context.MissingRequirementError):
        context.require_repos_root()


def test_repos_root_that_is_slow(make_context: MakeContext, me: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is about the directory, not about the program that reads it; the hint cannot hang on it."""
    Path(me.home, "repos").mkdir()
    monkeypatch.setattr(python_probe, "PROBE_TIMEOUT", 0.0)
    outcome = result(check_repos_root, make_context())
    assert outcome["message"] == "repos_root, ~/repos, cannot be read: it did not answer within 0 s"
    assert outcome["hints"] == ["findmnt -t nfs,nfs4,cifs   # is the server up?"]


def test_repository_that_does_not_answer(
    make_context: MakeContext, me: Any, dead_mount: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """repos_root is checked without it, and so are the Mercurial repositories."""
    repos = Path(me.home, "repos")
    (repos / "alive/.hg").mkdir(parents=True)
    dead_mount(repos / "far")
    context = make_context('[[project]]\nname = "far"\nrepo = "far"\n')
    assert result(check_repos_root, context)["status"] == ("ok" if maps_ids(str(repos)) else "warn")
    assert context.read_repos_root() == ["alive", "far"]
    monkeypatch.setattr(hg, "PATH", str(tmp_path))
    assert check_hg(context).message.endswith("; alive needs it")


def test_repos_root_of_another_user(make_context: MakeContext, short_dir: Path) -> None:
    """It must be writable; root looks with the eyes of the account."""
    context = make_context()
    uid = os.getuid() or NOBODY
    context.account = replace(context.account, uid=uid, gid=os.getgid() or NOBODY, home=str(short_dir))
    (short_dir / "repos").mkdir(mode=0o555)
    assert result(check_repos_root, context)["message"] == "repos_root, ~/repos, is not writable for you"


@pytest.mark.parametrize(
    ("registered", "detected", "status", "message"),
    [
        ("192.0.2.1", "192.0.2.1", "ok", "LAN address 192.0.2.1"),
        ("192.0.2.1", "192.0.2.2", "warn", "the LAN address in the registry is 192.0.2.1, but eth0 has 192.0.2.2"),
        ("", "192.0.2.2", "warn", "the registry has no LAN address, but eth0 has 192.0.2.2"),
        ("192.0.2.1", "", "ok", "LAN address 192.0.2.1 (neither br0 nor an IPv4 default route to compare with)"),
        ("", "", "ok", "no LAN address; only templates with ${HOST_LAN_IP} need one"),
    ],
)
def test_address(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch, registered: str, detected: str, status: str, message: str
) -> None:
    """Setup is the remedy for a difference; a host without an address is in order."""
    found = {"registry": registered, "detected": detected, "interface": "eth0" if detected else ""}
    matches = detected == registered if detected and registered else None
    monkeypatch.setattr(host_checks, "probe_address", lambda _registered: found | {"matches": matches})
    outcome = check_address(make_context(f'[host]\nlan_ip = "{registered}"\n'))
    assert (outcome.status, outcome.message, outcome.hints) == (status, message, ("repoman setup",) if status == "warn" else ())


def test_programs(make_context: MakeContext) -> None:
    """Those of this host, with their versions."""
    context = make_context()
    assert check_python(context).message.startswith("Python 3.")
    assert check_git(context).status == Status.OK and check_git(context).message.startswith("git 2.")
    assert check_hg(context).status == Status.OK and check_hg(context).message.startswith("Mercurial ")


def test_missing_programs(make_context: MakeContext, me: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """git is needed; Mercurial only if a repository uses it."""
    monkeypatch.setattr("ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.environment.PATH", str(tmp_path))
    monkeypatch.setattr(hg, "PATH", str(tmp_path))
    assert (check_git(make_context()).status, check_git(make_context()).hints) == (Status.FAIL, ("sudo apt install git",))
    repository = Path(me.home, "repos/demo/.hg")
    repository.parent.mkdir(parents=True)
    reason = f"there is no hg in {tmp_path}"
    assert check_hg(make_context()).message == f"Mercurial cannot be run, and no repository needs it: {reason}"
    repository.mkdir()
    Path(me.home, "repos/sub/inner/.hg").mkdir(parents=True)
    outcome = check_hg(make_context('[[project]]\nname = "inner"\nrepo = "sub/inner"\n'))
    assert (outcome.status, outcome.message) == (Status.FAIL, f"Mercurial cannot be run: {reason}; demo, inner need it")
    assert outcome.hints == ("sudo apt install mercurial",)
    (tmp_path / "hg").write_text("#!/bin/sh\nexec sleep 300\n")
    (tmp_path / "hg").chmod(0o755)
    monkeypatch.setattr(hg, "PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(CommandRunner.__init__, "__defaults__", (0.5,))
    assert "hg did not answer within 0.5 s" in check_hg(make_context()).message


@pytest.mark.parametrize(("version", "status"), [("5.9.3", "warn"), ("6.0", "ok"), ("6.9.4+ds", "ok"), ("unreadable", "warn")])
def test_version_of_mercurial(
    make_context: MakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, status: str
) -> None:
    """Earlier ones cannot be kept from reading a repository's settings."""
    program = tmp_path / "hg"
    program.write_text(f"#!/bin/sh\necho 'Mercurial Distributed SCM (version {version})'\n")
    program.chmod(0o755)
    monkeypatch.setattr(hg, "PATH", f"{tmp_path}:/usr/bin:/bin")
    assert check_hg(make_context()).status == status
