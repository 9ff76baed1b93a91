# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``{host}`` in the directory of the backup."""

from __future__ import annotations

import socket

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.registry.backup_root import backup_root
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import parse
from registry_texts import HEAD


def directory(value: str, me: Account) -> str:
    """Return the directory for a value in a registry."""
    return backup_root(parse(f'{HEAD}[defaults]\nbackup_root = "{value}"\n', "/r").defaults, me)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("/nfs/repos/{host}", "/nfs/repos/nas1.lan"),
        ("/nfs/{host}-{host}/b", "/nfs/nas1.lan-nas1.lan/b"),
        ("~/{host}/", "HOME/nas1.lan"),
        ("$HOME/x/{host}", "HOME/x/nas1.lan"),
        ("/nfs${HOME}/{host}", "/nfsHOME/nas1.lan"),
        ("/nfs/repos", "/nfs/repos"),
    ],
)
def test_host_is_filled_in(value: str, path: str, me: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the whole name, as in the marker, wherever it stands; HOME works as before."""
    monkeypatch.setattr(socket, "gethostname", lambda: "nas1.lan")
    assert directory(value, me) == path.replace("HOME", me.home)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a\nb"])
def test_name_that_is_no_directory_is_refused(name: str, me: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only if it is needed."""
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    with pytest.raises(ConflictError, match="cannot be the name of a directory") as caught:
        directory("/nfs/{host}", me)
    assert caught.value.hints
    assert directory("/nfs/repos", me) == "/nfs/repos"
