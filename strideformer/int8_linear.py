"""Linear layers of inference in eight bits: uint8 activations, int8 weights, sums of 32 bits, by oneDNN.

All input features of a layer share one scale, and one with large values would take the levels from the others. So each
is divided by a factor first, by which the weights that read it are multiplied (SmoothQuant, Xiao et al. 2023,
https://arxiv.org/abs/2211.10438), and moved so that its values lie around zero, which the bias makes up for (Outlier
Suppression+, Wei et al. 2023, https://arxiv.org/abs/2304.09145). Weights have a scale for each output feature, and are
rounded by GPTQ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from strideformer.packed_linear import GELU_ALGORITHMS, PackedLinear, rows_of

# SmoothQuant's alpha: 1 leaves all that features differ by to the weights, 0 to the activations. The mean 1 − cosine of
# MiniLM-L6's chunk vectors of court transcripts is 1.1e-3 at 0.4, 8.5e-4 at 0.6, 7.7e-4 at 0.7, and 9.3e-4 at 0.9, all
# with weights rounded each by itself.
BALANCE = 0.7
# How far beyond the values that were seen the levels reach; what is further out is taken for the furthest.
ROOM = 1.1
# Of the inner features of a feed-forward one in so many is kept out of int8, those with the largest values: 64 of
# MiniLM-L6's 1,536, which reach 24 where others reach 1.3. With the feed-forward's second layer alone in int8 the mean
# 1 − cosine is 3.4e-3 if none is kept out, 2.8e-4 with 16, 2.1e-4 with 64, and no less with more.
KEPT_OUT_OF = 24
# Added to the covariance's diagonal, as a share of its mean, for GPTQ, which takes that 1 − cosine from 7.7e-4 to
# 5.4e-4 (6.2e-4 with 0.01, more for what few texts tell); and how many columns of weights it brings up to date at once.
DAMPING, COLUMNS_AT_ONCE = 0.3, 64
# Of an int8 weight: -128 is left out, so that the levels are the same on both sides of zero.
MOST_WEIGHT = 127


@dataclass(frozen=True)
class Seen:
    """The values of each feature that a layer was seen to read.

    Attributes:
        least, most, mean: (features,) float32.
        covariance: (features, features) float32.
    """

    least: Tensor
    most: Tensor
    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, states: Tensor) -> Seen:
        """Of (tokens, features) states of any floating type."""
        states = states.float()
        least, most = torch.aminmax(states, dim=0)
        return cls(least, most, states.mean(0), torch.cov(states.T, correction=0))

    @property
    def largest(self) -> Tensor:
        """(features,) the largest absolute values."""
        return torch.maximum(self.least.abs(), self.most.abs())

    def some(self, features: Tensor) -> Seen:
        """Of these features alone."""
        covariance = self.covariance[features][:, features]
        return Seen(self.least[features], self.most[features], self.mean[features], covariance)

    def divided(self, factors: Tensor) -> Seen:
        """Of states that are divided by (features,) factors."""
        covariance = self.covariance / factors / factors[:, None]
        return Seen(self.least / factors, self.most / factors, self.mean / factors, covariance)


@dataclass(frozen=True)
class Levels:
    """What the numbers of a uint8 stand for: ``scale * (number - zero_point)``."""

    scale: float
    zero_point: int

    @classmethod
    def spanning(cls, seen: Seen) -> Levels:
        """Levels that reach over everything seen, and zero, with some room."""
        least = min(0.0, float(seen.least.min())) * ROOM
        most = max(0.0, float(seen.most.max())) * ROOM
        scale = max((most - least) / 255, torch.finfo(torch.float32).tiny)
        return cls(scale, round(-least / scale))


class Int8Product:
    """uint8 activations times int8 weights, with a bias and an optional GELU.

    Args:
        weight: (out_features, in_features) float32.
        bias: (out_features,) float32.
        reads: what the activations' numbers stand for.
        seen: the activations that it was seen to read.
        activation: ``""`` or a key of GELU_ALGORITHMS.
        gives: what the numbers of the result stand for, if it is uint8, too.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        reads: Levels,
        seen: Seen,
        activation: str = "",
        gives: Levels | None = None,
    ) -> None:
        self.reads, self.gives = reads, gives
        self.after = ("gelu", GELU_ALGORITHMS[activation]) if activation else ("none", "")
        self.scales = (weight.abs().amax(1) / MOST_WEIGHT).clamp_min(torch.finfo(torch.float32).tiny)
        numbers = rounded(weight / self.scales[:, None], seen.covariance)
        self.packed: Tensor = torch.ops.onednn.qlinear_prepack(numbers, None)
        self.zero_points = torch.zeros(len(weight), dtype=torch.int64)
        self.bias = bias + (weight - numbers * self.scales[:, None]) @ seen.mean

    def __call__(self, numbers: Tensor, dtype: torch.dtype) -> Tensor:
        """(tokens, in_features) uint8 to (tokens, out_features), uint8 with ``gives``, else of this type."""
        scale, zero_point = (1.0, 0) if self.gives is None else (self.gives.scale, self.gives.zero_point)
        after, algorithm = self.after
        result: Tensor = torch.ops.onednn.qlinear_pointwise(
            numbers,
            self.reads.scale,
            self.reads.zero_point,
            self.packed,
            self.scales,
            self.zero_points,
            self.bias,
            scale,
            zero_point,
            dtype if self.gives is None else torch.uint8,
            after,
            [],
            algorithm,
        )
        return result


