"""Settings of the evaluate job."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from jobs.settings import JobSettings
from strideformer.resampling import RESAMPLES
from strideformer.scored_documents import LENGTH_BUCKETS


class EvaluateSettings(JobSettings):
    """Compare predictions with the true labels, or a checkpoint with a labelled corpus; calibrate the checkpoint."""

    one_path: ClassVar[str | None] = "predictions"
    predictions: str | None = Field(
        None, description="Output folder of classify, on any filesystem; left out with --corpus or --embeddings."
    )
    labels: list[str] = Field(
        default_factory=list,
        description="Files, folders or globs with an id and a label a document, in any format that classify reads; "
        "without it the labels are a column that classify kept.",
    )
    label_column: str | None = Field(
        None,
        description="Column of the true label: a string or whole number, a list of strings for multi-label, a number "
        "or a list of them for regression. Default: label of --labels or --corpus; of the predictions, name the column "
        "that was kept.",
    )
    missing_label: str | None = Field(
        None, description="A value that stands for no label, such as -1; such documents are left out, as nulls are."
    )
    id_column: str | None = Field(
        None, description="Column of the document id in --labels; without it ids are source#row, as in classify."
    )
    format: Literal["auto", "parquet", "jsonl", "csv", "tsv", "text"] = Field(
        "auto", description="Format of --labels or --corpus; auto goes by each file's extension."
    )
    corpus: list[str] = Field(
        default_factory=list, description="Labelled documents to run --model on, here and without Ray."
    )
    embeddings: str | None = Field(
        None,
        description="Store of `strideformer embed` to run --model's aggregator on, here and without Ray: labels are "
        "--labels, or a column that the store kept.",
    )
    text_column: str = Field("text", description="Column of the text in --corpus.")
    pair_column: str | None = Field(None, description="Column of the second, long text of a pair in --corpus.")
    model: str | None = Field(
        None, description="Checkpoint for --corpus or --embeddings, or the one that --calibrate writes into."
    )
    device: str = Field("auto", description="For --corpus and --embeddings: auto, cpu or cuda.")
    dtype: Literal["auto", "float32", "float16", "bfloat16", "int8"] = Field(
        "auto", description="For --corpus: number format of the encoder, as in classify."
    )
    against: str | None = Field(
        None,
        description="Other predictions of the same documents, by id, for a paired comparison: of classify, or of "
        "train --baseline.",
    )
    calibrate: bool = Field(
        False,
        description="Fit a temperature, and of a multi-label model the thresholds with the best F1, on these "
        "documents, and store them in the config.json of --model. Use validation documents, not the test's.",
    )
    length_buckets: list[int] = Field(
        default_factory=lambda: list(LENGTH_BUCKETS),
        description="Upper bounds in tokens of the lengths that are told apart [512,4096,32768]; documents of which "
        "the end was not read are told apart from all of these.",
    )
    resamples: int = Field(RESAMPLES, ge=100, description="Resamples of the bootstrap for 95 % intervals.")
    seed: int = Field(0, ge=0, description="Seed of the bootstrap.")
    json_file: str | None = Field(
        None, description="File for all figures as JSON, on any filesystem; --json for short."
    )
    overwrite: bool = Field(False, description="Replace the JSON file if it exists.")
    storage_option: dict[str, str] = Field(
        default_factory=dict,
        description="Filesystem options as key=value, such as endpoint_url or region; never a secret: "
        "credentials come from the environment or a profile.",
    )

    @field_validator("length_buckets")
    @classmethod
    def _ascending(cls, bounds: list[int]) -> list[int]:
        if any(bound < 1 for bound in bounds) or bounds != sorted(set(bounds)):
            raise ValueError(f"{bounds} are not ascending numbers of tokens: give such as 512,4096,32768")
        return bounds

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = [self.predictions is not None, bool(self.corpus), self.embeddings is not None]
        if sum(sources) != 1:
            raise ValueError("give PREDICTIONS, or --corpus or --embeddings with --model, and not both")
        if self.corpus and self.labels:
            raise ValueError("labels are a column of the corpus: leave out --labels and give --label-column")
        if self.corpus and self.model is None:
            raise ValueError("--corpus needs the checkpoint that is to be evaluated: give --model")
        if self.embeddings is not None and self.model is None:
            raise ValueError("--embeddings needs the checkpoint that is to be evaluated: give --model")
        if self.calibrate and self.model is None:
            raise ValueError("--calibrate writes into a checkpoint: give it with --model")
        if self.model is not None and self.predictions is not None and not self.calibrate:
            raise ValueError("--model is for --corpus, --embeddings or --calibrate: predictions are evaluated without")
        if not self.corpus and not self.labels and self.label_column is None:
            raise ValueError(
                "give --labels, or with --label-column the column of true labels that classify or embed kept"
            )
        return self
