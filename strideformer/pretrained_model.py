"""Checkpoints of a Strideformer: loading and saving, with the encoder's weights or without, and new weights."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init

from strideformer.bag_of_tokens import BagOfTokens
from strideformer.checkpoint import (
    hash_of_left_out,
    load_first_model,
    load_named_first_model,
    resolve_encoder,
    share_weights,
    stored_config,
    without_load_report,
)
from strideformer.chunk_inputs import Standardization
from strideformer.config import StrideformerConfig, name_of_encoder
from strideformer.errors import StrideformerError, first_line
from strideformer.second_model import SecondModel

logger = logging.getLogger(__name__)

# How the names of their weights begin.
FIRST_MODEL = "first_model."
BAG_OF_TOKENS = "bag_of_tokens."


class StrideformerPreTrainedModel(PreTrainedModel):
    """What transformers asks of every model: from where its weights come and where they go.

    Attributes:
        first_model: the encoder.
    """

    config_class = StrideformerConfig
    # No prefix: with "first_model", transformers would take what it renames in the files of some encoders (NomicBERT,
    # Jina v3, GTE) for names of the whole model, and rename the second model's weights along with them.
    base_model_prefix = ""
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    # The figures of `Standardization`: cut to half precision, a feature with a large mean would lose its digits.
    _keep_in_fp32_modules_strict = {"chunk_inputs.norm"}  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = [r"^first_model\.pooler\.", r"^first_model\.embeddings\.position_ids$"]  # noqa: RUF012

    first_model: PreTrainedModel

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Self:
        """Load a trained checkpoint, of this package or of 0.2.0, with its encoder from where the config says.

        An encoder's own folder, given a ``config``, is the first model of a new Strideformer.

        Raises:
            StrideformerError: the checkpoint lacks weights, or they cannot be read or are of other shapes than its
                config's; or it was saved without its encoder, and that is not to be found or is not the one that it
                was trained with.
        """
        with_info = kwargs.pop("output_loading_info", False)
        other_shapes = kwargs.pop("ignore_mismatched_sizes", False)
        nameless = pretrained_model_name_or_path is None  # a config and a state_dict were given
        stored = {} if nameless else stored_config(pretrained_model_name_or_path, kwargs)
        of_encoder = stored.get("model_type", cls.config_class.model_type) != cls.config_class.model_type
        # Names in an encoder's own folder are without the prefix, which transformers adds for a model that has one.
        loader: Any = type(cls.__name__, (cls,), {"base_model_prefix": "first_model"}) if of_encoder else cls
        model: Self
        try:
            with without_load_report():
                kwargs |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
                model, info = super(StrideformerPreTrainedModel, loader).from_pretrained(
                    pretrained_model_name_or_path, *args, **kwargs
                )
        except (OSError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
            raise StrideformerError(
                f"the weights of the checkpoint {pretrained_model_name_or_path} cannot be read ({first_line(error)}): "
                f"copy it again"
            ) from error
        if info["mismatched_keys"] and not other_shapes:
            name, of_file, of_config = min(info["mismatched_keys"])
            raise StrideformerError(
                f"the weights of the checkpoint {pretrained_model_name_or_path} are not those that its config describes"
                f" ({name} is {list(of_file)} and not {list(of_config)}): give the config.json that was saved with them"
            )
        model.__class__ = cls
        dtype_is_asked = kwargs.get("dtype", kwargs.get("torch_dtype", "auto")) not in ("auto", None)
        if not of_encoder and not nameless:
            own = StrideformerConfig.from_dict(stored)
            if not dtype_is_asked:  # transformers put that of the whole checkpoint in its place
                model.config.first_model_config.dtype = own.first_model_config.dtype
            if info["unexpected_keys"]:
                logger.warning(
                    "the checkpoint %s has weights that nothing takes, such as %s: they are left out",
                    pretrained_model_name_or_path,
                    min(info["unexpected_keys"]),
                )
            if info["missing_keys"]:
                cls._refuse_partial(pretrained_model_name_or_path, info["missing_keys"], own)
        name, expected = model.config.first_model_name, model.config.first_model_hash
        if expected is not None:
            encoder = load_named_first_model(name, expected, str(pretrained_model_name_or_path))
            if not dtype_is_asked:
                model.first_model.to(encoder.dtype)
            model.first_model.load_state_dict(encoder.state_dict())
            model.first_model.eval()
            model.config.first_model_config._name_or_path = name
        if model.config.freeze_first_model:
            model.first_model.requires_grad_(False)  # transformers put new parameters in place of those of __init__
        return (model, info) if with_info else model  # type: ignore[return-value]  # as transformers has it

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: Mapping[str, Tensor] | None = None,
        *args: Any,
        include_first_model: bool = True,
        first_model_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Save the checkpoint, with or without the encoder's weights.

        Args:
            include_first_model: False leaves the encoder out; the checkpoint then names it, with its hash.
            first_model_name: how it is named; default: the config's, or where it was loaded from.

        Raises:
            StrideformerError: the encoder is to be left out but has no name, or its weights are no longer those
                that the name stands for.
        """
        weights = dict(self.state_dict() if state_dict is None else state_dict)
        name, digest = self.config.first_model_name, None
        if not include_first_model:
            name = first_model_name or name or name_of_encoder(self.config.first_model_config)
            digest = hash_of_left_out(
                name, {key.removeprefix(FIRST_MODEL): weights[key] for key in weights if key.startswith(FIRST_MODEL)}
            )
            weights = {key: weight for key, weight in weights.items() if not key.startswith(FIRST_MODEL)}
        before = self.config.first_model_name, self.config.first_model_hash
        self.config.first_model_name, self.config.first_model_hash = name, digest
        try:
            super().save_pretrained(save_directory, is_main_process, weights, *args, **kwargs)
            if is_main_process:
                share_weights(Path(save_directory))
        finally:
            self.config.first_model_name, self.config.first_model_hash = before

    @classmethod
    def _refuse_partial(cls, name: str | os.PathLike[str], missing: set[str], own: StrideformerConfig) -> None:
        """Weights that a checkpoint's own config says it has; those of fields that the caller changed may be new."""
        with torch.device("meta"):
            missing = missing & cls(own).state_dict().keys()
        if missing:
            raise StrideformerError(f"the checkpoint {name} has no weights for {min(missing)}: give a whole checkpoint")

    def _load_first_model_of_config(self) -> None:
        """Give the first model the weights that its config names; one that names none is new."""
        name = self.config.first_model_name or str(getattr(self.config.first_model_config, "_name_or_path", "") or "")
        if not name:
            return
        try:
            folder = str(resolve_encoder(name))
        except StrideformerError:
            folder = name  # a hub id that is not in the cache yet
        encoder = load_first_model(folder)
        try:
            self.first_model.load_state_dict(encoder.state_dict())
        except RuntimeError as error:
            raise StrideformerError(
                f"first_model_config does not describe the weights of {name}: leave it as it was loaded from there"
            ) from error

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, SecondModel) and module.document_vector is not None:
            init.normal_(module.document_vector, mean=0.0, std=self.config.initializer_range)
        elif isinstance(module, BagOfTokens):
            module.reset()
        elif isinstance(module, Standardization):
            init.zeros_(module.mean)
            init.ones_(module.deviation)
            init.zeros_(module.seen)
