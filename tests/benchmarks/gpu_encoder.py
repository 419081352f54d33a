"""``python -m tests.benchmarks.gpu_encoder``: the encoder loop on an accelerator, against its roofs and its peer.

Needs the library alone: torch and transformers, no Ray, no model download. The encoders have the shapes of published
ones and random weights, which compute as long as trained ones; the chunks have random ids and lengths of a kind:
*full* (384 tokens each), *ragged* (log-normal as English passages are, 16 to 384) and *short* (16 to 96). The peer is
what ``sentence_transformers.encode`` does on a GPU: length-sorted batches of 32, padded, in fp16, through
transformers' own forward.

Printed: chunks/s (median, least, most), the ratio to the peer, the share of the matrix-product peak measured in the
same run, and the least cosine to fp32 on a sample.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel

from strideformer.chunking import Chunker, ChunkViews
from strideformer.devices import choose_device
from strideformer.encoder import ChunkEncoder

VOCABULARY = 30_522
SHAPES = {
    "MiniLM-L6": {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
    "MiniLM-L12": {"hidden_size": 384, "num_hidden_layers": 12, "intermediate_size": 1536},
    "BERT-base": {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072},
}
MAX_LENGTH = 384
SPECIALS = 2


def tokenizer() -> Tokenizer:
    """A tokenizer with BERT's special tokens around each chunk; it never sees a text here."""
    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4}
    made = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def model(name: str, layers: int | None) -> BertModel:
    torch.manual_seed(0)
    shape = SHAPES[name] | ({"num_hidden_layers": layers} if layers else {})
    heads = 12
    config = BertConfig(vocab_size=VOCABULARY, num_attention_heads=heads, max_position_embeddings=512, **shape)
    made: BertModel = BertModel(config, add_pooling_layer=False).eval()
    return made


def lengths(kind: str, chunks: int) -> np.ndarray:
    """Tokens of each chunk, special ones included."""
    generator = np.random.default_rng(0)
    if kind == "full":
        return np.full(chunks, MAX_LENGTH)
    if kind == "short":
        return generator.integers(16, 97, chunks)
    return np.clip(generator.lognormal(np.log(160), 0.7, chunks).astype(int), 16, MAX_LENGTH)


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


def operations(config: BertConfig, tokens: np.ndarray) -> float:
    """Multiply-adds of all chunks, times two: projections and feed-forward by tokens, attention by their square."""
    width, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    each = 2 * (4 * width * width + 2 * width * inner)
    return float(layers * (each * tokens.sum() + 4 * width * (tokens.astype(float) ** 2).sum()))


