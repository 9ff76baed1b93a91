# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text of ``ssh-config``, as OpenSSH reads it, and the key that it names."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from repoman import cli, ssh

FORWARDING = ("forwardagent", "forwardx11", "forwardx11trusted", "gssapiauthentication", "gssapidelegatecredentials")
USERS_BLOCK = """
Host *
    ForwardAgent yes
    ForwardX11 yes
    ForwardX11Trusted yes
    GSSAPIAuthentication yes
    GSSAPIDelegateCredentials yes
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with two projects, in a directory whose name ssh could misread."""
    home = tmp_path / "a %h b"
    registry = home / ".config/repoman/repoman.toml"
    registry.parent.mkdir(parents=True)
    registry.write_text('[repoman]\nschema = 3\n[[project]]\nname = "Lamna"\nrepo = "x/lamna"\n[[project]]\nname = "isurus"\n')
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NO_COLOR", "1")
    return home


def test_text(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A block for each project, or for those that are named; OpenSSH finds what they say."""
    assert cli.main(["ssh-config"]) == 0
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if line.startswith("Host ")] == ["Host Lamna.repoman lamna.repoman", "Host isurus.repoman"]
    (home / "config").write_text(text + USERS_BLOCK)
    shown = subprocess.run(["ssh", "-G", "-F", home / "config", "Lamna.repoman"], check=True, capture_output=True, text=True).stdout
    values = dict(line.split(" ", 1) for line in shown.splitlines() if " " in line)
    assert values["proxycommand"].endswith(" ssh-proxy Lamna") and values["hostkeyalias"] == "lamna.repoman"
    assert values["stricthostkeychecking"] == "true" and values["identitiesonly"] == "yes"
    assert {key: values[key] for key in FORWARDING if key in values} == dict.fromkeys(FORWARDING, "no"), (
        "the user's block for all hosts lost"
    )
    key = home / ".local/state/repoman/ssh/id_ed25519"
    assert key.stat().st_mode & 0o777 == 0o600 and key.parent.stat().st_mode & 0o777 == 0o700
    before = key.read_bytes()
    assert cli.main(["ssh-config", "isurus"]) == 0 and key.read_bytes() == before
    assert capsys.readouterr().out.count("Host ") == 1
    assert cli.main(["ssh-config", "gone"]) == 3
    assert capsys.readouterr().err.splitlines()[:2] == ["repoman: error: there is no project 'gone'.", "hint: repoman new gone"]


def test_key(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two runs at once have the same pair; check mode makes none; what is broken has a remedy."""
    key = home / ".local/state/repoman/ssh/id_ed25519"
    assert cli.main(["-C", "ssh-config"]) == 0 and not key.exists()
    with ThreadPoolExecutor(4) as pool:
        keys = {line.split()[1] for line in pool.map(lambda _number: ssh.public_key(), range(4))}
    private = subprocess.run(["ssh-keygen", "-y", "-f", key], check=True, capture_output=True, text=True).stdout
    assert keys == {private.split()[1]} and [path.name for path in key.parent.iterdir()] == ["id_ed25519"]
    key.write_text("broken")
    capsys.readouterr()
    assert cli.main(["ssh-config"]) == 1
    err = capsys.readouterr().err.splitlines()
    assert err[0].startswith(f"repoman: error: cannot read or make the ssh key {key}: ") and err[1].startswith("hint: rm -f '")


def test_names_that_ssh_could_misread(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The registry is a file that anybody edits: a name that is none gets no block, and hints quote what was typed."""
    registry = home / ".config/repoman/repoman.toml"
    for name in ("a b", "*", "x\\n    ProxyCommand touch y", "-oA"):
        registry.write_text(registry.read_text() + f'[[project]]\nname = "{name}"\nrepo = "z"\n')
    assert cli.main(["ssh-config"]) == 0
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if line.startswith("Host ")] == ["Host Lamna.repoman lamna.repoman", "Host isurus.repoman"]
    assert text.count("ProxyCommand ") == 2
    for name in ("a b", "*"):
        assert cli.main(["ssh-config", name]) == 3
        assert capsys.readouterr().err.splitlines()[1] == f"hint: repoman new '{name}'"


def test_proxy_has_no_check(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A connection cannot be predicted, and it would start the container."""
    assert cli.main(["--check", "ssh-proxy", "isurus"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "repoman: error: ssh-proxy has no --check: it connects to the container.",
        "hint: repoman --check shell isurus",
    ]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_program_in_the_container_that_prints_without_end(stream: str) -> None:
    """It is ended; only its beginning is kept."""
    with pytest.raises(ssh.TooMuchOutput):
        ssh.run_limited([sys.executable, "-c", f"import sys\nwhile True: sys.{stream}.write('x' * 9999)"], dict(os.environ))
    done = ssh.run_limited(["sh", "-c", f"head -c {ssh.OUTPUT_LIMIT} /dev/zero; echo no >&2; exit 7"], dict(os.environ))
    assert (done.returncode, len(done.stdout), done.stderr) == (7, ssh.OUTPUT_LIMIT, b"no\n")


def test_file_that_cannot_be_written_whole(tmp_path: Path) -> None:
    """A full disk leaves the former file, and no other."""
    path = tmp_path / "a b/known_hosts"
    path.parent.mkdir()
    path.write_text("former\n")
    program = f"""
import resource, signal
from pathlib import Path
from repoman import ssh
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    ssh.write_known_hosts(Path({str(path)!r}), b"x" * 100)
except ssh.CliError as error:
    print(error.message, error.hints)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"cannot write {path}: File too large. [\"df -h '{path.parent}'\"]\n"
    assert [file.name for file in path.parent.iterdir()] == ["known_hosts"] and path.read_text() == "former\n"
