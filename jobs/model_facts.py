"""What a job's driver must know of a model: found out by loading it once a machine, remembered by its content.

Loading proves that the weights are whole and those that the aggregator was trained over, but costs the driver torch
and transformers: seconds of a job's start. So what was found is kept beside the fetched models, under a hash of every
file of the model and the versions that read them, and the same model is not loaded again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from jobs.model_copies import own_folder
from jobs.model_source import model_files
from jobs.output.summary import versions
from strideformer.errors import StrideformerError
from strideformer.predictions import LabelSpace


@dataclass(frozen=True)
class ModelFacts:
    """A checkpoint that was loaded without a fault.

    Attributes:
        max_length, stride, max_chunks: the chunking that it was trained with.
        positions: the most tokens that its encoder takes; None where any length will do.
        packed: whether its encoder is of a kind that runs packed.
        labels, problem_type: as in LabelSpace.
        tokenizer: the fast tokenizer, as JSON.
    """

    max_length: int
    stride: int
    max_chunks: int
    positions: int | None
    packed: bool
    labels: list[str]
    problem_type: str
    tokenizer: str

    @property
    def label_space(self) -> LabelSpace:
        """The labels, as the aggregate stage will find them in the model."""
        return LabelSpace(tuple(self.labels), self.problem_type)


def model_facts(folders: Mapping[str, Path]) -> ModelFacts:
    """The facts of a model: remembered, or found by loading it.

    Args:
        folders: as :func:`strideformer.locations.checkpoint_folders` gives them.

    Raises:
        StrideformerError: the model cannot be loaded, or its encoder is another than it was trained over.
    """
    record = own_folder() / f"facts-{content_hash(folders)[:32]}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):  # none yet, or half of one: it is made again
        return ModelFacts(**json.loads(record.read_text(encoding="utf-8")))
    facts = load_facts(folders)
    with tempfile.TemporaryDirectory(dir=record.parent) as staging:
        staged = Path(staging) / record.name
        staged.write_text(json.dumps(asdict(facts)), encoding="utf-8")
        staged.replace(record)
    return facts


def load_facts(folders: Mapping[str, Path]) -> ModelFacts:
    """Load the model, which is the check of its weights, and read off what the driver needs.

    Raises:
        StrideformerError: it cannot be loaded, or has weights that are NaN or infinite.
    """
    from transformers.utils.logging import disable_progress_bar

    from strideformer.config import max_positions
    from strideformer.encoder import load_tokenizer
    from strideformer.encoder_parts import PACKED_TYPES
    from strideformer.model import Strideformer

    disable_progress_bar()
    model = Strideformer.from_pretrained(folders["checkpoint"])
    for name, weight in model.state_dict().items():
        if weight.is_floating_point() and not weight.isfinite().all():
            raise StrideformerError(
                f"the checkpoint {folders['checkpoint']} has NaN or infinity in {name}, with which it can label "
                f"nothing: take one from before training diverged"
            )
    config = model.config
    tokenizer = load_tokenizer(folders["checkpoint"], config.first_model_name)
    labels = LabelSpace.of(config)
    return ModelFacts(
        max_length=config.max_length,
        stride=config.stride,
        max_chunks=config.max_chunks,
        positions=max_positions(config.first_model_config),
        packed=config.first_model_config.model_type in PACKED_TYPES,
        labels=list(labels.names),
        problem_type=labels.problem_type,
        tokenizer=tokenizer.backend_tokenizer.to_str(),
    )


def content_hash(folders: Mapping[str, Path]) -> str:
    """sha256 over a model's files, where they lie, and the versions of what reads them.

    Where they lie counts since a checkpoint's config may name its encoder by a path.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps(versions()).encode())
    for part, folder in sorted(folders.items()):
        digest.update(f"{part}\0{folder.resolve()}\0".encode())
        for name, file in model_files(folder):
            digest.update(f"{name}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()
