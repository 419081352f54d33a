"""PackedEncoder: the forward of BERT and its like over packed chunks, for inference."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding, pad
from transformers import PreTrainedConfig, PreTrainedModel

from strideformer.add_and_norm import AddAndNorm
from strideformer.chunk_batches import PackedChunks
from strideformer.encoder_parts import PACKED_TYPES, EncoderParts, LayerParts, parts_of
from strideformer.layers import LAST, layer_numbers
from strideformer.packed_attention import Attention, ChooseAttention, any_attention, choose_attention
from strideformer.packed_linear import ROWS_ON_CPU, Linear, PackedFeedForward, PackedLinear
from strideformer.packed_modernbert import PackedModernBert, can_be_packed

MODERNBERT = "modernbert"
# How far the least cosine of token states on random chunks may be from 1: a hundred times what rounding does.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 2e-2}
# Tokens of the longer of two chunks on which both forwards are compared. MiniLM-L6's scores grow with a token's place.
LONGEST_CHECKED = 256

logger = logging.getLogger(__name__)


class PackedEncoder:
    """The forward of a BERT or its kin without padding, with one product for queries, keys and values.

    Use `packed_encoder`, which also checks it against the model that it was made of.

    Attributes:
        rows: what the number of rows of all products is a multiple of.
    """

    def __init__(self, parts: EncoderParts, attention: Attention) -> None:
        self.heads, self.first_position = parts.heads, parts.first_position
        self.words, self.places, self.types = parts.words, parts.places, parts.types
        self.norm = AddAndNorm(parts.norm)
        self.layers = [PackedLayer(layer, parts.activation, attention) for layer in parts.layers]
        self.rows = ROWS_ON_CPU if parts.words.device.type == "cpu" else 1

    @torch.inference_mode()
    def __call__(self, chunks: PackedChunks, layers: Sequence[int] = LAST) -> list[Tensor]:
        """(num_tokens, hidden_size) token states of each of these layers, in the model's number format.

        Layers above the last that is asked for are not run.
        """
        wanted = layer_numbers(layers, len(self.layers))
        num_tokens = len(chunks.input_ids)
        states = embedding(chunks.input_ids, self.words)
        if self.types is not None:
            # RoBERTa's tokenizers know no token types, and its models have a row for one only.
            types = chunks.token_type_ids if len(self.types) > 1 else torch.zeros_like(chunks.token_type_ids)
            states += embedding(types, self.types)
        places = embedding(chunks.positions + self.first_position, self.places)
        if self.rows > 1:
            states, places = (pad(each, (0, 0, 0, -num_tokens % self.rows)) for each in (states, places))
        states = self.norm(states, places)
        found = {0: states[:num_tokens]}
        for number, layer in enumerate(self.layers[: max(wanted)], start=1):
            qkv = layer.qkv(states).view(len(states), 3, self.heads, -1)
            states = layer.attention_norm(layer.attention_output(layer.attend(qkv, chunks)), states)
            states = layer.output_norm(layer.feed_forward(states), states)
            if number in wanted:
                found[number] = states[:num_tokens]
        return [found[number] for number in wanted]


class PackedLayer:
    """One layer, of which the linear parts may be put in a cheaper number format.

    Attributes:
        parts, activation: what it was made of.
        attend: its attention.
    """

    def __init__(self, parts: LayerParts, activation: str, attend: Attention) -> None:
        self.parts, self.activation, self.attend = parts, activation, attend
        self.qkv: Linear = PackedLinear([parts.query, parts.key, parts.value])
        self.attention_output: Linear = PackedLinear([parts.attention_output])
        self.attention_norm = AddAndNorm(parts.attention_norm)
        self.feed_forward: Linear = PackedFeedForward(parts.intermediate, parts.output, activation)
        self.output_norm = AddAndNorm(parts.output_norm)


def runs_packed(config: PreTrainedConfig) -> bool:
    """Whether there is a packed forward for encoders of a config's model type."""
    return config.model_type in PACKED_TYPES or config.model_type == MODERNBERT


def packed_encoder(model: PreTrainedModel) -> PackedEncoder | PackedModernBert | None:
    """The packed forward of a model, if there is one for its kind and both agree on random chunks.

    None means that the model's own forward has to be used; a disagreement, which a new release of
    transformers may bring, is logged.
    """
    if model.device.type not in ("cpu", "cuda"):
        return None
    trouble = ""
    for choose in (choose_attention, any_attention):
        try:
            packed = _packed(model, choose)
            if packed is None:
                return None
            cosine = _least_cosine(model, packed)
        except Exception as error:  # a kernel that refuses the device or head size, or parts of other names
            trouble = str(error)
            continue
        if cosine >= 1 - TOLERANCE.get(model.dtype, 0.0):
            return packed
        trouble = f"cosine {cosine:.4f}"
    logger.warning("the packed forward does not fit this %s (%s); using its own", model.config.model_type, trouble)
    return None


def _packed(model: PreTrainedModel, choose: ChooseAttention) -> PackedEncoder | PackedModernBert | None:
    if model.config.model_type == MODERNBERT:
        return PackedModernBert(model, choose) if can_be_packed(model.config) else None
    parts = parts_of(model)
    if parts is None:
        return None
    shape = (parts.heads, parts.words.shape[1] // parts.heads)
    return PackedEncoder(parts, choose(model.device, model.dtype, *shape, parts.distance_bias))


@torch.inference_mode()
def _least_cosine(model: PreTrainedModel, packed: PackedEncoder | PackedModernBert) -> float:
    """Over the tokens of two random chunks of different lengths, the first as long as chunks are."""
    device, config = model.device, model.config
    longest = min(LONGEST_CHECKED, int(config.max_position_embeddings) - packed.first_position)
    lengths = [longest, min(4, longest)]
    generator = torch.Generator().manual_seed(0)
    chunks = []
    expected = []
    for length in lengths:
        # Ids from the upper half: RoBERTa's own position ids skip the padding token, a low one.
        ids = torch.randint(config.vocab_size // 2, config.vocab_size, (length,), generator=generator).to(device)
        chunks.append(ids)
        expected.append(model(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None]).last_hidden_state[0])
    ids = torch.cat(chunks)
    batch = PackedChunks(
        input_ids=ids,
        token_type_ids=torch.zeros_like(ids),
        positions=torch.cat([torch.arange(length, device=device) for length in lengths]),
        offsets=torch.tensor([0, longest, sum(lengths)], dtype=torch.int32, device=device),
        num_chunks=2,
        longest=longest,
        full=len(set(lengths)) == 1,
        runs=[(1, length) for length in lengths],
    )
    cosine = torch.cosine_similarity(packed(batch)[0].float(), torch.cat(expected).float(), dim=-1)
    return float(cosine.min())
