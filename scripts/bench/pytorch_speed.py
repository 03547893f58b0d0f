"""Tokens per second of ALBERT in PyTorch float32 on this CPU, to hold beside the example `speed`.

    python pytorch_speed.py [--task inference] [--shape 8x128] [--threads 2] [--repeats 10]

One JSON line per task; the time is the median of the repeats after two that are not counted.
- inference: AlbertModel, encoder and pooler.
- training: one step of AlbertForPreTraining and AdamW as transformers computes it, the
  masked-word head over every position.
- training-masked: the same step with the head over the 15 % masked positions only, which is what
  a careful PyTorch user would write; the fairer baseline.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from transformers import AlbertConfig, AlbertForPreTraining, AlbertModel

WARM_UP = 2
MASKED_SHARE = 0.15
IGNORED = -100


def base_config() -> AlbertConfig:
    """albert-base-v2, with no dropout anywhere."""
    return AlbertConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_attention_heads=12,
        classifier_dropout_prob=0.0,
    )


def draw_batch(config: AlbertConfig, batch: int, length: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, config.vocab_size, (batch, length), generator=generator)
    order = torch.rand((batch, length), generator=generator).argsort(dim=1)
    masked = order < round(MASKED_SHARE * length)
    return {
        "input_ids": torch.where(masked, 4, ids),
        "token_type_ids": (torch.arange(length) >= length // 2).long().expand(batch, length),
        "labels": torch.where(masked, ids, IGNORED),
        "sentence_order_label": torch.randint(0, 2, (batch,), generator=generator),
    }


def inference(batch: dict[str, torch.Tensor]) -> Callable[[], object]:
    model = AlbertModel(base_config()).eval()
    inputs = {key: batch[key] for key in ("input_ids", "token_type_ids")}

    def run() -> object:
        with torch.inference_mode():
            return model(**inputs).pooler_output

    return run


def masked_only_loss(model: AlbertForPreTraining, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    encoded = model.albert(batch["input_ids"], token_type_ids=batch["token_type_ids"])
    masked = batch["labels"] != IGNORED
    words = model.predictions(encoded.last_hidden_state[masked])
    order = model.sop_classifier(encoded.pooler_output)
    cross_entropy = torch.nn.functional.cross_entropy
    return cross_entropy(words, batch["labels"][masked]) + cross_entropy(
        order, batch["sentence_order_label"]
    )


def training(batch: dict[str, torch.Tensor], masked_only: bool) -> Callable[[], object]:
    model = AlbertForPreTraining(base_config()).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, eps=1e-6, weight_decay=0.01)

    def run() -> object:
        loss = masked_only_loss(model, batch) if masked_only else model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return run


TASKS: dict[str, Callable[[dict[str, torch.Tensor]], Callable[[], object]]] = {
    "inference": inference,
    "training": lambda batch: training(batch, masked_only=False),
    "training-masked": lambda batch: training(batch, masked_only=True),
}


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(WARM_UP + repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARM_UP:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", action="append", choices=[*TASKS], help="default: all")
    parser.add_argument("--shape", default="8x128", help="sequences x tokens")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    sequences, length = map(int, arguments.shape.split("x"))
    batch = draw_batch(base_config(), sequences, length)
    for task in arguments.task or TASKS:
        seconds = median_seconds(TASKS[task](batch), arguments.repeats)
        line = {
            "task": task,
            "shape": arguments.shape,
            "threads": arguments.threads,
            "tokens_per_second": round(sequences * length / seconds, 1),
            "milliseconds": round(1e3 * seconds, 2),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
