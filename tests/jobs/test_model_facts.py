"""A model is loaded by the driver once; what was found is believed only as long as every file stays the same."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from jobs import model_facts
from jobs.model_facts import ModelFacts
from jobs.model_facts import model_facts as facts_of
from strideformer.errors import StrideformerError


@pytest.fixture
def loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Which checkpoints were loaded; records are kept in a folder of the test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    loaded: list[Path] = []
    load = model_facts.load_facts

    def noting(folders: dict[str, Path]) -> ModelFacts:
        loaded.append(folders["checkpoint"])
        return load(folders)

    monkeypatch.setattr(model_facts, "load_facts", noting)
    return loaded


def test_a_model_is_loaded_once(loads: list[Path], tiny_checkpoint: Path) -> None:
    first = facts_of({"checkpoint": tiny_checkpoint})
    assert (first.max_length, first.stride, first.max_chunks, first.positions) == (16, 4, 8, 64)
    assert facts_of({"checkpoint": tiny_checkpoint}) == first
    assert loads == [tiny_checkpoint]


def test_a_model_whose_file_changed_is_loaded_again(loads: list[Path], tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_checkpoint, folder)
    facts_of({"checkpoint": folder})
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    facts_of({"checkpoint": folder})
    assert loads == [folder, folder]


def test_a_record_that_cannot_be_read_is_made_again(loads: list[Path], tiny_checkpoint: Path, tmp_path: Path) -> None:
    first = facts_of({"checkpoint": tiny_checkpoint})
    (record,) = tmp_path.glob("strideformer-*/facts-*.json")
    for broken in ('{"max_length": 1', '{"unknown": 1}', "[]"):
        record.write_text(broken)
        assert facts_of({"checkpoint": tiny_checkpoint}) == first
    assert len(loads) == 4


def test_weights_that_label_nothing_are_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """With them every document would be quarantined as `not_finite`, and the job would end as done."""
    folder = tmp_path / "diverged"
    shutil.copytree(tiny_checkpoint, folder)
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"][0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(StrideformerError, match=r"diverged has NaN or infinity in classifier\.bias"):
        model_facts.load_facts({"checkpoint": folder})


@pytest.mark.parametrize("job", ["classify", "embed"])
def test_the_driver_waits_for_no_torch(job: str) -> None:
    code = f"import sys, jobs.{job}; print(*{{'torch', 'transformers', 'ray'}}.intersection(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""
