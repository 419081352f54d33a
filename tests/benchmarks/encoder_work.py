"""How much an encoder has to compute, and how much its device could: the roofs of both encoder benchmarks."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import PreTrainedConfig

from strideformer.stopwatch import synchronize

SIZES = (1024, 2048, 3072)
TRIES, DEVICE_TRIES = 3, 10
LEAST_SECONDS = 5e-3  # of what is timed on a device


def operations(config: PreTrainedConfig, lengths: np.ndarray) -> float:
    """Multiplications and additions of a BERT's layers, or its kin's, over chunks of so many real tokens.

    Special tokens are among them. Queries, keys, values, attention output and feed-forward go by tokens; the two
    products of attention by the square of each chunk's length. Padding is not counted, nor are embeddings, norms, GELU,
    softmax and pooling.
    """
    width, inner, layers = _sizes(config)
    gated = config.model_type == "modernbert"
    of_a_token = 2 * (4 * width * width + (2 + gated) * width * inner)
    tokens = lengths.astype(np.float64)
    pairs = [tokens**2] * layers
    if gated:
        # Of tokens at most so many places from each other, where a layer attends within a window.
        reach = np.minimum(config.sliding_window, tokens - 1)
        within = tokens * (2 * reach + 1) - reach * (reach + 1)
        pairs = [within if kind == "sliding_attention" else tokens**2 for kind in config.layer_types]
    return float(layers * of_a_token * tokens.sum() + 4 * width * np.sum(pairs))


def _sizes(config: PreTrainedConfig) -> tuple[int, int, int]:
    """Of the states, of the feed-forward's inside, and the number of layers."""
    inner = config.hidden_dim if config.model_type == "distilbert" else config.intermediate_size
    return config.hidden_size, inner, config.num_hidden_layers


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


def traffic(config: PreTrainedConfig, tokens: int, bytes_per_value: int = 2) -> float:
    """Bytes of activations that a forward of these many tokens moves to and from memory, weights left out.

    As if each product, each attention, each sum with its norm and each GELU were one kernel that reads its inputs and
    writes its outputs once: 18 times the width and 4 times the inner width a layer. A GELU fused into its product
    saves two of the latter; a cache that holds a micro-batch saves more.
    """
    width, inner, layers = _sizes(config)
    return float(layers * tokens * (18 * width + 4 * inner) * bytes_per_value)


class DeviceRoofs:
    """What an accelerator can do at most, each the best of several tries.

    Attributes:
        matmul: operations a second of square products in half precision.
        copy: bytes a second, read and written, of a copy within its memory.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, sizes: tuple[int, ...]) -> None:
        self.device, self.dtype = device, dtype
        self.matmul = max(self.of_product(size, size, size) for size in sizes)
        source = torch.empty(max(sizes) ** 2 * 8, dtype=torch.uint8, device=device)
        self.copy = 2 * source.numel() / self._best(source.clone)

    def of_product(self, rows: int, inner: int, columns: int) -> float:
        """Operations a second of (rows, inner) times (inner, columns)."""
        left = torch.randn((rows, inner), dtype=self.dtype, device=self.device)
        right = torch.randn((columns, inner), dtype=self.dtype, device=self.device).t()  # as a linear layer has it
        return 2.0 * rows * inner * columns / self._best(lambda: torch.mm(left, right))

    def of_shapes(self, config: PreTrainedConfig, tokens: int) -> float:
        """Operations a second of the encoder's own linear layers over a micro-batch of these many tokens."""
        width, inner = config.hidden_size, config.intermediate_size
        shapes = [(width, 3 * width), (width, width), (width, inner), (inner, width)]
        amounts = [2.0 * tokens * first * second for first, second in shapes]
        seconds = [amount / self.of_product(tokens, *shape) for amount, shape in zip(amounts, shapes, strict=True)]
        return float(sum(amounts) / sum(seconds))

    def _best(self, work: Callable[[], object]) -> float:
        """Seconds of one; of many together, since the launch of a short one takes as long as itself."""
        seconds, repeats = self._seconds(work, 1), 1
        while seconds < LEAST_SECONDS:
            repeats *= 2
            seconds = self._seconds(work, repeats)
        return min(self._seconds(work, repeats) for _ in range(DEVICE_TRIES)) / repeats

    def _seconds(self, work: Callable[[], object], repeats: int) -> float:
        synchronize(self.device)
        started = time.perf_counter()
        for _ in range(repeats):
            work()
        synchronize(self.device)
        return time.perf_counter() - started
