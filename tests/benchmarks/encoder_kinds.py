"""``python -m tests.benchmarks.encoder_kinds``: encoders of other kinds and sizes than MiniLM's.

Each has the layers of a published model, weights of chance, which compute as long as others, and MiniLM's tokenizer;
full chunks of the embedded RFCs go through them. The rest is as in `encoder`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    DistilBertConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedConfig,
)

from tests.benchmarks.encoder import Encoders, compare
from tests.benchmarks.measuring import about, machine, write_json
from tests.benchmarks.texts import ENCODER, long_chunks

# The published models that have these layers.
KINDS: dict[str, Callable[[], PreTrainedConfig]] = {
    "MPNet, 12 layers of 768 (all-mpnet-base-v2)": lambda: MPNetConfig(
        vocab_size=30_527, max_position_embeddings=514, relative_attention_num_buckets=32
    ),
    "DistilBERT, 6 layers of 768 (multi-qa-distilbert-cos-v1)": DistilBertConfig,
    "BERT, 12 layers of 768 (bge-base-en-v1.5, e5-base-v2)": BertConfig,
    "BERT, 12 layers of 384 (bge-small-en-v1.5, all-MiniLM-L12-v2)": lambda: BertConfig(
        hidden_size=384, intermediate_size=1536
    ),
    "ModernBERT, 22 layers of 768 (gte-modernbert-base, granite-embedding-english-r2)": ModernBertConfig,
}


def save_random(config: PreTrainedConfig, folder: Path) -> Path:
    """A sentence-transformer with weights of chance."""
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(ENCODER).save_pretrained(folder / "model")
    transformer = Transformer(str(folder / "model"))
    SentenceTransformer(modules=[transformer, Pooling(config.hidden_size)]).save(str(folder / "whole"))
    return folder / "whole"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()

    print(f"{about(machine())}\n{options.rounds} interleaved rounds, {torch.get_num_threads()} threads")
    rows: list[dict[str, Any]] = []
    for kind, config in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            encoders = Encoders(save_random(config(), Path(folder)))
        texts = long_chunks(encoders.full.chunker, options.chunks)
        rows += compare(kind, texts, encoders, options.rounds)
    write_json(options.json, rows)


if __name__ == "__main__":
    main()
