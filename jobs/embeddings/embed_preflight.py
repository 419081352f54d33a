"""What can be wrong with an embed job's call, and which encoder it is.

torch and transformers are imported where they are used, after what can be found wrong without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.model_source import ModelSource
from jobs.output.commit import EMBEDDED_COLUMNS, embedded_schema
from jobs.preflight import Checked, check_corpus, check_packed, fingerprint
from jobs.settings import EmbedSettings, ModelSettings
from jobs.stages.chunk import Chunking
from jobs.stored_model import local_model
from strideformer.chunking import Chunker
from strideformer.encoder_identity import EncoderIdentity, tokenizer_hash
from strideformer.errors import StrideformerError
from strideformer.locations import checkpoint_folders, resolve_encoder

if TYPE_CHECKING:
    from strideformer.config import StrideformerConfig


@dataclass(frozen=True)
class CheckedEncoder(Checked):
    """What the preflight of the embed job found.

    Attributes:
        encoder: names the encoder in the store.
    """

    encoder: EncoderIdentity


def check(settings: EmbedSettings) -> CheckedEncoder:
    """Check a call of the embed job in the order of what is cheapest to find wrong.

    Raises:
        StrideformerError: the first thing that is wrong, in one sentence.
    """
    corpus = check_corpus(settings, EMBEDDED_COLUMNS)
    model = local_model(settings.model, settings.storage_option)
    folder = resolve_encoder(model)

    from transformers import AutoConfig

    if AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type == "strideformer":
        if settings.chunk_layers is not None:
            raise StrideformerError(
                f"chunk_layers is for an encoder, and {settings.model} is a checkpoint with its own: leave it out"
            )
        folders = checkpoint_folders(model)
        found = encoder_of_checkpoint(folder, settings.max_length, settings.stride, settings.max_chunks)
    else:
        folders = {"checkpoint": folder}
        found = bare_encoder(folder, settings)
    encoder, config, _ = found
    source, chunking = check_encoder(found, folders, settings, settings.dtype, settings.pair_column is not None)
    # The encoder's own fields in place of the model's files: another aggregator is no other embedding.
    of_input = fingerprint(settings, corpus.files, source, chunking)
    del of_input["model"]
    return CheckedEncoder(
        **vars(corpus),
        model=source,
        chunking=chunking,
        output_schema=embedded_schema(config.chunk_vector_size, corpus.kept_output),
        fingerprint=encoder.to_dict() | of_input,
        encoder=encoder,
    )


def check_encoder(
    found: tuple[EncoderIdentity, Any, Any],
    folders: Mapping[str, Path],
    settings: ModelSettings,
    dtype: str,
    pair: bool,
) -> tuple[ModelSource, Chunking]:
    """Check an encoder, its config and its tokenizer against what is asked of it.

    Raises:
        StrideformerError: the first thing that is wrong, in one sentence.
    """
    from strideformer.config import check_positions
    from strideformer.encoder_parts import PACKED_TYPES

    encoder, config, tokenizer = found
    check_positions(config.first_model_config, encoder.max_length)
    check_packed(dtype, config.first_model_config.model_type in PACKED_TYPES, settings.model)
    chunking = Chunking(encoder.max_length, encoder.stride, encoder.max_chunks)
    chunker = Chunker(tokenizer, chunking.max_length, chunking.stride, chunking.max_chunks)
    chunker.template(pair)
    return ModelSource.of(folders, tokenizer.backend_tokenizer.to_str()), chunking


def encoder_of_checkpoint(
    folder: Path, max_length: int | None = None, stride: int | None = None, max_chunks: int | None = None
) -> tuple[EncoderIdentity, Any, Any]:
    """A checkpoint's encoder, over documents cut as it was trained or as is said; its config and its tokenizer.

    Raises:
        StrideformerError: the checkpoint or its encoder cannot be loaded.
    """
    from transformers.utils.logging import disable_progress_bar

    from strideformer.checkpoint import weights_hash
    from strideformer.config import StrideformerConfig
    from strideformer.model import Strideformer

    disable_progress_bar()
    config = StrideformerConfig.from_pretrained(folder)
    weights = config.first_model_hash
    if weights is None:
        weights = weights_hash(Strideformer.from_pretrained(folder).first_model.state_dict())
    chunking = {
        "max_length": max_length or config.max_length,
        "stride": config.stride if stride is None else stride,
        "max_chunks": max_chunks or config.max_chunks,
    }
    return _identify(folder, weights, config, chunking)


def bare_encoder(folder: Path, settings: ModelSettings) -> tuple[EncoderIdentity, Any, Any]:
    """A sentence transformer over documents cut as is said, or as an encoder's are; its config and its tokenizer.

    Raises:
        StrideformerError: it cannot be loaded.
    """
    from transformers import AutoConfig
    from transformers.utils.logging import disable_progress_bar

    from strideformer.checkpoint import load_first_model, weights_hash
    from strideformer.config import StrideformerConfig
    from strideformer.pooling import sentence_transformer_pooling

    disable_progress_bar()
    pooling, normalize = sentence_transformer_pooling(folder)
    given = settings.model_dump(include={"max_length", "stride", "max_chunks", "chunk_layers"}, exclude_none=True)
    config = StrideformerConfig(
        first_model_config=AutoConfig.from_pretrained(folder, trust_remote_code=False),
        chunk_pooling=pooling,
        normalize_embeddings=normalize,
        num_attention_heads=1,  # there is no second model here whose heads might not divide the width
        **given,
    )
    weights = weights_hash(load_first_model(folder).state_dict())
    chunking = {name: getattr(config, name) for name in ("max_length", "stride", "max_chunks")}
    return _identify(folder, weights, config, chunking)


def _identify(
    folder: Path, weights: str, config: StrideformerConfig, chunking: dict[str, int]
) -> tuple[EncoderIdentity, Any, Any]:
    from strideformer.encoder import load_tokenizer

    tokenizer = load_tokenizer(folder, config.first_model_name)
    encoder = EncoderIdentity(
        weights=weights,
        chunk_pooling=config.chunk_pooling,
        normalize_embeddings=config.normalize_embeddings,
        chunk_layers=tuple(config.chunk_layers),
        tokenizer=tokenizer_hash(tokenizer.backend_tokenizer.to_str()),
        **chunking,
    )
    return encoder, config, tokenizer
