"""Chunker: documents to overlapping chunks of tokens, as views on token ids that are made once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from strideformer.chunk_counts import chunk_counts, chunk_steps, usable_tokens
from strideformer.chunk_template import ChunkTemplate
from strideformer.errors import StrideformerError
from strideformer.proven_tokenizer import FastStatus
from strideformer.tokenizing import TextTokenizer, TokenizedText

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

__all__ = ["ChunkTemplate", "ChunkViews", "Chunker"]

_PAD_TOKENS = ("[PAD]", "<pad>", "<|pad|>", "<|padding|>", "<|endoftext|>")


@dataclass(frozen=True)
class ChunkViews:
    """The chunks of many documents as views on their token ids, which are held once.

    Chunk ``c`` of document ``d`` is row ``chunk_offsets[d] + c`` of the chunk arrays, and its content is
    ``token_ids[token_offsets[d] + start :][:length]``.

    Attributes:
        token_ids: (total_tokens,) uint16, or uint32 where the vocabulary needs it; no special tokens, and
            no tokens that no chunk uses.
        token_offsets: (num_documents + 1,) int64, each document's slice of ``token_ids``.
        chunk_starts: (total_chunks,) int32, counted from the document's first token.
        chunk_lengths: (total_chunks,) int32, content tokens only; 0 for the one chunk of an empty text.
        chunk_offsets: (num_documents + 1,) int64, each document's slice of the chunk arrays.
        truncated: (num_documents,) bool, whether text beyond the last chunk was left out.
        first_ids: pairs only: (total_first_tokens,) ids of the first texts, like ``token_ids``.
        first_offsets: pairs only: (num_documents + 1,) int64, each document's slice of ``first_ids``.
    """

    token_ids: np.ndarray
    token_offsets: np.ndarray
    chunk_starts: np.ndarray
    chunk_lengths: np.ndarray
    chunk_offsets: np.ndarray
    truncated: np.ndarray
    first_ids: np.ndarray | None = None
    first_offsets: np.ndarray | None = None

    @property
    def num_documents(self) -> int:
        """Documents, those without tokens included."""
        return len(self.token_offsets) - 1

    @property
    def num_chunks(self) -> int:
        """Chunks of all documents together."""
        return len(self.chunk_starts)

    @property
    def chunk_counts(self) -> np.ndarray:
        """(num_documents,) int64 chunks of each document."""
        return np.diff(self.chunk_offsets)

    @property
    def num_tokens(self) -> np.ndarray:
        """(num_documents,) int64 tokens of each document that its chunks use, each counted once."""
        return np.diff(self.token_offsets)


class Chunker:
    """Cuts documents into chunks of at most ``max_length`` tokens that overlap by ``stride`` tokens.

    With ``content = max_length - special tokens`` and ``step = content - stride``, a document of ``n`` tokens
    has one chunk if ``n <= content``, else ``1 + ceil((n - content) / step)``, at most ``max_chunks``; chunk
    ``c`` starts at token ``c * step``. The ids are those of the fast tokenizer called with
    ``return_overflowing_tokens=True, truncation=True, max_length=max_length, stride=stride`` (of pairs with
    ``truncation="only_second"``: the first text is whole in every chunk, only the second is cut).

    Each document is tokenised once, and only as far as its chunks can use. What lies beyond a million
    characters, or beyond 32 a usable token if that is more, is never read: it is marked truncated.

    Args:
        tokenizer: a fast tokenizer of transformers, or a ``tokenizers.Tokenizer``. It is copied, not changed.
        max_length: the most tokens in a chunk, special tokens included.
        stride: tokens that a chunk shares with the one before.
        max_chunks: the most chunks of a document; text beyond them is left out and the document marked.

    Attributes:
        pad_token_id: the id that fills batches up; 0 if the tokenizer has none.
        usable_tokens: tokens of a document (not a pair) that ``max_chunks`` chunks hold.

    Raises:
        StrideformerError: a slow tokenizer, or lengths that leave no room for content beyond the stride.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast | Tokenizer,
        max_length: int = 384,
        stride: int = 128,
        max_chunks: int = 128,
    ) -> None:
        self.max_length = _whole_number("max_length", max_length, 1)
        self.stride = _whole_number("stride", stride, 0)
        self.max_chunks = _whole_number("max_chunks", max_chunks, 1)
        self.pad_token_id = _pad_token_id(tokenizer)
        self._tokenizer = TextTokenizer(tokenizer)
        self._templates: dict[bool, ChunkTemplate] = {}
        special = self.template().num_special_tokens
        self._content = self.max_length - special
        if self._content < 1:
            raise StrideformerError(
                f"max_length={max_length} leaves no room beside {special} special tokens; "
                f"set it to {special + 1} or more"
            )
        if self.stride >= self._content:
            raise StrideformerError(
                f"stride={stride} must be less than max_length without special tokens, "
                f"{max_length} - {special} = {self._content}; lower stride or raise max_length"
            )
        self.usable_tokens = self._content + (self.max_chunks - 1) * (self._content - self.stride)

    def template(self, pair: bool = False) -> ChunkTemplate:
        """The special tokens around a chunk of a single text, or of a pair of texts."""
        if pair not in self._templates:
            self._templates[pair] = ChunkTemplate.probe(self._tokenizer.tokenizer, pair)
        return self._templates[pair]

    @property
    def fast_status(self) -> FastStatus:
        """Whether a faster tokenizer is in use, and what it did so far."""
        return self._tokenizer.fast.status

    def num_chunks(self, num_tokens: int) -> int:
        """Chunks of a document (not a pair) of so many tokens, ``max_chunks`` at most."""
        beyond = max(num_tokens - self._content, 0)
        return min(1 + -(-beyond // (self._content - self.stride)), self.max_chunks)

    def views(self, texts: Sequence[str], text_pairs: Sequence[str] | None = None, first_index: int = 0) -> ChunkViews:
        """The chunks of documents, without copying tokens.

        Args:
            texts: the documents; with ``text_pairs``, the short first texts that are whole in every chunk.
            text_pairs: the documents of pairs, of which only these are cut.
            first_index: the index of the first of them, in an error.

        Raises:
            StrideformerError: a text is not a string or no valid Unicode, or a first text leaves too little
                room; the error names the document's index.
        """
        return self._cut(texts, text_pairs, offsets=False, first_index=first_index)[0]

    def input_ids(self, text: str, text_pair: str | None = None) -> list[list[int]]:
        """The ids of one document's chunks, special tokens included and not padded.

        Raises:
            StrideformerError: as `views`.
        """
        views = self.views([text], None if text_pair is None else [text_pair])
        template = self.template(pair=text_pair is not None)
        first = [] if views.first_ids is None else views.first_ids.tolist()
        head = [*template.prefix_ids, *first, *template.between_ids]
        ids = views.token_ids.tolist()
        return [
            [*head, *ids[start : start + length], *template.suffix_ids]
            for start, length in zip(views.chunk_starts, views.chunk_lengths, strict=True)
        ]

    def spans(self, text: str, text_pair: str | None = None) -> np.ndarray:
        """Where one document's chunks lie in it: (num_chunks, 2) int64 start and end characters.

        They count in ``text_pair`` where it is given, and are what the tokenizer says of a chunk's first and
        last token: byte-level tokenizers may count the space before a word to it or not.

        Raises:
            StrideformerError: as `views`.
        """
        views, documents = self._cut([text], None if text_pair is None else [text_pair], offsets=True)
        offsets = documents[0].offsets
        if offsets is None or not len(views.token_ids):
            return np.zeros((1, 2), np.int64)
        ends = views.chunk_starts + views.chunk_lengths - 1
        return np.stack([offsets[views.chunk_starts, 0], offsets[ends, 1]], axis=1)

    def _cut(
        self, texts: Sequence[str], text_pairs: Sequence[str] | None, offsets: bool, first_index: int = 0
    ) -> tuple[ChunkViews, list[TokenizedText]]:
        _refuse_bare_string(texts, "texts")
        count = len(texts)
        content = np.full(count, self._content, np.int64)
        firsts = None
        if text_pairs is not None:
            _refuse_bare_string(text_pairs, "text_pairs")
            if len(text_pairs) != count:
                raise StrideformerError(
                    f"there are {count} texts but {len(text_pairs)} text_pairs; give one for each text"
                )
            firsts = self._first_texts(texts, first_index)
            content = self._room - np.array([len(first.ids) for first in firsts], np.int64)
        step = chunk_steps(content, self.stride)
        usable = usable_tokens(content, self.stride, self.max_chunks)
        documents = self._tokenizer.tokenize(
            texts if text_pairs is None else text_pairs,
            usable + 1,
            offsets=offsets,
            column="text" if text_pairs is None else "text_pair",
            first_index=first_index,
        )
        found = np.array([len(document.ids) for document in documents], np.int64)
        truncated = (found > usable) | ~np.array([document.complete for document in documents], bool)
        if firsts is not None:
            self._refuse_long_first_texts(firsts, truncated & (content <= self.stride), first_index)
        num_tokens = np.minimum(found, usable)
        counts = chunk_counts(num_tokens, content, self.stride)
        chunk_offsets = _offsets(counts)
        owners = np.repeat(np.arange(count), counts)
        starts = (np.arange(len(owners)) - chunk_offsets[owners]) * step[owners]
        used = [document.ids[:end] for document, end in zip(documents, num_tokens, strict=True)]
        views = ChunkViews(
            token_ids=self._joined(used),
            token_offsets=_offsets(num_tokens),
            chunk_starts=starts.astype(np.int32),
            chunk_lengths=np.minimum(content[owners], num_tokens[owners] - starts).astype(np.int32),
            chunk_offsets=chunk_offsets,
            truncated=truncated,
            first_ids=None if firsts is None else self._joined([first.ids for first in firsts]),
            first_offsets=None if firsts is None else _offsets(self._room - content),
        )
        return views, documents

    @property
    def _room(self) -> int:
        """Tokens that the two texts of a pair may have together in one chunk."""
        return self.max_length - self.template(pair=True).num_special_tokens

    def _first_texts(self, texts: Sequence[str], first_index: int) -> list[TokenizedText]:
        if self._room < 1:
            special = self.max_length - self._room
            raise StrideformerError(
                f"max_length={self.max_length} leaves no room for a pair beside {special} special tokens; set it to "
                f"{special + 1} or more"
            )
        needed = np.full(len(texts), self.max_length + 1, np.int64)
        firsts = self._tokenizer.tokenize(texts, needed, first_index=first_index)
        too_long = np.array([not first.complete or len(first.ids) > self._room for first in firsts], bool)
        self._refuse_long_first_texts(firsts, too_long, first_index)
        return firsts

    def _refuse_long_first_texts(self, firsts: list[TokenizedText], too_long: np.ndarray, first_index: int) -> None:
        if not too_long.any():
            return
        index = int(too_long.argmax())
        first = firsts[index]
        length = f"{'' if first.complete else 'more than '}{len(first.ids)}"
        room = max(self._room - self.stride - 1, 0)
        raise StrideformerError(
            f"document {first_index + index}: its first text has {length} tokens, but max_length={self.max_length} and "
            f"stride={self.stride} leave room for {room}; shorten it, or give the long text as text_pair"
        )

    def _joined(self, ids: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(ids) if ids else np.empty(0, self._tokenizer.dtype)


def check_length(max_length: int, positions: int | None) -> None:
    """Refuse chunks longer than the encoder has positions for (None: it takes any length).

    Raises:
        StrideformerError: ``max_length`` is above that.
    """
    if positions is not None and max_length > positions:
        raise StrideformerError(
            f"max_length={max_length} is more than the {positions} positions of the encoder: use at most {positions}"
        )


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _refuse_bare_string(texts: object, name: str) -> None:
    if isinstance(texts, (str, bytes)):
        raise StrideformerError(f"{name} is one {type(texts).__name__}; give a list of texts")


def _whole_number(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise StrideformerError(f"{name}={value!r} is not possible; set it to a whole number of {least} or more")
    return int(value)


def _pad_token_id(tokenizer: Any) -> int:
    if (declared := getattr(tokenizer, "pad_token_id", None)) is not None:
        return int(declared)
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if (padding := getattr(backend, "padding", None)) is not None:
        return int(padding["pad_id"])
    if hasattr(backend, "token_to_id"):
        found = (backend.token_to_id(token) for token in _PAD_TOKENS)
        return next((token_id for token_id in found if token_id is not None), 0)
    return 0
