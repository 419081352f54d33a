"""``make demo``: the classify job on embedded real documents with the embedded model, then what it wrote."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds

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
    print(f"\nFirst {ROWS_SHOWN} of {rows.num_rows} labelled rows (of {len(rows.column_names)} columns):\n")
    print(f"{'doc_id':8} {'label':38} {'score':>5} {'tokens':>7} {'chunks':>6}  working_group")
    for row in rows.slice(0, ROWS_SHOWN).to_pylist():
        print(
            f"{row['doc_id']:8} {row['label']:38} {row['score']:5.3f} {row['num_tokens']:7,} {row['num_chunks']:6}  "
            f"{'the same' if row['label'] == row['working_group'] else row['working_group']}"
        )
    right = pc.sum(pc.equal(rows.column("label"), rows.column("working_group"))).as_py()
    print(
        f"\n{right} of {rows.num_rows} labels are the RFC's working group; the model was trained on other RFCs.\n"
        f"Look at it yourself: {output}/part-*.parquet, or make a page of it: strideformer report {output}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
