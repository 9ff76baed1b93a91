# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``profile edit`` with real editors: what is written, what is refused, and that no change of the user's is lost."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from command_environment import environment

MINE = "description: mine\nconfig: {}\ndevices: {}\n"
BROKEN = "descripton: x\n"


class Home:
    """A home, and editors that are shell scripts with the draft as ``$1``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.user_file = path / ".config/repoman/profiles.d/dotfiles.yml"
        self.editor = path / "editor"

    def write(self, text: str = MINE) -> Path:
        """Write the user's file."""
        self.user_file.parent.mkdir(parents=True, exist_ok=True)
        self.user_file.write_text(text)
        return self.user_file

    def script(self, text: str) -> dict[str, str]:
        """Make the editor; return the variable that names it, with an argument that has a blank."""
        self.editor.write_text(f"#!/bin/sh -e\n[ \"$1\" = 'a b' ] && shift\n{text}\n")
        self.editor.chmod(0o755)
        return {"EDITOR": f"{self.editor} 'a b'"}

    def command(self, *arguments: str) -> list[str]:
        """Return the command line."""
        return [sys.executable, "-m", "repoman", "profile", "edit", *(arguments or ("dotfiles",))]

    def edit(self, *arguments: str, code: int = 0, **variables: str) -> tuple[str, str]:
        """Run the command without a terminal; return both outputs."""
        done = subprocess.run(
            self.command(*arguments),
            env=environment(self.path) | variables,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, done
        assert "Traceback" not in done.stderr
        return done.stdout, done.stderr

    def on_terminal(self, typed: str, code: int, quick: float = 0, **variables: str) -> str:
        """Run the command on a terminal; return what it shows.

        :param quick: seconds within which an editor returns at once.
        """
        program = f"from repoman import cli, profile_edit; profile_edit.QUICK = {quick}; raise SystemExit(cli.main())"
        command = [sys.executable, "-c", program, *self.command()[3:]]
        done = subprocess.run(
            ["script", "--quiet", "--return", "--command", shlex.join(command), "/dev/null"],
            env=environment(self.path) | {"TERM": "dumb"} | variables,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done
        return done.stdout

    def drafts(self) -> list[Path]:
        """Return the drafts that are left."""
        return [path for path in (self.path / ".local/state/repoman/drafts").rglob("*") if path.is_file()]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return an empty home."""
    return Home(tmp_path)


def test_vendor_template_is_copied_only_if_changed(home: Home) -> None:
    """An editor that changes nothing leaves no file; with a change, the file is the user's, private, and compared with Incus."""
    out, err = home.edit(**home.script("true"))
    assert (out, err) == ("==> the vendor's template dotfiles is unchanged, so it was not copied\n", "")
    assert not home.user_file.exists() and home.drafts() == []
    out, err = home.edit("dotfiles", "--diff", **home.script('sed -i \'s/^description:.*/description: mine/\' "$1"; touch "$1~"'))
    assert "==> wrote ~/.config/repoman/profiles.d/dotfiles.yml\n" in out and "\n+description: mine\n" in out
    assert "warning: the change is saved, but was not compared with Incus: there is no incus socket" in err
    assert "description: mine" in home.user_file.read_text()
    assert stat.S_IMODE(home.user_file.stat().st_mode) == 0o600
    assert home.drafts() == []


def test_own_file_keeps_mode_and_link(home: Home) -> None:
    """VISUAL comes before EDITOR; a link stays one, its target keeps its mode, and the draft is private and has the template's name."""
    target = home.path / "library.yml"
    target.write_text(MINE)
    target.chmod(0o640)
    home.user_file.parent.mkdir(parents=True)
    home.user_file.symlink_to(target)
    see = f'stat -c "%a %n" "$1" "${{1%/*}}" >{home.path}/seen; echo "# more" >>"$1"'
    home.edit(VISUAL=home.script(see)["EDITOR"], EDITOR="false")
    (mode, draft), (directory_mode, _directory) = (line.split() for line in (home.path / "seen").read_text().splitlines())
    assert (mode, Path(draft).name, directory_mode) == ("600", "dotfiles.yml", "700")
    assert home.user_file.is_symlink() and target.read_text() == f"{MINE}# more\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    out, _err = home.edit(EDITOR="true", VISUAL=" ")
    assert out == "==> ~/.config/repoman/profiles.d/dotfiles.yml is unchanged\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (BROKEN, "unknown key descripton."),
        ("config: [\n", "line 2: "),
        ("", "is empty."),
        ("name: other\n", "its name is 'other', but the file is called dotfiles.yml."),
        ("description: caf\udce9\n", "not UTF-8 text."),
    ],
)
def test_invalid_draft_is_kept_without_a_terminal(home: Home, text: str, problem: str) -> None:
    """Exit 3 with the reason and the path of the draft; the user's file is untouched, and the hint puts the draft in place."""
    home.write()
    draft = home.path / "draft"
    draft.write_text(text, errors="surrogateescape")
    _out, err = home.edit(code=3, **home.script(f'cp {draft} "$1"'))
    first, *hints = err.splitlines()
    assert first.startswith("repoman: error: ") and problem in first
    assert home.user_file.read_text() == MINE
    assert hints[-2] == f"hint: your changes are in {home.drafts()[0]}"
    subprocess.run(["sh", "-c", hints[-1].removeprefix("hint: ")], check=True)
    assert home.user_file.read_bytes() == draft.read_bytes()


