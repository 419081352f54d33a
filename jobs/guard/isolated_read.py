"""Reading the pieces of a shard in a process of its own, halving the one that kills it until its row is found."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.corpus.halves import halves
from jobs.corpus.pieces import Piece, from_rows, to_table
from jobs.corpus.retries import LONGEST_PAUSE_SECONDS, PATIENCE_SECONDS
from jobs.corpus.source import Read
from jobs.guard.isolation import Child, ChildDiedError, start_child
from jobs.stages.columns import with_columns
from strideformer.errors import StrideformerError

# Of one shard: enough for a few bad rows among the 4,096 of a shard (12 halvings each). In a row group
# that kills wherever it is entered, each of its rows would cost one.
MOST_DEATHS = 64
# What a read in a child may take longer, since a storage that is away for so long is an error and no document's fault.
STORAGE_SECONDS = PATIENCE_SECONDS + 3 * LONGEST_PAUSE_SECONDS


def read_isolated(pieces: pa.Table, read: Read, arguments: tuple[Any, ...], timeout: float | None) -> pa.Table:
    """What the read stage makes of the pieces of one shard, each read in a child process.

    A parser that dies does not say over which row: its piece is read in halves, which are halved again, until one row
    is left, or so many processes have died that the rest is not worth it. What is left is quarantined as ``crashed``.
    A piece that takes longer than ``timeout`` seconds, and than the storage's retries, is quarantined whole, as
    ``timed_out``: halving it would take as long again, a dozen times.

    Raises:
        StrideformerError: the storage failed for longer than it is waited for, or the child does not start.
    """
    limit = None if timeout is None else timeout + STORAGE_SECONDS
    waiting = from_rows(pieces.to_pylist())[::-1]
    results = []
    deaths = 0
    child: Child | None = None
    try:
        while waiting:
            piece = waiting.pop()
            child = child or start_child(type(read), arguments)
            try:
                results.append(child.run(to_table([piece]), limit))
            except ChildDiedError as error:
                child.close()
                child = None
                deaths += 1
                parts = _halves(piece, read) if error.reason == "crashed" and deaths < MOST_DEATHS else None
                if parts is None:
                    results.append(read.quarantined(to_table([piece]), error.reason, str(error)))
                else:
                    waiting += reversed(parts)
    finally:
        if child is not None:
            child.close()
    documents = pa.concat_tables(results).combine_chunks()
    return with_columns(documents, {"_shard_rows": pa.array(np.full(documents.num_rows, documents.num_rows))})


def _halves(piece: Piece, read: Read) -> tuple[Piece, Piece] | None:
    if piece.reason is not None:
        return None
    with contextlib.suppress(StrideformerError, OSError):  # the storage or the file: whatever it was, it cannot be cut
        return halves(piece, read.options)
    return None
