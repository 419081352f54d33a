"""What must hold for any bytes as input: no crash, no hang, and every planned row comes out once, fit or unfit."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from hypothesis import strategies as st

from jobs.corpus import formats, packing, records
from jobs.corpus.columns import InputColumns
from jobs.corpus.halves import halves
from jobs.corpus.listing import list_inputs
from jobs.corpus.pieces import Piece, from_rows, to_table
from jobs.corpus.plan import check_columns, make_plan
from jobs.corpus.read import read_shard
from jobs.corpus.refusal import FileRefusedError
from strideformer import Chunker
from tests.jobs.corpus.corpora import CODECS, DELIMITERS, delimited, jsonl
from tests.tiny import WORDS, tiny_tokenizer

EXTENSIONS = ["parquet"] + [kind + codec for kind in ("jsonl", "csv", "tsv", "txt") for codec in CODECS]
COLUMNS = InputColumns(id="key", keep=("n",))
VALUES = st.none() | st.text(max_size=12) | st.integers() | st.lists(st.integers(), max_size=2) | st.floats()
ROWS = st.lists(st.fixed_dictionaries({"text": VALUES, "key": VALUES, "n": VALUES}), min_size=1, max_size=12)
TEXT_ROWS = st.lists(st.fixed_dictionaries(dict.fromkeys(("text", "key", "n"), st.text(max_size=12))), min_size=1)
# bytes that mean something to a parser come more often than others
BYTES = st.binary(max_size=60) | st.text(alphabet='{}[]",:\n\r\t\\ue\x00 text"n1', max_size=60).map(str.encode)


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """Valid bytes cut short, with bits turned over, a run overwritten or taken out, or as they are."""
    content = bytearray(data)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        kind = draw(st.sampled_from(["cut", "flip", "write", "delete", "double"]))
        if kind == "cut":
            del content[place:]
        elif kind == "flip" and content:
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "write":
            content[place : place + draw(st.integers(0, 8))] = draw(BYTES)
        elif kind == "delete":
            del content[place : place + draw(st.integers(1, 20))]
        else:
            content[place:place] = content[place : place + draw(st.integers(1, 40))]
    return bytes(content)


def _compressed(data: bytes, codec: str | None) -> bytes:
    if codec is None:
        return data
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def _parquet(rows: list[dict[str, object]], group: int, codec: str, checksum: bool) -> bytes:
    columns = {}
    for name in ("text", "key", "n"):
        values = [row[name] for row in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, OverflowError):
            columns[name] = pa.array([str(value).encode("utf-8", "surrogatepass") for value in values])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, row_group_size=group, compression=codec, write_page_checksum=checksum)
    return sink.getvalue().to_pybytes()


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes]:
    """An extension, and bytes that are, were, or never have been a file of that format."""
    extension = draw(st.sampled_from(EXTENSIONS))
    kind, _, codec = extension.partition(".")
    compression = CODECS["." + codec] if codec else None
    source = draw(st.sampled_from(["valid", "valid", "raw", "raw inside"]))
    if source == "raw" or kind == "txt":
        data = draw(BYTES)
        return extension, draw(mutated(_compressed(data, compression))) if source == "raw inside" else data
    if source == "raw inside":
        return extension, _compressed(draw(BYTES), compression)
    if kind == "parquet":
        codec = draw(st.sampled_from(["none", "snappy", "zstd"]))
        whole = _parquet(draw(ROWS), draw(st.integers(1, 12)), codec, draw(st.booleans()))
        return extension, draw(mutated(whole))
    if kind == "jsonl":
        whole = jsonl(draw(ROWS), ensure_ascii=True)
    else:
        rows = draw(TEXT_ROWS)
        ends = draw(st.sampled_from(["\n", "\r\n"]))
        whole = delimited(rows, DELIMITERS[kind], ends)
    if draw(st.booleans()):
        return extension, _compressed(draw(mutated(whole)), compression)
    return extension, draw(mutated(_compressed(whole, compression)))


READER_CASES = st.fixed_dictionaries(
    {
        "file": files(),
        "after": st.none() | st.randoms(use_true_random=False),
        "shard_rows": st.integers(1, 9),
        "block": st.sampled_from([7, 100, 1 << 20]),
        "largest": st.sampled_from([40, 300, 1 << 20]),
    }
)


def readers_account_for_every_row(case: dict[str, object]) -> None:
    """Any file, and any change of it after the plan under the same size and time: each planned row once."""
    extension, content = case["file"]  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder, _sizes(case["block"], case["largest"]):  # type: ignore[arg-type]
        path = Path(folder) / f"a.{extension}"
        path.write_bytes(content)
        (Path(folder) / "b.jsonl").write_bytes(b'{"text": "good", "key": "k", "n": "1"}\n')
        listed = list_inputs([folder], {})
        columns = InputColumns() if "txt" in extension else COLUMNS
        kept = check_columns(listed, columns, {})
        plan = make_plan(listed, columns, {}, shard_rows=case["shard_rows"])  # type: ignore[arg-type]
        if (after := case["after"]) is not None and content:
            changed, before = bytearray(content), path.stat()
            changed[after.randrange(len(changed))] ^= 1 << after.randrange(8)  # type: ignore[attr-defined]
            path.write_bytes(bytes(changed))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        rows = 0
        for shard in plan["shard"].unique().to_pylist():
            pieces = plan.filter(pc.equal(plan["shard"], shard))
            table = read_shard(pieces, columns, kept, {})
            table.validate(full=True)
            assert table.num_rows == pc.sum(pieces["num_rows"]).as_py()
            assert pc.all(pc.xor(table["_text"].is_valid(), table["quarantine_reason"].is_valid())).as_py()
            assert table["quarantine_detail"].is_valid().equals(table["quarantine_reason"].is_valid())
            same = ("source", "row", "_text", "quarantine_reason") if after is None else ("source", "row")
            if "parquet" in extension:  # of a corrupt row group more can be read by halves than whole
                same = ("source", "row")
            cut = read_shard(_in_halves(pieces), columns, kept, {})
            assert cut.select(same).equals(table.select(same))
            rows += table.num_rows
        assert rows == sum(plan["num_rows"].to_pylist())
        assert (table["source"][-1].as_py(), table["row"][-1].as_py()) == (f"{folder}/b.jsonl", 0)


def _in_halves(pieces: pa.Table) -> pa.Table:
    """The same rows, each piece cut in two where it can be."""
    cut: list[Piece] = []
    for piece in from_rows(pieces.to_pylist()):
        parts = None
        if piece.reason is None:
            with suppress(FileRefusedError):
                parts = halves(piece, {})
        cut += parts or [piece]
    return to_table(cut)


def _sizes(block: int, largest: int) -> ExitStack:
    stack = ExitStack()
    for module in (records, formats):
        stack.enter_context(patch.object(module, "BLOCK_BYTES", block))
    for module in (records, formats, packing):
        stack.enter_context(patch.object(module, "LARGEST_RECORD", largest))
    stack.enter_context(patch.object(formats, "_SAMPLE_BYTES", block))
    return stack


CHUNKER_CASES = st.fixed_dictionaries(
    {
        "texts": st.lists(
            st.text(max_size=200) | st.lists(st.sampled_from(WORDS), max_size=80).map(" ".join), max_size=5
        ),
        "max_length": st.integers(3, 40),
        "stride": st.integers(0, 36),
        "max_chunks": st.integers(1, 9),
        "segment": st.sampled_from([1, 20, 20_000]),
    }
)


def chunks_cover_every_token(case: dict[str, object]) -> None:
    """Any texts under any chunking: the chunks are of the promised number and lengths, and cover the tokens."""
    max_length, max_chunks = case["max_length"], case["max_chunks"]
    content = max_length - 2  # type: ignore[operator]
    stride = min(case["stride"], content - 1)  # type: ignore[call-overload, type-var]
    chunker = Chunker(_tokenizer(), max_length, stride, max_chunks)  # type: ignore[arg-type]
    chunker._tokenizer.segment_characters = case["segment"]
    views = chunker.views(case["texts"])  # type: ignore[arg-type]
    assert views.num_documents == len(case["texts"])  # type: ignore[arg-type]
    for document in range(views.num_documents):
        first, last = views.chunk_offsets[document : document + 2]
        tokens = int(views.num_tokens[document])
        assert last - first == min(max(1, 1 + -(-(tokens - content) // (content - stride))), max_chunks)
        covered = np.zeros(tokens, bool)
        for start, length in zip(views.chunk_starts[first:last], views.chunk_lengths[first:last], strict=True):
            assert 0 <= length <= content
            covered[start : start + length] = True
        assert covered.all()


@cache
def _tokenizer() -> object:
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        tiny_tokenizer(Path(folder))
        return AutoTokenizer.from_pretrained(folder)


PROPERTIES: list[tuple[st.SearchStrategy[dict[str, object]], Callable[[dict[str, object]], None]]] = [
    (READER_CASES, readers_account_for_every_row),
    (CHUNKER_CASES, chunks_cover_every_token),
]
