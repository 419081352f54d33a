from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.corpus.storage import resolve
from jobs.embeddings import embed_preflight
from jobs.embeddings.embed_preflight import CheckedEncoder
from jobs.settings import EmbedSettings
from strideformer import Strideformer
from strideformer.errors import StrideformerError
from tests.tiny import tiny_tokenizer, write_corpus


@pytest.fixture
def encoder(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    """The tiny checkpoint's first model as a sentence transformer of its own."""
    folder = tmp_path / "encoder"
    Strideformer.from_pretrained(tiny_checkpoint).first_model.save_pretrained(folder)
    tiny_tokenizer(folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    # As sentence transformers save it: truncation and padding, which are not ours.
    tokenizer["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def check(tmp_path: Path, model: Path | str, **more: Any) -> CheckedEncoder:
    if not (tmp_path / "a.parquet").exists():
        write_corpus(tmp_path / "a.parquet", 4)
    values: dict[str, Any] = {"inputs": [str(tmp_path / "a.parquet")], "output": str(tmp_path / "out")}
    return embed_preflight.check(EmbedSettings.model_validate(values | {"model": str(model)} | more))


def test_an_encoder_and_a_checkpoint_over_it_are_one_encoder(
    tmp_path: Path, encoder: Path, tiny_checkpoint: Path
) -> None:
    bare = check(tmp_path, encoder, max_length=16, stride=4, max_chunks=8)
    of_checkpoint = check(tmp_path, tiny_checkpoint)
    assert bare.encoder == of_checkpoint.encoder
    assert bare.fingerprint == of_checkpoint.fingerprint
    model = Strideformer.from_pretrained(tiny_checkpoint)
    model.classifier.weight.data.zero_()
    model.save_pretrained(tmp_path / "other")
    tiny_tokenizer(tmp_path / "other")
    assert check(tmp_path, tmp_path / "other").fingerprint == bare.fingerprint


def test_models_in_object_storage_are_those_on_disk(
    tmp_path: Path, encoder: Path, tiny_checkpoint: Path, s3_bucket: str
) -> None:
    for folder, name in ((encoder, "encoder"), (tiny_checkpoint, "checkpoint")):
        for file in folder.iterdir():
            filesystem, path = resolve(f"s3://{s3_bucket}/{name}/{file.name}", {})
            with filesystem.open_output_stream(path) as stream:
                stream.write(file.read_bytes())
        stored = check(tmp_path, f"s3://{s3_bucket}/{name}")
        assert (stored.encoder, stored.model) == (check(tmp_path, folder).encoder, check(tmp_path, folder).model)


def test_a_bare_encoder_is_cut_as_its_positions_allow(tmp_path: Path, encoder: Path) -> None:
    found = check(tmp_path, encoder).encoder
    assert (found.max_length, found.stride, found.max_chunks) == (64, 21, 128)
    assert (found.chunk_pooling, found.normalize_embeddings) == ("mean", False)


def test_several_layers_are_another_encoder_with_wider_vectors(tmp_path: Path, encoder: Path) -> None:
    one, two = check(tmp_path, encoder), check(tmp_path, encoder, chunk_layers=[0, -1])
    assert (one.encoder.chunk_layers, two.encoder.chunk_layers) == ((-1,), (0, -1))
    assert one.fingerprint != two.fingerprint
    assert two.output_schema is not None
    assert two.output_schema.field("chunk_vectors").type.value_type.list_size == 64


def test_layers_of_a_checkpoint_are_its_own(tmp_path: Path, tiny_checkpoint: Path) -> None:
    with pytest.raises(StrideformerError, match=r"chunk_layers is for an encoder, and .* is a checkpoint with its own"):
        check(tmp_path, tiny_checkpoint, chunk_layers=[0])


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("stride", {"stride": 5}),
        ("max_chunks", {"max_chunks": 7}),
    ],
)
def test_what_is_cut_otherwise_is_another_encoder(
    tmp_path: Path, tiny_checkpoint: Path, field: str, changes: dict[str, Any]
) -> None:
    first, second = check(tmp_path, tiny_checkpoint).encoder, check(tmp_path, tiny_checkpoint, **changes).encoder
    assert first.hash != second.hash
    difference = first.difference(second)
    assert difference is not None
    assert difference[0] == field


def test_kept_columns_may_have_the_names_of_labels_but_not_of_vectors(tmp_path: Path, tiny_checkpoint: Path) -> None:
    checked = check(tmp_path, tiny_checkpoint, keep_columns=["topic:label"])
    assert checked.output_schema.field("label").type == pa.int64()
    assert checked.output_schema.field("chunk_vectors").type == pa.large_list(pa.list_(pa.float16(), 32))
    with pytest.raises(StrideformerError, match="the output has a column 'chunk_vectors' of its own"):
        check(tmp_path, tiny_checkpoint, keep_columns=["topic:chunk_vectors"])


def test_chunks_beyond_the_positions_are_refused(tmp_path: Path, encoder: Path) -> None:
    with pytest.raises(StrideformerError, match="64 positions"):
        check(tmp_path, encoder, max_length=65)
