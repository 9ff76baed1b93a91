# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible's loader of collections, made faster: the results stay the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import ansible
import pytest
import yaml
from ansible.utils.collection_loader import _collection_finder
from command_environment import environment

from repoman import fast_yaml, loading
from repoman.installation import collection_root

MODULE = "plugins/module_utils/projects/listing"
TABLE = Path(ansible.__file__).with_name("config") / "ansible_builtin_runtime.yml"


def test_modules_come_from_bytecode_files(tmp_path: Path) -> None:
    """A run writes and reads them; one that was made of another source is made again."""
    cache, names = tmp_path / "cache", f"**/{MODULE}.*.pyc"
    settings = environment(tmp_path) | {"PYTHONPYCACHEPREFIX": str(cache), "PYTHONDONTWRITEBYTECODE": ""}

    def run() -> Path:
        done = subprocess.run([sys.executable, "-m", "repoman", "list"], capture_output=True, text=True, check=False, env=settings)
        assert done.returncode == 3 and "there is no registry" in done.stderr, done
        (file,) = cache.glob(names)
        return file

    file = run()
    first = file.read_bytes()
    file.write_bytes(first[:8] + bytes(8) + first[16:])  # time and size of the source
    assert run().read_bytes() == first


def test_modules_of_the_logic_are_found_at_once(tmp_path: Path) -> None:
    """A finder that Python asks first finds the same files as ansible, and leaves all other modules to ansible."""
    code = f"""
import sys
from repoman.cli import main
main(["list"])
prefix = {loading.PLUGINS!r} + "module_utils."
listing = sys.modules[prefix + "projects.listing"]
print(type(listing.__loader__).__name__, listing.__file__, *sys.modules[prefix + "projects"].__path__)
finder = next(each for each in sys.meta_path if type(each).__name__ == "OwnFinder")
print(*(finder.find_spec(name) for name in (prefix + "nothing", {loading.PLUGINS!r} + "modules.repoman_sync", "json")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment(tmp_path))
    place = collection_root() / "ansible_collections/homelab/repoman/plugins/module_utils/projects"
    assert done.stdout.splitlines()[-2:] == [f"SourceFileLoader {place}/listing.py {place}", "None None None"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, and a checkout of another user")
@pytest.mark.parametrize("owner", [0, 12345])
def test_root_leaves_no_bytecode_files_in_the_checkout_of_a_user(tmp_path: Path, owner: int) -> None:
    """Not of the command, nor of this loader, nor those that ansible makes of plugins; in its own tree it keeps them."""
    tree = tmp_path / "ansible_collections/homelab/repoman"
    shutil.copytree(Path(loading.__file__).parent, tree / "src/repoman", ignore=lambda *_: ["__pycache__"])
    shutil.copytree(collection_root() / "ansible_collections/homelab/repoman/plugins", tree / "plugins", ignore=lambda *_: ["__pycache__"])
    for name in ("playbooks", "roles", "meta", "galaxy.yml"):
        source = (collection_root() / "ansible_collections/homelab/repoman" / name).resolve()
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tree / name)
    for path in (tree, *tree.rglob("*")):
        os.chown(path, owner, owner)
    settings = environment(tmp_path / "home") | {"PYTHONPATH": f"{tmp_path}:{tree}/src", "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run([sys.executable, "-m", "repoman", "list"], capture_output=True, text=True, check=False, env=settings)
    assert done.returncode == 3 and "there is no registry" in done.stderr, done
    for part in (tree / "plugins", tree / "src"):
        assert bool(list(part.rglob("__pycache__"))) == (owner == 0), part


@pytest.mark.parametrize(
    "text",
    [
        TABLE.read_bytes(),
        b"a: 1.10\nb: [2020-01-01, yes, {c: ~, <<: x}]\nc:\n  - [[], {}]\na: again\n",
        "\u00fc: '\u2028'\n",
        b"a: &x {b: c}\nd: *x\n",
        b"a: &x {b: 1}\nd: {<<: *x, e: yes}\n",
        b"? [a, b]\n: c\n",
        b"# nothing\n",
        b"- a\n",
        b"text",
        b"a: b: c\n",
        b"a: b\n--- \nc: d\n",
        b"{a: [b}",
        b"a: \xff\n",
        b"other: |\n  modules:\n    a: b\nplugin_routing:\n  modules:\n    a: c\n",
        b"other: |\n  modules:\n    a: b\nplugin_routing: {}\n",
        b"modules: a\n  modules:\n    a: b\n",
    ],
)
def test_metadata_is_read_as_ansible_reads_it(text: bytes | str) -> None:
    """Values and errors are the same, whatever the file."""

    def outcome(read: object) -> object:
        try:
            return read(text, "x")  # type: ignore[operator]
        except (yaml.YAMLError, ValueError, TypeError, AttributeError) as error:
            return type(error), str(error)

    ansibles = _collection_finder._meta_yml_to_dict
    assert outcome(loading._with_libyaml(ansibles)) == outcome(ansibles)


def test_long_sections_are_read_when_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, and without the slow half of PyYAML, there is the rest of the table."""
    sizes = []
    read = fast_yaml.read_strings
    monkeypatch.setattr(fast_yaml, "read_strings", lambda text: sizes.append(len(text)) or read(text))
    text = TABLE.read_bytes()
    table = loading._with_libyaml(None)(text, "x")
    assert table["plugin_routing"]["action"] and table["import_redirection"]
    assert sum(sizes) < len(text) / 5
    assert table["plugin_routing"]["modules"].get("docker_container")["redirect"] == "community.docker.docker_container"
    assert sum(sizes) > len(text) / 2


def test_long_section_that_libyaml_alone_cannot_read() -> None:
    """Ansible reads the whole table instead; an empty section has no entries."""
    text = b"plugin_routing:\n  action: {}\n  modules:\n    old: !!map {redirect: new}\n  module_utils:\n    # none\n"
    routing = loading._with_libyaml(_collection_finder._meta_yml_to_dict)(text, "x")["plugin_routing"]
    assert len(routing["modules"]) == 1 and list(routing["modules"]) == ["old"]
    assert routing["modules"].get("old", {}) == {"redirect": "new"} and routing["modules"].get("other") is None
    assert not routing["module_utils"]


def test_another_ansible_keeps_its_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not exist is not replaced."""
    for name in (loading.BASE_LOADER, loading.READER):
        monkeypatch.delattr(_collection_finder, name)
    loading.install(str(collection_root()))
    assert not hasattr(_collection_finder, loading.READER)
