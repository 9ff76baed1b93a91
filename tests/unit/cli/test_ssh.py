# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text of ``ssh-config``, as OpenSSH reads it, and the key that it names."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from repoman import cli, ssh


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
    (home / "config").write_text(text)
    shown = subprocess.run(["ssh", "-G", "-F", home / "config", "Lamna.repoman"], check=True, capture_output=True, text=True).stdout
    values = dict(line.split(" ", 1) for line in shown.splitlines() if " " in line)
    assert values["proxycommand"].endswith(" ssh-proxy Lamna") and values["hostkeyalias"] == "lamna.repoman"
    assert values["stricthostkeychecking"] == "true" and values["forwardagent"] == "no" and values["identitiesonly"] == "yes"
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
