from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from strideformer import Strideformer
from strideformer.aggregation import DocumentAggregator
from strideformer.aggregator import aggregator_state, load_aggregator
from strideformer.errors import StrideformerError
from tests.tiny import save_tiny_checkpoint

OLD = Path(__file__).parents[1] / "data" / "checkpoint-0.2.0"


@pytest.mark.parametrize(
    "changes", [{}, {"document_pooling": "cls", "chunk_positions": "learned"}, {"document_pooling": "attention"}]
)
def test_logits_are_those_of_the_whole_model(tmp_path: Path, changes: dict[str, str]) -> None:
    folder = save_tiny_checkpoint(tmp_path, **changes)
    vectors, offsets = torch.randn(11, 32), np.array([0, 4, 4, 11])
    whole = DocumentAggregator(Strideformer.from_pretrained(folder), torch.device("cpu"))(vectors, offsets)
    alone = load_aggregator(folder)
    assert next(alone.first_model.parameters()).is_meta
    np.testing.assert_array_equal(DocumentAggregator(alone, torch.device("cpu"))(vectors, offsets).logits, whole.logits)


def test_sharded_weights_and_those_of_0_2_0(tmp_path: Path, tiny_checkpoint: Path) -> None:
    Strideformer.from_pretrained(tiny_checkpoint).save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    expected, found = aggregator_state(tiny_checkpoint), aggregator_state(tmp_path)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    for file in tmp_path.glob("*.safetensors"):
        torch.save(load_file(file), file.with_name(file.name.replace("model", "pytorch_model")).with_suffix(".bin"))
        file.unlink()
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    index["weight_map"] = {
        name: "pytorch_" + file.replace(".safetensors", ".bin") for name, file in index["weight_map"].items()
    }
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (tmp_path / "model.safetensors.index.json").unlink()
    found = aggregator_state(tmp_path)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert not any(parameter.is_meta for parameter in load_aggregator(OLD).second_model.parameters())


def test_a_checkpoint_that_is_not_whole_is_refused(tmp_path: Path, tiny_checkpoint: Path) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "partial")
    weights = load_file(tiny_checkpoint / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, tmp_path / "partial" / "model.safetensors")
    with pytest.raises(StrideformerError, match=r"no weights for classifier.weight"):
        load_aggregator(tmp_path / "partial")
    (tmp_path / "partial" / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(StrideformerError, match="cannot be read"):
        load_aggregator(tmp_path / "partial")
