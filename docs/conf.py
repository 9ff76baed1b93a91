# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Sphinx makes the documentation site; scripts/docs puts the sources together."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes

project = "repoman"
copyright = "the repoman contributors"  # noqa: A001 - Sphinx's name
html_title = "repoman"
html_short_title = "repoman"
extensions = ["sphinx_antsibull_ext"]
html_theme = "sphinx_ansible_theme"
html_theme_options = {"display_version": False, "documentation_home_url": "index.html"}
html_show_sphinx = False
html_use_index = False
html_copy_source = False
pygments_style = "ansible"
highlight_language = "text"

ANSIBLE = "https://docs.ansible.com/ansible/latest"
PAGES = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "cache_plugins": "plugins/cache.html",
    "callback_plugins": "plugins/callback.html",
    "common_return_values": "reference_appendices/common_return_values.html",
    "inventory_plugins": "plugins/inventory.html",
    "playbooks_keywords": "reference_appendices/playbooks_keywords.html",
}
"""Labels of Ansible's own documentation that the generated pages refer to."""


def address(kind: str, target: str) -> str:
    """Return where a label or an environment variable of Ansible's or another collection's is told of; empty if it is ours."""
    if kind == "envvar" and target.startswith("ANSIBLE_"):
        return f"{ANSIBLE}/reference_appendices/config.html#envvar-{target}"
    if target in PAGES:
        return f"{ANSIBLE}/{PAGES[target]}"
    found = re.fullmatch(r"ansible_collections\.(\w+)\.(\w+)\.(\w+)", target)
    if found and found.group(1, 2) != ("homelab", "repoman"):
        return f"{ANSIBLE}/collections/{found[1]}/{found[2]}/{found[3]}.html"
    return ""


def refer(app: Any, env: Any, node: Any, text: Any) -> nodes.reference | None:
    """Make a link of a reference that leads out of this site."""
    uri = address(node.get("reftype", ""), node.get("reftarget", ""))
    return nodes.reference("", "", text, internal=False, refuri=uri) if uri else None


def setup(app: Any) -> None:
    """Be called by Sphinx."""
    app.connect("missing-reference", refer)
