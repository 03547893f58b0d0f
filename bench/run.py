"""Measures this project and its peers on this machine, in one run, in turn; see README.md.

python run.py                            # everything, base, all cores
python run.py --preset nano --shapes 1x16,1x128 --rounds 1 --seconds 1 --no-record
"""

import argparse
import datetime
import hashlib
import random
import signal
import sys
import time
from pathlib import Path

import machine
import plot
import record
from agreement import LIMITS, error_of
from model import (
    PRESETS,
    SEED,
    Set,
    check_sets,
    config_of,
    copy_tokenizer,
    fixed_sets,
    has_tokenizer,
    make_preset,
    mixed_set,
    random_batch,
)
from peers import CONTENDERS, HERE, TRUTH, Absent, Setting, build_albert, measure, prepare, version
from record import Tally

CALIBRATION = (32, 1, 128)
SHAPES = "1x16,1x128,8x128,32x128,4x512"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--preset", default="base", choices=[*PRESETS], help="default: base")
    which.add_argument("--model", type=Path, metavar="DIR", help="a model instead of a preset")
    parser.add_argument(
        "--tokenizer", type=Path, help="for a preset with --mixed: file or directory"
    )
    parser.add_argument("--shapes", default=SHAPES, help=f"sequences x tokens; default: {SHAPES}")
    parser.add_argument(
        "--mixed", type=Path, metavar="FILE", help="lines of text, or of pairs with a tab"
    )
    parser.add_argument(
        "--calibration", type=Path, metavar="FILE", help="text for NNCF; default: random ids"
    )
    parser.add_argument("--threads", type=int, default=machine.cores(), help="default: all cores")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="of each shape in a round, at least"
    )
    parser.add_argument(
        "--iterations", type=int, default=3, help="of each shape in a round, at least"
    )
    parser.add_argument(
        "--limit", type=float, default=1800.0, help="seconds after which a turn is given up"
    )
    parser.add_argument(
        "--only", help="contenders, by commas: " + ", ".join(c.name for c in CONTENDERS)
    )
    parser.add_argument(
        "--albert", type=Path, metavar="PROGRAM", help="default: this tree's, built"
    )
    parser.add_argument("--work", type=Path, default=HERE / "work", help="models, graphs, programs")
    parser.add_argument("--record", type=Path, default=HERE / "record", metavar="DIR")
    parser.add_argument("--no-record", action="store_true", help="print only")
    return parser.parse_args()


