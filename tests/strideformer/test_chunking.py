from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from strideformer.chunking import Chunker, ChunkTemplate
from strideformer.errors import StrideformerError
from tests.strideformer.tokenizers_for_tests import ALL, CORPUS, tokenizer_of

each_tokenizer = pytest.mark.parametrize("name", sorted(ALL))
quick = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))

SPECIAL = ["[SEP]", "[CLS]", "<s>", "</s>", "<mask>", "[MASK]", "<|endoftext|>", "<unk>", "[PAD]"]
fragments = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["the", "chunk", "tokens", " the", "don't", "12345", "東京", "é", "😀", "  ", "\n", "\t", " "]),
    st.sampled_from(SPECIAL),
)
repeated_words = st.builds(
    lambda word, count: (word + " ") * count, st.sampled_from(["the", "zqx"]), st.integers(0, 60)
)
texts = st.one_of(st.text(max_size=80), st.lists(fragments, max_size=60).map("".join), repeated_words)
lengths = st.sampled_from([(5, 1), (6, 2), (8, 0), (8, 3), (12, 5), (20, 16), (64, 8)])


def overflow(name, text, text_pair=None, *, max_length, stride):
    """What transformers itself returns: the truth that chunks are compared with.

    Asked for a batch of one, since outside a batch transformers takes an empty ``text_pair`` for none at all.
    """
    return tokenizer_of(name)(
        [text],
        None if text_pair is None else [text_pair],
        truncation=True if text_pair is None else "only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )


def words(count):
    return " ".join(["the"] * count)


@each_tokenizer
@given(text=texts, length=lengths)
@quick
def test_chunks_are_the_overflow_of_the_fast_tokenizer(name, text, length):
    max_length, stride = length
    special = tokenizer_of(name).num_special_tokens_to_add()
    stride = min(stride, max_length - special - 1)
    chunker = Chunker(tokenizer_of(name), max_length, stride, max_chunks=10_000)

    assert chunker.input_ids(text) == overflow(name, text, max_length=max_length, stride=stride)["input_ids"]


@each_tokenizer
@given(first=st.text(max_size=6), text=texts, extra=st.integers(1, 9), stride=st.integers(0, 8))
@quick
def test_chunks_of_pairs_are_the_overflow_of_the_second_text(name, first, text, extra, stride):
    tokenizer = tokenizer_of(name)
    first_length = len(tokenizer(first, add_special_tokens=False)["input_ids"])
    max_length = tokenizer.num_special_tokens_to_add(pair=True) + first_length + stride + extra
    chunker = Chunker(tokenizer, max_length, stride, max_chunks=10_000)

    expected = overflow(name, first, text, max_length=max_length, stride=stride)["input_ids"]
    assert chunker.input_ids(first, text) == expected


@each_tokenizer
@pytest.mark.parametrize(("max_length", "stride"), [(12, 4), (9, 0), (16, 9)])
def test_chunks_at_every_edge_length(name, max_length, stride):
    chunker = Chunker(tokenizer_of(name), max_length, stride)
    content = max_length - tokenizer_of(name).num_special_tokens_to_add()
    step = content - stride
    for edge in (0, content, content + step, content + 2 * step, content + 5 * step):
        for count in range(max(edge - 2, 0), edge + 3):
            text = words(count)
            expected = overflow(name, text, max_length=max_length, stride=stride)["input_ids"]
            assert chunker.input_ids(text) == expected, count
            num_tokens = len(tokenizer_of(name)(text, add_special_tokens=False)["input_ids"])
            assert chunker.num_chunks(num_tokens) == len(expected)


@each_tokenizer
def test_the_formula_of_the_design_counts_the_chunks(name):
    chunker = Chunker(tokenizer_of(name), 16, 5, max_chunks=1000)
    content = 16 - tokenizer_of(name).num_special_tokens_to_add()
    for count in range(200):
        chunks = chunker.num_chunks(count)
        assert chunks * (content - 5) >= count - 5
        assert chunks == 1 or (chunks - 1) * (content - 5) < count - 5


@each_tokenizer
def test_spans_are_the_offsets_of_the_fast_tokenizer(name):
    text = "  ".join(CORPUS) + "[SEP] <mask> end "
    encoded = overflow(name, text, max_length=20, stride=6)
    expected = []
    for index in range(len(encoded["input_ids"])):
        inside = [i for i, sequence in enumerate(encoded.sequence_ids(index)) if sequence == 0]
        offsets = encoded["offset_mapping"][index]
        expected.append([offsets[inside[0]][0], offsets[inside[-1]][1]])

    spans = Chunker(tokenizer_of(name), 20, 6, max_chunks=10_000).spans(text)

    assert spans.dtype == np.int64
    assert spans.tolist() == expected


def test_spans_of_long_texts_hold_the_tokens_of_their_chunks():
    vocabulary = "the court heard argument record document long and then asked for".split()
    text = " ".join(np.random.default_rng(0).choice(vocabulary, 30_000))
    assert len(text) > 5 * 20_000  # several segments
    chunker = Chunker(tokenizer_of("minilm"), 384, 128)
    chunks = chunker.input_ids(text)
    spans = chunker.spans(text)
    assert len(spans) == len(chunks) > 100
    for (start, end), ids in zip(spans, chunks, strict=True):
        assert tokenizer_of("minilm")(text[start:end])["input_ids"] == ids


@each_tokenizer
def test_spans_of_a_pair_count_in_the_second_text(name):
    chunker = Chunker(tokenizer_of(name), 20, 4)
    text = words(40)
    spans = chunker.spans("the claim", text)
    assert len(spans) == len(chunker.input_ids("the claim", text)) > 2
    assert spans[-1, 1] == len(text)
    assert (np.diff(spans[:, 0]) > 0).all()


@each_tokenizer
def test_an_empty_text_has_one_chunk_of_special_tokens(name):
    chunker = Chunker(tokenizer_of(name))
    views = chunker.views(["", "the", ""])
    assert views.chunk_lengths[[0, -1]].tolist() == [0, 0]
    assert views.chunk_counts.tolist() == [1, 1, 1]
    assert chunker.input_ids("") == [tokenizer_of(name)("")["input_ids"]]
    assert chunker.input_ids("the", "") == tokenizer_of(name)(["the"], [""])["input_ids"]
    assert chunker.spans("").tolist() == [[0, 0]]
    assert not views.truncated.any()


@each_tokenizer
@pytest.mark.parametrize("pair", [False, True])
def test_the_template_gives_the_special_tokens_and_token_types(name, pair):
    tokenizer = tokenizer_of(name)
    template = Chunker(tokenizer).template(pair)
    first, second = "the court", "heard the argument"
    if not pair:
        first, second = second, None
    content = tokenizer(second or first, add_special_tokens=False)["input_ids"]
    before = tokenizer(first, add_special_tokens=False)["input_ids"] if pair else []
    encoded = tokenizer(first, second, return_token_type_ids=True)

    head = [*template.prefix_ids, *before, *template.between_ids]
    assert encoded["input_ids"] == [*head, *content, *template.suffix_ids]
    types = [*template.prefix_type_ids, *[template.first_type_id] * len(before), *template.between_type_ids]
    types += [*[template.content_type_id] * len(content), *template.suffix_type_ids]
    assert encoded["token_type_ids"] == types
    assert template.num_special_tokens == tokenizer.num_special_tokens_to_add(pair=pair)


def test_a_template_that_swaps_the_texts_is_refused():
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "?": 1}, "?"))
    tokenizer.post_processor = processors.TemplateProcessing("$A", "$B $A", [])
    with pytest.raises(StrideformerError, match="order of the texts"):
        ChunkTemplate.probe(tokenizer, pair=True)


