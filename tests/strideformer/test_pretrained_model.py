"""Saving and loading a Strideformer with and without its encoder."""

from __future__ import annotations

import builtins
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    DebertaV2Config,
    DistilBertConfig,
    GteConfig,
    JinaEmbeddingsV3Config,
    ModernBertConfig,
    MPNetConfig,
    NomicBertConfig,
    RobertaConfig,
    T5Config,
    XLNetConfig,
)
from transformers.utils.logging import get_verbosity

from strideformer import Strideformer, StrideformerConfig, StrideformerError
from strideformer.aggregator import load_aggregator
from strideformer.checkpoint import load_first_model, weights_hash
from strideformer.devices import choose_dtype, published_dtype
from strideformer.encoder import load_tokenizer
from tests.strideformer.small_encoders import (
    MINILM,
    PACKAGE,
    logits,
    over,
    same_logits,
    save_encoder,
    saved_config,
)


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


def test_whoever_may_read_the_config_may_read_the_weights(light: Path) -> None:
    assert (light / "model.safetensors").stat().st_mode == (light / "config.json").stat().st_mode


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


@pytest.mark.parametrize("include_first_model", [True, False])
def test_encoder_in_bf16_does_not_cut_the_second_model_to_it(tmp_path: Path, include_first_model: bool) -> None:
    model = over(save_encoder(tmp_path / "encoder", seed=1, dtype=torch.bfloat16))
    assert (model.first_model.dtype, model.dtype) == (torch.bfloat16, torch.float32)
    model.save_pretrained(tmp_path / "saved", include_first_model=include_first_model)
    loaded = Strideformer.from_pretrained(tmp_path / "saved")
    assert loaded.first_model.dtype == (torch.float32 if include_first_model else torch.bfloat16)
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name].to(weight.dtype), weight), name
    assert choose_dtype("auto", torch.device("cuda"), published_dtype(loaded.first_model)) is torch.bfloat16
    loaded.save_pretrained(tmp_path / "again")
    again = Strideformer.from_pretrained(tmp_path / "again").first_model
    assert choose_dtype("auto", torch.device("cuda"), published_dtype(again)) is torch.bfloat16
    asked = Strideformer.from_pretrained(tmp_path / "saved", dtype=torch.float16)
    assert choose_dtype("auto", torch.device("cuda"), published_dtype(asked.first_model)) is torch.float16
    assert {weight.dtype for weight in asked.parameters()} == {torch.float16}


def test_light_checkpoint_in_half_precision_saved_again_has_the_same_hash(tmp_path: Path, light: Path) -> None:
    half = Strideformer.from_pretrained(light, dtype=torch.bfloat16)
    half.save_pretrained(tmp_path / "half", include_first_model=False)
    assert saved_config(tmp_path / "half")["first_model_hash"] == saved_config(light)["first_model_hash"]
    same_logits(Strideformer.from_pretrained(tmp_path / "half", dtype=torch.bfloat16), half)


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


def test_whole_checkpoint_over_a_package_still_knows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "some_encoder"
    save_encoder(package / "model", seed=1)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(package.parent)
    model = over(package / "model")
    model.save_pretrained(tmp_path / "whole")
    Strideformer.from_pretrained(tmp_path / "whole").save_pretrained(tmp_path / "light", include_first_model=False)
    assert saved_config(tmp_path / "light")["first_model_name"] == "package:some_encoder"
    same_logits(Strideformer.from_pretrained(tmp_path / "light"), model)


def test_encoder_in_shards_is_the_same_encoder(tmp_path: Path, encoder: Path, light: Path) -> None:
    expected = Strideformer.from_pretrained(light)
    whole = AutoModel.from_pretrained(encoder)
    shutil.rmtree(encoder)
    whole.save_pretrained(encoder, max_shard_size="2KB")
    assert (encoder / "model.safetensors.index.json").is_file()
    same_logits(Strideformer.from_pretrained(light), expected)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (RobertaConfig, {}),
        (MPNetConfig, {}),
        (DistilBertConfig, {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}),
        (ModernBertConfig, dict.fromkeys(("bos_token_id", "cls_token_id", "eos_token_id", "sep_token_id"), 1)),
        (DebertaV2Config, {}),
        (NomicBertConfig, {}),  # of these three, transformers renames the weights as it loads and saves them
        (JinaEmbeddingsV3Config, {}),
        (GteConfig, {}),
    ],
)
def test_other_families_of_encoders(tmp_path: Path, kind: Any, changes: dict[str, Any]) -> None:
    settings = {
        "vocab_size": 50,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
        "initializer_range": 0.3,
        "pad_token_id": 0,
    }
    AutoModel.from_config(kind(**(settings | changes))).save_pretrained(tmp_path / "encoder")
    model = over(tmp_path / "encoder")
    for whole in (True, False):
        model.save_pretrained(tmp_path / f"{whole}", include_first_model=whole)
        same_logits(Strideformer.from_pretrained(tmp_path / f"{whole}"), model)
        alone = load_aggregator(tmp_path / f"{whole}").second_model.state_dict()
        assert all(torch.equal(alone[name], weight) for name, weight in model.second_model.state_dict().items())


