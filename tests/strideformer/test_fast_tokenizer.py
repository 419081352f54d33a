from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from strideformer.fast_tokenizer import MOST_BYTES, load_tokie
from strideformer.tokenizing import copy_backend
from tests.strideformer.tokenizers_for_tests import tokenizer_of


def test_it_gives_the_ids_without_special_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tokie")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    reference = copy_backend(tokenizer_of("minilm"))
    fast = load_tokie(reference.to_str())
    assert fast is not None
    assert not list(tmp_path.iterdir())  # nothing is left behind
    text = ("The quick brown fox, naïve café. " * MOST_BYTES)[: MOST_BYTES - 5_000]
    ids = fast.encode(text)
    assert ids.dtype == np.uint32
    assert ids.tolist() == reference.encode(text, add_special_tokens=False).ids
    assert fast.encode("").tolist() == []


def test_there_is_none_where_the_package_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokie", None)
    assert load_tokie("{}") is None
