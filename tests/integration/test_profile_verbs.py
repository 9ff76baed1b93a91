# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The profile verbs, with the incus client as witness."""

from __future__ import annotations

import json
import os
import stat

import pytest
from proxy import RecordingProxy
from template_texts import DOUBTFUL, EMPTY
from world import CHECKOUT, World

REPORT = {"ANSIBLE_STDOUT_CALLBACK": "homelab.repoman.report"}
VENDOR = ["claude-share", "dotfiles", "llm-share"]
TINY = 'description: tiny\nconfig:\n  user.who: "${USER}"\n'


def test_install_all_four_ways(ready: World, proxy: RecordingProxy) -> None:
    """Check writes nothing, apply installs in alphabetical order, again only reads, check again agrees."""
    checked = ready.repoman("-C", "profile", "install", "--all")
    assert "would install claude-share" in checked.out
    assert set(ready.profiles()) == {"default"} and proxy.writes == []
    out = ready.repoman("profile", "install", "--all").out
    assert out.splitlines() == [*(f"==> installed {name} (source: vendor)" for name in VENDOR), "3 profiles are installed"]
    assert [method for method, _target in proxy.writes] == ["POST"] * 3
    profiles = ready.profiles()
    assert profiles["llm-share"]["config"]["environment.OLLAMA_HOST"] == f"http://{ready.lan_ip}:11434"
    assert profiles["claude-share"]["devices"]["claude-state"]["source"] == f"{ready.home}/.claude"
    assert profiles["dotfiles"]["devices"]["hgrc"]["required"] == "false"
    proxy.clear()
    again = ready.repoman("profile", "install", "--all").out
    assert again.splitlines() == ["3 profiles are up to date"]
    assert proxy.requests == [("GET", "/1.0/profiles?recursion=1&project=default")]
    named = [f"==> {name} is up to date (source: vendor)" for name in VENDOR]
    text = ready.registry.read_text()
    ready.write(ready.registry, text.replace('output = "quiet"', 'output = "normal"'))
    assert ready.repoman("profile", "install", "--all").out.splitlines()[:-1] == named
    assert ready.playbook("homelab.repoman.profile_install", repoman_profile_all=True, env=REPORT).out.splitlines()[:-1] == named
    assert ready.repoman("profile", "install", "--all", "-q").out == again
    ready.write(ready.registry, text)
    assert ready.repoman("profile", "install", "--all", "-v").out.splitlines()[:-1] == named
    assert ready.repoman("profile", "install", VENDOR[0], "-q").out.splitlines() == named[:1]
    assert not ready.repoman("-C", "--json", "profile", "install", "--all").data["changed"]


def test_list_tells_source_and_drift(ready: World) -> None:
    """The table of design and spec: source, shadowing, installed, drift."""
    ready.install("claude-share", "llm-share")
    ready.template("llm-share", "description: mine\n")
    ready.template("my-experiment", TINY)
    rows = [line.split() for line in ready.repoman("profile", "list").out.splitlines()]
    assert rows[0] == ["NAME", "SOURCE", "INSTALLED", "DRIFT"]
    assert rows[1:] == [
        ["claude-share", "vendor", "yes", "no"],
        ["dotfiles", "vendor", "no", "n/a"],
        ["llm-share", "user", "(shadows", "vendor)", "yes", "yes"],
        ["my-experiment", "user", "no", "n/a"],
    ]
    listed = {line["name"]: line for line in ready.repoman("--json", "profile", "list").data["profiles"]}
    assert listed["llm-share"]["drift"] and listed["llm-share"]["file_path"] == str(ready.user_dir / "llm-share.yml")


def test_list_reads_once_whatever_the_number(ready: World, proxy: RecordingProxy) -> None:
    """Thirty profiles cost one request, and thirty installs one read and one write each."""
    for number in range(30):
        ready.template(f"p{number:02}", TINY)
    proxy.clear()
    ready.repoman("profile", "install", "--all")
    assert len(proxy.requests) == 1 + 33
    proxy.clear()
    ready.repoman("profile", "list")
    assert len(proxy.requests) == 1


