from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strideformer import Chunker
from strideformer.errors import StrideformerError
from strideformer.fast_tokenizer import MOST_BYTES, FastTokenizer, load_tokie
from strideformer.proven_tokenizer import COMPARED_EVERY, FIRST_COMPARED, ProvenTokenizer
from strideformer.tokenizer_probes import PROBES
from strideformer.tokenizing import TextTokenizer, copy_backend
from tests.strideformer.tokenizers_for_tests import ALL, CORPUS, tokenizer_of

EVERYTHING = 10**9


class Altered:
    """The reference itself, in the place of a fast tokenizer, with its ids altered."""

    def __init__(self, alter: Callable[[str, np.ndarray], np.ndarray] = lambda _, ids: ids, name: str = "bert") -> None:
        self.reference = copy_backend(tokenizer_of(name))
        self.alter = alter
        self.texts: list[str] = []

    def encode(self, text: str) -> np.ndarray:
        self.texts.append(text)
        ids = np.array(self.reference.encode(text, add_special_tokens=False).ids, np.uint32)
        return self.alter(text, ids)

    def load(self, _: str) -> FastTokenizer:
        return self


def started(fast: Altered) -> ProvenTokenizer:
    proven = ProvenTokenizer(copy_backend(tokenizer_of("bert")), fast.load, start_after=0)
    proven.encode("")
    return proven


def test_one_thread_proves_and_the_others_have_the_reference_meanwhile() -> None:
    fast = Altered(lambda text, ids: ids[:-1] if "chunk" in text else ids)  # which its proof will show
    loaded: list[np.ndarray | None] = []

    def load(_: str) -> FastTokenizer:
        with ThreadPoolExecutor(1) as other:
            loaded.append(other.submit(proven.encode, "plain words").result())
        return fast

    proven = ProvenTokenizer(copy_backend(tokenizer_of("bert")), load, start_after=0)
    with pytest.warns(RuntimeWarning, match="other ids than the reference"):
        assert proven.encode("plain words") is None
    assert loaded == [None]
    assert proven.status.state == "off"


@cache
def bert() -> Any:
    return copy_backend(tokenizer_of("bert"))


def ids_of(text: str) -> list[int]:
    found: list[int] = bert().encode(text, add_special_tokens=False).ids
    return found


def read(tokenizer: TextTokenizer, text: str) -> np.ndarray:
    return tokenizer.tokenize([text], np.array([EVERYTHING]))[0].ids


@pytest.fixture(scope="module")
def with_tokie() -> dict[str, TextTokenizer]:
    pytest.importorskip("tokie")
    tokenizers = {name: TextTokenizer(tokenizer_of(name), 200, fast_after=0) for name in ("bert", "minilm")}
    for tokenizer in tokenizers.values():
        read(tokenizer, "start")
        assert tokenizer.fast.status.state == "on"
    return tokenizers


@pytest.mark.parametrize("name", ["bert", "minilm"])
@given(
    text=st.lists(
        st.one_of(
            st.text(max_size=20),
            st.text(st.characters(max_codepoint=0x24F), max_size=30),
            st.sampled_from([*PROBES[:24], *CORPUS, "[SEP]", "[MASK] ", "x" * 150, "\x7f", "\ud7ff", " \u0301"]),
        ),
        max_size=12,
    ).map("".join)
)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_text_has_the_ids_of_the_reference(with_tokie: dict[str, TextTokenizer], name: str, text: str) -> None:
    tokenizer = with_tokie[name]
    found = read(tokenizer, text)
    assert found.tolist() == tokenizer.tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.fast.status.state == "on"


def test_tokie_takes_what_is_proven_and_refers_what_is_not(with_tokie: dict[str, TextTokenizer]) -> None:
    status = with_tokie["minilm"].fast.status
    for text, counts in {
        "Plain words, naïve and … 東京 😀.": (1, 0),
        "a DEL: \x7f": (0, 1),
        "unassigned: \u0378": (0, 1),
        "a [MASK] literally": (0, 1),
        "a mask [ literally ]": (1, 0),
    }.items():
        before = status.fast, status.referred
        read(with_tokie["minilm"], text)
        assert (status.fast - before[0], status.referred - before[1]) == counts, text


