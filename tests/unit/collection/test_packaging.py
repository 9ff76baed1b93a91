# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The recipes of packages say what pyproject.toml says; a test with containers installs the Debian package."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PACKAGING = ROOT / "packaging"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAMES = {"pyyaml": "yaml"}
"""What distributions call a library otherwise than PyPI."""
VARIABLES = (
    "pkgname",
    "pkgver",
    "pkgrel",
    "pkgdesc",
    "arch",
    "url",
    "license",
    "depends",
    "makedepends",
    "optdepends",
    "source",
    "sha256sums",
)


def requirements() -> dict[str, str]:
    """Return the libraries that the command needs, with their least versions."""
    found = (re.fullmatch(r"([\w-]+)(?:>=(.+))?", requirement) for requirement in PROJECT["dependencies"])
    return {NAMES.get(match[1], match[1]): match[2] or "" for match in found if match}


@pytest.fixture(scope="module")
def pkgbuild() -> dict[str, list[str]]:
    """The variables of the PKGBUILD, as bash reads them."""
    show = "".join(f'printf "%s\\0" {name} "${{{name}[@]}}" ""; ' for name in VARIABLES)
    script = f"set -eu; source {PACKAGING}/arch/PKGBUILD; declare -F build package >/dev/null; {show}"
    output = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    rows = (part.split("\0") for part in output.removesuffix("\0\0").split("\0\0"))
    return {name: values for name, *values in rows}


def test_pkgbuild(pkgbuild: dict[str, list[str]]) -> None:
    """Version, licence and dependencies are those of the project; each source has a checksum; paths are quoted."""
    path = PACKAGING / "arch/PKGBUILD"
    subprocess.run(["bash", "-n", path], check=True)
    assert (pkgbuild["pkgname"], pkgbuild["pkgver"], pkgbuild["arch"]) == (["repoman"], [PROJECT["version"]], ["any"])
    assert pkgbuild["license"] == [PROJECT["license"]]
    assert f"python{PROJECT['requires-python']}" in pkgbuild["depends"]
    wanted = {
        (name if name == "ansible-core" else f"python-{name}") + (f">={least}" if least else "") for name, least in requirements().items()
    }
    assert wanted <= set(pkgbuild["depends"])
    assert len(pkgbuild["source"]) == len(pkgbuild["sha256sums"]) == 1 and PROJECT["version"] in pkgbuild["source"][0]
    assert len(pkgbuild["pkgdesc"][0]) <= 80 and "repoman" not in pkgbuild["pkgdesc"][0]
    assert all(": " in line for line in pkgbuild["optdepends"])
    assert re.findall(r'(?<!["\w=])\$pkgdir', path.read_text(encoding="utf-8")) == []


def test_debian_package_depends_on_the_libraries() -> None:
    """All but ansible-core, which it has."""
    control = (PACKAGING / "debian/control.in").read_text(encoding="utf-8")
    depends = re.findall(r"^Depends: (.*)$", control, re.MULTILINE)[0].split(", ")
    assert f"python3 ({PROJECT['requires-python'].replace('>=', '>= ')})" in depends
    least = requirements()
    assert least.pop("ansible-core") == "2.18"
    wanted = {f"python3-{name}" + (f" (>= {version})" if version else "") for name, version in least.items()}
    assert wanted <= set(depends)
    assert re.search(r"ansible-core>=2\.(1[89]|[2-9]\d),<", (PACKAGING / "debian/build").read_text(encoding="utf-8"))


@pytest.mark.parametrize("script", ["build", "postinst", "prerm", "repoman.sh"])
def test_scripts_of_the_debian_package(script: str) -> None:
    """They can be read, and can be run."""
    path = PACKAGING / "debian" / script
    subprocess.run(["bash", "-n", path], check=True)
    assert path.stat().st_mode & 0o111


def test_versions_agree() -> None:
    """The collection and the command have one version."""
    assert yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"] == PROJECT["version"]
