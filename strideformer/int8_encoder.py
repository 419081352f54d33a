"""A packed encoder's matrix products in int8, with ranges from texts that come with this package."""

from __future__ import annotations

import torch
from torch import Tensor

from strideformer.chunk_batches import PackedChunks
from strideformer.devices import cpu_has
from strideformer.errors import StrideformerError
from strideformer.int8_linear import Int8FeedForward, Int8Linear, Int8Product, Levels, Seen
from strideformer.packed_encoder import PackedEncoder, PackedLayer
from strideformer.packed_linear import Linear, PackedFeedForward
from strideformer.pooling import pool_packed

# Below this mean cosine between chunks' vectors before and after, labels are likely to change. MiniLM-L6's is 0.9991
# on the texts of this package, among them some of a few tokens, and 0.9995 on long documents.
LEAST_COSINE = 0.995
NOT_HERE = "dtype int8 needs {}: use auto"


def check_int8(device: torch.device) -> None:
    """Refuse a device on which products in int8 are not exact and fast, before any weights are touched.

    Raises:
        StrideformerError: the device is no CPU, or one without VNNI or AMX, whose products of eight bits saturate at
            sixteen; or torch's private operators for them are missing.
    """
    if device.type != "cpu":
        raise StrideformerError(NOT_HERE.format(f"a CPU, and the device is {device.type}"))
    if not (cpu_has("vnni") or cpu_has("amx_tile")):
        raise StrideformerError(NOT_HERE.format("a CPU with AVX512-VNNI or AMX, which this one is not"))
    try:
        product = Int8Product(torch.eye(4), torch.zeros(4), Levels(1.0, 128), Seen.of(torch.eye(4)), "gelu")
        given = product(torch.full((2, 4), 138, dtype=torch.uint8), torch.float32)
        right = torch.allclose(given, torch.full((2, 4), 10.0))
    except (AttributeError, RuntimeError, TypeError) as error:
        raise StrideformerError(NOT_HERE.format(f"operators that torch {torch.__version__} lacks ({error})")) from error
    if not right:
        raise StrideformerError(NOT_HERE.format(f"operators that compute otherwise in torch {torch.__version__}"))


@torch.inference_mode()
def to_int8(packed: PackedEncoder, chunks: PackedChunks) -> None:
    """Replace the linear layers of an encoder on a CPU, in place, with such of eight bits.

    Attention's own products, norms and what is added up stay as they are, and the layer after attention, too: what it
    reads is three times as large where a token is repeated (a line of dots) as in prose, and int8 would take 2 % off.

    Args:
        packed: the packed forward.
        chunks: what its layers are tried on, to see the ranges of their values; the more like what is to come, the
            better. Values beyond them are cut off.

    Raises:
        StrideformerError: the chunks' vectors are no longer what they were, by `LEAST_COSINE`.
    """
    before = _mean_vectors(packed, chunks)
    rows, packed.rows = packed.rows, 1  # those of no token would be seen, too
    for number, layer in enumerate(packed.layers, start=1):
        # One layer at a time, each after those before it are in int8: what is known of all at once is 1.6 GB of a BERT
        # of 24 layers of 1,024.
        recorders = _recorders(layer)
        packed(chunks, [number])
        read, fed, inside = (recorder.seen for recorder in recorders)
        parts = layer.parts
        layer.qkv = Int8Linear([parts.query, parts.key, parts.value], read)
        layer.feed_forward = Int8FeedForward(parts.intermediate, parts.output, layer.activation, fed, inside)
    packed.rows = rows
    cosine = float(torch.cosine_similarity(before, _mean_vectors(packed, chunks), dim=1).mean())
    if not cosine >= LEAST_COSINE:
        raise StrideformerError(
            f"dtype int8 moves this encoder's vectors of ordinary texts to a cosine of {cosine:.4f} with what they "
            f"were, where at least {LEAST_COSINE} is wanted: use auto"
        )


class _Recorder:
    """A linear layer that remembers what it read last."""

    seen: Seen

    def __init__(self, linear: Linear) -> None:
        self.linear = linear

    def __call__(self, states: Tensor) -> Tensor:
        self.seen = Seen.of(states)
        return self.linear(states)


def _recorders(layer: PackedLayer) -> list[_Recorder]:
    """Put recorders before a layer's products, in the order in which they run."""
    fed = layer.feed_forward
    assert isinstance(fed, PackedFeedForward)
    recorders = [_Recorder(layer.qkv), _Recorder(fed.intermediate), _Recorder(fed.output)]
    layer.qkv, fed.intermediate, fed.output = recorders
    return recorders


def _mean_vectors(packed: PackedEncoder, chunks: PackedChunks) -> Tensor:
    """(num_chunks, hidden_size) float32."""
    return pool_packed(packed(chunks), chunks.offsets, chunks.runs)
