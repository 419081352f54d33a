from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs import cli
from jobs.train_settings import TrainSettings
from strideformer.errors import StrideformerError


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
