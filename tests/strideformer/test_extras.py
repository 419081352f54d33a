from __future__ import annotations

import sys

import pytest

from strideformer.errors import StrideformerError
from strideformer.extras import import_from_extra


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(StrideformerError, match=r"scikit-learn is not installed: pip install 'strideformer\[train\]'"):
        import_from_extra("sklearn.metrics", "train")
    assert import_from_extra("math", "train").pi > 3
