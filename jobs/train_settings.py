"""The settings of the train job, from which come its flags and its YAML file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import yaml
from pydantic import Field, field_validator, model_validator

from jobs.output.limit import share_of
from jobs.settings import JobSettings
from strideformer.errors import StrideformerError

EPOCHS_UNFROZEN = 4
BATCH_SIZE = 16
# A baseline is trained at once, in this process.
NOT_OF_BASELINES = ("workers", "resume", "report_to", "include_first_model", "start_from")
# Over a frozen encoder as many passes as show so many documents, within these bounds: see tests/benchmarks/ACCURACY.md.
DOCUMENTS_SHOWN, FEWEST_EPOCHS, MOST_EPOCHS = 24_000, 12, 30


class LabelledSettings(JobSettings):
    """Where the labelled documents are."""

    train: list[str] = Field(
        default_factory=list, description="Labelled training documents, in every form that classify takes."
    )
    validation: str | None = Field(
        None,
        description="Labelled documents that choose the best checkpoint, or a share of the training documents to set "
        "apart for that, such as 0.1 or 10%, split by label and seed.",
    )
    embeddings: list[str] = Field(
        default_factory=list,
        description="Stores of `strideformer embed` that have the documents' vectors, so that nothing is encoded: "
        "--train and --validation are then files of ids and labels, or, without --train, the labels are a column that "
        "the store kept and --validation is a share or another store.",
    )
    output: str = Field(description="Local folder for the checkpoint; must not exist.")
    dataset: Literal["arxiv-classification", "health_fact"] | None = Field(
        None, description="A data set of the Hugging Face hub by name, in place of --train and --validation."
    )
    dataset_path: str | None = Field(
        None,
        description="Folder of that data set's files, train* and validation* (Parquet, CSV or JSON Lines), in place of "
        "the hub.",
    )
    format: Literal["auto", "parquet", "jsonl", "csv", "tsv", "text"] = Field(
        "auto", description="Format of the inputs; auto goes by each file's extension."
    )
    text_column: str = Field("text", description="Column of the text.")
    pair_column: str | None = Field(
        None, description="Column of the long second text of a pair; --text-column is then the short first one."
    )
    id_column: str | None = Field(None, description="Column of the document id.")
    label_column: str = Field(
        "label",
        description="Column of the label: a string or whole number is one class, a list of them several classes each, "
        "a number with a fraction or a list of such a regression.",
    )
    missing_label: str | None = Field(
        None, description="A value that stands for no label, such as -1; such documents are left out, as nulls are."
    )
    problem_type: Literal["auto", "single-label", "multi-label", "regression"] = Field(
        "auto",
        description="What the labels are, where the column's type says otherwise, or leaves it open: floats that are "
        "all whole are classes (single-label) or values (regression).",
    )
    storage_option: dict[str, str] = Field(
        default_factory=dict, description="Filesystem options as key=value; never a secret."
    )

    @field_validator("output")
    @classmethod
    def _output(cls, value: str) -> str:
        """As a path, ``s3://bucket/model`` would be a folder ``s3:`` here, which goes with its pod."""
        path = value.removeprefix("file://")
        if "://" in path:
            raise ValueError(
                f"{value} is not on this machine: the checkpoint is written to a local folder; copy it from there"
            )
        return path

    @field_validator("validation", mode="before")
    @classmethod
    def _validation(cls, value: Any) -> Any:
        text = str(value) if isinstance(value, int | float) else value
        share = _share(text) if isinstance(text, str) else None
        if share is not None and not 0 < share < 1:
            raise ValueError(
                f"{text} is no share of the training documents: give one between 0 and 1, such as 0.1 or 10%"
            )
        return text

    @property
    def validation_share(self) -> float | None:
        """The share of the training documents that ``validation`` names; None if it names files."""
        return _share(self.validation or "")