def test_what_incus_stores_is_no_drift(ready: World) -> None:
    """Numbers, booleans, empty values, odd characters and order survive the round trip through Incus."""
    ready.template(
        "odd",
        'description: "über <b> & \\"quotes\\" – \u2028"\nconfig:\n  user.z: 007\n  user.a: true\n  limits.cpu: 2\n  user.empty: ""\n  user.html: "<&>"\n'
        "devices:\n  tmp:\n    type: disk\n    path: /mnt/x\n    source: /var/tmp\n    readonly: true\n",
    )
    ready.repoman("profile", "install", "odd")
    assert "no difference" in ready.repoman("profile", "diff", "odd").out
    assert not ready.repoman("--json", "profile", "install", "odd").data["changed"]


def test_update_carries_if_match_at_the_first_try(ready: World, proxy: RecordingProxy) -> None:
    """A changed profile is written with one PUT after one bulk read: the computed ETag is Incus's."""
    ready.template("odd", 'description: "ü<&>"\nconfig:\n  user.a: "1"\n')
    ready.install("odd")
    ready.template("odd", 'description: "ü<&>"\nconfig:\n  user.a: "2"\n')
    proxy.clear()
    ready.repoman("profile", "install", "odd")
    assert [method for method, _target in proxy.requests] == ["GET", "PUT"]
    assert ready.profiles()["odd"]["config"] == {"user.a": "2"}


def test_change_by_another_between_read_and_write_is_planned_again(ready: World, proxy: RecordingProxy) -> None:
    """Somebody edits the profile between our read and our write: we plan again and lose no update silently."""
    ready.template("tiny", TINY)
    ready.install("tiny")
    ready.template("tiny", TINY.replace("tiny", "new"))
    meddled: list[str] = []

    def meddle(method: str, _target: str) -> None:
        if method == "PUT" and not meddled:
            meddled.append(ready.incus("profile", "set", "tiny", "user.other=1"))

    proxy.clear()
    proxy.on_request(meddle)
    ready.repoman("profile", "install", "tiny")
    assert meddled and [method for method, _target in proxy.writes] == ["PUT", "PUT"]
    assert ready.profiles()["tiny"]["config"] == {"user.who": ready.me.name}


def test_diff_after_a_hand_edit(ready: World) -> None:
    """A hand edit shows as a diff with exit code 1; equal is 0; not installed is 1 with the rendered text."""
    out = ready.repoman("profile", "diff", "claude-share", code=1).out
    assert out.startswith("not installed; would install claude-share\n") and f"source: {ready.home}/.claude" in out
    ready.install("claude-share")
    ready.repoman("profile", "diff", "claude-share")
    ready.incus("profile", "set", "claude-share", "limits.cpu=2")
    changed = [
        line
        for line in ready.repoman("profile", "diff", "claude-share", code=1).out.splitlines()
        if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ]
    assert changed == ["-config:", "-  limits.cpu: '2'", "+config: {}"]


def test_diff_vendor(ready: World) -> None:
    """The shadow against the vendor's file; where nothing is shadowed, exit 3 with a hint."""
    ready.template("dotfiles", "description: mine\n")
    assert "+description: mine" in ready.repoman("profile", "diff", "dotfiles", "--vendor", code=1).out
    assert "claude-share" in ready.refused("profile", "diff", "claude-share", "--vendor", code=3)


def test_show_renders(ready: World) -> None:
    """show prints the rendered template as it would be installed."""
    out = ready.repoman("profile", "show", "llm-share").out
    assert f'"http://{ready.lan_ip}:11434"' in out and f"source: {ready.home}/.ollama" in out


def test_remove_four_ways_leaves_the_file(ready: World, proxy: RecordingProxy) -> None:
    """remove takes the profile out of Incus, names the file it leaves, and warns of who still names it."""
    path = ready.template("tiny", TINY)
    ready.install("tiny")
    ready.write(ready.registry, ready.registry.read_text() + '\n[[project]]\nname = "isurus"\nrepo = "isurus"\nprofiles = ["tiny"]\n')
    proxy.clear()
    ready.repoman("-C", "profile", "remove", "tiny")
    assert "tiny" in ready.profiles() and proxy.writes == []
    result = ready.repoman("profile", "remove", "tiny")
    assert result.out == f"==> removed tiny from incus (file at {path} untouched)\n"
    assert "isurus" in result.err and "warning" in result.err
    assert "tiny" not in ready.profiles() and path.exists()
    proxy.clear()
    ready.refused("profile", "remove", "tiny", code=1)
    assert proxy.writes == []
    ready.refused("-C", "profile", "remove", "tiny", code=1)


