"""Makes this folder's checkpoint with the strideformer 0.2.0 package: see README.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import transformers
from transformers import BertConfig, BertModel

from strideformer import Strideformer, StrideformerConfig

LABELS = ("law", "network", "other")
VOCABULARY, LENGTH = 100, 12


def randomise(model: torch.nn.Module) -> None:
    """Weights that are far from those of a new model, so that every one of them shows in the logits."""
    for name, parameter in model.named_parameters():
        scale = torch.ones_like(parameter) if "norm" in name.lower() and name.endswith("weight") else 0.0
        spread = 0.3 if parameter.dim() > 1 else 0.2
        parameter.data = scale + spread * torch.randn_like(parameter)


def documents(num_chunks: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """(num_chunks, LENGTH) ids and mask; the last chunks are padded."""
    ids = torch.randint(1, VOCABULARY, (num_chunks, LENGTH), generator=generator)
    mask = torch.ones_like(ids)
    for row, length in ((-1, 5), (-2, 9)):
        ids[row, length:], mask[row, length:] = 0, 0
    return ids, mask


def main(out: Path) -> None:
    torch.manual_seed(20)
    first = BertModel(
        BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=64,
        )
    )
    randomise(first)
    with TemporaryDirectory() as folder:
        first.save_pretrained(folder)
        config = StrideformerConfig.from_two_configs(
            first_model_config=BertConfig.from_pretrained(folder),
            second_model_config={
                "freeze_first_model": True,
                "max_chunks": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "intermediate_size": 64,
                "hidden_act": "gelu",
                "dropout": 0.1,
                "layer_norm_eps": 1e-7,
                "initializer_range": 0.02,
                "hidden_size": 32,
                "label2id": {label: index for index, label in enumerate(LABELS)},
                "id2label": dict(enumerate(LABELS)),
                "num_labels": len(LABELS),
            },
        )
        config.first_model_config._name_or_path = folder
        model = Strideformer(config).eval()
    randomise(model.second_model)
    randomise(model.classifier)
    model.save_pretrained(out)
    saved = json.loads((out / "config.json").read_text())
    saved["first_model_config"]["_name_or_path"] = "tiny-bert"
    (out / "config.json").write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n")

    generator = torch.Generator().manual_seed(21)
    cases = []
    for name, num_chunks, batch_size in (("one document", 5, 1), ("two documents of three chunks", 6, 2)):
        ids, mask = documents(num_chunks, generator)
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=mask, batch_size=batch_size).logits
        cases.append(
            {
                "name": name,
                "batch_size": batch_size,
                "input_ids": ids.tolist(),
                "attention_mask": mask.tolist(),
                "logits": logits.tolist(),
            }
        )
    made_with = {"strideformer": "0.2.0", "transformers": transformers.__version__, "torch": torch.__version__}
    (out / "expected.json").write_text(json.dumps({"made_with": made_with, "cases": cases}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
