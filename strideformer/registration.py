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

# What registers itself when it is imported, by the module of transformers that it must be known to. The model mapping
# imports the config mapping, but a config can be asked for without it.
HOMES = {
    "transformers.models.auto.configuration_auto": "strideformer.config",
    "transformers.models.auto.modeling_auto": "strideformer.model",
}


def register_when_transformers_is_there() -> None:
    """Register now with what of transformers' Auto classes is loaded, and with the rest as soon as it is.

    ``strideformer.config`` and ``strideformer.model`` register themselves, so importing them is all there is to do;
    where one is being imported already, and that is what loads the Auto classes, there is nothing to do.
    """
    waiting = {auto: home for auto, home in HOMES.items() if auto not in sys.modules}
    for auto, home in HOMES.items():
        if auto not in waiting:
            import_module(home)
    if waiting and not any(isinstance(finder, _AutoModuleFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AutoModuleFinder(waiting))


class _AutoModuleFinder(MetaPathFinder):
    """Finds the Auto modules as Python would, and registers when one has run."""

    def __init__(self, waiting: dict[str, str]) -> None:
        self.waiting = waiting

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        home = self.waiting.pop(fullname, None)
        if home is None:
            return None
        spec = find_spec(fullname)  # comes by here again, and finds nothing waiting
        if not self.waiting:
            sys.meta_path.remove(self)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader, home)
        return spec


class _RegisteringLoader(Loader):
    def __init__(self, loader: Loader, home: str) -> None:
        self.loader = loader
        self.home = home

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        if self.home not in sys.modules:
            import_module(self.home)
