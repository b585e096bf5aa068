"""Exports an encoder or a classifier for `--finetune` of the published VideoMAE: a torch file of plain tensors."""

from pathlib import Path

import torch

from tats_gym.encoders.find import EncoderSource, describe
from tats_gym.encoders.weight_files import DESCRIPTION
from tats_gym.files.atomic import as_os_error


def write(source: EncoderSource, folder: Path) -> None:
    """Write encoder.pth or classifier.pth, without position embeddings, which are the fixed sinusoid.

    Weights are under `model`: those of an encoder as pre-training names them, `encoder.*`; those of a classifier as
    fine-tuning does, without the prefix.
    """
    path, weights = folder / f"{source.part}.pth", source.weights
    if source.head is not None:
        weights = {name.removeprefix("encoder."): value for name, value in weights.items()} | source.head.weights
    with path.open("wb") as file, as_os_error(path):
        torch.save({"model": weights, DESCRIPTION: describe(source)}, file)
