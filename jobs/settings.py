"""What every job's settings share: one pydantic model, from which come the flags, the YAML file and the docs."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from jobs.output.limit import QuarantineLimit

ENCODERS_PATTERN = re.compile(r"auto|[1-9]\d*|[1-9]\d*:[1-9]\d*")

# Seconds, four months: beyond some more the interpreter's timer overflows.
LONGEST_TIMEOUT = 1e7


class JobSettings(BaseModel):
    """What every settings model shares: unknown fields are refused, and settings do not change.

    Attributes:
        one_path: the field that is the command's only path, of a job that has no more than one.
    """

    one_path: ClassVar[str | None] = None
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _as_yaml_has_it(cls, values: Any) -> Any:
        """One name where a list of names is meant, and numbers and booleans among the filesystem's options."""
        if not isinstance(values, dict):
            return values
        found = dict(values)
        for name, value in values.items():
            kind = cls.model_fields[name].annotation if name in cls.model_fields else None
            if kind == list[str] and isinstance(value, str):
                found[name] = [value]
            elif kind == dict[str, str] and isinstance(value, dict):
                found[name] = {str(key): _as_flag(each) for key, each in value.items()}
        return found


def _as_flag(value: Any) -> Any:
    """A scalar of YAML as it would stand on a command line."""
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int | float) else value


class InputSettings(JobSettings):
    """Where the documents are and which columns they are in."""

    inputs: list[str] = Field(
        min_length=1,
        description="Files, folders or globs on any filesystem (s3://, gs://, az://, local): Parquet, JSON Lines, "
        "CSV, TSV, or plain text (one document a file), each text format also .gz, .zst or .bz2.",
    )
    format: Literal["auto", "parquet", "jsonl", "csv", "tsv", "text"] = Field(
        "auto", description="Format of the inputs; auto goes by each file's extension."
    )
    text_column: str = Field("text", description="Column of the text.")
    pair_column: str | None = Field(
        None,
        description="Column of the second text of a pair: it is the long one that is cut into chunks, and "
        "--text-column is then the short first text that precedes every chunk.",
    )
    id_column: str | None = Field(
        None, description="Column of the document id; without it (or where it is null) ids are source#row."
    )
    keep_columns: list[str] = Field(
        default_factory=list,
        description="Input columns to carry to the output, each as NAME, or as NAME:NEW to rename it there.",
    )
    limit: int | None = Field(None, ge=1, description="Take only the first N documents.")
    storage_option: dict[str, str] = Field(
        default_factory=dict,
        description="Filesystem options as key=value, such as endpoint_url or region; never a secret: "
        "credentials come from the environment or a profile.",
    )
    shard_rows: int | None = Field(
        None,
        ge=1,
        description="Most documents in a shard, and so in an output file; default: 65,536 where there are GPUs, else "
        "4,096.",
    )
    shard_bytes: int | None = Field(
        None,
        ge=1,
        description="Most bytes of text and kept columns in a shard; default: 32 MiB where there are GPUs, else 1 MiB, "
        "and more, up to 256 MiB, from 64 GPUs on and where there would be more than 50,000 shards.",
    )
    on_bad_file: Literal["quarantine", "fail"] = Field(
        "quarantine",
        description="What a file does that cannot be read, lacks a column, or changes or goes while the job runs: "
        "quarantine it with the reason, or fail the job.",
    )

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        if self.pair_column == self.text_column:
            raise ValueError(f"pair_column and text_column are both {self.text_column!r}: name two columns")
        return self


class CorpusSettings(InputSettings):
    """Where the documents are, and where the result goes."""

    output: str = Field(description="Folder for the labelled Parquet, on any filesystem; must be empty.")
    max_quarantined: str | None = Field(
        None,
        description="Stop the job, to be resumed, when more documents are quarantined than this number (100) or "
        "this share of those done (5%, looked at from 1,000 documents on).",
    )

    @field_validator("max_quarantined", mode="before")
    @classmethod
    def _max_quarantined(cls, value: Any) -> str | None:
        text = None if value is None else str(value)
        QuarantineLimit.of(text, planned=0)
        return text


class EncoderSettings(JobSettings):
    """What the encoders run on, and how."""

    encoders: str = Field(
        "auto",
        description="Encoder actors: a number, min:max to grow and shrink with the cluster, or auto: one a GPU, "
        "or one a node of up to 16 cores where there is none.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="auto, cpu or cuda; auto: the GPUs of a cluster that has any. Which actor has which GPU is Ray's "
        "to say.",
    )
    dtype: Literal["auto", "float32", "float16", "bfloat16", "int8"] = Field(
        "auto",
        description="Number format of the encoder; auto: half precision on GPU, bf16 on CPUs that have it. int8, on "
        "CPUs alone, is a fifth to a quarter faster and a little less exact.",
    )
    token_budget: int | None = Field(
        None,
        ge=1,
        description="Most padded tokens in one micro-batch; left out, or auto: found on a GPU by trying some for a "
        "second, 3072 on each core of a CPU.",
    )

    @model_validator(mode="after")
    def _int8_on_a_cpu(self) -> Self:
        if self.dtype == "int8" and self.device == "cuda":
            raise ValueError("dtype int8 is for CPUs, and device is cuda: use dtype auto, or device cpu")
        return self

    @field_validator("token_budget", mode="before")
    @classmethod
    def _token_budget(cls, value: Any) -> Any:
        return None if value == "auto" else value

    @field_validator("encoders", mode="before")
    @classmethod
    def _encoders(cls, value: Any) -> str:
        text = str(value)
        if not ENCODERS_PATTERN.fullmatch(text):
            raise ValueError(f"encoders {text!r} is not auto, a number, or min:max")
        if ":" in text and int(text.split(":")[0]) > int(text.split(":")[1]):
            raise ValueError(f"encoders {text!r} has a minimum above its maximum")
        return text


