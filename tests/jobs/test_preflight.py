"""A bad call is one sentence, before Ray is started or an actor loads anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import BertConfig, BertModel

from jobs import preflight
from jobs.model_facts import load_facts
from jobs.settings import ClassifySettings
from strideformer.errors import StrideformerError
from tests.tiny import save_tiny_checkpoint, write_corpus


def check(tmp_path: Path, model: Path | str, **more: Any) -> preflight.Checked:
    values: dict[str, Any] = {"inputs": [str(tmp_path / "a.parquet")], "output": str(tmp_path / "out")}
    return preflight.check(ClassifySettings.model_validate(values | {"model": str(model)} | more))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "a.parquet", 4)
    return tmp_path


def test_int8_is_part_of_what_makes_a_job(corpus: Path, tiny_checkpoint: Path) -> None:
    assert check(corpus, tiny_checkpoint, dtype="int8").fingerprint["int8"] is True
    assert check(corpus, tiny_checkpoint, dtype="float32").fingerprint.get("int8") is None
    with pytest.raises(ValueError, match="dtype int8 is for CPUs, and device is cuda"):
        check(corpus, tiny_checkpoint, dtype="int8", device="cuda")


def test_int8_is_refused_of_an_encoder_that_does_not_run_packed(
    corpus: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strideformer.encoder_parts.PACKED_TYPES", {"roberta"})
    monkeypatch.setattr("jobs.preflight.model_facts", load_facts)
    with pytest.raises(StrideformerError, match="dtype int8 is for encoders of the kinds of BERT, RoBERTa"):
        check(corpus, tiny_checkpoint, dtype="int8")
    assert check(corpus, tiny_checkpoint, dtype="auto")


def test_a_good_call_leaves_nothing_behind(corpus: Path, tiny_checkpoint: Path) -> None:
    checked = check(corpus, tiny_checkpoint, keep_columns=["topic:subject"])
    assert checked.output_schema.field("subject").type == pa.int64()
    assert (checked.chunking.max_length, checked.chunking.stride, checked.chunking.max_chunks) == (16, 4, 8)
    assert not [file for file in (corpus / "out").rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": ["/no/such/folder"]}, "/no/such/folder does not exist|/no/such/folder.*check the path"),
        ({"text_column": "body"}, "'body'.*'doc_id', 'text', 'topic'|body.*doc_id.*text.*topic"),
        ({"text_column": "topic"}, "'topic' holds int64, not text"),
        ({"id_column": "key"}, "key"),
        ({"keep_columns": ["label"]}, "label"),
        ({"keep_columns": ["topic:label"]}, "the output has a column 'label' of its own.*topic:input_topic"),
        ({"keep_columns": ["topic", "text:topic"]}, "names 'topic' twice"),
        ({"keep_columns": ["topic:_mine"]}, "names that start with _"),
        ({"storage_option": {"secret_key": "x"}}, "looks like a secret"),
        ({"max_length": 65}, "64 positions"),
        ({"stride": 14}, "stride=14 must be less than"),
        ({"model": "/no/such/model"}, "/no/such/model"),
        ({"model": "no_such_org/no_such_model"}, "not in the hub cache"),
    ],
)
def test_one_sentence_says_what_is_wrong(
    corpus: Path, tiny_checkpoint: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(StrideformerError, match=message) as raised:
        check(corpus, changes.pop("model", tiny_checkpoint), **changes)
    assert "\n" not in str(raised.value)


def test_a_model_that_is_no_strideformer(corpus: Path) -> None:
    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9)
    BertModel(config).save_pretrained(corpus / "bert")
    with pytest.raises(StrideformerError, match=r"is a bert model, not a Strideformer checkpoint"):
        check(corpus, corpus / "bert")


def test_an_output_that_holds_the_input(corpus: Path, tiny_checkpoint: Path) -> None:
    with pytest.raises(StrideformerError, match=r"holds the input .*a.parquet: choose a folder apart from it"):
        check(corpus, tiny_checkpoint, output=str(corpus))


@pytest.mark.parametrize("output", ["out", "deep/out", "."])
def test_an_output_that_lies_in_the_input(
    corpus: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.chdir(corpus)
    for name in (output, str(corpus / output)):
        with pytest.raises(StrideformerError, match=r"choose a folder apart from it"):
            check(corpus, tiny_checkpoint, inputs=[str(corpus)], output=name)
    assert check(corpus, tiny_checkpoint, inputs=[str(corpus)], output="_labels/out").files
    assert check(corpus, tiny_checkpoint, inputs=[str(corpus / "*.parquet")], output="out").files


@pytest.mark.parametrize("pattern", ["**/*.parquet", "*", "**", "[ao]*"])
def test_an_output_that_a_pattern_would_find(corpus: Path, tiny_checkpoint: Path, pattern: str) -> None:
    with pytest.raises(StrideformerError, match=r"lies in the input .*: choose a folder apart from it"):
        check(corpus, tiny_checkpoint, inputs=[str(corpus / pattern)], output=str(corpus / "out"))


def test_an_output_in_the_input_by_another_name(corpus: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(corpus)
    for inputs, output in [(corpus, tmp_path / "link" / "out"), (tmp_path / "link", corpus / "out")]:
        with pytest.raises(StrideformerError, match=r"lies in the input"):
            check(corpus, tiny_checkpoint, inputs=[str(inputs)], output=str(output))
    with pytest.raises(StrideformerError, match=r"holds the input .*link/a.parquet"):
        check(corpus, tiny_checkpoint, inputs=[str(tmp_path / "link" / "a.parquet")], output=str(corpus))
    with pytest.raises(StrideformerError, match=r"lies in the input s3://bucket/corpus"):
        preflight.check_apart(
            "s3a://bucket/corpus/out", ["s3://bucket/corpus"], [], {"endpoint_url": "http://localhost:1"}
        )
    with pytest.raises(StrideformerError, match=r"holds the input s3://bucket/corpus/a.parquet"):
        preflight.check_apart(
            "s3a://bucket", [], ["s3://bucket/corpus/a.parquet"], {"endpoint_url": "http://localhost:1"}
        )


def test_an_empty_input(tmp_path: Path, tiny_checkpoint: Path) -> None:
    (tmp_path / "a.parquet").mkdir()
    with pytest.raises(StrideformerError, match=r"a.parquet"):
        check(tmp_path, tiny_checkpoint)


def test_an_output_that_is_a_file(corpus: Path, tiny_checkpoint: Path) -> None:
    (corpus / "out").write_text("a file")
    with pytest.raises(StrideformerError, match="out"):
        check(corpus, tiny_checkpoint)


def test_a_regression_has_no_confidence_to_go_by(corpus: Path) -> None:
    one = {"num_labels": 1, "id2label": {0: "value"}, "label2id": {"value": 0}}
    regression = save_tiny_checkpoint(corpus / "regression", problem_type="regression", **one)
    check(corpus, regression)
    with pytest.raises(
        StrideformerError, match=r"early exit goes by how sure a label is.*does not say.*: leave it out"
    ):
        check(corpus, regression, early_exit=0.9)


def test_the_fingerprint_tells_what_matters(corpus: Path, tiny_checkpoint: Path) -> None:
    first = check(corpus, tiny_checkpoint).fingerprint
    assert check(corpus, tiny_checkpoint, encoders="2", progress="none").fingerprint == first
    assert check(corpus, tiny_checkpoint, stride=3).fingerprint != first
    assert check(corpus, tiny_checkpoint, early_exit=0.9).fingerprint != first
    os.utime(corpus / "a.parquet", ns=(1, 1))
    assert check(corpus, tiny_checkpoint).fingerprint != first


def test_a_failed_file_is_named_when_the_plan_is_made(corpus: Path, tiny_checkpoint: Path) -> None:
    (corpus / "in").mkdir()
    pq.write_table(pa.table({"text": ["a"]}), corpus / "in" / "a.parquet")
    (corpus / "in" / "b.parquet").write_bytes(b"PAR1 this is no Parquet")
    command = [sys.executable, "-m", "jobs.classify", str(corpus / "in"), str(corpus / "out"), "--on-bad-file", "fail"]
    result = subprocess.run([*command, "--model", str(tiny_checkpoint)], capture_output=True, text=True, timeout=100)
    assert result.returncode == 2
    assert "b.parquet" in result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr
