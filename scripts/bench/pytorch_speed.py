"""Tokens per second of training ALBERT in PyTorch on this CPU, to hold beside the example `speed`.

    python pytorch_speed.py [--model base] [--shape 8x128] [--precision bf16] [--eager]
                            [--masked-only] [--threads 2] [--repeats 5]

One step is forward, backward and AdamW of `AlbertForPreTraining` of transformers, in bf16 by
autocast, and compiled unless `--eager`. The masked-word head is computed at every position, as
transformers does; `--masked-only` gathers the 15 % masked positions first, which is what a careful
user would write. One JSON line; the time is the median of the repeats after two that do not count.
"""

import argparse
import json
import statistics
import time

import torch
from transformers import AlbertConfig, AlbertForPreTraining

WARM_UP = 2
MASKED_SHARE = 0.15
IGNORED = -100

# Hidden size, feed-forward size, heads, layers; the vocabulary is albert-base-v2's.
SIZES = {"base": (768, 3072, 12, 12), "small": (256, 1024, 4, 6)}


def model_config(name: str) -> AlbertConfig:
    """As the example `speed` has it, with no dropout anywhere."""
    hidden, intermediate, heads, layers = SIZES[name]
    return AlbertConfig(
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_attention_heads=heads,
        num_hidden_layers=layers,
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


class MaskedOnly(torch.nn.Module):
    """The loss with the masked-word head at the masked positions only."""

    def __init__(self, model: AlbertForPreTraining, batch: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.model = model
        labels = batch["labels"].flatten()
        # Known beforehand, so that compiling is not broken by shapes that depend on numbers.
        self.index = torch.nonzero(labels != IGNORED).flatten()
        self.labels = labels[self.index]

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        encoded = self.model.albert(batch["input_ids"], token_type_ids=batch["token_type_ids"])
        words = self.model.predictions(encoded.last_hidden_state.flatten(0, 1)[self.index])
        order = self.model.sop_classifier(encoded.pooler_output)
        cross_entropy = torch.nn.functional.cross_entropy
        return cross_entropy(words.float(), self.labels) + cross_entropy(
            order.float(), batch["sentence_order_label"]
        )


class Whole(torch.nn.Module):
    """The loss as transformers computes it."""

    def __init__(self, model: AlbertForPreTraining) -> None:
        super().__init__()
        self.model = model

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        return self.model(**batch).loss


def median_seconds(arguments: argparse.Namespace, sequences: int, length: int) -> float:
    config = model_config(arguments.model)
    batch = draw_batch(config, sequences, length)
    model = AlbertForPreTraining(config).train()
    loss = MaskedOnly(model, batch) if arguments.masked_only else Whole(model)
    compute = loss if arguments.eager else torch.compile(loss)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, eps=1e-6, weight_decay=0.01)

    def step() -> None:
        enabled = arguments.precision == "bf16"
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            value = compute(**batch)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    seconds = []
    for _ in range(WARM_UP + arguments.repeats):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARM_UP:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=[*SIZES], default="base")
    parser.add_argument("--shape", default="8x128", help="sequences x tokens")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="bf16")
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--masked-only", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    sequences, length = map(int, arguments.shape.split("x"))
    seconds = median_seconds(arguments, sequences, length)
    line = {
        "task": "training",
        "model": arguments.model,
        "shape": arguments.shape,
        "precision": arguments.precision,
        "compiled": not arguments.eager,
        "masked_only": arguments.masked_only,
        "threads": arguments.threads,
        "tokens_per_second": round(sequences * length / seconds, 1),
        "milliseconds": round(1e3 * seconds, 2),
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
