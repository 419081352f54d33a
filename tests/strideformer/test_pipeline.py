from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from strideformer import Pipeline, Strideformer
from strideformer.errors import StrideformerError
from tests.tiny import LABELS, save_tiny_checkpoint, texts


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> Pipeline:
    return Pipeline(tiny_checkpoint, device="cpu", dtype="float32")


def test_one_text_gives_one_prediction(pipeline: Pipeline) -> None:
    prediction = pipeline("court law tax")
    assert prediction.label in LABELS
    assert prediction.score == prediction.scores[prediction.label] == max(prediction.scores.values())
    assert sum(prediction.scores.values()) == pytest.approx(1, abs=1e-6)
    assert not prediction.truncated


def test_logits_are_those_of_the_model_on_the_tokenizer_s_chunks(tiny_checkpoint: Path, pipeline: Pipeline) -> None:
    model = Strideformer.from_pretrained(tiny_checkpoint).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    for text in texts(8, 60):
        chunks = tokenizer(
            text,
            max_length=16,
            stride=4,
            truncation=True,
            padding=True,
            return_overflowing_tokens=True,
            return_tensors="pt",
        )
        del chunks["overflow_to_sample_mapping"]
        with torch.inference_mode():
            expected = model(**chunks).logits.numpy()
        np.testing.assert_allclose(pipeline(text, return_type="np"), expected, atol=1e-4)


def test_return_types_of_0_2_0(pipeline: Pipeline) -> None:
    as_list = pipeline("court law", max_length=12, stride=3, return_type="list")
    assert isinstance(as_list, list)
    assert len(as_list[0]) == 3
    as_array = pipeline("court law", 12, 3, "np")
    assert as_array.shape == (1, 3)
    as_tensor = pipeline("court law", 12, 3, return_type="pt")
    assert isinstance(as_tensor, torch.Tensor)
    np.testing.assert_allclose(as_array, as_tensor.numpy())
    np.testing.assert_allclose(as_list, as_array)


def test_lists_and_iterators_agree(pipeline: Pipeline) -> None:
    documents = texts(70, 40)
    answered = pipeline(documents)
    streamed = pipeline(iter(documents))
    assert isinstance(streamed, Iterator)
    for left, right, alone in zip(answered, streamed, map(pipeline, documents), strict=True):
        assert left.label == right.label == alone.label
        assert left.score == pytest.approx(right.score, abs=1e-5) == pytest.approx(alone.score, abs=1e-5)


def test_an_iterator_is_not_read_ahead_without_end(pipeline: Pipeline) -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield "court"

    assert next(pipeline(endless())).label in LABELS
    assert taken <= 32


def test_passages_are_the_text_that_speaks_most_for_the_label(pipeline: Pipeline) -> None:
    text = texts(1, 60, seed=5)[0] + " " + "union " * 30
    prediction = pipeline(text)
    scores = [passage.score for passage in prediction.passages]
    assert scores == sorted(scores, reverse=True)
    assert 1 <= len(scores) <= 3
    for passage in prediction.passages:
        assert passage.text == text[passage.start : passage.end]
        # Alone, with the same neighbours gone, a passage is one chunk of the same tokens.
        assert len(pipeline.encoder.chunker.input_ids(passage.text)) == 1


def test_pairs(pipeline: Pipeline) -> None:
    pair = ("tax law", "union speech " * 20)
    one, many = pipeline(pair), pipeline([pair, pair])
    assert many[0].label == many[1].label == one.label
    assert one.passages[0].text == pair[1][one.passages[0].start : one.passages[0].end]
    assert pipeline(pair[1]).scores != one.scores


def test_long_texts_are_marked(pipeline: Pipeline) -> None:
    assert pipeline("court " * 200).truncated
    assert not pipeline("court " * 20).truncated


def test_multi_label_and_regression(tmp_path: Path) -> None:
    multi = Pipeline(
        save_tiny_checkpoint(tmp_path / "m", problem_type="multi_label_classification"), device="cpu", dtype="float32"
    )
    for prediction in multi(texts(10, 30)):
        assert prediction.label == [name for name, score in prediction.scores.items() if score >= 0.5]
    regression = Pipeline(
        save_tiny_checkpoint(tmp_path / "r", num_labels=1, id2label={0: "price"}, label2id={"price": 0}),
        device="cpu",
        dtype="float32",
    )
    prediction = regression("court law")
    assert (prediction.label, prediction.passages) == (None, [])
    assert prediction.scores == {"price": pytest.approx(regression("court law", return_type="np")[0, 0], abs=1e-6)}


