"""Texts to token ids without special tokens, reading no more of a text than is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from strideformer.errors import StrideformerError
from strideformer.fast_tokenizer import load_tokie
from strideformer.proven_tokenizer import START_AFTER_CHARACTERS, LoadFast, ProvenTokenizer
from strideformer.safe_cuts import drops_white_space, find_safe_cut, splits_at_safe_cuts
from strideformer.watchdog import progressed

# One string is never tokenised by two threads, so a long text is cut into segments of this many characters.
SEGMENT_CHARACTERS = 20_000
# Characters handed over in one call: enough for every thread, while its encodings (some 150 bytes a token)
# stay under 50 MB.
GROUP_CHARACTERS = 1_000_000
# A first guess at how far to read; English in WordPiece has 4 to 5 characters a token.
CHARACTERS_PER_TOKEN = 5
# Where a text has no safe cut, tokens that end this close to the end of what was read are not trusted.
UNTRUSTED_CHARACTERS = 2_000
# Tokens can be of any length (a word that WordPiece does not know, white space that it drops): what lies
# beyond so many characters a token wanted, and beyond the least reach, is never read.
MOST_CHARACTERS_PER_TOKEN = 32
LEAST_REACH_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class TokenizedText:
    """The beginning of a text, or all of it, as tokens.

    Attributes:
        ids: (num_tokens,) uint16 or uint32.
        offsets: (num_tokens, 2) int64 characters at which each token starts and ends, where asked for.
        complete: whether the tokens are those of the whole text.
    """

    ids: np.ndarray
    offsets: np.ndarray | None
    complete: bool


@dataclass
class _Reading:
    """How far one text has been tokenised."""

    index: int
    text: str
    needed: int  # tokens
    end: int  # characters that may be read
    reach: int  # characters that the next segment spans at least
    position: int = 0  # everything before this character is tokenised; it is 0 or a safe cut
    num_tokens: int = 0
    ids: list[np.ndarray] = field(default_factory=list)
    offsets: list[np.ndarray] = field(default_factory=list)

    @property
    def pending(self) -> bool:
        return self.num_tokens < self.needed and self.position < self.end


@dataclass(frozen=True)
class _Segment:
    reading: _Reading
    start: int
    end: int
    exact: bool  # ends at a safe cut, or where reading ends; else its last tokens are not to be trusted

    def text(self) -> str:
        return self.reading.text[self.start : self.end]


class TextTokenizer:
    """Tokenises texts without special tokens, in bounded groups, and only as far as tokens are needed.

    A text is read segment by segment until it has the tokens that were asked for. Segments end at safe cuts
    (see `strideformer.safe_cuts`), so the ids are those of the whole text. A tokenizer that is not known to
    end words at spaces, or a long stretch without a space, is read as one segment instead, four times as long
    each time; of its tokens those near its end are left out.

    Args:
        tokenizer: a fast tokenizer of transformers, or a ``tokenizers.Tokenizer``. It is copied.
        segment_characters: the least length of a segment.

    Attributes:
        tokenizer: the copy, which neither truncates nor pads.
        dtype: the narrowest of uint16 and uint32 that holds every id.

    Raises:
        StrideformerError: the tokenizer is a slow one, or cannot be copied.
    """

    def __init__(
        self,
        tokenizer: Any,
        segment_characters: int = SEGMENT_CHARACTERS,
        load_fast: LoadFast = load_tokie,
        fast_after: int = START_AFTER_CHARACTERS,
    ) -> None:
        self.tokenizer = copy_backend(tokenizer)
        self.fast = ProvenTokenizer(self.tokenizer, load_fast, fast_after)
        self.segment_characters = segment_characters
        largest_id = max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
        self.dtype = np.dtype(np.uint16 if largest_id < 2**16 else np.uint32)
        self._has_safe_cuts = splits_at_safe_cuts(self.tokenizer)
        self._has_wide_cuts = self._has_safe_cuts and drops_white_space(self.tokenizer)

    def tokenize(
        self,
        texts: Sequence[str],
        needed: np.ndarray,
        *,
        offsets: bool = False,
        column: str = "text",
        first_index: int = 0,
    ) -> list[TokenizedText]:
        """The first ``needed`` tokens of every text at least, or all its tokens if it has fewer.

        Args:
            texts: any number of texts.
            needed: (num_texts,) int64.
            offsets: whether to find the tokens' characters, which takes longer.
            column: what the texts are called in an error.
            first_index: the index of the first of them there.

        Raises:
            StrideformerError: a text is not a string, is no valid Unicode, or makes the tokenizer fail; the
                error names its index.
        """
        readings = [
            self._begin(index, text, int(count), column)
            for index, (text, count) in enumerate(zip(texts, needed, strict=True), first_index)
        ]
        pending = [reading for reading in readings if reading.pending]
        while pending:
            for group in _grouped(segment for reading in pending for segment in self._next_segments(reading)):
                self._read(group, offsets, column)
                progressed()
            pending = [reading for reading in pending if reading.pending]
        return [self._finish(reading, offsets) for reading in readings]

    def _begin(self, index: int, text: object, needed: int, column: str) -> _Reading:
        if not isinstance(text, str):
            raise StrideformerError(
                f"document {index}: its {column} is of type {type(text).__name__}, not a string; "
                "leave such documents out or convert them first"
            )
        most = max(LEAST_REACH_CHARACTERS, MOST_CHARACTERS_PER_TOKEN * needed)
        reach = self.segment_characters
        if not self._has_safe_cuts:
            reach = max(reach, needed * CHARACTERS_PER_TOKEN // 2 + UNTRUSTED_CHARACTERS)
        return _Reading(index, text, needed, min(len(text), most), reach)

    def _next_segments(self, reading: _Reading) -> Iterator[_Segment]:
        """Segments that should hold the tokens still needed, at the text's own rate of characters a token."""
        rate = reading.position / max(reading.num_tokens, 1) if reading.position else CHARACTERS_PER_TOKEN
        goal = reading.position + 1.1 * rate * (reading.needed - reading.num_tokens)
        start = reading.position
        reach = reading.reach
        while start < reading.end and (start < goal or start == reading.position):
            segment = self._segment(reading, start, reach)
            yield segment
            if not segment.exact:
                return
            start = segment.end
            reach = self.segment_characters

    def _segment(self, reading: _Reading, start: int, reach: int) -> _Segment:
        far = start + 2 * reach
        if far >= reading.end:
            return _Segment(reading, start, reading.end, exact=True)
        cut = None
        if self._has_safe_cuts:
            cut = find_safe_cut(reading.text, start + reach, far, wide=self._has_wide_cuts)
        return _Segment(reading, start, cut or far, exact=cut is not None)

    def _read(self, group: list[_Segment], offsets: bool, column: str) -> None:
        """Tokenise segments and hand each its tokens; the segments of one text must come in their order."""
        plain = [segment for segment in group if segment.exact and not offsets]
        with_offsets = [segment for segment in group if not segment.exact or offsets]
        for segment, ids in zip(plain, self._plain_ids(plain, column), strict=True):
            self._take(segment, ids)
        # The last segment of a text is the only one that may not be exact, so it still comes after the others.
        encodings = _encode(with_offsets, self.tokenizer.encode_batch, column)
        for segment, encoding in zip(with_offsets, encodings, strict=True):
            self._take_trusted(segment, encoding, offsets)

    def _plain_ids(self, segments: list[_Segment], column: str) -> list[np.ndarray]:
        found = [self.fast.encode(segment.text()) for segment in segments]
        referred = [segment for segment, ids in zip(segments, found, strict=True) if ids is None]
        encode = getattr(self.tokenizer, "encode_batch_fast", self.tokenizer.encode_batch)
        encodings = iter(_encode(referred, encode, column))
        return [
            np.array(next(encodings).ids, dtype=self.dtype) if ids is None else ids.astype(self.dtype) for ids in found
        ]

    def _take_trusted(self, segment: _Segment, encoding: Any, offsets: bool) -> None:
        """Take all of an exact segment's tokens, else those that what follows the segment cannot change."""
        reading = segment.reading
        ids = np.array(encoding.ids, dtype=self.dtype)
        spans = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        if not segment.exact:
            untrusted = spans[:, 1] > segment.end - segment.start - UNTRUSTED_CHARACTERS
            trusted = int(untrusted.argmax()) if untrusted.any() else len(ids)
            if reading.num_tokens + trusted < reading.needed:
                reading.reach = 2 * (segment.end - segment.start)
                return
            ids, spans = ids[:trusted], spans[:trusted]
        if offsets:
            reading.offsets.append(spans + segment.start)
        self._take(segment, ids)

    def _take(self, segment: _Segment, ids: np.ndarray) -> None:
        reading = segment.reading
        reading.ids.append(ids)
        reading.num_tokens += len(ids)
        if segment.exact:
            reading.position = segment.end
            reading.reach = self.segment_characters

    def _finish(self, reading: _Reading, offsets: bool) -> TokenizedText:
        ids = np.concatenate(reading.ids) if reading.ids else np.empty(0, self.dtype)
        spans = None
        if offsets:
            spans = np.concatenate(reading.offsets) if reading.offsets else np.empty((0, 2), np.int64)
        return TokenizedText(ids, spans, complete=reading.position == len(reading.text))


