"""From settings and data to what every way of training takes: a new model, documents as tensors, and options."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig

from jobs.train_settings import TrainSettings
from jobs.training.data import TrainingData
from jobs.training.embedding import embed
from jobs.training.labelled import LabelledDocuments
from jobs.training.labels import REGRESSION, SINGLE, LabelEncoding, balanced_weights
from strideformer import ChunkEncoder, Chunker, Strideformer, StrideformerCollator, StrideformerConfig
from strideformer.checkpoint import resolve_encoder, takes_token_types, weights_hash
from strideformer.encoder import load_tokenizer
from strideformer.encoder_identity import EncoderIdentity, tokenizer_hash
from strideformer.errors import StrideformerError
from strideformer.layers import LAST
from strideformer.pooling import sentence_transformer_pooling
from strideformer.token_bags import TokenBags
from strideformer.training.documents import Documents, TokenizedDocuments
from strideformer.training.options import TrainingOptions

# How documents are cut and their chunks read, with the default where it does not depend on the encoder.
CHUNKING = ("max_length", "stride", "max_chunks", "chunk_layers")
DEFAULTS = {"max_chunks": 128, "chunk_layers": LAST}
# What of the config an encoder's identity has under the same name.
OF_ENCODER = ("chunk_pooling", "normalize_embeddings", "max_length", "stride", "max_chunks")
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
    known = sorted(set(inspect.signature(StrideformerConfig.__init__).parameters) - OWN_FIELDS)
    for name in settings.aggregator:
        if name not in known:
            raise StrideformerError(f"--aggregator {name}: there is no such field, use one of {', '.join(known)}")
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
    fields = dict(settings.aggregator)
    if fields.get("class_weights") == "balanced":
        fields["class_weights"] = balanced_weights(data.encoding, data.encoding.encode(data.training.labels))
    if data.encoding.problem_type == REGRESSION:
        fields = standard_form(data.encoding.encode(data.training.labels)) | fields
    try:
        return _config(settings, fields, data.encoding, first_model_config, cut, pooling, normalize)
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


class Preparation:
    """Turns labelled documents into what the model trains on: vectors of a frozen encoder, or token ids.

    Args:
        settings: of the job.
        model: to be trained.
        encoding: of the labels.
        stored: what made the documents' vectors, where they come from stores.

    Raises:
        StrideformerError: the vectors are of another encoder, or of documents cut otherwise, than the model's.
    """

    def __init__(
        self,
        settings: TrainSettings,
        model: Strideformer,
        encoding: LabelEncoding,
        stored: EncoderIdentity | None = None,
    ) -> None:
        self.settings = settings
        self.encoding = encoding
        self.model = model
        self.config = config = model.config
        self.folder = resolve_encoder(str(settings.encoder))
        self.tokenizer = load_tokenizer(self.folder)
        self.chunker = Chunker(self.tokenizer, config.max_length, config.stride, config.max_chunks)
        self.collate = StrideformerCollator(self.tokenizer, config.max_chunks)
        self._encoder: ChunkEncoder | None = None
        if stored is not None:
            self._require(stored)

    def documents(self, labelled: LabelledDocuments, kept: Path | None = None, what: str = "") -> Documents:
        """Documents as tensors.

        Args:
            labelled: the documents.
            kept: folder of their vectors, read where they are there and else written, so that a run that is resumed
                embeds only what is missing.
            what: they are called in lines of progress.
        """
        labels = self.encoding.encode(labelled.labels)
        if not self.config.freeze_first_model:
            texts, pairs = labelled.texts()
            views = self.chunker.views(texts, pairs)
            bags = TokenBags.of(views) if self.config.bag_of_tokens else None
            return TokenizedDocuments(views, self.chunker, labels, takes_token_types(self.model.first_model), bags)
        if labelled.vectors is not None:
            return labelled.vectors.of(labelled, labels, self.config.bag_of_tokens)
        if self._encoder is None:
            self._encoder = ChunkEncoder.from_pretrained(
                self.folder,
                device=self.settings.device,
                max_length=self.config.max_length,
                stride=self.config.stride,
                max_chunks=self.config.max_chunks,
                chunk_layers=self.config.chunk_layers,
            )
        return embed(self._encoder, labelled, labels, kept, what)

    def identity(self) -> EncoderIdentity:
        """Of the encoder as it is before training, however its folder is called."""
        return EncoderIdentity(
            weights=weights_hash(self.model.first_model.state_dict()),
            tokenizer=tokenizer_hash(self.tokenizer.backend_tokenizer.to_str()),
            chunk_layers=tuple(self.config.chunk_layers),
            **{name: getattr(self.config, name) for name in OF_ENCODER},
        )

    def _require(self, stored: EncoderIdentity) -> None:
        difference = stored.difference(self.identity())
        if difference is not None:
            name, theirs, wanted = difference
            raise StrideformerError(
                f"the embeddings in {', '.join(self.settings.embeddings)} are not those of {self.settings.encoder} as "
                f"it is to be used: {name} is {theirs} in the store and {wanted} here; leave the setting out, or embed "
                f"again with --model {self.settings.encoder}"
            )
