"""DocumentHead: from the states of a document's chunks to its logits, and to what each chunk says of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.activations import ACT2FN

from strideformer.aggregator_options import POOLINGS_OF_LOGITS
from strideformer.config import StrideformerConfig


class DocumentHead(nn.Module):
    """Pools and classifies; the last layer, the classifier, is the model's own, named as 0.2.0 named it.

    What a chunk says, its *chunk logits*, depends on ``document_pooling``:

    - ``mean``, ``attention``, ``label_attention``: what the chunk adds: its logits through the classifier, times its
      weight, times the number of chunks. The document's logits are exactly the mean of its chunk logits.
    - ``mean_states``, ``max``, ``cls``: what the classifier would say if the chunk's state were the document's. It
      ranks passages, but the document's logits cannot be had from it.

    Chunk statistics add to a document's logits linearly. To a chunk's they add the same, but with the mean of the
    vectors replaced by the chunk's own vector, so that the mean over the chunks is still the document's.
    """

    def __init__(self, config: StrideformerConfig) -> None:
        super().__init__()
        self.pooling = config.document_pooling
        self.statistics = tuple(config.mix_chunk_statistics)
        if self.pooling in ("attention", "label_attention"):  # without a bias, which softmax does not see
            heads = 1 if self.pooling == "attention" else config.num_labels
            self.attention = nn.Linear(config.hidden_size, heads, bias=False)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.hidden: nn.Module = nn.Identity()
        if config.classifier_hidden_size:
            self.hidden = nn.Sequential(
                nn.Linear(config.hidden_size, config.classifier_hidden_size),
                ACT2FN[config.hidden_act],
                nn.Dropout(config.classifier_dropout),
            )
        if self.statistics:
            width = len(self.statistics) * config.chunk_vector_size
            self.of_statistics = nn.Linear(width, config.num_labels, bias=False)

    def forward(self, states: Tensor, vectors: Tensor, kept: Tensor, classifier: nn.Linear) -> tuple[Tensor, Tensor]:
        """Pool and classify.

        Args:
            states: (documents, longest, hidden_size), with one more row first when the pooling is ``cls``.
            vectors: (documents, longest, width) as they entered the second model, zero where padded.
            kept: (documents, longest) bool, true at the chunks that count.
            classifier: from the last hidden layer, or from the states, to the logits.

        Returns:
            (documents, num_labels) logits and (documents, longest, num_labels) chunk logits, of no meaning where
            ``kept`` is false, in the classifier's type.
        """
        chunk_states = states[:, 1:] if self.pooling == "cls" else states
        chunk_logits = classifier(self.hidden(self.dropout(chunk_states)))
        dtype, counted = chunk_logits.dtype, kept.unsqueeze(-1)
        counts = kept.sum(dim=1, keepdim=True).float()
        if self.pooling in POOLINGS_OF_LOGITS:
            if self.pooling == "mean":
                shares = counted.float()
            else:
                scores = self.attention(chunk_states).float().masked_fill(~counted, float("-inf"))
                shares = scores.softmax(dim=1) * counts.unsqueeze(-1)
            chunk_logits = shares * chunk_logits.float()
            logits = chunk_logits.sum(dim=1) / counts
        else:
            state = self._document_state(states, kept).to(states.dtype)
            logits = classifier(self.hidden(self.dropout(state))).float()
        if self.statistics:
            of_document, of_chunks = self._statistics_logits(vectors, kept)
            logits, chunk_logits = logits + of_document, chunk_logits.float() + of_chunks
        return logits.to(dtype), chunk_logits.to(dtype)

    def _document_state(self, states: Tensor, kept: Tensor) -> Tensor:
        if self.pooling == "cls":
            return states[:, 0]
        if self.pooling == "max":
            return _masked_max(states, kept)
        return _masked_mean(states.float(), kept)

    def _statistics_logits(self, vectors: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """(documents, num_labels) and (documents, longest, num_labels) float32, of documents and of chunks."""
        wide = vectors.float()
        mean = _masked_mean(wide, kept)
        apart = wide - mean.unsqueeze(1)
        values = {
            "mean": mean,
            "max": _masked_max(wide, kept),
            "variance": _masked_mean(apart**2, kept),
        }
        joined = torch.cat([values[name] for name in self.statistics], dim=-1)
        weight = self.of_statistics.weight
        of_document = self.of_statistics(self.dropout(joined.to(weight.dtype))).float()
        of_chunks = of_document.unsqueeze(1)
        if "mean" in self.statistics:
            start = self.statistics.index("mean") * wide.shape[-1]
            of_mean = weight[:, start : start + wide.shape[-1]]
            of_chunks = of_chunks + F.linear(apart.to(weight.dtype), of_mean).float()
        return of_document, of_chunks


def in_own_unit(
    logits: Tensor, target_means: Sequence[float] | None = None, target_deviations: Sequence[float] | None = None
) -> Tensor:
    """A regression's values, (…, num_labels), from their standard form: times the deviations, plus the means.

    In float32 whatever the model computes in, since bf16 cannot tell a year from the next four. Without the two, as the
    logits of classes are, they stay as they are.
    """
    if target_means is None or target_deviations is None:
        return logits
    values = logits.float()
    return values * values.new_tensor(target_deviations) + values.new_tensor(target_means)


def _masked_mean(values: Tensor, kept: Tensor) -> Tensor:
    """(documents, longest, width) to (documents, width), over what is kept."""
    return (values * kept.unsqueeze(-1)).sum(dim=1) / kept.sum(dim=1, keepdim=True)


def _masked_max(values: Tensor, kept: Tensor) -> Tensor:
    return values.masked_fill(~kept.unsqueeze(-1), float("-inf")).amax(dim=1)
