"""From token states to one vector a chunk, and how a sentence-transformer folder says it wants that done."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from strideformer.errors import StrideformerError


def pool_tokens(
    layers: Sequence[Tensor],
    attention_mask: Tensor | None,
    chunk_pooling: str = "mean",
    normalize_embeddings: bool = False,
) -> Tensor:
    """Pool a chunk's token states into its vector, in float32 whatever the states are in.

    Args:
        layers: token states of each layer that is read, (num_chunks, length, hidden_size) of any floating type.
        attention_mask: (num_chunks, length), 1 at tokens and 0 at padding; None when nothing is padded.
        chunk_pooling: ``mean`` of all tokens, special ones included, as sentence transformers do it, or
            ``cls``, the first token.
        normalize_embeddings: scale the vector of each layer to length 1.

    Returns:
        (num_chunks, layers × hidden_size) float32, those of the layers side by side.
    """
    if chunk_pooling == "cls":
        pooled = [states[:, 0].float() for states in layers]
    elif attention_mask is None:
        pooled = [states.float().mean(dim=1) for states in layers]
    else:
        mask = attention_mask.unsqueeze(-1).float()
        tokens = mask.sum(dim=1).clamp(min=1e-9)
        pooled = [(states.float() * mask).sum(dim=1) / tokens for states in layers]
    return _side_by_side(pooled, normalize_embeddings)


def pool_packed(
    layers: Sequence[Tensor],
    offsets: Tensor,
    runs: Sequence[tuple[int, int]],
    chunk_pooling: str = "mean",
    normalize_embeddings: bool = False,
) -> Tensor:
    """`pool_tokens` of chunks that lie one after the other without padding.

    Args:
        layers: token states of each layer that is read, (num_tokens, hidden_size) of any floating type.
        offsets: (num_chunks + 1,) integers, where each chunk starts and ends; no chunk is empty.
        runs: (number of chunks, their length) of each run of chunks of one length, in order.
        chunk_pooling, normalize_embeddings: as in `pool_tokens`.

    Returns:
        (num_chunks, layers × hidden_size) float32, those of the layers side by side.
    """
    if chunk_pooling == "cls":
        pooled = [states[offsets[:-1].long()].float() for states in layers]
    else:
        pooled = [_means(states, offsets, runs) for states in layers]
    return _side_by_side(pooled, normalize_embeddings)


def _means(states: Tensor, offsets: Tensor, runs: Sequence[tuple[int, int]]) -> Tensor:
    """(num_tokens, hidden_size) to (num_chunks, hidden_size) float32.

    Chunks of one length are a matrix, whose mean takes a tenth of ``segment_reduce``: that adds a chunk's tokens one
    after the other. On an accelerator a launch for each of many runs would cost more than it.
    """
    if len(runs) > 1 and states.device.type != "cpu":
        return torch.segment_reduce(states.float(), "mean", offsets=offsets.long(), axis=0)
    sizes = [number * length for number, length in runs]
    means = [
        of_run.view(number, length, -1).mean(dim=1, dtype=torch.float32)
        for of_run, (number, length) in zip(states.split(sizes), runs, strict=True)
    ]
    return means[0] if len(means) == 1 else torch.cat(means)


def _side_by_side(vectors: Sequence[Tensor], normalize_embeddings: bool) -> Tensor:
    if normalize_embeddings:
        vectors = [normalize(each, dim=-1) for each in vectors]
    return vectors[0] if len(vectors) == 1 else torch.cat(list(vectors), dim=-1)


def sentence_transformer_pooling(folder: Path) -> tuple[str, bool]:
    """Pooling and normalisation that a sentence-transformer folder declares: (``mean`` | ``cls``, normalised).

    A folder that declares nothing is a plain encoder: mean, not normalised.

    Raises:
        StrideformerError: it declares a pooling that we do not compute.
    """
    modules = folder / "modules.json"
    if not modules.exists():
        return "mean", False
    kinds = {str(module["type"]).rsplit(".", 1)[-1]: module for module in json.loads(modules.read_text())}
    declared: dict[str, Any] = {}
    if "Pooling" in kinds:
        file = folder / kinds["Pooling"]["path"] / "config.json"
        declared = json.loads(file.read_text()) if file.exists() else {}
    modes = {name.removeprefix("pooling_mode_") for name, on in declared.items() if on is True}
    modes &= {
        "cls_token",
        "mean_tokens",
        "max_tokens",
        "mean_sqrt_len_tokens",
        "weightedmean_tokens",
        "lasttoken",
    }
    mode = declared.get("pooling_mode") or (modes.pop() if len(modes) == 1 else "+".join(sorted(modes)))
    names = {"": "mean", "mean_tokens": "mean", "mean": "mean", "cls_token": "cls", "cls": "cls"}
    if mode not in names or "Dense" in kinds:
        extra = "a Dense layer" if "Dense" in kinds else f"{mode!r} pooling"
        raise StrideformerError(
            f"the encoder in {folder} uses {extra}, which is not supported: use one with mean or cls pooling"
        )
    return names[mode], "Normalize" in kinds
