"""What a corpus holds: files, bytes and documents by format, as the job's own plan finds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.corpus.listing import InputFile
from jobs.corpus.packing import Run, runs_of
from jobs.corpus.plan import SHARD_BYTES, SHARD_ROWS
from jobs.corpus.records import CutPoints
from jobs.corpus.refusal import Refusal

Found = Sequence[tuple[InputFile, CutPoints | Refusal]]

# What a plan reads of a file, and so this one, too.
READ_TO_COUNT = {"parquet": "its footer", "text": "nothing"}
READ_WHOLE = "all of it"
READ_TO_LIMIT = "all of it, or as far as --limit needs"


@dataclass(frozen=True)
class OfFormat:
    """Files of one format; ``bytes`` as they are stored, ``read`` what was read of each to count its documents."""

    format: str
    files: int
    bytes: int
    documents: int
    read: str


@dataclass(frozen=True)
class Inventory:
    """A corpus, counted.

    Attributes:
        formats: the largest first.
        files, bytes, documents: of all of them. A file that cannot be read is one document, as in the job.
        files_without_documents: empty files.
        refused: documents that go to the quarantine without having been read, by reason.
    """

    formats: list[OfFormat]
    files: int
    bytes: int
    documents: int
    files_without_documents: int
    refused: dict[str, int]


def take_inventory(found: Found, limit: int | None = None) -> Inventory:
    """Count what :func:`jobs.corpus.plan.look_into` found, up to ``limit``."""
    files: Counter[str] = Counter()
    stored: Counter[str] = Counter()
    documents: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    empty = 0
    for file, cuts in found:
        rows = 1 if isinstance(cuts, Refusal) else cuts.num_rows
        files[file.format] += 1
        stored[file.format] += file.size
        documents[file.format] += rows
        empty += not rows
        if isinstance(cuts, Refusal):
            refused[cuts.reason] += 1
        else:
            refused.update(run.refusal.reason for run in runs_in(file, cuts) if run.refusal is not None)
    cut = found[-1][0].format if limit is not None and documents.total() >= limit else None
    formats = [
        OfFormat(
            name,
            files[name],
            stored[name],
            documents[name],
            READ_TO_COUNT.get(name, READ_TO_LIMIT if name == cut else READ_WHOLE),
        )
        for name in sorted(files, key=lambda name: -stored[name])
    ]
    return Inventory(formats, files.total(), stored.total(), documents.total(), empty, dict(sorted(refused.items())))


def runs_in(file: InputFile, cuts: CutPoints) -> list[Run]:
    """The runs of a file, whatever shards they will be in."""
    return list(runs_of(file, cuts, SHARD_ROWS, SHARD_BYTES))
