#!/usr/bin/env python3
"""Draws how long guests take to their first instruction, their kernel, their first program, their end.

    cargo xtask bench start --csv docs/performance/start.csv
    docs/performance/phases.py docs/performance/start.csv > docs/performance/start.svg

Python's standard library is all it needs.
"""

import csv
import sys

WIDTH, LEFT, RIGHT = 760, 130, 70
BAR, GAP, TOP, HEAD = 22, 10, 66, 30

COLOURS = {
    "first instruction": "#b4530a",
    "kernel on its own": "#e0a458",
    "first program": "#1d4e89",
    "power-off": "#8fb3d9",
}


def text(x, y, what, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{what}</text>'


def legend():
    x = LEFT
    for phase, colour in COLOURS.items():
        yield f'<rect x="{x}" y="40" width="12" height="12" fill="{colour}"/>'
        yield text(x + 17, 50, phase)
        x += 150


def bars(rows, y):
    """A bar for each program of one place, in the order of the file."""
    programs = {}
    for row in rows:
        programs.setdefault(row["by"], []).append((row["phase"], float(row["worked_ms"])))
    longest = max(end for phases in programs.values() for _, end in phases)
    scale = (WIDTH - LEFT - RIGHT) / longest
    for by, phases in programs.items():
        yield text(LEFT - 8, y + 16, by, ' text-anchor="end"')
        start = 0.0
        for phase, end in phases:
            width = max(end - start, 0) * scale
            title = f"<title>{by}, {phase}: {end:,.1f} ms</title>"
            yield (
                f'<rect x="{LEFT + start * scale:.2f}" y="{y}" width="{width:.2f}" height="{BAR}"'
                f' fill="{COLOURS[phase]}">{title}</rect>'
            )
            start = max(start, end)
        yield text(LEFT + start * scale + 6, y + 16, f"{start / 1000:.2f} s")
        y += BAR + GAP


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    with open(sys.argv[1], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    places = {}
    for row in rows:
        places.setdefault(row["place"], []).append(row)
    parts, y = [], TOP
    for place, its in places.items():
        y += HEAD
        parts.append(text(LEFT, y - 10, place, ' font-weight="bold"'))
        parts += bars(its, y)
        y += len({row["by"] for row in its}) * (BAR + GAP)
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 10}"')
    print(f'  width="{WIDTH}" height="{y + 10}" font-family="sans-serif" font-size="13">')
    print("<style>text{fill:#3b4252} .title{font-size:16px}</style>")
    print(f'<rect width="{WIDTH}" height="{y + 10}" fill="#fff"/>')
    print(text(LEFT, 24, "Seconds that processors worked, from start to power-off", ' class="title"'))
    for part in (*legend(), *parts):
        print(part)
    print("</svg>")


if __name__ == "__main__":
    main()
