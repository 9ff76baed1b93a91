# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command line as a table: what was typed, and the playbook, the text or the error that comes of it."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from repoman import cli, playbook, shell
from repoman.cli.command import make_playbook
from repoman.cli.parser import parse
from repoman.cli.verbs import VERBS
from repoman.errors import CliError, escape_control_characters
from repoman.playbook import Playbook, PlaybookResult

SOURCES = Path(cli.__file__).parents[2]
GOLDEN = Path(__file__).parents[1] / "golden"

PLAYBOOKS = [
    ("list", Playbook("list")),
    ("-C list", Playbook("list", check=True)),
    ("list --check --diff", Playbook("list", check=True, diff=True)),
    ("-v list -vv", Playbook("list", verbosity=3)),
    ("--json -i a list -i b -l web", Playbook("list", json=True, inventory=("a", "b"), limit="web")),
    ("-ia list", Playbook("list", inventory=("a",))),
    ("list -i a --forks 20", Playbook("list", inventory=("a",), forks=20)),
    ("status", Playbook("status")),
    ("status a b", Playbook("status", {"repoman_project_names": ["a", "b"]})),
    ("setup", Playbook("setup")),
    ("setup --non-interactive", Playbook("setup")),
    ("new isurus", Playbook("new", {"repoman_projects": [{"name": "isurus"}]})),
    (
        "new isurus --repo a/b --image images:x --profile default --profile p --no-backup",
        Playbook(
            "new",
            {"repoman_projects": [{"name": "isurus", "repo": "a/b", "image": "images:x", "profiles": ["default", "p"], "backup": False}]},
        ),
    ),
    ("new --no-backup isurus", Playbook("new", {"repoman_projects": [{"name": "isurus", "backup": False}]})),
    ("remove a --yes b", Playbook("remove", {"repoman_projects": [{"name": "a"}, {"name": "b"}]})),
    ("shell isurus", Playbook("shell", {"repoman_project_name": "isurus"})),
    ("shell isurus -- ls -l -- x", Playbook("shell", {"repoman_project_name": "isurus"})),
    (
        "-i hosts restore a --to ~/x",
        Playbook("restore", {"repoman_restore_name": "a", "repoman_restore_to": "~/x"}, inventory=("hosts",)),
    ),
    ("-l nas1 restore a --to /x", Playbook("restore", {"repoman_restore_name": "a", "repoman_restore_to": "/x"}, limit="nas1")),
    ("sync --list-versions a", Playbook("sync", {"repoman_sync_list_versions": "a"})),
    ("sync --list-kept a", Playbook("sync", {"repoman_sync_list_versions": "a"})),
    ("profile list", Playbook("profile_list")),
    ("profile -v list", Playbook("profile_list", verbosity=1)),
    ("profile install a b", Playbook("profile_install", {"repoman_profile_names": ["a", "b"]})),
    ("profile install --all -C", Playbook("profile_install", {"repoman_profile_all": True}, check=True)),
    ("profile diff a", Playbook("profile_diff", {"repoman_profile_names": ["a"], "repoman_vendor_diff": False})),
    ("profile diff --vendor a", Playbook("profile_diff", {"repoman_profile_names": ["a"], "repoman_vendor_diff": True})),
    ("profile remove a", Playbook("profile_remove", {"repoman_profile_names": ["a"]})),
    ("profile show a", Playbook("profile_show", {"repoman_profile_names": ["a"]})),
]