def directories(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """The model, and where its exports go: another file of weights gets another place."""
    if arguments.model is None:
        place = arguments.work.resolve() / arguments.preset
        return place / "model", place
    model = arguments.model.resolve()
    weights = model / "model.safetensors"
    if not weights.exists():
        raise SystemExit(f"error: {weights} is not there; --model takes a directory with it")
    found = weights.stat()
    stamp = hashlib.sha256(f"{model} {found.st_size} {found.st_mtime_ns}".encode()).hexdigest()
    return model, arguments.work.resolve() / f"{model.name}-{stamp[:8]}"


def set_up(arguments: argparse.Namespace) -> Setting:
    model, place = directories(arguments)
    place.mkdir(parents=True, exist_ok=True)
    if arguments.model is None:
        make_preset(model, arguments.preset)
        if arguments.tokenizer:
            copy_tokenizer(arguments.tokenizer, model)
    setting = Setting(
        model, None if arguments.model else arguments.preset, place, arguments.threads,
        arguments.seconds, arguments.iterations, arguments.limit, arguments.mixed,
    )  # fmt: skip
    if arguments.albert:
        setting.albert = [str(arguments.albert.resolve())]
    else:
        say("building albert")
        try:
            build_albert(setting)
        except Absent as reason:
            raise SystemExit(f"error: albert cannot be built: {reason}") from None
    return setting


def read_text(setting: Setting, file: Path) -> Set:
    if not has_tokenizer(setting.model):
        raise SystemExit(f"error: {file} needs a tokenizer; give --tokenizer, or --model with one")
    return mixed_set(setting.albert, setting.model, file)


def choose_sets(arguments: argparse.Namespace, setting: Setting) -> list[Set]:
    """What is timed; what NNCF calibrates on goes into the setting."""
    config = config_of(setting.model)
    longest, vocab_size = config["max_position_embeddings"], config["vocab_size"]
    shapes = [shape for shape in arguments.shapes.split(",") if shape]
    for shape in shapes:
        sizes = shape.split("x")
        if len(sizes) != 2 or not all(size.isdigit() and int(size) for size in sizes):
            raise SystemExit(f"error: --shapes: {shape!r} is not of the form 8x128")
        if int(sizes[1]) > longest:
            raise SystemExit(f"error: --shapes: {shape}: the model takes {longest} tokens")
    sets = fixed_sets(vocab_size, shapes)
    if arguments.mixed:
        sets.append(read_text(setting, arguments.mixed))
    if arguments.calibration:
        batches = read_text(setting, arguments.calibration).batches
        for made in setting.graphs.glob("openvino-int8.*"):
            made.unlink()
    else:
        count, sequences, tokens = CALIBRATION
        generator = random.Random(SEED + 2)
        tokens = min(tokens, longest)
        batches = [random_batch(generator, vocab_size, sequences, tokens) for _ in range(count)]
    setting.calibration = batches
    return sets


def has_pooler(model: Path) -> bool:
    from safetensors import safe_open

    with safe_open(model / "model.safetensors", "numpy") as file:
        return any("pooler." in name for name in file.keys())


def check(tallies: list[Tally], setting: Setting) -> None:
    """Everyone's version and agreement; who has none is noted, and not timed."""
    config = config_of(setting.model)
    sets = check_sets(config["vocab_size"], config["max_position_embeddings"])
    try:
        truth = measure(TRUTH, sets, setting, check=True)
    except Absent as reason:
        raise SystemExit(f"error: PyTorch has to say what is right, and cannot: {reason}") from None
    for tally in tallies:
        contender = tally.contender
        try:
            tally.version = version(contender, setting)
            prepare(contender, setting)
            found = measure(contender, sets, setting, check=True)
            for line in found:
                if "error" in line:
                    raise Absent(f"{line['shape']}: {line['error']}")
        except Absent as reason:
            tally.notes[""] = str(reason)
            say(f"{contender.name}: absent: {reason}")
            continue
        tally.relative_error = error_of(found, truth, sets, has_pooler(setting.model))
        limit = LIMITS[contender.precision]
        say(f"{contender.name}: relative error {tally.relative_error:.1e}, limit {limit:.0e}")
        if not tally.relative_error <= limit:
            tally.notes[""] = (
                f"not the same: relative error {tally.relative_error:.1e}, above {limit:.0e}"
            )


def take_turn(tally: Tally, sets: list[Set], setting: Setting) -> None:
    wanted = [one for one in sets if one.shape not in tally.notes]
    others = machine.Others()
    try:
        lines = measure(tally.contender, wanted, setting)
    except Absent as reason:
        tally.notes[""] = str(reason)
        return
    if (share := others.share()) is not None:
        tally.others.append(share)
    for line in lines:
        if "error" in line:
            tally.notes[line["shape"]] = line["error"]
            continue
        tally.milliseconds.setdefault(line["shape"], []).append(line["milliseconds"])
        tally.isa = line.get("isa", "")


def take_turns(tallies: list[Tally], sets: list[Set], setting: Setting, rounds: int) -> None:
    """Every second round backwards, so that a machine that slows down slows everyone."""
    for number in range(rounds):
        for tally in tallies if number % 2 == 0 else reversed(tallies):
            if "" in tally.notes:
                continue
            take_turn(tally, sets, setting)
            last = {shape: f"{times[-1]:.1f}" for shape, times in tally.milliseconds.items()}
            told = ", ".join(f"{shape} {time} ms" for shape, time in last.items())
            say(f"round {number + 1}: {tally.contender.name}: {tally.notes.get('') or told}")


def free_name(directory: Path) -> Path:
    """Today's, without a suffix; a second record of a day replaces none."""
    today = datetime.date.today().isoformat()
    names = [today] + [f"{today}-{number}" for number in range(2, 100)]
    return next(directory / name for name in names if not (directory / f"{name}.csv").exists())


def chosen(only: str | None) -> list[Tally]:
    names = [one.name for one in CONTENDERS]
    wanted = only.split(",") if only else names
    for name in wanted:
        if name not in names:
            raise SystemExit(f"error: --only: {name!r} is none of {', '.join(names)}")
    return [Tally(one) for one in CONTENDERS if one.name in wanted]


def main() -> None:
    # Workers lead groups of their own, and are ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    arguments = parse()
    tallies = chosen(arguments.only)
    setting = set_up(arguments)
    sets = choose_sets(arguments, setting)
    check(tallies, setting)
    take_turns(tallies, sets, setting, arguments.rounds)
    tokens = {one.shape: one.tokens() for one in sets}
    preset, processor = setting.preset or setting.model.name, machine.processor()
    table = [
        row
        for tally in tallies
        for row in record.rows(tally, tokens, preset, setting.threads, processor)
    ]
    minutes = (time.monotonic() - started) / 60
    print(f"{preset}, {setting.threads} threads, {processor}\n\n{record.text(table, list(tokens))}")
    print(f"{arguments.rounds} rounds, {minutes:.0f} minutes with all preparation")
    worst = max((max(tally.others) for tally in tallies if tally.others), default=0.0)
    if worst > machine.OTHERS_MAX:
        print(f"warning: others took up to {worst:.0%} of the cores during a turn; measure again")
    if not arguments.no_record:
        name = free_name(arguments.record / machine.directory_name())
        record.write(table, name.with_suffix(".csv"))
        plot.write(
            table, list(tokens), f"{preset}, {setting.threads} threads", name.with_suffix(".svg")
        )
        print(f"written: {name}.csv and .svg")


if __name__ == "__main__":
    main()
