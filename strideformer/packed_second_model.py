"""PackedSecondModel: the layers of the aggregator over ragged documents without padding, for inference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, scaled_dot_product_attention

from strideformer.packed_linear import GELU_ALGORITHMS, PackedLinear
from strideformer.second_model import SecondModel


class PackedSecondModel:
    """Takes and gives what the `SecondModel` takes and gives that it is made of, with its weights as they are now.

    Every linear layer runs over the chunks alone, and through oneDNN where `PackedLinear` does that; only attention, a
    fortieth of the work for a document of 128 chunks, is padded. Documents are ragged: sorted by length and cut into
    batches under a budget, those of 40 RFCs still pad 1,551 chunks to 5,120.

    Args:
        model: in evaluation mode, on its device and in its number format.
        activation: the config's ``hidden_act``.
        products: number format of what the linear layers multiply; norms, attention and the sums between layers stay
            in the model's own.
    """

    def __init__(self, model: SecondModel, activation: str, products: torch.dtype = torch.float32) -> None:
        self.model = model
        self.layers = [_PackedLayer(layer, activation, products) for layer in model.layers]

    @torch.inference_mode()
    def __call__(self, states: Tensor, present: Tensor) -> Tensor:
        """`SecondModel.forward`; what it gives for padding is zero."""
        states, present = self.model.with_document_vector(states, present)
        # Each document's and each chunk's place in the flattened (documents, longest) grid.
        cells = present.flatten().nonzero().squeeze(1)
        mask = None if len(cells) == present.numel() else present[:, None, None]
        packed = states.flatten(0, 1)[cells]
        for layer in self.layers:
            packed = layer(packed, cells, present, mask)
        padded = states.new_zeros((present.numel(), states.shape[-1]))
        return padded.index_copy_(0, cells, self.model.norm(packed)).view_as(states)


class _PackedLayer:
    """An `nn.TransformerEncoderLayer`."""

    def __init__(self, layer: Any, activation: str, products: torch.dtype) -> None:
        self.products = products
        attention = layer.self_attn
        self.heads = int(attention.num_heads)
        self.norm_first = bool(layer.norm_first)
        self.qkv = self._linear(attention.in_proj_weight, attention.in_proj_bias)
        self.attention_output = self._linear(attention.out_proj.weight, attention.out_proj.bias)
        fused = activation in GELU_ALGORITHMS
        self.intermediate = self._linear(layer.linear1.weight, layer.linear1.bias, activation if fused else "")
        self.activation = None if fused else layer.activation
        self.output = self._linear(layer.linear2.weight, layer.linear2.bias)
        self.norms = [layer.norm1, layer.norm2]

    def __call__(self, states: Tensor, cells: Tensor, present: Tensor, mask: Tensor | None) -> Tensor:
        """(num_chunks, hidden_size) to the same; ``cells`` and ``mask`` say where they lie in the padded grid."""
        if self.norm_first:
            states = self._attend(self._norm(0, states), cells, present, mask).add_(states)
            return self._feed(self._norm(1, states)).add_(states)
        states = self._norm(0, self._attend(states, cells, present, mask).add_(states))
        return self._norm(1, self._feed(states).add_(states))

    def _norm(self, which: int, states: Tensor) -> Tensor:
        norm = self.norms[which]
        return layer_norm(states, norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    def _attend(self, states: Tensor, cells: Tensor, present: Tensor, mask: Tensor | None) -> Tensor:
        documents, longest = present.shape
        qkv = self.qkv(states.to(self.products)).to(states.dtype)
        grid = states.new_zeros((documents * longest, 3 * states.shape[-1])).index_copy_(0, cells, qkv)
        query, key, value = grid.view(documents, longest, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        context = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        context = context.transpose(1, 2).reshape(documents * longest, -1)[cells]
        return self.attention_output(context.to(self.products)).to(states.dtype)

    def _feed(self, states: Tensor) -> Tensor:
        inner = self.intermediate(states.to(self.products))
        return self.output(inner if self.activation is None else self.activation(inner)).to(states.dtype)

    def _linear(self, weight: Tensor, bias: Tensor, activation: str = "") -> PackedLinear:
        layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
        layer.weight = nn.Parameter(weight.detach().to(self.products), False)
        layer.bias = nn.Parameter(bias.detach().to(self.products), False)
        return PackedLinear([layer], activation)