ERRORS = [
    ("", "no verb was given.", ["repoman --help"]),
    ("-v", "no verb was given.", ["repoman --help"]),
    ("lst", "there is no verb 'lst'.", ["did you mean 'list'?", "repoman --help"]),
    ("list --forks 0", "--forks must be 1 or more.", ["repoman list --help"]),
    ("sync --jobs 0", "--jobs must be 1 or more.", ["repoman sync --help"]),
    ("restore a --overwrite --to=", "--to must not be empty.", ["repoman restore --help"]),
    (
        "-i hosts restore a --to sub/x",
        "--to sub/x is a relative path, but -i and -l need an absolute one.",
        ["--to ~/sub/x   is below the home directory on that host"],
    ),
    ("list -i=", "--inventory must not be empty.", ["repoman list --help"]),
    ("new a --image=", "--image must not be empty.", ["repoman new --help"]),
    ("zzz", "there is no verb 'zzz'.", ["repoman --help"]),
    ("profile", "profile needs a verb: list, install, diff, remove or show.", ["repoman profile --help"]),
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
    ("shell x ls", "a command goes after '--': 'ls' is one argument too many.", ["repoman shell NAME -- ls"]),
    ("setup --with-llm", "setup no longer has --with-llm: profiles are installed separately.", ["repoman profile install llm-share"]),
    (
        "setup --without-llm",
        "setup no longer has --without-llm: profiles are installed separately.",
        ["repoman profile install llm-share"],
    ),
    ("--json zzz", "there is no verb 'zzz'.", ["repoman --help"]),
    ("shell x --json", "shell has no --json: its output is that of the command.", ["repoman list --json"]),
    ("shell -i inventory x", "shell works on this host only.", ["ssh to that host, then: repoman shell x"]),
    ("-l web shell x", "shell works on this host only.", ["ssh to that host, then: repoman shell x"]),
]


@pytest.fixture
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the terminal away."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))


class Runs:
    """Stands in for ansible: keeps the playbooks that were run, and how."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, outcome: PlaybookResult) -> None:
        self.seen: list[tuple[str, Playbook]] = []

        def run(book: Playbook, brief: bool = False) -> PlaybookResult:
            self.seen.append(("brief" if brief else "run", book))
            return outcome

        def preview(book: Playbook) -> PlaybookResult:
            self.seen.append(("preview", book))
            return outcome

        monkeypatch.setattr(Playbook, "run", run)
        monkeypatch.setattr(Playbook, "preview", preview)


def answering(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Give the command a terminal where somebody types ``text``."""
    terminal = io.StringIO(text)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)


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
        ("new", "which project? repoman new NAME"),
        ("profile show", "which profile? repoman profile show NAME"),
        ("remove", "which project? repoman remove NAME…"),
        ("shell", "which project? repoman shell NAME"),
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
    assert text == (GOLDEN / f"{words.replace(' ', '_') or 'repoman'}.txt").read_text(encoding="utf-8")


