"""What ran, and how far it came: the totals at the top, and the facts of the job below."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jobs.corpus.redaction import without_secrets
from jobs.corpus.storage import refuse_secrets
from jobs.output.profile import STAGES, profile
from jobs.output.progress import count, duration
from jobs.output.receipt import Receipt
from jobs.reporting.charts import bar
from jobs.reporting.job import ReportedJob
from jobs.reporting.markup import NOTHING, Html, foreign, number, share, table, tag, together
from jobs.settings import ClassifySettings, EmbedSettings
from strideformer.errors import StrideformerError

# Told elsewhere on the page, or of no consequence afterwards.
TOLD = {
    *("inputs", "output", "embeddings", "model", "max_length", "stride", "max_chunks", "early_exit"),
    *("text_column", "pair_column", "id_column", "keep_columns", "resume", "overwrite", "progress", "profile"),
}
INPUTS_SHOWN = 5


def tiles(job: ReportedJob, total: Receipt) -> Html:
    """The totals."""
    planned = job.documents
    shown = [
        ("documents", number(planned), None if job.finished else f"{number(total.documents)} of them done"),
        (job.done, number(total.labelled), share(total.labelled, total.documents)),
        ("quarantined", number(total.quarantined), share(total.quarantined, total.documents)),
        ("tokens", count(total.tokens), None),
        ("chunks", count(total.chunks), _encoded(total)),
        ("truncated", number(total.truncated), share(total.truncated, total.labelled)),
    ]
    return tag(
        "dl",
        *(
            tag(
                "div",
                tag("dt", name),
                tag("dd", value),
                None if more in (None, NOTHING) else tag("dd", more, class_="more"),
            )
            for name, value, more in shown
        ),
        class_="tiles",
    )


def what_ran(job: ReportedJob, total: Receipt) -> Html:
    """The facts of the job, and where its time went."""
    facts = [together(tag("dt", name), tag("dd", value)) for name, value in _facts(job, total)]
    return together(tag("dl", *facts, class_="facts"), _time_by_stage(total))


def facts_of_time(job: ReportedJob, total: Receipt) -> list[tuple[str, str]]:
    """When it ran, for how long and how fast, as far as that can be told."""
    facts = []
    if job.started is not None:
        facts.append(("started", _moment(job.started)))
    if job.ended is not None:
        facts.append(("finished" if job.finished else "last part written", _moment(job.ended)))
    if job.seconds:
        rates = f"{total.documents / job.seconds:,.1f} documents/s, {count(total.tokens / job.seconds)} tokens/s"
        facts.append(("took", f"{duration(job.seconds)}, {rates}"))
    elif job.finished and isinstance(last := job.totals.get("seconds"), int | float):
        facts.append(("took", f"more than one run, the last of them {duration(last)}"))
    return facts


def shown(value: Any, name: str = "value") -> str:
    """A setting in words, but what looks like a secret: a job refuses those, so that there should be none."""
    try:
        refuse_secrets({name: str(value)})
    except StrideformerError:
        return "***"
    words = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return without_secrets(words)


def _facts(job: ReportedJob, total: Receipt) -> list[tuple[str, str]]:
    settings, fingerprint = job.settings, job.fingerprint
    versions = ", ".join(f"{name} {each}" for name, each in (job.totals.get("versions") or {}).items())
    empty = job.totals.get("files_without_documents")
    facts: list[tuple[str, str | None]] = [
        ("job", tag("code", f"strideformer {'embed' if job.embeds else 'classify'}")),
        ("model", _model(settings, fingerprint)),
        ("chunks", _chunking(fingerprint)),
        ("input", _inputs(settings, fingerprint)),
        ("columns", _columns(settings)),
        ("early exit", None if settings.get("early_exit") is None else f"at a confidence of {settings['early_exit']}"),
        *facts_of_time(job, total),
        ("duplicates", f"{number(total.duplicates)} documents, computed once" if total.duplicates else None),
        ("empty files", number(int(empty)) if empty else None),
        ("other settings", _others(job)),
        ("versions", foreign(versions, len(versions)) if versions else None),
    ]
    return [(name, value) for name, value in facts if value is not None]


def _model(settings: dict[str, Any], fingerprint: dict[str, Any]) -> Html | None:
    if settings.get("model") is None:
        return None
    hashed = fingerprint.get("model")
    short = together(" ", tag("span", str(hashed)[:16], class_="faint")) if hashed else None
    return together(foreign(shown(settings["model"])), short)


def _chunking(fingerprint: dict[str, Any]) -> str | None:
    length, stride, most = (fingerprint.get(name) for name in ("max_length", "stride", "max_chunks"))
    if length is None:
        return None
    return tag(
        "span", f"of up to {length} tokens, {stride} of them shared with the one before; at most {most} a document"
    )


def _inputs(settings: dict[str, Any], fingerprint: dict[str, Any]) -> Html | None:
    if settings.get("embeddings"):
        return together("embeddings in ", foreign(shown(settings["embeddings"])))
    names = settings.get("inputs") or []
    listed = [together(foreign(shown(name)), ", " * (name is not names[-1])) for name in names[:INPUTS_SHOWN]]
    more = f"and {number(len(names) - INPUTS_SHOWN)} more" if len(names) > INPUTS_SHOWN else None
    files, size = fingerprint.get("number_of_input_files"), fingerprint.get("input_bytes")
    told = None if files is None else f" ({number(files)} {'file' if files == 1 else 'files'}, {_bytes(size or 0)})"
    return together(*listed, more, told)


def _columns(settings: dict[str, Any]) -> Html | None:
    if settings.get("embeddings"):
        return None
    named = ("text", "pair", "id")
    words = [f"{name}: {shown(settings[f'{name}_column'])}" for name in named if settings.get(f"{name}_column")]
    if settings.get("keep_columns"):
        words.append(f"kept: {shown(settings['keep_columns'])}")
    return foreign("; ".join(words))


def _others(job: ReportedJob) -> Html | None:
    """Settings that are not the default."""
    fields = (EmbedSettings if job.embeds else ClassifySettings).model_fields
    told = []
    for name, value in job.settings.items():
        default = fields[name].get_default(call_default_factory=True) if name in fields else None
        if name in TOLD or value == default:
            continue
        values = value.items() if isinstance(value, dict) else [("", value)]
        told += [f"{name} {key + '=' if key else ''}{shown(each, key or 'value')}" for key, each in values]
    return foreign("; ".join(told)) if told else None


def _encoded(total: Receipt) -> str | None:
    if total.chunks_encoded >= total.chunks or not total.chunks_encoded:
        return None
    return f"{share(total.chunks_encoded, total.chunks)} of them encoded"


def _time_by_stage(total: Receipt) -> Html | None:
    found = profile(total)
    whole = sum(found["seconds"].values())
    if not whole:
        return None
    rows = [
        [STAGES[name], bar(seconds, whole), f"{seconds:,.1f}", share(seconds, whole)]
        for name, seconds in found["seconds"].items()
        if seconds
    ]
    caption = "Time by stage, summed over shards that ran side by side"
    stages = table(caption, ["stage", "", "seconds", "share"], rows, numeric=(2, 3), class_="bars")
    return tag("details", tag("summary", "Where the time went"), stages)


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _bytes(size: int) -> str:
    return f"{count(size)}{'' if size >= 1e4 else ' '}B"
