"""Holds the tasks of the library against the pipelines of transformers, on real text.

    cargo build --release -p albert --example pipelines
    python pipelines.py --binary ../../target/release/examples/pipelines --data DATA

DATA has glue/SST-2, ner/wnut17, qa/xquad_en.json and albert/spiece.model. Small models with random
weights, large enough that their scores vary, are made in a directory of its own: ALBERT with the
tokenizer that the program writes for transformers, BERT with a WordPiece trained here. Nothing is
fetched. Every difference is named, and one that no rule below explains makes the exit code 1.

transformers 5 has no question-answering pipeline any more: questions need 4.57.
"""

import argparse
import collections
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import BertWordPieceTokenizer
from transformers import (
    AlbertConfig,
    BertConfig,
    BertTokenizerFast,
    PreTrainedTokenizerFast,
    pipeline,
)
from transformers.utils import logging

SCORE_ERROR_MAX = 1e-4
SHOWN, WIDTH = 5, 300
POSITIONS = 512
LABELS = ["O", "B-person", "I-person", "B-location", "I-location", "product"]
GROUPINGS = ["none", "simple", "first", "average", "max"]

# Of the cases of a check, how many may have tokens of their own or fill up a list.
EXPLAINED_SHARE_MAX = 0.05


class Report:
    """Counts what agrees and why not, and shows the first of each kind."""

    def __init__(self):
        self.unexplained = 0
        self.lines = []

    def add(self, what: str, kinds: list[str], details: list[str]) -> None:
        counts = collections.Counter(kinds)
        self.unexplained += counts["DIFFERENT"]
        # An explanation of many cases explains nothing.
        for kind in ("other tokens", "impossible spans"):
            if counts[kind] > EXPLAINED_SHARE_MAX * len(kinds):
                self.unexplained += counts[kind]
        text = ", ".join(f"{kind}: {count}" for kind, count in counts.most_common())
        print(f"{what:52} {len(kinds):5}  {text}", flush=True)
        shown = collections.Counter()
        for kind, detail in zip(kinds, details):
            if detail and shown[kind] < (SHOWN if kind == "DIFFERENT" else 1):
                shown[kind] += 1
                lines = [line[:WIDTH] for line in detail.splitlines()]
                print(f"    {kind}: " + "\n".join(lines))


class Ours:
    """The example `pipelines` of the library."""

    def __init__(self, binary: Path):
        self.binary = binary

    def __call__(self, model: Path, task: str, lines: list[dict], **settings) -> list:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        values = [f"{key}={str(value).lower()}" for key, value in settings.items()]
        done = subprocess.run(
            [self.binary, model, task, *values], input=text, text=True, stdout=subprocess.PIPE
        )
        if done.returncode != 0:
            sys.exit(f"{self.binary} {model} {task}: exit code {done.returncode}")
        return [json.loads(line) for line in done.stdout.splitlines()]


# Texts


def sentences(data: Path, count: int) -> list[str]:
    rows = (data / "glue/SST-2/dev.tsv").read_text().splitlines()[1:]
    return [row.split("\t")[0].strip() for row in rows[:count]]


def tweets(data: Path, count: int) -> list[str]:
    """Sentences with their punctuation where people write it."""
    blocks = (data / "ner/wnut17/emerging.test.annotated").read_text().split("\n\n")
    texts = []
    for block in blocks[:count]:
        words = [line.split("\t")[0] for line in block.splitlines() if line.strip()]
        text = " ".join(words)
        for mark in ".,!?:;)'":
            text = text.replace(f" {mark}", mark)
        if text:
            texts.append(text.replace("( ", "("))
    return texts


