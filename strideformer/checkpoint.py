"""Loading encoders, and checkpoints that are saved without theirs."""

from __future__ import annotations

import hashlib
import inspect
import os
import pickle
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from strideformer.errors import StrideformerError, first_line
from strideformer.locations import checkpoint_folders, resolve_encoder

# In the names of weights for token types; the second is XLNet's and Funnel's.
TYPES = ("token_type", "seg_embed")
# Arguments of ``from_pretrained`` that say where a file is.
HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")

__all__ = [
    "checkpoint_folders",
    "hash_of_left_out",
    "load_first_model",
    "load_named_first_model",
    "new_first_model",
    "resolve_encoder",
    "share_weights",
    "stored_config",
    "takes_token_types",
    "weights_hash",
    "without_load_report",
]


def takes_token_types(first_model: PreTrainedModel) -> bool:
    """Whether a first model is to be told token types: it has weights for them.

    GPT-2 and some others accept them, but look them up among their words, so that zeros would add a word to each token.
    """
    accepted = inspect.signature(first_model.forward).parameters
    named = (name for name, _ in first_model.named_parameters())
    return "token_type_ids" in accepted and any(kind in name for name in named for kind in TYPES)


def load_first_model(name: str | Path, **kwargs: Any) -> PreTrainedModel:
    """An encoder with its weights, without the pooling head that sentence transformers never use.

    Code that lies beside the weights is never run.

    Raises:
        StrideformerError: there are no weights that can be read, they need such code, or it is an encoder-decoder.
    """
    from transformers import AutoModel  # here and not above, since it imports strideformer.model: see registration

    kwargs["trust_remote_code"] = False  # unset, transformers asks whoever sits at the terminal
    try:
        with without_load_report():  # the unused head's weights would be reported as unexpected
            try:
                model = AutoModel.from_pretrained(name, add_pooling_layer=False, **kwargs)
            except TypeError:
                model = AutoModel.from_pretrained(name, **kwargs)
    except (OSError, ValueError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        raise StrideformerError(
            f"the encoder {name} cannot be loaded ({first_line(error)}): give a folder, package or hub id with whole "
            f"weights"
        ) from error
    _refuse_decoder(model.config)
    return model


@contextmanager
def without_load_report() -> Iterator[None]:
    """Keep transformers from printing a table of what did not fit, which is told in a sentence where it matters."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def stored_config(name: str | os.PathLike[str], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a model's own config.json says, whatever the caller wants instead.

    Args:
        name: a folder or hub id.
        arguments: of ``from_pretrained``.
    """
    where = {key: arguments[key] for key in HUB_ARGUMENTS if key in arguments}
    values: dict[str, Any] = PreTrainedConfig.get_config_dict(name, **where)[0]
    return values


def new_first_model(config: PreTrainedConfig) -> PreTrainedModel:
    """An encoder of this config with new weights, without the pooling head.

    Raises:
        StrideformerError: it is an encoder-decoder.
    """
    from transformers import AutoModel

    _refuse_decoder(config)
    try:
        return AutoModel.from_config(config, add_pooling_layer=False)
    except TypeError:
        return AutoModel.from_config(config)


def _refuse_decoder(config: PreTrainedConfig) -> None:
    if config.is_encoder_decoder:
        raise StrideformerError(
            f"a {config.model_type} has a decoder, whose states are not the text's: use a model that is an encoder "
            f"alone, such as BERT"
        )


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """sha256 over a model's tensors by name, shape and value.

    Floating-point tensors are compared as float32, so that neither the file's format nor a number format that holds
    every value exactly makes a difference. Pooling heads are left out, since we never run them.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        if name.startswith("pooler."):
            continue
        tensor = state[name].detach().cpu()
        values = tensor.float() if tensor.is_floating_point() else tensor
        digest.update(f"{name}\0{tuple(tensor.shape)}\0".encode())
        digest.update(values.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_named_first_model(name: str, expected_hash: str, checkpoint: str) -> PreTrainedModel:
    """The encoder that a checkpoint was trained with and saved without.

    Raises:
        StrideformerError: it is not there, or its weights are others.
    """
    encoder = load_first_model(resolve_encoder(name))
    found = weights_hash(encoder.state_dict())
    if found != expected_hash:
        raise StrideformerError(
            f"checkpoint {checkpoint} was trained over an encoder with other weights than those of {name} "
            f"(hash {expected_hash[:12]}, found {found[:12]}): install the encoder that it was trained with"
        )
    return encoder


def hash_of_left_out(name: str | None, state: Mapping[str, Tensor]) -> str:
    """The hash for a checkpoint that leaves these weights of its first model out and names them instead.

    It is the hash of the weights that the name stands for; those left out must be the same, in their number format.

    Raises:
        StrideformerError: there is no name, nothing of that name, or its weights are others.
    """
    if name is None:
        raise StrideformerError("the encoder has no name to be found by: give first_model_name, or include it")
    named = load_first_model(resolve_encoder(name)).state_dict()
    if named.keys() != state.keys() or not all(
        torch.equal(named[key].cpu().to(weight.dtype), weight.detach().cpu()) for key, weight in state.items()
    ):
        raise StrideformerError(
            f"the first model has other weights than those of {name}, and would be lost: save with "
            f"include_first_model=True"
        )
    return weights_hash(named)


def share_weights(folder: Path) -> None:
    """Let whoever may read a checkpoint's config read its weights, which safetensors 0.8 writes for the owner alone."""
    config = folder / "config.json"
    for weights in folder.glob("*.safetensors"):
        if config.exists():
            shutil.copymode(config, weights)
