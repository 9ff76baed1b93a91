# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Readers of registries, overrides and profile templates, for tests with damaged ones."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import HostFacts
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.library import read_template
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template import (
    Template,
    canonical,
    diff_text,
    parse_template,
    renamed_text,
)
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store
from ansible_collections.homelab.repoman.plugins.module_utils.registry.edit import edit_text, put_project
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Project
from ansible_collections.homelab.repoman.plugins.module_utils.registry.override import load_override
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import parse
from fuzzing import outcome

OVERRIDE = """\
repo = "isurus-project"
profiles = ["default", "llm-share"]
protect = ["hooks", "config"]
sudo = false
exclude = ["*.o"]

[config]
"limits.cpu" = 2
"environment.A" = "b"

[devices.gpu]
type = "gpu"
id = 0
"""
TEMPLATE = """\
name: web
description: &about "a web server of ${USER}"
x-common: &common {limits.cpu: 2, limits.memory: 1GiB}
config:
  <<: *common
  user.about: *about
  user.data: !!binary aGVsbG8=
  cloud-init.user-data: |
    #cloud-config
    packages: [nginx]
devices:
  share: {type: disk, source: "${HOME}/x", path: /x}
"""
HOST = HostFacts("10.0.0.1", "alice", "/home/alice")


@contextmanager
def settings_place() -> Iterator[Path]:
    """A directory for the files of all examples."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "repos.d").mkdir()
        yield Path(directory)


def registry_outcome(place: Path, data: bytes) -> str:
    """Read a registry, and add a project to it; also the second must give an error or a registry."""
    path = place / "repoman.toml"
    path.write_bytes(data)
    text = outcome(lambda: store.load(str(path)))
    if not text:
        read = store.load(str(path))
        project = Project("added", "added", profiles=("default",))
        try:
            after = edit_text(read.text, str(path), lambda data: put_project(data, project))
        except RepomanError as error:
            assert error.message
        else:
            assert "added" in parse(after, str(path)).projects
    return text


def override_outcome(place: Path, data: bytes) -> str:
    """Read an override."""
    (place / "repos.d/p.toml").write_bytes(data)
    return outcome(lambda: load_override(str(place / "repoman.toml"), "p"))


def template_outcome(place: Path, data: bytes) -> str:
    """Read, rename and show a template."""
    path = place / "web.yaml"
    path.write_bytes(data)

    def read() -> None:
        template = Template("web", "user", str(path), False, read_template(str(path)))
        body = parse_template(template, HOST)
        yaml.safe_load(canonical(body))
        diff_text(body, body)
        parse_template(Template("other", "user", str(path), False, renamed_text(template, "other")), HOST)

    return outcome(read)
