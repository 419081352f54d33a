from __future__ import annotations

from pathlib import Path

import pytest

from tests.strideformer.small_encoders import over, save_encoder


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return save_encoder(tmp_path / "encoder", seed=1)


@pytest.fixture
def light(tmp_path: Path, encoder: Path) -> Path:
    """A checkpoint without its encoder, which lies in the ``encoder`` fixture's folder."""
    over(encoder).save_pretrained(tmp_path / "light", include_first_model=False)
    return tmp_path / "light"
