# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Command lines, and the playbooks, texts or errors they give."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from repoman import cli, playbook
from repoman.cli.command import make_playbook
from repoman.cli.parser import parse
from repoman.cli.verbs import VERBS
from repoman.errors import CliError, EarlyExit, escape_control_characters
from repoman.playbook import Playbook

SOURCES = Path(cli.__file__).parents[2]


GOLDEN = Path(__file__).parents[1] / "golden"


PLAYBOOKS = [
    ("list", Playbook("list")),
    ("-C list", Playbook("list", check=True)),
    ("list --check --diff", Playbook("list", check=True, diff=True)),
    ("-v list -vv", Playbook("list", verbosity=3)),
    ("--json -i a list -i b -l web", Playbook("list", json=True, inventory=("a", "b"), limit="web")),
    ("-q list", Playbook("list", quiet=True)),
    ("profile list --quiet", Playbook("profile_list", quiet=True)),
    ("-ia list", Playbook("list", inventory=("a",))),
    ("list -i a --forks 20", Playbook("list", inventory=("a",), forks=20)),
    ("status", Playbook("status")),
    ("status a b", Playbook("status", {"repoman_project_names": ["a", "b"]})),
    ("list --git --all-users", Playbook("list", {"repoman_all_users": True, "repoman_list_vcs": True})),
    ("status --all", Playbook("status")),
    ("doctor", Playbook("doctor")),
    ("setup", Playbook("setup")),
    ("setup --non-interactive", Playbook("setup")),
    ("setup --backup-root /nfs/repos/", Playbook("setup", {"repoman_backup_root": "/nfs/repos/"})),
    ("setup --backup-root ~/b", Playbook("setup", {"repoman_backup_root": "~/b"})),
    ("setup --backup-root b", Playbook("setup", {"repoman_backup_root": str(Path.cwd() / "b")})),
    ("-i hosts setup --backup-root /b", Playbook("setup", {"repoman_backup_root": "/b"}, inventory=("hosts",))),
    ("new isurus", Playbook("new", {"repoman_projects": [{"name": "isurus"}]})),
    (
        "new isurus --repo a/b --image images:x --profile default --profile p --no-backup",
        Playbook(
            "new",
            {
                "repoman_projects": [
                    {"name": "isurus", "repo": "a/b", "image": "images:x", "add_profiles": ["default", "p"], "backup": False}
                ]
            },
        ),
    ),
    ("new --no-backup isurus", Playbook("new", {"repoman_projects": [{"name": "isurus", "backup": False}]})),
    ("new isurus -p p --profile=q", Playbook("new", {"repoman_projects": [{"name": "isurus", "add_profiles": ["p", "q"]}]})),
    ("new a b a -p p", Playbook("new", {"repoman_projects": [{"name": "a", "add_profiles": ["p"]}, {"name": "b", "add_profiles": ["p"]}]})),
    ("-i hosts new --all", Playbook("new", {"repoman_all": True}, inventory=("hosts",))),
    ("start a b a", Playbook("start", {"repoman_projects": [{"name": "a"}, {"name": "b"}]})),
    ("stop --all", Playbook("stop", {"repoman_all": True})),
    ("-i hosts restart a -C", Playbook("restart", {"repoman_projects": [{"name": "a"}]}, check=True, inventory=("hosts",))),
    ("remove a --yes b", Playbook("remove", {"repoman_projects": [{"name": "a"}, {"name": "b"}]})),
    ("shell isurus", Playbook("shell", {"repoman_project_name": "isurus"})),
    ("shell isurus -- ls -l -- x", Playbook("shell", {"repoman_project_name": "isurus"})),
    (
        "-i hosts restore a --to ~/x",
        Playbook("restore", {"repoman_restore_name": "a", "repoman_restore_to": "~/x"}, inventory=("hosts",)),
    ),
    ("restore --settings", Playbook("restore", {"repoman_restore_settings": True})),
    ("restore --settings a", Playbook("restore", {"repoman_restore_name": "a", "repoman_restore_settings": True})),
    (
        "restore --all --settings --from 2026-11-24",
        Playbook("restore", {"repoman_restore_all": True, "repoman_restore_from": "2026-11-24", "repoman_restore_settings": True}),
    ),
    ("restore a b a --jobs 3", Playbook("restore", {"repoman_restore_names": ["a", "b"], "repoman_restore_jobs": 3})),
    ("restore a a", Playbook("restore", {"repoman_restore_name": "a"})),
    (
        "restore --all --from 2026-11-24 --overwrite",
        Playbook("restore", {"repoman_restore_all": True, "repoman_restore_from": "2026-11-24", "repoman_restore_overwrite": True}),
    ),
    ("-l nas1 restore a --to /x", Playbook("restore", {"repoman_restore_name": "a", "repoman_restore_to": "/x"}, limit="nas1")),
    ("sync --list-versions a", Playbook("sync", {"repoman_sync_list_versions": "a"})),
    ("sync a --take-over", Playbook("sync", {"repoman_sync_names": ["a"], "repoman_sync_take_over": True})),
    ("sync --list-kept a", Playbook("sync", {"repoman_sync_list_versions": "a"})),
    ("profile list", Playbook("profile_list")),
    ("profile -v list", Playbook("profile_list", verbosity=1)),
    ("profile install a b", Playbook("profile_install", {"repoman_profile_names": ["a", "b"]})),
    ("profile install --all -C", Playbook("profile_install", {"repoman_profile_all": True}, check=True)),
    ("profile install a --force", Playbook("profile_install", {"repoman_profile_names": ["a"], "repoman_profile_force": True})),
    ("profile diff a", Playbook("profile_diff", {"repoman_profile_names": ["a"], "repoman_vendor_diff": False})),
    ("profile diff --vendor a", Playbook("profile_diff", {"repoman_profile_names": ["a"], "repoman_vendor_diff": True})),
    ("profile remove a", Playbook("profile_remove", {"repoman_profile_names": ["a"]})),
    ("profile show a", Playbook("profile_show", {"repoman_profile_names": ["a"]})),
    ("profile show --raw a", Playbook("profile_show", {"repoman_profile_names": ["a"], "repoman_profile_raw": True})),
    ("profile copy a", Playbook("profile_copy", {"repoman_profile_names": ["a"]})),
    ("profile copy a b", Playbook("profile_copy", {"repoman_profile_names": ["a"], "repoman_profile_new_name": "b"})),
]