def questions(data: Path, count: int) -> list[dict]:
    found = []
    for article in json.loads((data / "qa/xquad_en.json").read_text())["data"]:
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                found.append({"question": qa["question"], "context": paragraph["context"]})
    return found[:: max(1, len(found) // count)][:count]


# Models


def make_tokenizers(ours: Ours, data: Path, out: Path) -> dict:
    (out / "albert").mkdir()
    command = [ours.binary, data / "albert/spiece.model", "convert", out / "albert"]
    subprocess.run(command, check=True)
    (out / "bert").mkdir()
    trained = BertWordPieceTokenizer(lowercase=True)
    rows = (data / "glue/SST-2/train.tsv").read_text().splitlines()[1:]
    trained.train_from_iterator(rows[:20000], vocab_size=3000, show_progress=False)
    trained.save_model(str(out / "bert"))
    bert = BertTokenizerFast(str(out / "bert/vocab.txt"), model_max_length=POSITIONS)
    albert = PreTrainedTokenizerFast.from_pretrained(out / "albert", model_max_length=POSITIONS)
    return {"albert": albert, "bert": bert}


def make_model(family: str, head: str, tokenizer, out: Path, **config) -> Path:
    sizes = dict(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=128, max_position_embeddings=POSITIONS, initializer_range=0.3, **config
    )  # fmt: skip
    names = {"albert": ("Albert", AlbertConfig), "bert": ("Bert", BertConfig)}
    name, config_class = names[family]
    if family == "albert":
        sizes["embedding_size"] = 32
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}For{head}")(config_class(**sizes)).eval()
    # The biases of transformers are 0, and its last layers would be told apart by nothing else.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    directory = out / f"{family}-{head}-{len(list(out.iterdir()))}"
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    spiece = out / family / "spiece.model"
    if spiece.exists():
        (directory / "spiece.model").write_bytes(spiece.read_bytes())
    return directory


def load(task: str, directory: Path, tokenizer, head: str):
    family = "Albert" if "albert" in directory.name else "Bert"
    model = getattr(transformers, f"{family}For{head}").from_pretrained(directory).eval()
    return pipeline(task, model=model, tokenizer=tokenizer, framework="pt", device="cpu") \
        if transformers.__version__.startswith("4") \
        else pipeline(task, model=model, tokenizer=tokenizer, device="cpu")


# Comparisons


def close(a: float, b: float, scale: float = 1e-6) -> bool:
    return abs(a - b) <= SCORE_ERROR_MAX * max(abs(a), abs(b), scale)


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end]
    start += len(part) - len(part.lstrip())
    return start, start + len(part.strip())


def same_ids(ours: Ours, directory: Path, tokenizer, lines: list[dict]) -> list[bool]:
    got = ours(directory, "encode", lines)
    wanted = [tokenizer(line["text"], line.get("pair"))["input_ids"] for line in lines]
    return [a == b for a, b in zip(got, wanted)]


def compare_scores(got: list[list], wanted: list[list]) -> list[tuple[str, str]]:
    """Of all lines at once: what is near zero is held against the largest."""
    scale = max(abs(score) for scores in wanted for score in scores)
    kinds = []
    for a, b in zip(got, wanted):
        ok = len(a) == len(b) and all(close(x, y, scale) for x, y in zip(a, b))
        kinds.append(("equal", "") if ok else ("DIFFERENT", f"ours {a}, transformers {b}"))
    return kinds


def compare_entities(text: str, got: list, wanted: list, tokenizer) -> tuple[str, str]:
    moved = False
    expected = []
    for entity in wanted:
        start, end = trimmed(text, entity["start"], entity["end"])
        moved |= (start, end) != (entity["start"], entity["end"])
        if start < end:
            label = entity.get("entity_group", entity.get("entity"))
            expected.append((label, start, end, float(entity["score"])))
    agree = lambda a, b: (a["label"], a["start"], a["end"]) == b[:3] and close(a["score"], b[3])
    equal = lambda wanted: len(got) == len(wanted) and all(map(agree, got, wanted))
    if equal(expected):
        return ("equal but for a space" if moved else "equal"), ""
    detail = f"{text!r}\n      ours {got}\n      transformers {expected}"
    if takes_length_for_word(tokenizer, text):
        # Its test of `##` compares lengths, which accents that are removed change too.
        return "accents change lengths", detail
    if tokenizer.tokenize(text)[:1] == ["▁"] and expected[0][1:3] == (0, 1) and equal(expected[1:]):
        # The mark of a space that is not there: the pipeline lays it on the first character.
        return "first character twice", detail
    if "``" in text or "''" in text:
        # ALBERT reads them as one character, and the pipeline knows only half of its place.
        return "quotes of two characters", detail
    if any(space.isspace() and space != " " for space in text):
        return "other spaces", detail
    return "DIFFERENT", detail


def takes_length_for_word(tokenizer, text: str) -> bool:
    encoding = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    tokens = tokenizer.convert_ids_to_tokens(encoding["input_ids"])
    pairs = zip(tokens, encoding["offset_mapping"])
    is_odd = lambda token, length: token.startswith("##") != (len(token) != length)
    word_piece = getattr(tokenizer._tokenizer.model, "continuing_subword_prefix", None)
    return word_piece is not None and any(
        token != tokenizer.unk_token and is_odd(token, end - start) for token, (start, end) in pairs
    )


