"""Tables and words through a pipe: one byte of kind, eight of length, then an Arrow stream or text."""

from __future__ import annotations

from typing import BinaryIO

import pyarrow as pa

TABLE, FAILED, READY = b"t", b"f", b"r"


def write_frame(pipe: BinaryIO, kind: bytes, payload: bytes | pa.Buffer = b"") -> None:
    pipe.write(kind + len(payload).to_bytes(8, "little"))
    pipe.write(payload)
    pipe.flush()


def read_frame(pipe: BinaryIO) -> tuple[bytes, bytes]:
    """The next frame.

    Raises:
        EOFError: the other side is gone.
    """
    head = _exactly(pipe, 9)
    return head[:1], _exactly(pipe, int.from_bytes(head[1:], "little"))


def to_stream(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def from_stream(stream: bytes) -> pa.Table:
    with pa.ipc.open_stream(stream) as reader:
        return reader.read_all()


def _exactly(pipe: BinaryIO, size: int) -> bytes:
    found = pipe.read(size)
    if len(found) < size:
        raise EOFError
    return found
