# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Debian package: installed, used and purged in containers of each release, which have no network."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from lab import private_incus
from world import CHECKOUT

RELEASES = ("debian-12", "debian-13")
VERSION = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text())["version"]
VENDOR = ["claude-share", "dotfiles", "llm-share"]
OWN_PATHS = (
    "find / -xdev -path /proc -prune -o -name '*repoman*' -print | grep -v -e ^/run/ -e ^/tmp/ -e ^/var/log/ -e ^/var/cache/man || true"
)


class Container:
    """A container of a release of Debian."""

    def __init__(self, name: str, socket: str) -> None:
        self.name, self.environment = name, os.environ | {"INCUS_SOCKET": socket}

    def incus(self, *arguments: str) -> str:
        """Run the client of Incus."""
        done = subprocess.run(
            ["incus", *arguments], env=self.environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done
        return done.stdout

    def run(self, script: str, user: int = 0) -> str:
        """Run a shell script in it; return its output."""
        home = "/root" if user == 0 else "/home/alice"
        options = ("--user", str(user), "--group", str(user), "--env", f"HOME={home}", "--env", "LANG=C.UTF-8", "--cwd", home)
        return self.incus("exec", *options, self.name, "--", "bash", "-euc", script)


def has_image(release: str) -> bool:
    """Return whether the image of a release could be built: a mirror may not have the release."""
    return subprocess.run([CHECKOUT / "scripts/dev-incus", "has-image", release], check=False).returncode == 0


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package."""
    place = tmp_path_factory.mktemp("package")
    done = subprocess.run([CHECKOUT / "packaging/debian/build", place], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = place.iterdir()
    assert path.name == f"repoman_{VERSION}_all.deb"
    return path


@pytest.fixture(scope="module")
def socket() -> Iterator[str]:
    """An Incus with the images that could be built."""
    with private_incus(" ".join(filter(has_image, RELEASES))) as socket:
        yield socket


@pytest.mark.xdist_group("test_package")
@pytest.mark.parametrize("release", RELEASES)
def test_install_use_and_purge(release: str, package: Path, socket: str) -> None:
    """Command, man page, completion and vendor profiles work for an ordinary user, and purging leaves nothing."""
    if not has_image(release):
        pytest.skip(f"there is no image of {release}")
    box = Container(release, socket)
    box.incus("launch", release, release)
    try:
        box.run("mkdir -p /dev/shm; mount -t tmpfs -o mode=1777 tmpfs /dev/shm; useradd --create-home --uid 1500 alice")  # no init does it
        assert box.run("ls /sys/class/net") == "lo\n"
        before = box.run(OWN_PATHS)
        box.incus("file", "push", str(package), f"{release}/tmp/repoman.deb")
        box.run("dpkg --install /tmp/repoman.deb")
        assert box.run("dpkg --audit; dpkg --verify repoman") == ""
        assert box.run("repoman --version", 1500) == f"repoman {VERSION}\n"
        assert box.run("man -w repoman", 1500) == "/usr/share/man/man1/repoman.1.gz\n"
        # readline calls the function like this at TAB
        complete = (
            "source /usr/share/bash-completion/bash_completion; _completion_loader repoman || [ $? = 124 ];"
            " COMP_LINE='repoman profile show '; COMP_POINT=${#COMP_LINE}; _repoman; echo ${COMPREPLY[*]}"
        )
        assert box.run(complete, 1500).split() == VENDOR
        assert (
            box.run("ls /usr/share/zsh/vendor-completions/_repoman /usr/share/fish/vendor_completions.d/repoman.fish").count("repoman") == 2
        )
        box.incus(
            "config", "device", "add", release, "incus", "proxy", "bind=container", "mode=0666",
            "listen=unix:/run/incus.socket", f"connect=unix:{socket}",
        )  # fmt: skip
        listed = box.run("INCUS_SOCKET=/run/incus.socket repoman profile list", 1500).splitlines()
        assert [line.split()[:3] for line in listed[1:]] == [[name, "vendor", "no"] for name in VENDOR]
        assert box.run("EDITOR='sed -i s/^description:.*/description:\\ mine/' repoman profile edit dotfiles", 1500).startswith(
            "==> wrote "
        )
        assert box.run("repoman -v profile show dotfiles").splitlines()[-1]  # as root, which may write bytecode
        assert "ansible" not in box.run("ls /usr/bin /usr/local/bin; python3 -c 'import ansible' 2>/dev/null && echo ansible || true")
        box.run("rm -rf /home/alice/.[a-z]* /root/.config /root/.local /root/.ansible; dpkg --purge repoman")
        assert box.run(OWN_PATHS) == before
    finally:
        box.incus("delete", "--force", release)
