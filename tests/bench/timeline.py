# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one ``new`` asks Incus for, and when: read from the trace that REPOMAN_LOG writes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench.report import Table
from bench.rows_new import IMAGES
from bench.worlds import Bench

LINE = re.compile(r"(?P<when>\S+)Z (?P<process>\d+) (?P<part>\w+): (?P<text>.*)")
REQUEST = re.compile(r"(?P<method>[A-Z]{3,6}|WebSocket) (?P<path>/\S*)(?: (?P<status>\d{3}) (?P<took>\d+) ms)?$")
IDENTIFIER = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ABOUT = (
    "The requests of one repoman new to Incus, and the steps of its plan, from the trace that REPOMAN_LOG writes. Times are in"
    " milliseconds since the module began; an exec is a POST with the connections that it needs."
)


@dataclass(frozen=True)
class Step:
    """A line of the trace.

    :param at: milliseconds since the first line. :param took: milliseconds; none if the line has no time.
    :param is_request: a request to Incus, and not a step of the plan.
    """

    at: int
    text: str
    took: int | None
    is_request: bool


def steps(lines: Iterable[str]) -> Iterator[Step]:
    """Yield the requests and the steps of the plan in a trace; anything else that it says is left out."""
    first: datetime | None = None
    for line in lines:
        match = LINE.match(line)
        if not match:
            continue
        when = datetime.fromisoformat(match["when"])
        first = first or when
        at = round((when - first).total_seconds() * 1000)
        request = REQUEST.match(match["text"]) if match["part"] == "incus" else None
        if request:
            path = IDENTIFIER.sub("ID", request["path"]).partition("?")[0]
            yield Step(at, f"{request['method']} {path}", int(request["took"]) if request["took"] else None, True)
        elif match["part"] == "plan" and match["text"].startswith("start: "):
            yield Step(at, match["text"].removeprefix("start: "), None, False)


def merged(found: Iterable[Step]) -> Iterator[tuple[Step, int]]:
    """Yield steps, each with how many equal ones without a time follow one another: the connections of an exec."""
    last, count = None, 0
    for step in found:
        if last and step.is_request and step.took is None and last.text == step.text:
            count += 1
            continue
        if last:
            yield last, count
        last, count = step, 1
    if last:
        yield last, count


def table(image: str, lines: Iterable[str], names: Mapping[str, str] | None = None) -> Table:
    """Return the table of one trace.

    :param names: texts that are replaced, such as the path of the home.
    """
    found = list(steps(lines))
    rows = [["request or step", "at", "took"]]
    for step, count in merged(found):
        text = f"{step.text} ({count} times)" if count > 1 else step.text
        for name, replacement in (names or {}).items():
            text = text.replace(name, replacement)
        rows.append([f"→ {text}" if step.is_request else text, str(step.at), "" if step.took is None else str(step.took)])
    requests = [step for step in found if step.is_request and not step.text.startswith("WebSocket")]
    execs = sum(step.text.startswith("POST") and step.text.endswith("/exec") for step in requests)
    rows.append([f"all: {len(requests)} requests, {execs} of them an exec", str(found[-1].at if found else 0), ""])
    return Table(f"Timeline of repoman new, {image}", ABOUT, rows)


def tables(bench: Bench) -> Iterator[Table]:
    """Make a container of each image, and yield its timeline."""
    world = bench.main
    for image in IMAGES:
        world.git_repository("fresh")
        trace = world.home / f"trace-{image}"
        world.repoman("new", "fresh", "--image", image, env={"REPOMAN_LOG": str(trace)})
        world.repoman("remove", "--yes", "fresh")
        yield table(image, Path(trace).read_text().splitlines(), {str(world.home): "~", bench.me.name: "you"})
