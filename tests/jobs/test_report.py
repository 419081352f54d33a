from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from jobs import cli, report
from jobs.corpus.listing import list_inputs
from jobs.corpus.storage import read_bytes, resolve
from jobs.output.predictions import read_predictions
from jobs.output.record import OutputFolder, check_usable
from jobs.report_settings import ReportSettings
from strideformer.errors import StrideformerError
from tests.jobs.reporting.outputs import MULTI, REGRESSION, confident, path_of, write_output, write_store

NAMES = ("law", "network", "other")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def output(tmp_path: Path, **more: Any) -> Path:
    quarantine = {2: ("empty_text", "nothing in it")}
    return path_of(
        write_output(str(tmp_path / "out"), confident([0, 1, 0, 0, 1], 3), NAMES, quarantined=quarantine, **more)
    )


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert report.main([str(argument) for argument in arguments]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    return told


def test_the_page_lies_beside_the_plan_and_the_terminal_has_it_in_short(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = output(tmp_path)
    assert report.main([str(folder)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("finished: 2 of 2 shards", "labelled │ 4", "empty_text │ 1", "law │ 2 │ 50.0 % │ 0.800"):
        assert words in shown
    page = folder / "_strideformer" / "report.html"
    assert f"Report: {page}" in shown
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>\n<html lang=")
    assert {file.name for file in page.parent.iterdir()} == {"report.html", "job.json", "plan.parquet"}


def test_values_and_stores_in_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_output(str(tmp_path / "values"), np.array([[1.0], [3.0]]), ["price"], REGRESSION)
    assert report.main([str(tmp_path / "values")]) == 0
    assert "price │ 1.000 │ 2.000 │ 3.000" in " ".join(capsys.readouterr().out.split())
    write_store(str(tmp_path / "store"), 9)
    assert report.main([str(tmp_path / "store")]) == 0
    assert "embedded" in capsys.readouterr().out


def test_another_place_and_a_page_that_is_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = output(tmp_path)
    page = tmp_path / "pages" / "report.html"
    for _ in range(2):
        assert report.main([str(folder), "--html", str(page), "--examples", "0"]) == 0
    assert "nothing in it" in page.read_text(encoding="utf-8")
    assert "Documents to look at" not in page.read_text(encoding="utf-8")
    assert not (folder / "_strideformer" / "report.html").exists()
    (tmp_path / "thesis.tex").write_text("mine")
    assert "thesis.tex is there and is no report" in fails(capsys, folder, "--html", tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "mine"
    assert "is a folder: give the name of a file" in fails(capsys, folder, "--html", tmp_path / "pages")
    assert "lies below one" in fails(capsys, folder, "--html", tmp_path / "thesis.tex" / "report.html")


def test_what_cannot_be_reported_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "strideformer report: output: it is missing: give OUTPUT" in fails(capsys)
    assert "give one OUTPUT: 2 paths were given" in fails(capsys, "a", "b")
    assert "there is nothing at" in fails(capsys, tmp_path / "none")
    folder = output(tmp_path)
    (folder / "part-00000001.parquet").write_bytes(b"PAR1 half a file")
    assert "part-00000001.parquet cannot be read" in fails(capsys, folder)
    assert not (folder / "_strideformer" / "report.html").exists()


def test_what_the_disk_refuses_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = output(tmp_path)
    (folder / "_strideformer" / "report.html").mkdir()
    assert "report.html" in fails(capsys, folder)


def test_flags_are_frozen() -> None:
    """A flag that is renamed or removed breaks somebody's scripts: change this list knowingly."""
    assert sorted(ReportSettings.model_fields) == ["examples", "html", "output", "storage_option"]
    assert all(field.description for field in ReportSettings.model_fields.values())
    parser = cli.build_parser("report", ReportSettings)
    assert "strideformer report OUTPUT [flags]" in parser.format_help()


def test_the_page_is_in_nobodys_way(tmp_path: Path) -> None:
    folder = output(tmp_path)
    before = pq.read_table(folder)
    report.run(ReportSettings(output=str(folder)))
    assert pq.read_table(folder).equals(before)
    assert ds.dataset(folder).to_table().equals(before)
    assert read_predictions(str(folder), {}).doc_ids.to_pylist() == ["d0", "d1", "d3", "d4"]
    assert len(list_inputs([str(folder)], {}, "parquet")) == 2
    job = OutputFolder(str(folder), {})
    check_usable(job, resume=True, overwrite=False)
    check_usable(job, resume=False, overwrite=True)
    with pytest.raises(StrideformerError, match="use --resume to go on with it or --overwrite"):
        check_usable(job, resume=False, overwrite=False)
    job.clear()
    assert not list(folder.rglob("*.html")), "it is made of what is deleted"


def test_at_the_top_it_would_be_in_the_way_of_arrow(tmp_path: Path) -> None:
    """Why it does not lie beside the parts: see jobs/report.py."""
    folder = output(tmp_path)
    (folder / "report.html").write_text("<!DOCTYPE html>")
    with pytest.raises(Exception, match="Parquet magic bytes not found"):
        pq.read_table(folder)


@pytest.mark.parametrize("options", [{}, {"backend": "s3fs"}], ids=["native", "s3fs"])
def test_on_s3(s3_bucket: str, options: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    url = f"s3://{s3_bucket}/out"
    write_output(url, confident([0, 1, 0, 0, 1], 3), NAMES, quarantined={1: ("empty_text", "nothing in it")})
    flags = [f"--storage-option={name}={value}" for name, value in options.items()]
    for _ in range(2):
        assert report.main([url, *flags]) == 0
    assert f"Report: {url}/_strideformer/report.html" in capsys.readouterr().out
    content = bytes(read_bytes(*resolve(f"{url}/_strideformer/report.html", {}))).decode()
    assert "nothing in it" in content
    assert "does not exist" in fails(capsys, "s3://there-is-no-such-bucket/out", *flags)


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium to open the page in")
@pytest.mark.parametrize("kind", ["single", "several", "values", "store"])
def test_a_browser_shows_the_page_and_has_nothing_to_say_of_it(tmp_path: Path, kind: str) -> None:
    url = str(tmp_path / "out")
    if kind == "store":
        write_store(url, 9)
    else:
        problem = {"single": "single_label_classification", "several": MULTI, "values": REGRESSION}[kind]
        write_output(
            url, confident([0, 1, 2], 3), NAMES, problem, ids=["<script>document.title='x'</script>", "b", "c"]
        )
    page = Path(report.run(ReportSettings(output=url)))
    document, console = browse(page, tmp_path)
    assert "CONSOLE" not in console
    assert document.count("<script") == 0
    assert "finished: " in document
    changed = tmp_path / "changed.html"
    changed.write_text(page.read_text(encoding="utf-8").replace("<style>", "<style>/* another */"), encoding="utf-8")
    assert "Content Security Policy" in browse(changed, tmp_path)[1], "and it would say so"


def browse(page: Path, tmp_path: Path) -> tuple[str, str]:
    """The document as a browser has it, and what it told its console."""
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --enable-logging=stderr --dump-dom"
    ).split()
    profile = tmp_path / f"profile-{page.stem}"
    done = subprocess.run(
        [str(BROWSER), *flags, f"--user-data-dir={profile}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=os.environ | {"HOME": str(tmp_path)},
    )
    return done.stdout, done.stderr


def test_totals_that_somebody_else_wrote_do_no_harm(tmp_path: Path) -> None:
    folder = output(tmp_path)
    (folder / "_SUCCESS").write_text(json.dumps({"seconds": "many"}))
    assert report.main([str(folder)]) == 0
