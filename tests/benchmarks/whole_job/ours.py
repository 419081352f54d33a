"""The classify job as it is, but that its encoder stage notes when it worked and what its blocks weigh."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from jobs.stages.aggregate import EncodeAndAggregate
from tests.benchmarks.whole_job.documents import DTYPE_VARIABLE, MAX_CHUNKS, MAX_LENGTH, STRIDE, model_folder
from tests.benchmarks.whole_job.marks import encoding, note


class NotingEncodeAndAggregate(EncodeAndAggregate):
    """Each call is one shard, and its table is the block that came through the object store."""

    def __call__(self, documents: pa.Table) -> pa.Table:
        amounts = {
            "chunks": pc.sum(documents.column("num_chunks")).as_py(),
            "tokens": pc.sum(documents.column("num_tokens")).as_py(),
            "bytes": documents.nbytes,
        }
        with encoding(**amounts):
            return super().__call__(documents)


def run(corpus: Path, output: Path) -> None:
    import jobs.classify
    from jobs.settings import ClassifySettings

    jobs.classify.EncodeAndAggregate = NotingEncodeAndAggregate  # type: ignore[attr-defined]
    settings = ClassifySettings(
        inputs=[str(corpus)],
        output=str(output),
        model=str(model_folder()),
        dtype=os.environ[DTYPE_VARIABLE],
        id_column="doc_id",
        max_length=MAX_LENGTH,
        stride=STRIDE,
        max_chunks=MAX_CHUNKS,
        progress="none",
        profile=True,
    )
    note(profile=jobs.classify.run(settings)["profile"])
