"""From settings and data to what every way of training takes: a new model, and options."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig

from jobs.train_settings import TrainSettings
from jobs.training.data import TrainingData
from jobs.training.labels import REGRESSION, SINGLE, LabelEncoding, balanced_weights
from strideformer import Strideformer, StrideformerConfig
from strideformer.checkpoint import resolve_encoder
from strideformer.errors import StrideformerError
from strideformer.layers import LAST
from strideformer.pooling import sentence_transformer_pooling
from strideformer.training.options import TrainingOptions

# How documents are cut and their chunks read, with the default where it does not depend on the encoder.
CHUNKING = ("max_length", "stride", "max_chunks", "chunk_layers")
DEFAULTS = {"max_chunks": 128, "chunk_layers": LAST}
# A bag of tokens has a weight for each label and token: with 30,000 tokens and more than 333 labels, over 40 MB.
MOST_WEIGHTS_OF_TOKENS = 10_000_000
# What transformers calls the dropout of an encoder's parts, in the configs of its many models.
DROPOUTS = (
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "attention_dropout", "dropout", "embedding_dropout"),
    *("mlp_dropout", "hidden_dropout", "dropout_rate", "resid_pdrop", "embd_pdrop", "attn_pdrop", "pooler_dropout"),
)
# What of the config the job decides, so that --aggregator may not.
OWN_FIELDS = {
    *("self", "kwargs", "first_model_config", "first_model_name", "first_model_hash", "freeze_first_model"),
    *(*CHUNKING, "chunk_pooling", "normalize_embeddings"),
}


def new_config(settings: TrainSettings, data: TrainingData) -> StrideformerConfig:
    """The config of the model to train.

    Args:
        settings: of the job. ``class_weights`` of the aggregator may be ``balanced``.
        data: whose labels it has; how documents are cut is by default as in the store that they come from, if any.

    Raises:
        StrideformerError: the encoder is not there, or a field of ``--aggregator`` is unknown or wrong.
    """
    fields = aggregator_fields(settings, data)
    folder = resolve_encoder(str(settings.encoder))
    cut = {name: getattr(settings, name) for name in CHUNKING}
    cut = {
        name: getattr(data.encoder, name, DEFAULTS.get(name)) if cut[name] is None else cut[name] for name in CHUNKING
    }
    pooling, normalize = sentence_transformer_pooling(folder)
    first_model_config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if first_model_config.model_type == StrideformerConfig.model_type:
        raise StrideformerError(
            f"--encoder {settings.encoder} is a Strideformer: give the encoder that it was trained over, "
            f"{first_model_config.first_model_name or 'a sentence transformer'}"
        )
    set_dropout(first_model_config, settings.first_model_dropout)
    if data.encoding.problem_type == REGRESSION:
        fields = standard_form(data.encoding.encode(data.training.labels)) | fields
    with refused_values(settings):
        return _config(settings, fields, data.encoding, first_model_config, cut, pooling, normalize)


def aggregator_fields(settings: TrainSettings, data: TrainingData) -> dict[str, Any]:
    """Those of ``--aggregator`` as the config takes them.

    Raises:
        StrideformerError: one is unknown.
    """
    known = sorted(set(inspect.signature(StrideformerConfig.__init__).parameters) - OWN_FIELDS)
    for name in settings.aggregator:
        if name not in known:
            raise StrideformerError(f"--aggregator {name}: there is no such field, use one of {', '.join(known)}")
    fields = dict(settings.aggregator)
    if fields.get("class_weights") == "balanced":
        fields["class_weights"] = balanced_weights(data.encoding, data.encoding.encode(data.training.labels))
    return fields


@contextmanager
def refused_values(settings: TrainSettings) -> Iterator[None]:
    """Tell a value of ``--aggregator`` that no config can be made of.

    Raises:
        StrideformerError: there is one.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{name}={value}" for name, value in settings.aggregator.items())
        raise StrideformerError(f"--aggregator {given}: a value is of a wrong kind ({error})") from error