def test_a_home_that_cannot_be_written_is_no_traceback() -> None:
    """Ansible wants a directory there before anything else; another will do."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")} | {"HOME": "/proc/nowhere"}
    done = subprocess.run([sys.executable, "-m", "repoman", "list"], env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        "repoman: error: there is no registry at /proc/nowhere/.config/repoman/repoman.toml.",
        "hint: repoman setup",
    ]


def test_help_and_errors_do_not_import_ansible() -> None:
    """They are to be instant."""
    code = "import sys\nfrom repoman.cli import main\nmain(['--help']), main(['lst'])\nassert not [name for name in sys.modules if name.startswith('ansible')]"
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


def test_arguments_of_ansible() -> None:
    """Variables are one JSON object; options are passed on; an inventory or a limit means its hosts."""
    book = Playbook("new", {"repoman_projects": [{"name": "a b'\"$x", "backup": False}]}, check=True, diff=True, verbosity=2)
    assert book.arguments() == [
        "ansible-playbook",
        "homelab.repoman.new",
        f"--extra-vars={json.dumps(book.variables)}",
        "--check",
        "--diff",
        "-vv",
    ]
    assert Playbook("list").arguments() == ["ansible-playbook", "homelab.repoman.list"]
    assert Playbook("list", inventory=("-x", "b"), limit="-y", forks=2).arguments() == [
        "ansible-playbook",
        "homelab.repoman.list",
        '--extra-vars={"repoman_hosts": "all"}',
        "--inventory=-x",
        "--inventory=b",
        "--limit=-y",
        "--forks=2",
    ]


def test_what_was_typed_is_no_template() -> None:
    """Braces in a value are its own."""
    assert playbook.mark_unsafe({"a": ["{{ 1 }}", "b", True, None]}) == {"a": [{"__ansible_unsafe": "{{ 1 }}"}, "b", True, None]}


def test_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration is the user's, or none: never that of the current directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ansible.cfg").write_text("[defaults]\ncallback_plugins=evil\n", encoding="utf-8")
    settings = Playbook("list").environment({})
    assert settings["ANSIBLE_CONFIG"] in ("/etc/ansible/ansible.cfg", str(playbook.OWN_CONFIG))
    assert settings["ANSIBLE_STDOUT_CALLBACK"] == "homelab.repoman.report"
    assert settings["ANSIBLE_BECOME"] == "0"
    (tmp_path / ".ansible.cfg").touch()
    assert Playbook("list").environment({})["ANSIBLE_CONFIG"] == str(tmp_path / ".ansible.cfg")
    assert "ANSIBLE_CONFIG" not in Playbook("list").environment({"ANSIBLE_CONFIG": "mine"})
    assert "ANSIBLE_BECOME" not in Playbook("list", limit="web").environment({})
    assert Playbook("list", json=True).environment({})["REPOMAN_FORMAT"] == "json"


ASKED = [
    ("setup", "y\n", PlaybookResult(0, True), ["preview", "brief"], 0, "[Y/n]"),
    ("setup", "\n", PlaybookResult(0, True), ["preview", "brief"], 0, "[Y/n]"),
    ("setup", "n\n", PlaybookResult(0, True), ["preview"], 1, "[Y/n]"),
    ("setup", "", PlaybookResult(0, True), ["preview"], 1, "[Y/n]"),
    ("setup", "", PlaybookResult(0, False), ["preview"], 0, ""),
    ("setup", "", PlaybookResult(3, False), ["preview"], 3, ""),
    ("setup --check", "", PlaybookResult(0, True), ["run"], 0, ""),
    ("setup --non-interactive", "", PlaybookResult(0, True), ["run"], 0, ""),
    ("setup --json", "", PlaybookResult(0, True), ["run"], 0, ""),
    ("remove a b", "yes\n", PlaybookResult(0, True), ["preview", "brief"], 0, "[y/N]"),
    ("remove a", "\n", PlaybookResult(0, True), ["preview"], 1, "[y/N]"),
    ("remove a", "", PlaybookResult(3, True), ["preview"], 3, ""),
    ("remove a --yes", "", PlaybookResult(0, True), ["run"], 0, ""),
    ("remove a --check", "", PlaybookResult(0, True), ["run"], 0, ""),
    ("remove a", "", PlaybookResult(130, True), ["preview"], 130, ""),
    ("-i hosts setup", "\n", PlaybookResult(3, True), ["preview", "brief"], 3, "[Y/n]"),
    ("-i hosts setup", "n\n", PlaybookResult(3, True), ["preview"], 1, "[Y/n]"),
    ("-i hosts setup", "", PlaybookResult(3, False), ["preview"], 3, ""),
    ("-l nas* remove a", "y\n", PlaybookResult(3, True), ["preview", "brief"], 3, "[y/N]"),
    ("-l nas* remove a", "", PlaybookResult(130, True), ["preview"], 130, ""),
]


@pytest.mark.parametrize(("line", "typed", "outcome", "runs", "code", "question"), ASKED)
def test_asking(
    line: str,
    typed: str,
    outcome: PlaybookResult,
    runs: list[str],
    code: int,
    question: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a terminal there is one question, after a preview, if there is anything to do."""
    answering(monkeypatch, typed)
    ran = Runs(monkeypatch, outcome)
    assert cli.main(line.split()) == code
    assert [how for how, _book in ran.seen] == runs
    said = capsys.readouterr()
    assert said.err.count("Proceed?") == bool(question)
    assert question in said.err
    assert (said.out == "nothing was changed\n") == (bool(question) and code == 1)


