# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other hosts: the same verbs on two Incus hosts over ssh, in parallel, with and without become."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from lab import Lab, closed_port, lab
from proxy import Hook, RecordingProxy, RequestPause
from world import CHECKOUT, TIMEOUT, Me, Result, changes, place_for

HOMELAB = Path(__file__).parent / "homelab"
NAMES = ("nas1", "nas2")
GUIDE = CHECKOUT / "docs/docsite/rst/several_hosts.rst"


@pytest.fixture(scope="module")
def built(me: Me, installation: Path) -> Iterator[Lab]:
    """The lab."""
    with lab(me, installation) as built:
        yield built


@pytest.fixture
def homelab(built: Lab) -> Iterator[Lab]:
    """The lab, as it was at first."""
    yield built
    for host in built.hosts.values():
        host.clean()
        for path in (host.registry, *host.user_dir.glob("*"), *host.overrides.glob("*")):
            path.unlink(missing_ok=True)
        for name in ("src", "backup"):
            shutil.rmtree(host.home / name, ignore_errors=True)


@contextmanager
def open_proxy(socket: str) -> Iterator[RecordingProxy]:
    """Put a recording proxy that any user may use in front of a socket."""
    with RecordingProxy(socket) as proxy:
        os.chmod(proxy.path, 0o666)
        os.chmod(os.path.dirname(proxy.path), 0o755)
        yield proxy


def by_host(result: Result) -> dict[str, str]:
    """Return what was reported of each host."""
    parts = result.out.split("== ")[1:]
    return {part.partition(" ==\n")[0]: part.partition(" ==\n")[2] for part in parts}


def test_two_hosts_from_setup_to_remove(homelab: Lab) -> None:
    """Each verb works on both; each host has its own registry, library and containers, and its person owns its files."""
    repoman, inventory = homelab.controller.repoman, homelab.inventory()
    on = ("-i", inventory, "-l", "nas*", "--forks", "2")
    set_up = repoman(*on, "setup")
    assert list(by_host(set_up)) == list(NAMES)
    for name, host in homelab.hosts.items():
        assert f"home         {host.home}\n" in by_host(set_up)[name] and host.registry.exists()
        host.write(host.registry, re.sub(r'(?m)^lan_ip = ".*?"', f'lan_ip = "192.0.2.{name[-1]}"', host.registry.read_text()))
        host.git_repository("demo")
    repoman(*on, "-C", "profile", "install", "--all")
    assert [list(host.profiles()) for host in homelab.hosts.values()] == [["default"]] * 2
    installed = by_host(repoman(*on, "profile", "install", "--all"))
    for name, host in homelab.hosts.items():
        assert installed[name].count("==> installed ") == 3
        assert f"192.0.2.{name[-1]}" in str(host.profiles()["llm-share"])
        assert host.me.name in str(host.profiles()["claude-share"]) or str(host.home) in str(host.profiles()["claude-share"])
    assert repoman(*on, "--json", "profile", "install", "--all").data["changed"] is False
    assert repoman(*on, "-C", "--json", "profile", "install", "--all").data["changed"] is False

    made = repoman(*on, "new", "demo", "--image", "busybox", "--profile", "default", "--profile", "dotfiles")
    for name, host in homelab.hosts.items():
        command = re.findall(rf"^next, on {name}: (.*)$", by_host(made)[name], re.MULTILINE)[0]
        assert host.run("sh", "-c", f"{command} -c id", env={"INCUS_CONF": str(host.home / "client")}).out.startswith(f"uid={host.me.uid}(")
    for host in homelab.hosts.values():
        instance = host.instances()["demo"]
        assert instance["status"] == "Running"
        assert instance["devices"]["repo"]["source"] == str(host.repos / "demo")
        assert (host.registry.stat().st_uid, (host.repos / "demo").stat().st_uid) == (host.me.uid, host.me.uid)
        assert host.run("git", "fsck", cwd=host.repos / "demo").code == 0
    listed = repoman(*on, "--json", "list").data
    assert list(listed["hosts"]) == list(NAMES)
    assert [[(project["name"], project["state"], project["repo"]) for project in listed["hosts"][name]["projects"]] for name in NAMES] == [
        [("demo", "Running", str(host.repos / "demo"))] for host in homelab.hosts.values()
    ]
    assert not repoman(*on, "--json", "new", "demo").data["changed"]
    for host in homelab.hosts.values():
        host.write(host.registry, host.registry.read_text().replace('"/nfs/repos"', '"~/backup"'))
    repoman("-i", inventory, "-l", "nas1", "sync", "--init", "--allow-local")
    strict = repoman(*on, "--json", "status", "demo", "--strict", code=1).data  # only nas2 has no backup
    assert {name: (host["exit_code"], host["failed"]) for name, host in strict["hosts"].items()} == {"nas1": (0, False), "nas2": (1, False)}
    repoman("-i", inventory, "-l", "nas2", "remove", "demo", "--yes")
    assert ["demo" in host.instances() for host in homelab.hosts.values()] == [True, False]
    assert not homelab.controller.registry.exists()