def rounded(weight: Tensor, covariance: Tensor) -> Tensor:
    """Weights to whole numbers, by GPTQ: what one input feature's weights lose, those of later features make up for.

    Frantar et al. 2023, https://arxiv.org/abs/2210.17323.

    Args:
        weight: (out_features, in_features) float32, of which no value is beyond MOST_WEIGHT.
        covariance: (in_features, in_features) float32 of what they are multiplied by.

    Returns:
        (out_features, in_features) int8.
    """
    features = len(covariance)
    damped = covariance + torch.eye(features) * (
        DAMPING * covariance.diagonal().mean() + torch.finfo(torch.float32).tiny
    )
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    share = torch.linalg.cholesky(inverse, upper=True)
    share = share / share.diagonal()[:, None]
    left, numbers = weight.clone(), torch.empty_like(weight)
    for start in range(0, features, COLUMNS_AT_ONCE):
        end = min(features, start + COLUMNS_AT_ONCE)
        block, lost = left[:, start:end], torch.empty((len(weight), end - start))
        for column in range(end - start):
            whole = block[:, column].round().clamp_(-MOST_WEIGHT, MOST_WEIGHT)
            lost[:, column] = block[:, column] - whole
            numbers[:, start + column] = whole
            block[:, column + 1 :].addr_(lost[:, column], share[start + column, start + column + 1 : end], alpha=-1)
        left[:, end:].addmm_(lost, share[start:end, end:], alpha=-1)
    return numbers.to(torch.int8)


class Int8Linear:
    """`PackedLinear` in int8: one linear layer, or several side by side on the same input.

    Args:
        layers: linear layers of one input width; their outputs are concatenated.
        seen: what they were seen to read.
        activation, gives: as in `Int8Product`.
    """

    def __init__(
        self, layers: Sequence[nn.Linear], seen: Seen, activation: str = "", gives: Levels | None = None
    ) -> None:
        weight = torch.cat([layer.weight.detach() for layer in layers]).float()
        middle, reach = (seen.most + seen.least) / 2, (seen.most - seen.least) / 2
        least = torch.finfo(torch.float32).eps
        factors = reach.clamp_min(least) ** BALANCE / weight.abs().amax(0).clamp_min(least) ** (1 - BALANCE)
        levels = Levels(float((reach.clamp_min(least) / factors).max()) * ROOM / 127, 128)
        bias = _bias(layers) + weight @ middle
        moved = Seen(seen.least - middle, seen.most - middle, seen.mean - middle, seen.covariance)
        self.product = Int8Product(weight * factors, bias, levels, moved.divided(factors), activation, gives)
        self.to_numbers = 1 / (factors * levels.scale)
        self.shift = -middle * self.to_numbers

    def __call__(self, states: Tensor) -> Tensor:
        """(tokens, in_features) to (tokens, total out_features) in the type of the states, or uint8 with ``gives``."""
        numbers = torch.addcmul(self.shift, states, self.to_numbers).round_().clamp_(-128, 127)
        # To int8 first, since torch casts to that many times faster than to uint8; the bit that is turned adds 128.
        return self.product(numbers.to(torch.int8).view(torch.uint8).bitwise_xor_(128), states.dtype)


class Int8FeedForward:
    """`PackedFeedForward` in int8, but for the few inner features with the largest values.

    The first layer gives the inner features as the uint8 that the second one reads, so that nothing is in between.

    Args:
        intermediate, output: the two layers.
        activation: a key of GELU_ALGORITHMS.
        seen, seen_inside: what the first and the second were seen to read.
    """

    def __init__(
        self, intermediate: nn.Linear, output: nn.Linear, activation: str, seen: Seen, seen_inside: Seen
    ) -> None:
        largest = seen_inside.largest
        kept_out = largest.topk(-(-len(largest) // KEPT_OUT_OF)).indices.sort().values
        in_int8 = torch.ones(len(largest), dtype=torch.bool)
        in_int8[kept_out] = False
        seen_in_int8 = seen_inside.some(in_int8)
        levels = Levels.spanning(seen_in_int8)
        self.first = Int8Linear([rows_of(intermediate, in_int8)], seen, activation, gives=levels)
        self.second = Int8Product(output.weight.detach()[:, in_int8].float(), _bias([output]), levels, seen_in_int8)
        self.first_kept_out = PackedLinear([rows_of(intermediate, kept_out)], activation)
        self.second_kept_out = output.weight.detach()[:, kept_out].t().contiguous()

    def __call__(self, states: Tensor) -> Tensor:
        """(tokens, hidden_size) states to what the two layers make of them."""
        exact = self.first_kept_out(states) @ self.second_kept_out
        return self.second(self.first(states), states.dtype).add_(exact)


def _bias(layers: Sequence[nn.Linear]) -> Tensor:
    """(total out_features,) float32, zeros of a layer without one."""
    biases = [layer.weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias for layer in layers]
    return torch.cat([bias.detach() for bias in biases]).float()
