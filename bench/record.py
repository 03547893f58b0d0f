"""What was measured: rows of a CSV, and the table that is printed."""

import csv
import statistics
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from peers import Contender


@dataclass
class Row:
    """A contender at a shape; or, with a note and without figures, why there is none."""

    peer: str
    version: str
    precision: str
    preset: str
    shape: str
    threads: int
    # Medians over the rounds, each of which is a median itself. Real tokens: padding is none.
    tokens_per_second: float | None
    milliseconds: float | None
    # Of the slowest and the fastest round.
    tokens_per_second_low: float | None
    tokens_per_second_high: float | None
    relative_error: float | None
    rounds: int
    # The share of the cores' time that others took: the median over the rounds.
    others: float | None
    isa: str
    processor: str
    note: str


@dataclass
class Tally:
    """What is known of a contender so far."""

    contender: Contender
    version: str = ""
    relative_error: float | None = None
    # Milliseconds of a pass, one for each round, by shape.
    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    others: list[float] = field(default_factory=list)
    isa: str = ""
    # Why there are no figures: of the contender under "", or of a shape.
    notes: dict[str, str] = field(default_factory=dict)


def rows(
    tally: Tally, tokens: dict[str, int], preset: str, threads: int, processor: str
) -> list[Row]:
    """One for each shape; one alone, without a shape, for a contender that is absent."""
    shapes = [""] if "" in tally.notes else list(tokens)
    found = []
    for shape in shapes:
        times = [] if shape in tally.notes else tally.milliseconds.get(shape, [])
        rates = [tokens[shape] / time * 1e3 for time in times]
        found.append(
            Row(
                peer=tally.contender.name,
                version=tally.version,
                precision=tally.contender.precision,
                preset=preset,
                shape=shape,
                threads=threads,
                tokens_per_second=round(statistics.median(rates), 1) if rates else None,
                milliseconds=round(statistics.median(times), 3) if times else None,
                tokens_per_second_low=round(min(rates), 1) if rates else None,
                tokens_per_second_high=round(max(rates), 1) if rates else None,
                relative_error=tally.relative_error and float(f"{tally.relative_error:.2e}"),
                rounds=len(times),
                others=round(statistics.median(tally.others), 3) if tally.others else None,
                isa=tally.isa,
                processor=processor,
                note=tally.notes.get(shape, "" if times else "no result"),
            )
        )
    return found


def write(table: list[Row], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, [one.name for one in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in table)


def rates(table: list[Row], precision: str) -> dict[str, dict[str, float]]:
    """Tokens per second by contender and shape, in the order of the table."""
    found: dict[str, dict[str, float]] = {}
    for row in table:
        if row.precision == precision and row.tokens_per_second is not None:
            found.setdefault(row.peer, {})[row.shape] = row.tokens_per_second
    return found


def ratio(found: dict[str, dict[str, float]], shape: str) -> tuple[float, str] | None:
    """Ours to the best of the others at a shape, and who that is."""
    ours = [by[shape] for name, by in found.items() if name.startswith("albert") and shape in by]
    others = [
        (by[shape], name)
        for name, by in found.items()
        if not name.startswith("albert") and shape in by
    ]
    if not ours or not others:
        return None
    best, name = max(others)
    return max(ours) / best, name


def text(table: list[Row], shapes: list[str]) -> str:
    """The table for people: rates by precision, the ratio, and who is absent and why."""
    wide = max(len(row.peer) for row in table) + 2
    lines = []
    for precision in dict.fromkeys(row.precision for row in table):
        found = rates(table, precision)
        title = f"{precision}, tokens/s"
        lines.append(f"{title:{wide}}" + "".join(f"{shape:>10}" for shape in shapes) + "     error")
        errors = {row.peer: row.relative_error for row in table}
        for name, by in found.items():
            cells = [f"{by[shape]:10.0f}" if shape in by else f"{'-':>10}" for shape in shapes]
            error = errors[name]
            lines.append(
                f"{name:{wide}}" + "".join(cells) + (f"{error:10.1e}" if error is not None else "")
            )
        ratios = [ratio(found, shape) for shape in shapes]
        cells = [f"{one[0]:10.2f}" if one else f"{'-':>10}" for one in ratios]
        lines.append(f"{'albert / best peer':{wide}}" + "".join(cells))
        best = list(dict.fromkeys(one[1] for one in ratios if one))
        lines += ([f"  the best: {', '.join(best)}"] if best else []) + [""]
    for row in table:
        if row.note:
            lines.append(f"absent: {row.peer}{' ' + row.shape if row.shape else ''}: {row.note}")
    return "\n".join(lines)
