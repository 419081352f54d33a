"""SecondModel: the layers of the aggregator, a transformer encoder over the chunks of a document."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.activations import ACT2FN

from strideformer.config import StrideformerConfig
from strideformer.errors import StrideformerError


class SecondModel(nn.Module):
    """A transformer encoder over padded sequences of chunk vectors.

    Its parameters are named ``layers.N.…`` as those of ``nn.TransformerEncoder``, and so as 0.2.0 saved them.
    """

    def __init__(self, config: StrideformerConfig) -> None:
        super().__init__()
        if config.hidden_act not in ACT2FN:
            raise StrideformerError(f"hidden_act={config.hidden_act!r} is unknown: use one of {', '.join(ACT2FN)}")
        self.gradient_checkpointing = False
        self._gradient_checkpointing_func = checkpoint
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                d_model=config.hidden_size,
                nhead=config.num_attention_heads,
                dim_feedforward=config.intermediate_size,
                dropout=config.dropout,
                # torch has a fused kernel for the activations that it knows by name
                activation=config.hidden_act if config.hidden_act in ("relu", "gelu") else ACT2FN[config.hidden_act],
                layer_norm_eps=config.layer_norm_eps,
                batch_first=True,
                norm_first=config.norm_position == "pre",
            )
            for _ in range(config.num_hidden_layers)
        )
        self.norm: nn.Module = nn.Identity()
        if config.norm_position == "pre" and config.num_hidden_layers:
            self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.document_vector: nn.Parameter | None = None
        if config.document_pooling == "cls":
            self.document_vector = nn.Parameter(torch.empty(config.hidden_size))

    def forward(self, states: Tensor, present: Tensor) -> Tensor:
        """One pass.

        Args:
            states: (documents, longest, hidden_size).
            present: (documents, longest) bool, false where there is no chunk to attend to.

        Returns:
            (documents, longest, hidden_size), with the state of the document's own vector first where it has one.
        """
        states, present = self.with_document_vector(states, present)
        padding = None if bool(present.all()) else ~present
        for layer in self.layers:
            if self.gradient_checkpointing and self.training:
                if torch.is_grad_enabled() and not states.requires_grad:
                    # With use_reentrant a layer whose inputs need no gradient, as of frozen vectors, would get none.
                    states = states.detach().requires_grad_()
                states = self._gradient_checkpointing_func(layer.__call__, states, None, padding)
            else:
                states = layer(states, src_key_padding_mask=padding)
        normalized: Tensor = self.norm(states)
        return normalized

    def with_document_vector(self, states: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """The same states and presence, with the document's own vector before them where it has one."""
        if self.document_vector is None:
            return states, present
        first = self.document_vector.to(states.dtype).expand(len(states), 1, -1)
        return torch.cat([first, states], dim=1), torch.cat([present.new_ones(len(present), 1), present], dim=1)