def compare_answers(line: dict, got: dict, wanted: list, trimmed_first=None) -> tuple[str, str]:
    """`trimmed_first` gives the answers of a pipeline that trims them before it compares them."""
    context, moved = line["context"], False
    expected = []
    for answer in wanted:
        start, end = trimmed(context, answer["start"], answer["end"])
        moved |= (start, end) != (answer["start"], answer["end"])
        expected.append((start, end, float(answer["score"])))
    found = [(answer["start"], answer["end"], answer["score"]) for answer in got["candidates"]]
    agree = lambda a, b: a[:2] == b[:2] and close(a[2], b[2])
    if len(found) == len(expected) and all(map(agree, found, expected)):
        return ("equal but for a space" if moved else "equal"), ""
    detail = f"{line['question']!r}\n      ours {found}\n      transformers {expected}"
    if trimmed_first is not None and compare_answers(line, got, trimmed_first())[0] == "equal":
        # " Berlin" and "Berlin" are two answers to the pipeline.
        return "one answer with and without its space", detail
    scores = [answer[2] for answer in expected]
    if 0.0 in scores:
        # Spans that end before they start fill up the pipeline's list.
        return "impossible spans", detail
    return "DIFFERENT", detail


# Tasks


def check_tags(report: Report, ours: Ours, tokenizers: dict, out: Path, texts: list[str]) -> None:
    lines = [{"text": text} for text in texts]
    labels = dict(enumerate(LABELS))
    for family, tokenizer in tokenizers.items():
        directory = make_model(
            family, "TokenClassification", tokenizer, out,
            id2label=labels, label2id={label: at for at, label in labels.items()},
        )  # fmt: skip
        same = same_ids(ours, directory, tokenizer, lines)
        theirs = load("token-classification", directory, tokenizer, "TokenClassification")
        for grouping in GROUPINGS:
            got = ours(directory, "tag", lines, grouping=grouping)
            results = []
            for text, is_same, entities in zip(texts, same, got):
                wanted = theirs(text, aggregation_strategy=grouping)
                kind = compare_entities(text, entities, wanted, tokenizer)
                is_other = kind[0] == "DIFFERENT" and not is_same
                results.append(("other tokens", text) if is_other else kind)
            report.add(f"{family}: tags, {grouping}", *map(list, zip(*results)))


def official_answers(theirs, line: dict, n_best: int, longest: int) -> tuple[list, float]:
    """The original's windows and its rule of maximum context, in numpy."""
    tokenizer, model, context = theirs.tokenizer, theirs.model, line["context"]
    question = tokenizer(line["question"], add_special_tokens=False)["input_ids"]
    encoding = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets, words = encoding["input_ids"], encoding["offset_mapping"], encoding.word_ids()
    room, starts = 384 - len(question) - 3, [0]
    while starts[-1] + room < len(ids):
        starts.append(starts[-1] + min(room, 128))
    windows = [(start, min(start + room, len(ids))) for start in starts]
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    logits = []
    for start, end in windows:
        sequence = [cls, *question, sep, *ids[start:end], sep]
        types = [0] * (len(question) + 2) + [1] * (end - start + 1)
        with torch.no_grad():
            found = model(torch.tensor([sequence]), token_type_ids=torch.tensor([types]))
        logits.append(torch.stack([found.start_logits[0], found.end_logits[0]]).double().numpy())
    null = min((rows[:, 0] for rows in logits), key=lambda of_cls: of_cls.sum())
    rows = [null]
    for token in range(len(ids)):
        contexts = [
            min(token - start, end - 1 - token) + 0.01 * (end - start)
            if start <= token < end else -1.0
            for start, end in windows
        ]  # fmt: skip
        best = int(np.argmax(contexts))
        rows.append(logits[best][:, len(question) + 2 + token - windows[best][0]])
    shares = np.exp(np.array(rows) - np.max(rows, axis=0))
    shares /= shares.sum(axis=0)
    outer = np.tril(np.triu(np.outer(shares[1:, 0], shares[1:, 1])), longest - 1)
    answers = {}
    for at in np.argsort(-outer, axis=None, kind="stable")[: 2 * n_best + 10]:
        first, last = np.unravel_index(at, outer.shape)
        of_start = [i for i, word in enumerate(words) if word == words[first]]
        of_end = [i for i, word in enumerate(words) if word == words[last]]
        span = trimmed(context, offsets[of_start[0]][0], offsets[of_end[-1]][1])
        answer = answers.setdefault(context[slice(*span)].lower(), [*span, 0.0])
        answer[2] += outer[first, last]
    ranked = sorted(answers.values(), key=lambda answer: -answer[2])[:n_best]
    ranked = [{"start": start, "end": end, "score": score} for start, end, score in ranked]
    return ranked, shares[0].prod()


