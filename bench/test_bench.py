"""Tests of the harness, none of which times anything: `python -m unittest`."""

import sys
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch
from xml.etree import ElementTree

import peers
import plot
import record
from agreement import LIMITS, error_of
from model import Batch, Set, check_sets, config_of, fixed_sets, make_preset, padded
from peers import CONTENDERS, Absent, Setting
from record import Tally

F32 = {one.name: one for one in CONTENDERS if one.precision == "f32"}


def line(shape: str, hidden: list[float], pooler: list[float]) -> dict[str, Any]:
    return {"shape": shape, "outputs": [{"hidden": hidden, "pooler": pooler}]}


class Agreement(unittest.TestCase):
    # Two tokens of two values and one of padding.
    sets = [Set("padded", [Batch([[5, 6], [7, 0]], [[1, 1], [1, 0]])])]
    truth = [line("padded", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [1.0, 1.0])]

    def error(self, *found: dict[str, Any]) -> float:
        return error_of(list(found), self.truth, self.sets, True)

    def test_padding_does_not_count_and_everything_else_does(self) -> None:
        right = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        self.assertEqual(self.error(line("padded", right + [0.0, 9.0], [1.0, 1.0])), 0.0)
        wrong = right[:5] + [6.1]
        self.assertGreater(self.error(line("padded", wrong + [7.0, 8.0], [1.0, 1.0])), 1e-3)
        self.assertGreater(self.error(line("padded", right + [7.0, 8.0], [1.0, 1.1])), 1e-3)

    def test_what_is_missing_is_infinitely_wrong(self) -> None:
        self.assertEqual(self.error(), float("inf"))
        self.assertEqual(self.error({"shape": "padded", "error": "no"}), float("inf"))
        self.assertEqual(self.error(line("padded", [1.0, 2.0], [1.0, 1.0])), float("inf"))
        self.assertEqual(self.error(line("padded", [float("nan")] * 8, [1.0, 1.0])), float("inf"))