def test_encoder_whose_first_parameter_is_never_without_storage(tmp_path: Path) -> None:
    config = XLNetConfig(vocab_size=50, d_model=16, n_layer=1, n_head=2, d_inner=32, initializer_range=0.3)
    AutoModel.from_config(config).save_pretrained(tmp_path / "encoder")
    model = over(tmp_path / "encoder")
    for whole in (True, False):
        model.save_pretrained(tmp_path / f"{whole}", include_first_model=whole)
        same_logits(Strideformer.from_pretrained(tmp_path / f"{whole}"), model)


def test_encoder_decoders_are_refused(tmp_path: Path) -> None:
    config = T5Config(vocab_size=50, d_model=16, d_kv=8, num_layers=1, num_heads=2, d_ff=32)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(StrideformerError, match="a t5 has a decoder"):
        load_first_model(tmp_path)
    with pytest.raises(StrideformerError, match="a t5 has a decoder"):
        over(tmp_path)


def test_checkpoint_that_is_not_whole_is_refused(tmp_path: Path, encoder: Path) -> None:
    over(encoder).save_pretrained(tmp_path / "partial")
    file = tmp_path / "partial" / "model.safetensors"
    whole = load_file(file)
    for name in ("classifier.weight", "first_model.embeddings.word_embeddings.weight"):
        save_file({key: weight for key, weight in whole.items() if key != name}, file, {"format": "pt"})
        with pytest.raises(StrideformerError, match=f"partial has no weights for {name}: give a whole checkpoint"):
            Strideformer.from_pretrained(tmp_path / "partial")


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
    with pytest.raises(StrideformerError, match="is no folder: check the path"):
        Strideformer.from_pretrained(light)


@pytest.mark.parametrize("weights", [None, b"", b"no weights"])
def test_encoder_without_weights_that_can_be_read_is_refused(encoder: Path, light: Path, weights: bytes | None) -> None:
    (encoder / "model.safetensors").unlink()
    if weights is not None:
        (encoder / "model.safetensors").write_bytes(weights)
    with pytest.raises(StrideformerError, match="cannot be loaded"):
        Strideformer.from_pretrained(light)


def test_code_beside_the_encoder_is_not_run_and_nobody_is_asked(
    encoder: Path, light: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = saved_config(encoder) | {"model_type": "strange", "auto_map": {"AutoConfig": "c.C", "AutoModel": "c.M"}}
    (encoder / "config.json").write_text(json.dumps(config))
    (encoder / "c.py").write_text("raise SystemExit('ran')")
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("asked"))
    with pytest.raises(StrideformerError, match="contains custom code"):
        Strideformer.from_pretrained(light)


class Payload:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def test_code_inside_pickled_weights_is_not_run(tmp_path: Path, encoder: Path, light: Path) -> None:
    """Neither in a checkpoint, as 0.2.0 wrote them, nor in an encoder."""
    ran = tmp_path / "ran"
    over(encoder).save_pretrained(tmp_path / "whole")
    for folder in (encoder, tmp_path / "whole"):
        (folder / "model.safetensors").unlink()
        torch.save({"classifier.bias": Payload(ran)}, folder / "pytorch_model.bin")
        with pytest.raises(StrideformerError, match="holds more than tensors"):
            Strideformer.from_pretrained(light if folder == encoder else folder)
    assert not ran.exists()
    torch.load(encoder / "pytorch_model.bin", weights_only=False)
    assert ran.exists()  # so it would have been seen


def test_new_model_over_an_encoder_that_is_not_there_is_refused(encoder: Path) -> None:
    config = StrideformerConfig(AutoConfig.from_pretrained(encoder), num_hidden_layers=1, num_attention_heads=2)
    shutil.rmtree(encoder)
    with pytest.raises(StrideformerError, match="cannot be loaded"):
        Strideformer(config)


def test_new_model_whose_config_does_not_describe_the_encoder_is_refused(encoder: Path) -> None:
    config = AutoConfig.from_pretrained(encoder, num_hidden_layers=2)
    with pytest.raises(StrideformerError, match="first_model_config does not describe the weights of"):
        Strideformer(StrideformerConfig(config, num_hidden_layers=1, num_attention_heads=2))