@torch.inference_mode()
def peer(bert: BertModel, views: ChunkViews, tokens: np.ndarray, device: torch.device) -> np.ndarray:
    """Length-sorted, padded batches of 32 through the model's own forward; mean-pooled; back on the host."""
    order = np.argsort(-tokens, kind="stable")
    vectors = np.empty((len(tokens), bert.config.hidden_size), np.float32)
    for start in range(0, len(order), 32):
        rows = order[start : start + 32]
        width = int(tokens[rows[0]])
        ids = np.zeros((len(rows), width), np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        for line, row in enumerate(rows):
            content = views.token_ids[views.token_offsets[row] : views.token_offsets[row + 1]]
            ids[line, : tokens[row]] = [2, *content.tolist(), 3]
            mask[line, : tokens[row]] = 1
        given = {"input_ids": torch.from_numpy(ids).to(device), "attention_mask": torch.from_numpy(mask).to(device)}
        states = bert(**given).last_hidden_state
        weights = given["attention_mask"].unsqueeze(-1).to(states.dtype)
        vectors[rows] = ((states * weights).sum(1) / weights.sum(1)).float().cpu().numpy()
    return vectors


def timed(run: Callable[[], Any], rounds: int, device: torch.device) -> list[float]:
    taken = []
    for _ in range(rounds):
        synchronize(device)
        started = time.perf_counter()
        run()
        synchronize(device)
        taken.append(time.perf_counter() - started)
    return taken


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def roofs(device: torch.device, dtype: torch.dtype, size: int) -> dict[str, float]:
    """Matrix-product peak (operations/s) and copy bandwidth (bytes/s), each the best of several tries."""
    left = torch.randn((size, size), dtype=dtype, device=device)
    right = torch.randn((size, size), dtype=dtype, device=device)
    products = min(timed(lambda: left @ right, 8, device)[2:])
    source = torch.empty(size * size * 4, dtype=torch.uint8, device=device)
    copies = min(timed(lambda: source.clone(), 8, device)[2:])
    return {"matmul": 2 * size**3 / products, "copy": 2 * source.numel() / copies}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--models", nargs="*", default=list(SHAPES))
    parser.add_argument("--kinds", nargs="*", default=["full", "ragged", "short"])
    parser.add_argument("--chunks", type=int, default=16_384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--token-budgets", type=int, nargs="*", default=[0], help="0 is the engine's own")
    parser.add_argument("--layers", type=int, help="fewer layers, to try the script on a CPU")
    parser.add_argument("--roof-size", type=int, default=8192)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    device = choose_device(options.device)
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    found = roofs(device, torch.bfloat16 if device.type == "cuda" else dtype, options.roof_size)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{where}, torch {torch.__version__}, transformers {transformers.__version__}, {dtype}")
    print(f"matrix products {found['matmul'] / 1e12:.2f} TFLOP/s, copies {found['copy'] / 1e9:.0f} GB/s\n")
    print(
        f"{'model':12}{'chunks':8}{'budget':>8}{'chunks/s':>10}{'least':>9}{'most':>9}{'peer':>9}{'ratio':>7}", end=""
    )
    print(f"{'of peak':>9}{'cosine':>10}")
    rows = []
    for name in options.models:
        bert = model(name, options.layers)
        exact = ChunkEncoder(
            model(name, options.layers), Chunker(tokenizer(), MAX_LENGTH, 0), device="cpu", dtype="float32"
        )
        theirs = model(name, options.layers).to(device=device, dtype=dtype)
        for kind in options.kinds:
            tokens = lengths(kind, options.chunks)
            views = views_of(tokens)
            sample = np.linspace(0, len(tokens) - 1, min(32, len(tokens))).astype(np.int64)
            reference = exact.encode_views(views, sample)
            peer(theirs, views, tokens, device)
            slow = statistics.median(
                timed(lambda m=theirs, v=views, t=tokens: peer(m, v, t, device), options.rounds, device)
            )
            for budget in options.token_budgets:
                chunker = Chunker(tokenizer(), MAX_LENGTH, 0)
                encoder = ChunkEncoder(bert, chunker, device=device, dtype=dtype, token_budget=budget or None)
                vectors = encoder.encode_views(views)
                taken = timed(lambda e=encoder, v=views: e.encode_views(v), options.rounds, device)
                median = statistics.median(taken)
                cosine = torch.cosine_similarity(vectors[sample].float().cpu(), reference, dim=1).min()
                row = {
                    "model": name,
                    "kind": kind,
                    "token_budget": encoder.token_budget,
                    "chunks_per_second": len(tokens) / median,
                    "least": len(tokens) / max(taken),
                    "most": len(tokens) / min(taken),
                    "peer": len(tokens) / slow,
                    "ratio": slow / median,
                    "share_of_peak": operations(bert.config, tokens) / median / found["matmul"],
                    "least_cosine": float(cosine),
                }
                rows.append(row)
                print(
                    f"{name:12}{kind:8}{row['token_budget']:8}{row['chunks_per_second']:10,.0f}{row['least']:9,.0f}"
                    f"{row['most']:9,.0f}{row['peer']:9,.0f}{row['ratio']:7.2f}{100 * row['share_of_peak']:8.1f}%"
                    f"{row['least_cosine']:10.6f}",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps({"where": where, "roofs": found, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
