"""Encode once, use often: train, classify and evaluate read the store that embed wrote, on a real Ray cluster."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from jobs import classify, embed, evaluate, train
from jobs.evaluation.calibrate import require_made_by
from jobs.output.predictions import read_predictions
from jobs.settings import ClassifySettings
from jobs.train_settings import TrainSettings
from strideformer import Strideformer
from strideformer.errors import StrideformerError
from tests.integration.test_embed import embedding, over_store
from tests.tiny import TOPICS, write_topics

pytestmark = pytest.mark.usefixtures("ray_cluster")

DOCUMENTS = 60


@pytest.fixture(scope="module")
def corpus(ray_cluster: None, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled documents, of which one has no text; the encoder alone; and the store that it made of them."""
    folder = tmp_path_factory.mktemp("corpus")
    write_topics(folder / "train.parquet", DOCUMENTS)
    table = pq.read_table(folder / "train.parquet")
    texts = table.column("text").to_pylist()
    texts[5] = ""
    pq.write_table(table.set_column(1, "text", pa.array(texts)), folder / "train.parquet")
    Strideformer.from_pretrained(tiny_checkpoint).first_model.save_pretrained(folder / "encoder")
    AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(folder / "encoder")
    kept: dict[str, Any] = {"id_column": "doc_id", "keep_columns": ["topic", "text"], "shard_rows": 20}
    kept |= {"max_length": 16, "stride": 4, "max_chunks": 8}
    embed.run(embedding(folder / "train.parquet", folder / "store", folder / "encoder", **kept))
    return folder


def settings(corpus: Path, output: Path, **more: Any) -> TrainSettings:
    values: dict[str, Any] = {
        "output": str(output),
        "validation": "0.3",
        "encoder": str(corpus / "encoder"),
        "label_column": "topic",
        "aggregator": {"num_attention_heads": 4, "intermediate_size": 32},
        "epochs": 6,
        "learning_rate": 3e-3,
        "device": "cpu",
    }
    return TrainSettings.model_validate(values | more)


