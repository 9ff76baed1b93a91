# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading ansible's own YAML files: the values are those of PyYAML, or there is an error."""

from __future__ import annotations

from pathlib import Path

import ansible
import pytest
import yaml

from repoman import fast_yaml

DEFINITIONS = Path(ansible.__file__).with_name("config") / "base.yml"


@pytest.mark.parametrize(
    "text",
    [
        DEFINITIONS.read_bytes(),
        "a: 1\nb: 1.5\nc: yes\nd: ~\ne:\nf: 'yes'\ng: 0o17\nh: 017\ni: 1_000\nj: .inf\nk: text\nl: -x\nm: '1'\n",
        "1: a\nyes: b\n~: c\n",
        "a: &x {b: c, d: e}\nf: *x\ng: {<<: *x, d: own}\nh:\n  d: own\n  <<: *x\n",
        "a: |\n  1\nb: >\n  yes\n",
        "- [a, {b: [1]}]\n- {}\n",
        "a: 1\na: 2\n",
        "yes",
        '"<<": a\n',
    ],
    ids=lambda text: str(text[:20]),
)
def test_values(text: bytes | str) -> None:
    """Numbers, booleans, anchors and merged mappings."""
    value = fast_yaml.read_values(text)
    expected = yaml.safe_load(text)
    assert value == expected and repr(value) == repr(expected)


@pytest.mark.parametrize(
    "text",
    [
        "a: 2020-01-01\n",
        "a: !!str 1\n",
        "a: !!map {}\n",
        "a: =\n",
        "a: <<\n",
        "{<<: {a: b}, <<: {c: d}}",
        "{<<: [{a: b}]}",
        "<<: text\n",
        "a: *x\n",
        "a: &x [*x]\n",
        "[a]: b\n",
        "a: b\n--- \nc: d\n",
        "a: [b\n",
        "",
        b"a: \xff\n",
    ],
)
def test_errors(text: bytes | str) -> None:
    """What is rare is not read, and what is wrong is an error, so that the caller can ask PyYAML."""
    with pytest.raises(fast_yaml.ERRORS):
        fast_yaml.read_values(text)
