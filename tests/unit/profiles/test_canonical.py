# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text of a profile for a diff, which is the same with libyaml and without."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template import _readable_dumper, canonical
from hypothesis import example, given
from hypothesis import strategies as st

TEXT = st.one_of(
    st.text(max_size=300),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300),
    st.text(st.sampled_from("a1 .:-#'\"{}[],&*!|>%@`?=~\\\n\t\u0085\U0001f600"), max_size=8),
    st.sampled_from(["", "null", "yes", "0x1", "1e3", "2024-01-01", "<<", "=", "---", "...", " a ", "a" * 127, "a" * 128, "a" * 129]),
)


@given(st.dictionaries(TEXT, TEXT, max_size=4), TEXT)
@example({"": ""}, "")
@example({"a": "\U0001f600"}, "")
@example({"a" * 128: "b"}, "\n")
def test_libyaml_writes_the_same(config: dict[str, str], description: str) -> None:
    """Whatever the texts are: those that it would write in another way are left to Python."""
    body = {"config": config, "description": description, "devices": {}}
    expected = yaml.dump(body, Dumper=_readable_dumper(False), sort_keys=True, default_flow_style=False, allow_unicode=True, width=10**6)
    assert canonical(body) == expected


@pytest.mark.skipif(not hasattr(yaml, "CSafeDumper"), reason="pyyaml has no libyaml")
def test_libyaml_writes_what_is_usual() -> None:
    """It takes a quarter of the time."""
    assert issubclass(_readable_dumper(True), yaml.CSafeDumper) and not issubclass(_readable_dumper(False), yaml.CSafeDumper)
