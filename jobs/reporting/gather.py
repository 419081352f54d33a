"""One pass over all parts of a job, several at a time, in memory that does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.output.commit import part_name
from jobs.output.receipt import RECEIPT_KEY, Receipt, add_up
from jobs.reporting.histograms import Lengths
from jobs.reporting.job import ReportedJob
from jobs.reporting.label_scores import Labelling, LabelScores
from jobs.reporting.parts import BATCH_ROWS, REMEDY, batches, take_rows, with_part
from jobs.reporting.quarantined import COLUMNS, Quarantined
from strideformer.errors import StrideformerError

# Reading waits on the storage as much as it computes.
THREADS = 8
# Scores of several labels in the parts that are read at the same time, and in one batch, which is looked at in float64.
MOST_SCORES = 1 << 25
SCORES_OF_A_BATCH = 1 << 21
PARTS_AT_ONCE = 64
OF_ANY = ["num_tokens", "num_chunks", "truncated"]
OF_AN_EXAMPLE = ["doc_id", "label", "score", "scores", "num_tokens", "truncated", "source", "row"]

T = TypeVar("T")
U = TypeVar("U")


@dataclass
class Findings:
    """What is found out of a job's documents.

    Attributes:
        total: the receipts of all parts, added up.
        lengths: of labelled, or embedded, documents.
        scores: of labelled documents; None of a store of embeddings, and where nothing is labelled.
        quarantined: of the rest.
        least_sure, highest: rows of documents to look at; of a regression the lowest values and the highest.
        examples: rows of the quarantine, by reason.
    """

    total: Receipt
    lengths: Lengths
    scores: LabelScores | None
    quarantined: Quarantined
    least_sure: list[dict[str, Any]] = field(default_factory=list)
    highest: list[dict[str, Any]] = field(default_factory=list)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def gather(job: ReportedJob, examples: int) -> Findings:
    """Read the columns that are needed of all parts, and then the rows that are shown.

    Args:
        job: whose.
        examples: documents to show.

    Raises:
        StrideformerError: a part is damaged, or of another job; or the storage fails.
    """
    labels = None if job.embeds else labelling_of(job)
    found = Findings(add_up([]), Lengths(), None, Quarantined())
    if labels is not None:
        found.scores = LabelScores(labels, examples)
    width = len(labels.names) if labels is not None and "scores" in labels.columns else 1
    threads = max(1, min(THREADS, MOST_SCORES // (width * BATCH_ROWS)))
    rows = max(256, min(BATCH_ROWS, SCORES_OF_A_BATCH // width))
    with ThreadPoolExecutor(threads) as pool:
        quarantining: list[int] = []
        of_parts = _some_ahead(pool, lambda shard: _part(job, shard, labels, examples, rows), job.parts)
        for receipt, lengths, scores in of_parts:
            found.total = add_up([found.total, receipt])
            found.lengths.merge(lengths)
            if found.scores is not None and scores is not None:
                found.scores.merge(scores)
            if receipt.quarantined:
                quarantining.append(receipt.shard)
        there = job.folder.names("_quarantine") if quarantining else set()
        found.quarantined.missing = sum(part_name(shard) not in there for shard in quarantining)
        readable = [shard for shard in quarantining if part_name(shard) in there]
        for quarantined in _some_ahead(pool, lambda shard: _quarantined(job, shard), readable):
            found.quarantined.merge(quarantined)
    if found.scores is not None:
        for name, smallest in (("least_sure", found.scores.least_sure), ("highest", found.scores.highest)):
            documents = take_rows(job.folder, "", smallest.places(), OF_AN_EXAMPLE)
            setattr(found, name, [documents[place] for place in smallest.in_order()])
    found.examples = found.quarantined.examples(job.folder)
    return found


def labelling_of(job: ReportedJob) -> Labelling | None:
    """What the labels of a job are, by its first part with labelled documents; None where there is none."""

    def look(part: pq.ParquetFile) -> Labelling | None:
        for batch in batches(part, ["label", "scores"], rows=256):
            return Labelling.of(batch.schema.field("scores").type, batch.column("label"))
        return None

    return next((found for name in job.parts.values() if (found := with_part(job.folder, name, look))), None)


def _part(
    job: ReportedJob, shard: int, labels: Labelling | None, examples: int, rows: int
) -> tuple[Receipt, Lengths, LabelScores | None]:
    name = job.parts[shard]

    def read(part: pq.ParquetFile) -> tuple[Receipt, Lengths, LabelScores | None]:
        receipt = _receipt(job, shard, part.schema_arrow)
        lengths = Lengths()
        scores = None if labels is None else LabelScores(labels, examples)
        columns = OF_ANY + ([] if labels is None else labels.columns)
        first_row = 0
        for batch in batches(part, columns, rows):
            score = None if scores is None else scores.add(batch, shard, first_row)
            tokens, chunks, truncated = (batch.column(name).to_numpy(zero_copy_only=False) for name in OF_ANY)
            lengths.add(tokens, chunks, truncated, score)
            first_row += batch.num_rows
        return receipt, lengths, scores

    return with_part(job.folder, name, read)


def _quarantined(job: ReportedJob, shard: int) -> Quarantined:
    def read(part: pq.ParquetFile) -> Quarantined:
        found = Quarantined()
        first_row = 0
        for batch in batches(part, COLUMNS):
            found.add(batch, shard, first_row)
            first_row += batch.num_rows
        return found

    return with_part(job.folder, f"_quarantine/{part_name(shard)}", read)


def _receipt(job: ReportedJob, shard: int, schema: pa.Schema) -> Receipt:
    place = f"{job.folder.url}/{part_name(shard)}"
    try:
        receipt = Receipt.from_json((schema.metadata or {})[RECEIPT_KEY])
    except (KeyError, ValueError, TypeError) as error:
        raise StrideformerError(f"{place} says nothing of its shard: {REMEDY}") from error
    if (receipt.job, receipt.shard) != (job.id, shard):
        raise StrideformerError(f"{place} is of another job than _strideformer/job.json: {REMEDY}")
    return receipt


def _some_ahead(pool: ThreadPoolExecutor, work: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """What ``work`` makes of each, in order; never more than so many wait to be taken."""
    left = iter(items)
    while some := list(islice(left, PARTS_AT_ONCE)):
        yield from pool.map(work, some)
