"""PackedEncoder: the forward of BERT and its like over packed chunks, for inference."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, pad
from transformers import PreTrainedModel

from strideformer.add_and_norm import AddAndNorm
from strideformer.chunk_batches import PackedChunks
from strideformer.layers import LAST, layer_numbers
from strideformer.packed_attention import Attention, attend_fused, choose_attention
from strideformer.packed_linear import GELU_ALGORITHMS, Linear, PackedFeedForward, PackedLinear

# Model types whose transformers module has BERT's parts under BERT's names. The second kind numbers its
# positions from ``padding_idx + 1`` on, as fairseq did.
BERT_TYPES = {"bert"}
ROBERTA_TYPES = {"roberta", "xlm-roberta", "camembert"}
PACKED_TYPES = BERT_TYPES | ROBERTA_TYPES
# How far the least cosine of token states on random chunks may be from 1: a hundred times what rounding does.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 2e-2}
# Tokens of the longer of two chunks on which both forwards are compared. MiniLM-L6's scores grow with a token's place.
LONGEST_CHECKED = 256
# On a CPU a micro-batch has a multiple of so many rows, the last of which are of no token: oneDNN makes a kernel for
# each number of rows, and keeps some.
ROWS_ON_CPU = 32

logger = logging.getLogger(__name__)


class PackedEncoder:
    """A BERT's forward without padding, with one product for queries, keys and values.

    Use `packed_encoder`, which also checks it against the model that it was made of.

    Attributes:
        rows: what the number of rows of all products is a multiple of.
    """

    def __init__(self, model: PreTrainedModel, attention: Attention) -> None:
        config = model.config
        self.heads = int(config.num_attention_heads)
        self.first_position = int(config.pad_token_id) + 1 if config.model_type in ROBERTA_TYPES else 0
        embeddings = model.embeddings
        self.words = embeddings.word_embeddings.weight.detach()
        self.places = embeddings.position_embeddings.weight.detach()
        self.types = embeddings.token_type_embeddings.weight.detach()
        self.norm = AddAndNorm(embeddings.LayerNorm)
        self.layers = [PackedLayer(layer, config.hidden_act, attention) for layer in model.encoder.layer]
        self.rows = ROWS_ON_CPU if model.device.type == "cpu" else 1

    @torch.inference_mode()
    def __call__(self, chunks: PackedChunks, layers: Sequence[int] = LAST) -> list[Tensor]:
        """(num_tokens, hidden_size) token states of each of these layers, in the model's number format.

        Layers above the last that is asked for are not run.
        """
        wanted = layer_numbers(layers, len(self.layers))
        num_tokens = len(chunks.input_ids)
        states = embedding(chunks.input_ids, self.words)
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
    """One layer's parts, of which the linear ones may be put in a cheaper number format."""

    def __init__(self, layer: Any, activation: str, attend: Attention) -> None:
        self.attend = attend
        attention = layer.attention.self
        self.qkv: Linear = PackedLinear([attention.query, attention.key, attention.value])
        self.attention_output: Linear = PackedLinear([layer.attention.output.dense])
        self.attention_norm = AddAndNorm(layer.attention.output.LayerNorm)
        self.feed_forward: Linear = PackedFeedForward(layer.intermediate.dense, layer.output.dense, activation)
        self.output_norm = AddAndNorm(layer.output.LayerNorm)


def packed_encoder(model: PreTrainedModel) -> PackedEncoder | None:
    """The packed forward of a model, if it is one of BERT's kind and both agree on random chunks.

    None means that the model's own forward has to be used; a disagreement, which a new release of
    transformers may bring, is logged.
    """
    config = model.config
    if config.model_type not in PACKED_TYPES or getattr(config, "is_decoder", False):
        return None
    if config.hidden_act not in GELU_ALGORITHMS or model.device.type not in ("cpu", "cuda"):
        return None
    # transformers dropped relative positions of BERT, but an old config.json may still ask for them.
    if getattr(config, "position_embedding_type", None) not in (None, "absolute"):
        return None
    trouble = ""
    for choose in (_best_attention, _any_attention):
        try:
            packed = PackedEncoder(model, choose(model))
            cosine = _least_cosine(model, packed)
        except Exception as error:  # a kernel that refuses the device or head size, or parts of other names
            trouble = str(error)
            continue
        if cosine >= 1 - TOLERANCE.get(model.dtype, 0.0):
            return packed
        trouble = f"cosine {cosine:.4f}"
    logger.warning("the packed forward does not fit this %s (%s); using its own", config.model_type, trouble)
    return None


def _best_attention(model: PreTrainedModel) -> Attention:
    heads = int(model.config.num_attention_heads)
    return choose_attention(model.device, model.dtype, heads, model.config.hidden_size // heads)


def _any_attention(model: PreTrainedModel) -> Attention:
    return attend_fused


@torch.inference_mode()
def _least_cosine(model: PreTrainedModel, packed: PackedEncoder) -> float:
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
