"""Choice of the device and of its precision."""

import re
from typing import Literal, get_args

import torch
from torch import Tensor

from tats_gym.messages import check_choice

Precision = Literal["auto", "fp32", "bf16"]
AUTO: Literal["auto"] = "auto"
"""Default device and precision of all settings: CUDA where it is available, bf16 on a GPU that supports it."""


def resolve_precision(precision: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """Resolve "auto": bf16 on a GPU that supports it, fp32 elsewhere (few CPUs have bf16 instructions)."""
    check_choice("precision", precision, get_args(Precision))
    if precision != AUTO:
        return precision
    return "bf16" if device.type == "cuda" and _has_bf16(device) else "fp32"


def _has_bf16(device: torch.device) -> bool:
    """Return whether a GPU has instructions for bf16; older ones emulate it, slower than fp32."""
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Return the context for a network's forward pass; parameters and losses stay float32."""
    enabled = resolve_precision(precision, device) == "bf16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def to_float32(values: Tensor) -> Tensor:
    """Convert values to float32; float64 stays."""
    return values if values.dtype == torch.float64 else values.float()


def resolve_device(device: str) -> torch.device:
    """Resolve "auto": CUDA where it is available, else the CPU.

    Raises:
        ValueError: If the device is neither CPU nor CUDA, or this machine does not have it.
    """
    if device == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    named = re.fullmatch("cpu|cuda(?::(0|[1-9][0-9]*))?", device)
    if not named:
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N, got {device!r}")
    count = torch.cuda.device_count()
    if device != "cpu" and int(named[1] or 0) >= count:
        raise ValueError(
            f"device {device!r} was asked for, but this torch sees {count or 'no'} CUDA device{'s' * (count > 1)}; "
            "use 'cpu' or 'auto'"
        )
    return torch.device(device)
