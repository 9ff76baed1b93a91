# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares templates with installed profiles and with each other."""

from __future__ import annotations

import difflib
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.host.account import HostFacts
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.installed import Installed
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.library import Library, lookup, lookup_vendor
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template import (
    Body,
    diff_text,
    parse_rendered,
    parse_template,
    rendered_text,
)


def unified(before: str, after: str, before_name: str, after_name: str) -> str:
    """Return the unified diff of two texts; empty if they are equal."""
    return "".join(difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), before_name, after_name))


def diff(name: str, library: Library, host: HostFacts, current: Installed | None) -> dict[str, Any]:
    """Compare the installed profile with the template.

    :param current: the installed profile, if it is.
    :returns: ``installed``: whether it is; ``rendered``: the rendered template; ``diff``: the unified diff from profile to template.
    """
    template = lookup(name, library)
    text = rendered_text(template, host)
    desired = parse_rendered(template, text)
    difference = "" if current is None else _difference(current.body, desired, f"incus: {name}", template.file_path)
    return {"installed": current is not None, "rendered": text, "diff": difference}


def diff_vendor(name: str, library: Library, host: HostFacts) -> str:
    """Return the unified diff from the vendor's file to the user's that shadows it; both are rendered and compared as data.

    :raises NotFoundError: the user's file does not shadow one.
    """
    vendor, user = lookup_vendor(name, library), lookup(name, library)
    return _difference(parse_template(vendor, host), parse_template(user, host), vendor.file_path, user.file_path)


def _difference(before: Body, after: Body, before_name: str, after_name: str) -> str:
    """Return the unified diff of two profiles, without values that may be secret."""
    return unified(diff_text(before), diff_text(after, before), before_name, after_name)


def show(name: str, library: Library, host: HostFacts) -> str:
    """Return the rendered template.

    :raises RepomanError: the template does not exist or cannot be rendered.
    """
    template = lookup(name, library)
    text = rendered_text(template, host)
    parse_rendered(template, text)
    return text