def test_encoder_loaded_with_a_strideformer_config_is_the_first_model(encoder: Path) -> None:
    """As the README of 0.2.0 on PyPI has it."""
    first = AutoConfig.from_pretrained(encoder)
    config = StrideformerConfig(first, num_hidden_layers=1, num_attention_heads=2, initializer_range=0.3)
    model = Strideformer.from_pretrained(encoder, config=config)
    assert type(model) is Strideformer
    expected = load_first_model(encoder).state_dict()
    assert weights_hash(model.first_model.state_dict()) == weights_hash(expected)
    assert 0.1 < model.second_model.layers[0].linear1.weight.std() < 0.5


def test_encoder_loaded_without_a_strideformer_config_is_refused(encoder: Path) -> None:
    with pytest.raises(StrideformerError, match="config of a bert model, not of a Strideformer"):
        Strideformer.from_pretrained(encoder)


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


def test_more_tokens_are_saved_with_the_model(tmp_path: Path, encoder: Path) -> None:
    model = over(encoder)
    model.resize_token_embeddings(57)
    assert model.config.first_model_config.vocab_size == 57
    model.save_pretrained(tmp_path)
    same_logits(Strideformer.from_pretrained(tmp_path), model)
    with pytest.raises(StrideformerError, match="bag of tokens, whose vocabulary is fixed"):
        over(encoder, bag_of_tokens=True).resize_token_embeddings(57)


def test_weights_may_be_given_as_transformers_takes_them(tmp_path: Path, encoder: Path) -> None:
    model = over(encoder)
    given = Strideformer.from_pretrained(None, config=model.config, state_dict=model.state_dict())
    same_logits(given, model)
    model.save_pretrained(tmp_path / "of the first process", True, model.state_dict())
    same_logits(Strideformer.from_pretrained(tmp_path / "of the first process"), model)
    model.save_pretrained(tmp_path / "of another", False)
    assert not (tmp_path / "of another" / "model.safetensors").exists()


def test_weights_that_are_cut_short_are_told(tmp_path: Path, encoder: Path) -> None:
    over(encoder).save_pretrained(tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(StrideformerError, match=r"weights of the checkpoint .* cannot be read .*: copy it again"):
        Strideformer.from_pretrained(tmp_path)


def test_a_pickle_of_more_than_tensors_is_told_without_the_advice_to_run_it(tmp_path: Path, encoder: Path) -> None:
    over(encoder).save_pretrained(tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors") | {"code": print}, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    for load in (Strideformer.from_pretrained, load_aggregator):
        with pytest.raises(
            StrideformerError, match=r"cannot be read \(it is broken, or holds more than tensors, "
        ) as told:
            load(tmp_path)
        assert "weights_only" not in str(told.value)


def test_weights_that_do_not_fit_are_told_once(
    tmp_path: Path, encoder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    over(encoder).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    whole = load_file(file)
    verbosity = get_verbosity()
    save_file(whole | {"classifier.weight": torch.zeros(3, 3)}, file, {"format": "pt"})
    with pytest.raises(StrideformerError, match="are not those that its config describes"):
        Strideformer.from_pretrained(tmp_path)
    save_file(whole | {"classifier.scale": torch.zeros(3)}, file, {"format": "pt"})
    Strideformer.from_pretrained(tmp_path)
    assert "LOAD REPORT" not in caplog.text
    assert "has weights that nothing takes, such as classifier.scale: they are left out" in caplog.text
    assert get_verbosity() == verbosity


def test_a_folder_without_weights_is_told(tmp_path: Path, encoder: Path) -> None:
    over(encoder).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(StrideformerError, match=r"weights of the checkpoint .* cannot be read .*: copy it again"):
        Strideformer.from_pretrained(tmp_path)


def test_a_config_of_other_labels_than_the_weights_is_told(tmp_path: Path, encoder: Path) -> None:
    over(encoder, num_labels=3).save_pretrained(tmp_path)
    config = saved_config(tmp_path) | {"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for load in (Strideformer.from_pretrained, load_aggregator):
        with pytest.raises(StrideformerError, match=r"are not those that its config describes \(.*classifier"):
            load(tmp_path)
    loaded = Strideformer.from_pretrained(tmp_path, ignore_mismatched_sizes=True)
    assert loaded.classifier.out_features == 2


def test_a_folder_without_a_tokenizer_is_told(tmp_path: Path, encoder: Path) -> None:
    over(encoder).save_pretrained(tmp_path)
    with pytest.raises(StrideformerError, match="has no tokenizer that can be read"):
        load_tokenizer(tmp_path)
