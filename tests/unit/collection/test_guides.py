# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guides agree with the code: every error has its entry in the troubleshooting pages, every example is one.

``python tests/unit/collection/test_guides.py`` prints the entries that are missing, ready to be pasted, and those whose error is gone.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml

from repoman.cli.command import make_playbook
from repoman.cli.parser import parse
from repoman.cli.verbs import VERBS_BY_WORDS
from repoman.errors import CliError, EarlyExit

ROOT = Path(__file__).parents[3]
GUIDES = ROOT / "docs/docsite/rst"
MODULE_UTILS = ROOT / "plugins/module_utils"
SOURCES = ("plugins/module_utils", "plugins/plugin_utils", "plugins/action", "plugins/inventory", "plugins/callback", "src/repoman")
BASES = ("RepomanError", "CliError")
SAYERS = {"AnsibleParserError": 0, "error_lines": 0, "display.warning": 0, "Line": 1, "fail_json": 0}
"""What else says an error, or a warning of a plugin's, and which argument is the message."""
ANY = "…"
"""Stands for what only a run can tell."""
COMING = {"sync", "restore", "status"}
"""Verbs that the guides tell of, and that may not be there yet."""
AFTER_A_COMMAND = ("|", ">", ">>", "&&", ";")
TO_WRITE = "(What it means, in a sentence.)"
PAGES = {
    "backup": "sync",
    "backup/restore": "restore",
    "doctor": "setup",
    "files": "sync",
    "host": "setup",
    "incus": "incus",
    "incus/images": "containers",
    "incus/remotes": "containers",
    "process": "sync",
    "profiles": "profiles",
    "projects": "containers",
    "registry": "registry",
    "registry/setup": "setup",
    "vcs": "repositories",
}
"""The troubleshooting page for errors from each folder, or file, of ``module_utils``; the deepest match decides. All other errors
belong on the page about the command."""


@dataclass(frozen=True)
class Message:
    """An error's text with ``…`` for what varies, its hints likewise, and where it is."""

    text: str
    hints: tuple[str, ...]
    file: Path
    line: int

    @property
    def page(self) -> Path:
        """The page its entry belongs to."""
        path = self.file.with_suffix("")
        names = {MODULE_UTILS / key: page for key, page in PAGES.items()}
        name = next((names[each] for each in (path, *path.parents) if each in names), "command")
        return GUIDES / f"troubleshooting_{name}.rst"

    def entry(self) -> str:
        """Return the entry, to be pasted and finished."""
        hints = "\n".join(f"- ``{hint.strip()}``" for hint in self.hints)
        return f"``{self.text}``\n{'-' * (len(self.text) + 4)}\n\n{TO_WRITE}\n" + (f"\n{hints}\n" if hints else "")


