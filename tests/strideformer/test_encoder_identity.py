from __future__ import annotations

from dataclasses import replace

from strideformer.encoder_identity import EncoderIdentity, tokenizer_hash

LAST_LAYER = EncoderIdentity("a" * 64, "mean", True, "b" * 64, 256, 0, 512)
TWO_LAYERS = replace(LAST_LAYER, chunk_layers=(0, -1))


def test_a_store_written_before_there_were_layers_is_of_the_last_one() -> None:
    values = {"weights": "a" * 64, "chunk_pooling": "mean", "normalize_embeddings": True, "tokenizer": "b" * 64}
    values |= {"max_length": 256, "stride": 0, "max_chunks": 512}
    assert EncoderIdentity.from_dict(values) == LAST_LAYER
    assert LAST_LAYER.to_dict() == values
    assert LAST_LAYER.hash == "e17eeb8fd9abe5bd7951a684beed1ccdff8688425569d4a7d837e25074955ee3"


def test_other_layers_are_another_encoder_whichever_asks() -> None:
    assert EncoderIdentity.from_dict(TWO_LAYERS.to_dict()) == TWO_LAYERS
    assert TWO_LAYERS.hash != LAST_LAYER.hash
    assert LAST_LAYER.difference(TWO_LAYERS) == ("chunk_layers", "(-1,)", "(0, -1)")
    assert TWO_LAYERS.difference(LAST_LAYER) == ("chunk_layers", "(0, -1)", "(-1,)")


def test_truncation_and_padding_of_a_tokenizer_do_not_count() -> None:
    assert tokenizer_hash('{"model": 1, "padding": {"length": 3}}') == tokenizer_hash('{"model": 1}')
    assert tokenizer_hash('{"model": 1}') != tokenizer_hash('{"model": 2}')
