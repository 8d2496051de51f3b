#!/usr/bin/env python3
"""Draws time a call against nodes, on two logarithmic axes.

    cargo xtask bench tree --csv docs/performance/tree.csv
    docs/performance/plot.py docs/performance/tree.csv > docs/performance/tree.svg

Python's standard library is all it needs.
"""

import csv
import math
import sys

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 76, 196, 52, 56
X_DECADES = (1, 5)  # 10 to 100,000 nodes
Y_DECADES = (1, 6)  # 10 ns to 1 ms

# Column of the file, label, colour, dashes.
SERIES = [
    ("libfdt_walk", "libfdt, walk", "#b4530a", ""),
    ("libfdt_getprop", "libfdt, getprop", "#b4530a", "2 5"),
    ("getprop", "vof-device, random getprop", "#1d4e89", "2 5"),
    ("walk", "vof-device, walk", "#1d4e89", ""),
]


def place(value, decades, start, end):
    """Where a value is on a logarithmic axis."""
    low, high = decades
    return start + (math.log10(value) - low) / (high - low) * (end - start)


def x(nodes):
    return place(nodes, X_DECADES, LEFT, WIDTH - RIGHT)


def y(nanoseconds):
    return place(nanoseconds, Y_DECADES, HEIGHT - BOTTOM, TOP)


def duration(nanoseconds):
    for unit, size in (("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:g} {unit}"
    return f"{nanoseconds:g} ns"


def axes():
    for decade in range(Y_DECADES[0], Y_DECADES[1] + 1):
        at = y(10**decade)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{duration(10**decade)}</text>'
    for decade in range(X_DECADES[0], X_DECADES[1] + 1):
        at = x(10**decade)
        yield f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        yield (
            f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">'
            f"{10**decade:,}</text>"
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">nodes of the tree</text>'
    yield f'<text class="title" x="{LEFT}" y="26">Time of one call of the client interface</text>'


def curves(rows):
    labels = []
    for column, label, colour, dashes in SERIES:
        points = [(x(int(row["nodes"])), y(float(row[column]))) for row in rows if row[column]]
        if not points:
            continue
        line = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        yield (
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"'
            f' stroke-dasharray="{dashes}"/>'
        )
        for px, py in points:
            yield f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3.5" fill="{colour}"/>'
        labels.append((points[-1][1], points[-1][0], label, colour))
    # A label stands behind its curve's end; those of neighbours keep apart.
    below = -math.inf
    for py, px, label, colour in sorted(labels):
        below = max(py + 4, below + 16)
        yield f'<text x="{px + 10:.1f}" y="{below:.1f}" style="fill:{colour}">{label}</text>'


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    with open(sys.argv[1], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"')
    print(f'  width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="13">')
    print("<style>.grid{stroke:#d8dce2} text{fill:#3b4252} .title{font-size:16px}</style>")
    print(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>')
    for part in (*axes(), *curves(rows)):
        print(part)
    print("</svg>")


if __name__ == "__main__":
    main()
