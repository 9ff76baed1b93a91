# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Completion in the real shells: what they offer, and what a completed line gives the command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repoman import cli, completion
from repoman.cli.options import GLOBAL_OPTIONS
from repoman.cli.verbs import GROUPS, VERBS
from repoman.errors import CliError

BREAKS = " \t\n\"'><=;|&(:"
ODD = ["a:b", "cash$HOME", "it's", "my profile", "star*", 'quo"te', "back\\slash", "naïve"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with projects, profiles of odd names, and repositories."""
    config = tmp_path / ".config/repoman"
    (config / "profiles.d").mkdir(parents=True)
    (config / "repoman.toml").write_text(
        '[repoman]\nschema = 3\n[[project]]\nname = "isurus"\nrepo = "isurus"\n[[project]]\nname = "iris"\nrepo = "x"\n', encoding="utf-8"
    )
    for name in ODD:
        (config / f"profiles.d/{name}.yml").write_text("")
    for name in ("isurus", "fresh", "with space"):
        (tmp_path / "repos" / name).mkdir(parents=True)
    times = tmp_path / ".local/state/repoman/times/last_sync.json"
    times.parent.mkdir(parents=True)
    times.write_text('{"/nfs": {"gone": "2026-01-01T00:00:00Z", "isurus": "2026-01-01T00:00:00Z"}}')
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor/dotfiles.yml").write_text("")
    for key, value in {
        "HOME": str(tmp_path),
        "REPOMAN_VENDOR_DIR": str(tmp_path / "vendor"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
        "XDG_CONFIG_HOME": str(tmp_path / "xdg"),
        "XDG_DATA_HOME": str(tmp_path / "xdg"),
    }.items():
        monkeypatch.setenv(key, value)
    return tmp_path


def shell(*argv: str) -> list[str]:
    """Run a shell; return the lines it prints."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and not done.stderr, done
    return done.stdout.splitlines()


def bash(line: str) -> list[str]:
    """Return what bash offers at the end of a line."""
    program = (
        'source <(repoman completion bash); COMP_WORDBREAKS=$2 COMP_LINE=$1 COMP_POINT=${#1}; _repoman; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return shell("bash", "--norc", "-c", program, "bash", line, BREAKS)


def zsh(line: str) -> list[str]:
    """Return what zsh offers at the end of a line: what the function hands to its completion."""
    program = """
        compdef() { }; compset() { PREFIX=${PREFIX#*=} }; _files() { print :files }
        compadd() { print -rl -- $candidates }
        source <(repoman completion zsh)
        words=("${(@z)1}"); [[ $1 == *' ' ]] && words+=(''); CURRENT=$#words; PREFIX=$words[-1]
        _repoman || true
    """
    return shell("zsh", "-f", "-c", program, "zsh", line)


def fish(line: str) -> list[str]:
    """Return what fish offers at the end of a line."""
    said = shell("fish", "--no-config", "-c", "repoman completion fish | source; complete -C $argv[1]", line)
    return [each.split("\t")[0] for each in said]


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}


@pytest.mark.parametrize("name", SHELLS)
def test_what_shells_offer(home: Path, name: str) -> None:
    """Verbs, options, and the names of projects, profiles and repositories, each in its place."""
    offer = SHELLS[name]
    assert {verb.words.split()[0] for verb in VERBS} == set(offer("repoman "))
    assert sorted(offer("repoman s")) == sorted({verb.words for verb in VERBS if verb.words.startswith("s")})
    assert "install" in offer("repoman profile ")
    assert sorted(offer("repoman shell i")) == ["iris", "isurus"]
    assert offer("repoman -C --json remove isurus i") == ["iris"]
    assert offer("repoman profile show do") == ["dotfiles"]
    (home / ".config/repoman/profiles.d/zz.yaml").write_text("")
    assert offer("repoman profile show zz") == ["zz"]
    assert offer("repoman new fre") == ["fresh"] and offer("repoman new x --repo fre") == ["fresh"]
    assert offer("repoman sync fre") == ["fresh"] and offer("repoman start fre") in ([], [""])
    assert offer("repoman restore go") == ["gone"] and offer("repoman sync go") in ([], [""])
    assert offer("repoman new x --no-b") == ["--no-backup"]
    assert offer("repoman completion z") == ["zsh"]
    assert offer("repoman new x -p dot") == ["dotfiles"] and offer("repoman help profile inst") == ["install"]
    assert not [each for each in offer("repoman shell zzz") if each]
    assert not [each for each in offer("repoman list x") if each]


def test_descriptions_are_aligned(home: Path) -> None:
    """In zsh, the second column starts at the same place in each line; fish aligns them itself."""
    program = "compdef() { }; compset() { }; compadd() { print -rl -- $shown }; source <(repoman completion zsh)"
    offered = shell("zsh", "-f", "-c", f"{program}; words=(repoman profile ''); CURRENT=3; PREFIX=; _repoman")
    assert len(offered) > 3 and {line.index("  -- ") for line in offered} == {len("install")}


def on_terminal(command: str, typed: str) -> str:
    """Type into an interactive shell; return what was on its terminal."""
    done = subprocess.run(
        ["script", "--quiet", "--return", "--command", command, "/dev/null"],
        input=typed,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"TERM": "xterm"},
    )
    return done.stdout


