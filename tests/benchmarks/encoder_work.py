"""How much an encoder has to compute, and how much its device could: the roofs of both encoder benchmarks."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import PreTrainedConfig

SIZES = (1024, 2048, 3072)
TRIES = 3


def operations(config: PreTrainedConfig, lengths: np.ndarray) -> float:
    """Multiplications and additions of a BERT's layers over chunks of these many real tokens, special ones included.

    Queries, keys, values, attention output and feed-forward go by tokens; the two products of attention by the square
    of each chunk's length. Padding is not counted, nor are embeddings, norms, GELU, softmax and pooling.
    """
    width, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    of_a_token = 2 * (4 * width * width + 2 * width * inner)
    tokens = lengths.astype(np.float64)
    return float(layers * (of_a_token * tokens.sum() + 4 * width * (tokens**2).sum()))


class CpuPeak:
    """The most operations a second of a matrix product on this CPU in one number format.

    Square products of some sizes, as torch multiplies and through oneDNN with the weights reordered before; the peak is
    the best of both ways, all sizes and all tries. torch's own fp32 products go through MKL, which is slower than
    oneDNN on some processors.
    """

    def __init__(self, dtype: torch.dtype, sizes: tuple[int, ...] = SIZES) -> None:
        self.products = [product for size in sizes for product in square_products(dtype, size)]

    @torch.inference_mode()
    def __call__(self) -> float:
        """Operations a second, measured now."""
        return max(operations / _best(product) for operations, product in self.products)


def square_products(dtype: torch.dtype, size: int) -> list[tuple[float, Callable[[], object]]]:
    """One product as torch does it, and through oneDNN where torch has it; each with its operations."""
    generator = torch.Generator().manual_seed(size)
    left, right = (torch.randn((size, size), generator=generator).to(dtype) for _ in range(2))
    products: list[Callable[[], object]] = [lambda: torch.mm(left, right)]
    try:
        with torch.inference_mode():
            packed = torch.ops.mkldnn._reorder_linear_weight(right, None)
            multiply = torch.ops.mkldnn._linear_pointwise
            multiply(left, packed, None, "none", [], "")
        products.append(lambda: multiply(left, packed, None, "none", [], ""))
    except (AttributeError, RuntimeError, TypeError):
        pass
    return [(2.0 * size**3, product) for product in products]


def _best(product: Callable[[], object]) -> float:
    taken = []
    for _ in range(TRIES):
        started = time.perf_counter()
        product()
        taken.append(time.perf_counter() - started)
    return min(taken)
