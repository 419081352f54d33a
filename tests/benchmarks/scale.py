"""``python -m tests.benchmarks.scale``: the pipeline around a stand-in encoder of settable cost, at growing sizes.

Four tables. *Size*: documents/s and tokens/s through read, tokenise, stand-in, commit; the driver's memory, the object
store and what was spilled; seconds to plan, to resume a job that is 99 % done and one that is finished. *Encoders*: 1
to 8 actors that sleep instead of computing. *Skew*: one document in a thousand of the greatest length. *Shards*: as
many as the driver can schedule, of a few documents each. What is measured of a run, and how, is in
`tests.benchmarks.scale_run`. A run that is not measured comes first: a driver that has never seen the model loads it
once with all of torch, a quarter of a gigabyte and seconds that no later one spends.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SAMPLE = Path(__file__).parents[1] / "data" / "rfc-sample" / "rfcs.parquet"
ROWS_A_FILE = 100_000
# A shard of this many short documents keeps a sleeping encoder for about half a second, which is what 32 MiB of text,
# a full shard, keep a GPU for.
SHORT_CHARACTERS, SHARD_ROWS, SECONDS_A_SHARD = 400, 200, 0.5
TOKENS_A_SHORT_DOCUMENT = 95
SECONDS_PER_TOKEN = SECONDS_A_SHARD / (SHARD_ROWS * TOKENS_A_SHORT_DOCUMENT)
# What the sleeping encoders take for a shard: in half a second, eight of them would ask for more shards than two cores
# can prepare, and the table would tell about the cores.
SLEEP_A_SHARD = 4.0
SHARDS_AN_ENCODER = 24
ROWS_OF_TINY_SHARD = 10
# More than 128 chunks of 384 tokens, 128 of them shared, can read.
LONGEST_CHARACTERS = 140_000


# Title: name of the figure, digits after the point. Times are in seconds, memory in MiB, where nothing else is said.
COLUMNS_OF_SIZES = {
    "documents": ("documents", 0),
    "shards": ("shards", 0),
    "plan": ("plan_seconds", 1),
    "first label": ("first_label_seconds", 1),
    "whole run": ("seconds", 1),
    "doc/s": ("documents_per_second", 0),
    "after first": ("rate", 0),
    "later half": ("later_rate", 0),
    "µs/doc": ("processor_microseconds", 0),
    "tokens/s": ("tokens_per_second", 0),
    "driver": ("driver_mib", 0),
    "store": ("store_mib", 0),
    "spilled": ("spilled_mib", 0),
    "99 % done": ("resume_99_seconds", 1),
    "finished": ("resume_finished_seconds", 1),
}


def write_corpus(folder: Path, lengths: np.ndarray) -> None:
    """Documents of these many characters, cut from the embedded RFCs, as Parquet with string ids."""
    folder.mkdir(parents=True)
    book = "\n".join(pq.read_table(SAMPLE, columns=["text"]).column("text").to_pylist())
    book = "".join(character if character.isascii() else " " for character in book)
    generator = np.random.default_rng(0)
    for number, start in enumerate(range(0, len(lengths), ROWS_A_FILE)):
        some = lengths[start : start + ROWS_A_FILE]
        begins = generator.integers(0, len(book) - int(some.max()), len(some))
        texts = [book[begin : begin + length] for begin, length in zip(begins.tolist(), some.tolist(), strict=True)]
        ids = [f"document-{index}" for index in range(start, start + len(some))]
        table = pa.table({"doc_id": ids, "text": texts})
        pq.write_table(table, folder / f"{number:04d}.parquet", row_group_size=5_000)


def run(**options: Any) -> dict[str, Any]:
    """`scale_run.one_run` in a process of its own; its last line is the answer."""
    options = {"seconds_per_token": 0.0, "encoders": 2, "cpus": 4, "gpus": 0} | options
    command = [sys.executable, "-m", "tests.benchmarks.scale_run", json.dumps(options)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise RuntimeError(finished.stderr[-3000:])
    answer: dict[str, Any] = json.loads(finished.stdout.strip().splitlines()[-1])
    return answer


def sizes(folder: Path, counts: list[int], milliseconds: float) -> list[dict[str, Any]]:
    """Documents of about 400 characters, two thirds of a page of a letter, so that their number is what costs.

    Where two encoders take no time, the table tells how fast everything around them is, and at 10^4 how fast it
    starts; where they take some milliseconds a document, whether they are kept busy whatever the size. The µs/doc are
    processor time of all processes from the first committed shard to the last, which says more than the clock where
    others use the machine.
    """
    rows = []
    print("".join(f"{title:>12}" for title in COLUMNS_OF_SIZES))
    for count in counts:
        corpus, output = folder / f"corpus-{count}", folder / f"output-{count}"
        write_corpus(corpus, np.random.default_rng(1).integers(200, 600, count))
        row = run(
            corpus=str(corpus), output=str(output), seconds_per_token=milliseconds / 1000 / TOKENS_A_SHORT_DOCUMENT
        )
        (output / "_SUCCESS").unlink()
        parts = sorted(output.glob("part-*.parquet"))
        for part in parts[:: max(1, min(100, len(parts) // 2))]:
            part.unlink()
        row["resume_99_seconds"] = run(corpus=str(corpus), output=str(output), resume=True)["seconds"]
        row["resume_finished_seconds"] = run(corpus=str(corpus), output=str(output), resume=True)["seconds"]
        row["processor_microseconds"] = 1e6 * row["busy_seconds"] / (count - row["documents_of_first"])
        row["tokens_per_second"] = row["tokens"] / row["seconds"]
        row["documents_per_second"] = count / row["seconds"]
        print("".join(f"{row[name]:12,.{digits}f}" for name, digits in COLUMNS_OF_SIZES.values()), flush=True)
        rows.append(row)
        shutil.rmtree(corpus)
        shutil.rmtree(output)
    for smaller, larger in pairwise(rows):
        growth = (larger["driver_mib"] - smaller["driver_mib"]) * 2**20
        growth /= larger["documents"] - smaller["documents"]
        print(f"from {smaller['documents']:,} to {larger['documents']:,}: {growth:.0f} bytes of the driver a document")
    return rows


def warm_up(folder: Path) -> None:
    """A small run, after which the driver knows the model and the machine has its files in memory."""
    write_corpus(folder / "corpus-first", np.full(1_000, SHORT_CHARACTERS))
    run(corpus=str(folder / "corpus-first"), output=str(folder / "output-first"))


def encoders(folder: Path, numbers: list[int], seconds_a_shard: float) -> list[dict[str, Any]]:
    """Actors that sleep for so long over each shard, as many shards for each: how much of their time they sleep.

    They reserve GPUs that Ray was told of and that are not there, so that the cluster is shared out as one with GPUs
    is. The time of an actor is that from its first shard to the end of the job's last.
    """
    rows = []
    print(f"\n{'encoders':>10}{'shards':>8}{'efficiency':>12}{'least busy':>12}")
    for number in numbers:
        corpus, output = folder / f"corpus-encoders-{number}", folder / f"output-encoders-{number}"
        write_corpus(corpus, np.full(number * SHARDS_AN_ENCODER * SHARD_ROWS, SHORT_CHARACTERS))
        row = run(
            corpus=str(corpus),
            output=str(output),
            encoders=number,
            gpus=number,
            shard_rows=SHARD_ROWS,
            seconds_per_token=seconds_a_shard / (SHARD_ROWS * TOKENS_A_SHORT_DOCUMENT),
        )
        row |= {"encoders": number, "efficiency": float(np.mean(row["busy"]))}
        least = min(row["busy"])
        print(f"{number:10}{row['shards']:8}{100 * row['efficiency']:10.1f} %{100 * least:10.1f} %", flush=True)
        rows.append(row)
    return rows


def skew(folder: Path) -> dict[str, Any]:
    """One document in a thousand has the greatest length that is read, 128 chunks; the others have one chunk."""
    corpus, output = folder / "corpus-skew", folder / "output-skew"
    lengths = np.full(48_000, SHORT_CHARACTERS)
    lengths[::1000] = LONGEST_CHARACTERS
    write_corpus(corpus, lengths)
    row = run(corpus=str(corpus), output=str(output), encoders=4, gpus=4, seconds_per_token=SECONDS_PER_TOKEN)
    idle = 1 - min(row["busy"])
    everyone = 1 - float(np.mean(row["busy"]))
    print(
        f"\nskew: {row['chunks']:,} chunks in {row['shards']} shards on 4 encoders, idle for {100 * everyone:.1f} % of "
        f"their time, the idlest for {100 * idle:.1f} %"
    )
    return row | {"idle": idle}


def shards(folder: Path, number: int) -> dict[str, Any]:
    """Shards that hold next to nothing, so that what they cost the driver is what they cost."""
    corpus, output = folder / "corpus-shards", folder / "output-shards"
    write_corpus(corpus, np.full(number * ROWS_OF_TINY_SHARD, SHORT_CHARACTERS))
    row = run(corpus=str(corpus), output=str(output), shard_rows=ROWS_OF_TINY_SHARD, gpus=2)
    row["shards_per_second"] = row["rate"] / ROWS_OF_TINY_SHARD
    row["bytes_per_shard"] = (row["mib_at_last"] - row["mib_at_first"]) * 2**20 / row["shards"]
    row["resume_finished_seconds"] = run(corpus=str(corpus), output=str(output), resume=True)["seconds"]
    row["driver_ms_per_shard"] = 1000 * row["driver_busy_seconds"] / row["shards"]
    print(
        f"\nshards: {row['shards']:,} of {ROWS_OF_TINY_SHARD} documents, {row['shards_per_second']:.1f} a second; each "
        f"takes {row['driver_ms_per_shard']:.1f} ms of the driver's processor and {row['bytes_per_shard']:,.0f} bytes "
        f"of its memory; a resume of all of them, finished, takes {row['resume_finished_seconds']:.1f} s"
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument(
        "--document-milliseconds", type=float, default=0.0, help="what an encoder of the first table takes a document"
    )
    parser.add_argument("--encoders", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument(
        "--shard-seconds",
        type=float,
        default=SLEEP_A_SHARD,
        help="what the second table's encoders sleep over a shard",
    )
    parser.add_argument("--no-skew", action="store_true", help="leave out the third table")
    parser.add_argument("--shards", type=int, default=2_000, help="shards of the fourth table; 0 leaves it out")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with tempfile.TemporaryDirectory(prefix="scale-") as temporary:
        folder = Path(temporary)
        os.environ["HOME"] = temporary
        warm_up(folder)
        found = {
            "sizes": sizes(folder, arguments.documents, arguments.document_milliseconds),
            "encoders": encoders(folder, arguments.encoders, arguments.shard_seconds) if arguments.encoders else [],
            "skew": {} if arguments.no_skew else skew(folder),
            "shards": shards(folder, arguments.shards) if arguments.shards else {},
        }
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
