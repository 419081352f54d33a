"""Packages of an optional extra, imported when they are first needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from strideformer.errors import StrideformerError


def import_from_extra(module: str, extra: str) -> Any:
    """A module of a package that only one extra of Strideformer brings.

    Raises:
        StrideformerError: the package is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = {"sklearn": "scikit-learn"}.get(module.partition(".")[0], module.partition(".")[0])
        raise StrideformerError(f"{package} is not installed: pip install 'strideformer[{extra}]'") from error
