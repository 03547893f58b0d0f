"""The scores of `albert::scores`, held against the programs they come from.

    cargo build --release -p albert --example scores
    python scores.py --binary ../../target/release/examples/scores [--count 1000] [--seed 0]

Classes and labels are compared with scikit-learn, correlations with SciPy, entities with seqeval
(its default mode; BILOU as IOBES, which it does not know), answers with the copy of the evaluation
script of SQuAD 2.0 in transformers (`transformers.data.metrics.squad_metrics`, as of 4.57; version
5 has it too). SQuAD 1.1 takes the same normalisation, and its own rule that answers without a word
in common have F1 0. Random cases, constant and tied ones, and for the normalisation every character
that Python knows. Exit code 0: all equal to 1e-12; 1: not.

Needs: pip install scikit-learn scipy seqeval transformers torch
"""

import argparse
import json
import math
import subprocess
import sys
import unicodedata
import warnings
from collections import Counter
from types import SimpleNamespace

import numpy as np
import scipy.stats
from seqeval.metrics import sequence_labeling
import sklearn.metrics
from transformers.data.metrics import squad_metrics

TOLERANCE = 1e-12


def class_scores(gold, predicted, labels):
    parts = sklearn.metrics.precision_recall_fscore_support(
        gold, predicted, labels=labels, zero_division=0
    )
    return [[float(p), float(r), float(f), int(s)] for p, r, f, s in zip(*parts)]


def want_classes(case):
    gold, predicted, count = case["gold"], case["predicted"], case["classes"]
    labels = list(range(count))
    f1 = lambda average, **more: sklearn.metrics.f1_score(
        gold, predicted, average=average, zero_division=0, **more
    )
    return {
        "accuracy": sklearn.metrics.accuracy_score(gold, predicted),
        "binary_f1": f1("binary") if count == 2 else None,
        "macro_f1": f1("macro"),
        "micro_f1": f1("micro"),
        "matthews": sklearn.metrics.matthews_corrcoef(gold, predicted),
        "per_class": class_scores(gold, predicted, labels),
        "confusion": sklearn.metrics.confusion_matrix(gold, predicted, labels=labels).tolist(),
    }


def want_labels(case):
    gold, predicted = np.array(case["gold"], int), np.array(case["predicted"], int)
    f1 = lambda average: sklearn.metrics.f1_score(gold, predicted, average=average, zero_division=0)
    return {
        "accuracy": sklearn.metrics.accuracy_score(gold, predicted),
        "macro_f1": f1("macro"),
        "micro_f1": f1("micro"),
        "per_class": class_scores(gold, predicted, None),
    }


def want_numbers(case):
    gold, predicted = case["gold"], case["predicted"]
    number = lambda result: None if math.isnan(result.statistic) else float(result.statistic)
    return {
        "pearson": number(scipy.stats.pearsonr(gold, predicted)),
        "spearman": number(scipy.stats.spearmanr(gold, predicted)),
        "mean_squared_error": sklearn.metrics.mean_squared_error(gold, predicted),
    }


def want_words(case):
    gold, predicted = case["gold"], case["predicted"]
    return {
        "normalised": squad_metrics.normalize_answer(gold),
        "exact": bool(squad_metrics.compute_exact(gold, predicted)),
        "f1": squad_metrics.compute_f1(gold, predicted),
    }


def f1_of_version_1(gold, predicted):
    words = lambda text: Counter(squad_metrics.normalize_answer(text).split())
    common = (words(gold) & words(predicted)).total()
    return squad_metrics.compute_f1(gold, predicted) if common else 0


def want_squad1(case):
    best = lambda score: [max(score(g, p) for g in gold) for gold, p, _ in case["questions"]]
    mean = lambda scores: 100.0 * sum(scores) / len(scores)
    return {"exact": mean(best(squad_metrics.compute_exact)), "f1": mean(best(f1_of_version_1))}


def want_squad2(case):
    examples, predictions, odds = [], {}, {}
    for number, (gold, prediction, no_answer) in enumerate(case["questions"]):
        answers = [{"text": text} for text in gold]
        examples.append(SimpleNamespace(qas_id=number, answers=answers))
        predictions[number], odds[number] = prediction, no_answer
    threshold = case["threshold"]
    known = None not in odds.values()
    want = squad_metrics.squad_evaluate(
        examples, predictions, odds if known else None,
        math.inf if threshold is None else threshold,
    )  # fmt: skip
    return {key: value for key, value in want.items() if known or "best" not in key} | {
        "total": len(examples)
    }


def want_entities(case):
    iobes = {"L": "E", "U": "S"}
    tags = lambda name: [[iobes.get(t[0], t[0]) + t[1:] for t in row] for row in case[name]]
    gold, predicted = tags("gold"), tags("predicted")
    measure = sequence_labeling.precision_recall_fscore_support
    row = lambda p, r, f, s: [float(p), float(r), float(f), int(s)]
    entities = sequence_labeling.get_entities
    names = sorted({name for side in (gold, predicted) for name, *_ in entities(side)})
    kinds = zip(*measure(gold, predicted, zero_division=0)) if names else []
    return {
        "all": row(*measure(gold, predicted, average="micro", zero_division=0)),
        "kinds": {name: row(*scores) for name, scores in zip(names, kinds)},
    }


