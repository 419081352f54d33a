from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs import cli
from jobs.settings import EmbedSettings
from jobs.train_settings import TrainSettings
from strideformer.errors import StrideformerError
from strideformer.training.selection import METRICS


def parse(*arguments: str) -> TrainSettings:
    settings: TrainSettings = cli.parse("train", TrainSettings, arguments)
    return settings


def given(**more: Any) -> TrainSettings:
    values = {"train": ["a"], "validation": "b", "output": "c", "encoder": "d"}
    return TrainSettings.model_validate(values | more)


@pytest.mark.parametrize("baseline", [(), ("--baseline", "tfidf")])
@pytest.mark.parametrize("output", ["s3://bucket/model", "gs://bucket/model", "https://host/model"])
def test_an_output_that_is_no_local_folder_is_refused_before_anything_is_read(
    output: str, baseline: tuple[str, ...]
) -> None:
    """As a path it would be a folder `s3:` on a disk that may go with its pod, and the model with it."""
    files = ("--train", "/nowhere.parquet", "--validation", "0.1", "--encoder", "/nowhere")
    with pytest.raises(StrideformerError, match=f"output: {output} .*local folder; copy it from there"):
        parse(*files, "--output", output, *baseline)


def test_the_url_of_a_local_folder_is_its_path(tmp_path: Path) -> None:
    assert given(output=f"file://{tmp_path}/model").output == f"{tmp_path}/model"
    assert given(output="a/b:c").output == "a/b:c"


@pytest.mark.parametrize("baseline", ["truncate", "mean", "tfidf"])
@pytest.mark.parametrize(
    ("more", "flag"),
    [({"workers": 2}, "--workers"), ({"resume": True}, "--resume"), ({"report_to": "wandb"}, "--report-to")],
)
def test_what_a_baseline_does_not_know_is_refused(baseline: str, more: dict[str, Any], flag: str) -> None:
    with pytest.raises(ValueError, match=f"--baseline {baseline} does not know {flag}: leave it out"):
        given(baseline=baseline, **more)


def test_help_says_which_metric_is_the_default() -> None:
    text = TrainSettings.model_fields["metric"].description or ""
    assert "by default the first" in text
    for names in METRICS.values():
        assert f" {', '.join(names[:-1])} or {names[-1]}" in text


@pytest.mark.parametrize(("text", "share"), [("0.1", 0.1), (0.25, 0.25), ("10%", 0.1), ("12.5 %", 0.125), ("a", None)])
def test_a_share_of_validation_is_a_number_or_a_percentage(text: Any, share: float | None) -> None:
    assert given(validation=text).validation_share == share


@pytest.mark.parametrize("text", ["1.5", "0", "-0.1", "1", 1, "0%", "100%", "150%"])
def test_a_number_that_is_no_share_is_no_file_either(text: Any) -> None:
    with pytest.raises(ValueError, match=f"{text} is no share of the training documents: .* 0.1 or 10%"):
        given(validation=text)


def test_layers_may_begin_with_a_negative_one() -> None:
    required = ("--train", "a", "--validation", "0.1", "--output", "o", "--encoder", "e")
    assert parse(*required, "--chunk-layers=-2,-1").chunk_layers == [-2, -1]
    for kind in (TrainSettings, EmbedSettings):
        assert "--chunk-layers=-2,-1" in (kind.model_fields["chunk_layers"].description or "")