def test_a_store_trains_what_its_texts_do_and_evaluate_and_classify_read_it(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = {"embeddings": [str(corpus / "store")]}
    from_store = train.run(settings(corpus, tmp_path / "model", **store))
    told = capsys.readouterr()
    assert "embedded" not in told.err, "nothing is encoded"
    assert "TF-IDF with a linear SVM" in told.out, "the store kept the texts"
    files = {"train": [str(corpus / "train.parquet")], "id_column": "doc_id"}
    cut = {"max_length": 16, "stride": 4, "max_chunks": 8}
    from_texts = train.run(settings(corpus, tmp_path / "texts", **files, **cut))
    assert from_store == pytest.approx(from_texts, abs=1e-2)
    assert from_store["accuracy"] > 0.8
    card = (tmp_path / "model" / "README.md").read_text() + (tmp_path / "model" / "training.json").read_text()
    assert str(tmp_path) not in card
    assert str(corpus / "store") not in card
    assert json.loads((tmp_path / "model" / "config.json").read_text())["max_chunks"] == 8, "as the store was cut"

    classify.run(over_store(corpus / "store", tmp_path / "labelled", tmp_path / "model", keep_columns=["topic:truth"]))
    made = read_predictions(str(tmp_path / "labelled"), {})
    require_made_by(made, str(tmp_path / "model"))
    config = json.loads((shutil.copytree(tmp_path / "model", tmp_path / "calibrated") / "config.json").read_text())
    (tmp_path / "calibrated" / "config.json").write_text(json.dumps(config | {"temperature": 2.0}))
    with pytest.raises(StrideformerError, match="was not made by"):
        require_made_by(made, str(tmp_path / "calibrated"))
    of_predictions, of_store, of_labels, of_texts = (
        figures(tmp_path, *arguments)
        for arguments in (
            (tmp_path / "labelled", "--label-column", "truth"),
            ("--embeddings", corpus / "store", "--model", tmp_path / "model", "--label-column", "topic"),
            (
                *("--embeddings", corpus / "store", "--model", tmp_path / "model", "--label-column", "topic"),
                *("--labels", corpus / "train.parquet", "--id-column", "doc_id"),
            ),
            (
                *("--corpus", corpus / "train.parquet", "--model", tmp_path / "model", "--label-column", "topic"),
                *("--id-column", "doc_id", "--dtype", "float32"),
            ),
        )
    )
    assert of_predictions["coverage"]["evaluated"] == DOCUMENTS - 1
    assert of_store["figures"] == of_labels["figures"]
    for other in (of_store, of_texts):
        assert other["coverage"] | {"labels": 0} == of_predictions["coverage"] | {"labels": 0}
        assert other["confusion"] == of_predictions["confusion"]
        assert other["figures"]["log_loss"]["value"] == pytest.approx(
            of_predictions["figures"]["log_loss"]["value"], abs=1e-3
        )
        assert len(other["by_length"]) == len(of_predictions["by_length"])


def test_a_store_without_tokens_trains_what_does_not_read_them(tmp_path: Path, corpus: Path) -> None:
    """Stores were so before there were bags of tokens."""
    trained = settings(corpus, tmp_path / "model", embeddings=[str(corpus / "store")])
    train.run(trained)
    shutil.copytree(corpus / "store", tmp_path / "old")
    for part in (tmp_path / "old").glob("part-*.parquet"):
        table = pq.read_table(part)
        pq.write_table(table.drop_columns(["token_bag_ids", "token_bag_counts"]), part)
    store = {"embeddings": [str(tmp_path / "old")]}
    with pytest.raises(StrideformerError, match=r"/old were made before .* --aggregator bag_of_tokens=false"):
        train.run(settings(corpus, tmp_path / "refused", **store))
    with pytest.raises(StrideformerError, match=r"/old were made before .*/model reads them"):
        classify.run(over_store(tmp_path / "old", tmp_path / "labelled", tmp_path / "model"))
    arguments = ["--embeddings", tmp_path / "old", "--model", tmp_path / "model", "--label-column", "topic"]
    assert evaluate.main([str(argument) for argument in arguments]) == 2
    aggregator = {"num_attention_heads": 4, "intermediate_size": 32, "bag_of_tokens": False}
    assert train.run(settings(corpus, tmp_path / "without", **store, aggregator=aggregator))["accuracy"] > 0.8
    classify.run(over_store(tmp_path / "old", tmp_path / "labelled", tmp_path / "without"))
    assert train.run(settings(corpus, tmp_path / "mean", **store, baseline="mean"))["accuracy"] > 0.8


def test_a_store_of_several_layers_gives_a_model_of_them(tmp_path: Path, corpus: Path) -> None:
    cut: dict[str, Any] = {"max_length": 16, "stride": 4, "max_chunks": 8, "chunk_layers": [0, -1], "shard_rows": 20}
    kept: dict[str, Any] = {"id_column": "doc_id", "keep_columns": ["topic"]}
    embed.run(embedding(corpus / "train.parquet", tmp_path / "store", corpus / "encoder", **kept, **cut))
    store = {"embeddings": [str(tmp_path / "store")]}
    with pytest.raises(StrideformerError, match=r"chunk_layers is \(0, -1\) in the store and \(-1,\) here"):
        train.run(settings(corpus, tmp_path / "model", **store, chunk_layers=[-1]))
    from_store = train.run(settings(corpus, tmp_path / "model", **store))
    assert from_store["accuracy"] > 0.8
    assert json.loads((tmp_path / "model" / "config.json").read_text())["chunk_layers"] == [0, -1]
    del cut["shard_rows"]
    files = {"train": [str(corpus / "train.parquet")], "id_column": "doc_id"}
    from_texts = train.run(settings(corpus, tmp_path / "texts", **files, **cut))
    assert from_store == pytest.approx(from_texts, abs=1e-2)
    classify.run(over_store(tmp_path / "store", tmp_path / "of-store", tmp_path / "model", keep_columns=["topic"]))
    whole = {"inputs": [str(corpus / "train.parquet")], "id_column": "doc_id", "keep_columns": ["topic"]}
    classify.run(
        ClassifySettings.model_validate(
            whole | {"output": str(tmp_path / "of-texts"), "model": str(tmp_path / "model"), "progress": "none"}
        )
    )
    of_store, of_texts = (
        figures(tmp_path, tmp_path / name, "--label-column", "topic") for name in ("of-store", "of-texts")
    )
    assert of_store["confusion"] == of_texts["confusion"]
    assert of_store["figures"]["log_loss"]["value"] == pytest.approx(of_texts["figures"]["log_loss"]["value"], abs=1e-2)


def figures(tmp_path: Path, *arguments: object) -> dict[str, Any]:
    file = tmp_path / "report.json"
    assert evaluate.main([*map(str, arguments), "--json", str(file), "--overwrite", "--resamples", "100"]) == 0
    report: dict[str, Any] = json.loads(file.read_text())
    return report


def test_another_set_of_labels_costs_no_encoding(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels of another file, by id, without any text; an id that the store does not have is counted."""
    rows = pq.read_table(corpus / "train.parquet").to_pylist()
    labels = {"id": [row["doc_id"] for row in rows], "label": [f"{TOPICS[0]} or not"] * DOCUMENTS}
    labels["label"] = ["yes" if row["topic"] == TOPICS[0] else "no" for row in rows]
    file = tmp_path / "labels.csv"
    file.write_text("id,label\n" + "".join(f"{i},{label}\n" for i, label in zip(*labels.values(), strict=True)))
    more = {"embeddings": [str(corpus / "store")], "train": [str(file)], "id_column": "id", "label_column": "label"}
    assert train.run(settings(corpus, tmp_path / "model", **more))["accuracy"] > 0.8
    told = capsys.readouterr().out
    assert "1 left out (1 not_in_store)" in told, "the store quarantined the one without text"
    assert "not compared with TF-IDF, since the texts are not at hand" in told
    assert "since the texts are not at hand" in (tmp_path / "model" / "README.md").read_text()
    mean = settings(corpus, tmp_path / "mean", **more, baseline="mean")
    assert train.run(mean)["accuracy"] > 0.8
    tfidf = settings(corpus, tmp_path / "tfidf", **more, baseline="tfidf")
    twice = tmp_path / "twice.csv"
    twice.write_text(file.read_text() + f"{labels['id'][0]},no\n")
    with pytest.raises(StrideformerError, match=r"1 ids stand more than once in .*twice.csv"):
        train.run(settings(corpus, tmp_path / "twice", **more | {"train": [str(twice)]}))
    with pytest.raises(StrideformerError, match="the documents have no text"):
        train.run(tfidf)


def test_a_store_that_does_not_suit_is_refused(tmp_path: Path, corpus: Path, tiny_checkpoint: Path) -> None:
    store = {"embeddings": [str(corpus / "store")]}
    with pytest.raises(StrideformerError, match="stride is 4 in the store and 5 here"):
        train.run(settings(corpus, tmp_path / "model", **store, stride=5))
    other = Strideformer.from_pretrained(tiny_checkpoint).first_model
    next(parameter for name, parameter in other.named_parameters() if "word_embeddings" in name).data[7] += 1
    other.save_pretrained(tmp_path / "other")
    AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(tmp_path / "other")
    with pytest.raises(StrideformerError, match=r"weights hash is .* in the store and .* here"):
        train.run(settings(corpus, tmp_path / "model", **store, encoder=str(tmp_path / "other")))
    with pytest.raises(StrideformerError, match=r"keeps no column 'label' \(it keeps 'topic', 'text'\)"):
        train.run(settings(corpus, tmp_path / "model", **store, label_column="label"))
    with pytest.raises(StrideformerError, match=r"no id of .* \(such as .*#0'\) is in .*check --id-column"):
        train.run(settings(corpus, tmp_path / "model", **store, train=[str(corpus / "train.parquet")]))
    assert not (tmp_path / "model").exists()
    trained = train.run(settings(corpus, tmp_path / "model", **store))
    assert trained["accuracy"] > 0
    file = tmp_path / "model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"stride": 5}))
    arguments = ["--embeddings", str(corpus / "store"), "--model", str(tmp_path / "model"), "--label-column", "topic"]
    assert evaluate.main(arguments) == 2
