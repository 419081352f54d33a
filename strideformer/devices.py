"""Which device and number format a model runs in when the caller leaves the choice to us."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from strideformer.errors import StrideformerError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DTYPES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "float16": torch.float16,
    "fp16": torch.float16,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
}
INT8 = "int8"


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """``auto`` is CUDA where there is one, then Apple's MPS, then the CPU.

    Raises:
        StrideformerError: the device is unknown to torch, or CUDA is asked for where there is none.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise StrideformerError(
            f"device {device!r} is not one that torch knows: use auto, cpu, cuda or cuda:N"
        ) from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise StrideformerError(f"device {device!r} was asked for but torch sees no CUDA GPU: use auto or cpu")
    return chosen


def published_dtype(model: PreTrainedModel) -> torch.dtype:
    """Of a model's weights, or bf16 where its config says so: a whole checkpoint is loaded in the aggregator's fp32."""
    of_weights: torch.dtype = model.dtype
    return torch.bfloat16 if model.config.dtype is torch.bfloat16 else of_weights


def choose_dtype(
    dtype: str | torch.dtype, device: torch.device, trained_dtype: torch.dtype | None = None
) -> torch.dtype:
    """The number format of the encoder.

    ``auto`` is half precision on CUDA: bf16 for a model published in bf16, whose activations may exceed
    fp16's 65,504, fp16 otherwise, which keeps three more bits. On a CPU it is bf16 where the CPU multiplies
    bf16 natively (AVX512-BF16 or AMX; elsewhere bf16 is emulated and slower than fp32), else fp32. ``int8`` leaves
    all but the linear layers of the encoder in what ``auto`` chooses.

    Raises:
        StrideformerError: the name is not a floating-point type we run.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in ("auto", INT8):
        if dtype not in DTYPES:
            raise StrideformerError(f"dtype {dtype!r} is unknown: use auto, int8 or one of {', '.join(DTYPES)}")
        return DTYPES[dtype]
    if device.type == "cuda":
        return torch.bfloat16 if trained_dtype is torch.bfloat16 else torch.float16
    if device.type == "cpu" and cpu_multiplies_bf16():
        return torch.bfloat16
    return torch.float32


def cast_encoder(model: PreTrainedModel, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """Move an encoder to a device and cast it, in place, but for what costs nothing to keep in float32.

    In bf16 on a CPU those are the weights of its layer norms, whose kernel there takes both formats at once, a little
    faster than one. Rounding them moves every token alike, which no mean over tokens takes away: of MiniLM-L6's
    1 − cosine of 5.0e-5 on RFCs they are 2.1e-5, more than all other weights together.
    """
    kept = {}
    if device.type == "cpu" and dtype is torch.bfloat16:
        norms = (module for module in model.modules() if type(module) is nn.LayerNorm)
        kept = {parameter: parameter.data for norm in norms for parameter in norm.parameters()}
    model.to(device=device, dtype=dtype)
    for parameter, exact in kept.items():
        parameter.data = exact.to(device=device, dtype=torch.float32)
    return model


def cpu_multiplies_bf16() -> bool:
    """Whether this CPU has bf16 dot products."""
    return cpu_has("avx512_bf16") or cpu_has("amx_tile")


def cpu_has(feature: str) -> bool:
    """Whether torch says that this CPU has ``avx512_bf16``, ``amx_tile`` or ``vnni``.

    Its probes are private; an absent one counts as no.
    """
    probe = getattr(torch.cpu, f"_is_{feature}_supported", None)
    return bool(probe()) if probe is not None else False
