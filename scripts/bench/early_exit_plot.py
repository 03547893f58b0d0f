"""What leaving early is worth, as a picture: accuracy over throughput for each policy.

    cargo run --release -p albert --example early_exit -- MODEL TASK FILE > exits.jsonl
    python early_exit_plot.py exits.jsonl --output early-exit.svg

Needs nothing but Python.
"""

import argparse
import json
from pathlib import Path

COLOURS = {"patience": "#1f77b4", "confidence": "#d62728", "depth": "#7f7f7f", "whole": "#000000"}
NAMES = {
    "patience": "so many depths agree",
    "confidence": "so sure",
    "depth": "always so deep",
    "whole": "all depths",
}
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 640, 400, 64, 24, 24, 56


def scale(values: list[float], low: float, high: float, margin: float):
    """A linear map of the values' range, widened by a margin, to low and high."""
    least, greatest = min(values), max(values)
    room = (greatest - least or 1.0) * margin
    least, greatest = least - room, greatest + room
    return lambda value: low + (value - least) / (greatest - least) * (high - low)


def text(x: float, y: float, words: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{words}</text>'


def draw(rows: list[dict]) -> str:
    x = scale([row["ratio"] for row in rows], LEFT, WIDTH - RIGHT, 0.06)
    y = scale([100 * row["accuracy"] for row in rows], HEIGHT - BOTTOM, TOP, 0.15)
    parts = []
    for tick in range(1, 20):
        if LEFT <= x(tick) <= WIDTH - RIGHT:
            parts.append(
                f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" '
                'stroke="#ddd"/>' + text(x(tick), HEIGHT - BOTTOM + 18, f"{tick}x")
            )
    for tick in [tenth / 2 for tenth in range(200)]:
        if TOP <= y(tick) <= HEIGHT - BOTTOM:
            parts.append(
                f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" '
                'stroke="#ddd"/>' + text(LEFT - 8, y(tick) + 4, f"{tick:.1f} %", "end")
            )
    for at, policy in enumerate(COLOURS):
        of_policy = sorted((row for row in rows if row["policy"] == policy), key=lambda r: r["ratio"])
        points = [(x(row["ratio"]), y(100 * row["accuracy"])) for row in of_policy]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        colour = COLOURS[policy]
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        for row, (a, b) in zip(of_policy, points):
            parts.append(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{colour}"/>')
            if row["value"] is not None:
                parts.append(text(a, b - 8, f'{row["value"]:g}', more=f'fill="{colour}"'))
        legend = LEFT + 16 + 150 * at
        parts.append(f'<circle cx="{legend}" cy="12" r="3.5" fill="{colour}"/>')
        parts.append(text(legend + 8, 16, NAMES[policy], "start"))
    parts.append(text((LEFT + WIDTH) / 2, HEIGHT - 12, "throughput, times that of all depths"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
        + "".join(parts) + "</svg>\n"
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("lines", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in arguments.lines.read_text().splitlines()]
    arguments.output.write_text(draw(rows))


if __name__ == "__main__":
    main()
