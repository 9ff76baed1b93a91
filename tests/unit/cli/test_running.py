# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a shell needs a playbook run because of the user's configuration of Ansible."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from repoman import running
from repoman.installation import OWN_CONFIG
from repoman.playbook import Playbook

NAME = {running.NAME_VARIABLE: "demo"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and no plugins of the system."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(running, "PLUGINS", running.PLUGINS[:1])
    return tmp_path


@pytest.mark.parametrize(
    ("settings", "matters"),
    [
        ("[defaults]\nstdout_callback = yaml\ncallback_result_format=yaml\nforks = 20\nnocows = 1\n", False),
        ("[defaults]\n#log_path = x\n; verbosity = 1\nlibrary = x\nremote_user = me\n[ssh_connection]\npipelining: True\n", False),
        ("[defaults]\nlog_path = ~/ansible.log\n", True),
        ("[defaults]\nCALLBACKS_ENABLED=timer\n", True),
        ("[defaults]\ncallback_whitelist : timer\n", True),
        ("[defaults]\ncallback_plugins = x\n", True),
        ("[defaults]\nvars_plugins_enabled = x\n", True),
        ("[defaults]\nfact_caching = jsonfile\n", True),
        ("[defaults]\n verbosity = 1\n", True),
        ("[defaults]\nstrategy = debug\n", True),
    ],
)
def test_settings_in_a_file(home: Path, settings: str, matters: bool) -> None:
    """Settings that bring variables from elsewhere, or with which something else sees a run, matter; others do not."""
    assert not running.has_settings({})
    (home / ".ansible.cfg").write_text(settings, encoding="utf-8")
    assert running.has_settings({}) == matters
    (home / ".ansible.cfg").rename(home / "other.cfg")
    assert not running.has_settings({})
    assert running.has_settings({"ANSIBLE_CONFIG": str(home / "other.cfg")}) == matters


@pytest.mark.parametrize(
    ("variable", "matters"),
    [
        ("ANSIBLE_STDOUT_CALLBACK", False),
        ("ANSIBLE_REMOTE_TEMP", False),
        ("ANSIBLE_VAULT_PASSWORD_FILE", False),
        ("ANSIBLE_VARS_ENABLED", True),
        ("ANSIBLE_CALLBACK_PLUGINS", True),
        ("ANSIBLE_CALLBACKS_ENABLED", True),
        ("ANSIBLE_CACHE_PLUGIN", True),
        ("ANSIBLE_LOG_PATH", True),
        ("ANSIBLE_DEBUG", True),
        ("ANSIBLE_HOME", True),
    ],
)
def test_settings_in_the_environment(home: Path, variable: str, matters: bool) -> None:
    """The same, as variables."""
    assert running.has_settings({variable: "x"}) == matters


@pytest.mark.parametrize("config", ["", "/nonexistent", "/"])
def test_a_file_that_cannot_be_read(home: Path, config: str) -> None:
    """Then Ansible looks for another one."""
    assert running.has_settings({"ANSIBLE_CONFIG": config})


def test_the_commands_own_file() -> None:
    """It has no such settings, so it is not read."""
    text = OWN_CONFIG.read_text(encoding="utf-8")
    assert "[defaults]" in text and not re.search(running.LINE, text)


def test_plugins_in_the_home(home: Path) -> None:
    """Ansible loads variables and callback plugins of the user that no setting names."""
    for kind, matters in (("filter", False), ("vars", True)):
        plugins = home / ".ansible/plugins" / kind
        plugins.mkdir(parents=True)
        assert not running.has_settings({})
        (plugins / "x.py").touch()
        assert running.has_settings({}) == matters


@pytest.mark.parametrize(
    "playbook",
    [
        Playbook("shell", NAME, check=True),
        Playbook("shell", NAME, verbosity=1),
        Playbook("shell", NAME | {"repoman_create": True}),
    ],
)
def test_options_for_which_a_playbook_is_run(home: Path, playbook: Playbook, monkeypatch: pytest.MonkeyPatch) -> None:
    """The logic is not even loaded."""
    monkeypatch.setattr(running.shared, "loading", None)
    assert running.read(playbook) is None


def test_start_of_the_command() -> None:
    """Garbage is looked for less often; for what calls it from Python as before."""
    script = "import gc, sys\nfrom repoman import cli\nsys.argv[1:] = ['--version']\nbefore = gc.get_threshold()\n"
    for call, is_unchanged in (("cli.main(['--version'])", True), ("cli.main()", False)):
        command = [sys.executable, "-c", f"{script}{call}\nprint(gc.get_threshold() == before)"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == str(is_unchanged)


def test_logic_that_cannot_be_loaded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the playbook is run, which reports it."""
    monkeypatch.setattr(running.shared, "MODULE_UTILS", "no_such_package")
    assert running.read(Playbook("shell", NAME)) is None