def test_nobody_to_ask(no_terminal: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With no terminal setup applies, and remove wants ``--yes``."""
    ran = Runs(monkeypatch, PlaybookResult(0, True))
    assert cli.main(["setup"]) == 0
    assert cli.main(["remove", "a"]) == 2
    assert "hint: add --yes to remove without a question" in capsys.readouterr().err
    assert cli.main(["remove", "a", "--yes"]) == 0
    assert [how for how, _book in ran.seen] == ["run", "run"]


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C is a sentence and 130; with ``--json`` also a document."""

    def interrupt(book: Playbook, brief: bool = False) -> PlaybookResult:
        raise KeyboardInterrupt

    monkeypatch.setattr(Playbook, "run", interrupt)
    assert cli.main(["list", "--json"]) == 130
    said = capsys.readouterr()
    assert said.err == "repoman: error: interrupted.\n"
    assert json.loads(said.out) == {"verb": "list", "changed": False, "exit_code": 130, "failed": True, "msg": "interrupted.", "hints": []}


RESULT: dict[str, Any] = {
    "projects": [{"name": "isurus", "incus_project": "repoman", "repo": "/home/me/repos/a b", "environment": ["A", "HOME", "B"]}],
    "account": {"name": "me", "shell": "/bin/zsh"},
    "socket": "/run/s",
}


def test_command_line_of_shell() -> None:
    """``-c`` stands after the user's name, arguments are passed as they are."""
    line = shell.command_line(RESULT, ["a b", "$x"], terminal=False, term="xterm")
    assert line == [
        *("incus", "exec", "--force-local", "--project", "repoman", "isurus", "-T", "--env", "TERM=xterm", "--"),
        *("/bin/sh", "-c", shell.ENTER_SCRIPT, "repoman-shell", "A B", "me"),
        *(shell.LOGIN_SCRIPT, "repoman-shell", "/home/me/repos/a b", "/bin/zsh", "a b", "$x"),
    ]
    assert shell.command_line(RESULT, [], terminal=True, term="")[6:8] == ["-t", "--"]


def inside(repo: Path, login_shell: str, *command: str) -> subprocess.CompletedProcess[bytes]:
    """Run the script of ``shell`` as it runs in a container."""
    return subprocess.run(
        ["/bin/sh", "-c", f"exec 9</dev/null\n{shell.LOGIN_SCRIPT}", "repoman-shell", str(repo), login_shell, *command],
        capture_output=True,
        check=False,
    )


def test_script_of_shell(tmp_path: Path) -> None:
    """It runs the command in the repository, with its bytes and its exit status; a shell that is not there is replaced."""
    repo = tmp_path / "-a b"
    repo.mkdir()
    done = inside(
        repo, "/nonexistent/zsh", "sh", "-c", 'printf "%s|" "$PWD" "$SHELL" "$@"; exit 7', "sh", "a  b", "", "$(id)\n", "caf\udce9"
    )
    assert done.returncode == 7
    assert done.stdout == f"{repo}|/bin/sh|a  b||$(id)\n|caf".encode() + b"\xe9|"
    login = tmp_path / "login"
    login.write_text('#!/bin/sh\necho "login $* in $PWD as $SHELL"\n', encoding="utf-8")
    login.chmod(0o755)
    assert inside(repo, str(login)).stdout.decode() == f"login -l in {repo} as {login}\n"
    assert inside(tmp_path / "gone", "/bin/sh", "true").returncode == 1


@pytest.mark.parametrize("command", [["printf", "%s|", "caf\udce9", "", "a  b\n", "-n", "\\0101", "é%s"], ["printf", "x\udcff"]])
def test_bytes_that_are_not_text(tmp_path: Path, command: list[str]) -> None:
    """What goes through Incus's JSON is UTF-8, and the command gets its bytes all the same."""
    line = shell.encode_arguments(command)
    "".join(line).encode()
    wanted = subprocess.run(command, capture_output=True, check=True).stdout
    assert inside(tmp_path, "/bin/sh", *line).stdout == wanted
    assert shell.encode_arguments(["a", "é"]) == ["a", "é"]


def test_shell_becomes_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """It replaces this process, with the socket of the result; in check mode, or after a failure, it does not."""
    became: list[tuple[Any, ...]] = []
    entered: Callable[..., None] = lambda result, command: became.append((result, command))  # noqa: E731
    monkeypatch.setattr(shell, "exec_shell", entered)
    monkeypatch.setitem(sys.modules, "repoman.engine", type(sys)("engine"))
    monkeypatch.setattr(sys.modules["repoman.engine"], "cleanup", lambda: None, raising=False)
    monkeypatch.setattr("repoman.engine", sys.modules["repoman.engine"], raising=False)
    Runs(monkeypatch, PlaybookResult(0, results=[RESULT]))
    cli.main(["shell", "isurus", "--check"])
    assert became == []
    cli.main(["shell", "isurus", "--", "ls"])
    assert became == [(RESULT, ["ls"])]
    Runs(monkeypatch, PlaybookResult(3))
    assert cli.main(["shell", "isurus"]) == 3


def test_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the ``incus`` client there is no way in."""
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(CliError, match="incus client is not installed") as caught:
        shell.exec_shell(RESULT, [])
    assert caught.value.hints == ["sudo apt install incus-client"]


def test_escape_control_characters() -> None:
    """Nothing that a terminal would obey is printed."""
    assert escape_control_characters("a\x1b[31m\n\u202eé\udce9") == "a\\x1b[31m\\n\\u202eé\\udce9"


def test_playbooks_are_values() -> None:
    """Two playbooks that say the same are equal; one can be made of another."""
    assert replace(Playbook("list"), check=True) == Playbook("list", check=True)


def command(home: Path, *line: str, stdin: int = subprocess.DEVNULL, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own, ansible and all, in ``home``, where there is no Incus."""
    paths = f"{SOURCES}:{playbook.collection_root()}"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": paths,
        "INCUS_SOCKET": str(home / "none"),
        "LANG": "C.UTF-8",
    }
    return subprocess.run(
        [sys.executable, "-m", "repoman", *line], stdin=stdin, capture_output=True, text=True, check=False, cwd=home, env=environment | more
    )


