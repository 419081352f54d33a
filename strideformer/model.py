"""Strideformer: a sentence transformer over chunks, a second transformer over the chunk vectors of a document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification
from transformers.modeling_outputs import ModelOutput

from strideformer.bag_of_tokens import BagOfTokens
from strideformer.checkpoint import new_first_model
from strideformer.chunk_inputs import ChunkInputs, drop_chunks, pad_documents, put_back
from strideformer.config import StrideformerConfig
from strideformer.document_head import DocumentHead, in_own_unit
from strideformer.errors import StrideformerError
from strideformer.layers import states_of_layers
from strideformer.losses import document_loss, problem_type_of
from strideformer.pooling import pool_tokens
from strideformer.pretrained_model import StrideformerPreTrainedModel
from strideformer.second_model import SecondModel


@dataclass
class StrideformerOutput(ModelOutput):
    """What a Strideformer gives.

    Attributes:
        loss: scalar, where labels were given.
        logits: (documents, num_labels).
        chunk_logits: (num_chunks, num_labels), all documents' chunks one after the other: what each chunk says. With
            mean and attention pooling the document's logits are their mean: see ``DocumentHead``.
        first_model_hidden_states: (num_chunks, length, hidden_size) token states, of the last of ``chunk_layers``, on
            request.
        second_model_hidden_states: (documents, most chunks, hidden_size), one more row first with ``cls`` pooling, on
            request.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    chunk_logits: Tensor | None = None
    first_model_hidden_states: Tensor | None = None
    second_model_hidden_states: Tensor | None = None


