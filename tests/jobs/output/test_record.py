from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from jobs.output.record import OutputFolder, check_same_job, check_usable
from strideformer.errors import StrideformerError
from tests.jobs.output.test_commit import block, commit


def folder(path: Path) -> OutputFolder:
    return OutputFolder(str(path), {})


def test_what_a_refused_call_leaves_does_not_stand_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "_strideformer" / "tmp").mkdir(parents=True)
    check_usable(folder(tmp_path), resume=False, overwrite=False)
    (tmp_path / "_strideformer" / "plan.parquet").write_bytes(b"x")
    with pytest.raises(StrideformerError, match="use --resume to go on with it or --overwrite"):
        check_usable(folder(tmp_path), resume=False, overwrite=False)
    check_usable(folder(tmp_path), resume=True, overwrite=False)
    check_usable(folder(tmp_path), resume=False, overwrite=True)


def test_receipts_count_only_whole_parts_of_this_job(tmp_path: Path) -> None:
    for shard in (1, 2, 3, 4):
        commit(tmp_path)(block([None, "x"], shard=shard))
    (tmp_path / "part-00000002.parquet").write_bytes(b"PAR1 half a file")
    found = {receipt.shard for receipt in folder(tmp_path).receipts("job", {1, 2, 3, 4, 5})}
    assert found == {1, 3, 4}
    whole = (tmp_path / "part-00000003.parquet").read_bytes()
    (tmp_path / "part-00000003.parquet").write_bytes(whole[:-60] + b"\xff" * 40 + whole[-20:])  # a damaged footer
    found = {receipt.shard for receipt in folder(tmp_path).receipts("job", {1, 2, 3, 4, 5})}
    assert found == {1, 4}
    assert not list(folder(tmp_path).receipts("another job", {1, 2, 3, 4}))


def test_parts_that_are_not_of_the_job_stop_it(tmp_path: Path) -> None:
    for shard in (1, 9):
        commit(tmp_path)(block([None, "x"], shard=shard))
    with pytest.raises(StrideformerError, match=r"holds part-00000009.parquet, which is not of this job \(of"):
        list(folder(tmp_path).receipts("job", {1, 2}))


def test_clear_deletes_what_is_ours_and_nothing_else(tmp_path: Path) -> None:
    commit(tmp_path)(block([None, "x"], shard=1))
    folder(tmp_path).write("_SUCCESS", b"{}")
    folder(tmp_path).write_plan(pa.table({"shard": [1]}))
    (tmp_path / "mine.parquet").write_bytes(b"mine")
    folder(tmp_path).clear()
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["mine.parquet"]


@pytest.mark.parametrize("name", ["part-00000000.parquet", "_SUCCESS", "_quarantine"])
def test_what_no_job_of_ours_wrote_is_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    check_usable(folder(tmp_path), resume=False, overwrite=True)  # which leaves it alone
    (tmp_path / name).write_text("of another program")
    with pytest.raises(StrideformerError, match=f"holds '{name}', which --overwrite would delete, but no job"):
        check_usable(folder(tmp_path), resume=False, overwrite=True)


def test_clear_that_is_cut_off_leaves_parts_only_with_what_tells_their_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shard in (1, 2, 3):
        commit(tmp_path)(block([None, "x"], shard=shard))
    folder(tmp_path).write_plan(pa.table({"shard": [1]}))
    for name in ("_SUCCESS", "_strideformer/job.json"):
        folder(tmp_path).write(name, b"{}")
    remove = OutputFolder.remove

    def cut_off(output: OutputFolder, name: str) -> None:
        if name == "part-00000002.parquet":
            raise KeyboardInterrupt
        remove(output, name)

    monkeypatch.setattr(OutputFolder, "remove", cut_off)
    with pytest.raises(KeyboardInterrupt):
        folder(tmp_path).clear()
    left = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert left >= {"part-00000002.parquet", "_strideformer/job.json", "_strideformer/plan.parquet"}
    assert "_SUCCESS" not in left


def test_parts_of_a_job_that_is_not_known_are_not_resumed(tmp_path: Path) -> None:
    commit(tmp_path)(block([None, "x"], shard=1))
    folder(tmp_path).write_plan(pa.table({"shard": [1]}))
    with pytest.raises(StrideformerError, match=r"not which job they are of: start again with --overwrite"):
        check_usable(folder(tmp_path), resume=True, overwrite=False)
    folder(tmp_path).write("_strideformer/job.json", b"{}")
    check_usable(folder(tmp_path), resume=True, overwrite=False)


def test_finish_sweeps_what_no_receipt_counts(tmp_path: Path) -> None:
    commit(tmp_path)(block([None, "x"], shard=1))
    commit(tmp_path)(block(["x", "x"], shard=2))
    folder(tmp_path).finish({"documents": 4}, {2})
    assert [file.name for file in (tmp_path / "_quarantine").iterdir()] == ["part-00000002.parquet"]
    assert not (tmp_path / "_strideformer" / "tmp").exists()
    assert folder(tmp_path).read_json("_SUCCESS") == {"documents": 4}


def test_what_differs_is_named(tmp_path: Path) -> None:
    check_same_job(folder(tmp_path), {"stride": 3, "model": "a"}, {"stride": 3, "model": "a"})
    check_same_job(folder(tmp_path), {"stride": 3}, {"stride": 3, "early_exit": None})  # younger than the job
    with pytest.raises(StrideformerError, match=r'text column was "a" and is now "b"'):
        check_same_job(folder(tmp_path), {"text_column": "a"}, {"text_column": "b"})
    with pytest.raises(StrideformerError, match=r"chunk layers was \[0, -1\] and is now null"):
        check_same_job(folder(tmp_path), {"chunk_layers": [0, -1]}, {})


@pytest.mark.parametrize("content", ["{", "[]", "null"])
def test_a_record_that_is_no_json_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "_strideformer").mkdir()
    (tmp_path / "_strideformer" / "job.json").write_text(content)
    with pytest.raises(StrideformerError, match=r"job.json is not JSON .*--overwrite"):
        folder(tmp_path).read_json("_strideformer/job.json")


@pytest.mark.parametrize("length", [0, 5, 200, -60])
def test_a_damaged_plan_is_told(tmp_path: Path, length: int) -> None:
    folder(tmp_path).write_plan(pa.table({"shard": [1], "num_rows": [2]}))
    plan = tmp_path / "_strideformer" / "plan.parquet"
    plan.write_bytes(plan.read_bytes()[:length])
    with pytest.raises(StrideformerError, match=r"plan.parquet is damaged: start again with --overwrite"):
        folder(tmp_path).read_plan()