def check_answers(report: Report, ours: Ours, tokenizers: dict, out: Path, asked: list) -> None:
    for family, tokenizer in tokenizers.items():
        directory = make_model(family, "QuestionAnswering", tokenizer, out)
        theirs = load("question-answering", directory, tokenizer, "QuestionAnswering")
        texts = [{"text": line["question"], "pair": line["context"]} for line in asked]
        same = same_ids(ours, directory, tokenizer, texts)
        fits = [
            len(tokenizer(line["question"], line["context"])["input_ids"]) <= 384 for line in asked
        ]
        short = [(line, is_same) for line, is_same, fit in zip(asked, same, fits) if fit]
        for n_best, align in [(1, True), (3, True), (1, False)]:
            settings = dict(n_best=n_best, align_to_words=align, max_answer_length=15)
            got = ours(directory, "answer", [line for line, _ in short], **settings)
            results = []
            for (line, is_same), answers in zip(short, got):
                wanted = theirs(
                    **line, top_k=n_best, align_to_words=align, max_seq_len=384
                )
                wanted = wanted if isinstance(wanted, list) else [wanted]
                # It gives words, so it says nothing of answers that are parts of words.
                second = (lambda: official_answers(theirs, line, n_best, 15)[0]) if align else None
                kind = compare_answers(line, answers, wanted, second)
                is_other = kind[0] == "DIFFERENT" and not is_same
                results.append(("other tokens", line["question"]) if is_other else kind)
            name = f"{family}: answers, {n_best} best{', words' if align else ''}"
            report.add(name, *map(list, zip(*results)))
        check_no_answer(report, ours, theirs, directory, [line for line, ok in short if ok], family)
        check_windows(report, ours, theirs, directory, asked, family)


def check_no_answer(report, ours, theirs, directory, lines, family) -> None:
    got = ours(directory, "answer", lines)
    results = []
    for line, answers in zip(lines, got):
        wanted = theirs(**line, handle_impossible_answer=True, top_k=1000, align_to_words=False)
        scores = [answer["score"] for answer in wanted if answer["answer"] == ""]
        ok = any(close(answers["no_answer_score"], score) for score in scores)
        detail = f"ours {answers['no_answer_score']}, transformers {scores[:5]}"
        results.append(("equal", "") if ok else ("DIFFERENT", detail))
    report.add(f"{family}: probability of no answer", *map(list, zip(*results)))


def check_windows(report, ours, theirs, directory, asked, family) -> None:
    """Contexts of several windows, against the original's way: the pipeline has another."""
    contexts = list(dict.fromkeys(line["context"] for line in asked))
    lines = []
    for at, line in enumerate(asked[:60]):
        rest = [contexts[(at + i) % len(contexts)] for i in range(4)]
        lines.append({"question": line["question"], "context": "\n".join(rest)})
    texts = [{"text": line["question"], "pair": line["context"]} for line in lines]
    same = same_ids(ours, directory, theirs.tokenizer, texts)
    got = ours(directory, "answer", lines, n_best=3)
    results, other = [], 0
    for line, is_same, answers in zip(lines, same, got):
        wanted, null = official_answers(theirs, line, 3, 30)
        kind = compare_answers(line, answers, wanted)
        if not is_same and kind[0] == "DIFFERENT":
            kind = ("other tokens", line["question"])
        elif kind[0] != "DIFFERENT" and is_same and not close(answers["no_answer_score"], null):
            kind = ("DIFFERENT", f"no answer: ours {answers['no_answer_score']}, original {null}")
        results.append(kind)
        pipelines = theirs(**line, max_seq_len=384, max_answer_len=30)
        start, end = trimmed(line["context"], pipelines["start"], pipelines["end"])
        best = answers["best"]
        other += (best["start"], best["end"]) != (start, end)
    report.add(f"{family}: long contexts, the original's way", *map(list, zip(*results)))
    print(f"    the pipeline, whose scores are of each window, answers {other} of them otherwise")