class Limits(unittest.TestCase):
    """What the limits catch: models that are wrong in one thing, held against the right one."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.work = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.work.cleanup)
        cls.model = Path(cls.work.name) / "model"
        make_preset(cls.model, "nano")
        config = config_of(cls.model)
        cls.sets = check_sets(config["vocab_size"], config["max_position_embeddings"])
        cls.truth = cls.compute()

    @classmethod
    def compute(cls, zeroed: str = "", masked: bool = True, **changed: Any) -> list[dict[str, Any]]:
        import torch
        from transformers import AlbertModel
        from transformers.utils import logging

        logging.set_verbosity_error()
        torch.set_grad_enabled(False)
        model = AlbertModel.from_pretrained(cls.model, dtype=torch.float32, **changed).eval()
        for name, parameter in model.named_parameters():
            if zeroed and name.endswith(zeroed):
                parameter.zero_()
        found = []
        for one in cls.sets:
            batch = one.batches[0]
            mask = torch.tensor(batch.mask) if masked and batch.mask else None
            outputs = model(torch.tensor(batch.ids), attention_mask=mask)
            hidden, pooler = outputs.last_hidden_state, outputs.pooler_output
            found.append(line(one.shape, hidden.ravel().tolist(), pooler.ravel().tolist()))
        return found

    def caught_by(self, **wrong: Any) -> list[str]:
        error = error_of(self.compute(**wrong), self.truth, self.sets, True)
        return [precision for precision, limit in LIMITS.items() if error > limit]

    def test_the_right_one_passes(self) -> None:
        self.assertEqual(self.caught_by(), [])

    def test_f32_catches_everything(self) -> None:
        self.assertEqual(self.caught_by(hidden_act="gelu"), ["f32"])
        self.assertEqual(self.caught_by(zeroed="query.bias"), ["f32"])
        self.assertEqual(self.caught_by(zeroed="ffn.bias"), ["f32"])

    def test_bf16_catches_a_missing_part(self) -> None:
        self.assertEqual(self.caught_by(num_hidden_layers=5), ["f32", "bf16"])
        self.assertEqual(self.caught_by(masked=False), ["f32", "bf16"])
        self.assertEqual(self.caught_by(zeroed="value.bias"), ["f32", "bf16"])

    def test_int8_catches_another_function(self) -> None:
        self.assertEqual(self.caught_by(hidden_act="relu"), ["f32", "bf16", "int8"])
        self.assertEqual(
            self.caught_by(zeroed="position_embeddings.weight"), ["f32", "bf16", "int8"]
        )


class Sets(unittest.TestCase):
    def test_real_tokens_are_counted(self) -> None:
        batch = padded([[5, 6, 7], [8]])
        self.assertEqual(batch, Batch([[5, 6, 7], [8, 0, 0]], [[1, 1, 1], [1, 0, 0]]))
        self.assertEqual(Set("mixed", [batch, padded([[5]])]).tokens(), 5)
        self.assertIsNone(padded([[5, 6], [7, 8]]).mask)

    def test_ids_are_those_of_the_vocabulary(self) -> None:
        (one,) = fixed_sets(20, ["4x50"])
        self.assertEqual(one.tokens(), 200)
        self.assertTrue(all(13 <= token < 20 for row in one.batches[0].ids for token in row))


class Processes(unittest.TestCase):
    def setUp(self) -> None:
        work = tempfile.TemporaryDirectory()
        self.addCleanup(work.cleanup)
        self.setting = Setting(Path(work.name), "nano", Path(work.name), 1, limit=0.5)

    def test_a_failure_is_told_by_the_line_that_says_so(self) -> None:
        for said, told in [
            ("first\\nno such thing", "no such thing"),
            ("error: no flag --x\\n\\nUsage: albert", "error: no flag --x"),
            ("File\\nRuntimeError: broke\\n  here", "RuntimeError: broke"),
            ("", "ended with 1"),
        ]:
            failing = f"import sys; print('{said}', file=sys.stderr); sys.exit(1)"
            with self.assertRaisesRegex(Absent, f"^{told}$"):
                peers.run([sys.executable, "-c", failing], self.setting)
        with self.assertRaisesRegex(Absent, "No such file"):
            peers.run(["/nowhere/program"], self.setting)

    def test_what_takes_too_long_is_ended(self) -> None:
        sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
        with self.assertRaisesRegex(Absent, "longer than"):
            peers.run(sleeping, self.setting)

    def test_a_rate_of_other_tokens_is_refused(self) -> None:
        rate = {"shape": "mixed", "tokens_per_second": 1000.0, "milliseconds": 100.0}
        self.assertNotIn("error", peers.same_tokens(rate, 100))
        self.assertIn("error", peers.same_tokens(rate, 102))
        self.assertIn("error", peers.same_tokens(rate, None))

    def test_a_package_that_is_not_there(self) -> None:
        missing = replace(F32["pytorch-f32"], engine="no_such_package")
        with self.assertRaisesRegex(Absent, "not installed"):
            peers.version(missing, self.setting)

    def test_albert_is_asked_by_preset_or_by_model(self) -> None:
        answer = '{"shape": "1x16", "tokens_per_second": 1600.0, "milliseconds": 10.0}\n'
        sets = fixed_sets(20, ["1x16"])
        with patch.object(peers, "run", return_value=answer) as run:
            (found,) = peers.time_albert(F32["albert-f32"], sets, self.setting)
            self.assertEqual(found["milliseconds"], 10.0)
            self.assertIn("--preset", run.call_args.args[0])
            given = replace(self.setting, preset=None)
            peers.time_albert(F32["albert-f32"], sets, given)
            self.assertIn("--model", run.call_args.args[0])


class Records(unittest.TestCase):
    def table(self) -> list[record.Row]:
        ours, theirs, gone = (F32[name] for name in ("albert-f32", "rten-f32", "openvino-f32"))
        tallies = [
            Tally(ours, "1", 1e-7, {"1x16": [4.0, 5.0, 9.0], "1x32": [8.0]}, [0.0, 0.2, 0.1]),
            Tally(theirs, "2", 1e-7, {"1x16": [10.0]}, notes={"1x32": "broke"}),
            Tally(gone, notes={"": "openvino is not installed"}),
        ]
        tokens = {"1x16": 16, "1x32": 32}
        return [row for tally in tallies for row in record.rows(tally, tokens, "nano", 2, "cpu")]

    def test_medians_and_reasons(self) -> None:
        ours, _, _, broken, gone = self.table()
        self.assertEqual((ours.milliseconds, ours.tokens_per_second, ours.rounds), (5.0, 3200.0, 3))
        self.assertEqual((ours.tokens_per_second_low, ours.others), (1777.8, 0.1))
        self.assertEqual((broken.note, broken.tokens_per_second), ("broke", None))
        self.assertEqual((gone.shape, gone.note), ("", "openvino is not installed"))

    def test_the_ratio_is_to_the_best_and_only_where_both_ran(self) -> None:
        found = record.rates(self.table(), "f32")
        self.assertEqual(record.ratio(found, "1x16"), (2.0, "rten-f32"))
        self.assertIsNone(record.ratio(found, "1x32"))
        printed = record.text(self.table(), ["1x16", "1x32"])
        self.assertIn("absent: rten-f32 1x32: broke", printed)
        self.assertIn("2.00         -", printed)

    def test_files(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            csv, svg = Path(directory) / "a" / "b.csv", Path(directory) / "a" / "b.svg"
            record.write(self.table(), csv)
            plot.write(self.table(), ["1x16", "1x32"], "<nano> & co", svg)
            self.assertEqual(len(csv.read_text().splitlines()), 6)
            root = ElementTree.fromstring(svg.read_text())
            # The background and the three figures there are.
            self.assertEqual(len(root.findall("{*}rect")), 4)


if __name__ == "__main__":
    unittest.main()
