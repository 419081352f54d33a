from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.reporting.gather import gather
from jobs.reporting.job import open_job
from jobs.reporting.page import page
from jobs.reporting.style import STYLE
from tests.jobs.reporting.outputs import MULTI, REGRESSION, confident, path_of, write_output, write_store

NAMES = ("law", "network", "other")
EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp;"


class Read(HTMLParser):
    """What a browser finds in a page: elements, attributes and text; and whether all are closed in order."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))
        if name != "meta":
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words += f" {data}"

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == name]


def read(url: str, examples: int = 20) -> Read:
    job = open_job(url, {})
    content = page(job, gather(job, examples))
    assert_harmless(content)
    return Read(content)


def assert_harmless(content: str) -> None:
    """Nothing is loaded, nothing runs, and nothing but links within the page is a link."""
    found = Read(content)
    assert {name for name, _ in found.elements}.isdisjoint(
        {"script", "img", "link", "iframe", "object", "base", "form"}
    )
    for name, attributes in found.elements:
        assert not any(key.startswith("on") or key in ("src", "style", "action") for key in attributes), name
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    policy = next(each["content"] for each in found.all("meta") if "http-equiv" in each)
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_a_finished_job(tmp_path: Path) -> None:
    quarantine = {2: ("empty_text", "nothing in it")}
    given = confident([0, 1, 0, 0, 1], 3, [0.9, 0.8, 0.7, 0.6, 0.5])
    settings = {"id_column": "doc_id", "keep_columns": ["label:truth"], "dtype": "float32"}
    output = write_output(str(tmp_path / "out"), given, NAMES, quarantined=quarantine, settings=settings)
    found = read(f"{output.url}/")  # as a shell completes it
    words = " ".join(found.words.split())
    for expected in (
        "finished: 2 of 2 shards",
        "law 2 50.0 % 0.750",
        "network 2 50.0 % 0.650",
        "Given to no document: other",
        "d4 a.parquet#4 network 0.500 law 0.250 1,700",
        "empty_text 1 20.0 %",
        "d2 a.parquet#2 nothing in it",
        "s3://bucket/corpus (3 files, 12.3 MB)",
        "of up to 384 tokens, 128 of them shared with the one before; at most 128 a document",
        "text: text; id: doc_id; kept: label:truth",
        "dtype float32",
        "0:12, 0.4 documents/s",
        f"strideformer evaluate {tmp_path}/out --labels FILE --id-column doc_id",
        f"with their reasons, are in {tmp_path}/out/_quarantine",
    ):
        assert expected in words
    assert len(found.all("caption")) == len(found.all("table")) >= 6
    assert all(each.get("aria-label") or each.get("aria-hidden") for each in found.all("svg"))
    assert all(each.get("scope") for each in found.all("th"))
    anchors = {each.get("href") for each in found.all("a")}
    assert anchors == {f"#{each['id']}" for each in found.all("h2")}


def test_whatever_the_corpus_holds_stays_text(tmp_path: Path) -> None:
    names = (EVIL, "b" * 5000, "\u202ereversed\x00")
    ids = [EVIL, "i" * 100_000, "\x1b[31m", "\u2066", "\U0001f600", ""]
    quarantine = {3: (EVIL, EVIL), 4: ("empty_text", EVIL * 100)}
    url = str(tmp_path / "<b>out&")
    scores = confident([0, 1, 2, 0, 1, 2], 3, [0.5] * 6)
    write_output(url, scores, names, ids=ids, quarantined=quarantine, source=f"s3://bucket/{EVIL}/{EVIL}")
    found = read(url)
    assert EVIL in found.words
    assert all(character not in found.words for character in "\x00\x1b\u202e\u2066")
    assert len(found.words) < 20_000


def test_targets_and_reasons_stay_text_where_they_head_a_table(tmp_path: Path) -> None:
    name = f"\u202e\x1b[31m{EVIL}{'b' * 5000}"
    url = str(tmp_path / "out")
    found = read(write_output(url, np.ones((5, 1)), [name], REGRESSION, quarantined={3: (name, "")}).url)
    told = [*(each["aria-label"] or "" for each in found.all("div") if "aria-label" in each), found.words]
    assert all(character not in words for words in told for character in "\x1b\u202e")
    assert len(found.words) < 20_000


def test_many_labels_are_cut_where_a_page_would_be_too_long(tmp_path: Path) -> None:
    names = [f"label-{index}" for index in range(1300)]
    scores = confident([min(index, 700) for index in range(1000)], 1300)
    content = read(write_output(str(tmp_path / "out"), scores, names, shard_rows=500).url)
    words = " ".join(content.words.split())
    assert "The 20 most frequent labels, of 701" in words
    assert "480 more; 701 of 1,300 labels are in use" in words
    assert "201 rarer labels are left out here" in words
    assert "599 labels are given to no document" in words
    assert "Scores of the 6 most frequent labels" in words


def test_several_labels(tmp_path: Path) -> None:
    scores = np.array([[0.9, 0.1, 0.6], [0.1, 0.2, 0.05], [0.52, 0.97, 0.01]])
    words = " ".join(read(write_output(str(tmp_path / "out"), scores, NAMES, MULTI).url).words.split())
    assert "1.33 on average, and 1 (33.3 %) have none" in words
    assert "d2 a.parquet#2 law, network law (given) 0.520" in words
    assert "d1 a.parquet#1 none network (not given) 0.200" in words


@pytest.mark.parametrize("targets", [1, 2])
def test_a_regression(tmp_path: Path, targets: int) -> None:
    values = np.array([[5.0, 50], [-3, 30], [2, 20]])[:, :targets]
    found = read(write_output(str(tmp_path / "out"), values, NAMES[:targets], REGRESSION).url, examples=2)
    words = " ".join(found.words.split())
    assert "law -3.000 1.333 5.000" in words
    assert ("network 20.00 33.33 50.00" in words) == (targets == 2)
    assert "The lowest values of law document value tokens d1" in words
    assert "The highest values of law document value tokens d0" in words
    assert "mean value" in words
    assert "score" not in words


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"committed": 0}, ["stopped: 0 of 2 shards", "No document is labelled yet.", "Empty so far."]),
        ({"committed": 1}, ["stopped: 1 of 2 shards", "--resume goes on", "4 of them done"]),
        ({"quarantined": dict.fromkeys(range(5), ("empty_text", ""))}, ["all are quarantined", "100.0 %"]),
        (
            {"tokens": [5000] * 5, "encoded": [8] * 5, "settings": {"early_exit": 0.9}},
            ["Early exit left chunks unread"],
        ),
        ({"tokens": [50_000] * 5}, ["5 (100.0 %) are longer than the most chunks", "50,000+"]),
        ({"tokens": [0] * 5}, ["the longest has 0."]),
    ],
)
def test_jobs_of_every_kind(tmp_path: Path, more: dict[str, Any], expected: list[str]) -> None:
    words = " ".join(read(write_output(str(tmp_path / "out"), confident([0] * 5, 3), NAMES, **more).url).words.split())
    for each in expected:
        assert each in words


def test_a_store(tmp_path: Path) -> None:
    found = read(write_store(str(tmp_path / "store"), 9).url)
    words = " ".join(found.words.split())
    assert "What the job embedded" in words
    assert "embedded 8 88.9 %" in words
    assert [each["id"] for each in found.all("h2")] == ["lengths", "quarantine", "job"]


def test_a_short_range_of_lengths_and_a_long_one(tmp_path: Path) -> None:
    tokens = [2**index for index in range(20)]
    words = " ".join(
        read(write_output(str(tmp_path / "out"), confident([0] * 20, 3), NAMES, tokens=tokens).url).words.split()
    )
    assert "1 to 64 7 35.0 %" in words, "short ones are put together"
    assert "262,145 to 524,288 1 5.0 % 100.0 %" in words


def test_secrets_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    quarantine = {0: ("unreadable_file", "the storage says wJalrXUtnFEMI is wrong")}
    settings = {
        "storage_option": {"endpoint_url": "http://minio:9000", "secret": "hunter2hunter2"},
        "document_timeout": 7,
    }
    settings |= {"inputs": ["s3://bucket/in", "https://user:hunter2hunter2@host/in", "wJalrXUtnFEMI"]}
    output = write_output(
        str(tmp_path / "out"), confident([0] * 5, 3), NAMES, quarantined=quarantine, settings=settings
    )
    content = read(output.url).words
    assert "hunter2" not in content
    assert "wJalrXUtnFEMI" not in content
    assert "the storage says *** is wrong" in content
    assert "endpoint_url=http://minio:9000" in content
    assert "document_timeout 7" in content


def luminance(color: str) -> float:
    channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.03928 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
def test_text_and_charts_stand_out(theme: int) -> None:
    colors = dict(re.findall(r"--(\w+): (#\w{6});", re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)[theme]))
    for background in ("paper", "panel"):
        for text in ("ink", "faint", "good", "warn", "bad", "fill"):
            assert contrast(colors[text], colors[background]) >= 4.5, (text, background)
    assert contrast(colors["fill"], colors["track"]) >= 3


def test_the_page_tells_where_it_is_from(tmp_path: Path) -> None:
    folder = write_output(str(tmp_path / "out"), confident([0] * 5, 3), NAMES)
    assert path_of(folder).name in read(folder.url).words
