"""PackedSecondModel: the layers of the aggregator over ragged documents without padding, for inference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from strideformer.add_and_norm import AddAndNorm
from strideformer.compiled_attention import compiled_attention
from strideformer.packed_linear import GELU_ALGORITHMS, PackedLinear
from strideformer.second_model import SecondModel


class PackedSecondModel:
    """Takes and gives what the `SecondModel` takes and gives that it is made of, with its weights as they are now.

    Every linear layer runs over the chunks alone, and through oneDNN where `PackedLinear` does that; attention, a
    fortieth of the work for a document of 128 chunks, is padded where it has no kernel of ours. Documents are ragged:
    sorted by length and cut into batches under a budget, those of 40 RFCs still pad 1,551 chunks to 5,120.

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
        documents = _Documents(present)
        packed = states.flatten(0, 1)[documents.cells]
        for layer in self.layers:
            packed = layer(packed, documents)
        return documents.padded(self.model.norm(packed)).view_as(states)


class _Documents:
    """Where the chunks of documents lie, one after the other and in the padded grid.

    Attributes:
        present: (documents, longest) bool.
        cells: (num_chunks,) int64, the place of each chunk in the flattened grid.
        offsets: (documents + 1,) int32, at which chunk each starts.
        mask: of attention over the grid, None where it is full.
    """

    def __init__(self, present: Tensor) -> None:
        self.present = present
        self.cells = present.flatten().nonzero().squeeze(1)
        self.offsets = pad(present.sum(1).cumsum(0), (1, 0)).to(torch.int32)
        self.mask = None if len(self.cells) == present.numel() else present[:, None, None]

    def padded(self, packed: Tensor) -> Tensor:
        """(num_chunks, width) to (documents * longest, width), zeros where there is no chunk."""
        grid = packed.new_zeros((self.present.numel(), packed.shape[-1]))
        return grid.index_copy_(0, self.cells, packed)


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
        self.add_and_norm = [AddAndNorm(norm) for norm in self.norms]
        weight = layer.norm1.weight
        self.kernel = compiled_attention(weight.device, weight.dtype, self.heads, len(weight) // self.heads)

    def __call__(self, states: Tensor, documents: _Documents) -> Tensor:
        """(num_chunks, hidden_size) to the same."""
        if self.norm_first:
            states = self._attend(self.norms[0](states), documents).add_(states)
            return self._feed(self.norms[1](states)).add_(states)
        states = self.add_and_norm[0](self._attend(states, documents), states)
        return self.add_and_norm[1](self._feed(states), states)

    def _attend(self, states: Tensor, documents: _Documents) -> Tensor:
        qkv = self.qkv(states.to(self.products)).to(states.dtype)
        shape = documents.present.shape
        if self.kernel is not None:
            context = self.kernel.within(qkv.view(len(qkv), 3, self.heads, -1), documents.offsets, shape[1])
        else:
            query, key, value = documents.padded(qkv).view(*shape, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            grid = scaled_dot_product_attention(query, key, value, attn_mask=documents.mask)
            context = grid.transpose(1, 2).reshape(shape.numel(), -1)[documents.cells]
        return self.attention_output(context.to(self.products)).to(states.dtype)

    def _feed(self, states: Tensor) -> Tensor:
        inner = self.intermediate(states.to(self.products))
        return self.output(inner if self.activation is None else self.activation(inner)).to(states.dtype)

    def _linear(self, weight: Tensor, bias: Tensor, activation: str = "") -> PackedLinear:
        layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
        layer.weight = nn.Parameter(weight.detach().to(self.products), False)
        layer.bias = nn.Parameter(bias.detach().to(self.products), False)
        return PackedLinear([layer], activation)
