"""Where a job's time went: the stages' seconds of all its shards, and how busy the models were."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from jobs.output.console import plain_console
from jobs.output.receipt import Receipt

# What is shown of each stage, in the order in which a shard passes them.
STAGES = {
    "read": "read",
    "tokenize_and_chunk": "tokenise and chunk",
    "wait_for_input": "models wait for input",
    "prepare": "prepare: find duplicates, sort",
    "copy": "copy to and from the device",
    "forward": "forward",
    "aggregate": "aggregate",
    "write_and_commit": "write and commit",
}


def profile(total: Receipt) -> dict[str, Any]:
    """The profile of a job, as ``_SUCCESS`` holds it under ``profile``.

    Returns:
        ``seconds`` by stage, summed over shards, so that stages which ran at the same time add up to more than the
        job took; ``device_share``: of the time from the models' first shards to their last, how much the device
        computed (first and second model), None where nothing was computed; ``tokenizer``: how many pieces of text
        were tokenised, how many of them by the faster tokenizer, and why that was off, with the number of shards.
        Shards of an earlier run that was resumed count, but for their writing.
    """
    taken = total.seconds
    encode, copy, forward = (taken.get(name, 0.0) for name in ("encode", "copy", "forward"))
    wait, aggregate = taken.get("wait", 0.0), taken.get("aggregate", 0.0)
    seconds = {
        "read": taken.get("read", 0.0),
        "tokenize_and_chunk": taken.get("chunk", 0.0),
        "wait_for_input": wait,
        "prepare": max(encode - copy - forward, 0.0),
        "copy": copy,
        "forward": forward,
        "aggregate": aggregate,
        "write_and_commit": taken.get("write", 0.0),
    }
    busy = wait + encode + aggregate
    share = round((forward + taken.get("aggregate_forward", 0.0)) / busy, 4) if busy else None
    tokenizer = {"segments": total.segments, "fast": total.segments_fast, "fast_off": total.fast_off}
    return {
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "device_share": share,
        "tokenizer": tokenizer,
    }


def print_profile(total: Receipt) -> None:
    """The profile as a table for a person."""
    found = profile(total)
    whole = sum(found["seconds"].values()) or 1.0
    table = Table("stage", "seconds", "share", title="Time, summed over shards", title_justify="left")
    for name, seconds in found["seconds"].items():
        table.add_row(STAGES[name], f"{seconds:,.2f}", f"{100 * seconds / whole:.1f} %")
    console = plain_console()
    console.print(table)
    if found["device_share"] is not None:
        console.print(f"The device computed for {100 * found['device_share']:.1f} % of the models' time.")


def tokenizer_in_words(total: Receipt) -> str:
    """Which tokenizer was in use, as one line."""
    if not total.segments_fast:
        why = ", ".join(total.fast_off) or "too little text for the faster one"
        return f"the reference ({why})"
    share = f"the faster one for {100 * total.segments_fast / total.segments:.1f} %"
    off = "; ".join(f"off in {shards:,} shards: {reason}" for reason, shards in total.fast_off.items())
    return f"{share} ({off})" if off else share
