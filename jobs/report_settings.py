"""Settings of the report job."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from jobs.settings import JobSettings


class ReportSettings(JobSettings):
    """Make one page of what a job wrote: labels, scores, lengths, the quarantine, the least sure documents."""

    one_path: ClassVar[str | None] = "output"
    output: str = Field(
        description="Output folder of classify or embed, on any filesystem; of a job that is finished, stopped or "
        "still running."
    )
    html: str | None = Field(
        None,
        description="File for the page, on any filesystem; default: OUTPUT/_strideformer/report.html. A page that is "
        "there is replaced.",
    )
    examples: int = Field(
        20, ge=0, le=1000, description="Documents to show: the least sure ones, or the ends of a regression."
    )
    storage_option: dict[str, str] = Field(
        default_factory=dict,
        description="Filesystem options as key=value, such as endpoint_url or region; never a secret: "
        "credentials come from the environment or a profile.",
    )
