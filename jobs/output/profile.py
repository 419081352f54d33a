"""Where a job's time went: the stages' seconds of all its shards, and how busy the encoders were."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from jobs.output.receipt import Receipt

# What is shown of each stage, in the order in which a shard passes them.
STAGES = {
    "read": "read",
    "tokenize_and_chunk": "tokenise and chunk",
    "wait_for_input": "encoders wait for input",
    "copy_and_assemble": "copy and assemble",
    "forward": "forward",
    "aggregate": "aggregate",
    "write_and_commit": "write and commit",
}


def profile(total: Receipt) -> dict[str, Any]:
    """The profile of a job, as ``_SUCCESS`` holds it under ``profile``.

    Returns:
        ``seconds`` by stage, summed over shards, so that stages which ran at the same time add up to more than the
        job took; ``device_share``: of the time from the encoders' first shards to their last, how much the device
        computed (first and second model), None where nothing was encoded. Shards of an earlier run that was resumed
        count, but for their writing.
    """
    taken = total.seconds
    encode, forward = taken.get("encode", 0.0), taken.get("forward", 0.0)
    wait, aggregate = taken.get("wait", 0.0), taken.get("aggregate", 0.0)
    seconds = {
        "read": taken.get("read", 0.0),
        "tokenize_and_chunk": taken.get("chunk", 0.0),
        "wait_for_input": wait,
        "copy_and_assemble": max(encode - forward, 0.0),
        "forward": forward,
        "aggregate": aggregate,
        "write_and_commit": taken.get("write", 0.0),
    }
    busy = wait + encode + aggregate
    share = round((forward + aggregate) / busy, 4) if busy else None
    return {"seconds": {name: round(value, 3) for name, value in seconds.items()}, "device_share": share}


def print_profile(total: Receipt) -> None:
    """The profile as a table for a person."""
    found = profile(total)
    whole = sum(found["seconds"].values()) or 1.0
    table = Table("stage", "seconds", "share", title="Time, summed over shards", title_justify="left")
    for name, seconds in found["seconds"].items():
        table.add_row(STAGES[name], f"{seconds:,.2f}", f"{100 * seconds / whole:.1f} %")
    console = Console()
    console.print(table)
    if found["device_share"] is not None:
        console.print(f"The device computed for {100 * found['device_share']:.1f} % of the encoders' time.")
