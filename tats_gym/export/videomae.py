"""Exports an encoder for `--finetune` of the published VideoMAE: a torch file of plain tensors and a line of JSON."""

from pathlib import Path

import torch

from tats_gym.encoders.find import EncoderSource, describe
from tats_gym.encoders.weight_files import DESCRIPTION
from tats_gym.files.atomic import as_os_error


def write(source: EncoderSource, folder: Path) -> None:
    """Write encoder.pth: weights `encoder.*` under `model`, without positions, which are the fixed sinusoid."""
    path = folder / "encoder.pth"
    with path.open("wb") as file, as_os_error(path):
        torch.save({"model": source.weights, DESCRIPTION: describe(source)}, file)