class Strideformer(StrideformerPreTrainedModel):
    """Long-document classifier of two transformers.

    ``Strideformer(config)`` has the pretrained weights of the encoder that the config was made from (the folder or
    hub id of ``first_model_config``, or ``first_model_name``) and a new second model. ``from_pretrained`` loads a
    trained checkpoint; it asks no hub for what lies in a folder, nor for the encoder that a checkpoint names.
    """

    def __init__(self, config: StrideformerConfig) -> None:
        super().__init__(config)
        self.first_model = new_first_model(config.first_model_config)
        self.chunk_inputs = ChunkInputs(config)
        self.second_model = SecondModel(config)
        self.document_head = DocumentHead(config)
        self.bag_of_tokens = BagOfTokens(config) if config.bag_of_tokens else None
        self.classifier = nn.Linear(config.classifier_hidden_size or config.hidden_size, config.num_labels)
        self.post_init()
        being_loaded = self.classifier.weight.is_meta  # of our own making: XLNet fills its first parameter anywhere
        if being_loaded:
            if config.first_model_hash is not None:
                self._keys_to_ignore_on_load_missing.add(r"^first_model\.")
        else:
            self._load_first_model_of_config()
        if config.freeze_first_model:
            self.first_model.requires_grad_(False)
            self.first_model.eval()  # a new module is in training mode, and may be trained without a call of `train`

    @property
    def dtype(self) -> torch.dtype:
        """Of the second model. An encoder published in bf16 stays so; the trained weights must not be cut to it."""
        return self.classifier.weight.dtype

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        batch_size: int = 1,
        chunk_counts: Tensor | None = None,
        chunk_vectors: Tensor | None = None,
        token_bag_ids: Tensor | None = None,
        token_bag_counts: Tensor | None = None,
        token_bag_sizes: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> StrideformerOutput | tuple[Tensor | None, ...]:
        """Classify documents from their chunks.

        Args:
            input_ids, attention_mask, token_type_ids: (num_chunks, length), all documents' chunks one after the
                other, padded to one length.
            labels: (documents,) int64; (documents, num_labels) float for multi-label; (documents,) or
                (documents, num_labels) float for regression. Without a ``problem_type`` their kind is told from them,
                and in training written to the config, so that the model is read as it was trained.
            batch_size: number of documents when all have the same number of chunks, as 0.2.0 had it. Without it and
                without ``chunk_counts`` all rows are the chunks of one document.
            chunk_counts: (documents,) int64, the number of chunks of each document, which may differ.
            chunk_vectors: (num_chunks, chunk_vector_size), in place of input_ids, of a first model that has run.
            token_bag_ids, token_bag_counts, token_bag_sizes: what ``BagOfTokens`` takes, needed by a model that has
                one and not read by others; of ``TokenBags``.
            output_hidden_states, return_dict: as in the config by default.

        Raises:
            StrideformerError: the counts do not add up to the chunks, there is nothing to classify, or the labels
                are not of the shape that the kind of problem needs.
        """
        layers: list[Tensor] = []
        if chunk_vectors is None:
            if input_ids is None:
                raise StrideformerError("forward needs input_ids, or chunk_vectors")
            layers = self._layers(input_ids, attention_mask, token_type_ids)
            chunk_vectors = self.pool_chunks(layers, attention_mask)
        counts = self._counts(chunk_vectors, chunk_counts, batch_size)
        token_logits = self._token_logits(token_bag_ids, token_bag_counts, token_bag_sizes, len(counts))
        logits, chunk_logits, states = self.aggregate(chunk_vectors, counts, token_logits=token_logits)
        loss = None if labels is None else document_loss(logits, labels, self.config)
        if labels is not None and self.training and self.config.problem_type is None:
            self.config.problem_type = problem_type_of(labels, self.config.num_labels)
        output = StrideformerOutput(loss, logits, chunk_logits)
        if self.config.output_hidden_states if output_hidden_states is None else output_hidden_states:
            output["first_model_hidden_states"] = layers[-1] if layers else None
            output["second_model_hidden_states"] = states
        as_output = self.config.return_dict if return_dict is None else return_dict
        return output if as_output else output.to_tuple()

    def pool_chunks(self, layers: Sequence[Tensor], attention_mask: Tensor | None) -> Tensor:
        """(num_chunks, length, hidden_size) token states, of each of ``chunk_layers``, to chunk vectors.

        Returns:
            (num_chunks, chunk_vector_size) float32.
        """
        return pool_tokens(layers, attention_mask, self.config.chunk_pooling, self.config.normalize_embeddings)

    def aggregate(
        self,
        chunk_vectors: Tensor,
        chunk_counts: Tensor,
        places: Tensor | None = None,
        whole_counts: Tensor | None = None,
        second_model: Callable[[Tensor, Tensor], Tensor] | None = None,
        token_logits: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run the second model over ragged documents.

        Args:
            chunk_vectors: (num_chunks, chunk_vector_size), all documents' chunks one after the other.
            chunk_counts: (documents,) int64, at least 1 each.
            places: (num_chunks,) int64, where documents are read in part: which chunk of its document each is.
            whole_counts: (documents,) int64, with places: how many chunks each document has, read or not.
            second_model: runs in place of the model's own, and does the same faster.
            token_logits: (documents, num_labels) of the model's ``BagOfTokens``, where it has one; they add to the
                document's logits, and the same to those of each of its chunks.

        Returns:
            (documents, num_labels) logits, (num_chunks, num_labels) chunk logits, and
            (documents, most chunks, hidden_size) states, with one more row first when ``document_pooling`` is ``cls``.
            Of chunks that ``chunk_dropout`` leaves out, the logits are 0 and there are no states.

        Raises:
            StrideformerError: the model has a ``BagOfTokens`` and what that says is not given.
        """
        if self.bag_of_tokens is not None and token_logits is None:
            raise StrideformerError(
                "this model also reads which tokens a document has: give token_bag_ids, token_bag_counts and "
                "token_bag_sizes, of TokenBags"
            )
        vectors, present = pad_documents(self.chunk_inputs.scaled(chunk_vectors).to(self.dtype), chunk_counts)
        if places is not None:
            places = pad_documents(places.unsqueeze(-1), chunk_counts)[0].squeeze(-1)
        kept, order = present, None
        if self.training and self.config.chunk_dropout:
            kept, order = drop_chunks(present, self.config.chunk_dropout)
            vectors = vectors.gather(1, order.unsqueeze(-1).expand(-1, -1, vectors.shape[-1]))
            places = order if places is None else places.gather(1, order)
        inputs = self.chunk_inputs(vectors, chunk_counts if whole_counts is None else whole_counts, places)
        states = (second_model or self.second_model)(inputs, kept)
        logits, chunk_logits = self.document_head(states, vectors, kept, self.classifier)
        if token_logits is not None:
            logits, chunk_logits = logits + token_logits, chunk_logits + token_logits.unsqueeze(1)
        if order is not None:
            chunk_logits = put_back(chunk_logits * kept.unsqueeze(-1), order, present.shape[1])
        unit = (self.config.target_means, self.config.target_deviations)
        return in_own_unit(logits, *unit), in_own_unit(chunk_logits[present], *unit), states

    def get_input_embeddings(self) -> nn.Module:
        """Those of the first model."""
        embeddings: nn.Module = self.first_model.get_input_embeddings()
        return embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Those of the first model."""
        self.first_model.set_input_embeddings(value)

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """Of the first model, as transformers has it.

        Raises:
            StrideformerError: the model has a ``BagOfTokens``, which has weights for the tokens that there were.
        """
        if self.bag_of_tokens is not None:
            raise StrideformerError(
                "this model has a bag of tokens, whose vocabulary is fixed: add tokens to the encoder before training"
            )
        embeddings: nn.Embedding = super().resize_token_embeddings(*args, **kwargs)
        self.config.first_model_config.vocab_size = embeddings.num_embeddings
        return embeddings

    def train(self, mode: bool = True) -> Self:
        """As usual, but a frozen first model stays in evaluation mode, without dropout."""
        super().train(mode)
        if self.config.freeze_first_model:
            self.first_model.eval()
        return self

    def _layers(self, input_ids: Tensor, attention_mask: Tensor | None, types: Tensor | None) -> list[Tensor]:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if types is not None:
            inputs["token_type_ids"] = types
        with torch.no_grad() if self.config.freeze_first_model else nullcontext():
            return states_of_layers(self.first_model, self.config.chunk_layers, **inputs)

    def _token_logits(
        self, ids: Tensor | None, counts: Tensor | None, sizes: Tensor | None, documents: int
    ) -> Tensor | None:
        if self.bag_of_tokens is None or ids is None or counts is None or sizes is None:
            return None
        if len(sizes) != documents or int(sizes.sum()) != len(ids) or len(counts) != len(ids):
            raise StrideformerError(
                f"there are token bags of {len(sizes)} documents and {documents} documents, with {len(ids)} tokens "
                f"and {len(counts)} counts where the sizes add up to {int(sizes.sum())}: give those of one TokenBags"
            )
        logits: Tensor = self.bag_of_tokens(ids, counts, sizes)
        return logits

    def _counts(self, chunk_vectors: Tensor, chunk_counts: Tensor | None, batch_size: int) -> Tensor:
        num_chunks = len(chunk_vectors)
        if chunk_counts is None:
            if batch_size < 1 or num_chunks % batch_size or not num_chunks:
                raise StrideformerError(
                    f"{num_chunks} chunks cannot be divided evenly among batch_size={batch_size} documents: "
                    f"give chunk_counts"
                )
            return torch.full((batch_size,), num_chunks // batch_size, device=chunk_vectors.device)
        chunk_counts = torch.as_tensor(chunk_counts, device=chunk_vectors.device)
        if int(chunk_counts.sum()) != num_chunks or bool((chunk_counts < 1).any()):
            raise StrideformerError(
                f"chunk_counts add up to {int(chunk_counts.sum())} but there are {num_chunks} chunks, and every "
                f"document needs at least one"
            )
        return chunk_counts


AutoModelForSequenceClassification.register(StrideformerConfig, Strideformer, exist_ok=True)
