"""The published VideoMAE's layout: a torch file for `--finetune`, which plain tensors and a line of JSON make up."""

from pathlib import Path

import torch

from tats_gym.encoders.find import EncoderSource, describe
from tats_gym.encoders.weight_files import DESCRIPTION
from tats_gym.files.atomic import writing


def write(source: EncoderSource, folder: Path) -> None:
    """Write encoder.pth: under `model` the weights `encoder.*`, no positions, as they are the fixed sinusoid."""
    path = folder / "encoder.pth"
    with path.open("wb") as file, writing(path):
        torch.save({"model": source.weights, DESCRIPTION: describe(source)}, file)
