"""Pipeline: texts to labels, scores and the passages that made the label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from strideformer.aggregation import DocumentAggregator, DocumentLogits
from strideformer.checkpoint import resolve_encoder
from strideformer.chunking import Chunker, ChunkViews
from strideformer.config import check_positions
from strideformer.early_exit import read_in_rounds, refuse_confidence
from strideformer.encoder import ChunkEncoder, load_tokenizer
from strideformer.errors import StrideformerError
from strideformer.model import Strideformer
from strideformer.predictions import LabelSpace
from strideformer.token_bags import TokenBags

Text = str | tuple[str, str]

# An iterator is taken this many texts at a time: enough to fill micro-batches, few enough to answer soon.
TEXTS_AT_A_TIME = 32


@dataclass(frozen=True)
class Passage:
    """A chunk that spoke for the label: its characters ``[start, end)`` of the text, and its own score."""

    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Prediction:
    """What the model says of one document.

    Attributes:
        label: the best label; a list of labels for a multi-label model; None for a regression.
        score: probability of the best label, or the value of a regression.
        scores: every label's probability or value.
        passages: the chunks that speak most for the label, best first; empty for a regression.
        truncated: the text was longer than ``max_chunks`` chunks and its end was not read.
        num_chunks, chunks_encoded: chunks of the text, and how many of them were read: all, but with early exit.
    """

    label: str | list[str] | None
    score: float
    scores: dict[str, float]
    passages: list[Passage]
    truncated: bool
    num_chunks: int
    chunks_encoded: int


class Pipeline:
    """Classify documents with a Strideformer checkpoint.

    Args:
        model_name_or_path: a checkpoint folder; or give ``model`` and ``tokenizer`` objects.
        model: a loaded Strideformer; it is moved to the device and cast in place, as ``Module.to`` does.
        tokenizer: the first model's fast tokenizer.
        device: ``auto``, ``cpu``, ``cuda``, …
        dtype: number format of the encoder; ``auto`` as in ChunkEncoder.
        num_passages: how many passages a prediction names.
        early_exit: confidence from which a text is not read any further: its chunks are encoded in rounds, a few from
            all over it first, until its label is that sure. None reads all of it.

    Raises:
        StrideformerError: there is no such model, or ``early_exit`` is no confidence or meant for a regression.
    """

    def __init__(
        self,
        model_name_or_path: str | Path | None = None,
        model: Strideformer | None = None,
        tokenizer: Any = None,
        device: str = "auto",
        dtype: str = "auto",
        num_passages: int = 3,
        early_exit: float | None = None,
    ) -> None:
        if model_name_or_path is not None:
            folder = resolve_encoder(str(model_name_or_path))
            model = Strideformer.from_pretrained(folder)
            tokenizer = tokenizer or load_tokenizer(folder, model.config.first_model_name)
        if model is None or tokenizer is None:
            raise StrideformerError("Pipeline needs a model_name_or_path, or both a model and a tokenizer")
        self.model = model
        self.tokenizer = tokenizer
        self.label_space = LabelSpace.of(model.config)
        self.num_passages = num_passages
        self.early_exit = early_exit
        if early_exit is not None:
            refuse_confidence(early_exit, self.label_space)
        config = model.config
        chunker = Chunker(tokenizer, config.max_length, config.stride, config.max_chunks)
        self.encoder = ChunkEncoder.of(model, chunker, device=device, dtype=dtype)
        self._other = chunker  # of the last call that asked for another chunking
        self.device = self.encoder.device
        self.aggregator = DocumentAggregator(model, self.encoder.device, self.encoder.dtype)

    def __call__(
        self,
        text: Text | Sequence[Text] | Iterator[Text],
        max_length: int | None = None,
        stride: int | None = None,
        return_type: str = "prediction",
    ) -> Any:
        """Label one text, a list of texts, or an iterator of texts (answered lazily, as an iterator).

        A text is a string, or a pair ``(first text, long text)`` of which only the second is strided.

        Args:
            max_length, stride: chunking; None takes what the checkpoint was trained with.
            return_type: ``prediction``, or the raw logits of all documents as 0.2.0 gave them: ``list``
                (nested lists), ``np`` or ``pt``, (num_documents, num_labels) float32.

        Raises:
            StrideformerError: an unknown return type, texts that are not strings or pairs of strings, or one for which
                the model's logits are not finite.
        """
        if return_type not in ("prediction", "list", "np", "pt"):
            raise StrideformerError(f"return_type {return_type!r} is unknown: use prediction, list, np or pt")
        if not isinstance(text, Iterable):
            raise StrideformerError(f"text is a {type(text).__name__}: give strings or pairs of strings")
        chunker = self._chunker(max_length, stride)
        if isinstance(text, Iterator):
            if return_type != "prediction":
                raise StrideformerError("an iterator is answered with predictions: give a list for raw logits")
            return self._stream(text, chunker)
        single = isinstance(text, str) or (isinstance(text, tuple) and len(text) == 2)
        texts: list[Text] = [text] if single else list(text)  # type: ignore[list-item]
        if return_type == "prediction":
            predictions = self._predict(texts, chunker)
            return predictions[0] if single else predictions
        logits = self._run(texts, chunker)[0].logits
        if return_type == "np":
            return logits
        return torch.from_numpy(logits) if return_type == "pt" else logits.tolist()

    def _chunker(self, max_length: int | None, stride: int | None) -> Chunker:
        trained = self.encoder.chunker
        if max_length in (None, trained.max_length) and stride in (None, trained.stride):
            return trained
        chosen = (
            trained.max_length if max_length is None else max_length,
            trained.stride if stride is None else stride,
        )
        other = self._other  # once: another thread may ask for yet another
        if (other.max_length, other.stride) != chosen:
            check_positions(self.model.config.first_model_config, chosen[0])
            self._other = other = Chunker(self.tokenizer, *chosen, max_chunks=trained.max_chunks)
        return other

    def _stream(self, texts: Iterator[Text], chunker: Chunker) -> Iterator[Prediction]:
        start = 0
        while some := list(islice(texts, TEXTS_AT_A_TIME)):
            yield from self._predict(some, chunker, start)
            start += len(some)

    def _run(
        self, texts: list[Text], chunker: Chunker, start: int = 0
    ) -> tuple[DocumentLogits, ChunkViews, np.ndarray]:
        """Logits, the texts' chunks, and the (num_chunks,) bool mask of those that were read.

        Errors name a text by its place, of which the first has ``start``.
        """
        firsts, seconds = _split_pairs(texts, start)
        views = chunker.views(firsts, seconds, start)
        if self.early_exit is not None:
            result, read = self._run_early(views, self.early_exit)
        else:
            vectors = self.encoder.encode_views(views)
            result = self.aggregator(vectors, views.chunk_offsets, bags=self.bags(views))
            read = np.ones(views.num_chunks, bool)
        for index in np.flatnonzero(~np.isfinite(result.logits).all(axis=1)).tolist():
            raise StrideformerError(
                f"the model's logits for text {start + index} are NaN or infinite in {self.encoder.dtype}: "
                f'give dtype="float32", or leave the text out'
            )
        return result, views, read

    def bags(self, views: ChunkViews) -> TokenBags | None:
        """The tokens of documents, where the model reads them."""
        return TokenBags.of(views, self.device) if self.model.config.bag_of_tokens else None

    def _run_early(self, views: ChunkViews, confidence: float) -> tuple[DocumentLogits, np.ndarray]:
        size = (views.num_chunks, self.encoder.hidden_size)
        vectors = torch.full(size, float("nan"), device=self.encoder.device)
        bags = self.bags(views)
        chunk_logits = np.full((views.num_chunks, len(self.label_space.names)), np.nan, np.float32)

        def step(now: np.ndarray, read: np.ndarray) -> np.ndarray:
            chunks = np.flatnonzero(now)
            vectors[torch.from_numpy(chunks).to(vectors.device)] = self.encoder.encode_views(views, chunks)
            result = self.aggregator(vectors, views.chunk_offsets, read, bags)
            chunk_logits[read] = result.chunk_logits[read]
            return result.logits

        logits, read = read_in_rounds(views.chunk_offsets, self.label_space, confidence, step)
        return DocumentLogits(logits, chunk_logits), read

    def _predict(self, texts: list[Text], chunker: Chunker, start: int = 0) -> list[Prediction]:
        if not texts:
            return []
        result, views, read = self._run(texts, chunker, start)
        scores = self.label_space.scores(result.logits)
        given = self.label_space.labels(scores)
        best = self.label_space.best(scores)
        names = self.label_space.names
        predictions = []
        for index, text in enumerate(texts):
            labels = [names[label] for label in np.flatnonzero(given[index])]
            multi = self.label_space.problem_type == "multi_label_classification"
            chunks = slice(int(views.chunk_offsets[index]), int(views.chunk_offsets[index + 1]))
            places = np.flatnonzero(read[chunks])
            chunk_scores = self.label_space.scores(result.chunk_logits[chunks][places])
            passages = []
            if self.label_space.problem_type != "regression":
                passages = self._passages(text, chunk_scores[:, int(scores[index].argmax())], places, chunker)
            predictions.append(
                Prediction(
                    label=labels if multi else (labels[0] if labels else None),
                    score=float(best[index]),
                    scores={name: float(score) for name, score in zip(names, scores[index], strict=True)},
                    passages=passages,
                    truncated=bool(views.truncated[index]),
                    num_chunks=chunks.stop - chunks.start,
                    chunks_encoded=len(places),
                )
            )
        return predictions

    def _passages(self, text: Text, chunk_scores: np.ndarray, places: np.ndarray, chunker: Chunker) -> list[Passage]:
        """The chunks whose own score for the document's best label is highest, of those at these places in it."""
        order = np.argsort(-chunk_scores, kind="stable")[: self.num_passages]
        if not len(order):
            return []
        strided = text if isinstance(text, str) else text[1]
        spans = chunker.spans(text) if isinstance(text, str) else chunker.spans(*text)
        return [
            Passage(strided[start:end], int(start), int(end), float(chunk_scores[chunk]))
            for chunk in order
            for start, end in [spans[places[chunk]]]
        ]


def _split_pairs(texts: Iterable[Text], start: int = 0) -> tuple[list[str], list[str] | None]:
    """Texts or pairs of texts as the two lists that the chunker takes; a mixture is refused."""
    firsts: list[str] = []
    seconds: list[str] = []
    for index, text in enumerate(texts, start):
        is_pair = isinstance(text, (tuple, list)) and len(text) == 2 and all(isinstance(part, str) for part in text)
        if not is_pair and not isinstance(text, str):
            given = f"{type(text).__name__} of {len(text)}" if isinstance(text, (tuple, list)) else type(text).__name__
            raise StrideformerError(f"text {index} is a {given}: give strings or pairs of strings")
        firsts.append(text if isinstance(text, str) else text[0])
        seconds.extend([] if isinstance(text, str) else text[1:])
    if seconds and len(seconds) != len(firsts):
        raise StrideformerError("some texts are pairs and some are not: give one kind")
    return firsts, seconds or None
