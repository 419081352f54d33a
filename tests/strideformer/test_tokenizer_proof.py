from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken

from strideformer.tokenizer_proof import ProvenCharacters, pairs_to_try, parse, unsupported, words_to_try
from strideformer.tokenizing import copy_backend
from tests.strideformer.tokenizers_for_tests import ALL, tokenizer_of


@cache
def backend() -> Any:
    return copy_backend(tokenizer_of("minilm"))


def described(name: str) -> dict[str, Any]:
    return parse(copy_backend(tokenizer_of(name)).to_str())


def reference_ids(texts: list[str]) -> list[np.ndarray]:
    encodings = backend().encode_batch(texts, add_special_tokens=False)
    return [np.array(encoding.ids, np.uint32) for encoding in encodings]


@pytest.mark.parametrize("name", sorted(ALL))
def test_only_tokenizers_of_the_bert_kind_can_be_proven(name: str) -> None:
    assert (unsupported(described(name)) is None) == (name in {"bert", "minilm"})


def test_added_tokens_found_in_normalized_text_rule_it_out() -> None:
    tokenizer = copy_backend(tokenizer_of("bert"))
    tokenizer.add_tokens([AddedToken("Court", normalized=True)])
    assert "added tokens" in str(unsupported(parse(tokenizer.to_str())))


@pytest.mark.parametrize(("piece", "harmless"), [("\u2ba0", True), ("x\u2ba0", False), ("##x\u2ba0", False)])
def test_a_character_that_only_longer_pieces_hold_rules_it_out(piece: str, harmless: bool) -> None:
    description = described("minilm")
    description["model"]["vocab"][piece] = len(description["model"]["vocab"])
    assert (unsupported(description) is None) == harmless


def test_every_piece_and_every_beginning_that_is_none_is_tried() -> None:
    description = described("minilm")
    words = {word for text in words_to_try(description) for word in text.split(" ")}
    assert {"court", "aing", "x" * 100, "x" * 101} <= words
    vocabulary = description["model"]["vocab"]
    assert all(piece in words or piece.startswith("##") for piece in vocabulary if not piece.startswith("["))
    beginning = next(p[:4] for p in vocabulary if p[:1].isalpha() and len(p) > 6 and p[:4] not in vocabulary)
    assert beginning in words


def test_every_ascii_character_follows_every_other() -> None:
    assert "a'\rb" in pairs_to_try()[ord("'")]
    assert len(pairs_to_try()) == 128


def test_a_character_that_is_mapped_wrongly_is_refused_and_no_other() -> None:
    def fast(text: str) -> np.ndarray:
        return reference_ids([text.replace("ç", "k").replace("~", "")])[0]

    characters = ProvenCharacters(reference_ids, fast)
    assert characters.hold("plain words, and [marks]!\n")
    assert characters.hold("é Ж 東 😀 ё ΑΣ")
    assert characters.hold("")
    assert not characters.hold("garçon")
    assert not characters.hold("a~b")
    assert not characters.hold("é a~b")


def test_a_character_that_is_being_tried_is_not_proven_for_another_thread() -> None:
    seen: list[bool] = []

    def fast(text: str) -> np.ndarray:
        return reference_ids([text.replace("ç", "k")])[0]

    def reference(texts: list[str]) -> list[np.ndarray]:
        if any("ç" in text for text in texts) and not seen:
            seen.append(True)
            with ThreadPoolExecutor(1) as other:
                seen[0] = other.submit(characters.hold, "garçon").result()
        return reference_ids(texts)

    characters = ProvenCharacters(reference, fast)
    assert not characters.hold("garçon")
    assert seen == [False]


@pytest.mark.parametrize(
    "character",
    [
        "\ud800",  # a lone surrogate
        "\u0378",  # unassigned
        "\u302e",  # a mark that stays and is reordered beside others of its kind
        "\U0001d15e",  # falls apart into such a mark
    ],
)
def test_characters_that_do_not_act_for_themselves_are_refused(character: str) -> None:
    characters = ProvenCharacters(reference_ids, lambda text: reference_ids([text])[0])
    assert not characters.hold(f"a{character}b")