WORDS = ["the", "a", "an", "The", "AN", "cat", "cat's", "İstanbul", "ΣΑΣ", "naïve", "e\u0301",
         "a\u0301", "ａ", "ｔｈｅ", "。", "-", "a-the", "_a_", "1,000", "$5", "the²", "ⓐ", "ª", "½",
         "東京", "ß", "ẞ", "\u00a0", "\u3000", "\x1c", "\u200b", "a\u200bthe", "%", "''", ""]  # fmt: skip


class Cases:
    def __init__(self, rng):
        self.rng = rng

    def size(self):
        return int(self.rng.choice([1, 2, 3, 5, 20, 200]))

    def text(self):
        count = int(self.rng.integers(0, 5))
        return str(self.rng.choice([" ", "", "  "])).join(self.rng.choice(WORDS, count).tolist())

    def classes(self):
        count, size = int(self.rng.integers(2, 7)), self.size()
        # Often not all of them, sometimes one alone.
        draw = lambda: self.rng.integers(0, self.rng.integers(1, count + 1), size).tolist()
        gold, predicted = draw(), draw()
        if self.rng.random() < 0.2:
            predicted = gold
        return {"classes": count, "gold": gold, "predicted": predicted}

    def labels(self):
        count, size = int(self.rng.integers(2, 6)), self.size()
        draw = lambda: (self.rng.random((size, count)) < self.rng.choice([0, 0.1, 0.5])).tolist()
        return {"labels": count, "gold": draw(), "predicted": draw()}

    def numbers(self):
        size = max(2, self.size())
        scale, shift = float(self.rng.choice([1e-3, 1, 1e6])), float(self.rng.choice([0, 1, -5]))
        def draw():
            kind = self.rng.integers(0, 4)
            if kind == 0:
                return self.rng.integers(0, 6, size).astype(float)
            if kind == 1:
                return np.full(size, self.rng.normal()) if self.rng.random() < 0.3 else self.rng.random(size)
            return self.rng.normal(size=size) * scale + shift * scale
        gold = draw()
        predicted = draw() if self.rng.random() < 0.8 else -2.0 * gold
        return {"gold": gold.tolist(), "predicted": predicted.tolist()}

    def words(self):
        gold = self.text()
        return {"gold": gold, "predicted": gold.upper() if self.rng.random() < 0.2 else self.text()}

    def questions(self, answerable, sure):
        questions = []
        for _ in range(self.size()):
            count = 0 if self.rng.random() > answerable else int(self.rng.integers(1, 4))
            gold = [self.text() for _ in range(count)]
            same = gold and self.rng.random() < 0.4
            # Few different ones, so that there are ties.
            odds = float(np.round(self.rng.normal(), int(self.rng.integers(0, 3)))) if sure else None
            questions.append([gold, gold[0] if same else self.text(), odds])
        return questions

    def squad1(self):
        return {"questions": self.questions(1.1, False)}

    def squad2(self):
        sure = self.rng.random() < 0.8
        threshold = float(self.rng.choice([-1, 0, 0.5, 1])) if sure and self.rng.random() < 0.7 else None
        return {
            "questions": self.questions(self.rng.choice([0, 0.5, 1.1]), sure),
            "threshold": threshold,
        }

    def entities(self):
        letters = [str(x) for x in self.rng.choice(["IO", "BIO", "BIESO", "BILUO", "SEO"], 1)][0]
        def tag():
            letter = str(self.rng.choice(list(letters)))
            kinds = ["-PER", "-LOC", "-x-y", "-東京"] + ([""] if self.rng.random() < 0.05 else [])
            return letter if letter == "O" else letter + str(self.rng.choice(kinds))
        gold, predicted = [], []
        for _ in range(int(self.rng.integers(1, 6))):
            row = [tag() for _ in range(int(self.rng.integers(1, 12)))]
            gold.append(row)
            keep = self.rng.random()
            predicted.append([t if self.rng.random() < keep else tag() for t in row])
        return {"gold": gold, "predicted": predicted}


def every_character():
    """For each character that Python knows, whether it ends a word, is a space or is removed."""
    for code in range(sys.maxunicode + 1):
        letter = chr(code)
        if unicodedata.category(letter) not in ("Cn", "Cs", "Co"):
            yield {"score": "words", "gold": f"a{letter} {letter}the x{letter}Y", "predicted": "y"}


def equal(found, want):
    if isinstance(want, dict):
        return set(found) == set(want) and all(equal(found[key], want[key]) for key in want)
    if isinstance(want, list):
        return len(found) == len(want) and all(map(equal, found, want))
    if want is None or isinstance(want, (str, bool)) or found is None:
        return found == want
    return abs(found - want) <= TOLERANCE * max(1.0, abs(want))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    draw = Cases(np.random.default_rng(arguments.seed))
    kinds = ["classes", "labels", "numbers", "words", "squad1", "squad2", "entities"]
    cases = [{"score": kind} | getattr(draw, kind)() for kind in kinds for _ in range(arguments.count)]
    cases += every_character()
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    output = subprocess.run([arguments.binary], input=lines, capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in output.stdout.split("\n") if line]
    assert len(found) == len(cases)
    counts, wrong = Counter(), 0
    for case, got in zip(cases, found):
        want = globals()[f"want_{case['score']}"](case)
        counts[case["score"]] += 1
        if not equal(got, want):
            wrong += 1
            if wrong <= 5:
                print("DIFFERS", json.dumps(case, ensure_ascii=False)[:2000], "found", got, "want", want, sep="\n  ")
    for kind, count in counts.items():
        print(f"{kind:10} {count:8,} cases")
    print(f"{wrong} of {len(cases):,} differ by more than {TOLERANCE}")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
