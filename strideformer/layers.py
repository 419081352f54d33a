"""The layers of a first model whose token states are pooled into chunk vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from strideformer.errors import StrideformerError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

LAST = (-1,)


def layer_numbers(chunk_layers: Sequence[int], num_hidden_layers: int) -> list[int]:
    """Layers counted from the start: 0 is the embeddings, ``num_hidden_layers`` the last layer; -1 is that, too."""
    return [layer if layer >= 0 else layer + num_hidden_layers + 1 for layer in chunk_layers]


def refuse_unknown_layers(chunk_layers: Sequence[int], depth: int) -> None:
    """Refuse layers that an encoder does not have.

    Args:
        chunk_layers: as in the config.
        depth: how many layers it has, beside its embeddings.

    Raises:
        StrideformerError: there is none, one is unknown, or one is named twice.
    """
    whole = [layer for layer in chunk_layers if isinstance(layer, int) and not isinstance(layer, bool)]
    if not whole or len(whole) < len(chunk_layers) or not all(-depth - 1 <= layer <= depth for layer in whole):
        raise StrideformerError(
            f"chunk_layers={list(chunk_layers)} must be one or several layers of the encoder: 0, its embeddings, to "
            f"{depth}, or counted from the end, -1"
        )
    if len(set(layer_numbers(whole, depth))) < len(whole):
        raise StrideformerError(f"chunk_layers={list(chunk_layers)} names a layer twice: name each once")


def states_of_layers(
    first_model: PreTrainedModel, chunk_layers: Sequence[int], **inputs: Tensor | None
) -> list[Tensor]:
    """Run a first model's own forward and take the token states of some layers.

    Args:
        first_model: any encoder of transformers.
        chunk_layers: as in the config.
        inputs: of the forward, padded.

    Returns:
        A (num_chunks, length, hidden_size) tensor for each layer. The last one is with the norm that some models have
        after it.
    """
    if tuple(chunk_layers) == LAST:
        return [first_model(**inputs).last_hidden_state]
    depth = first_model.config.num_hidden_layers
    output = first_model(**inputs, output_hidden_states=True)
    numbers = layer_numbers(chunk_layers, depth)
    return [output.last_hidden_state if number == depth else output.hidden_states[number] for number in numbers]