ERRORS = [
    ("", "no verb was given.", ["repoman --help"]),
    ("-v", "no verb was given.", ["repoman --help"]),
    ("lst", "there is no verb 'lst'.", ["did you mean 'list'?", "repoman --help"]),
    ("list --forks 0", "--forks must be 1 or more.", ["repoman list --help"]),
    ("sync --take-over --init", "--take-over cannot be combined with --init.", ["repoman sync --take-over"]),
    ("sync --verify --take-over", "--verify cannot be combined with --take-over.", ["repoman sync --help"]),
    ("sync --list-versions a --take-over", "--list-versions cannot be combined with --take-over.", ["repoman sync --help"]),
    ("sync --jobs 0", "--jobs must be 1 or more.", ["repoman sync --help"]),
    ("restore --settings --to /x", "--settings cannot be combined with --to.", ["repoman restore --help"]),
    ("restore --settings --objects", "--settings cannot be combined with --objects.", ["repoman restore --help"]),
    ("restore --settings --path x", "--settings cannot be combined with --path.", ["repoman restore --help"]),
    (
        "restore",
        "restore needs a NAME, or --all.",
        [
            "repoman restore NAME",
            "repoman restore --all   # everything that the backup has",
            "repoman restore --settings   # the registry, overrides and profile templates",
        ],
    ),
    ("restore a --all", "--all is everything; restore takes no names with it.", ["repoman restore --all"]),
    ("restore a b --path p", "--path is a path of one repository.", ["repoman restore NAME --path P   # one at a time"]),
    ("restore --all --path p", "--path is a path of one repository.", ["repoman restore NAME --path P   # one at a time"]),
    ("restore --all --objects --overwrite", "--objects cannot be combined with --overwrite.", ["repoman restore --help"]),
    ("restore a --overwrite --to=", "--to must not be empty.", ["repoman restore --help"]),
    (
        "-i hosts restore a --to sub/x",
        "--to sub/x is a relative path, but -i and -l need an absolute one.",
        ["--to ~/sub/x   is below the home directory on that host"],
    ),
    ("list -i=", "--inventory must not be empty.", ["repoman list --help"]),
    ("new a --image=", "--image must not be empty.", ["repoman new --help"]),
    ("zzz", "there is no verb 'zzz'.", ["repoman --help"]),
    ("profile", "profile needs a verb: list, install, diff, remove, show, copy or edit.", ["repoman profile --help"]),
    ("profile instal a", "there is no verb 'profile instal'.", ["did you mean 'profile install'?", "repoman profile --help"]),
    ("list --jsn", "repoman list has no option --jsn.", ["did you mean '--json'?", "repoman list --help"]),
    ("--jsn list", "repoman has no option --jsn.", ["did you mean '--json'?", "repoman --help"]),
    ("list x", "repoman list: 'x' is one argument too many.", ["repoman list --help"]),
    ("profile install", "which profile? Name some, or give --all.", ["repoman profile list", "repoman profile install --help"]),
    (
        "profile install --all a",
        "--all installs every profile; it takes no names.",
        ["repoman profile list", "repoman profile install --help"],
    ),
    ("profile show a b", "repoman profile show: 'b' is one argument too many.", ["repoman profile show --help"]),
    ("status a --all", "--all shows every project; status takes no names with it.", ["repoman status --all"]),
    ("new a --all", "--all is every project; new takes no names with it.", ["repoman new --all"]),
    (
        "new --all --no-backup",
        "--all takes every project as it is configured, so it cannot be combined with --no-backup.",
        ["repoman new --help"],
    ),
    (
        "new a b --repo c",
        "--repo is the directory of one project, but several are named.",
        ["repoman new NAME --repo DIR   # one at a time"],
    ),
    ("start a --all", "--all is every container; start takes no names with it.", ["repoman start --all"]),
    (
        "-i hosts -l web stop",
        "which project? With -i and -l, the current directory does not say.",
        ["repoman -i hosts -l web list   # shows the names", "repoman stop --help"],
    ),
    (
        "-i hosts status ./isurus",
        "./isurus is a path on this host, but -i and -l work on others.",
        ["repoman -i hosts list   # shows the names"],
    ),
    ("-l web new a --repo ./b", "./b is a path on this host, but -i and -l work on others.", ["repoman -l web list   # shows the names"]),
    (
        "-i hosts setup --backup-root b",
        "b is a path on this host, but -i and -l work on others.",
        ["repoman setup --backup-root DIR   # an absolute path there"],
    ),
    ("setup --with-llm", "setup no longer has --with-llm: profiles are installed separately.", ["repoman profile install llm-share"]),
    (
        "setup --without-llm",
        "setup no longer has --without-llm: profiles are installed separately.",
        ["repoman profile install llm-share"],
    ),
    ("-q list -v", "-q and -v exclude each other.", ["repoman list --help"]),
    ("--json zzz", "there is no verb 'zzz'.", ["repoman --help"]),
    ("shell x --json", "shell has no --json: its output is that of the command.", ["repoman list --json"]),
    ("shell -i inventory x", "shell works on this host only.", ["ssh to that host, then: repoman shell x"]),
    ("-l web shell", "shell works on this host only.", ["ssh to that host, then: repoman shell NAME"]),
    ("-l web shell x", "shell works on this host only.", ["ssh to that host, then: repoman shell x"]),
]


