"""Writes models as checkpoints of TensorFlow: `python make_tensorflow.py OUT HEADS`, where OUT has
the models of `make_fixtures.py` and HEADS those of `../parity/heads.py fixtures`.

The variables have the names and the optimizer slots of google-research/albert and
google-research/bert, and are saved by TensorFlow itself (`tf.compat.v1.train.Saver`): OUT/albert/tf in
one file, OUT/albert/tf_shards in two, OUT/bert/tf in one, and HEADS/albert_.../tf of each head that
the original code fine-tunes.
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np
import tensorflow as tf
from safetensors.numpy import load_file

v1 = tf.compat.v1
v1.disable_eager_execution()


def albert_variable(name: str) -> str:
    """The variable of google-research/albert (`modeling.py`, `run_pretraining.py`)."""
    block = "bert/encoder/transformer/group_{}/inner_group_{}/"
    found = re.match(r"albert\.encoder\.albert_layer_groups\.(\d+)\.albert_layers\.(\d+)\.(.*)", name)
    if found:
        part, leaf = found[3].rsplit(".", 1)
        stem = block.format(found[1], found[2]) + {
            "attention.query": "attention_1/self/query",
            "attention.key": "attention_1/self/key",
            "attention.value": "attention_1/self/value",
            "attention.dense": "attention_1/output/dense",
            "attention.LayerNorm": "LayerNorm",
            "ffn": "ffn_1/intermediate/dense",
            "ffn_output": "ffn_1/intermediate/output/dense",
            "full_layer_layer_norm": "LayerNorm_1",
        }[part]
        return stem + "/" + leaf_name(stem, leaf)
    if name == "predictions.bias":
        return "cls/predictions/output_bias"
    stem, leaf = name.rsplit(".", 1)
    # `classifier_utils.py:797`, `squad_utils.py:734` and, of the joint head, `squad_utils.py:1428`.
    scope = {"classifier": "", "qa_outputs": "cls/squad/"}.get(stem)
    if scope is not None:
        return scope + "output_" + {"weight": "weights", "bias": "bias"}[leaf]
    if stem == "sop_classifier.classifier":
        return "cls/seq_relationship/output_" + {"weight": "weights", "bias": "bias"}[leaf]
    stem = {"albert.pooler": "bert/pooler/dense"}.get(stem, stem.replace(".", "/"))
    stem = stem.replace("albert/", "bert/").replace("predictions/", "cls/predictions/transform/")
    return stem if stem.endswith("_embeddings") else stem + "/" + leaf_name(stem, leaf)


def bert_variable(name: str) -> str:
    """The variable of google-research/bert."""
    if name == "cls.predictions.bias":
        return "cls/predictions/output_bias"
    stem, leaf = name.rsplit(".", 1)
    if stem == "cls.seq_relationship":
        return "cls/seq_relationship/output_" + {"weight": "weights", "bias": "bias"}[leaf]
    stem = stem.replace(".layer.", ".layer_").replace(".", "/")
    return stem if stem.endswith("_embeddings") else stem + "/" + leaf_name(stem, leaf)


def leaf_name(stem: str, leaf: str) -> str:
    if "LayerNorm" in stem:
        return {"weight": "gamma", "bias": "beta"}[leaf]
    return {"weight": "kernel", "bias": "bias"}[leaf]


def save(tensors: dict[str, np.ndarray], path: Path, shards: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with v1.Graph().as_default():
        for number, (name, values) in enumerate(sorted(tensors.items())):
            if name.endswith("/kernel"):
                values = values.T
            with v1.device(f"/cpu:{number % shards}"):
                v1.get_variable(name, initializer=values)
                # In the slots is what must not be taken for weights.
                if number < 3:
                    v1.get_variable(name + "/adam_m", initializer=np.full_like(values, 7))
                    v1.get_variable(name + "/adam_v", initializer=np.full_like(values, 7))
        v1.get_variable("global_step", initializer=np.int64(125_000))
        config = v1.ConfigProto(device_count={"CPU": shards})
        with v1.Session(config=config) as session:
            session.run(v1.global_variables_initializer())
            saver = v1.train.Saver(sharded=shards > 1)
            saver.save(session, str(path), write_meta_graph=False, write_state=False)


def write(directory: Path, variable, config_name: str, places: list[tuple[str, int]]) -> None:
    """The model in `directory` as checkpoints in directories in it, each of so many files."""
    config = json.loads((directory / "config.json").read_text())
    # The original files have neither a model_type nor Hugging Face's name of the activation.
    keys = ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
            "intermediate_size", "hidden_dropout_prob", "attention_probs_dropout_prob",
            "max_position_embeddings", "type_vocab_size", "initializer_range",
            "embedding_size", "num_hidden_groups", "inner_group_num"]  # fmt: skip
    original = {key: config[key] for key in keys if key in config} | {"hidden_act": "gelu"}
    tensors = load_file(directory / "model.safetensors")
    tensors = {variable(name): values for name, values in tensors.items()}
    for place, shards in places:
        save(tensors, directory / place / "model.ckpt-7", shards)
        text = json.dumps(original, indent=2) + "\n"
        (directory / place / config_name).write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("heads", type=Path)
    arguments = parser.parse_args()
    out = arguments.out
    heads = ["sequenceclassification", "questionanswering", "jointquestionanswering"]
    for directory in [arguments.heads / f"albert_{head}" for head in heads]:
        write(directory, albert_variable, "albert_config.json", [("tf", 1)])
    for family, variable in [("albert", albert_variable), ("bert", bert_variable)]:
        places = [("tf", 1)] + ([("tf_shards", 2)] if family == "albert" else [])
        write(out / family, variable, f"{family}_config.json", places)


if __name__ == "__main__":
    main()