@pytest.mark.parametrize("locale", ["C.UTF-8", "C", "xx_YY.UTF-8"])
def test_whole_run(tmp_path: Path, locale: str) -> None:
    """A playbook runs in this process, whatever the locale; the current directory's ansible.cfg and plugins are not used."""
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", encoding="utf-8")
    (tmp_path / "ansible.cfg").write_text("[defaults]\ncallback_plugins=./evil\nstdout_callback=minimal\n", encoding="utf-8")
    tmp_path.chmod(0o777)
    done = command(tmp_path, "list", LC_ALL=locale)
    said = f"repoman: error: there is no registry at {tmp_path}/.config/repoman/repoman.toml.\nhint: repoman setup\n"
    assert (done.returncode, done.stdout, done.stderr) == (3, "", said)
    assert not (tmp_path / "ran").exists()


def test_no_host_matches(tmp_path: Path) -> None:
    """What ansible refuses is a sentence, not a traceback."""
    (tmp_path / "hosts").write_text("a\n", encoding="utf-8")
    done = command(tmp_path, "-i", "hosts", "-l", "b", "list")
    assert done.returncode == 1
    assert "repoman: error: Specified inventory, host pattern and/or --limit leaves us with no hosts to target." in done.stderr
    assert "Traceback" not in done.stderr


