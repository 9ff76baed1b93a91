# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sources of devices that a host lacks."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.profiles.sources import missing_sources, optional_hints


def test_only_what_is_required_and_certainly_absent_is_missing(tmp_path: Path) -> None:
    """Optional sources, volumes, and what exists do not count; a link to nowhere does."""
    (tmp_path / "there").write_text("")
    (tmp_path / "dangling").symlink_to("nowhere")
    gone = {"type": "disk", "source": str(tmp_path / "gone"), "path": "/x"}
    devices = {
        "gone": gone,
        "default": gone | {"required": ""},
        "yes": gone | {"required": "yes"},
        "optional": gone | {"required": "false"},
        "volume": gone | {"pool": "default"},
        "relative": gone | {"source": "volume"},
        "root": {"type": "disk", "path": "/", "pool": "default"},
        "nic": {"type": "nic"},
        "there": gone | {"source": str(tmp_path / "there")},
        "below": gone | {"source": str(tmp_path / "there/below")},
        "dangling": gone | {"source": str(tmp_path / "dangling")},
    }
    assert list(missing_sources(devices)) == ["gone", "default", "yes", "below", "dangling"]


def test_hints_edit_the_users_template_or_copy_the_vendors() -> None:
    """Remarks stand behind a number sign, and names are quoted."""
    assert optional_hints("p q", ["a", "b"], has_user_file=False) == [
        "repoman profile copy 'p q'",
        """repoman profile edit 'p q'   # set required: "false" on a, b""",
        "repoman profile install 'p q'",
    ]
    assert optional_hints("p", ["a"], has_user_file=True)[0] == """repoman profile edit p   # set required: "false" on a"""
