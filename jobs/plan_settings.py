"""Settings of the plan command."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from jobs.settings import ClassifySettings, EmbedSettings, EncoderSettings, InputSettings, ModelSettings

# A sample of fewer says next to nothing of a corpus.
LEAST_SAMPLE = 32


class PlanSettings(ModelSettings, EncoderSettings, InputSettings):
    """Tell how much classify (or, of a bare encoder, embed) would have to do, from a sample, and how long it takes."""

    model: str = Field(
        description="Strideformer checkpoint as for classify, or encoder as for embed: a folder, on any filesystem "
        "(s3://, …), a package, or a cached hub model."
    )
    encoders: str = Field(
        "auto", description="Encoders to tell the time and the shards of: a number, min:max, or auto: 1, 8 and 64."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="What the encoders are to run on, and the one that is timed here; auto: a GPU if one is here.",
    )
    sample: int = Field(
        200,
        ge=LEAST_SAMPLE,
        description="How many documents to read; where there are no more than that, all of them, and nothing is "
        "extrapolated.",
    )
    seed: int = Field(0, ge=0, description="Seed of the sample.")
    time_encoder: bool = Field(True, description="Time the encoder on this machine, on some chunks of the sample.")
    tokens_per_second: float | None = Field(
        None,
        gt=0,
        description="Tokens that one encoder takes in a second, in place of timing it here: as `plan` tells it on a "
        "machine like those of the job.",
    )
    json_file: str | None = Field(
        None, description="File for all figures as JSON, on any filesystem; --json for short."
    )
    overwrite: bool = Field(False, description="Replace the JSON file if it exists.")

    @model_validator(mode="before")
    @classmethod
    def _as_the_job_has_it(cls, values: Any) -> Any:
        """A job's own YAML file will do: what is of no use to a plan is passed over."""
        if not isinstance(values, dict):
            return values
        if values.get("embeddings") is not None:
            raise ValueError("a store of embeddings has nothing left to encode: plan is of INPUT")
        of_jobs = {*ClassifySettings.model_fields, *EmbedSettings.model_fields} - {*cls.model_fields}
        return {name: value for name, value in values.items() if name not in of_jobs}