class ClusterSettings(EncoderSettings):
    """What the job runs on."""

    ray_address: str | None = Field(
        None, description="Cluster to connect to; else RAY_ADDRESS, else a Ray of our own on this machine."
    )
    progress: Literal["auto", "bar", "plain", "none"] = Field(
        "auto", description="Progress display: auto is a bar on a terminal and plain lines elsewhere."
    )


class ModelSettings(JobSettings):
    """The model, and how it reads a document."""

    model: str = Field(
        description="Strideformer checkpoint: a folder, on any filesystem (s3://, …), a package, or a cached hub model."
    )
    max_length: int | None = Field(
        None, ge=1, description="Tokens in a chunk, special ones included; default: the checkpoint's."
    )
    stride: int | None = Field(
        None, ge=0, description="Tokens that a chunk shares with the one before; default: the checkpoint's."
    )
    max_chunks: int | None = Field(
        None, ge=1, description="Most chunks of a document; the rest is not read; default: the checkpoint's."
    )


class ShardedSettings(ModelSettings, ClusterSettings, CorpusSettings):
    """What the jobs share that run a corpus through a model, shard by shard."""

    document_timeout: float | None = Field(
        300.0,
        gt=0,
        le=LONGEST_TIMEOUT,
        description="Seconds that one document may take before it is quarantined as timed_out; none for no limit.",
    )
    resume: bool = Field(False, description="Run what is missing of a job that stopped.")
    overwrite: bool = Field(False, description="Delete an earlier job's output first.")
    profile: bool = Field(False, description="Say at the end where the time went, stage by stage.")

    @field_validator("document_timeout", mode="before")
    @classmethod
    def _document_timeout(cls, value: Any) -> Any:
        return None if str(value).lower() in ("none", "inf", "infinity") else value

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if self.resume and self.overwrite:
            raise ValueError("resume and overwrite contradict each other: give one")
        return self


# What says how texts are read or tokenised, which --embeddings leaves nothing of.
OF_TEXTS = (
    "format",
    "text_column",
    "pair_column",
    "id_column",
    "shard_rows",
    "shard_bytes",
    "on_bad_file",
    "token_budget",
)


class ClassifySettings(ShardedSettings):
    """Label every document of a corpus."""

    inputs: list[str] = Field(
        default_factory=list,
        description="Files, folders or globs on any filesystem (s3://, gs://, az://, local): Parquet, JSON Lines, "
        "CSV, TSV, or plain text (one document a file), each text format also .gz, .zst or .bz2; left out with "
        "--embeddings.",
    )
    aggregators: int = Field(
        0,
        ge=0,
        description="Aggregator actors; 0 runs the aggregator in the encoders' actors, where it is cheap.",
    )
    embeddings: str | None = Field(
        None,
        description="Store of `strideformer embed` to label in place of INPUT, by the aggregator alone: the call is "
        "then `classify --embeddings STORE OUTPUT --model MODEL`, and the store's encoder must be the model's.",
    )

    early_exit: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Confidence, such as 0.95, from which a document is not read any further: its chunks are encoded "
        "in rounds, a few from all over it first, until its label is that sure. Default: all of it is read.",
    )

    @model_validator(mode="after")
    def _early_exit(self) -> Self:
        if self.early_exit is not None and self.embeddings is not None:
            raise ValueError("early_exit spares the encoder, and --embeddings needs none: leave one of them out")
        if self.early_exit is not None and self.aggregators:
            raise ValueError("early_exit needs both models in one actor: leave --aggregators out")
        return self

    @model_validator(mode="after")
    def _texts_or_embeddings(self) -> Self:
        if self.embeddings is None and not self.inputs:
            raise ValueError("there is nothing to label: give INPUT, or --embeddings STORE in its place")
        if self.embeddings is not None and self.inputs:
            raise ValueError("--embeddings takes the place of INPUT: give one of them")
        given = [name for name in OF_TEXTS if name in self.model_fields_set]
        if self.embeddings is not None and given:
            raise ValueError(f"{given[0]} is about texts, and --embeddings has none: leave it out")
        return self


class EmbedSettings(ShardedSettings):
    """Encode every document of a corpus once, into a store of chunk vectors."""

    output: str = Field(description="Folder for the store, Parquet on any filesystem; must be empty.")
    model: str = Field(
        description="Encoder (a sentence transformer) or Strideformer checkpoint, of which the first model is "
        "taken: a folder, on any filesystem (s3://, …), a package, or a cached hub model."
    )
    max_length: int | None = Field(
        None,
        ge=1,
        description="Tokens in a chunk, special ones included; default: the checkpoint's, or for an encoder 384, or "
        "what it has positions for.",
    )
    stride: int | None = Field(
        None,
        ge=0,
        description="Tokens that a chunk shares with the one before; default: the checkpoint's, or for an encoder 128, "
        "or a third of a shorter chunk.",
    )
    max_chunks: int | None = Field(
        None,
        ge=1,
        description="Most chunks of a document; the rest is not read; default: the checkpoint's, or for an encoder "
        "128.",
    )
    chunk_layers: list[int] | None = Field(
        None,
        description="Layers of an encoder that make a chunk's vector, side by side, such as 0,-1 for its embeddings "
        "and its last layer; --chunk-layers=-2,-1 where the first is negative; default: -1 alone. A checkpoint has "
        "its own.",
    )
