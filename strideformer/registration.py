"""Strideformer in transformers' Auto classes, without importing transformers before the user does.

A tokenising worker needs ``strideformer.chunking`` alone. Registering at import would load torch and transformers
into each of them: four seconds of CPU and 400 MB for every core of a cluster, for nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

# The model mapping is the last that transformers loads: it imports the config mapping first.
AUTO_MODULE = "transformers.models.auto.modeling_auto"
MODEL_MODULE = "strideformer.model"


def register_when_transformers_is_there() -> None:
    """Register now if transformers' Auto classes are loaded, else as soon as they are.

    ``strideformer.model`` registers itself when it is imported, so importing it is all there is to do; where it is
    being imported already, and that is what loads the Auto classes, there is nothing to do.
    """
    if AUTO_MODULE in sys.modules:
        import_module(MODEL_MODULE)
    elif not any(isinstance(finder, _AutoModuleFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AutoModuleFinder())


class _AutoModuleFinder(MetaPathFinder):
    """Finds the Auto module as Python would, and registers when it has run."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != AUTO_MODULE:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader)
        return spec


class _RegisteringLoader(Loader):
    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        if MODEL_MODULE not in sys.modules:
            import_module(MODEL_MODULE)
