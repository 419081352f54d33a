"""The page: one HTML file that needs nothing but itself, and runs nothing."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from importlib.metadata import version

from jobs.reporting.gather import Findings
from jobs.reporting.job import ReportedJob
from jobs.reporting.markup import Html, foreign, tag
from jobs.reporting.sections.documents import ends, least_sure
from jobs.reporting.sections.labels import labels
from jobs.reporting.sections.lengths import lengths
from jobs.reporting.sections.quarantine import quarantine
from jobs.reporting.sections.what_ran import tiles, what_ran
from jobs.reporting.style import STYLE

# By this a page of ours is told from any other file before it is replaced.
GENERATOR = "strideformer report"
# Nothing is loaded and nothing runs, whatever a document's id should hold: the style is allowed by its hash alone.
POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-{hash}'"

GOES_ON = "This page is of the documents done so far. The job's own command with --resume goes on with the rest."
GROWS = "This page is of the documents done so far: make it again later."


def page(job: ReportedJob, found: Findings) -> str:
    """The whole page."""
    name = "Embeddings" if job.embeds else "Labels"
    title = f"{name}: {job.folder.url}"
    policy = POLICY.format(hash=base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode())
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="generator", content=GENERATOR),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    sections = _sections(job, found)
    links = [tag("a", words, href=f"#{anchor}") for anchor, words, _ in sections]
    body = tag(
        "body",
        tag(
            "header",
            tag("h1", "What the job embedded" if job.embeds else "What the job labelled"),
            tag("p", foreign(job.folder.url), class_="where"),
            tag("p", job.state, class_=f"state {_class(job)}"),
            None if job.finished else tag("p", GOES_ON if job.running is None else GROWS, class_="note"),
            tag("nav", *links, aria_label="Sections"),
        ),
        tag(
            "main",
            tiles(job, found.total),
            *(tag("section", tag("h2", words, id=anchor), content) for anchor, words, content in sections),
        ),
        tag("footer", f"Made by strideformer {version('strideformer')} on {_now()}, from what lies in the folder."),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _sections(job: ReportedJob, found: Findings) -> list[tuple[str, str, Html]]:
    """Anchor, heading and content of each."""
    output, total, scores = job.folder.url.rstrip("/"), found.total, found.scores
    regression = scores is not None and scores.labels.kind == "regression"
    sections = []
    if scores is not None:
        content = labels(scores, total.labelled, output, job.settings.get("id_column"))
        sections.append(("labels", "Values" if regression else "Labels", content))
        if found.least_sure:
            content = (
                ends(scores.labels, found.least_sure, found.highest)
                if regression
                else least_sure(scores.labels, found.least_sure)
            )
            sections.append(("documents", "Documents to look at", content))
    elif not job.embeds:
        words = "No document is labelled yet." if not job.finished else "No document is labelled: all are quarantined."
        sections.append(("labels", "Labels", tag("p", words)))
    if total.labelled:
        score = None if scores is None else "mean value" if regression else "mean score"
        sections.append(("lengths", "Lengths", lengths(found.lengths, total, score)))
    held = quarantine(found.quarantined, total, found.examples, output, job.done, job.finished)
    sections.append(("quarantine", "Quarantine", held))
    sections.append(("job", "What ran", what_ran(job, total)))
    return sections


def _class(job: ReportedJob) -> str:
    return "good" if job.finished else "bad" if job.totals else "warn"


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
