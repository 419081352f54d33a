"""Running a stage document by document in a process of its own, so that one which kills it is found and left out."""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.guard.frames import READY, TABLE, from_stream, read_frame, to_stream, write_frame
from jobs.guard.memory import free_bytes, used_bytes
from jobs.model_source import ModelSource
from jobs.stages.columns import quarantine, with_columns
from strideformer.errors import StrideformerError

# Documents that kill their process are rare. When one after the other does, they are alike, or else the machine, the
# model or a library is at fault: then those kill it too that are asked as witnesses.
MOST_DEATHS_IN_A_ROW = 5
# A model of gigabytes from a slow disk takes minutes to load.
START_SECONDS = 900.0
# Memory may have been short for a moment.
START_TRIES = 3
# Of the memory that is free when the child is ready. One document is not to take so much that Linux or Ray end the
# processes of others for it.
MEMORY_SHARE = 0.5
LOOK_SECONDS = 0.05


class ChildDiedError(Exception):
    """The child process is gone, or had to be killed; ``reason`` is what its document is quarantined with."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Child:
    """One child process with one stage in it.

    Args:
        stage_class: an importable class; its instances are called with a table and give one.
        arguments: what it is built with, each of which can be pickled.

    Raises:
        ChildDiedError: it died, or did not finish, while it built the stage.
    """

    _most_bytes: float | None = None  # in memory

    def __init__(self, stage_class: type, arguments: tuple[Any, ...]) -> None:
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(  # noqa: S603 our own module, no shell
            [sys.executable, "-m", "jobs.guard.child", str(theirs_in), str(theirs_out)],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            env=environment,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._to_child, self._from_child = os.fdopen(self._out, "wb"), os.fdopen(self._in, "rb")
        try:
            here = tuple(_on_this_machine(argument) for argument in arguments)
            kind, message = self._ask(READY, pickle.dumps((stage_class, here)), START_SECONDS)
            if kind != READY:
                raise ChildDiedError("crashed", message.decode(errors="replace"))
        except BaseException:
            self.close()
            raise
        free = free_bytes()
        if free is not None:
            self._most_bytes = used_bytes(self._process.pid) + MEMORY_SHARE * free

    def run(self, table: pa.Table, timeout: float | None) -> pa.Table:
        """The stage's table for this one.

        Raises:
            ChildDiedError: the process died, or it took longer than ``timeout`` seconds or most of the memory that
                was free.
            StrideformerError: the stage raised.
        """
        kind, payload = self._ask(TABLE, to_stream(table), timeout)
        if kind != TABLE:
            raise StrideformerError(payload.decode(errors="replace"))
        return from_stream(payload)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._to_child.close()
        self._from_child.close()

    def _ask(self, kind: bytes, payload: bytes | pa.Buffer, timeout: float | None) -> tuple[bytes, bytes]:
        try:
            write_frame(self._to_child, kind, payload)
            self._wait(timeout)
            return read_frame(self._from_child)
        except (EOFError, BrokenPipeError):
            status = self._process.wait()
            died = signal.Signals(-status).name if status < 0 else f"exit status {status}"
            raise ChildDiedError("crashed", f"its process ended with {died}") from None

    def _wait(self, timeout: float | None) -> None:
        """Return when the child has answered or is gone; raise if it is at it for too long, or takes too much."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not select.select([self._from_child], [], [], LOOK_SECONDS)[0]:
            if deadline is not None and time.monotonic() > deadline:
                raise ChildDiedError("timed_out", f"it took longer than {timeout:g} seconds by itself")
            if self._most_bytes is not None and used_bytes(self._process.pid) > self._most_bytes:
                raise ChildDiedError(
                    "crashed", f"its process took {self._most_bytes / 2**30:.1f} GiB, half of the memory that was free"
                )


def start_child(stage_class: type, arguments: tuple[Any, ...]) -> Child:
    """A child process with the stage in it. If none starts, no document is at fault, for none was there yet.

    Raises:
        StrideformerError: it died each time, or took too long.
    """
    for left in reversed(range(START_TRIES)):
        try:
            return Child(stage_class, arguments)
        except ChildDiedError as error:
            if error.reason == "crashed" and left:
                continue
            raise StrideformerError(
                f"{stage_class.__name__} cannot be started in a process of its own ({error}): look at the memory, the "
                f"device and the model"
            ) from error
    raise AssertionError


