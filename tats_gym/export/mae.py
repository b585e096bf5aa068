"""Exports the whole MAE of a run, encoder and decoder, from which another run can start."""

import shlex
from pathlib import Path

import torch

from tats_gym.encoders.checksums import write_checksums
from tats_gym.encoders.find import EncoderSource, describe
from tats_gym.encoders.mae import MAESource
from tats_gym.encoders.weight_files import write_safetensors
from tats_gym.files.atomic import folder_written_whole

FILE = "mae.safetensors"


def export_mae(run: Path, out: Path, *, half: bool = False) -> list[Path]:
    """Write the MAE of a run's folder or checkpoint into the folder `out`, atomically, with SHA256SUMS.

    Args:
        run: A run's folder or checkpoint.
        out: A new or empty folder.
        half: Round the weights to float16; they are read back as float32.

    Raises:
        CheckpointError: If the run is missing or broken.
        FileExistsError: If `out` exists and is not empty.
    """
    source, encoder = MAESource.find(str(run)), EncoderSource.find(run)
    assert source.weights is not None
    dtype = torch.float16 if half else torch.float32
    weights = {name: value.to(dtype).contiguous() for name, value in source.weights.items()}
    with folder_written_whole(out) as folder:
        write_safetensors(folder / FILE, weights, describe(encoder))
        write_checksums(folder)
    return [out / FILE]


def mae_loading(file: Path) -> str:
    """Return the option that starts a run from an exported MAE."""
    return f"train with it: tats-gym train --init-mae {shlex.quote(str(file.parent))}"