def test_a_tokenizer_that_makes_no_tokens_is_refused():
    with pytest.raises(StrideformerError, match="makes no tokens"):
        Chunker(Tokenizer(models.BPE()))
    with pytest.raises(StrideformerError, match="the tokenizer fails on 'a'"):
        Chunker(Tokenizer(models.WordPiece({"b": 0}, unk_token="[UNK]")))


@each_tokenizer
def test_views_of_many_documents_are_those_of_each(name):
    chunker = Chunker(tokenizer_of(name), 24, 8, max_chunks=3)
    documents = ["", *CORPUS[:9], words(500), "😀"]
    views = chunker.views(documents)
    assert views.num_documents == len(documents)
    assert views.num_chunks == views.chunk_counts.sum() == views.chunk_offsets[-1]
    assert len(views.token_ids) == views.num_tokens.sum() == views.token_offsets[-1]
    for index, document in enumerate(documents):
        alone = chunker.views([document])
        chunks = slice(*views.chunk_offsets[index : index + 2])
        tokens = slice(*views.token_offsets[index : index + 2])
        assert np.array_equal(views.token_ids[tokens], alone.token_ids)
        assert np.array_equal(views.chunk_starts[chunks], alone.chunk_starts)
        assert np.array_equal(views.chunk_lengths[chunks], alone.chunk_lengths)
        assert views.truncated[index] == alone.truncated[0]


