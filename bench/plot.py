"""The record as a picture: a panel for each precision and shape, a bar for each contender.

All bars have one scale, so that precisions can be compared, too. Written directly: no library
draws so few rectangles as small.
"""

from html import escape
from pathlib import Path

from record import Row, rates, ratio

OURS, THEIRS, TEXT, FAINT = "#c2410c", "#94a3b8", "#1e293b", "#64748b"
LABEL, PANEL, GAP, NUMBER = 150, 150, 16, 44
BAR, STEP, HEAD, MARGIN = 12, 18, 30, 16


def _text(x: float, y: float, words: str, style: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}"{style}>{escape(words)}</text>'


def _panel(
    x: float, y: float, by: dict[str, dict[str, float]], shape: str, most: float
) -> list[str]:
    """The bars of a shape, each with its number behind it."""
    parts = []
    for row, (name, found) in enumerate(by.items()):
        top = y + row * STEP
        if shape not in found:
            parts.append(_text(x, top + BAR - 2, "absent", f' fill="{FAINT}"'))
            continue
        wide = max(1.0, found[shape] / most * (PANEL - NUMBER))
        colour = OURS if name.startswith("albert") else THEIRS
        parts.append(
            f'<rect x="{x:g}" y="{top:g}" width="{wide:.1f}" height="{BAR}" fill="{colour}"/>'
        )
        parts.append(_text(x + wide + 4, top + BAR - 2, f"{found[shape]:,.0f}"))
    return parts


def _group(y: float, precision: str, table: list[Row], shapes: list[str], most: float) -> list[str]:
    """The panels of a precision, with the names of the contenders to their left."""
    by = rates(table, precision)
    parts = [_text(MARGIN, y + 12, precision, ' font-weight="bold"')]
    for row, name in enumerate(by):
        style = ' text-anchor="end"' + (f' fill="{OURS}"' if name.startswith("albert") else "")
        parts.append(_text(MARGIN + LABEL - 8, y + HEAD + row * STEP + BAR - 2, name, style))
    for column, shape in enumerate(shapes):
        x = MARGIN + LABEL + column * (PANEL + GAP)
        against = ratio(by, shape)
        words = f"{shape}, {against[0]:.2f} × best peer" if against else shape
        parts.append(_text(x, y + 12, words, f' fill="{FAINT}"'))
        parts += _panel(x, y + HEAD, by, shape, most)
    return parts


def write(table: list[Row], shapes: list[str], title: str, file: Path) -> None:
    measured = [row for row in table if row.tokens_per_second is not None]
    most = max((row.tokens_per_second or 0.0 for row in measured), default=1.0)
    wide = 2 * MARGIN + LABEL + len(shapes) * (PANEL + GAP) - GAP
    y, parts = 58.0, []
    for precision in dict.fromkeys(row.precision for row in measured):
        parts += _group(y, precision, table, shapes, most)
        y += HEAD + len(rates(table, precision)) * STEP + 22
    processor = table[0].processor if table else ""
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {y:g}" width="{wide}"'
        f' height="{y:g}" font-family="system-ui, sans-serif" font-size="11" fill="{TEXT}">',
        f'<rect width="{wide}" height="{y:g}" fill="white"/>',
        _text(MARGIN, 24, f"Tokens per second: {title}", ' font-size="15" font-weight="bold"'),
        _text(MARGIN, 42, processor, f' fill="{FAINT}"'),
    ]
    file.write_text("\n".join(head + parts + ["</svg>"]) + "\n", encoding="utf-8")
