from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "strideformer"
# Those that import from transformers, each of which may be what loads its Auto classes.
MODULES = ["config", "checkpoint", "second_model", "encoder"]
KNOWN = "from transformers import AutoConfig, AutoModelForSequenceClassification as A; import sys; \
config = AutoConfig.for_model('strideformer', num_hidden_layers=1); \
assert type(A.from_config(config)).__module__ == 'strideformer.model'"


KNOWN_CONFIG = "from transformers import AutoConfig; \
assert type(AutoConfig.for_model('strideformer')).__module__ == 'strideformer.config'"


def run(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    "before",
    [
        "import strideformer",
        "import transformers; import strideformer",
        "from transformers import AutoModel; import strideformer",
    ],
)
def test_auto_classes_know_it_in_any_order_of_imports(before: str) -> None:
    run(f"{before}; {KNOWN}")


def test_a_config_is_known_before_the_model_classes_are_loaded() -> None:
    run(f"import strideformer; {KNOWN_CONFIG}; {KNOWN}")


def test_any_module_may_be_the_first_to_be_imported() -> None:
    # One process forks for each module after the costly imports that are not ours.
    run(
        "import os, sys, torch\n"
        f"for name in {MODULES!r}:\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        __import__('strideformer.' + name)\n"
        f"        exec({KNOWN!r})\n"
        "        os._exit(0)\n"
        "    assert os.waitpid(pid, 0)[1] == 0, name\n"
    )


def test_tokenising_workers_load_neither_torch_nor_transformers() -> None:
    loaded = run(
        "import sys, strideformer.chunking, jobs.stages.chunk, jobs.corpus.source; print(*sys.modules)"
    ).split()
    assert "strideformer.chunking" in loaded
    assert "torch" not in loaded
    assert "transformers" not in loaded


def test_public_names() -> None:
    import strideformer

    for name in strideformer.__all__:
        assert getattr(strideformer, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = strideformer.Nothing
