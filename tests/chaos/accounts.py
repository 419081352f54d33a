"""Whether every document of the input is in the output exactly once, and nothing else is."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from tests.chaos.stores import Store

PART = re.compile(r"(_quarantine/)?part-\d{8}\.parquet")
RECORDS = {"_SUCCESS", "_strideformer/plan.parquet", "_strideformer/job.json"}
FOLDERS = {"_quarantine/", "_strideformer/"}


@dataclass
class Account:
    """What is wrong with an output.

    Attributes:
        lost, doubled: documents.
        faults: sentences about all else.
    """

    lost: int = 0
    doubled: int = 0
    faults: list[str] = field(default_factory=list)


def look_midway(store: Store, name: str, ids: set[str]) -> Account:
    """After a driver ended early: every file under a published name is whole, and _SUCCESS is not there untruly."""
    account, found = _read_parts(store, name)
    if "_SUCCESS" in store.files(name) and set(found) != ids:
        account.faults.append(f"_SUCCESS with {len(found)} of {len(ids)} documents")
    account.doubled = sum(number - 1 for number in found.values())
    return account


def look_at_end(store: Store, name: str, ids: set[str]) -> Account:
    """After the job finished: all of the above, every id once, and nothing left over."""
    account, found = _read_parts(store, name)
    account.lost = len(ids - set(found))
    account.doubled = sum(number - 1 for number in found.values())
    account.faults += [f"a document that nobody asked for: {each}" for each in set(found) - ids]
    files = store.files(name)
    for path in files:
        if not PART.fullmatch(path) and path not in RECORDS | FOLDERS:
            account.faults.append(f"left over: {path}")
    if "_SUCCESS" not in files:
        account.faults.append("no _SUCCESS")
    else:
        totals = json.loads(store.read(name, "_SUCCESS"))
        if (totals["documents"], totals["labelled"] + totals["quarantined"]) != (len(ids), len(ids)):
            account.faults.append(f"_SUCCESS says {totals}")
    return account


def _read_parts(store: Store, name: str) -> tuple[Account, Counter[str]]:
    account = Account()
    found: Counter[str] = Counter()
    files = store.files(name)
    for path in sorted(files):
        if not PART.fullmatch(path):
            continue
        # An uncounted quarantine part of an attempt that died is no row of the output: the labelled part commits.
        if path.startswith("_quarantine/") and path.removeprefix("_quarantine/") not in files:
            continue
        try:
            content = pa.BufferReader(store.read(name, path))
            table = pq.ParquetFile(content, pre_buffer=False).read(["doc_id"], use_threads=False)
        except Exception as error:  # whatever it is, the file is not whole
            account.faults.append(f"cannot be read: {path}: {error}")
            continue
        found.update(table.column("doc_id").to_pylist())
    return account, found