def _config(
    settings: TrainSettings,
    fields: Mapping[str, Any],
    encoding: LabelEncoding,
    first_model_config: Any,
    cut: dict[str, Any],
    pooling: str,
    normalize: bool,
) -> StrideformerConfig:
    return StrideformerConfig.from_two_configs(
        first_model_config,
        {
            **default_aggregator(first_model_config, settings.freeze_first_model, encoding, fields),
            **fields,
            "freeze_first_model": settings.freeze_first_model,
            **cut,
            "chunk_pooling": pooling,
            "normalize_embeddings": normalize,
            "first_model_name": settings.encoder,
            "problem_type": encoding.problem_type,
            "num_labels": len(encoding.names),
            "id2label": dict(enumerate(encoding.names)),
            "label2id": {name: index for index, name in enumerate(encoding.names)},
        },
    )


def set_dropout(config: PreTrainedConfig, dropout: float | None) -> None:
    """Give all parts of an encoder that have a dropout this one; None leaves them as they are.

    Raises:
        StrideformerError: its config has none by a known name.
    """
    if dropout is None:
        return
    known = [name for name in DROPOUTS if getattr(config, name, None) is not None]
    if not known:
        raise StrideformerError(
            f"--first-model-dropout {dropout:g}: the config of a {config.model_type} has no dropout: leave it out"
        )
    for name in known:
        setattr(config, name, dropout)


def default_aggregator(
    first_model_config: PreTrainedConfig, frozen: bool, encoding: LabelEncoding, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """What ``--aggregator`` changes: one layer, regularised where its input stays the same in every epoch.

    The config's own defaults are those of 0.2.0, 24 layers of 4096, which thousands of documents cannot fill. Over a
    frozen encoder the regularisation is worth a point, and the bag of tokens up to six (tests/benchmarks/ACCURACY.md).

    Args:
        first_model_config: of the encoder; a head is about 32 wide, as those of BERT-like encoders of 384 are.
        frozen: whether the encoder is.
        encoding: of the labels.
        fields: those that were given.
    """
    hidden_size = first_model_config.hidden_size
    heads = next(heads for heads in range(max(1, hidden_size // 32), 0, -1) if hidden_size % heads == 0)
    layer = {"num_hidden_layers": 1, "num_attention_heads": heads, "intermediate_size": 2 * hidden_size}
    if not frozen:
        return layer
    regularised: dict[str, Any] = {"chunk_vector_norm": "standard", "dropout": 0.2, "input_dropout": 0.1}
    regularised["chunk_dropout"] = 0.3
    regularised["bag_of_tokens"] = first_model_config.vocab_size * len(encoding.names) <= MOST_WEIGHTS_OF_TOKENS
    smooth = encoding.problem_type == SINGLE and fields.get("loss", "cross_entropy") == "cross_entropy"
    return layer | regularised | ({"label_smoothing": 0.1} if smooth else {})


def standard_form(targets: Tensor) -> dict[str, list[float]]:
    """The config's fields that let a regression learn values of mean 0 and deviation 1.

    Args:
        targets: (documents, num_labels) float32, of the training documents; one that never changes is only shifted.
    """
    wide = targets.double()
    deviations = wide.std(dim=0, correction=0)
    deviations = torch.where(deviations > 0, deviations, 1.0)
    return {"target_means": wide.mean(dim=0).tolist(), "target_deviations": deviations.tolist()}


def new_model(config: StrideformerConfig, seed: int) -> Strideformer:
    """A Strideformer with the encoder's weights and a new aggregator, in float32 where it is trained."""
    torch.manual_seed(seed)
    model = Strideformer(config)
    return model if config.freeze_first_model else model.float()


def new_options(settings: TrainSettings, documents: int) -> TrainingOptions:
    """The options of any way of training on so many documents."""
    frozen = settings.freeze_first_model
    return TrainingOptions(
        epochs=settings.passes(documents),
        learning_rate=settings.learning_rate,
        first_model_learning_rate=settings.first_model_learning_rate,
        weight_decay=settings.weight_decay,
        budget=settings.chunk_budget if frozen else settings.token_budget,
        batch_size=settings.most_documents(),
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        train_max_chunks=settings.train_max_chunks,
        seed=settings.seed,
        metric=settings.metric,
        early_stopping=settings.early_stopping,
        checkpoint_steps=settings.checkpoint_steps,
        precision=settings.precision,
        gradient_checkpointing=settings.gradient_checkpointing and not frozen,
    )
