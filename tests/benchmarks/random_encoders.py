"""Encoders of published shapes with random weights, and chunks of random ids: where there is no hub and no corpus.

They compute as long as trained ones on real text do. Needs the library alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel

from strideformer.chunking import ChunkViews

VOCABULARY = 30_522
SHAPES = {
    "MiniLM-L6": {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
    "MiniLM-L12": {"hidden_size": 384, "num_hidden_layers": 12, "intermediate_size": 1536},
    "BERT-base": {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072},
}
MAX_LENGTH = 384
CLS, SEP, SPECIALS = 2, 3, 2
PEER_BATCH = 32  # of sentence_transformers.encode


def tokenizer() -> Tokenizer:
    """A tokenizer with BERT's special tokens around each chunk; it never sees a text here."""
    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": CLS, "[SEP]": SEP, "a": 4}
    made = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    return made


def model(name: str, layers: int | None = None) -> BertModel:
    """The same weights each time."""
    torch.manual_seed(0)
    shape = SHAPES[name] | ({"num_hidden_layers": layers} if layers else {})
    config = BertConfig(vocab_size=VOCABULARY, num_attention_heads=12, max_position_embeddings=512, **shape)
    made: BertModel = BertModel(config, add_pooling_layer=False).eval()
    return made


def lengths(kind: str, chunks: int) -> np.ndarray:
    """Tokens of each chunk, special ones included: full, ragged as English passages are, or short (16 to 96)."""
    generator = np.random.default_rng(0)
    if kind == "full":
        return np.full(chunks, MAX_LENGTH)
    if kind == "short":
        return generator.integers(16, 97, chunks)
    ragged: np.ndarray = np.clip(generator.lognormal(np.log(160), 0.7, chunks).astype(int), 16, MAX_LENGTH)
    return ragged


def views_of(tokens: np.ndarray) -> ChunkViews:
    """Documents of one chunk each, of random ids."""
    content = tokens - SPECIALS
    offsets = np.concatenate([[0], np.cumsum(content)])
    ids = np.random.default_rng(1).integers(1000, VOCABULARY, int(offsets[-1])).astype(np.uint16)
    chunks = len(tokens)
    return ChunkViews(
        token_ids=ids,
        token_offsets=offsets,
        chunk_starts=np.zeros(chunks, np.int32),
        chunk_lengths=content.astype(np.int32),
        chunk_offsets=np.arange(chunks + 1),
        truncated=np.zeros(chunks, bool),
    )


@dataclass(frozen=True)
class Batch:
    """(rows, longest) int64 padded ids and mask on the host, and the chunks that they are."""

    rows: np.ndarray
    input_ids: torch.Tensor
    attention_mask: torch.Tensor


def padded_batches(views: ChunkViews, tokens: np.ndarray) -> list[Batch]:
    """The chunks sorted by length and padded in batches of 32, as sentence-transformers' tokenizer leaves them."""
    order = np.argsort(-tokens, kind="stable")
    batches = []
    for start in range(0, len(order), PEER_BATCH):
        rows = order[start : start + PEER_BATCH]
        ids = torch.zeros((len(rows), int(tokens[rows[0]])), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for line, row in enumerate(rows):
            content = views.token_ids[views.token_offsets[row] : views.token_offsets[row + 1]]
            ids[line, : tokens[row]] = torch.from_numpy(np.concatenate([[CLS], content, [SEP]]).astype(np.int64))
            mask[line, : tokens[row]] = 1
        batches.append(Batch(rows, ids, mask))
    return batches


def peer(bert: BertModel, batches: list[Batch]) -> Callable[[], torch.Tensor]:
    """What sentence-transformers does with tokenised batches: forward, mean, length 1, back to the host, in order."""

    @torch.inference_mode()
    def run() -> torch.Tensor:
        vectors = torch.empty((sum(len(batch.rows) for batch in batches), bert.config.hidden_size))
        for batch in batches:
            ids, mask = batch.input_ids.to(bert.device), batch.attention_mask.to(bert.device)
            states = bert(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask.unsqueeze(-1).to(states.dtype)
            pooled = (states * weights).sum(1) / weights.sum(1)
            vectors[torch.from_numpy(batch.rows)] = torch.nn.functional.normalize(pooled, dim=1).float().cpu()
        return vectors

    return run
