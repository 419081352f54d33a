"""A random sample of a corpus's documents: which are drawn, with which chance, and read.

Documents differ in length by factors of a thousand, and what a corpus costs lies in its long ones: of documents drawn
with equal chances, the few longest decide what is extrapolated, or are missed. So half of the chance is shared out
equally and half by bytes, as far as the plan knows them: of each place (a Parquet row group, a run between two
cut points of a line-based file, a text file), and, once a place is read, of each document in it. The chance of each
document is known exactly, and `jobs.planning.estimate` divides by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.corpus.packing import Run, piece_of
from jobs.corpus.pieces import to_table
from jobs.corpus.read import read_shard
from jobs.corpus.refusal import OnBadFile, Refusal
from jobs.planning.inventory import Found, runs_in
from jobs.preflight import CheckedCorpus

# Bytes of text: of the largest place, which is read as a whole; of all places together, beyond which several documents
# are drawn from each; and of a gap between two places of a file that are read in one go.
PLACE_BYTES = 128 << 20
READ_BYTES = 1 << 30
GAP_BYTES = 1 << 20
LEAST_PLACES = 32  # of fewer, the differences between places say too little
SHARE_OF_EQUALS = 0.5
_THREADS = 4  # each holds a place
_TEXTS = ("_text", "_text_pair")


@dataclass(frozen=True)
class Sample:
    """Documents that were drawn.

    Attributes:
        documents: as the job's read stage gives them, without the kept columns; each once.
        drawn: (draws, documents a draw) int64 rows of ``documents``; all draws are alike and independent.
        chances: like ``drawn``: the share of such draws that take this document.
        population: documents that might have been drawn: all that are not refused unread.
        whole: it is all of them, each once.
    """

    documents: pa.Table
    drawn: np.ndarray
    chances: np.ndarray
    population: int
    whole: bool


@dataclass(frozen=True)
class _Drawn:
    """Documents of one place: distinct ones, and of each time that one was drawn its row and its chance."""

    documents: pa.Table
    rows: np.ndarray
    chances: np.ndarray


def draw_sample(
    found: Found, corpus: CheckedCorpus, options: Mapping[str, str], on_bad_file: OnBadFile, size: int, seed: int
) -> Sample:
    """Draw about ``size`` documents, or take all if there are no more.

    Args:
        found: as :func:`jobs.corpus.plan.look_into` gives it.
        corpus: which columns to read.
        options: storage options.
        on_bad_file: as for the job.
        size: documents to draw; one may be drawn more than once.
        seed: of what is drawn.

    Raises:
        StrideformerError: the storage failed, or a file changed and ``on_bad_file`` is fail.
    """
    places = _places(found)
    rows = np.array([place.num_rows for place in places], np.int64)
    sizes = np.array([place.num_bytes for place in places], np.float64)
    population, whole = int(rows.sum()), int(rows.sum()) <= size
    if sizes.sum() <= 0:
        sizes = rows.astype(np.float64)
    chances = SHARE_OF_EQUALS * rows / max(population, 1) + (1 - SHARE_OF_EQUALS) * sizes / max(sizes.sum(), 1)
    if whole:
        each, chosen = 1, np.arange(len(places))
    else:
        draws = int(np.clip(READ_BYTES // max(chances @ sizes, 1), min(LEAST_PLACES, size), size))
        each = math.ceil(size / draws)
        chosen = np.random.default_rng(seed).choice(len(places), draws, p=chances / chances.sum())
    distinct, times = np.unique(chosen, return_counts=True)

    def draw(number: int, documents: pa.Table) -> _Drawn:
        if whole:
            return _Drawn(documents, np.arange(documents.num_rows), np.full(documents.num_rows, 1 / population))
        lengths = _lengths(documents, sizes[number])
        chance = SHARE_OF_EQUALS / population + (1 - SHARE_OF_EQUALS) * lengths / sizes.sum()
        wanted = each * int(times[np.searchsorted(distinct, number)])
        generator = np.random.default_rng([seed, number])
        drawn = generator.choice(documents.num_rows, wanted, p=chance / chance.sum())
        kept, rows_kept = np.unique(drawn, return_inverse=True)
        return _Drawn(documents.take(pa.array(kept)), rows_kept, chance[drawn])

    def read(span: Sequence[int]) -> list[_Drawn]:
        first, last = places[span[0]], places[span[-1]]
        rows_read = last.row_start + last.num_rows - first.row_start
        joined = replace(first, num_rows=rows_read, num_bytes=last.byte_start + last.num_bytes - first.byte_start)
        pieces = to_table([piece_of(joined, 0)])
        table = read_shard(pieces, corpus.columns, corpus.kept_schema, options, on_bad_file, renamed=corpus.kept)
        table = table.drop_columns(corpus.kept_output.names)
        starts = [places[number].row_start - first.row_start for number in span]
        return [
            draw(number, table.slice(start, places[number].num_rows))
            for number, start in zip(span, starts, strict=True)
        ]

    with ThreadPoolExecutor(_THREADS) as pool:
        found_in = [one for some in pool.map(read, _spans(places, distinct)) for one in some]
    before = np.cumsum([0, *(one.documents.num_rows for one in found_in)])
    drawn = [one.rows + start for one, start in zip(found_in, before[:-1], strict=True)]
    documents = pa.concat_tables([one.documents for one in found_in]) if found_in else pa.table({})
    return Sample(
        documents.combine_chunks(),
        np.concatenate(drawn).reshape(-1, each) if drawn else np.empty((0, 1), np.int64),
        np.concatenate([one.chances for one in found_in]).reshape(-1, each) if drawn else np.empty((0, 1)),
        population,
        whole,
    )


def _places(found: Found) -> list[Run]:
    """Where documents may be drawn from, none larger than may be held."""
    places = []
    for file, cuts in found:
        if isinstance(cuts, Refusal):
            continue
        for run in runs_in(file, cuts):
            if run.refusal is None:
                places.extend(_parts(run))
    return places


def _parts(run: Run) -> list[Run]:
    """A run in equal parts that are small enough, where it may be cut."""
    parts = min(max(1, math.ceil(run.num_bytes / PLACE_BYTES)), run.num_rows) if run.divisible else 1
    bounds = [run.num_rows * part // parts for part in range(parts + 1)]
    return [
        replace(
            run,
            row_start=run.row_start + first,
            num_rows=last - first,
            num_bytes=round(run.num_bytes * (last - first) / run.num_rows),
        )
        for first, last in pairwise(bounds)
    ]


def _spans(places: Sequence[Run], chosen: np.ndarray) -> list[list[int]]:
    """Places that are read in one go: those of a line-based file that are near, or have all to be decompressed."""
    spans: list[list[int]] = []
    for number in chosen.tolist():
        place = places[number]
        if spans:
            first, last = places[spans[-1][0]], places[spans[-1][-1]]
            near = place.byte_start - last.byte_start - last.num_bytes <= GAP_BYTES or place.file.compression != "none"
            small = place.byte_start + place.num_bytes - first.byte_start <= PLACE_BYTES
            between = places[spans[-1][-1] : number + 1]
            if place.file.source == first.file.source and not place.divisible and near and small and _adjoin(between):
                spans[-1].append(number)
                continue
        spans.append([number])
    return spans


def _adjoin(places: Sequence[Run]) -> bool:
    """Whether nothing lies between these that must not be read."""
    return all(one.row_start + one.num_rows == other.row_start for one, other in pairwise(places))


def _lengths(documents: pa.Table, of_all: float) -> np.ndarray:
    """(documents,) bytes of each, scaled to what the plan gave their place; equal where there is no text at all."""
    lengths = np.zeros(documents.num_rows)
    for name in _TEXTS:
        if name in documents.column_names:
            found = pc.fill_null(pc.binary_length(documents.column(name)), 0)
            lengths += found.to_numpy().astype(np.float64)
    if not lengths.sum():
        lengths += 1
    return np.asarray(lengths * of_all / lengths.sum())
