"""BagOfTokens: a linear classifier over which tokens a document has, beside the two transformers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init

from strideformer.config import StrideformerConfig
from strideformer.token_bags import TokenBags


class BagOfTokens(nn.Module):
    """Logits from TF-IDF: for each label the sum of its weights for the document's tokens.

    Each different token counts ``(1 + log count) * inverse document frequency``, scaled so that a document's row has
    length 1; the frequency is smoothed, ``log((1 + documents) / (1 + documents with the token)) + 1``, all
    as scikit-learn's ``TfidfVectorizer(sublinear_tf=True)`` has it. Trained together with the transformers, it is the
    wide half of a wide and deep model (Cheng et al. 2016): single words, which vectors of whole chunks blur, need
    no layers.

    It computes in float32, whatever the model does: it is a sum over thousands of tokens.

    Attributes:
        weight: (vocab_size, num_labels).
        inverse_document_frequency: (vocab_size,) float32; 1 until it is fitted.
    """

    inverse_document_frequency: Tensor

    def __init__(self, config: StrideformerConfig) -> None:
        super().__init__()
        vocabulary = int(config.first_model_config.vocab_size)
        self.weight = nn.Parameter(torch.zeros(vocabulary, config.num_labels))
        self.register_buffer("inverse_document_frequency", torch.ones(vocabulary))
        self.dropout = nn.Dropout(config.input_dropout)

    @torch.no_grad()
    def reset(self) -> None:
        """As new: it adds nothing, and all tokens count alike."""
        init.zeros_(self.weight)
        init.ones_(self.inverse_document_frequency)

    @property
    def is_fitted(self) -> bool:
        """Whether it has learned how many documents have each token."""
        return bool((self.inverse_document_frequency != 1).any())

    @torch.no_grad()
    def fit(self, bags: TokenBags) -> None:
        """Learn how many documents have each token; tokens that none of these has count nothing from then on."""
        having = np.bincount(bags.ids, minlength=len(self.weight))
        frequency = np.log((1 + len(bags)) / (1 + having)) + 1
        self.inverse_document_frequency.copy_(torch.from_numpy(np.where(having > 0, frequency, 0.0)))

    def forward(self, token_ids: Tensor, counts: Tensor, sizes: Tensor) -> Tensor:
        """Logits of documents.

        Args:
            token_ids: (num_distinct,) int64, all documents one after the other.
            counts: (num_distinct,) int64, at least 1.
            sizes: (documents,) int64, different tokens of each document; one without any gets 0.

        Returns:
            (documents, num_labels) float32.
        """
        rows = (1 + counts.float().log()) * self.inverse_document_frequency.float()[token_ids]
        owners = torch.repeat_interleave(sizes, output_size=len(token_ids))
        squares = rows.new_zeros(len(sizes)).index_add_(0, owners, rows**2)
        rows = rows * squares.clamp(min=1e-12).rsqrt()[owners]
        starts = sizes.cumsum(0) - sizes
        weight = self.weight.float()
        return F.embedding_bag(token_ids, weight, starts, mode="sum", per_sample_weights=self.dropout(rows))