def test_remove_of_a_profile_in_use_names_who_uses_it(ready: World) -> None:
    """Incus keeps profiles in use: so do we, and say who."""
    ready.template("tiny", TINY)
    ready.install("tiny")
    ready.git_repository("p")
    ready.new("p", profiles=["default", "tiny"])
    for flags in ([], ["-C"]):
        err = ready.refused(*flags, "profile", "remove", "tiny", code=1)
        assert "in use" in err and "p (project repoman)" in err
    assert "tiny" in ready.profiles()


def test_one_failure_does_not_stop_the_others(ready: World) -> None:
    """--all goes on after a template that fails; the worst exit code wins."""
    ready.template("aa-broken", "config: [\n")
    ready.template("bb-refused", "config:\n  no.such.key: '1'\n")
    result = ready.repoman("profile", "install", "--all", code=3)
    assert "==> installed claude-share (source: vendor)" in result.out
    assert "aa-broken.yml" in result.err and "line" in result.err and "no.such.key" in result.err
    assert set(ready.profiles()) == {"default", *VENDOR}


def test_broken_template_still_lists(ready: World) -> None:
    """A template that is no YAML is a line of the list and a warning; install names file and line."""
    path = ready.template("broken", "config:\n  a: b: c\n")
    result = ready.repoman("profile", "list")
    assert any(line.split()[:1] == ["broken"] for line in result.out.splitlines()) and "claude-share" in result.out
    assert f"{path}, line 2" in result.err
    assert f"{path}, line 2" in ready.refused("profile", "install", "broken", code=3)


def test_address_not_known(ready: World) -> None:
    """A template that needs the address says so with the cure."""
    ready.write(ready.registry, ready.registry.read_text().replace(ready.lan_ip, ""))
    assert "repoman setup" in ready.refused("profile", "install", "llm-share", code=3)
    ready.repoman("profile", "install", "claude-share")
    ready.repoman("profile", "list")


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "-x", "", ".hidden", "a\nb"])
@pytest.mark.parametrize("verb", ["install", "diff", "remove", "show"])
def test_bad_names(ready: World, proxy: RecordingProxy, verb: str, name: str) -> None:
    """Names that cannot be are refused before anything is opened."""
    err = ready.refused("profile", verb, "--", name, code=2)
    assert "\n\n" not in err and proxy.writes == []


def test_user_variable_cannot_inject(ready: World) -> None:
    """USER with a newline and YAML in it adds no key to a profile: it is nobody's name, and the account's own is taken."""
    ready.template("tiny", TINY.replace('"', ""))
    ready.repoman("profile", "install", "tiny", env={"USER": "x\n  security.privileged: 'true'"})
    assert "security.privileged" not in ready.profiles()["tiny"]["config"]
    assert ready.me.name in str(ready.profiles()["tiny"])


def test_unknown_profile_suggests_the_nearest(ready: World) -> None:
    """A slip of the finger gets the right name."""
    assert "claude-share" in ready.refused("profile", "install", "claude-shar", code=3)


def test_vendor_directories(ready: World) -> None:
    """REPOMAN_VENDOR_DIR stands before the collection's own profiles."""
    vendors = ready.home / "vendors"
    ready.write(vendors / "only.yml", TINY)
    rows = ready.repoman("--json", "profile", "list", env={"REPOMAN_VENDOR_DIR": str(vendors)}).data["profiles"]
    assert [(row["name"], row["source"]) for row in rows] == [("only", "vendor")]


def test_vendor_files_are_the_specs() -> None:
    """The three vendor profiles, with optional sources in dotfiles alone."""
    files = {path.stem: path.read_text() for path in (CHECKOUT / "profiles").glob("*.yml")}
    assert sorted(files) == VENDOR
    assert [text.count('required: "false"') for _name, text in sorted(files.items())] == [0, 2, 0]


def test_names_with_odd_characters_are_quoted(ready: World) -> None:
    """A name that Incus takes but a URL does not is quoted on the way."""
    ready.template("50% ü?x", "description: odd name\n")
    ready.repoman("profile", "install", "50% ü?x")
    assert "50% ü?x" in ready.profiles()
    assert stat.S_ISREG(ready.registry.stat().st_mode) and json.loads(ready.incus("profile", "list", "--format=json"))
    ready.repoman("profile", "remove", "50% ü?x")
    assert "50% ü?x" not in ready.profiles()


