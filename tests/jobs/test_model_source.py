from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jobs import model_copies, model_source
from jobs.model_copies import is_complete
from jobs.model_source import ModelSource, model_files
from strideformer.errors import StrideformerError


@pytest.fixture
def source(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelSource:
    """A model that no process on this machine has fetched yet."""
    monkeypatch.setattr(model_copies.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(model_source, "_fetch", model_source._fetch.__wrapped__)
    return ModelSource.of({"checkpoint": tiny_checkpoint}, "{}")


def test_a_model_is_written_once_and_whole(source: ModelSource, tiny_checkpoint: Path) -> None:
    folder = source.fetch()
    before = (folder / "model.safetensors").stat()
    assert folder == source.fetch()
    assert (folder / "model.safetensors").stat().st_ino == before.st_ino
    assert (folder / "model.safetensors").read_bytes() == (tiny_checkpoint / "model.safetensors").read_bytes()
    assert is_complete(folder.parent)


@pytest.mark.parametrize("lost", ["complete", "checkpoint/config.json", "checkpoint/model.safetensors"])
def test_what_was_cleared_of_a_model_is_written_again(source: ModelSource, tiny_checkpoint: Path, lost: str) -> None:
    folder = source.fetch()
    (folder.parent / lost).unlink()
    assert source.fetch() == folder
    assert (folder / "model.safetensors").read_bytes() == (tiny_checkpoint / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(b"half")
    source.fetch()
    assert (folder / "model.safetensors").read_bytes() == (tiny_checkpoint / "model.safetensors").read_bytes()
    assert not list(folder.parent.parent.glob("tmp*"))


@pytest.mark.usefixtures("source")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    model = ModelSource("0" * 64, {"/dev/full": np.zeros(1 << 20, np.uint8)})
    with pytest.raises(StrideformerError, match=r"no space is left for the model in .*: free some, or set TMPDIR"):
        model.fetch()
    assert not list(tmp_path.rglob("model"))


def test_a_model_is_its_own_files_and_those_of_its_modules(tmp_path: Path) -> None:
    modules = [{"path": ""}, {"path": "1_Pooling"}, {"path": "../elsewhere"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    names = ["config.json", "1_Pooling/config.json", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin"]
    others = ["labelled/_strideformer/job.json", "checkpoint-500/model.safetensors", "optimizer.bin", "model.py"]
    for name in [*names, *others, ".hidden.json", "../elsewhere/config.json"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert [name for name, _ in model_files(tmp_path)] == sorted([*names, "modules.json"])


def test_modules_that_are_none_are_told(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("{}x")
    with pytest.raises(StrideformerError, match=r"modules.json is no list of modules"):
        model_files(tmp_path)
