"""Labelled documents as what the model trains on: vectors of a frozen encoder, or token ids."""

from __future__ import annotations

from pathlib import Path

from jobs.train_settings import TrainSettings
from jobs.training.embedding import embed
from jobs.training.labelled import LabelledDocuments
from jobs.training.labels import LabelEncoding
from jobs.training.starting_point import StartingPoint
from strideformer import ChunkEncoder, Chunker, Strideformer, StrideformerCollator
from strideformer.checkpoint import resolve_encoder, takes_token_types, weights_hash
from strideformer.encoder import load_tokenizer
from strideformer.encoder_identity import EncoderIdentity, tokenizer_hash
from strideformer.errors import StrideformerError
from strideformer.token_bags import TokenBags
from strideformer.training.documents import Documents, TokenizedDocuments

# What of the config an encoder's identity has under the same name.
OF_ENCODER = ("chunk_pooling", "normalize_embeddings", "max_length", "stride", "max_chunks")


class Preparation:
    """Turns labelled documents into what the model trains on: vectors of a frozen encoder, or token ids.

    Args:
        settings: of the job.
        model: to be trained.
        encoding: of the labels.
        stored: what made the documents' vectors, where they come from stores.
        start: the checkpoint that training goes on from, if any, whose encoder it then is.

    Raises:
        StrideformerError: the vectors are of another encoder, or of documents cut otherwise, than the model's.
    """

    def __init__(
        self,
        settings: TrainSettings,
        model: Strideformer,
        encoding: LabelEncoding,
        stored: EncoderIdentity | None = None,
        start: StartingPoint | None = None,
    ) -> None:
        self.settings = settings
        self.start = start
        self.encoding = encoding
        self.model = model
        self.config = config = model.config
        self.name = str(settings.encoder) if start is None else start.name
        self.folder = resolve_encoder(self.name) if start is None else start.folder
        self.tokenizer = load_tokenizer(self.folder, config.first_model_name)
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
                f"the embeddings in {', '.join(self.settings.embeddings)} are not those of {self.name} as it is to be "
                f"used: {name} is {theirs} in the store and {wanted} here; leave the setting out, or embed again with "
                f"--model {self.name}"
            )
