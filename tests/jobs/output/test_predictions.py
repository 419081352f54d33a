from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from jobs.output.predictions import read_predictions
from tests.jobs.test_evaluate import single


@pytest.mark.parametrize(("encoded", "known"), [([4, 9, 4], True), ([4, 8, 4], False), (None, True)])
def test_tokens_read_are_a_length_only_where_all_are_read(
    tmp_path: Path, encoded: list[int] | None, known: bool
) -> None:
    chunks = {"num_chunks": pa.array([4, 9, 4], pa.int32()), "chunks_encoded": pa.array(encoded or [], pa.int32())}
    folder = single(tmp_path / "out", [0, 1, 2], kept=None if encoded is None else chunks)
    found = read_predictions(str(folder), {})
    assert (found.num_tokens is not None) == known
    assert found.doc_ids.to_pylist() == ["d0", "d1", "d2"]