def test_no_process_for_a_task(tmp_path: Path) -> None:
    """A task that could not be begun is a failure with its reason; ansible would leave it out and end well."""
    (tmp_path / "sitecustomize.py").write_text(
        "import errno, os\ndef fork():\n    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))\nos.fork = fork\n",
        encoding="utf-8",
    )
    done = command(tmp_path, "list", PYTHONPATH=f"{tmp_path}:{SOURCES}:{playbook.collection_root()}")
    said = "repoman: error: ansible could not start a process for its next task: Resource temporarily unavailable.\n"
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{said}hint: ulimit -a   shows the limits of this session; try again when the machine is less busy\n"


def test_no_library(tmp_path: Path) -> None:
    """What a library is missing for is told before anything is tried, in this process too."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['tomlkit'] = None\n", encoding="utf-8")
    done = command(tmp_path, "setup", PYTHONPATH=f"{tmp_path}:{SOURCES}:{playbook.collection_root()}")
    assert (done.returncode, done.stdout) == (1, "")
    first, *hints = done.stderr.splitlines()
    assert first == f"repoman: error: {sys.executable} has no tomlkit, which repoman needs."
    assert f"hint: {sys.executable} -m pip install tomlkit" in hints


def test_no_shared_memory(tmp_path: Path) -> None:
    """Where the user may not write to shared memory, the hint says how it is opened."""
    (tmp_path / "sitecustomize.py").write_text(
        "import _multiprocessing\n"
        "class SemLock:\n"
        "    SEM_VALUE_MAX = 1\n"
        "    def __init__(self, *_arguments):\n"
        "        raise PermissionError(13, 'Permission denied')\n"
        "_multiprocessing.SemLock = SemLock\n",
        encoding="utf-8",
    )
    done = command(tmp_path, "list", PYTHONPATH=f"{tmp_path}:{SOURCES}:{playbook.collection_root()}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("hint: ls -ld /dev/shm   should say drwxrwxrwt; if it does not: sudo chmod 1777 /dev/shm\n")


def test_preview_that_fails(tmp_path: Path, short_dir: Path) -> None:
    """On a terminal it is told once, and nothing is asked, nor left behind."""
    outer, inner = pty.openpty()
    try:
        done = command(tmp_path, "setup", stdin=inner, TMPDIR=str(short_dir))
    finally:
        os.close(outer)
        os.close(inner)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("repoman: error:") == 1
    assert f"there is no incus socket at {tmp_path}/none." in done.stderr
    assert list(short_dir.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_waits_for_the_worker(number: int) -> None:
    """The interrupt arrives when the last process that was begun inside is gone; echoes of it count once."""
    from repoman import engine

    with engine._restored_signal_handlers():
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt), engine.InterruptHandler(local_only=True):
            child = os.fork()
            if not child:
                for each in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(each, signal.SIG_IGN)
                time.sleep(0.7)
                os._exit(0)
            try:
                os.kill(os.getpid(), number)
            finally:
                os.kill(os.getpid(), number)
        assert time.monotonic() - began >= 0.6
        os.waitpid(child, 0)


def test_second_interrupt_ends_the_waiting() -> None:
    """Whoever insists is let go."""
    from repoman import engine

    with engine._restored_signal_handlers():
        interrupts = engine.InterruptHandler(local_only=True)
        reading, writing = os.pipe()
        with pytest.raises(KeyboardInterrupt), interrupts:
            child = os.fork()
            if not child:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                os.read(reading, 1)
                time.sleep(engine.SIGNAL_DEBOUNCE_SECONDS + 0.1)
                os.kill(os.getppid(), signal.SIGINT)
                time.sleep(300)
                os._exit(0)
            try:
                os.kill(os.getpid(), signal.SIGINT)
            finally:
                os.write(writing, b"x")  # the first was noticed
        assert interrupts.count == 2
        assert os.waitpid(child, os.WNOHANG) == (0, 0)  # it was not waited for
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
