# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw which folders import which, and write the picture into docs/development/architecture.md.

usage: python3 scripts/draw_architecture.py [--check]

An arrow means "uses". Arrows that follow from others are omitted: if sync uses mirror and mirror uses core, there is no arrow from
sync to core. With --check, write nothing; the exit status is 1 if the picture is out of date.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/development/architecture.md"
START, END = "<!-- drawn by scripts/draw_architecture.py -->\n", "<!-- end -->\n"
COLLECTION = "ansible_collections.homelab.repoman."
SHARED = "plugins/module_utils"
GROUPS = {"command": ("src/",), "Ansible": ("playbooks", "roles", "plugins/"), "logic": (SHARED,)}
"""Groups of folders in the picture, by the start of their paths; the last match decides."""

Graph = dict[str, set[str]]


def folder_of(path: Path) -> str:
    """Return the folder of the picture that a file belongs to."""
    parts = path.relative_to(ROOT).parts
    if parts[:2] == ("plugins", "module_utils"):
        deeper = parts[2] == "backup" and len(parts) > 4  # noqa: PLR2004 - backup has folders for its parts
        return "/".join(parts[: 4 if deeper else 3])
    if parts[0] == "plugins":
        return "/".join(parts[:2])
    if parts[0] == "src":
        return "/".join(parts[:-1])
    return parts[0]


def file_of(module: str) -> Path | None:
    """Return the file of a module of this repository."""
    if module.startswith(COLLECTION):
        path = ROOT / module.removeprefix(COLLECTION).replace(".", "/")
    elif module.split(".", maxsplit=1)[0] == "repoman":
        path = ROOT / "src" / module.replace(".", "/")
    else:
        return None
    return next((candidate for candidate in (path.with_suffix(".py"), path / "__init__.py") if candidate.is_file()), None)


def imported_files(path: Path) -> Iterator[Path]:
    """Yield the files of this repository that a file imports, anywhere in it, except for types only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        statement
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for statement in node.body
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{name.name}" for name in node.names] + [node.module]
        else:
            continue
        yield from (file for name in names if (file := file_of(name)) and file.name != "__init__.py")


def read_graph() -> Graph:
    """Return the folders that each folder uses."""
    graph: Graph = {}
    for folder in ("src", "plugins"):
        for path in sorted(path for path in (ROOT / folder).rglob("*.py") if path.name != "__main__.py"):
            used = graph.setdefault(folder_of(path), set())
            used |= {folder_of(imported) for imported in imported_files(path)}
    for folder in ("playbooks", "roles"):
        text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / folder).rglob("*.yml")))
        used = graph.setdefault(folder, set())
        if re.search(r"^\s+homelab\.repoman\.repoman_\w+:", text, re.MULTILINE):
            used |= {"plugins/action"}
        if re.search(r"role: homelab\.repoman\.", text):
            used |= {"roles"}
    graph["src/repoman"] |= {"playbooks", "plugins/callback"}  # by name: it runs ansible-playbook with the callback plugin
    for folder, used in graph.items():
        used.discard(folder)
    return {folder: used for folder, used in graph.items() if used or any(folder in uses for uses in graph.values())}


def reachable(graph: Graph, start: str, without: str = "") -> set[str]:
    """Return the folders that a folder uses, directly or not.

    :param without: a direct use to ignore.
    """
    folders: set[str] = set()
    todo = list(graph.get(start, set()) - {without})
    while todo:
        folder = todo.pop()
        if folder not in folders:
            folders.add(folder)
            todo += graph.get(folder, set())
    return folders


def reduced(graph: Graph) -> Graph:
    """Return the graph without arrows that follow from others. All arrows of a cycle stay."""
    return {
        folder: {target for target in used if folder in reachable(graph, target) or target not in reachable(graph, folder, target)}
        for folder, used in graph.items()
    }


def draw(graph: Graph) -> str:
    """Return the picture in Mermaid's language, which GitHub renders."""
    names = {folder: f"n{number}" for number, folder in enumerate(sorted(graph))}
    groups: dict[str, list[str]] = {}
    for folder in sorted(graph):
        group = [name for name, starts in GROUPS.items() if folder.startswith(starts)][-1]
        groups.setdefault(group, []).append(folder)
    lines = ["```mermaid", "flowchart TD"]
    for group in GROUPS:
        lines.append(f"    subgraph {group}")
        for folder in groups[group]:
            lines.append(f'        {names[folder]}["{folder.removeprefix(SHARED + "/")}"]')
        lines.append("    end")
    lines += [f"    {names[folder]} --> {names[target]}" for folder in sorted(graph) for target in sorted(graph[folder])]
    return "\n".join([*lines, "```"]) + "\n"


def main() -> int:
    """Write the picture, or check it."""
    text = PAGE.read_text(encoding="utf-8")
    text_before, start, rest = text.partition(START)
    _old, end, text_after = rest.partition(END)
    if not start or not end:
        print(f"{PAGE} has no markers for the picture: {START.strip()} … {END.strip()}", file=sys.stderr)  # noqa: T201
        return 2
    new_text = text_before + start + draw(reduced(read_graph())) + end + text_after
    if "--check" in sys.argv[1:]:
        if new_text != text:
            print(f"{PAGE} is out of date: python3 scripts/draw_architecture.py", file=sys.stderr)  # noqa: T201
        return int(new_text != text)
    PAGE.write_text(new_text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
