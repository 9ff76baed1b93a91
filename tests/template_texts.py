# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates in unusual YAML, and the profiles that ``incus profile edit`` makes of them."""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]
EMPTY: Body = {"description": "", "config": {}, "devices": {}}
DOUBTFUL: dict[str, tuple[str, Body]] = {
    "merge": ("x-a: &a {user.k: '1', user.l: '2'}\nconfig:\n  <<: *a\n  user.l: '3'\n", {"config": {"user.k": "1", "user.l": "3"}}),
    "merge-last": ("x-a: &a {user.k: '1'}\nconfig:\n  user.k: '9'\n  <<: *a\n", {"config": {"user.k": "1"}}),
    "merge-list": (
        "x-a: &a {user.k: '1', user.m: a}\nx-b: &b {user.k: '2', user.n: b}\nconfig:\n  <<: [*a, *b]\n",
        {"config": {"user.k": "1", "user.m": "a", "user.n": "b"}},
    ),
    "merge-twice": (
        "x-a: &a {user.k: '1'}\nx-b: &b {user.l: '1'}\nconfig:\n  <<: *a\n  <<: *b\n",
        {"config": {"user.k": "1", "user.l": "1"}},
    ),
    "merge-null": ("x-a: &a {user.k: '1'}\nconfig:\n  <<: *a\n  user.k: null\n", {}),
    "merge-top": ("x-a: &a\n  config: {user.k: '1'}\n<<: *a\nconfig: {user.l: '2'}\n", {"config": {"user.k": "1", "user.l": "2"}}),
    "merge-device": (
        "x-d: &d {type: disk, path: /m}\ndevices:\n  d:\n    <<: *d\n    source: /var/tmp\n    size: ''\n    readonly:\n",
        {"devices": {"d": {"type": "disk", "path": "/m", "source": "/var/tmp"}}},
    ),
    "merge-explicit": ("config: {!!merge <<: {user.k: '1'}}\n", {"config": {"user.k": "1"}}),
    "binary": (
        "config: {user.k: !!binary aGk=}\ndescription: !!binary |\n  aGVs\n  bG8=\n",
        {"config": {"user.k": "hi"}, "description": "hello"},
    ),
    "tags": (
        "config: {user.k: !!str 5, user.l: !!bool 'yes', user.m: !own x}\n",
        {"config": {"user.k": "5", "user.l": "yes", "user.m": "x"}},
    ),
    "null": ("description: ~\nconfig: null\ndevices:\nname: null\n", {}),
    "own": ("x-anything: [1, {a: b}]\nx-: 1\n", {}),
    "one-document": ("---\ndescription: d\n...\n", {"description": "d"}),
    "byte-order-mark": ("\ufeffdescription: d\n", {"description": "d"}),
    "server-keys": ("used_by: []\nproject: other\n", {}),
}
"""By name: the text of the template, and what differs from :data:`EMPTY` in its profile."""
