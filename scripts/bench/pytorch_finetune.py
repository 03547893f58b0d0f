"""One run of fine-tuning ALBERT in PyTorch on this CPU, timed, for `finetune_speed.py`.

    python pytorch_finetune.py --model DIR --task sst-2 --train FILE [--variant dynamic-1]
                               [--precision bf16] [--threads 2] [--attention sdpa]

DIR has a config and a tokenizer that transformers reads. A step is what a careful user would write:
examples of like lengths together, as transformers' group_by_length draws them with megabatches of 50
batches; padding to the longest of the batch; forward and backward in bf16 by autocast, compiled;
clipping to a norm of 1; the fused AdamW. A variant says what is compiled and how lengths are rounded
up: `dynamic-1` compiles once for all lengths and rounds nothing, `static-16` compiles for every
multiple of 16, `eager-1` compiles nothing.

The first epoch is not counted: it compiles. The second is of the same batches, so that nothing is
left to compile; all its steps are timed, and padding counts for no token. Prints one JSON line.
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path

import torch
import torch._dynamo
import transformers
from transformers import AlbertConfig, AlbertForSequenceClassification, PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "parity"))
import finetune_data as data  # noqa: E402

BATCH = 32
MEGABATCH = 50
RATE = 1e-5
COLUMNS = {"sst-2": ("sentence", None, "label"), "mrpc": ("#1 String", "#2 String", "Quality")}


def read_units(task: str, train: Path, model: Path) -> tuple[list[data.Unit], int]:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model)
    rows = data.read_glue(train, *COLUMNS[task])
    return data.encode(tokenizer, "label", rows, ["0", "1"], 512), tokenizer.pad_token_id


def grouped(units: list[data.Unit], draw: random.Random) -> list[list[data.Unit]]:
    """Batches as of the LengthGroupedSampler of transformers: a random order, cut into megabatches,
    each of which is sorted from long to short; the longest of all comes first."""
    order = draw.sample(units, len(units))
    size = MEGABATCH * BATCH
    megabatches = [order[start : start + size] for start in range(0, len(order), size)]
    batches = []
    for megabatch in megabatches:
        megabatch.sort(key=data.Unit.tokens, reverse=True)
        batches += [megabatch[start : start + BATCH] for start in range(0, len(megabatch), BATCH)]
    longest = max(range(len(batches)), key=lambda i: batches[i][0].tokens())
    batches[0], batches[longest] = batches[longest], batches[0]
    return batches


def make_model(arguments: argparse.Namespace) -> AlbertForSequenceClassification:
    config = AlbertConfig.from_pretrained(arguments.model, num_labels=2)
    config._attn_implementation = arguments.attention
    return AlbertForSequenceClassification(config).train()


def train(arguments: argparse.Namespace) -> dict:
    units, pad = read_units(arguments.task, arguments.train, arguments.model)
    kind, multiple = arguments.variant.split("-")
    model = make_model(arguments)
    compute = model
    if kind != "eager":
        # One for every length, whatever it takes.
        torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = 512
        compute = torch.compile(model, dynamic=kind == "dynamic")
    groups = data.groups_of(model, 0.01)
    optimizer = torch.optim.AdamW(groups, lr=RATE, eps=1e-6, fused=True)
    padded, graphs = 0, [0, 0]
    batches = grouped(units, random.Random(0))
    for epoch in range(2):
        begun = time.perf_counter()
        for batch in batches:
            inputs = data.collate("label", batch, pad, int(multiple))
            with torch.autocast("cpu", torch.bfloat16, enabled=arguments.precision == "bf16"):
                loss = compute(**inputs).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            padded += inputs["input_ids"].numel() if epoch == 1 else 0
        seconds = time.perf_counter() - begun
        graphs[epoch] = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    tokens = sum(unit.tokens() for unit in units)
    return {
        "tokens": tokens,
        "examples": len(units),
        "seconds": seconds,
        "padding": 1.0 - tokens / padded,
        "loss": loss.item(),
        "graphs": graphs[1],
        "compiled_meanwhile": graphs[1] - graphs[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--task", choices=[*COLUMNS], required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--variant", default="dynamic-1")
    parser.add_argument("--precision", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    transformers.utils.logging.set_verbosity_error()
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(json.dumps(train(arguments) | {"version": versions}), flush=True)


if __name__ == "__main__":
    main()
