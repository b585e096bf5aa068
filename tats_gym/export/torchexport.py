"""Exports an encoder for serving from PyTorch without this package: one torch.export graph from pixels to tokens."""

import io
from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram

from tats_gym.encoders.find import EncoderSource, describe
from tats_gym.encoders.weight_files import DESCRIPTION

INPUT, OUTPUT = "clips", "tokens"
BATCH = {INPUT: {0: Dim("batch", min=1)}}
"""The dynamic dimension."""


def write(source: EncoderSource, folder: Path) -> None:
    """Write encoder.pt2."""
    extra = {f"{DESCRIPTION}.json": describe(source)}
    content = io.BytesIO()  # on a full disk PyTorch's own writer ends the process
    torch.export.save(traced(source), content, extra_files=extra)
    (folder / "encoder.pt2").write_bytes(content.getbuffer())


def traced(source: EncoderSource) -> ExportedProgram:
    """Trace the encoder from uint8 clips (B, C, T, H, W) to tokens (B, L, D), with the last norm if it has one."""
    encoder = source.build(norm="encoder" if source.has_norm else "none").eval().requires_grad_(False)
    clips = torch.zeros(2, *source.grid.clip_shape, dtype=torch.uint8)  # a batch of 1 would be exported as a fixed size
    return torch.export.export(encoder, (clips,), dynamic_shapes=BATCH)
