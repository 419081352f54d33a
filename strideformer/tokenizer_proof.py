"""Where a fast tokenizer of the BERT kind is shown to give the ids of the reference.

Such a tokenizer treats each character for itself (drops it, maps it, or makes it a space or a word of its own) and
then spells each word, on its own, with the longest pieces there are. So it is right on every text made of characters
on which it is right, if it spells words right: the first is tried for each character, the second on every piece of
the vocabulary and on every beginning of a piece that is none itself.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

Encode = Callable[[str], np.ndarray]
EncodeBatch = Callable[[list[str]], list[np.ndarray]]

_UNKNOWN, _REFUSED, _PROVEN = 0, 1, 2
_WORDS_A_TEXT = 500
_CONTINUES = "##"


def unsupported(description: dict[str, Any]) -> str | None:
    """Why a tokenizer cannot be proven character by character; None if it can.

    Args:
        description: the content of its ``tokenizer.json``.
    """
    parts = {part: (description.get(part) or {}).get("type") for part in ("normalizer", "pre_tokenizer", "model")}
    if parts != {"normalizer": "BertNormalizer", "pre_tokenizer": "BertPreTokenizer", "model": "WordPiece"}:
        return "only tokenizers of the BERT kind (WordPiece) can be proven"
    model = description["model"]
    if model["continuing_subword_prefix"] != _CONTINUES:
        return f"its pieces within a word do not begin with {_CONTINUES}"
    if any(token["normalized"] for token in description["added_tokens"]):
        return "it looks for added tokens in normalized text"
    # A character that is part of a piece but no piece itself would look unknown wherever it is tried.
    for piece in _pieces(description):
        if any(part not in model["vocab"] for part in _spelled(piece)):
            return f"its vocabulary holds {piece!r} but not every character of it"
    return None


def words_to_try(description: dict[str, Any]) -> list[str]:
    """Texts of every word that shows an error in spelling: each piece, and what begins a piece but is none.

    They include words as long as the tokenizer allows, and one character longer, in letters of one to four bytes.
    """
    vocabulary = description["model"]["vocab"]
    words: dict[str, None] = {}
    for piece in _pieces(description):
        mark, before = (_CONTINUES, "a") if _continues(piece) else ("", "")
        letters = piece.removeprefix(mark)
        words[before + letters] = None
        for end in range(1, len(letters)):
            if mark + letters[:end] not in vocabulary:
                words[before + letters[:end]] = None
    most = int(description["model"]["max_input_chars_per_word"])
    repeated = [letter for letter in vocabulary if len(letter) == 1 and letter.isalpha() and not letter.isascii()]
    for letter in ["x", "é", "İ", "ж", "ᄀ", "ா", "👍", "-", "東", *repeated[:50]]:
        for length in (most // 4, most // 2, most - 1, most, most + 1, 2 * most, 20 * most):
            words[letter * length] = None
            words["a" * (most - length // 2) + letter * (length // 2)] = None
    every = list(words)
    return [" ".join(every[start : start + _WORDS_A_TEXT]) for start in range(0, len(every), _WORDS_A_TEXT)]


def pairs_to_try() -> list[str]:
    """Texts in which every ASCII character follows every other, within a word and alone."""
    ascii_characters = [chr(code) for code in range(128)]
    return [" ".join(f"a{left}{right}b {left}{right}" for right in ascii_characters) for left in ascii_characters]


class ProvenCharacters:
    """The characters on which a fast tokenizer is right, each tried when it is first met.

    Args:
        reference: (texts) → ids of each text.
        fast: (text) → its ids.
    """

    def __init__(self, reference: EncodeBatch, fast: Encode) -> None:
        self._reference = reference
        self._fast = fast
        self._states = np.full(0x110000, _UNKNOWN, np.uint8)
        self._try(range(128))
        self._refused_ascii = [chr(code) for code in range(128) if self._states[code] == _REFUSED]

    def hold(self, text: str) -> bool:
        """Whether a text has proven characters only."""
        if text.isascii():
            return not any(character in text for character in self._refused_ascii)
        try:
            codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        except UnicodeEncodeError:  # a lone surrogate
            return False
        states = self._states[codes]
        if states.min() == _UNKNOWN:
            self._try(np.unique(codes[states == _UNKNOWN]).tolist())
            states = self._states[codes]
        return bool(states.min() == _PROVEN)

    def _try(self, codes: Iterable[int]) -> None:
        # Other threads read the states meanwhile, so that a character has none before it is tried.
        found = {code: _PROVEN if _acts_for_itself(chr(code)) else _REFUSED for code in codes}
        contexts = [(code, text) for code in codes if found[code] == _PROVEN for text in _contexts(chr(code))]
        agree = agreement([text for _, text in contexts], self._reference, self._fast)
        for (code, _), agrees in zip(contexts, agree, strict=True):
            if not agrees:
                found[code] = _REFUSED
        for code, state in found.items():
            self._states[code] = state


def agreement(texts: Sequence[str], reference: EncodeBatch, fast: Encode) -> np.ndarray:
    """(num_texts,) bool: whether both give the same ids."""
    expected = reference(list(texts))
    return np.array([np.array_equal(ids, fast(text)) for ids, text in zip(expected, texts, strict=True)], bool)


def _contexts(character: str) -> list[str]:
    """A character within a word, last, first, alone, doubled, beside a digit and a mark; in ASCII and other text."""
    c = character
    text = f"a{c}b{c} {c}A {c} {c}{c} 1{c}1 .{c}."
    # Text of ASCII alone may go another way.
    return [text, f"é {text}", f"{text} é"] if c.isascii() else [text]


def _acts_for_itself(character: str) -> bool:
    # Marks that stay in the text but are reordered among themselves by NFD depend on their neighbours. What
    # Python's tables do not know yet, the others may each know in another version.
    if unicodedata.category(character) in {"Cn", "Cs"}:
        return False
    return not any(
        unicodedata.combining(part) and unicodedata.category(part) != "Mn"
        for part in unicodedata.normalize("NFD", character)
    )


def _pieces(description: dict[str, Any]) -> Iterable[str]:
    added = {token["content"] for token in description["added_tokens"]}
    return (piece for piece in description["model"]["vocab"] if piece not in added)


def _continues(piece: str) -> bool:
    return piece.startswith(_CONTINUES) and len(piece) > len(_CONTINUES)


def _spelled(piece: str) -> list[str]:
    if _continues(piece):
        return [_CONTINUES + letter for letter in piece[len(_CONTINUES) :]]
    return [piece[:1], *(_CONTINUES + letter for letter in piece[1:])]


def parse(description: str) -> dict[str, Any]:
    """The content of a ``tokenizer.json``."""
    content: dict[str, Any] = json.loads(description)
    return content
