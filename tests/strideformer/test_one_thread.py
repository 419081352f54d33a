from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from strideformer import ChunkEncoder, packed_encoder
from strideformer.one_thread import one_thread


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_one_thread_and_then_as_many_as_before(three_threads: None) -> None:
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert torch.get_num_threads() == 3


def test_an_encoder_is_made_on_one_thread_and_leaves_the_caller_s(
    three_threads: None, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several wait for each other after each small operation, for as long as another process has a core."""
    seen = []
    check = packed_encoder._least_cosine

    def checked(*arguments: object) -> float:
        seen.append(torch.get_num_threads())
        return check(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(packed_encoder, "_least_cosine", checked)
    ChunkEncoder.from_pretrained(tiny_checkpoint, device="cpu")
    assert seen == [1]
    assert torch.get_num_threads() == 3