SYNONYMS = [
    ("rm isurus", "remove isurus"),
    ("-C delete a b", "-C remove a b"),
    ("destroy -f isurus", "remove --help"),
    ("exec isurus -- ls -l 'a b'", "shell isurus -- ls -l 'a b'"),
    ("enter", "shell"),
    ("run isurus make", "shell isurus make"),
    ("attach isurus", "shell isurus"),
    ("up isurus", "new isurus"),
    ("create isurus", "new isurus"),
    ("launch isurus", "new isurus"),
    ("down isurus", "stop isurus"),
    ("ls", "list"),
    ("ps", "list"),
    ("--json backup", "--json sync"),
    ("push isurus", "sync isurus"),
    ("apply dotfiles", "profile install dotfiles"),
    ("-i profile profile -v rm dotfiles", "-i profile -v profile remove dotfiles"),
    ("profile ls", "profile list"),
]


@pytest.mark.parametrize(("line", "wanted"), SYNONYMS)
def test_verbs_of_other_tools(line: str, wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The first hint is the same command line with the verb that is meant, and can be pasted."""
    assert cli.main(shlex.split(line)) == 2
    hint = capsys.readouterr().err.splitlines()[1]
    assert hint == f"hint: repoman {wanted}"
    with suppress(EarlyExit):
        parse(shlex.split(wanted))


@pytest.mark.parametrize(
    ("line", "name", "command"),
    [
        ("shell isurus ls -l --json", "isurus", ["ls", "-l", "--json"]),
        ("-v shell isurus make test", "isurus", ["make", "test"]),
        ("shell -v isurus -v ls -v", "isurus", ["ls", "-v"]),
        ("shell isurus ls -- -x", "isurus", ["ls", "--", "-x"]),
        ("shell isurus -- ls -- x", "isurus", ["ls", "--", "x"]),
        ("shell -- make test", None, ["make", "test"]),
        ("shell --forks 3 isurus --help-me", "isurus", None),
        ("shell . make", ".", ["make"]),
        ("shell", None, []),
    ],
)
def test_command_of_shell(line: str, name: str | None, command: list[str] | None) -> None:
    """It begins with the word after the name, or after ``--``; options before it are repoman's."""
    if command is None:
        with pytest.raises(CliError, match="repoman shell has no option --help-me"):
            parse(line.split())
        return
    _verb, options = parse(line.split())
    assert (options.name, options.command, options.verbose) == (name, command, line.partition("ls -v")[0].count("-v"))


def test_json_of_a_command_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An option ``--json`` of the command does not make an error a JSON document."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli.main(["shell", "/", "ls", "--json"]) == 2
    assert not capsys.readouterr().out


@pytest.mark.parametrize(("line", "same"), [("help", "--help"), ("help new", "new --help"), ("help profile", "profile --help"),
                                            ("help profile install", "profile install --help"),
                                            ("help shell isurus ls", "shell --help"), ("version", "--version")])  # fmt: skip
def test_help_and_version_as_verbs(line: str, same: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They print what the options print."""
    assert cli.main(line.split()) == 0
    text = capsys.readouterr().out
    assert cli.main(same.split()) == 0
    assert text and text == capsys.readouterr().out


@pytest.mark.parametrize(("line", "wanted"), PLAYBOOKS, ids=[line for line, _wanted in PLAYBOOKS])
def test_line_becomes_playbook(line: str, wanted: Playbook) -> None:
    """Every line makes the playbook of the table."""
    assert make_playbook(*parse(line.split())) == wanted


@pytest.mark.parametrize(("line", "message", "hints"), ERRORS, ids=[line for line, _message, _hints in ERRORS])
def test_wrong_usage(line: str, message: str, hints: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage is one sentence, its hints, and exit code 2; nothing is run."""
    assert cli.main(line.split()) == 2
    said = capsys.readouterr()
    assert said.err.splitlines() == [f"repoman: error: {message}", *(f"hint: {hint}" for hint in hints)]
    assert [json.loads(said.out)[key] for key in ("msg", "exit_code")] == [message, 2] if "--json" in line else not said.out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("profile show", "which profile? repoman profile show NAME"),
        ("remove", "which project? repoman remove NAME…"),
        ("list -i", "--inventory needs a value."),
        ("new a --repo", "--repo needs a value."),
    ],
)
def test_missing_arguments(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing argument or value is named, with the help of the verb as the hint."""
    assert cli.main(line.split()) == 2
    first, *hints = capsys.readouterr().err.splitlines()
    assert first == f"repoman: error: {message}"
    assert hints == [f"hint: repoman {' '.join(word for word in line.split()[:2] if word.isalpha() and word != 'a')} --help"]


def test_command_is_taken_byte_for_byte() -> None:
    """What stands after ``--`` is not parsed, split or decoded."""
    command = ["sh", "-c", 'echo "$1"', "--json", "--", "", "caf\udce9", "-v"]
    _verb, options = parse(["shell", "-v", "x", "--", *command])
    assert options.command == command
    assert options.verbose == 1


def test_name_that_is_not_text_is_refused() -> None:
    """Bytes that are not UTF-8 are shown escaped, not passed on."""
    with pytest.raises(CliError, match=r"'caf\\udce9' is not UTF-8 text"):
        parse(["new", "caf\udce9"])


@pytest.mark.parametrize("words", ["", "profile", *(verb.words for verb in VERBS)])
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(words: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Help texts are as agreed, each with an example."""
    assert cli.main([*words.split(), option]) == 0
    text = capsys.readouterr().out
    assert "\nexample:\n  repoman " in text
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert text == (GOLDEN / f"{words.replace(' ', '_') or 'repoman'}.txt").read_text(encoding="utf-8")


def test_help_and_errors_do_not_import_ansible() -> None:
    """Nor what only ``shell`` needs: they appear at once."""
    code = """import sys
from repoman.cli import main
main(['--help']), main(['lst'])
assert not [name for name in sys.modules if name.startswith(('ansible', 'ctypes', 'hmac', 'repoman.shell'))]"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env={"PYTHONPATH": str(SOURCES)})


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is the collection's."""
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"repoman {playbook.version()}\n"


def test_no_collection(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A command without its collection says so."""
    monkeypatch.setattr(sys, "path", ["", "/nonexistent"])
    assert cli.main(["--version"]) == 1
    assert "is not installed next to this command" in capsys.readouterr().err


def test_escape_control_characters() -> None:
    """Nothing that a terminal would obey is printed."""
    assert escape_control_characters("a\x1b[31m\n\u202eé\udce9") == "a\\x1b[31m\\n\\u202eé\\udce9"
