"""Which special tokens a tokenizer puts around a text, or around a pair of texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strideformer.errors import StrideformerError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class ChunkTemplate:
    """How special tokens surround the content of one chunk.

    A chunk of a single text is ``prefix content suffix``; of a pair, ``prefix first between content suffix``.

    Attributes:
        prefix_ids, between_ids, suffix_ids: the special tokens; ``between_ids`` is empty for single texts.
        prefix_type_ids, between_type_ids, suffix_type_ids: their token types.
        first_type_id: the token type of the first text of a pair.
        content_type_id: the token type of the text that is cut into chunks.
    """

    prefix_ids: tuple[int, ...]
    between_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]
    prefix_type_ids: tuple[int, ...]
    between_type_ids: tuple[int, ...]
    suffix_type_ids: tuple[int, ...]
    first_type_id: int
    content_type_id: int

    @property
    def num_special_tokens(self) -> int:
        """Special tokens in a chunk."""
        return len(self.prefix_ids) + len(self.between_ids) + len(self.suffix_ids)

    @classmethod
    def probe(cls, tokenizer: Tokenizer, pair: bool) -> ChunkTemplate:
        """Read the template off what the tokenizer's post-processor does to a known text.

        Raises:
            StrideformerError: the tokenizer puts tokens elsewhere than around the texts, or has no tokens for
                any plain text.
        """
        text, content = _text_with_tokens(tokenizer)
        encoding = tokenizer.encode(text, text) if pair else tokenizer.encode(text)
        ids, types, sequences = encoding.ids, encoding.type_ids, encoding.sequence_ids
        strided = 1 if pair else 0
        start = sequences.index(strided)
        end = start + len(content)
        first_start = sequences.index(0)
        first_end = first_start + len(content) if pair else start
        if not (first_end <= start and ids[first_start : first_start + len(content)] == ids[start:end] == content):
            raise StrideformerError(
                "the tokenizer's post-processor changes the order of the texts or their tokens; "
                "use a tokenizer that only puts special tokens around them"
            )
        return cls(
            prefix_ids=tuple(ids[:first_start]),
            between_ids=tuple(ids[first_end:start]),
            suffix_ids=tuple(ids[end:]),
            prefix_type_ids=tuple(types[:first_start]),
            between_type_ids=tuple(types[first_end:start]),
            suffix_type_ids=tuple(types[end:]),
            first_type_id=types[first_start],
            content_type_id=types[start],
        )


def _text_with_tokens(tokenizer: Tokenizer) -> tuple[str, list[int]]:
    for text in ("a", "the", "0", "."):
        try:
            content = tokenizer.encode(text, add_special_tokens=False).ids
        except Exception as error:
            raise StrideformerError(f"the tokenizer fails on {text!r} ({error}); use a whole one") from error
        if content:
            return text, content
    raise StrideformerError("the tokenizer makes no tokens of 'a', 'the', '0' or '.'; use a trained one")
