# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The differences of an instance from its desired configuration, and its text in a diff."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import APPLIED_KEY, PROTECTED_KEY
from ansible_collections.homelab.repoman.plugins.module_utils.projects.reconcile import Differences, diff_text, reconcile
from hypothesis import given
from hypothesis import strategies as st


def instance(applied: dict[str, list[str]], **more: Any) -> dict[str, Any]:
    """Return an instance as Incus describes it."""
    data: dict[str, Any] = {"config": {}, "devices": {}, "profiles": ["default"]} | more
    data["config"] |= {APPLIED_KEY: json.dumps(applied)}
    return data


def test_manual_settings_stay_and_applied_ones_are_corrected() -> None:
    """Manual keys and devices stay, changed ones are corrected, those that repoman no longer wants are removed."""
    data = instance(
        {"config": ["a", "b"], "devices": ["repo", "old"]},
        config={"a": "changed", "b": "2", "mine": "1"},
        devices={"repo": {"path": "/r"}, "old": {"path": "/o"}, "mine": {"path": "/m"}},
    )
    config = {"a": "1", "c": "3", APPLIED_KEY: "new"}
    found = reconcile(data, config, {"repo": {"path": "/r"}, "x": {"path": "/x"}}, ["default"])
    assert found.current["config"]["a"] == "changed"
    assert found.desired["config"] == {"a": "1", "c": "3", "mine": "1", APPLIED_KEY: "new"}
    assert found.desired["devices"] == {"repo": {"path": "/r"}, "mine": {"path": "/m"}, "x": {"path": "/x"}}
    assert found.describe() == [
        "key a was changed",
        "key b is no longer wanted",
        "key c is missing",
        "device old is no longer wanted",
        "device x is missing",
    ]
    assert Differences(found.desired, found.desired).describe() == []


def test_unset_keys_go_whoever_set_them() -> None:
    """Except what Incus keeps, and data for cloud-init that repoman may have made itself: only those applied from a task or an override."""
    keys = {"mine": "1", "b": "2", "cloud-init.user-data": "account", "cloud-init.vendor-data": "x", "user.note": "y", "volatile.uuid": "z"}
    data = instance({"config": ["b", "cloud-init.vendor-data"]}, config=keys)
    unset = ("mine", "b", "cloud-init.user-data", "cloud-init.vendor-data", "nosuch", "volatile.uuid")
    left = reconcile(data, {}, {}, ["default"], unset=unset).desired["config"]
    assert left.keys() - {APPLIED_KEY} == {"cloud-init.user-data", "user.note", "volatile.uuid"}


def test_the_record_of_a_protection_ends_with_it() -> None:
    """Without ``protect`` in the override, the instance does not keep the record; with it, it gets the new one."""
    data = instance({"config": [], "devices": []}, config={PROTECTED_KEY: "{}"})
    assert PROTECTED_KEY not in reconcile(data, {}, {}, ["default"]).desired["config"]
    assert reconcile(data, {PROTECTED_KEY: "new"}, {}, ["default"]).desired["config"][PROTECTED_KEY] == "new"


@pytest.mark.parametrize(
    ("now", "applied", "wanted", "then"),
    [
        (["default"], ["default"], ["default", "new"], ["default", "new"]),
        (["default", "old"], ["default", "old"], ["default"], ["default"]),
        (["mine", "default"], ["default"], ["default"], ["mine", "default"]),
        (["default", "mine", "b"], ["default", "b"], ["default", "b"], ["default", "mine", "b"]),
        (["b", "mine", "a"], ["a", "b"], ["a", "b"], ["a", "b", "mine"]),
        (["default", "mine"], [], ["default"], ["default", "mine"]),
    ],
)
def test_order_of_profiles(now: list[str], applied: list[str], wanted: list[str], then: list[str]) -> None:
    """Profiles are added and removed to get the desired order; those added by hand stay."""
    found = reconcile(instance({"profiles": applied}, profiles=now), {}, {}, wanted)
    assert found.current["profiles"] == now and found.desired["profiles"] == then


SECRET_KEYS = (
    *("environment.TOKEN", "user.db_password", "cloud.Secret", "user.private-key", "cloud-init.user-data", "user.vendor-data"),
    *("user.user-data", "cloud-init.network-config", "user.api_key", "user.apiKey", "user.API-KEY", "user.passphrase", "user.db_pass"),
    *("user.webhook", "user.aws.access.key", "user.ssh key", "user.registry_auth", "user.wifi-psk", "user.signing.keys", "user.cookie"),
)
SHOWN_KEYS = (
    "limits.cpu",
    "user.note",
    "user.monkey",
    "user.public_key",
    "user.passenger",
    "security.nesting",
    "boot.autostart",
    "user.author",
)


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_secrets_are_not_shown(key: str) -> None:
    """Neither side has the value, but a change is a difference; the server's own keys are left out. So with properties of devices."""
    before = {
        "config": {key: "hush", "limits.cpu": "2", "volatile.x": "1", "image.os": "y"},
        "profiles": [],
        "devices": {"x": {key: "hush"}},
    }
    after = before | {"config": before["config"] | {key: "other hush"}, "devices": {"x": {key: "other hush"}, "y": {key: "hush"}}}
    for keys in (("config", "profiles"), ("devices",)):
        texts = [diff_text(before, keys), diff_text(after, keys, before)]
        assert texts[0] != texts[1] and not any("hush" in text or "volatile" in text or "image" in text for text in texts)
        assert all(key in text and "limits.cpu" in text for text in texts)
        assert diff_text(before, keys, before) == texts[0]


