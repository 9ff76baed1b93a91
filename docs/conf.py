# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Sphinx makes the documentation site; scripts/docs puts the sources together."""

from __future__ import annotations

project = "repoman"
copyright = "the repoman contributors"  # noqa: A001 - Sphinx's name
html_title = "repoman"
html_short_title = "repoman"
extensions = ["sphinx_antsibull_ext"]
html_theme = "sphinx_ansible_theme"
html_theme_options = {"display_version": False, "documentation_home_url": "index.html", "vcs_pageview_mode": "edit"}
html_show_sphinx = False
html_use_index = False
html_copy_source = False
pygments_style = "ansible"
highlight_language = "text"