def test_commands_of_the_guide(homelab: Lab) -> None:
    """Those of the guide about several hosts that need nothing from the network work as they stand."""
    assert Path(homelab.inventory()) == homelab.controller.home / "hosts.yml"
    homelab.controller.repoman("-i", "hosts.yml", "setup")
    for host in homelab.hosts.values():
        text = re.sub(r'(?m)^default_image = ".*?"', 'default_image = "busybox"', host.registry.read_text())
        host.write(host.registry, text.replace('lan_ip = ""', 'lan_ip = "192.0.2.1"'))
        host.git_repository("isurus")
    lines = re.findall(r"^   \$ ((?:repoman -i|ansible-playbook) .*)$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        done = homelab.controller.run("sh", "-c", line)
        assert done.code == 0, (line, done)
    assert ["isurus" in host.instances() for host in homelab.hosts.values()] == [True, False]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for hosts with names of their own")
def test_backups_on_one_file_system(homelab: Lab) -> None:
    """Both hosts back up at once: each has its own backup and sees nothing of the other's. Without ``{host}``, the second one is refused."""
    on = ("-i", homelab.inventory(), "--forks", "2", "--json")
    homelab.controller.repoman(*on, "setup")
    with place_for("repoman-n") as shared:
        shared.chmod(0o1777)

        def use(directory: str) -> None:
            for host in homelab.hosts.values():
                host.write(host.registry, re.sub(r'(?m)^(backup_root = )".*"', rf'\1"{shared}/{directory}"', host.registry.read_text()))

        use("{host}")
        for name, host in homelab.hosts.items():
            for repository in ("both", f"of-{name}"):
                host.git_repository(repository)
        for options in (("--init", "--allow-local"), ()):
            done = homelab.controller.repoman(*on, "sync", *options).data["hosts"]
            for name, host in homelab.hosts.items():
                assert done[name]["changed"] and done[name]["exit_code"] == 0
                assert done[name]["target"] == str(shared / name)
                units = {unit["name"] for unit in done[name]["units"]}
                assert units >= {"both", f"of-{name}"} and {*os.listdir(shared / name)} - {".repoman"} == units & {*os.listdir(host.repos)}
                assert f'host = "{name}"' in (shared / name / ".repoman/mirror.toml").read_text()
                assert host.run("git", "fsck", cwd=shared / name / "both").code == 0
                assert f"of-{name}" in (host.home / ".local/state/repoman/times/last_sync.json").read_text()
                host.write(host.repos / "both/file", f"{name}\n")
        assert sorted(os.listdir(shared)) == list(NAMES)
        assert [(shared / name / "both/file").read_text() for name in NAMES] == [f"{name}\n" for name in NAMES]

        use("one")
        homelab.controller.repoman(*on, "-l", "nas1", "sync", "--init", "--allow-local")
        error = homelab.controller.repoman(*on, "sync", "--init", "--allow-local", code=4).data["hosts"]["nas2"]["msg"]
        assert "belongs to UID " in error
        for path in (shared / "one", *(shared / "one").rglob("*")):
            os.chown(path, homelab.hosts["nas2"].me.uid, homelab.hosts["nas2"].me.gid, follow_symlinks=False)
        error = homelab.controller.repoman(*on, "-l", "nas2", "sync", "--init", "--allow-local", code=4).data["hosts"]["nas2"]["msg"]
        assert f"is the backup of {homelab.hosts['nas1'].me.name} on nas1, and this is {homelab.hosts['nas2'].me.name} on nas2;" in error
        assert not (shared / "one/of-nas2").exists()


def test_host_that_is_down(homelab: Lab) -> None:
    """The others' work is done; the error names the one that is down, in text and in JSON; exit 1."""
    inventory = homelab.inventory(nas0=homelab.variables["nas1"] | {"ansible_port": closed_port()})
    result = homelab.controller.repoman("-i", inventory, "profile", "install", "dotfiles", code=1)
    assert "repoman: error: nas0 is unreachable: " in result.err
    assert "hint: " in result.err
    assert by_host(result) == dict.fromkeys(NAMES, "==> installed dotfiles (source: vendor)\n")
    again = homelab.controller.repoman("-i", inventory, "--json", "profile", "install", "dotfiles", code=1).data["hosts"]
    assert again["nas0"]["unreachable"] is True
    assert again["nas0"]["exit_code"] == 1
    assert [again[name]["profiles"][0]["action"] for name in NAMES] == ["unchanged", "unchanged"]
    asked = homelab.controller.on_terminal(f"repoman -i {inventory} setup", "y\n")
    assert asked.code == 1 and "Proceed?" in asked.out and "nas0 is unreachable" in asked.out
    assert [host.registry.exists() for host in homelab.hosts.values()] == [True, True]


def test_hosts_are_worked_on_together(homelab: Lab) -> None:
    """With ``--forks 2`` each host's first request is made while the other's waits for its answer."""
    both = threading.Barrier(2)

    def wait_once() -> Hook:
        came = threading.Event()

        def hook(method: str, target: str) -> None:
            if not came.is_set():
                came.set()
                with suppress(threading.BrokenBarrierError):
                    both.wait(TIMEOUT / 2)

        return hook

    with ExitStack() as stack:
        sockets = {}
        for name, host in homelab.hosts.items():
            proxy = stack.enter_context(open_proxy(host.socket))
            proxy.on_request(wait_once())
            sockets[name] = {"repoman_socket": proxy.path, "repoman_timeout": TIMEOUT}
        homelab.controller.repoman("-i", homelab.inventory(**sockets), "--forks", "2", "profile", "install", "dotfiles")
    assert not both.broken


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody")
def test_become_somebody(homelab: Lab) -> None:
    """Who is become is who is served, where nobody else is named: the account, the home and its files are theirs."""
    host = homelab.hosts["nas2"]
    host.git_repository("demo")
    with open_proxy(host.socket) as proxy:
        become = {"ansible_become_user": host.me.name, "repoman_user": "", "ansible_remote_tmp": f"{host.home}/.ansible/tmp"}
        on = ("-i", homelab.inventory(nas2=become | {"repoman_socket": proxy.path}), "-l", "nas2")
        homelab.controller.repoman(*on, "setup")
        homelab.controller.repoman(*on, "profile", "install", "dotfiles")
        homelab.controller.repoman(*on, "new", "demo", "--image", "busybox")
        assert not homelab.controller.repoman(*on, "--json", "new", "demo").data["changed"]
    assert host.registry.stat().st_uid == host.me.uid
    assert str(host.home) in str(host.profiles()["dotfiles"])
    assert host.instances()["demo"]["devices"]["repo"]["source"] == str(host.repos / "demo")
    assert host.incus("exec", "--project=repoman", "demo", "--", "id", "-u", host.me.name).strip() == str(host.me.uid)


def test_failure_on_one_host(homelab: Lab) -> None:
    """A template that one host alone has is installed there; the worst exit code wins."""
    homelab.hosts["nas1"].template("own", "description: own\n")
    result = homelab.controller.repoman("-i", homelab.inventory(), "profile", "install", "own", code=3)
    assert "==> installed own (source: user)" in result.out
    assert "repoman: error: [nas2] " in result.err
    assert "[nas1]" not in result.err


def test_python_that_is_found_out(homelab: Lab) -> None:
    """A host whose inventory names no interpreter is no reason for a warning, as long as there is one."""
    host = {key: value for key, value in homelab.variables["nas1"].items() if key != "ansible_python_interpreter"}
    inventory = homelab.controller.write(homelab.controller.home / "one.yml", json.dumps({"all": {"hosts": {"nas1": host}}}))
    said = homelab.controller.run("repoman", "-i", str(inventory), "profile", "list").err
    assert "interpreter" not in "".join(line for line in said.splitlines() if not line.startswith("hint: ")).lower()


def test_task_in_the_background(homelab: Lab) -> None:
    """Both hosts do a task with ``async`` and answer."""
    jobs = homelab.controller.mkdir(homelab.controller.home / "jobs")
    told = homelab.controller.run(
        *("ansible", "-i", homelab.inventory(), "all", "-B", "60", "-P", "1", "-e", "ansible_ssh_use_tty=false"),
        *(
            "-m",
            "homelab.repoman.repoman_profile",
            "-a",
            "names=dotfiles user={{ repoman_user | default(omit) }} socket={{ repoman_socket | default(omit) }}",
        ),
        env={"ANSIBLE_ASYNC_DIR": str(jobs)},
    )
    assert told.code == 0, told
    assert ["dotfiles" in host.profiles() for host in homelab.hosts.values()] == [True, True]


@pytest.mark.parametrize(("name", "pipelining"), [("nas1", True), ("nas2", False)])
def test_interruption_is_undone_over_there(homelab: Lab, name: str, pipelining: bool) -> None:
    """Ctrl-C here ends the module on the other host, which undoes what it began: without a terminal there, and with one and ``become``."""
    host = homelab.hosts[name]
    host.git_repository("demo")
    hold, undone = RequestPause("PUT", "/state"), threading.Event()

    def watch(method: str, target: str) -> None:
        hold(method, target)
        if method == "DELETE" and target.partition("?")[0].endswith("/instances/demo"):
            undone.set()

    with open_proxy(host.socket) as proxy:
        inventory = homelab.inventory(**{name: {"repoman_socket": proxy.path, "ansible_ssh_pipelining": pipelining}})
        on = ("-i", inventory, "-l", name)
        homelab.controller.repoman(*on, "setup")
        before = host.registry.read_text()
        proxy.on_request(watch)
        process = homelab.controller.start("repoman", *on, "new", "demo", "--image", "busybox")
        assert hold.reached.wait(TIMEOUT)
        os.kill(process.pid, signal.SIGINT)
        _out, err = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 130, err
        assert b"roll back what they had started" in err
        assert undone.wait(TIMEOUT)
        host.wait_gone("demo")
        hold.go_on.set()
    assert host.registry.read_text() == before


def test_homelab_that_includes_the_roles(homelab: Lab) -> None:
    """Somebody's site.yml on two fresh hosts: check mode, for real, again without a change, check mode again."""
    shutil.copytree(HOMELAB, homelab.controller.home / "homelab", dirs_exist_ok=True)
    inventory = homelab.inventory(**{name: {"homelab_home": str(host.home)} for name, host in homelab.hosts.items()})
    site = ("-i", inventory, str(homelab.controller.home / "homelab/site.yml"))

    checked = homelab.controller.playbook(*site, "--check", "--diff")
    assert "the repository" in checked.err and "no error in check mode" in checked.err
    assert "cannot read repos_root" in " ".join(checked.err.split())
    for host in homelab.hosts.values():
        assert not host.registry.exists() and "repoman" not in host.projects() and list(host.profiles()) == ["default"]
        assert not (host.home / "src").exists() and not (host.home / "backup").exists()

    assert changes(homelab.controller.playbook(*site)) > 0
    for host in homelab.hosts.values():
        found = host.instances()
        assert {name: instance["status"] for name, instance in found.items()} == dict.fromkeys(("again", "isurus", "lamna"), "Running")
        assert found["lamna"]["profiles"] == ["default", "dotfiles"] and found["lamna"]["config"]["user.kept"] == "yes"
        assert found["again"]["devices"]["repo"]["source"] == str(host.home / "src/isurus")
        assert host.run("git", "fsck", cwd=host.home / "backup/lamna").code == 0
        assert 'repos_root = "~/src"' in host.registry.read_text() and host.registry.stat().st_uid == host.me.uid
    again = homelab.controller.playbook(*site)  # the last play added a project after the backup, so its settings changed
    assert changes(again) == len(homelab.hosts)
    assert changes(homelab.controller.playbook(*site)) == 0
    assert changes(homelab.controller.playbook(*site, "--check")) == 0