def test_hint_that_keeps_a_draft_follows_a_link(home: Home) -> None:
    """As the command does: the link stays, and its target gets the text."""
    target = home.path / "a b.yml"
    target.write_text(MINE)
    home.user_file.parent.mkdir(parents=True)
    home.user_file.symlink_to(target)
    _out, err = home.edit(code=3, **home.script(f"echo '{BROKEN}' >\"$1\""))
    subprocess.run(["sh", "-c", err.splitlines()[-1].removeprefix("hint: ")], check=True)
    assert home.user_file.is_symlink() and target.read_text() == f"{BROKEN}\n"


def test_unknown_address_is_no_mistake_in_a_template(home: Home) -> None:
    """A template with HOST_LAN_IP can be saved before setup has found the address; only installing it needs that."""
    home.edit("llm-share", EDITOR="sed -i '$a # mine'")
    assert home.user_file.with_name("llm-share.yml").read_text().endswith("# mine\n")


def test_questions_on_a_terminal(home: Home) -> None:
    """After an error: edit again, from the draft; discard; or end of input, which keeps the draft."""
    home.write()
    once = f'[ ! -e {home.path}/again ] || grep -q mistake "$1"; echo "config: x # mistake" >"$1"; [ -e {home.path}/again ] && echo "description: y" >"$1"'
    editor = home.script(f"{once}; touch {home.path}/again")
    out = home.on_terminal("?\ne\n", 0, **editor)
    assert out.count("Edit again, or discard your changes? [E/d] ") == 2 and "config must be a mapping" in out
    assert home.user_file.read_text() == "description: y\n"
    editor = home.script(f"echo '{BROKEN}' >\"$1\"")
    assert "nothing was changed" in home.on_terminal("d\n", 1, **editor)
    assert home.drafts() == []
    assert "your changes are in" in home.on_terminal("\x04", 130, **editor)
    assert len(home.drafts()) == 1 and home.user_file.read_text() == "description: y\n"


@pytest.mark.parametrize("exists", [True, False])
def test_change_by_another_is_noticed(home: Home, exists: bool) -> None:
    """The file is written, or created, while the editor is open: neither version is lost."""
    if exists:
        home.write()
    other = f"mkdir -p {home.user_file.parent}; echo 'description: theirs' >{home.user_file}; echo '# mine' >>\"$1\""
    _out, err = home.edit(code=4, **home.script(other))
    assert f"{home.user_file} was changed while you edited it" in err
    assert home.user_file.read_text() == "description: theirs\n"
    assert [draft.read_text().endswith("# mine\n") for draft in home.drafts()] == [True]
    assert f"hint: diff {home.user_file} {home.drafts()[0]}\n" in err


@pytest.mark.parametrize(
    ("variables", "arguments", "code", "message"),
    [
        ({"EDITOR": "false"}, (), 1, "the editor failed with exit status 1: false."),
        ({"EDITOR": "sh -c 'kill -TERM $$'"}, (), 1, "the editor failed with Terminated: sh "),
        ({"EDITOR": "sh -c 'kill -40 $$'"}, (), 1, "the editor failed with Real-time signal "),
        ({"EDITOR": "no-such-editor --wait"}, (), 3, "the editor in EDITOR was not found: 'no-such-editor'."),
        ({"VISUAL": "vi '"}, (), 2, "VISUAL is not a command: "),
        ({}, (), 2, "profile edit needs a terminal, or an editor in VISUAL or EDITOR."),
        ({"EDITOR": "true"}, ("nosuch",), 3, "there is no profile template called 'nosuch'"),
        ({"EDITOR": "true"}, ("../x",), 2, "../x"),
        ({"EDITOR": "rm"}, (), 3, "cannot read "),
        ({"EDITOR": "true"}, ("dotfiles", "--json"), 2, "profile edit has no --json."),
        ({"EDITOR": "true"}, ("dotfiles", "-C"), 2, "profile edit has no --check."),
        ({"EDITOR": "true"}, ("dotfiles", "-i", "hosts"), 2, "profile edit works on this host only."),
    ],
)
def test_refusals(home: Home, variables: dict[str, str], arguments: tuple[str, ...], code: int, message: str) -> None:
    """Each is a sentence with a hint, and leaves neither a file nor a draft."""
    _out, err = home.edit(*arguments, code=code, **variables)
    assert err.startswith("repoman: error: ") and message in err and "\nhint: " in err and "Traceback" not in err
    assert not home.user_file.exists() and home.drafts() == []