class Code:
    """The sources as syntax trees, and the texts that reach our errors in them."""

    def __init__(self, files: Iterable[Path]) -> None:
        self.trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in files}
        self.positions: dict[str, int] = {}
        self._find_classes()
        self.functions = {
            node: file
            for file, tree in self.trees.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        self.enclosing = {inner: function for function in self.functions for inner in ast.walk(function)}
        self.calls: dict[str, list[tuple[Path, ast.Call]]] = {}
        for file, tree in self.trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    self.calls.setdefault(called(node.func), []).append((file, node))

    def _find_classes(self) -> None:
        """Learn the error classes, and which argument of each is the message."""
        classes = [node for tree in self.trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        before = -1
        while before != len(self.positions):
            before = len(self.positions)
            for node in classes:
                parents = [name for base in node.bases if (name := called(base)) in self.positions]
                if node.name not in BASES and not parents:
                    continue
                own = next((each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"), None)
                names = [argument.arg for argument in own.args.args[1:]] if own else []
                self.positions[node.name] = names.index("message") if "message" in names else self.positions[parents[0]] if parents else 0

    def messages(self) -> Iterator[Message]:
        """Yield every text that reaches an error."""
        for file, tree in self.trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and called(node.func) in self.positions:
                    position = self.positions[called(node.func)]
                    given = next((each.value for each in node.keywords if each.arg == "message"), None)
                    argument = given or (node.args[position] if len(node.args) > position else None)
                    hints = tuple(text for each in node.args[position + 1 :] for text in self.texts(each, file, 1)[:1] if text != ANY)
                    for text in self.texts(argument, file) if argument else []:
                        yield Message(text, hints, file, node.lineno)
                elif isinstance(node, ast.Call):
                    yield from self._said(node, file)
                elif isinstance(node, ast.Dict):
                    yield from self._failed_result(node, file)

    def _said(self, node: ast.Call, file: Path) -> Iterator[Message]:
        """Yield the text of a call that says an error without raising one of ours."""
        name, arguments = called(node.func), node.args
        if isinstance(node.func, ast.Attribute) and name not in ("AnsibleParserError", "fail_json"):
            name = f"{called(node.func.value)}.{name}"
        given = next((each.value for each in node.keywords if each.arg == "msg"), None)
        argument = given or (arguments[SAYERS[name]] if name in SAYERS and len(arguments) > SAYERS[name] else None)
        is_error = name != "Line" or (isinstance(arguments[0], ast.Constant) and arguments[0].value == "error")
        if argument is None or name not in SAYERS or not is_error:
            return
        for text in self.texts(argument, file):
            yield Message(text, (), file, node.lineno)

    def _failed_result(self, node: ast.Dict, file: Path) -> Iterator[Message]:
        """Yield the text of a result that is written out as failed."""
        items = {key.value: value for key, value in zip(node.keys, node.values, strict=True) if isinstance(key, ast.Constant)}
        failed = items.get("failed")
        if isinstance(failed, ast.Constant) and failed.value is True and "msg" in items:
            for text in self.texts(items["msg"], file):
                yield Message(text, (), file, node.lineno)

    def texts(self, node: ast.expr | None, file: Path, depth: int = 0) -> list[str]:
        """Return what an expression may be, with ``…`` for what cannot be told from the source."""
        if isinstance(node, ast.Constant):
            return [str(node.value)]
        if isinstance(node, ast.IfExp):
            return [*self.texts(node.body, file, depth), *self.texts(node.orelse, file, depth)]
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return [left + right for left in self.texts(node.left, file, depth) for right in self.texts(node.right, file, depth)]
        if isinstance(node, ast.Name):
            return self._values(node, file, depth)
        if isinstance(node, ast.Call) and not depth:
            return self._answers(node, file)
        if isinstance(node, ast.JoinedStr):
            found = [""]
            for part in node.values:
                inner = [ANY]
                if isinstance(part, ast.Constant):
                    inner = [str(part.value)]
                elif isinstance(part, ast.FormattedValue) and self._is_parameter(part.value) and not depth:
                    inner = self.texts(part.value, file, depth) or [ANY]
                found = [before + each for before in found for each in inner]
            return [re.sub(f"{ANY}+", ANY, each) for each in found]
        return [ANY]

    def _answers(self, node: ast.Call, file: Path) -> list[str]:
        """Return what a call may answer: the default of ``next``, or what a function of the same file returns."""
        if called(node.func) == "next" and len(node.args) == 2:
            return self.texts(node.args[1], file, 1)
        found = []
        for function, place in self.functions.items():
            if isinstance(node.func, ast.Name) and function.name == node.func.id and place == file:
                returned = (each.value for each in ast.walk(function) if isinstance(each, ast.Return))
                found += [text for value in returned for text in (self._answers(value, file) if isinstance(value, ast.Call) else [ANY])]
        return found or [ANY]

    def _is_parameter(self, node: ast.expr) -> bool:
        """Whether it is what a function of ours was given to say: a parameter called reason or message."""
        return isinstance(node, ast.Name) and node.id in ("reason", "message") and node.id in self._parameters(node)

    def _parameters(self, node: ast.AST) -> list[str]:
        function = self.enclosing.get(node)
        return [argument.arg for argument in function.args.args if argument.arg != "self"] if function else []

    def _values(self, name: ast.Name, file: Path, depth: int) -> list[str]:
        """Return what a name may be: a constant of the module, what the function assigns, or what its callers give."""
        function = self.enclosing.get(name)
        parameters = self._parameters(name)
        inside = list(ast.walk(function)) if function else []
        for statements in (inside, self.trees[file].body if name.id not in parameters else []):
            assigned = [
                node.value
                for node in statements
                if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == name.id for target in node.targets)
            ]
            if assigned:
                return [text for value in assigned for text in self.texts(value, file, depth + 1)]
        if function is None or name.id not in parameters or depth:
            return [ANY]
        found = []
        for other, node in self.calls.get(function.name, ()):
            if node.func is not name:
                given = next((each.value for each in node.keywords if each.arg == name.id), None)
                place = parameters.index(name.id)
                given = given or (node.args[place] if len(node.args) > place else None)
                found += self.texts(given, other, depth + 1) if given else []
        return found or [ANY]


def called(node: ast.expr) -> str:
    """Return the last part of a name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


@cache
def messages() -> dict[str, Message]:
    """Return every error of the code by its text; those that say nothing but what they were told are left out."""
    code = Code(sorted(file for place in SOURCES for file in (ROOT / place).rglob("*.py")))
    found = [message for message in code.messages() if re.search("[a-z]{2}", message.text)]
    return {message.text: message for message in reversed(found)}


@cache
def entries() -> dict[str, str]:
    """Return the entries of the troubleshooting pages: title to text."""
    found = {}
    for page in sorted(GUIDES.glob("troubleshooting_*.rst")):
        parts = re.split(r"^``(.+)``\n-{4,}\n", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        found |= dict(zip(parts[1::2], parts[2::2], strict=True))
    return found


def missing() -> list[Message]:
    """Return the errors that have no entry."""
    there = entries()
    return [message for text, message in sorted(messages().items()) if text not in there]


def report() -> str:
    """Return the entries to paste, page by page, and those to take out."""
    lines = []
    for page in sorted({message.page for message in missing()}):
        lines += [f"##### {page.relative_to(ROOT)} lacks:", ""]
        lines += [message.entry() for message in missing() if message.page == page]
    gone = sorted(entries().keys() - messages().keys())
    return "\n".join(lines + [f"##### no error says any more: {text}" for text in gone])


def test_every_error_has_its_entry() -> None:
    """Both directions: no error without an entry, no entry without an error."""
    told = report()
    assert not told, f"\n{told}\n(python tests/unit/collection/test_guides.py prints this)"


def test_entries_say_what_to_do() -> None:
    """An entry is a sentence at least, and none is left to be written."""
    assert [title for title, text in entries().items() if TO_WRITE in text or len(text.split()) < 8] == []


def test_errors_are_found_where_they_are() -> None:
    """The collector sees constants, f-strings, what callers hand to a helper, results written out, and what is said with no error raised."""
    texts = messages().keys()
    assert {
        f"there is no incus socket at {ANY}.",
        "interrupted.",
        "which profile? Name some, or give --all.",
        f"{ANY}, line {ANY}: an override has no [install] table.",
        f"incus refused: {ANY}.",
        "no host matches.",
        f"{ANY} is unreachable: {ANY}",
        f"there is no project called {ANY}.",
        "the task failed and did not say why.",
        f"the state of the projects is unknown: {ANY}",
    } <= set(texts)


def test_guides_are_listed() -> None:
    """Every page is in the table of contents, and has the label that others refer to it by."""
    sections = yaml.safe_load((ROOT / "docs/docsite/extra-docs.yml").read_text(encoding="utf-8"))["sections"]
    listed = [page for section in sections for page in section["toctree"]]
    assert sorted(listed) == sorted(page.stem for page in GUIDES.glob("*.rst"))
    for name in listed:
        assert f".. _ansible_collections.homelab.repoman.docsite.{name}:" in (GUIDES / f"{name}.rst").read_text(encoding="utf-8")


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Yield the code blocks of a language: name of the page, text."""
    for page in sorted(GUIDES.glob("*.rst")):
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(rf"^\.\. code-block:: {language}\n((?:   :.*\n)*)\n((?:(?:   .*)?\n)+)", text, flags=re.MULTILINE):
            yield page.stem, re.sub("^   ", "", match[2], flags=re.MULTILINE)


def test_yaml_in_the_guides_is_yaml() -> None:
    """What people copy can be read."""
    found = list(blocks("yaml"))
    assert found
    for _page, text in found:
        assert yaml.safe_load(text) is not None, text


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield every call of ``repoman`` in the guides and the README: where it is, its arguments."""
    shown = [(page, line.removeprefix("$ ")) for page, text in blocks("console") for line in text.splitlines()]
    shown += [
        (page, "repoman " + call)
        for page, text in blocks("ini")
        for call in re.findall(r"^ExecStart=\S+/repoman (.+)$", text, flags=re.MULTILINE)
    ]
    shown += [("README", line.strip()) for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("    ")]
    for page, line in shown:
        if re.match(r"repoman (-|[a-z])", line):
            words = shlex.split(line, comments=True)[1:]
            yield page, words[: next((at for at, word in enumerate(words) if word in AFTER_A_COMMAND), len(words))]


def test_commands_in_the_guides_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verb, options and arguments are ones the command takes, in the repository of a project for those without a name."""
    (tmp_path / "repos/isurus/src").mkdir(parents=True)
    registry = tmp_path / ".config/repoman/repoman.toml"
    registry.parent.mkdir(parents=True)
    registry.write_text('[repoman]\nschema = 3\n[[project]]\nname = "isurus"\nrepo = "isurus"\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "repos/isurus/src")
    seen = set()
    for page, words in commands():
        if COMING & set(words) - VERBS_BY_WORDS.keys():
            continue
        try:
            verb, options = parse(words)
            make_playbook(verb, options)
        except EarlyExit:
            continue
        except CliError as error:
            raise AssertionError(f"{page}: repoman {' '.join(words)}: {error.message}") from error
        seen.add(verb.words)
    assert {"setup", "new", "list", "shell", "remove", "profile install", "profile diff"} <= seen


def test_readme_is_short() -> None:
    """The README is not long; its first screen has a picture, and the section for contributors starts with the two commands."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    first_screen = text.splitlines()[:12]
    pictures = [path for line in first_screen for path in re.findall(r"!\[[^]]+\]\(([^)]+)\)", line)]
    assert pictures == ["docs/picture.svg"] and (ROOT / pictures[0]).is_file()
    assert [line.split()[0] for line in first_screen if line.startswith("    ")] == ["git", "repoman", "cd"]
    commands = text.split("## Working on it\n\n")[1].split("\n\n")[0].splitlines()
    assert commands[0].startswith("    git clone ") and [line.split()[:2] for line in commands[1:3]] == [["make", "demo"], ["make", "test"]]


if __name__ == "__main__":
    print(report() or "every error has its entry")  # noqa: T201
