"""What tests of training share."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from strideformer import Chunker
from tests.tiny import tiny_tokenizer


@pytest.fixture(scope="module")
def chunker(tmp_path_factory: pytest.TempPathFactory) -> Chunker:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer(folder)
    return Chunker(AutoTokenizer.from_pretrained(folder), 24, 4, 8)
