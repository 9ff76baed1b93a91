# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module takes and returns the same in Ansible's own process as when it is shipped to a host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret
from real_ansible import play, results_in, show
from scripted_daemon import Daemon, Reply, Seen

PASSWORD = b"word"
ROOT = Path(__file__).parents[3]
WAYS = {"local": "{}", "shipped": "{ANYTHING: '1'}"}
"""The action plugin ships the module if a task sets environment variables."""
FEATURES = {"features.images": "false", "features.profiles": "false"}
DATES = "[2026-01-01, 2026-01-01 12:30:00, 2026-01-01T12:30:00Z, 1.5, 7, 0x10, true, 12:30]"
CASES = {
    "registry": [
        "",
        f"defaults: {{profiles: {DATES}}}",
        "defaults: {default_image: 2026-01-01, logdir: 5, exclude_caches: 'yes', follow_mounts: off}",
        "defaults: {profiles: {2026-01-01: x}}",
        "defaults: {stale_after: 3}",
        "defaults: {stale_after: 36h}",
        "defaults: {2026-01-01: x}",
        "defaults: {default_image: VAULT, profiles: [VAULT, x]}",
        "host: {lan_ip: VAULT}",
        "defaults: {default_image: '{{ secret }}'}",
        "host: {lan_ip: '{{ omit }}'}",
        "host: 'lan_ip=192.0.2.7'",
        'host: \'{"lan_ip": "192.0.2.8"}\'',
        "defaults: {default_image: null}",
        "defaults: {default_image: !!set {x}}",
        "defaults: {default_image: [x]}",
        "output: loud",
        "output: quiet, state: absent",
        "defaults: {nosuch: 1, other: 2}",
        "nosuch: 1, output: loud",
        "timeout: soon",
        "timeout: '5'",
        "registry_path: /proc/nosuch/repoman.toml",
        "user: nosuch",
    ],
    "profile": ["", "names: []", "nams: [x]", "names: [x], state: gone", "names: x,y", "names: [{a: b}]", "names: [2026-01-01]"],
    "profile_info": ["names: [nosuch]", "names: {a: b}", "rendered: perhaps"],
    "project": ["", "name: x, projects: [{name: y}]", "projects: [{nam: y}]", "projects: [y]", "name: 2026-01-01", "name: ''"],
    "project_info": ["names: [nosuch]", "names: 2026-01-01", "status: 7", "vcs_timeout: x"],
    "restore": ["", "name: nosuch", "name: [x]", "name: x, patience: 1, idle_timeout: 2"],
    "sync": ["names: [nosuch]", "jobs: many", "keep_days: 1.5", "list_kept: x, list_versions: y", "patience: 1, idle_timeout: 2"],
}


@pytest.fixture
def lab(tmp_path: Path, daemon: Daemon) -> Path:
    """A registry, and an Incus that answers by script."""

    def answer(seen: Seen) -> Reply:
        if seen.target.startswith("/1.0/projects/"):
            return Reply({"name": "repoman", "config": FEATURES})
        if seen.target.startswith("/1.0/profiles/default"):
            return Reply({"name": "default", "config": {}, "devices": {"root": {"type": "disk", "path": "/", "pool": "default"}}})
        return Reply([])

    daemon.default = answer
    (tmp_path / "repoman.toml").write_text(f'[repoman]\nschema = 3\n[defaults]\nrepos_root = "{tmp_path}"\nbackup_root = "{tmp_path}/b"\n')
    (tmp_path / "password").write_bytes(PASSWORD)
    (tmp_path / "socket").symlink_to(daemon.path)
    return tmp_path


def encrypted() -> str:
    """Return a value encrypted in place, as in a playbook."""
    return json.dumps(VaultLib([("default", VaultSecret(PASSWORD))]).encrypt("192.0.2.99", VaultSecret(PASSWORD)).decode())


def without_way(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result without what Ansible adds to that of a shipped module."""
    return {key: value for key, value in result.items() if key != "exception"}


@pytest.mark.parametrize("module", CASES)
def test_both_ways_answer_alike(lab: Path, module: str) -> None:
    """For right and wrong arguments of every kind, also those that YAML makes dates of and those that are encrypted in place."""
    secret = f"!vault {encrypted()}"
    common = {"socket": f"{lab}/socket", "registry_path": f"{lab}/repoman.toml", "vendor_dir": str(ROOT / "profiles")}
    text = f"- hosts: localhost\n  gather_facts: false\n  vars: {{secret: {secret}}}\n  tasks:\n"
    for number, case in enumerate(CASES[module]):
        options = ", ".join([*(f"{key}: {value}" for key, value in common.items() if key not in case), case.replace("VAULT", secret)])
        for way, environment in WAYS.items():
            text += f"  - homelab.repoman.repoman_{module}: {{{options}}}\n    environment: {environment}\n    register: {way}_{number}\n"
            text += "    ignore_errors: true\n    check_mode: true\n"
    names = [f"{way}_{number}" for number in range(len(CASES[module])) for way in WAYS]
    text += f"  - {json.dumps(show(names))}\n"
    shown = play(lab, text, "--vault-password-file", str(lab / "password"), PYTHONHASHSEED="0")  # messages of Ansible list sets
    results = [without_way(result) for result in results_in(shown)]
    for case, local, shipped in zip(CASES[module], results[::2], results[1::2], strict=True):
        assert local == shipped, case
        assert "Traceback" not in json.dumps(local), case
        if local.get("failed"):
            assert local["msg"].endswith(".") and local["hints"] and local["exit_code"], case