def test_templates_are_taken_as_the_client_takes_them(ready: World) -> None:
    """``install`` makes the same profile of a template as the client makes of the file, and the list shows no drift."""
    for name, (text, _body) in DOUBTFUL.items():
        ready.template(name, text)
        ready.incus("profile", "create", f"by-hand-{name}")
        command = f"incus profile edit by-hand-{name} <{ready.user_dir}/{name}.yml"
        assert ready.run("sh", "-c", command, env={"INCUS_CONF": str(ready.home / "client")}).code == 0, name
    (ready.user_dir / "null.yml").rename(ready.user_dir / "null.yaml")
    ready.repoman("profile", "install", "--all")
    profiles = ready.profiles()
    for name, (_text, body) in DOUBTFUL.items():
        for made in (name, f"by-hand-{name}"):
            assert {key: profiles[made][key] for key in EMPTY} == EMPTY | body, made
    assert not ready.repoman("--json", "profile", "install", "--all").data["changed"]
    assert not [row["name"] for row in ready.repoman("--json", "profile", "list").data["profiles"] if row["drift"] or row["error"]]


def test_the_library_bears_files_of_every_kind(ready: World) -> None:
    """A pipe does not hang, an empty file does not shadow, two files of a name and a wrong suffix are sentences, and the rest works."""
    ready.mkdir(ready.user_dir)
    os.mkfifo(ready.user_dir / "pipe.yml")
    for file in ("two.yml", "two.yaml", "loud.YML"):
        ready.write(ready.user_dir / file, TINY)
    ready.template("nas:x", TINY)
    file = ready.user_dir / "dotfiles.yml"
    assert ready.run("sh", "-c", f"repoman profile show dotfiles >{file}").code == 0
    shown = file.read_text()
    assert "hgrc" in shown and ready.repoman("profile", "show", "dotfiles").out == shown
    file.write_text(" \n")
    listed = ready.repoman("--json", "profile", "list").data
    assert f"{file} is empty, so it does not shadow the vendor's template" in listed["warnings"]
    rows = {row["name"]: row for row in listed["profiles"]}
    assert (rows["dotfiles"]["source"], rows["dotfiles"]["error"]) == ("vendor", "")
    assert sorted(name for name in rows if rows[name]["error"]) == ["loud", "nas:x", "pipe", "two"]
    result = ready.repoman("profile", "install", "--all", code=4)
    assert result.out.splitlines()[:-1] == [f"==> installed {name} (source: vendor)" for name in VENDOR]
    for words in ("'nas:x' cannot be", "pipe.yml: not a regular file", "loud.YML: the name", "two.yml and two.yaml"):
        assert words in result.err


def test_what_install_replaces_is_saved(ready: World, proxy: RecordingProxy) -> None:
    """A hand-made profile comes back with the printed command; the next run saves and writes nothing."""
    by_hand = {
        "description": "by hand – ü",
        "config": {"user.a": "yes", "user.b": "null", "user.c": " x\n"},
        "devices": {"d": {"type": "none"}},
    }
    ready.incus("query", "--request=POST", "--data", json.dumps({"name": "tiny"} | by_hand), "/1.0/profiles?project=default")
    ready.template("tiny", TINY)
    replaced = ready.home / ".local/state/repoman/replaced"
    assert f"would save the installed tiny in {replaced}\n" in ready.repoman("-C", "profile", "install", "tiny").out
    assert not replaced.exists()
    saved, installed = ready.repoman("profile", "install", "tiny").out.splitlines()
    (file,) = replaced.iterdir()
    assert (file.stat().st_uid, stat.S_IMODE(file.stat().st_mode)) == (ready.me.uid, 0o600)
    assert installed == "==> installed tiny (source: user)"
    proxy.clear()
    ready.repoman("profile", "install", "tiny")
    assert proxy.writes == [] and list(replaced.iterdir()) == [file]
    ready.template("tiny", TINY.replace("tiny", "newer"))
    assert ready.repoman("profile", "install", "tiny").out == "==> installed tiny (source: user)\n"
    assert list(replaced.iterdir()) == [file]
    command = saved.removeprefix("==> saved the former tiny; to bring it back: ")
    assert ready.run("sh", "-c", command, env={"INCUS_CONF": str(ready.home / "client")}).code == 0
    assert {key: ready.profiles()["tiny"][key] for key in by_hand} == by_hand


