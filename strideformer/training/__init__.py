"""Training: documents as tensors, batches under a budget, and the Hugging Face Trainer over them."""

from strideformer.training.documents import EmbeddedDocuments, TokenizedDocuments, join
from strideformer.training.options import TrainingOptions

__all__ = ["EmbeddedDocuments", "TokenizedDocuments", "TrainingOptions", "join"]
