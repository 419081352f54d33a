from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers

from strideformer.chunking import Chunker
from strideformer.errors import StrideformerError
from strideformer.safe_cuts import drops_white_space, find_safe_cut, splits_at_safe_cuts
from strideformer.tokenizing import TextTokenizer
from tests.strideformer.tokenizers_for_tests import ALL, CORPUS, SPLITTING, tokenizer_of

EVERYTHING = 10**9
quick = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


class CountingBackend:
    """Hands everything on to a real tokenizer and counts the characters."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.characters = 0

    def _count(self, texts):
        self.characters += sum(map(len, texts))
        return texts

    def encode_batch(self, texts, **arguments):
        return self.tokenizer.encode_batch(self._count(texts), **arguments)

    def encode_batch_fast(self, texts, **arguments):
        return self.tokenizer.encode_batch_fast(self._count(texts), **arguments)


def counting(chunker):
    counter = CountingBackend(chunker._tokenizer.tokenizer)
    chunker.template(pair=False)
    chunker._tokenizer.tokenizer = counter
    return counter


def backend_of(name):
    backend = Tokenizer.from_str(tokenizer_of(name).backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    return backend


def read(tokenizer, text, needed=EVERYTHING, offsets=False):
    return tokenizer.tokenize([text], np.array([needed]), offsets=offsets)[0]


def varied_text(characters):
    """Prose, line ends, scripts without spaces, emoji, special tokens in the text, and long runs."""
    random = np.random.default_rng(7)
    parts = [
        *CORPUS[:9],
        *["\n\n", "\r\n", "    ", "[SEP]", "</s>", "<mask> ", " [MASK]", "<|endoftext|>", "\u00a0", "x" * 150],
        *["東京都は日本の首都です。" * 40, "😀👨‍👩‍👧" * 20, "0x" + "ab12" * 60, "e\u0301 ", "I'll it's "],
        "word " * 500,
    ]
    chosen = []
    length = 0
    while length < characters:
        part = parts[random.integers(len(parts))]
        chosen.append(part)
        length += len(part)
    return "".join(chosen)[:characters]


@pytest.mark.parametrize("name", sorted(SPLITTING))
def test_tokenizers_that_end_words_at_spaces_are_known(name):
    assert splits_at_safe_cuts(backend_of(name))


def _with(name, **parts):
    tokenizer = backend_of(name)
    for part, value in parts.items():
        setattr(tokenizer, part, value)
    return tokenizer


@pytest.mark.parametrize(
    "make",
    [
        lambda: backend_of("llama_2"),
        lambda: _with("xlm_roberta", pre_tokenizer=pre_tokenizers.Metaspace(split=False)),
        lambda: _with("xlm_roberta", normalizer=normalizers.Prepend("▁")),
        lambda: _with("xlm_roberta", normalizer=normalizers.Strip(left=True)),
        lambda: _with("bert", normalizer=normalizers.Replace("a", " ")),
        lambda: _with("bert", normalizer=normalizers.Replace(Regex("a b"), "c")),
        lambda: _with("gpt2", pre_tokenizer=pre_tokenizers.ByteLevel(use_regex=False)),
        lambda: _with("gpt2", pre_tokenizer=pre_tokenizers.Split(Regex(r"\w+ \w+"), "isolated")),
        lambda: _with(
            "gpt2",
            pre_tokenizer=pre_tokenizers.Sequence(
                [pre_tokenizers.ByteLevel(use_regex=False), pre_tokenizers.Whitespace()]
            ),
        ),
    ],
)
def test_other_tokenizers_are_not_trusted(make):
    assert not splits_at_safe_cuts(make())


@pytest.mark.parametrize(
    "token", [AddedToken("New York"), AddedToken("end "), AddedToken("word", rstrip=True), AddedToken("a\u00a0b")]
)
def test_added_tokens_that_reach_over_a_space_are_not_trusted(token):
    tokenizer = backend_of("bert")
    tokenizer.add_tokens([token])
    assert not splits_at_safe_cuts(tokenizer)


def test_added_tokens_of_spaces_alone_are_harmless():
    tokenizer = backend_of("gpt2")
    tokenizer.add_tokens([AddedToken("  ", normalized=False), AddedToken("\n\n"), AddedToken("word", lstrip=True)])
    assert splits_at_safe_cuts(tokenizer)
    text = "a word b  c word\n\n end word  x 1 2 "
    parts = TextTokenizer(tokenizer, segment_characters=2)
    assert read(parts, text).ids.tolist() == tokenizer.encode(text, add_special_tokens=False).ids


def test_a_safe_cut_leaves_its_space_to_the_second_half():
    assert find_safe_cut("one, two three", 0, 14) == len("one, two")
    assert find_safe_cut("one, two\tthree é f é", 0, 20) is None
    assert find_safe_cut("a b c d", 2, 7) == 3
    assert find_safe_cut("a b c d", 2, 4) is None


def test_where_white_space_is_dropped_there_are_more_cuts():
    assert find_safe_cut("é\t(one)\n\n\u0301", 0, 10, wide=True) == len("é\t(one)")
    assert find_safe_cut("東京、\u0301", 0, 4, wide=True) == 3
    assert find_safe_cut("é x", 0, 3, wide=True) is None


@pytest.mark.parametrize("name", sorted(SPLITTING))
def test_only_the_bert_kind_drops_white_space(name):
    assert drops_white_space(backend_of(name)) == (name in {"bert", "minilm"})


def test_added_tokens_with_white_space_or_marks_forbid_more_cuts():
    for content in (". \n", "。"):
        tokenizer = backend_of("bert")
        tokenizer.add_tokens([AddedToken(content, normalized=False)])
        assert splits_at_safe_cuts(tokenizer)
        assert not drops_white_space(tokenizer)


@pytest.mark.parametrize("name", sorted(SPLITTING))
@given(
    text=st.lists(
        st.one_of(
            st.text(max_size=5),
            st.sampled_from(
                ["a b", " c d", "x1 2y", "it's a", "é a", "<mask>", " [SEP]", "</s> a", "  a", "A  b", "\n"]
            ),
        ),
        max_size=30,
    ).map("".join)
)
@quick
def test_segments_give_the_ids_and_offsets_of_the_whole(name, text):
    parts = TextTokenizer(tokenizer_of(name), segment_characters=3)
    whole = backend_of_cached(name).encode(text, add_special_tokens=False)
    found = read(parts, text, offsets=True)
    assert found.complete
    # Of a text with no safe cut the untrusted end is read again until the text ends.
    assert found.ids.tolist() == whole.ids
    assert found.offsets is not None
    if name not in {"t5", "xlm_roberta"}:
        # Past a character that it drops, the Precompiled normalizer counts one too few till the text ends.
        assert [tuple(pair) for pair in found.offsets.tolist()] == whole.offsets
    assert np.array_equal(read(parts, text).ids, found.ids)


_backends = {}


def backend_of_cached(name):
    if name not in _backends:
        _backends[name] = backend_of(name)
    return _backends[name]


@pytest.mark.parametrize("name", sorted(ALL))
def test_long_varied_texts_give_the_ids_of_the_whole(name):
    text = varied_text(300_000)
    whole = backend_of(name).encode(text, add_special_tokens=False)
    found = read(TextTokenizer(tokenizer_of(name)), text, offsets=True)
    assert found.ids.tolist() == whole.ids
    assert [tuple(pair) for pair in found.offsets.tolist()] == whole.offsets


@pytest.mark.parametrize("name", sorted(ALL))
@pytest.mark.parametrize("needed", [1, 5_000, 30_000])
def test_the_beginning_of_a_long_text_is_that_of_the_whole(name, needed):
    text = varied_text(300_000)
    whole = backend_of(name).encode(text, add_special_tokens=False)
    found = read(TextTokenizer(tokenizer_of(name)), text, needed=needed)
    assert not found.complete
    assert needed <= len(found.ids) < len(whole.ids)
    assert found.ids.tolist() == whole.ids[: len(found.ids)]


@pytest.mark.parametrize("name", sorted(ALL))
def test_the_beginning_of_a_text_without_a_space_is_that_of_the_whole(name):
    sentence = "東京都は日本の首都です。北京是中国的首都。" if name != "gpt2" else "counting.tokens,the/court."
    text = sentence * 8_000
    whole = backend_of(name).encode(text, add_special_tokens=False)
    found = read(TextTokenizer(tokenizer_of(name)), text, needed=9_000)
    assert 9_000 <= len(found.ids) < len(whole.ids) or found.complete
    assert found.ids.tolist() == whole.ids[: len(found.ids)]


def test_many_documents_are_read_in_rounds_and_groups():
    lengths = [0, 10, 45_000, 130_000, 3, 400_000, 90_000, 700_000]
    texts = [varied_text(length) for length in lengths]
    tokenizer = TextTokenizer(tokenizer_of("minilm"))
    needed = np.array([100, 1, 20_000, 10**6, 5, 3_000, 60_000, 70_000])
    for text, count, found in zip(texts, needed, tokenizer.tokenize(texts, needed), strict=True):
        alone = read(tokenizer, text, needed=count)
        assert np.array_equal(alone.ids, found.ids)
        assert found.complete == alone.complete == (len(found.ids) < count or count == 1 or count == 5)


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_huge_document_costs_no_more_than_a_usable_one(name):
    huge = "word " * 40_000_000  # 200 MB
    chunker = Chunker(tokenizer_of(name))
    counter = counting(chunker)
    rate = 5 / len(backend_of(name).encode("word word", add_special_tokens=False).ids[1:])
    views = chunker.views([huge])
    assert views.truncated[0]
    assert views.chunk_counts[0] == 128
    # What is needed, the guess of five characters a token, and the last segment.
    assert counter.characters < 2 * max(rate, 5) * chunker.usable_tokens + 60_000


@pytest.mark.parametrize("unit", ["x", "counting", "東", ".", " ", "\n", "é"])
@pytest.mark.parametrize("name", ["bert", "gpt2", "xlm_roberta", "llama_2"])
def test_a_huge_document_without_a_space_between_words_costs_no_more_either(name, unit):
    huge = unit * (20_000_000 // len(unit))
    chunker = Chunker(tokenizer_of(name), max_chunks=16)
    counter = counting(chunker)
    started = time.monotonic()
    views = chunker.views([huge])
    assert views.truncated[0]
    assert counter.characters < 2_500_000
    assert time.monotonic() - started < 20


def test_a_panic_or_failure_in_the_tokenizer_names_the_document():
    tokenizer = backend_of("bert")
    tokenizer.model.unk_token = "[NOT THERE]"
    with pytest.raises(StrideformerError, match="document 1: its text makes the tokenizer fail"):
        TextTokenizer(tokenizer).tokenize(["the", "Ω"], np.array([9, 9]))


def test_a_tokenizer_with_parts_in_python_is_refused():
    class Splitter:
        def pre_tokenize(self, text):
            text.split(lambda index, part: [part])

    tokenizer = backend_of("bert")
    tokenizer.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(Splitter())
    with pytest.raises(StrideformerError, match="cannot be copied"):
        TextTokenizer(tokenizer)