def test_install_default_needs_force(ready: World) -> None:
    """Incus's own profile, with the root disk, is not lost by a file that is called like it."""
    before = ready.profiles()["default"]
    ready.template("default", 'description: mine\ndevices: {root: {type: disk, path: /, pool: default}}\nconfig: {user.mine: "1"}\n')
    assert "profile install default --force" in ready.refused("profile", "install", "default", code=4)
    ready.refused("-C", "profile", "install", "default", code=4)
    assert ready.profiles()["default"] == before
    out = ready.repoman("profile", "install", "--all", code=4).out
    assert out.splitlines()[-1] == f"{len(VENDOR) + 1} profiles: {len(VENDOR)} installed, 1 failed"
    command = ready.repoman("--json", "profile", "install", "default", "--force").data["profiles"][0]["restore_command"]
    try:
        assert ready.profiles()["default"]["config"] == {"user.mine": "1"}
    finally:
        assert ready.run("sh", "-c", command, env={"INCUS_CONF": str(ready.home / "client")}).code == 0
    assert ready.profiles()["default"] == before


def test_a_profile_that_an_instance_cannot_take(ready: World) -> None:
    """Incus has the new profile: the result says so, quotes the error and has the command that undoes it; the list agrees."""
    ready.template("tiny", TINY)
    ready.install("tiny")
    ready.git_repository("p")
    ready.new("p", profiles=["default", "tiny"])
    ready.template("tiny", TINY + "devices: {d: {type: disk, path: /m, source: /nonexistent}}\n")
    result = ready.repoman("profile", "install", "tiny", code=1)
    assert "==> installed tiny (source: user)" in result.out
    assert "profile 'tiny' was installed, but incus could not apply it to every instance: Project: repoman, Instance: p: " in result.err
    assert ready.profiles()["tiny"]["devices"]["d"]["source"] == "/nonexistent"
    (row,) = [row for row in ready.repoman("--json", "profile", "list").data["profiles"] if row["name"] == "tiny"]
    assert row["installed"] and not row["drift"]
    hint = next(line for line in result.err.splitlines() if "incus profile edit" in line).removeprefix("hint: ")
    assert ready.run("sh", "-c", hint, env={"INCUS_CONF": str(ready.home / "client")}).code == 0
    assert ready.profiles()["tiny"]["devices"] == {}


def test_copy_shadows(ready: World, proxy: RecordingProxy) -> None:
    """The copy is the vendor's file as it is, and shadows it; Incus is not asked; another name is another profile."""
    path = ready.user_dir / "llm-share.yml"
    assert f"would copy the template to {path}" in ready.repoman("-C", "profile", "copy", "llm-share").out
    assert f"+++ {path}" in ready.repoman("-C", "--diff", "profile", "copy", "llm-share").out
    assert not path.exists()
    assert ready.repoman("profile", "copy", "llm-share").out == f"==> copied the template to {path}\n"
    vendor = (CHECKOUT / "profiles/llm-share.yml").read_text()
    assert (path.read_text(), path.stat().st_uid) == (vendor, ready.me.uid)
    assert ready.repoman("profile", "show", "llm-share", "--raw").out == vendor
    assert not ready.repoman("--json", "profile", "copy", "llm-share").data["changed"]
    assert proxy.requests == []
    ready.template("llm-share", "description: mine\n")
    ready.refused("profile", "copy", "llm-share", code=4)
    assert path.read_text() == "description: mine\n"
    ready.repoman("profile", "copy", "llm-share", "my-llm")
    ready.repoman("profile", "copy", "dotfiles", "my-dots")
    assert ready.repoman("profile", "install", "my-llm", "my-dots").out.count("==> installed my-") == 2
    ready.refused("profile", "copy", "dotfiles", "a:b", code=2)


def test_edit_shows_what_install_would_change(ready: World) -> None:
    """After the edit: not installed; then the difference to the installed profile; then none. Each hint is the command that installs."""
    ready.template("tiny", TINY)
    first = ready.repoman("profile", "edit", "tiny", env={"EDITOR": "sed -i s/tiny/small/"})
    assert first.out.endswith("==> wrote ~/.config/repoman/profiles.d/tiny.yml\ntiny is not installed\n")
    assert first.err == "hint: repoman profile install tiny\n"
    ready.install("tiny")
    second = ready.repoman("profile", "edit", "tiny", env={"EDITOR": "sed -i s/small/large/"})
    assert "-description: small\n+description: large\n" in second.out and second.err == "hint: repoman profile install tiny\n"
    third = ready.repoman("profile", "edit", "tiny", env={"EDITOR": "sed -i s/large/small/"})
    assert third.out.endswith("the installed profile is the same\n") and third.err == ""