def run_isolated(documents: pa.Table, stage: Any, arguments: tuple[Any, ...], timeout: float | None = None) -> pa.Table:
    """What the stage makes of each document by itself, in a child process.

    A document that kills the child, or keeps it longer than ``timeout`` seconds, is quarantined with reason
    ``crashed`` or ``timed_out``; its row, emptied of what killed, still goes through the stage, here, for the
    columns that the stage adds. So does a row that is quarantined already: it makes no work, and so says nothing of
    whether a document can live.

    Args:
        documents: one shard.
        stage: an instance of the stage's class, in this process.
        arguments: what another instance is built with.
        timeout: seconds; None for no limit.

    Raises:
        StrideformerError: the child does not start; or one document after the other kills it, and others do too, so
            the fault is not theirs.
    """
    child: Child | None = None
    results = []
    deaths, survivor = 0, None
    died: list[str] = []
    documents = self_contained(documents)
    fit = documents.column("quarantine_reason").is_null().to_numpy()

    def alone(index: int) -> pa.Table:
        nonlocal child
        child = child or start_child(type(stage), arguments)
        try:
            return child.run(documents.slice(index, 1), timeout)
        except ChildDiedError:
            child.close()
            child = None
            raise

    def survives(index: int) -> bool:
        try:
            alone(index)
        except ChildDiedError:
            return False
        return True

    try:
        for index in range(documents.num_rows):
            if not fit[index]:
                results.append(stage(emptied(documents.slice(index, 1))))
                continue
            try:
                results.append(alone(index))
                deaths, survivor = 0, index
            except ChildDiedError as error:
                deaths += 1
                died.append(error.reason)
                if deaths >= MOST_DEATHS_IN_A_ROW:
                    if not any(survives(witness) for witness in _witnesses(survivor, np.flatnonzero(fit), index)):
                        raise StrideformerError(
                            f"{deaths} documents in a row ended the process of {type(stage).__name__} ({error}), and so"
                            f" did others, so the fault is not theirs: look at the memory, the device and the model"
                        ) from error
                    deaths = 0
                poison = quarantine(documents.slice(index, 1), {0: (error.reason, str(error))})
                results.append(stage(emptied(poison)))
    finally:
        if child is not None:
            child.close()
    if survivor is None and len(died) > 1 and set(died) == {"crashed"}:
        raise StrideformerError(
            f"each of the {len(died)} documents of a shard ended the process of {type(stage).__name__} by itself, so "
            f"the fault is hardly theirs: look at the memory, the device and the model, or leave these documents out"
        )
    together = pa.concat_tables(results).combine_chunks()
    if "_first_alike" in together.column_names:
        # Each was the first of a table of its own.
        return with_columns(together, {"_first_alike": pa.array(np.arange(together.num_rows))})
    return together


def _witnesses(survivor: int | None, fit: np.ndarray, index: int) -> list[int]:
    """Documents to ask whether one can live at all: one that has, or else some from the rest of the shard.

    Args:
        survivor: the last that has.
        fit: (num_fit,) the documents that are not quarantined already, in order.
        index: the last that was tried.
    """
    if survivor is not None:
        return [survivor]
    rest = fit[fit > index]
    if not len(rest):
        return []
    return sorted({int(rest[int(place)]) for place in np.linspace(0, len(rest) - 1, MOST_DEATHS_IN_A_ROW)})


def self_contained(documents: pa.Table) -> pa.Table:
    """The documents, each with vectors of its own also where it is like one before it."""
    if "_first_alike" not in documents.column_names:
        return documents
    vectors = documents.column("_chunk_vectors").take(documents.column("_first_alike"))
    first = pa.array(np.zeros(documents.num_rows, np.int64))  # of a table of one
    return with_columns(documents, {"_chunk_vectors": vectors, "_first_alike": first})


def emptied(documents: pa.Table) -> pa.Table:
    """The documents without their texts, tokens, chunks and vectors."""
    columns: dict[str, pa.Array] = {}
    for field in documents.schema:
        if field.name in ("_text", "_text_pair"):
            columns[field.name] = pa.nulls(documents.num_rows, field.type)
        elif pa.types.is_large_list(field.type) and field.name.startswith("_"):
            offsets = pa.array(np.zeros(documents.num_rows + 1, np.int64))
            columns[field.name] = pa.LargeListArray.from_arrays(offsets, pa.array([], field.type.value_type))
    return with_columns(documents, columns)


def _on_this_machine(argument: Any) -> Any:
    """A model's files are on disk by now, and the child has no Ray to fetch them with."""
    if isinstance(argument, ModelSource):
        argument.fetch()
        return replace(argument, files={})
    return argument
