from pathlib import Path

from jobs.corpus.columns import InputColumns
from jobs.corpus.listing import list_inputs
from jobs.corpus.plan import check_columns, make_plan
from jobs.corpus.source import Read
from tests.jobs.corpus.corpora import write_rows


def test_a_column_that_the_output_has_too_is_kept_under_another_name(tmp_path: Path) -> None:
    write_rows(tmp_path, "a", "jsonl", [{"text": "one", "source": "web", "doc_id": "x", "row": 7}] * 2)
    columns = InputColumns(keep=("source", "doc_id", "row"))
    files = list_inputs([str(tmp_path)], {})
    schema = check_columns(files, columns, {})
    kept = {"source": "input_source", "doc_id": "input_id", "row": "input_row"}
    plan = make_plan(files, columns, {})
    for documents in (
        (read := Read(columns, kept, schema, {}))(plan),
        read.quarantined(plan, "timed_out", "too long"),
    ):
        fit = documents.column("quarantine_reason").null_count == 2
        assert documents.column("source").to_pylist() == [f"{tmp_path}/a.jsonl"] * 2
        assert documents.column("doc_id").to_pylist() == [f"{tmp_path}/a.jsonl#{row}" for row in (0, 1)]
        assert documents.column("row").to_pylist() == [0, 1]
        assert documents.column("input_source").to_pylist() == ["web" if fit else None] * 2
        assert documents.column("input_id").to_pylist() == ["x" if fit else None] * 2
        assert documents.column("input_row").to_pylist() == [7 if fit else None] * 2
