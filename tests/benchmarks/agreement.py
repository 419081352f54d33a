"""``python -m tests.benchmarks.agreement``: do labels stay the same in the number format that the encoder chooses?

Every document is labelled twice, by encoder and aggregator in the format that the encoder chooses, as the job runs
them, and by both in fp32. ``--corpus FILE --model CHECKPOINT`` takes other documents than the embedded RFCs. The fp32
reference is the packed forward, which the benchmark `encoder` compares with sentence-transformers; ``--reference
transformers`` takes the first model's own forward, padded and masked, at half the speed. ``--nearer MARGIN`` spares the
reference, which is most of the time, where the two best scores are further apart than that: such a label is taken for
the same, as it is unless scores change by half of the margin, far more than those of the documents that are compared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from strideformer import Chunker, Strideformer
from strideformer.aggregation import DocumentAggregator
from strideformer.checkpoint import resolve_encoder
from strideformer.encoder import ChunkEncoder, load_tokenizer
from strideformer.predictions import LabelSpace
from strideformer.token_bags import TokenBags
from tests.benchmarks.measuring import Goal, Spread, about, machine, print_goals, write_json
from tests.benchmarks.texts import CHECKPOINT, SAMPLE, read_documents

AT_A_TIME = 16
WANTED_PERCENT, WANTED_OF_INT8 = 99.8, 99.5


@dataclass
class Agreement:
    """Labels in two number formats, of as many documents as were compared so far.

    Attributes:
        same: by document, whether both gave the same label.
        score_change: by compared document, how far the most changed of its scores is from the reference's.
        least_cosine: of all their chunk vectors.
        chunks: of all documents.
    """

    same: list[bool] = field(default_factory=list)
    score_change: list[float] = field(default_factory=list)
    least_cosine: float = 1.0
    chunks: int = 0

    @property
    def percent(self) -> float:
        return 100 * sum(self.same) / len(self.same)


class Comparison:
    """A checkpoint with its encoder in two formats.

    Args:
        checkpoint: a folder.
        dtype: the format that is compared with fp32.
        own_forward: let the reference run the first model's own forward.
        max_chunks: most chunks of a document; default: the checkpoint's.
    """

    def __init__(
        self, checkpoint: Path, dtype: str = "auto", own_forward: bool = False, max_chunks: int | None = None
    ) -> None:
        folder = resolve_encoder(str(checkpoint))
        model, other = (Strideformer.from_pretrained(folder) for _ in range(2))
        config = model.config
        tokenizer = load_tokenizer(folder, config.first_model_name)
        self.chunker = Chunker(tokenizer, config.max_length, config.stride, max_chunks or config.max_chunks)
        self.encoder = ChunkEncoder.of(other, self.chunker, dtype=dtype)
        self.reference = ChunkEncoder.of(model, self.chunker, dtype="float32")
        if own_forward:
            self.reference.packed = None
        self.exact_aggregator = DocumentAggregator(model, self.reference.device)
        self.aggregator = DocumentAggregator(other, self.encoder.device, self.encoder.dtype)
        self.labels = LabelSpace.of(config)

    def compare(self, texts: Sequence[str], nearer: float = 1.0) -> Iterator[Agreement]:
        """Compare some more documents at a time; each answer is of all up to there.

        Args:
            texts: of the documents.
            nearer: margin between a document's two best scores from which on the reference is spared.
        """
        found = Agreement()
        for start in range(0, len(texts), AT_A_TIME):
            some = texts[start : start + AT_A_TIME]
            views = self.chunker.views(some)
            given = self.encoder.encode_views(views)
            scores = self._scores(self.aggregator, given, views)
            best = np.sort(scores, axis=1)
            near = np.flatnonzero(best[:, -1] - best[:, -2] <= nearer)
            same = np.ones(len(some), bool)
            if len(near):
                of_near = np.isin(np.repeat(np.arange(len(some)), views.chunk_counts), near)
                views_of_near = self.chunker.views([some[row] for row in near.tolist()])
                exact = self.reference.encode_views(views_of_near)
                cosine = torch.cosine_similarity(exact.double(), given[torch.from_numpy(of_near)].double(), dim=1)
                expected = self._scores(self.exact_aggregator, exact, views_of_near)
                same[near] = (self.labels.labels(expected) == self.labels.labels(scores[near])).all(axis=1)
                found.score_change += np.abs(expected - scores[near]).max(axis=1).tolist()
                found.least_cosine = min(found.least_cosine, float(cosine.min()))
            found.same += same.tolist()
            found.chunks += views.num_chunks
            yield found

    def _scores(self, aggregator: DocumentAggregator, vectors: torch.Tensor, views: Any) -> np.ndarray:
        """Rounded to float16 first, as the job does it."""
        bags = TokenBags.of(views) if aggregator.model.config.bag_of_tokens else None
        return self.labels.scores(aggregator(vectors.half(), views.chunk_offsets, bags=bags).logits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, default=SAMPLE, help="a Parquet file with a column text")
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--model", type=Path, default=CHECKPOINT, help="a Strideformer checkpoint")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--reference", choices=("packed", "transformers"), default="packed")
    parser.add_argument("--limit", type=int, help="take only so many documents, by chance but the same each time")
    parser.add_argument("--max-chunks", type=int, help="most chunks of a document; default: the checkpoint's")
    parser.add_argument("--nearer", type=float, default=1.0, help="margin from which on the reference is spared")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()

    texts = read_documents(options.corpus, options.text_column)[: options.limit]
    own = options.reference == "transformers"
    comparison = Comparison(options.model, options.dtype, own, options.max_chunks)
    dtype = "int8" if comparison.encoder.int8 else str(comparison.encoder.dtype).removeprefix("torch.")
    print(f"{about(machine())}\n{options.corpus.parent.name}: {len(texts)} documents, {dtype} against float32")
    found = Agreement()
    for found in comparison.compare(texts, options.nearer):
        print(f"\r{len(found.same)} documents, {found.percent:.2f} % alike", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    changes = Spread.of(found.score_change)
    print(f"{len(found.same)} documents, {found.chunks:,} chunks: {sum(found.same)} labels alike")
    if options.nearer < 1:
        print(f"compared: the {len(found.score_change)} whose best scores are nearer than {options.nearer:g}")
    print(
        f"least cosine of a chunk's vectors {found.least_cosine:.6f}; change of a document's scores {changes.text(4)}"
    )
    what = f"labels in {dtype}, {options.corpus.parent.name}"
    wanted = WANTED_OF_INT8 if comparison.encoder.int8 else WANTED_PERCENT
    goals = [Goal(what, f"labels in fp32 ({options.reference})", wanted, Spread.one(found.percent), "%")]
    print_goals(goals)
    row = {
        "corpus": options.corpus.parent.name,
        "documents": len(found.same),
        "chunks": found.chunks,
        "compared": len(found.score_change),
        "alike": sum(found.same),
        "least_cosine": found.least_cosine,
        "score_change": changes,
    }
    write_json(options.json, [row], goals)


if __name__ == "__main__":
    main()
