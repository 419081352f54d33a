"""StrideformerConfig: the first model's config, the second model's fields, and how documents are chunked."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from strideformer.aggregator_options import refuse_contradictions
from strideformer.chunking import check_length
from strideformer.errors import StrideformerError
from strideformer.layers import LAST
from strideformer.locations import PACKAGE

# The special tokens around one text of every common encoder; Chunker checks with those of the tokenizer at hand.
USUAL_SPECIAL_TOKENS = 2
DEFAULT_MAX_LENGTH, DEFAULT_STRIDE = 384, 128
# The first model of a config that is built from nothing: the shape of all-MiniLM-L6-v2.
DEFAULT_FIRST_MODEL = {
    "model_type": "bert",
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}
# These count positions from the padding token's id on, and so have that many fewer for tokens.
POSITIONS_AFTER_PADDING = {
    *("roberta", "xlm-roberta", "camembert", "mpnet", "data2vec-text", "xlm-roberta-xl", "longformer"),
    *("roberta-prelayernorm", "xmod", "ibert", "luke", "markuplm", "layoutlmv3", "lilt"),
}
# These attend by relative distance and take any length, whatever their config says of positions; a DeBERTa does
# unless it adds positions to its input, too.
RELATIVE_POSITIONS = {"deberta", "deberta-v2", "xlnet"}


class StrideformerConfig(PreTrainedConfig):
    """Configuration of a Strideformer; the defaults are those of the 0.2.0 package and keep its mathematics.

    Args:
        first_model_config: config of the encoder, as an object or a dict with ``model_type``; not changed. None is
            a BERT of the shape of all-MiniLM-L6-v2.
        freeze_first_model: train the second model alone.
        max_chunks: the most chunks of a document.
        max_length, stride: tokens in a chunk, special ones included, and tokens that it shares with the one before;
            a checkpoint carries those that it was trained with. By default 384 and 128, or what an encoder with fewer
            positions has, and a third of that.
        hidden_size: width of the second model; the first model's by default, and reached by a projection otherwise.
        num_hidden_layers, num_attention_heads, intermediate_size, hidden_act, dropout, layer_norm_eps: of the second
            model, a transformer encoder. Without layers the chunk vectors are pooled and classified as they are.
        norm_position: ``post``, layer norms after each block as in Vaswani et al. 2017, or ``pre``, before it and once
            at the end, which trains deep stacks without a warm-up (Xiong et al. 2020).
        initializer_range: standard deviation of new weights.
        chunk_pooling: a chunk's vector is the ``mean`` of its tokens' states, or the state of the first (``cls``).
        normalize_embeddings: scale chunk vectors to length 1 as part of the encoder, as sentence transformers do it.
        chunk_layers: layers of the first model whose token states are pooled, each by itself, and put side by side as
            the chunk's vector: 0 is the embeddings, which say which words there are, -1 the last layer. Devlin et al.
            2019 (table 7) read several layers of a frozen BERT so.
        chunk_vector_norm: how vectors enter the second model: as they are (``none``), scaled to ``length`` 1, through
            a ``layer`` norm, or in ``standard`` form, each feature with mean 0 and deviation 1 over the training
            chunks. Only the last two bring vectors of length 1 to the scale of ``sinusoidal`` positions.
        chunk_positions: what is added to the vectors: ``none``, ``learned`` positions (at most max_chunks),
            ``sinusoidal`` ones, or ``both_ends``, learned ones counted from the start and from the end.
        input_dropout, chunk_dropout: share of the vectors' features (and of a bag's tokens), and of whole chunks, left
            out in training.
        document_pooling: how chunks make a document. Its logits are the ``mean`` of its chunks' logits, their mean
            weighted by ``attention``, or by attention of each label's own (``label_attention``, Mullenbach et al.
            2018), or read off the mean of the chunks' states (``mean_states``), the largest value of each feature
            (``max``, as in Dai et al. 2022), or a learned vector put before the chunks (``cls``).
        mix_chunk_statistics: one or several of ``mean``, ``max`` and ``variance``: those of a document's vectors, as
            they enter the second model, that have weights of their own to the logits.
        bag_of_tokens: add to the logits those of a linear classifier over TF-IDF of the document's token ids: see
            ``BagOfTokens``. What it reads costs no encoding.
        classifier_hidden_size: width of a hidden layer before the logits; 0 is none.
        classifier_dropout: dropout of what the classifier reads.
        loss, focal_gamma: of classes: ``cross_entropy`` (binary for multi-label), or ``focal`` (Lin et al. 2017),
            which turns to documents that are still wrong, the more the larger gamma is.
        class_weights: one a label: how much a document of that class counts in the loss; in multi-label, its presence.
        label_smoothing: share of a label that is spread over all labels in training.
        first_model_name: where the encoder's weights are found when the checkpoint is without them: a folder,
            ``package:NAME`` for an installed package that holds a model folder, or a hub id.
        first_model_hash: of those weights, written when the checkpoint is saved without them.
        temperature: what logits are divided by before they become scores, fitted by ``evaluate --calibrate``.
        thresholds: the score from which each label of a multi-label model is given; None is 0.5 for all.
        target_means, target_deviations: of a regression, one a value: those of the training documents. The classifier
            then learns values of mean 0 and deviation 1, since weights that begin near 0 do not reach a year in
            thousands of steps, and logits are these times the deviation plus the mean. None is 0 and 1.
        kwargs: of ``PreTrainedConfig``: num_labels, id2label, label2id, problem_type, …

    Raises:
        StrideformerError: two fields contradict each other, or one has an impossible value.
    """

    model_type = "strideformer"
    sub_configs = {"first_model_config": AutoConfig}  # noqa: RUF012 -- the declaration transformers looks for
    keys_to_ignore_at_inference = ["chunk_logits", "first_model_hidden_states", "second_model_hidden_states"]  # noqa: RUF012

    def __init__(
        self,
        first_model_config: PreTrainedConfig | Mapping[str, Any] | None = None,
        freeze_first_model: bool = True,
        max_chunks: int = 128,
        hidden_size: int | None = None,
        num_hidden_layers: int = 24,
        num_attention_heads: int = 12,
        intermediate_size: int = 4096,
        hidden_act: str = "gelu",
        dropout: float = 0.1,
        layer_norm_eps: float = 1e-7,
        initializer_range: float = 0.02,
        max_length: int | None = None,
        stride: int | None = None,
        chunk_pooling: str = "mean",
        normalize_embeddings: bool = False,
        chunk_layers: Sequence[int] = LAST,
        chunk_positions: str = "none",
        document_pooling: str = "mean",
        chunk_vector_norm: str = "none",
        norm_position: str = "post",
        input_dropout: float = 0.0,
        chunk_dropout: float = 0.0,
        mix_chunk_statistics: str | Sequence[str] = (),
        bag_of_tokens: bool = False,
        classifier_hidden_size: int = 0,
        classifier_dropout: float = 0.0,
        loss: str = "cross_entropy",
        focal_gamma: float = 2.0,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        first_model_name: str | None = None,
        first_model_hash: str | None = None,
        temperature: float = 1.0,
        thresholds: Sequence[float] | None = None,
        target_means: Sequence[float] | None = None,
        target_deviations: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        if stride is None and "num_beams" in kwargs:
            max_length = None  # 0.2.0's to_dict has transformers 4's setting for generation under this name
        self.first_model_config = as_config(first_model_config)
        self.freeze_first_model = freeze_first_model
        self.max_chunks = max_chunks
        self.hidden_size = self.first_model_config.hidden_size if hidden_size is None else hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.hidden_act = hidden_act
        self.dropout = dropout
        self.layer_norm_eps = layer_norm_eps
        self.initializer_range = initializer_range
        self.max_length = _default_max_length(self.first_model_config) if max_length is None else max_length
        self.stride = min(DEFAULT_STRIDE, self.max_length // 3) if stride is None else stride
        self.chunk_pooling = chunk_pooling
        self.normalize_embeddings = normalize_embeddings
        self.chunk_layers = list(chunk_layers)
        self.chunk_positions = chunk_positions
        self.document_pooling = document_pooling
        self.chunk_vector_norm = chunk_vector_norm
        self.norm_position = norm_position
        self.input_dropout = input_dropout
        self.chunk_dropout = chunk_dropout
        one = isinstance(mix_chunk_statistics, str)
        self.mix_chunk_statistics = [str(mix_chunk_statistics)] if one else list(mix_chunk_statistics)
        self.bag_of_tokens = bag_of_tokens
        self.classifier_hidden_size = classifier_hidden_size
        self.classifier_dropout = classifier_dropout
        self.loss = loss
        self.focal_gamma = focal_gamma
        self.class_weights = None if class_weights is None else [float(weight) for weight in class_weights]
        self.label_smoothing = label_smoothing
        self.first_model_name = first_model_name
        self.first_model_hash = first_model_hash
        self.temperature = temperature
        self.thresholds = None if thresholds is None else list(thresholds)
        self.target_means = None if target_means is None else [float(mean) for mean in target_means]
        self.target_deviations = None if target_deviations is None else [float(each) for each in target_deviations]
        if kwargs.get("id2label") is None and kwargs.get("label2id"):
            kwargs["id2label"] = {index: label for label, index in kwargs["label2id"].items()}
        super().__init__(**kwargs)
        refuse_contradictions(self)
        check_stride(self.stride, self.max_length)
        check_positions(self.first_model_config, self.max_length)

    @property
    def chunk_vector_size(self) -> int:
        """The width of a chunk's vector: that of the first model, for each layer that is read."""
        return len(self.chunk_layers) * int(self.first_model_config.hidden_size)

    @classmethod
    def from_two_configs(
        cls, first_model_config: PreTrainedConfig | Mapping[str, Any], second_model_config: Mapping[str, Any]
    ) -> StrideformerConfig:
        """From the encoder's config and a mapping of the other fields; neither is changed."""
        return cls(first_model_config=first_model_config, **copy.deepcopy(dict(second_model_config)))

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As transformers has it.

        Raises:
            StrideformerError: it is the config of another kind of model, whose fields would be taken for ours.
        """
        kind = config_dict.get("model_type", cls.model_type)
        if kind != cls.model_type:
            raise StrideformerError(
                f"this is the config of a {kind} model, not of a Strideformer: make one over it with "
                f"StrideformerConfig.from_two_configs"
            )
        return super().from_dict(config_dict, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """As a dictionary; the first model keeps the name of its package or hub id, but no path of this machine."""
        values: dict[str, Any] = super().to_dict()
        if isinstance(first := values.get("first_model_config"), dict):
            first.pop("_name_or_path", None)
            name = name_of_encoder(self.first_model_config)
            if name is not None and not _is_local_path(name):
                first["_name_or_path"] = name
        return values

    def _get_generation_parameters(self) -> dict[str, Any]:
        """None: transformers takes ``max_length`` for a setting of text generation and would refuse to save it."""
        return {}

    _get_non_default_generation_parameters = _get_generation_parameters  # its name before transformers 5.20


def _default_max_length(first_model_config: PreTrainedConfig) -> int:
    limit = max_positions(first_model_config)
    return DEFAULT_MAX_LENGTH if limit is None else min(DEFAULT_MAX_LENGTH, limit)


def as_config(config: PreTrainedConfig | Mapping[str, Any] | None) -> PreTrainedConfig:
    """A first model's config of our own from what a caller may give: a config, its dictionary, or nothing.

    Raises:
        StrideformerError: a dictionary without ``model_type``.
    """
    if isinstance(config, PreTrainedConfig):
        return copy.deepcopy(config)
    values = copy.deepcopy(dict(DEFAULT_FIRST_MODEL if config is None else config))
    model_type = values.pop("model_type", None)
    if model_type is None:
        raise StrideformerError("first_model_config has no model_type: give the encoder's whole config")
    return AutoConfig.for_model(model_type, **values)


def name_of_encoder(config: PreTrainedConfig) -> str | None:
    """How a checkpoint over this first model can name it: its package where it lies in one, else as it was given."""
    name = str(getattr(config, "_name_or_path", "") or "")
    parts = Path(name).parts
    for packages in ("site-packages", "dist-packages"):
        if packages in parts[:-1]:
            return PACKAGE + parts[len(parts) - parts[::-1].index(packages)]
    return name or None


def _is_local_path(name: str) -> bool:
    """Whether a model's name means something on this machine alone."""
    return not name.startswith(PACKAGE) and (name.startswith(("/", "~", ".")) or Path(name).exists())