def test_odd_names_in_bash(home: Path) -> None:
    """A name that TAB completed reaches the command as it is, begun plain or in quotes."""
    typed = "source <(repoman completion bash); repoman() { printf 'GOT<%s>\\n' \"${@: -1}\"; }\n"
    typed += "".join(f"repoman profile show {opening}{name[:2]}\t\n" for name in ODD for opening in ("", '"', "'"))
    said = on_terminal("bash --norc --noprofile -i", f"{typed}exit\n")
    assert {name: said.count(f"GOT<{name}>") for name in ODD} == dict.fromkeys(ODD, 3)


def test_odd_names_in_zsh(home: Path) -> None:
    """A name that TAB completed reaches the command as it is."""
    typed = (
        'autoload -Uz compinit; compinit -u -D; source <(repoman completion zsh); repoman() { print -r -- "GOT<$@[-1]>" }\n'
        "repoman profile show my\t\nrepoman profile show cas\t\nrepoman new x --profile=st\t\nexit\n"
    )
    said = on_terminal("zsh -f -i", typed)
    assert "GOT<my profile>" in said and "GOT<cash$HOME>" in said and "GOT<--profile=star*>" in said


def test_odd_names_in_fish(home: Path) -> None:
    """A name is offered as it is; fish quotes what it inserts."""
    assert sorted(fish("repoman profile show ")) == sorted(["dotfiles", *ODD])
    assert sorted(fish("repoman new x --profile=")) == sorted(f"--profile={name}" for name in ["dotfiles", *ODD])


def test_a_line_in_parts_of_bash(home: Path) -> None:
    """What readline takes for the beginning of a word is not offered again."""
    assert bash("repoman profile show a:") == ["b"]
    assert bash("repoman new x --profile=a:") == ["b"]
    assert bash("repoman new x --profile=do") == ["dotfiles"]
    assert bash("repoman profile show my\\ pro") == ["my\\ profile"]


def test_paths(home: Path) -> None:
    """Where a path is wanted the shell completes it itself."""
    (home / "inventory.yml").write_text("")
    assert zsh("repoman -i ") == [":files"] and zsh("repoman shell x -- ") == [":files"]
    assert fish(f"repoman -i {home}/inv") == [f"{home}/inventory.yml"]
    assert bash("repoman -i ") == [""]
    for line in ("shell x ", "shell -v x ls -", "start ./", "sync x /", "new ..", "restore ~/repos/"):
        assert zsh(f"repoman {line}") == [":files"], line
    assert "--check" in zsh("repoman shell x -")


@pytest.mark.parametrize(
    "text", ["nonsense", 'project = 1\ndefaults = "x"\n', "[[project]]\nname = 1\n", '[[project]]\nname = "\\u001b"\n']
)
def test_broken_registry(home: Path, text: str) -> None:
    """A registry that cannot be read offers no names, and no errors."""
    (home / ".config/repoman/repoman.toml").write_text(text)
    assert [name for name in completion.names("projects") if not name.isdigit()] == []
    assert completion.names("repositories") == ["fresh", "isurus", "with space"]


@pytest.mark.parametrize("text", ["", "[]", "nonsense", '{"/nfs": 1}', "[" * 100000])
def test_broken_times(home: Path, text: str) -> None:
    """If what sync noted cannot be read, restore offers the directories that exist."""
    (home / ".local/state/repoman/times/last_sync.json").write_text(text)
    assert completion.names("backups") == ["fresh", "iris", "isurus", "with space"]


def test_names_for_scripts(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The names alone, a line each; ansible is not loaded for it."""
    assert cli.main(["completion", "--names", "projects"]) == 0
    assert capsys.readouterr().out == "iris\nisurus\n"
    program = "import sys; from repoman import cli; cli.main(['completion', '--names', 'profiles']); print('ansible' in sys.modules)"
    assert shell(sys.executable, "-c", program)[-2:] == ["star*", "False"]


def test_other_shells_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """It is wrong usage."""
    assert cli.main(["completion"]) == 2 and cli.main(["completion", "tcsh"]) == 2
    assert "no completion for 'tcsh'; choose bash, zsh or fish." in capsys.readouterr().err
    with pytest.raises(CliError):
        completion.check_shell("")


def test_every_option_is_offered() -> None:
    """A table that grows is completed without more ado."""
    for verb in VERBS:
        words = [*verb.words.split(), "--"]
        found = {each.word for each in completion.candidates(words, VERBS, GLOBAL_OPTIONS, GROUPS) or []}
        assert {each.names[-1] for each in (*verb.arguments, *GLOBAL_OPTIONS) if each.is_option and each.help} < found


@given(
    st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\x7f"), min_size=1), st.sampled_from(["", "'", '"'])
)
def test_escaping_is_undone_by_splitting(name: str, quote: str) -> None:
    """What is typed for bash is read back."""
    assert completion.split(f"repoman {quote}{completion.quote_for_bash(name, quote)}{quote}", BREAKS)[0] == ["repoman", name]
