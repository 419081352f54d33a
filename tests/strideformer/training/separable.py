"""Small training sets that can be learned, and models for them."""

from __future__ import annotations

import numpy as np
import torch
from transformers import BertConfig

from strideformer import Chunker, Strideformer, StrideformerCollator, StrideformerConfig
from strideformer.training import EmbeddedDocuments, join


class NoTokenizer:
    pad_token_id = 0


COLLATE = StrideformerCollator(NoTokenizer())


def collate(chunker: Chunker) -> StrideformerCollator:
    class Tokenizer:
        pad_token_id = chunker.pad_token_id

    return StrideformerCollator(Tokenizer(), chunker.max_chunks)


def separable(number: int, seed: int) -> EmbeddedDocuments:
    """Ragged documents of which one chunk, anywhere, tells the class."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, number)
    documents = []
    for label in labels:
        rows = generator.normal(0, 0.3, (generator.integers(1, 9), 32)).astype(np.float16)
        rows[generator.integers(len(rows)), label] += 8
        documents.append(rows)
    return join(documents, torch.from_numpy(labels))


def new_model(**changes: object) -> Strideformer:
    torch.manual_seed(0)
    first = BertConfig(vocab_size=128, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    second: dict[str, object] = {
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": 32,
        "num_labels": 3,
        "problem_type": "single_label_classification",
    }
    return Strideformer(StrideformerConfig.from_two_configs(first, second | changes))