def test_hints_name_another_editor(home: Home) -> None:
    """They set the variable that was used, so they work when pasted: a program that is not found, no command, and no program."""
    home.write()
    no_program = home.path / "empty"
    no_program.write_bytes(b"\x7fELF")
    no_program.chmod(0o755)
    broken = {"no-such-editor": 3, "vi '": 2, str(no_program): 1}
    for variables, variable in (({"VISUAL": "%", "EDITOR": "true"}, "VISUAL"), ({"VISUAL": " ", "EDITOR": "%"}, "EDITOR")):
        for editor, code in broken.items():
            _out, err = home.edit(code=code, **{key: value.replace("%", editor) for key, value in variables.items()})
            assert err.splitlines()[1] == f"hint: {variable}=nano repoman profile edit dotfiles", err


def test_editor_that_returns_at_once(home: Home) -> None:
    """On a terminal, a hint names one that waits; a script that has nothing to change is no such editor."""
    home.write()
    hint = "hint: VISUAL='code --wait' repoman profile edit dotfiles   # an editor must wait until you close the file"
    assert hint in home.on_terminal("", 0, quick=60, VISUAL="true", EDITOR="false")
    assert "hint" not in home.on_terminal("", 0, quick=0, VISUAL="true")
    assert home.edit(VISUAL="true") == ("==> ~/.config/repoman/profiles.d/dotfiles.yml is unchanged\n", "") and home.drafts() == []


def test_draft_that_changes_later_is_kept(home: Home) -> None:
    """An editor that returned too early writes again, while the command asks Incus: the later text is in the draft, and a hint uses it."""
    home.write()
    with socket.socket(socket.AF_UNIX) as incus:
        incus.bind(str(home.path / "none"))
        incus.listen()
        variables = home.script("echo '# mine' >>\"$1\"")
        with subprocess.Popen(home.command(), env=environment(home.path) | variables, stderr=subprocess.PIPE, text=True) as process:
            connection, _address = incus.accept()
            home.drafts()[0].write_text(f"{MINE}# later\n")
            connection.close()
            incus.close()
            err = process.communicate(timeout=60)[1]
    assert process.returncode == 4 and home.user_file.read_text() == f"{MINE}# mine\n"
    draft = home.drafts()[0]
    assert f"repoman: error: {draft} was changed after the editor had returned.\nhint: your changes are in {draft}\n" in err
    subprocess.run(["sh", "-c", err.splitlines()[-2].removeprefix("hint: ")], check=True)
    assert home.user_file.read_text() == f"{MINE}# later\n"
    assert err.splitlines()[-1].startswith("hint: EDITOR='code --wait' repoman profile edit dotfiles   # ")


@pytest.mark.parametrize(("change", "drafts"), [("true", 0), ("echo '# mine' >>\"$1\"", 1)])
def test_interrupted_editor(home: Home, change: str, drafts: int) -> None:
    """Exit 130; a draft with changes is kept and named."""
    home.write()
    _out, err = home.edit(code=130, **home.script(f"{change}; kill -INT $$"))
    assert err.startswith("repoman: error: interrupted.\nhint: ")
    assert len(home.drafts()) == drafts and ("your changes are in" in err) == bool(drafts)
    assert home.user_file.read_text() == MINE


@pytest.mark.parametrize("ends", [lambda: signal.SIGTERM, lambda: signal.SIGINT])
def test_signals_to_the_command(home: Home, ends: Callable[[], signal.Signals]) -> None:
    """SIGTERM ends the editor, too, and keeps the draft; Ctrl-C is the editor's business."""
    home.write()
    editor = home.script(f"echo '# mine' >>\"$1\"; echo; read line <{home.path}/fifo; exit 0")
    subprocess.run(["mkfifo", home.path / "fifo"], check=True)
    with subprocess.Popen(home.command(), env=environment(home.path) | editor, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"\n"
        process.send_signal(ends())
        if ends() == signal.SIGINT:
            (home.path / "fifo").write_text("go on\n")
        _out, err = process.communicate(timeout=60)
    if ends() == signal.SIGINT:
        assert process.returncode == 0 and home.user_file.read_text() == f"{MINE}# mine\n"
    else:
        assert process.returncode == 130 and b"your changes are in" in err and home.user_file.read_text() == MINE


def test_sigterm_while_the_editor_starts(home: Home) -> None:
    """The editor has been started, but the command does not know it yet: it is ended all the same."""
    subprocess.run(["mkfifo", home.path / "fifo"], check=True)
    program = """
import os, signal, subprocess, sys
from repoman import cli
start = subprocess.Popen.__init__
def start_and_receive(self, *arguments, **options):
    start(self, *arguments, **options)
    if "editor" in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGTERM)
subprocess.Popen.__init__ = start_and_receive
raise SystemExit(cli.main())
"""
    command = [sys.executable, "-c", program, *home.command()[3:]]
    variables = environment(home.path) | home.script(f"exec 3<>{home.path}/fifo; read line <&3")
    with subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True, process_group=0) as process:
        try:
            _out, err = process.communicate(timeout=20)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130 and err.startswith("repoman: error: interrupted.\n") and home.drafts() == []
