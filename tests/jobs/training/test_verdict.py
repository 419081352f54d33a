from __future__ import annotations

import pyarrow as pa
import pytest
import torch

from jobs.train_settings import TrainSettings
from jobs.training import baselines, verdict
from jobs.training.data import TrainingData
from jobs.training.labelled import LabelledDocuments
from jobs.training.labels import LabelEncoding
from strideformer.errors import StrideformerError

SETTINGS = TrainSettings.model_validate({"train": ["a"], "validation": "b", "output": "c", "encoder": "d"})
WRONG = torch.tensor([[0.0, 1.0], [1.0, 0.0]] * 2)


def data() -> TrainingData:
    texts = ["court law tax", "packet route server"] * 2
    table = pa.table({"doc_id": list("abcd"), "_text": texts, "label": ["law", "network"] * 2})
    documents = LabelledDocuments(table, {})
    return TrainingData(documents, documents, LabelEncoding.of(documents.labels), [])


def test_a_model_that_loses_is_told() -> None:
    found = verdict.compare_with_tfidf(SETTINGS, data(), {"accuracy": 0.0}, WRONG)
    assert found.sentence.startswith("WARNING: this model loses to TF-IDF with a linear SVM: validation accuracy 0")
    assert found.baselines["tfidf"]["accuracy"] == 1


def test_a_comparison_that_would_take_too_much_memory_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten terms, pairs among them, and four documents, of each two classes."""
    monkeypatch.setattr(verdict, "MOST_BYTES", 2 * 14 * 8 - 1)
    found = verdict.compare_with_tfidf(SETTINGS, data(), {"accuracy": 0.0}, WRONG)
    assert found.sentence.startswith("This model was not compared with TF-IDF: 2 classes of 10 terms would take 0 GB")
    assert not found.baselines
    with pytest.raises(StrideformerError, match="--baseline tfidf tries it all the same"):
        baselines.tfidf_scores(data(), most_bytes=223)
    assert baselines.tfidf_scores(data(), most_bytes=224).shape == (4, 2)


@pytest.mark.parametrize("where", ["tfidf_scores", "measure_scores"])
def test_a_comparison_that_memory_does_not_suffice_for_loses_no_model(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def too_much(*arguments: object, **more: object) -> None:
        raise MemoryError

    monkeypatch.setattr(verdict, where, too_much)
    found = verdict.compare_with_tfidf(SETTINGS, data(), {"accuracy": 0.0}, WRONG)
    assert found.sentence.startswith("This model was not compared with TF-IDF, for which the memory did not suffice")