def test_another_chunking_is_prepared_once(pipeline: Pipeline) -> None:
    pipeline("court law", max_length=16, stride=4)
    other = pipeline._chunker(16, 4)
    assert (other.max_length, other.stride) == (16, 4)
    assert pipeline._chunker(16, 4) is other
    assert pipeline._chunker(12, 4).max_length == 12
    assert pipeline._chunker(None, None) is pipeline.encoder.chunker


def test_wrong_calls(pipeline: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(StrideformerError, match="return_type 'tf' is unknown"):
        pipeline("court", return_type="tf")
    with pytest.raises(StrideformerError, match="text is a NoneType: give strings"):
        pipeline(None)  # type: ignore[arg-type]
    with pytest.raises(StrideformerError, match="document 40: its text is no valid Unicode"):
        list(pipeline(iter(["court"] * 40 + ["\ud800"])))
    with pytest.raises(StrideformerError, match="document 33: its first text has 60 tokens"):
        list(pipeline(iter([("court", "law")] * 33 + [("court " * 60, "law " * 99)])))
    with pytest.raises(StrideformerError, match="text 1 is a int"):
        pipeline(["court", 3])
    for no_pair, kind in ((("x",), "tuple of 1"), ([], "list of 0"), (("x", "y", "z"), "tuple of 3")):
        with pytest.raises(StrideformerError, match=f"text 0 is a {kind}: give strings or pairs of strings"):
            pipeline([no_pair])
    with pytest.raises(StrideformerError, match="some texts are pairs"):
        pipeline(["court", ("a", "b")])
    with pytest.raises(StrideformerError, match="64 positions"):
        pipeline("court", max_length=65)
    with pytest.raises(StrideformerError, match="needs a model_name_or_path"):
        Pipeline()
    assert pipeline([]) == []


@pytest.mark.parametrize("early_exit", [None, 0.9])
def test_logits_that_are_not_finite_are_no_prediction(tiny_checkpoint: Path, early_exit: float | None) -> None:
    model = Strideformer.from_pretrained(tiny_checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    with torch.no_grad():
        model.first_model.embeddings.word_embeddings.weight[tokenizer.convert_tokens_to_ids("tax")] = float("inf")
    pipeline = Pipeline(model=model, tokenizer=tokenizer, device="cpu", dtype="float32", early_exit=early_exit)
    assert pipeline("court law").label in LABELS
    wrong = r'logits for text {} are NaN or infinite in torch.float32: give dtype="float32"'
    for return_type in ("prediction", "np"):
        with pytest.raises(StrideformerError, match=wrong.format(1)):
            pipeline(["court law", "court tax"], return_type=return_type)
    with pytest.raises(StrideformerError, match=wrong.format(40)):
        list(pipeline(iter(["court law"] * 40 + ["tax"])))


def test_model_and_tokenizer_objects(tiny_checkpoint: Path, pipeline: Pipeline) -> None:
    model = Strideformer.from_pretrained(tiny_checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    same = Pipeline(model=model, tokenizer=tokenizer, device="cpu", dtype="float32")
    assert same("court law").scores == pipeline("court law").scores


def test_early_exit_reads_until_it_is_sure(tmp_path: Path) -> None:
    folder = save_tiny_checkpoint(tmp_path / "m", max_chunks=32)
    pipeline = Pipeline(folder, device="cpu", dtype="float32")
    early = Pipeline(folder, device="cpu", dtype="float32", early_exit=0.7)
    documents = [text for text in texts(30, 200) if len(text) > 400]
    stopped = 0
    for text, found, whole in zip(documents, early(documents), pipeline(documents), strict=True):
        assert whole.chunks_encoded == whole.num_chunks == found.num_chunks
        if found.chunks_encoded == found.num_chunks:
            assert found.score == pytest.approx(whole.score, abs=1e-5)
        else:
            stopped += 1
            assert found.score >= 0.7
        assert len(found.passages) == 3
        for passage in found.passages:
            assert text[passage.start : passage.end] == passage.text
            assert 0 <= passage.score <= 1
    assert 0 < stopped < len(documents)
    assert early(documents, return_type="np").shape == (len(documents), 3)


def test_early_exit_wants_a_confidence(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(StrideformerError, match=r"early_exit=1\.5 is no confidence"):
        Pipeline(tiny_checkpoint, early_exit=1.5)
    one = {"num_labels": 1, "id2label": {0: "value"}, "label2id": {"value": 0}}
    regression = save_tiny_checkpoint(tmp_path / "regression", problem_type="regression", **one)
    with pytest.raises(StrideformerError, match="does not say how sure"):
        Pipeline(regression, early_exit=0.9)