@each_tokenizer
@pytest.mark.parametrize("max_chunks", [1, 2, 5])
def test_at_most_max_chunks_and_truncation_is_told(name, max_chunks):
    chunker = Chunker(tokenizer_of(name), 12, 4, max_chunks)
    for count in (chunker.usable_tokens - 1, chunker.usable_tokens, chunker.usable_tokens + 1, 400):
        text = words(count)
        there = len(tokenizer_of(name)(text, add_special_tokens=False)["input_ids"])
        views = chunker.views([text])
        assert views.num_tokens[0] == min(there, chunker.usable_tokens)
        assert views.truncated[0] == (there > chunker.usable_tokens)
        expected = overflow(name, text, max_length=12, stride=4)["input_ids"][:max_chunks]
        assert chunker.input_ids(text) == expected
        assert chunker.num_chunks(there) == len(expected)


def test_views_have_the_types_that_the_design_names():
    views = Chunker(tokenizer_of("bert"), 12, 4).views(["the court", words(3)], [words(30), ""])
    assert views.token_ids.dtype == np.uint16
    assert views.first_ids is not None
    assert views.first_ids.dtype == np.uint16
    for offsets in (views.token_offsets, views.chunk_offsets, views.first_offsets):
        assert offsets is not None
        assert offsets.dtype == np.int64
    assert views.chunk_starts.dtype == views.chunk_lengths.dtype == np.int32
    assert views.truncated.dtype == bool
    assert views.first_offsets.tolist() == [0, 2, 5]


def test_no_documents_give_empty_views():
    for views in (Chunker(tokenizer_of("bert")).views([]), Chunker(tokenizer_of("bert")).views([], [])):
        assert (views.num_documents, views.num_chunks, len(views.token_ids)) == (0, 0, 0)
        assert views.token_ids.dtype == np.uint16
        assert views.truncated.dtype == bool