def copy_backend(tokenizer: Any) -> Any:
    """The Rust tokenizer inside a fast tokenizer, or a bare one, copied, with truncation and padding off."""
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not (hasattr(backend, "to_str") and hasattr(backend, "encode_batch")):
        raise StrideformerError(
            f"{type(tokenizer).__name__} is not a fast tokenizer; load one with a tokenizer.json, "
            "for example with AutoTokenizer.from_pretrained"
        )
    try:
        copy = type(backend).from_str(backend.to_str())
    except Exception as error:
        raise StrideformerError(
            f"{type(tokenizer).__name__} cannot be copied ({error}); use a tokenizer whose every part is "
            "one of the tokenizers library's own"
        ) from error
    copy.no_truncation()
    copy.no_padding()
    # Not part of the serialised form.
    copy.encode_special_tokens = getattr(tokenizer, "split_special_tokens", backend.encode_special_tokens)
    return copy


def _grouped(segments: Iterable[_Segment]) -> Iterator[list[_Segment]]:
    group: list[_Segment] = []
    characters = 0
    for segment in segments:
        group.append(segment)
        characters += segment.end - segment.start
        if characters >= GROUP_CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group


def _encode(segments: list[_Segment], encode: Any, column: str) -> list[Any]:
    if not segments:
        return []
    try:
        return list(encode([segment.text() for segment in segments], add_special_tokens=False))
    except BaseException as error:
        # A panic in Rust arrives as PanicException, which is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if len(segments) == 1:
            raise _refusal(segments[0], error, column) from error
    return [encoding for segment in segments for encoding in _encode([segment], encode, column)]


def _refusal(segment: _Segment, error: BaseException, column: str) -> StrideformerError:
    where = f"document {segment.reading.index}: its {column}"
    try:
        segment.text().encode("utf-8")
    except UnicodeEncodeError as unicode_error:
        position = segment.start + unicode_error.start
        return StrideformerError(
            f"{where} is no valid Unicode (a lone surrogate at character {position}); "
            "decode it again with errors='replace'"
        )
    return StrideformerError(f"{where} makes the tokenizer fail ({error}); leave the document out")
