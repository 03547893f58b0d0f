"""Saves a model of full size with random weights: `python make_checkpoint.py OUT [--preset base]`.

For tests of loading and timing; without a tokenizer. The weights are transformers' own
initialisation from a fixed seed, so that the file is the same each time.
"""

import argparse
from pathlib import Path

import torch
from transformers import AlbertConfig, AlbertForPreTraining, BertConfig, BertForPreTraining

# Sizes of the released models: the v2 configurations, for zh the published tiny and small.
SIZES = {
    "base": dict(hidden_size=768, intermediate_size=3072, num_attention_heads=12),
    "large": dict(
        hidden_size=1024, intermediate_size=4096, num_attention_heads=16, num_hidden_layers=24
    ),
    "xlarge": dict(
        hidden_size=2048, intermediate_size=8192, num_attention_heads=16, num_hidden_layers=24
    ),
    "xxlarge": dict(hidden_size=4096, intermediate_size=16384, num_attention_heads=64),
    "zh-tiny": dict(
        hidden_size=312, intermediate_size=1248, num_attention_heads=12, num_hidden_layers=4,
        vocab_size=21128,
    ),
    "zh-small": dict(
        hidden_size=384, intermediate_size=1536, num_attention_heads=12, num_hidden_layers=6,
        vocab_size=21128,
    ),
}  # fmt: skip


def build(preset: str) -> AlbertForPreTraining | BertForPreTraining:
    if preset == "bert-base":
        return BertForPreTraining(BertConfig(vocab_size=30000))
    return AlbertForPreTraining(AlbertConfig(**SIZES[preset]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the model directory to write")
    parser.add_argument("--preset", default="base", choices=[*SIZES, "bert-base"])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    model = build(arguments.preset)
    model.save_pretrained(arguments.out)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{arguments.out}: {arguments.preset}, {parameters:,} parameters")


if __name__ == "__main__":
    main()
