# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs of playbooks: their options and environment, and whole runs of the command in a home without Incus."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from command_environment import SOURCES, environment

from repoman import installation, playbook
from repoman.playbook import Playbook


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
    assert settings["ANSIBLE_CONFIG"] in ("/etc/ansible/ansible.cfg", str(installation.OWN_CONFIG))
    assert settings["ANSIBLE_STDOUT_CALLBACK"] == "homelab.repoman.report"
    assert settings["ANSIBLE_BECOME"] == "0"
    (tmp_path / ".ansible.cfg").touch()
    assert Playbook("list").environment({})["ANSIBLE_CONFIG"] == str(tmp_path / ".ansible.cfg")
    assert "ANSIBLE_CONFIG" not in Playbook("list").environment({"ANSIBLE_CONFIG": "mine"})
    assert "ANSIBLE_BECOME" not in Playbook("list", limit="web").environment({})
    assert Playbook("list", json=True).environment({})["REPOMAN_FORMAT"] == "json"


def test_playbooks_are_values() -> None:
    """Two playbooks that say the same are equal; one can be made of another."""
    assert replace(Playbook("list"), check=True) == Playbook("list", check=True)


def command(home: Path, *line: str, stdin: int = subprocess.DEVNULL, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own, ansible and all, in ``home``, where there is no Incus."""
    return subprocess.run(
        [sys.executable, "-m", "repoman", *line],
        stdin=stdin,
        capture_output=True,
        text=True,
        check=False,
        cwd=home,
        env=environment(home) | more,
    )


def test_a_home_that_cannot_be_written_is_no_traceback() -> None:
    """Ansible wants a directory there before anything else; another will do."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")} | {"HOME": "/proc/nowhere"}
    done = subprocess.run([sys.executable, "-m", "repoman", "list"], env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        "repoman: error: there is no registry at /proc/nowhere/.config/repoman/repoman.toml.",
        "hint: repoman setup",
    ]


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
    done = command(tmp_path, "list", PYTHONPATH=f"{tmp_path}:{SOURCES}:{installation.collection_root()}")
    said = "repoman: error: ansible could not start a process for its next task: Resource temporarily unavailable.\n"
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{said}hint: ulimit -a   # shows the limits of this session; try again when the machine is less busy\n"


def test_no_library(tmp_path: Path) -> None:
    """What a library is missing for is told before anything is tried, in this process too."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['tomlkit'] = None\n", encoding="utf-8")
    done = command(tmp_path, "setup", PYTHONPATH=f"{tmp_path}:{SOURCES}:{installation.collection_root()}")
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
    done = command(tmp_path, "list", PYTHONPATH=f"{tmp_path}:{SOURCES}:{installation.collection_root()}")
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


def test_settings_that_cannot_be_used(tmp_path: Path) -> None:
    """A directory that cannot be made, or an invalid setting, is one sentence."""
    for setting, reason in (
        ("ANSIBLE_HOME=/proc/none", "Unable to create local directories '/proc/none/tmp'"),
        ("ANSIBLE_FORKS=x", "integer"),
    ):
        name, _equals, value = setting.partition("=")
        done = command(tmp_path, "list", **{name: value})
        assert (done.returncode, done.stdout) == (1, "")
        message, hint = done.stderr.splitlines()
        assert message.startswith("repoman: error: ansible cannot start: ") and reason in message
        assert hint == "hint: ansible --version   # shows whether it runs at all"