def check_classes(report: Report, ours: Ours, tokenizers: dict, out: Path, texts: list) -> None:
    lines = [{"text": text} for text in texts]
    lines += [{"text": a, "pair": b} for a, b in zip(texts[::2], texts[1::2])]
    kinds = {
        "2 labels": dict(num_labels=2),
        "5 labels": dict(num_labels=5),
        "several of 5 labels": dict(num_labels=5, problem_type="multi_label_classification"),
        "1 label": dict(num_labels=1),
        "a number": dict(num_labels=1, problem_type="regression"),
    }
    for family, tokenizer in tokenizers.items():
        for name, config in kinds.items():
            directory = make_model(family, "SequenceClassification", tokenizer, out, **config)
            theirs = load("text-classification", directory, tokenizer, "SequenceClassification")
            same = same_ids(ours, directory, tokenizer, lines)
            wanted = []
            for line in lines:
                given = {"text": line["text"]}
                if "pair" in line:
                    given["text_pair"] = line["pair"]
                ranked = sorted(theirs(given, top_k=None), key=lambda one: one["label"])
                wanted.append([one["score"] for one in ranked])
            results = compare_scores(ours(directory, "classify", lines), wanted)
            for at, is_same in enumerate(same):
                if results[at][0] == "DIFFERENT" and not is_same:
                    results[at] = ("other tokens", lines[at]["text"])
            report.add(f"{family}: classes, {name}", *map(list, zip(*results)))


def check_choices(report: Report, ours: Ours, tokenizers: dict, out: Path, texts: list) -> None:
    groups = [texts[at : at + 4] for at in range(0, len(texts) - 3, 4)]
    lines = [{"pairs": [[group[0], other] for other in group[1:]]} for group in groups]
    for family, tokenizer in tokenizers.items():
        directory = make_model(family, "MultipleChoice", tokenizer, out)
        name = f"{'Albert' if family == 'albert' else 'Bert'}ForMultipleChoice"
        model = getattr(transformers, name).from_pretrained(directory).eval()
        wanted = []
        for line in lines:
            first, second = map(list, zip(*line["pairs"]))
            inputs = tokenizer(first, second, padding=True, return_tensors="pt")
            with torch.no_grad():
                logits = model(**{key: value[None] for key, value in inputs.items()}).logits[0]
            wanted.append(logits.tolist())
        results = compare_scores(ours(directory, "choose", lines), wanted)
        report.add(f"{family}: choices", *map(list, zip(*results)))


def check_masks(report: Report, ours: Ours, tokenizers: dict, out: Path, texts: list) -> None:
    generator = random.Random(0)
    lines = []
    for text in texts:
        words = text.split()
        words[generator.randrange(len(words))] = "[MASK]"
        lines.append({"text": " ".join(words)})
    for family, tokenizer in tokenizers.items():
        directory = make_model(family, "MaskedLM", tokenizer, out)
        theirs = load("fill-mask", directory, tokenizer, "MaskedLM")
        same = same_ids(ours, directory, tokenizer, lines)
        results = []
        for line, is_same, got in zip(lines, same, ours(directory, "fill", lines, top_k=5)):
            wanted = theirs(line["text"], top_k=5)
            agree = lambda a, b: a["id"] == b["token"] and close(a["score"], b["score"])
            ok = len(got[0]) == len(wanted) and all(map(agree, got[0], wanted))
            if ok:
                results.append(("equal", ""))
            else:
                detail = f"{line['text']!r}\n      ours {got[0]}\n      transformers {wanted}"
                results.append(("DIFFERENT" if is_same else "other tokens", detail))
        report.add(f"{family}: masks", *map(list, zip(*results)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, required=True, help="the example `pipelines`")
    parser.add_argument("--data", type=Path, required=True, help="the directory of data sets")
    parser.add_argument("--count", type=int, default=300, help="texts of each kind")
    tasks = ["tags", "answers", "classes", "choices", "masks"]
    parser.add_argument("--tasks", nargs="*", default=tasks, choices=tasks)
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    ours, report, data, count = Ours(arguments.binary), Report(), arguments.data, arguments.count
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory)
        tokenizers = make_tokenizers(ours, data, out)
        some = sentences(data, count)
        if "tags" in arguments.tasks:
            check_tags(report, ours, tokenizers, out, [*tweets(data, count), *some])
        if "answers" in arguments.tasks:
            if transformers.__version__.startswith("4"):
                check_answers(report, ours, tokenizers, out, questions(data, count))
            else:
                print("answers: left out, transformers 5 has no pipeline for them")
        if "classes" in arguments.tasks:
            check_classes(report, ours, tokenizers, out, some)
        if "choices" in arguments.tasks:
            check_choices(report, ours, tokenizers, out, some)
        if "masks" in arguments.tasks:
            check_masks(report, ours, tokenizers, out, some)
    if report.unexplained:
        sys.exit(f"{report.unexplained} differences are not explained")


if __name__ == "__main__":
    main()
