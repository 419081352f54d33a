"""Where a text may be cut in two so that tokenising the halves gives the tokens of the whole."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

# A cut lies before a single ASCII space between two ASCII letters or digits: no accent, run of white space
# or punctuation mark touches it, so nothing that a normalizer composes or collapses can reach across.
_CUT = re.compile(r"[0-9A-Za-z](?= [0-9A-Za-z])")
# To tokenizers of the BERT kind white space is nothing, and these marks are words of their own, so that a text may
# also be cut between a visible ASCII character and white space, and after such a mark, whatever comes next: there is
# more than one cut a line in tables, code and Chinese, where the others are rare.
_MARKS = "\u3001\u3002\uff0c"
_WIDE_CUT = re.compile(rf"[!-~](?=[ \t\n\r])|[{_MARKS}]")

# Normalizers that treat each character, or each run of neighbouring non-ASCII characters, for itself.
_LOCAL_NORMALIZERS = {
    "BertNormalizer",
    "Lowercase",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Nmt",
    "Precompiled",
    "StripAccents",
}
# Regular expressions of Replace normalizers that leave a single space between letters a single space.
_SPACE_COLLAPSING = {r" {2,}", r"\s{2,}|[\n\r\t]", r"\s+", r"[\n\r\t]", r"\n"}

# Pre-tokenizers that end a word at every space; those of the second set only cut words smaller.
_SPACE_SPLITTERS = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
_WORD_SPLITTERS = {"Digits", "Punctuation"}

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LINE_ENDS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
# Split patterns of published tokenizers in which no match holds a letter or digit followed by a space.
_SPLIT_PATTERNS = {
    # GPT-2
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    # CLIP
    r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    # Llama 3 (cl100k), Qwen 2, Qwen 3.5
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _LINE_ENDS,
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _LINE_ENDS,
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + _LINE_ENDS,
}

_PROBES = (
    "a b",
    "The quick brown fox jumps over 13 lazy dogs and 1 000 000 cats x y z",
    "I'll say it's theirs 's s don't re they've d 2nd 3 rd A1 B2 c3 4d",
    "  lead and  double   triple\ttab a\nline\r\nends here \n x \u00a0 y\u2003z\u3000w end  ",
    "Stra\u00dfe \u0130stanbul e\u0301te\u0301 na\u00efve \ufb01n ate o\u0308 n\u0303 x",
    "\u6771\u4eac and 1 \u5317\u4eac a\u6771 b \uac00\ub098 c \u0e2a\u0e27\u0e31\u0e2a d",
    "go \U0001f600 go \U0001f468\u200d\U0001f469\u200d\U0001f467 ok a\u200bb c\ufeffd e f\u00adg h",
    "x.y, z! (a b) [c d] {e f} \"g h\" a-b c_d e/f ``i j'' \u2581k \u0120l m\x00n o\x7fp q\ufffd r",
    "aaaa aaaa aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bbbb ZZZZ 0000 9 99 999 9999",
    "abcdefgh" * 20 + " " + "zyxw" * 40 + " end",
)
_MOST_TOKENS_PROBED = 64


def find_safe_cut(text: str, start: int, end: int, *, wide: bool = False) -> int | None:
    """The first safe cut in ``text[start:end]``: the space there belongs to the second half.

    Args:
        text: what is to be cut.
        start: the first character that may be looked at.
        end: the first character that may not.
        wide: whether the tokenizer `drops_white_space`, which allows many more cuts.
    """
    found = (_WIDE_CUT if wide else _CUT).search(text, start, end)
    return found.end() if found else None


def splits_at_safe_cuts(tokenizer: Any) -> bool:
    """Whether ids of a text are those of its parts, wherever `find_safe_cut` would cut it.

    Proven by the kinds of normalizers, pre-tokenizers and added tokens, all of which must be known; then
    tried on texts made to break it. A tokenizer that is not known for certain is not trusted.

    Args:
        tokenizer: a ``tokenizers.Tokenizer`` without truncation and padding.
    """
    normalizer, pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    if pre_tokenizer is None:
        return False
    try:
        normalizer_description = json.loads(normalizer.__getstate__()) if normalizer is not None else None
        pre_tokenizer_description = json.loads(pre_tokenizer.__getstate__())
    except Exception:  # a pre-tokenizer written in Python cannot be described
        return False
    added = list(tokenizer.get_added_tokens_decoder().values())
    return (
        all(_is_local(step) for step in _steps(normalizer_description, "normalizers"))
        and _ends_words_at_spaces(_steps(pre_tokenizer_description, "pretokenizers"))
        and not any(_may_cross_a_cut(token) for token in added)
        and _agrees_on_probes(tokenizer, [token.content for token in added[:_MOST_TOKENS_PROBED]])
    )


def drops_white_space(tokenizer: Any) -> bool:
    """Whether ids of a text are those of its parts wherever `find_safe_cut` would cut it with ``wide=True``.

    Args:
        tokenizer: a ``tokenizers.Tokenizer`` for which `splits_at_safe_cuts` is true.
    """
    kinds = (type(tokenizer.normalizer).__name__, type(tokenizer.pre_tokenizer).__name__)
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    return (
        kinds == ("BertNormalizer", "BertPreTokenizer")
        and not any(re.search(rf"[\s{_MARKS}]", content) for content in added)
        and _agrees_on_probes(tokenizer, added[:_MOST_TOKENS_PROBED], wide=True)
    )


def _steps(description: dict[str, Any] | None, parts: str) -> list[dict[str, Any]]:
    if description is None:
        return []
    if description["type"] != "Sequence":
        return [description]
    return [step for part in description[parts] for step in _steps(part, parts)]


def _is_local(normalizer: dict[str, Any]) -> bool:
    kind = normalizer["type"]
    if kind == "Strip":
        # Every part but the first begins with the space that was cut at; none but the last ends with one.
        return not normalizer["strip_left"]
    if kind != "Replace":
        return kind in _LOCAL_NORMALIZERS
    pattern, content = normalizer["pattern"], normalizer["content"]
    if "Regex" in pattern:
        expression = pattern["Regex"]
        return expression in _SPACE_COLLAPSING and (content == " " or (expression, content) == (" {2,}", "▁"))
    return not any(character.isalnum() or character.isspace() for character in pattern["String"])


def _ends_words_at_spaces(pre_tokenizers: list[dict[str, Any]]) -> bool:
    ended = False
    spaces_left = True  # ByteLevel and Metaspace write other characters for spaces; who follows sees none
    for step in pre_tokenizers:
        kind = step["type"]
        if kind in _SPACE_SPLITTERS:
            ended = ended or spaces_left
        elif kind == "ByteLevel":
            ended = ended or (spaces_left and step.get("use_regex", True))
            spaces_left = False
        elif kind == "Metaspace":
            ended = ended or (spaces_left and step.get("split", True))
            spaces_left = False
        elif kind == "Split":
            if step["pattern"].get("Regex") not in _SPLIT_PATTERNS:
                return False
            if (step["behavior"], step["invert"]) not in {("Isolated", False), ("Removed", True)}:
                return False
            ended = ended or spaces_left
        elif kind not in _WORD_SPLITTERS:
            return False
    return ended


def _may_cross_a_cut(token: Any) -> bool:
    """Whether an added token can hold the letter before a cut together with the space after it."""
    content = unicodedata.normalize("NFKC", token.content)
    return bool(re.search(r"\w\s", content)) or (token.rstrip and bool(re.search(r"\w$", content)))


def _agrees_on_probes(tokenizer: Any, added_tokens: list[str], *, wide: bool = False) -> bool:
    probes = [*_PROBES, *(f"a {token} b{token}c d {token}" for token in added_tokens)]
    for probe in probes:
        parts = []
        start = 0
        while (cut := find_safe_cut(probe, start, len(probe), wide=wide)) is not None:
            parts.append(probe[start:cut])
            start = cut
        parts.append(probe[start:])
        try:
            whole, *pieces = tokenizer.encode_batch([probe, *parts], add_special_tokens=False)
        except Exception:  # a model without a token for what it does not know
            return False
        if whole.ids != [token_id for piece in pieces for token_id in piece.ids]:
            return False
    return True