class TrainSettings(LabelledSettings):
    """Train a classifier of long documents, or a baseline beside it."""

    encoder: str | None = Field(
        None,
        description="Sentence transformer: a folder, package:NAME, or a cached hub model; --baseline tfidf needs none.",
    )
    start_from: str | None = Field(
        None,
        description="Strideformer checkpoint, anywhere that classify takes it from, whose labels, chunking and weights "
        "training goes on from, in place of --encoder and new weights: with documents that it has not seen, or, after "
        "a frozen encoder, with --no-freeze-first-model.",
    )
    freeze_first_model: bool = Field(
        True, description="Embed every document once and train the aggregator alone; --no-… trains the encoder too."
    )
    include_first_model: bool = Field(
        False,
        description="Write a frozen encoder into the checkpoint, too, for machines that do not have it under its name; "
        "one that is trained always is.",
    )
    aggregator: dict[str, Any] = Field(
        default_factory=dict,
        description="Fields of StrideformerConfig for the aggregator, such as dropout=0.2; "
        "class_weights=balanced is made from the counts.",
    )
    max_length: int | None = Field(None, ge=1, description="Tokens in a chunk, special ones included [384].")
    stride: int | None = Field(None, ge=0, description="Tokens that a chunk shares with the one before [128].")
    max_chunks: int | None = Field(None, ge=1, description="Most chunks of a document [128].")
    chunk_layers: list[int] | None = Field(
        None,
        description="Layers of the encoder that make a chunk's vector, side by side, such as 0,-1 for its embeddings "
        "and its last layer; --chunk-layers=-2,-1 where the first is negative [-1].",
    )
    train_max_chunks: int | None = Field(
        None, ge=1, description="In training, a random subset of so many chunks of a longer document in each epoch."
    )
    epochs: int | None = Field(
        None,
        ge=1,
        description="Passes over the training documents [as many as show 24,000 of them, 12 to 30; 4 unfrozen].",
    )
    learning_rate: float = Field(5e-4, gt=0, description="Peak learning rate of the aggregator.")
    first_model_learning_rate: float = Field(
        3e-5, gt=0, description="Peak learning rate of the encoder, and of --baseline truncate."
    )
    first_model_dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Where the encoder is trained: its dropout, in all of its parts [as its own config says]. 0 makes "
        "a step on a CPU a third shorter.",
    )
    weight_decay: float = Field(0.01, ge=0, description="Weight decay of AdamW.")
    chunk_budget: int = Field(2048, ge=1, description="Most chunks in a forward pass over vectors.")
    token_budget: int = Field(16_384, ge=1, description="Most padded tokens in a forward pass of the encoder.")
    batch_size: int | None = Field(
        None,
        ge=1,
        description="Most documents in a forward pass [16; unfrozen, as many as --token-budget holds].",
    )
    gradient_accumulation_steps: int = Field(1, ge=1, description="Forward passes in a step of the optimizer.")
    gradient_checkpointing: bool = Field(
        True, description="Where the encoder is trained: compute activations twice to save memory."
    )
    precision: Literal["auto", "no", "bf16", "fp16"] = Field(
        "auto", description="Mixed precision of training; auto is bf16 for an encoder on a GPU or CPU that has it."
    )
    metric: str | None = Field(
        None,
        description="What chooses the best checkpoint, by default the first: of one label accuracy, f1_macro, "
        "f1_weighted or loss; of several f1_micro, f1_macro, accuracy or loss; of a regression mean_squared_error, "
        "mean_absolute_error, r2 or loss.",
    )
    early_stopping: int | None = Field(None, ge=1, description="End after so many evaluations without a better one.")
    checkpoint_steps: int | None = Field(
        None, ge=1, description="Steps between evaluations, each with a checkpoint; default: one an epoch."
    )
    seed: int = Field(0, ge=0, description="Seed of weights, order, chunks, dropout and the validation share.")
    device: str = Field("auto", description="auto, cpu or cuda.")
    report_to: Literal["none", "tensorboard", "mlflow", "wandb"] = Field(
        "none", description="Where curves go: tensorboard writes OUTPUT/logs, the others go by their environment."
    )
    workers: int = Field(0, ge=0, description="Train in so many processes of a Ray cluster; 0 trains in this one.")
    baseline: Literal["truncate", "mean", "tfidf"] | None = Field(
        None,
        description="Train this in place of a Strideformer: --encoder on the first tokens alone, logistic regression "
        "on mean chunk vectors, or a linear SVM on TF-IDF.",
    )
    compare_baselines: bool = Field(
        True, description="Also train TF-IDF with a linear model, and say which is better on validation."
    )
    resume: bool = Field(False, description="Go on from the last checkpoint of a run that stopped.")

    @field_validator("aggregator", mode="before")
    @classmethod
    def _aggregator(cls, value: Any) -> Any:
        """Flags are strings; ``2``, ``0.1`` and ``true`` mean what they mean in YAML."""
        if not isinstance(value, dict):
            return value
        return {name: yaml.safe_load(part) if isinstance(part, str) else part for name, part in value.items()}

    @model_validator(mode="after")
    def _data(self) -> Self:
        if self.dataset is None and not ((self.train or self.embeddings) and self.validation):
            raise ValueError("give --train and --validation, --embeddings and --validation, or --dataset")
        if self.dataset is not None and (self.train or self.validation or self.embeddings):
            raise ValueError("--dataset has its own training and validation documents: leave out the others")
        if self.encoder is not None and self.start_from is not None:
            raise ValueError("--start-from has an encoder: leave out --encoder")
        if self.encoder is None and self.start_from is None and self.baseline != "tfidf":
            raise ValueError("give the sentence transformer to train over, with --encoder")
        if self.embeddings and not self.freeze_first_model:
            raise ValueError("--embeddings has the vectors of a frozen encoder: leave out --no-freeze-first-model")
        if self.first_model_dropout is not None and self.freeze_first_model and self.baseline != "truncate":
            raise ValueError("--first-model-dropout is of an encoder that is trained: add --no-freeze-first-model")
        if self.embeddings and self.baseline == "truncate":
            raise ValueError("--baseline truncate reads texts: leave out --embeddings")
        if self.dataset_path is not None and self.dataset is None:
            raise ValueError("--dataset-path needs --dataset, which says what the files are")
        if self.pair_column == self.text_column:
            raise ValueError(f"pair_column and text_column are both {self.text_column!r}: name two columns")
        return self

    @model_validator(mode="after")
    def _baseline(self) -> Self:
        given = self.others_than_default(NOT_OF_BASELINES) if self.baseline else []
        if given:
            raise ValueError(f"--baseline {self.baseline} does not know {given[0]}: leave it out")
        return self

    def others_than_default(self, names: Sequence[str]) -> list[str]:
        """The flags of those of these settings that say something else than they do by default."""
        values = ((name, type(self).model_fields[name].default) for name in names)
        return ["--" + name.replace("_", "-") for name, default in values if getattr(self, name) != default]

    def most_documents(self) -> int | None:
        """``batch_size``, or its default: where the encoder is trained, the budget of tokens takes its place."""
        if self.batch_size is not None:
            return self.batch_size
        return BATCH_SIZE if self.freeze_first_model else None

    def passes(self, documents: int) -> int:
        """``epochs``, or its default for so many training documents."""
        if self.epochs is not None:
            return self.epochs
        if not self.freeze_first_model:
            return EPOCHS_UNFROZEN
        return min(max(-(-DOCUMENTS_SHOWN // documents), FEWEST_EPOCHS), MOST_EPOCHS)


def _share(text: str) -> float | None:
    """A number, or a percentage; None of anything else."""
    percentage = share_of(text)
    if percentage is not None:
        return float(percentage)
    try:
        return float(text)
    except ValueError:
        return None


def require_training_packages() -> None:
    """Refuse to start without what the ``train`` extra installs.

    Raises:
        StrideformerError: a package is missing.
    """
    from importlib.util import find_spec

    missing = [name for name in ("accelerate", "sklearn") if find_spec(name) is None]
    if missing:
        raise StrideformerError(f"training needs {', '.join(missing)}: pip install 'strideformer[train]'")
