from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DistilBertConfig, DistilBertModel, ModernBertConfig, ModernBertModel

from strideformer.layers import layer_numbers, states_of_layers

SMALL: dict[str, Any] = {"vocab_size": 50, "pad_token_id": 0}
KINDS = [
    (DistilBertModel, DistilBertConfig(**SMALL, dim=16, n_layers=2, n_heads=2, hidden_dim=32)),
    (
        ModernBertModel,  # which has a norm after its last layer
        ModernBertConfig(
            **SMALL, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, eos_token_id=1,
            bos_token_id=1, cls_token_id=1, sep_token_id=1,
        ),
    ),
]  # fmt: skip


def test_layers_are_counted_from_either_end() -> None:
    assert layer_numbers([0, -1, 3, -7], 6) == [0, 6, 3, 0]


@pytest.mark.parametrize(("kind", "config"), KINDS)
def test_states_of_models_of_other_kinds(kind: Any, config: Any) -> None:
    torch.manual_seed(0)
    model = kind(config).eval()
    ids = torch.randint(2, 50, (3, 7))
    with torch.inference_mode():
        expected = model(input_ids=ids, output_hidden_states=True)
        first, last = states_of_layers(model, [0, -1], input_ids=ids, attention_mask=None)
        [alone] = states_of_layers(model, [-1], input_ids=ids)
    torch.testing.assert_close(first, expected.hidden_states[0])
    torch.testing.assert_close(last, expected.last_hidden_state)
    torch.testing.assert_close(alone, expected.last_hidden_state)