def max_positions(config: PreTrainedConfig) -> int | None:
    """The most tokens that an encoder has positions for; None where any length will do."""
    limit = getattr(config, "max_position_embeddings", None)
    relative = config.model_type in RELATIVE_POSITIONS
    if config.model_type.startswith("deberta"):
        relative = not config.position_biased_input
    if limit is None or limit <= 0 or relative:
        return None
    if config.model_type in POSITIONS_AFTER_PADDING:
        limit -= (getattr(config, "pad_token_id", None) or 0) + 1
    return int(limit)


def check_stride(stride: int, max_length: int) -> None:
    """Refuse chunks that would not move on.

    Raises:
        StrideformerError: ``stride`` is negative or leaves no new token in a chunk.
    """
    if not 0 <= stride < max_length - USUAL_SPECIAL_TOKENS:
        raise StrideformerError(
            f"stride={stride} must be at least 0 and less than max_length without special tokens, "
            f"{max_length} - {USUAL_SPECIAL_TOKENS}: lower stride or raise max_length"
        )


def check_positions(config: PreTrainedConfig, max_length: int) -> None:
    """Refuse chunks longer than the encoder has positions for.

    Raises:
        StrideformerError: ``max_length`` is above what the encoder's config allows.
    """
    check_length(max_length, max_positions(config))


AutoConfig.register(StrideformerConfig.model_type, StrideformerConfig, exist_ok=True)
