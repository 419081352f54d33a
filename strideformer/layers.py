"""The layers of a first model whose token states are pooled into chunk vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

LAST = (-1,)


def layer_numbers(chunk_layers: Sequence[int], num_hidden_layers: int) -> list[int]:
    """Layers counted from the start: 0 is the embeddings, ``num_hidden_layers`` the last layer; -1 is that, too."""
    return [layer if layer >= 0 else layer + num_hidden_layers + 1 for layer in chunk_layers]


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
