"""``make demo``: the classify job on embedded real documents with the embedded model, then what it wrote."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds
from rich.console import Console
from rich.table import Table

from jobs import classify

DATA = Path(__file__).parent / "data"
SAMPLE = DATA / "rfc-sample" / "rfcs.parquet"
MODEL = DATA / "rfc-model"
ROWS_SHOWN = 10


def main(output: str) -> int:
    arguments = [
        str(SAMPLE),
        output,
        *("--model", str(MODEL)),
        *("--id-column", "doc_id"),
        *("--keep-columns", "label:working_group"),
        "--overwrite",
    ]
    print("strideformer classify " + " ".join(arguments), flush=True)
    code = classify.main(arguments)
    if code:
        return code
    rows = ds.dataset(output, format="parquet").to_table().sort_by("doc_id")
    console = Console()
    table = Table(title=f"First {ROWS_SHOWN} of {rows.num_rows} labelled rows", title_justify="left")
    names = ["doc_id", "label", "score", "num_tokens", "num_chunks", "truncated", "working_group"]
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows.slice(0, ROWS_SHOWN).select(names).to_pylist():
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    console.print(table)
    right = pc.sum(pc.equal(rows.column("label"), rows.column("working_group"))).as_py()
    console.print(
        f"{right} of {rows.num_rows} labels are the RFC's working group; the model was trained on other RFCs."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
