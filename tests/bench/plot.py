# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pictures of the report, as SVG: how far each row is from its mark, and how a backup grows.

Written without a library: it is two kinds of picture, and matplotlib with what it needs is larger than all other tools of this project.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from bench.pairs import OK, Figures, Row, Series

if TYPE_CHECKING:
    from bench.report import Results

GOOD, BAD, INK, FAINT = "#2a7d4f", "#c0392b", "#222222", "#bbbbbb"
LEFT, BAR, RIGHT, LINE, HEAD = 300, 380, 160, 22, 44
LEAST, MOST = 1 / 16, 4.0
"""The shares of a mark at the two ends of the picture; what is beyond ends there."""
WIDTH, HEIGHT, MARGIN = 560, 300, 60
COLOURS = ("#1f5fa8", "#b8621b", "#2a7d4f")

Curve = Sequence[tuple[float, float]]


def pictures(results: Results) -> dict[str, str]:
    """Return the pictures by the names of their files; growth only if it was measured."""
    made = {"ratios.svg": ratios(results.series, results.figures)}
    curves = growth_curves(results.figures)
    if curves:
        made["growth.svg"] = growth(curves)
    return made


def ratios(series: Sequence[Series], figures: Mapping[str, Figures]) -> str:
    """Draw a bar for each row with a mark: how large the ratio is, as a part of its mark, on a logarithmic scale."""
    parts: list[str] = []
    y = HEAD
    for each in series:
        rows = [row for row in each.rows if row.key in figures and row.mark is not None]
        if not rows:
            continue
        parts.append(text(12, y + 15, each.title, weight="bold"))
        y += LINE
        for row in rows:
            parts += draw_bar(row, figures[row.key], y)
            y += LINE
        y += 6
    parts += scale(y)
    return svg(LEFT + BAR + RIGHT, y + 30, "Each figure as a part of its mark: left of the line is good", parts)


def position(share: float) -> float:
    """Return the distance of a share of the mark from the left end of the bars."""
    share = min(max(share, LEAST), MOST)
    return BAR * math.log(share / LEAST) / math.log(MOST / LEAST)


def draw_bar(row: Row, figures: Figures, y: float) -> list[str]:
    """Draw one row."""
    assert row.mark
    colour = GOOD if figures.verdict(row.mark) == OK else BAD
    end = position(figures.ratio / row.mark)
    low, high = position(figures.low / row.mark), position(figures.high / row.mark)
    label = row.title.removeprefix("repoman ") if row.unit != "x" else f"{row.title.removeprefix('repoman ')} / {row.alternative}"
    label_right = f"{figures.ratio:.3g} of {row.mark:g}" + ("" if row.unit == "x" else f" {row.unit}")
    return [
        text(LEFT - 8, y + 14, label if len(label) < 52 else f"{label[:50]}…", anchor="end", size=11),
        f'<rect x="{LEFT}" y="{y + 3}" width="{max(end, 1):.1f}" height="{LINE - 8}" fill="{colour}"/>',
        f'<line x1="{LEFT + low:.1f}" y1="{y + 10}" x2="{LEFT + high:.1f}" y2="{y + 10}" stroke="{INK}" stroke-width="2"/>',
        text(LEFT + BAR + 10, y + 14, label_right, size=11),
    ]


def scale(bottom: float) -> list[str]:
    """Draw the line of the mark and the shares below the bars."""
    parts = []
    for share, name in ((LEAST, "1/16"), (0.25, "1/4"), (0.5, "1/2"), (1.0, "the mark"), (2.0, "2×"), (MOST, "4×")):
        x = LEFT + position(share)
        is_mark = share == 1
        parts.append(
            f'<line x1="{x:.1f}" y1="{HEAD - 4}" x2="{x:.1f}" y2="{bottom}" stroke="{INK if is_mark else FAINT}"'
            f' stroke-width="{2 if is_mark else 0.5}"/>'
        )
        parts.append(text(x, bottom + 16, name, anchor="middle", size=11, weight="bold" if is_mark else "normal"))
    return parts


def growth_curves(figures: Mapping[str, Figures]) -> dict[str, Curve]:
    """Return the measured curves by name: repositories, and seconds or megabytes."""
    names = {"first": "first copy, s", "unchanged": "unchanged, s", "memory": "memory of the largest process, MB"}
    found: dict[str, Curve] = {}
    for key, name in names.items():
        points = [(int(count), each.ratio) for row, each in figures.items() for _growth, count, what in _parts(row) if what == key]
        if points:
            found[name] = sorted(points)
    return found


def _parts(key: str) -> Iterable[tuple[str, str, str]]:
    parts = key.split(".")
    return [(parts[0], parts[1], parts[2])] if len(parts) == 3 and parts[0] == "growth" else []


def growth(curves: Mapping[str, Curve]) -> str:
    """Draw curves with logarithmic scales in both directions, each with the value of its last point."""
    values = [value for points in curves.values() for value in points]
    most_x, low, high = max(x for x, _y in values), min(y for _x, y in values), max(y for _x, y in values)
    low, high = 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high))

    def at(x: float, y: float) -> tuple[float, float]:
        across = math.log(x) / math.log(most_x) if most_x > 1 else 0
        up = math.log(y / low) / math.log(high / low)
        return MARGIN + across * WIDTH, HEAD + HEIGHT * (1 - up)

    parts = []
    for exponent in range(round(math.log10(low)), round(math.log10(high)) + 1):
        _x, y = at(1, 10.0**exponent)
        parts.append(f'<line x1="{MARGIN}" y1="{y:.1f}" x2="{MARGIN + WIDTH}" y2="{y:.1f}" stroke="{FAINT}" stroke-width="0.5"/>')
        parts.append(text(MARGIN - 8, y + 4, f"{10.0**exponent:g}", anchor="end", size=11))
    for x in sorted({x for x, _y in values}):
        parts.append(text(at(x, low)[0], HEAD + HEIGHT + 18, f"{x:g}", anchor="middle", size=11))
    parts.append(text(MARGIN + WIDTH / 2, HEAD + HEIGHT + 38, "repositories", anchor="middle", size=12))
    for colour, (name, points) in zip(COLOURS, curves.items(), strict=False):
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        x, y = at(*points[-1])
        parts.append(text(x + 8, y + 4, f"{name}: {points[-1][1]:.3g}", size=11, colour=colour))
    return svg(MARGIN + WIDTH + 260, HEAD + HEIGHT + 50, "Backup of more and more repositories", parts)


def text(x: float, y: float, what: str, *, anchor: str = "start", size: int = 13, weight: str = "normal", colour: str = INK) -> str:
    """Return a text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="{colour}">{escape(what)}</text>'


def svg(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    """Return a whole picture with its title."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" font-family="sans-serif">'
    ground = f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>'
    return (
        "\n".join([head, f"<title>{escape(title)}</title>", ground, text(12, 24, title, size=16, weight="bold"), *parts, "</svg>"]) + "\n"
    )