@pytest.mark.parametrize("name", sorted(set(ALL) - {"bert", "minilm"}))
def test_other_kinds_stay_with_the_reference(name: str) -> None:
    tokenizer = TextTokenizer(tokenizer_of(name), fast_after=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read(tokenizer, CORPUS[0])
    assert found.tolist() == tokenizer.tokenizer.encode(CORPUS[0], add_special_tokens=False).ids
    assert tokenizer.fast.status.state == "off"
    assert "BERT kind" in tokenizer.fast.status.reason


def test_without_a_fast_tokenizer_the_reference_is_used_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokie", None)
    tokenizer = TextTokenizer(tokenizer_of("bert"), load_fast=load_tokie, fast_after=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(tokenizer, CORPUS[0]).tolist() == ids_of(CORPUS[0])
    assert tokenizer.fast.status.state == "off"
    assert "installed" in tokenizer.fast.status.reason


def test_it_starts_only_after_enough_text() -> None:
    fast = Altered()
    proven = ProvenTokenizer(copy_backend(tokenizer_of("bert")), fast.load, start_after=100)
    assert proven.encode("x" * 99) is None
    assert (proven.status.state, fast.texts) == ("waiting", [])
    assert proven.encode("the court") is not None
    assert proven.status.state == "on"


@pytest.mark.parametrize(
    "alter",
    [
        lambda text, ids: ids[:-1] if "chunk" in text else ids,  # a piece of the vocabulary
        lambda text, ids: ids + 1 if "\r\n" in text else ids,  # two characters that go together
        lambda text, ids: ids[:500] if len(text) > 8_000 else ids,  # long texts
        lambda text, ids: ids[1:] if text.startswith(" " * 100) else ids,
    ],
)
def test_a_wrong_one_is_found_at_the_start(alter: Callable[[str, np.ndarray], np.ndarray]) -> None:
    fast = Altered(alter)
    with pytest.warns(RuntimeWarning, match="other ids than the reference"):
        proven = started(fast)
    assert proven.status.state == "off"
    assert (proven.encode("the court"), proven.status.fast) == (None, 0)


def test_a_wrong_character_is_referred_while_the_rest_goes_on() -> None:
    proven = started(Altered(lambda text, ids: ids + 1 if "ç" in text else ids))
    assert proven.status.state == "on"
    assert proven.encode("garçon") is None
    assert proven.status.referred == 1
    found = proven.encode("coffee … «naïve»")
    assert found is not None
    assert found.tolist() == ids_of("coffee … «naïve»")


def test_a_difference_on_the_first_documents_switches_it_off() -> None:
    fast = Altered()
    proven = started(fast)
    fast.alter = lambda _, ids: ids[::-1]
    with pytest.warns(RuntimeWarning, match="the reference tokenizer goes on"):
        found = proven.encode("the court heard")
    assert found is not None
    assert found.tolist() == ids_of("the court heard")  # of the reference
    assert proven.status.state == "off"
    assert proven.encode("the court heard") is None


def test_a_difference_midway_is_found_on_the_sample() -> None:
    fast = Altered()
    tokenizer = TextTokenizer(tokenizer_of("bert"), load_fast=fast.load, fast_after=0)
    texts = ["the court"] * (COMPARED_EVERY + 10)
    read(tokenizer, "")
    for text in texts[:FIRST_COMPARED]:
        read(tokenizer, text)
    assert tokenizer.fast.status.compared == FIRST_COMPARED
    fast.alter = lambda _, ids: ids + 1
    with pytest.warns(RuntimeWarning) as warned:
        found = tokenizer.tokenize(texts, np.full(len(texts), EVERYTHING))
    assert len(warned) == 1
    status = tokenizer.fast.status
    assert (status.state, status.fast, status.compared) == ("off", COMPARED_EVERY - 1, FIRST_COMPARED)
    # What was taken unseen cannot be taken back, but from the comparison on every id is right.
    wrong = COMPARED_EVERY - 1 - FIRST_COMPARED
    assert all(text.ids.tolist() == ids_of("the court") for text in found[wrong:])


def test_one_that_fails_is_switched_off() -> None:
    fast = Altered()
    proven = started(fast)

    def fail(_: str, ids: np.ndarray) -> np.ndarray:
        raise ValueError("no more")

    fast.alter = fail
    with pytest.warns(RuntimeWarning, match="it failed \\(no more\\)"):
        assert proven.encode("the court") is None
    assert proven.status.state == "off"


def test_one_that_cannot_be_loaded_is_switched_off() -> None:
    def load(_: str) -> FastTokenizer:
        raise ValueError("no such model")

    proven = ProvenTokenizer(copy_backend(tokenizer_of("bert")), load, start_after=0)
    with pytest.warns(RuntimeWarning, match="no such model"):
        assert proven.encode("the court") is None


@pytest.mark.parametrize("text", ["word " * (MOST_BYTES // 5 + 1), "東" * (MOST_BYTES // 3 + 1), "a [MASK]", "\ud800"])
def test_what_it_must_not_see_is_referred(text: str) -> None:
    fast = Altered()
    proven = started(fast)
    fast.texts.clear()
    assert proven.encode(text) is None
    assert text not in fast.texts
    assert (proven.status.state, proven.status.referred) == ("on", 1)


def test_segments_stay_in_order_where_some_are_referred() -> None:
    tokenizer = TextTokenizer(tokenizer_of("bert"), 50, load_fast=Altered().load, fast_after=0)
    text = " ".join(f"the court {number} counted {'[SEP]' if number % 12 == 0 else 'words'}" for number in range(1200))
    assert read(tokenizer, text).tolist() == ids_of(text)
    assert tokenizer.fast.status.fast > 50
    assert tokenizer.fast.status.referred > 50


def test_invalid_text_is_refused_as_ever() -> None:
    tokenizer = TextTokenizer(tokenizer_of("bert"), load_fast=Altered().load, fast_after=0)
    with pytest.raises(StrideformerError, match="document 1: its text is no valid Unicode"):
        tokenizer.tokenize(["fine", "not \ud800"], np.array([9, 9]))


def test_a_chunker_tells_what_became_of_it() -> None:
    chunker = Chunker(tokenizer_of("bert"))
    chunker.views(["the court"])
    assert chunker.fast_status.state == "waiting"
