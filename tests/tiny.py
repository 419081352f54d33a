"""A tiny checkpoint with real shapes: end to end in seconds on a CPU, every code path the real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

WORDS = (
    "court law tax union speech privacy network packet route label server client session query the of a and to"
).split()
LABELS = ("law", "network", "other")


def tiny_tokenizer(folder: Path) -> None:
    """A BERT-like WordPiece tokenizer over WORDS and letters, saved as transformers saves one."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *WORDS,
        *(set(letters) - set(WORDS)),
        *("##" + x for x in letters),
    ]
    vocabulary = [*vocabulary[:4], *sorted(set(vocabulary[4:]))]
    ids = {token: index for index, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)


def save_tiny_encoder(folder: Path, positions: int = 64) -> Path:
    """A BERT of one tiny layer, to train over, with weights spread out enough to tell words apart."""
    import torch
    from transformers import BertConfig, BertModel

    tiny_tokenizer(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=128,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=positions,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def save_tiny_checkpoint(folder: Path, **changes: object) -> Path:
    """A Strideformer of two tiny BERT layers and two tiny aggregator layers with spread-out random weights."""
    import torch
    from transformers import BertConfig

    from strideformer import Strideformer, StrideformerConfig

    torch.manual_seed(7)
    tiny_tokenizer(folder)
    first = BertConfig(
        vocab_size=128,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    settings: dict[str, object] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_length": 16,
        "stride": 4,
        "max_chunks": 8,
        "id2label": dict(enumerate(LABELS)),
        "label2id": {label: index for index, label in enumerate(LABELS)},
        "num_labels": len(LABELS),
        "initializer_range": 0.4,
    }
    config = StrideformerConfig.from_two_configs(first_model_config=first, second_model_config=settings | changes)
    model = Strideformer(config)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and not name.startswith("second_model"):
            torch.nn.init.normal_(parameter, std=0.4)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_checkpoint(tmp_path_factory.mktemp("tiny-checkpoint"))


def texts(number: int, longest: int = 200, seed: int = 3) -> list[str]:
    """Documents of random known words, of 1 to ``longest`` words."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, longest + 1, number)
    return [" ".join(generator.choice(WORDS, length)) for length in lengths]


def write_corpus(file: Path, number: int, longest: int = 200, seed: int = 3) -> list[str]:
    """A Parquet corpus of ``doc_id, text, topic``; gives the ids."""
    ids = [f"doc-{index:05d}" for index in range(number)]
    table = pa.table({"doc_id": ids, "text": texts(number, longest, seed), "topic": [i % 7 for i in range(number)]})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=max(1, number // 4))
    return ids


TOPICS = ("law", "network")
WORDS_OF = {"law": "court law tax union".split(), "network": "packet route server client".split()}


def write_topics(file: Path, number: int, longest: int = 80, seed: int = 1) -> list[dict[str, str]]:
    """A Parquet corpus of ``doc_id, text, topic`` in which the words tell the topic, so that it can be learned."""
    generator = np.random.default_rng(seed)
    topics = [str(topic) for topic in generator.choice(TOPICS, number)]
    words = [generator.choice(WORDS_OF[topic], generator.integers(5, longest)) for topic in topics]
    ids = [f"doc-{index:05d}" for index in range(number)]
    table = pa.table({"doc_id": ids, "text": [" ".join(row) for row in words], "topic": topics})
    pq.write_table(table, file)
    rows: list[dict[str, str]] = table.to_pylist()
    return rows
