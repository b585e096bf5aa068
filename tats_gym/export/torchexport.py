"""Exports for serving from PyTorch without this package: one torch.export graph from pixels to tokens or logits."""

import io
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from tats_gym.encoders.find import EncoderSource, describe
from tats_gym.encoders.weight_files import DESCRIPTION

INPUT = "clips"
BATCH = {INPUT: {0: Dim("batch", min=1)}}
"""The dynamic dimension."""


def write(source: EncoderSource, folder: Path) -> None:
    """Write encoder.pt2, or classifier.pt2."""
    extra = {f"{DESCRIPTION}.json": describe(source)}
    content = io.BytesIO()  # on a full disk PyTorch's own writer ends the process
    torch.export.save(traced(source), content, extra_files=extra)
    (folder / f"{source.part}.pt2").write_bytes(content.getbuffer())


def traced(source: EncoderSource) -> ExportedProgram:
    """Trace uint8 clips (B, C, T, H, W) to logits (B, classes), without a classifier to tokens (B, L, D).

    Tokens are those after the last norm if the source has it.
    """
    if source.head is None:
        model: nn.Module = source.build(norm="encoder" if source.has_norm else "none")
    else:
        model = source.build_classifier()
    model.eval().requires_grad_(False)
    clips = torch.zeros(2, *source.grid.clip_shape, dtype=torch.uint8)  # a batch of 1 would be exported as a fixed size
    return torch.export.export(model, (clips,), dynamic_shapes=BATCH)