@pytest.mark.parametrize("key", SHOWN_KEYS)
def test_other_values_are_shown(key: str) -> None:
    """Names that only resemble those of secrets."""
    side = {"config": {key: "seen"}, "profiles": [], "devices": {"x": {"source": "/seen", "path": "/x"}}}
    text = diff_text(side, ("config", "profiles", "devices"), side)
    assert f"{key}: seen" in text and "source: /seen" in text


def test_diffs_leave_out_the_keys_of_repoman_and_count_the_lines_of_documents() -> None:
    """If only its own keys change, the texts are equal. Texts of several lines are blocks."""
    side = {"config": {APPLIED_KEY: "{}", "user.repoman.owner": "me", "user.notes": "a\nb: c\n"}, "profiles": [], "devices": {}}
    side["config"]["cloud-init.user-data"] = "#cloud-config\nhush: 1\n"  # type: ignore[call-overload]
    text = diff_text(side, ("config",))
    assert text == "config:\n  cloud-init.user-data: (not shown, 2 lines)\n  user.notes: |\n    a\n    b: c\n"
    other = side | {"config": side["config"] | {APPLIED_KEY: "[]"}}  # type: ignore[operator]
    assert diff_text(other, ("config",), side) == text
    other = side | {"config": side["config"] | {"cloud-init.user-data": "#cloud-config\nhush: 1\nx: 2\n"}}  # type: ignore[operator]
    assert "  cloud-init.user-data: (not shown, another one, 3 lines)\n" in diff_text(other, ("config",), side)


KEYS = ("user.a", "user.b", "limits.cpu", "user.c")
DEVICES = ("repo", "data", "gpu")
PROFILES = ("default", "llm", "mine", "dotfiles")
VALUES = st.sampled_from(("", "1", "2"))
WANTED = st.fixed_dictionaries(
    {
        "config": st.dictionaries(st.sampled_from(KEYS), VALUES),
        "devices": st.dictionaries(st.sampled_from(DEVICES), st.fixed_dictionaries({"path": VALUES})),
        "profiles": st.lists(st.sampled_from(PROFILES), unique=True),
    }
)
EDITS = st.lists(st.tuples(st.sampled_from(("config", "devices")), st.sampled_from((*KEYS, *DEVICES)), st.none() | VALUES), max_size=4)


@given(runs=st.lists(st.tuples(EDITS, st.lists(st.sampled_from(PROFILES), unique=True, max_size=2), WANTED), min_size=1, max_size=5))
def test_any_history(runs: list[tuple[list[tuple[str, str, str | None]], list[str], dict[str, Any]]]) -> None:
    """Whatever was wanted and edited before, all that is wanted is there, what was wanted is gone, what is by hand stays, and a second run agrees."""
    applied: dict[str, list[str]] = {"config": [], "devices": [], "profiles": []}
    sides: dict[str, Any] = {"config": {}, "devices": {}, "profiles": []}
    for edits, added, wanted in runs:
        for field, key, value in edits:
            sides[field].pop(key, None)
            if value is not None:
                sides[field][key] = value if field == "config" else {"path": value}
        sides["profiles"] += [name for name in added if name not in sides["profiles"]]
        desired = reconcile(instance(applied, **copy.deepcopy(sides)), wanted["config"], wanted["devices"], wanted["profiles"]).desired
        for field in ("config", "devices"):
            by_hand = {key: value for key, value in sides[field].items() if key not in applied[field]}
            assert {key: value for key, value in desired[field].items() if key != APPLIED_KEY} == by_hand | wanted[field]
        by_hand_profiles = [name for name in sides["profiles"] if name not in (*applied["profiles"], *wanted["profiles"])]
        assert [name for name in desired["profiles"] if name in wanted["profiles"]] == wanted["profiles"]
        assert [name for name in desired["profiles"] if name not in wanted["profiles"]] == by_hand_profiles
        applied = {field: list(wanted[field]) for field in applied}
        sides = {"config": desired["config"], "devices": desired["devices"], "profiles": desired["profiles"]}
        sides["config"].pop(APPLIED_KEY, None)
        again = reconcile(instance(applied, **copy.deepcopy(sides)), wanted["config"], wanted["devices"], wanted["profiles"])
        assert not again and again.describe() == []