@pytest.mark.parametrize(("size", "dtype"), [(2**16, np.uint16), (2**16 + 1, np.uint32)])
def test_ids_are_as_narrow_as_the_vocabulary_allows(size, dtype):
    tokenizer = Tokenizer(models.WordLevel({f"w{index}": index for index in range(size)} | {"a": 1}, "w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    chunker = Chunker(tokenizer, 4, 1)
    assert chunker.views([f"w0 w{size - 1}"]).token_ids.tolist() == [0, size - 1]
    assert chunker.views(["a"]).token_ids.dtype == dtype


def test_a_bare_tokenizer_serves_and_is_not_changed():
    backend = tokenizer_of("minilm").backend_tokenizer
    bare = Tokenizer.from_str(backend.to_str())
    bare.enable_truncation(128)
    bare.enable_padding(length=128)
    before = bare.to_str()
    text = words(1000)
    assert Chunker(bare).input_ids(text) == Chunker(tokenizer_of("minilm")).input_ids(text)
    assert bare.to_str() == before


def test_a_chunker_travels_to_workers():
    chunker = Chunker(tokenizer_of("minilm"), 32, 8)
    text = words(100)
    assert pickle.loads(pickle.dumps(chunker)).input_ids(text) == chunker.input_ids(text)


def test_importing_the_chunker_loads_neither_torch_nor_transformers():
    code = "import sys, strideformer.chunking; sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_split_special_tokens_is_kept():
    tokenizer = pickle.loads(pickle.dumps(tokenizer_of("bert")))
    tokenizer.split_special_tokens = True
    text = "the [SEP] court"
    assert Chunker(tokenizer).input_ids(text) == [tokenizer(text)["input_ids"]]
    assert Chunker(tokenizer).input_ids(text) != Chunker(tokenizer_of("bert")).input_ids(text)


def test_the_padding_token_is_found():
    assert Chunker(tokenizer_of("roberta")).pad_token_id == 1
    assert Chunker(tokenizer_of("roberta").backend_tokenizer).pad_token_id == 1
    assert Chunker(tokenizer_of("llama_2")).pad_token_id == 0
    padded = Tokenizer.from_str(tokenizer_of("bert").backend_tokenizer.to_str())
    padded.enable_padding(pad_id=4)
    assert Chunker(padded).pad_token_id == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_length": 2}, "max_length=2 leaves no room beside 2 special tokens; set it to 3"),
        ({"max_length": 10, "stride": 8}, "stride=8 must be less than max_length without special tokens"),
        ({"max_length": 10, "stride": 100}, "stride=100 must be less"),
        ({"stride": -1}, "stride=-1"),
        ({"max_chunks": 0}, "max_chunks=0"),
        ({"max_length": 12.5}, "max_length=12.5"),
        ({"max_chunks": True}, "max_chunks=True"),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(StrideformerError, match=message):
        Chunker(tokenizer_of("bert"), **arguments)


def test_the_largest_stride_that_can_be_is_taken():
    chunker = Chunker(tokenizer_of("bert"), 10, 7)
    assert chunker.input_ids(words(30)) == overflow("bert", words(30), max_length=10, stride=7)["input_ids"]


def test_a_slow_tokenizer_is_refused():
    class SlowTokenizer:
        is_fast = False

    with pytest.raises(StrideformerError, match="SlowTokenizer is not a fast tokenizer"):
        Chunker(SlowTokenizer())


@pytest.mark.parametrize("bad", [None, 5, b"bytes", float("nan"), ["a"]])
def test_what_is_no_text_is_refused_by_its_index(bad):
    chunker = Chunker(tokenizer_of("bert"))
    with pytest.raises(StrideformerError, match="document 2: its text is of type"):
        chunker.views(["fine", "fine", bad])
    with pytest.raises(StrideformerError, match="document 1: its text_pair is of type"):
        chunker.views(["fine", "fine"], ["fine", bad])


def test_a_lone_surrogate_is_refused_by_its_index_and_place():
    chunker = Chunker(tokenizer_of("bert"))
    with pytest.raises(StrideformerError, match=r"document 1: its text .* lone surrogate at character 4"):
        chunker.views(["fine", "the \ud800", "fine"])
    with pytest.raises(StrideformerError, match=r"document 0: .* lone surrogate at character 100005"):
        chunker.views(["the a " * 16_667 + "the\udfff end"])


def test_lists_that_do_not_match_are_refused():
    chunker = Chunker(tokenizer_of("bert"))
    with pytest.raises(StrideformerError, match="2 texts but 1 text_pairs"):
        chunker.views(["a", "b"], ["c"])
    with pytest.raises(StrideformerError, match="texts is one str; give a list"):
        chunker.views("a text")


def test_a_first_text_that_leaves_no_room_is_refused_with_its_length():
    chunker = Chunker(tokenizer_of("bert"), 20, 6)
    # 20 - 3 special tokens - 6 of stride - 1: ten tokens are the most that let a long second text be cut
    assert len(chunker.input_ids(words(10), words(50))) == 44
    message = "document 1: its first text has 11 tokens, but max_length=20 and stride=6 leave room for 10"
    with pytest.raises(StrideformerError, match=message):
        chunker.views(["the", words(11)], [words(50), words(50)])
    with pytest.raises(StrideformerError, match="document 0: its first text has 18 tokens"):
        chunker.views([words(18)], [""])
    with pytest.raises(StrideformerError, match="its first text has more than"):
        chunker.views([words(2_000_000)], ["the"])


def test_chunks_without_room_for_a_pair_are_refused():
    with pytest.raises(StrideformerError, match=r"max_length=3 leaves no room for a pair beside 3 .* to 4 or more"):
        Chunker(tokenizer_of("bert"), 3, 0).views([""], ["the"])


def test_a_long_first_text_beside_a_second_that_fits_is_taken():
    chunker = Chunker(tokenizer_of("bert"), 20, 6)
    for first, second in ((15, 2), (17, 0), (11, 6)):
        expected = overflow("bert", words(first), words(second), max_length=20, stride=6)["input_ids"]
        assert chunker.input_ids(words(first), words(second)) == expected
