"""Linear layers of inference, prepacked for oneDNN where that is the faster library."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# oneDNN against torch's own product on a Zen 4: 515 to 212 GFLOP/s in float32 with AVX-512, 130 to 110 without.
MEASURED_AHEAD = ("AVX2", "AVX512")
# Of how many shapes oneDNN is to keep the kernels.
KERNELS_KEPT = 2048
# On a CPU a micro-batch has a multiple of so many rows, the last of which are of no token: oneDNN makes a kernel for
# each number of rows, and keeps some.
ROWS_ON_CPU = 32
# The GELUs of transformers' ``hidden_act`` that oneDNN fuses into the product, by its names for them.
GELU_ALGORITHMS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}

# (num_tokens, in_features) to (num_tokens, out_features).
Linear = Callable[[Tensor], Tensor]


class PackedLinear:
    """One linear layer, or several side by side on the same input, with an optional GELU after it.

    On CPUs with AVX512 it goes through oneDNN with weights reordered once: torch's own fp32 path is MKL, which
    reaches 212 GFLOP/s on a Zen 5 against oneDNN's 515, and bf16 needs the fused GELU to be near its peak. On
    older CPUs both libraries are equal and oneDNN's GELU is the slower one (64 against 135 GFLOP/s on a Zen 3),
    so torch's is taken. The operators are torch's private ones: where they are missing or refuse, torch's
    own linear does the same.

    Args:
        layers: linear layers of one input width; their outputs are concatenated.
        activation: ``""`` or a key of GELU_ALGORITHMS.
    """

    def __init__(self, layers: Sequence[nn.Linear], activation: str = "") -> None:
        self.activation = activation
        weight = torch.cat([layer.weight.detach() for layer in layers]).contiguous()
        biases = [torch.zeros_like(layer.weight[:, 0]) if layer.bias is None else layer.bias for layer in layers]
        self.bias = torch.cat([bias.detach() for bias in biases]).contiguous()
        self.reordered = _reordered(weight, self.bias, activation)
        # Not both: 24 layers of 384 × 4,096 are 359 MB in fp32.
        self.weight = weight if self.reordered is None else weight.new_empty(0)

    def __call__(self, states: Tensor) -> Tensor:
        """(num_tokens, in_features) to (num_tokens, total out_features)."""
        if self.reordered is not None:
            return onednn_linear(states, self.reordered, self.bias, self.activation)
        states = functional.linear(states, self.weight, self.bias)
        if not self.activation:
            return states
        return functional.gelu(states, approximate=GELU_ALGORITHMS[self.activation])


class PackedFeedForward:
    """A linear layer with a GELU and one back."""

    def __init__(self, intermediate: nn.Linear, output: nn.Linear, activation: str) -> None:
        self.intermediate: Linear = PackedLinear([intermediate], activation)
        self.output: Linear = PackedLinear([output])

    def __call__(self, states: Tensor) -> Tensor:
        """(num_tokens, hidden_size) states to what the two layers make of them."""
        return self.output(self.intermediate(states))


def rows_of(layer: nn.Linear, rows: Tensor | slice) -> nn.Linear:
    """A layer of some of the output features."""
    weight = layer.weight.detach()[rows]
    some = nn.Linear(weight.shape[1], weight.shape[0], bias=layer.bias is not None, device="meta", dtype=weight.dtype)
    some.weight = nn.Parameter(weight, requires_grad=False)
    if layer.bias is not None:
        some.bias = nn.Parameter(layer.bias.detach()[rows], requires_grad=False)
    return some


def _reordered(weight: Tensor, bias: Tensor, activation: str) -> Tensor | None:
    """The weight in oneDNN's own layout, if it is tried and works here."""
    if weight.device.type != "cpu" or not onednn_is_ahead():
        return None
    try:
        with torch.inference_mode():
            reordered: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, None)
            onednn_linear(torch.zeros((2, weight.shape[1]), dtype=weight.dtype), reordered, bias, activation)
    except (AttributeError, RuntimeError, TypeError):
        return None
    return reordered


def keep_kernels() -> None:
    """Have oneDNN keep the kernels of more shapes, if it is not in use yet and the environment does not say how many.

    It makes one for each shape, in 0.3 ms and more, and keeps the last 1,024 by itself. Each product needs one for each
    number of rows, and attention by products two for each length of a chunk. With rows by 32s (`PackedEncoder.rows`)
    and room for 2,048, texts of ever other lengths, 166 tokens in the mean, were encoded 1.06 times as fast in bf16, in
    about as much memory (two cores of a Zen 5, attention by products).
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS_KEPT))


def onednn_is_ahead() -> bool:
    """Whether torch has oneDNN, and this CPU is one of those where its products are the faster ones."""
    return torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() in MEASURED_AHEAD


def onednn_linear(states: Tensor, weight: Tensor, bias: Tensor, activation: str = "") -> Tensor:
    """The product of (rows, in_features) states with reordered (out_features, in_features) weights, by oneDNN."""
    after, algorithm = ("gelu", GELU_ALGORITHMS[activation]) if activation else ("none", "")
    result: Tensor = torch.ops.mkldnn._linear_pointwise.default(states, weight, bias, after, [], algorithm)
    return result
