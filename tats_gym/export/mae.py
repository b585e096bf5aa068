"""Exports a whole MAE, encoder and decoder: for this package, for transformers, and for the published VideoMAE."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from tats_gym.encoders.checksums import CHECKSUMS, write_checksums
from tats_gym.encoders.find import EncoderSource, describe
from tats_gym.encoders.mae import MAESource, build_mae
from tats_gym.encoders.weight_files import DESCRIPTION, write_safetensors
from tats_gym.export import hf
from tats_gym.export.loading import RAW
from tats_gym.export.writers import check_pos_embed
from tats_gym.files.atomic import as_os_error, folder_written_whole
from tats_gym.messages import check_choice
from tats_gym.model.target import PIXELS

MAEFormat = Literal["mae", "mae-hf", "mae-videomae"]
MAE_FORMATS: tuple[MAEFormat, ...] = get_args(MAEFormat)

SAFETENSORS, TORCH = "mae.safetensors", "mae.pth"


def export_mae(path: Path, format: MAEFormat, out: Path, *, half: bool = False) -> list[Path]:
    """Write the MAE of a run, an export or a published file into the folder `out`, atomically, with SHA256SUMS.

    Args:
        path: The source, as `MAESource.find` takes it.
        format: mae: our layout, from which a run can start. mae-hf: for transformers' VideoMAEForPreTraining.
            mae-videomae: for the published pre-training, whose names our weights have.
        out: A new or empty folder.
        half: Round the weights of format mae to float16; they are read back as float32.

    Raises:
        ValueError: If there is no such source, it has no decoder, or one of another target than pixels, or the format
            cannot hold its position embeddings.
        CheckpointError: If the source is broken.
        FileExistsError: If `out` exists and is not empty.
    """
    check_choice("format", format, MAE_FORMATS)
    encoder = EncoderSource.find(path)
    mae = MAESource.of_encoder(encoder, str(path), encoder.config)
    if mae.target != PIXELS:
        raise ValueError(
            f"format {format} is for MAEs that predict pixels, {path} predicts {mae.target}: --format hf, videomae, "
            "timm or safetensors exports its encoder, and tats-gym train --init-mae takes the run as it is"
        )
    if mae.drawn:
        raise ValueError(f"{path} has no weights of {' and '.join(mae.drawn)}; format {format} is for whole MAEs")
    check_pos_embed(mae.config, format, MAE_FORMATS)
    build_mae(mae, encoder.grid, seed=0)  # finds damage
    source = replace(encoder, config=mae.config)
    with folder_written_whole(out) as folder:
        if format == "mae":
            write_safetensors(
                folder / SAFETENSORS, _whole(source, torch.float16 if half else torch.float32), describe(source)
            )
        elif format == "mae-hf":
            hf.write_mae(source, folder)
        else:
            _write_torch(source, folder)
        write_checksums(folder)
    return sorted(file for file in out.iterdir() if file.name != CHECKSUMS)


def _whole(source: EncoderSource, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Return the weights of encoder and decoder, under the names of `MaskedAutoencoder` and the published VideoMAE."""
    assert source.decoder is not None
    return {name: value.to(dtype).contiguous() for name, value in (source.weights | source.decoder.weights).items()}


def _write_torch(source: EncoderSource, folder: Path) -> None:
    """Write mae.pth: plain tensors under `model`, without position embeddings, which are the fixed sinusoid."""
    path = folder / TORCH
    with path.open("wb") as file, as_os_error(path):
        torch.save({"model": _whole(source), DESCRIPTION: describe(source)}, file)


LOADING: dict[MAEFormat, str] = {
    "mae": """\
from tats_gym.encoders.mae import MAESource, build_mae
source = MAESource.find({out!r})
reconstruction = build_mae(source, source.grid, seed=0)(clips, ids_keep)""",
    "mae-hf": """\
from transformers import VideoMAEForPreTraining
model = VideoMAEForPreTraining.from_pretrained({out!r})
output = model(pixel_values, bool_masked_pos=mask)""",
    "mae-videomae": """\
import torch
model.load_state_dict(torch.load({file!r}, weights_only=True)["model"])""",
}
INPUTS: dict[MAEFormat, str] = {
    "mae": f"{RAW} and ids_keep (B, K) the visible tokens",
    "mae-hf": "pixel_values (B, T, C, H, W) are normalised as preprocessor_config.json says, and mask (B, L) is True "
    "where a token is hidden",
    "mae-videomae": "model is the published pretrain_videomae_* of this size",
}


def mae_loading(format: MAEFormat, files: list[Path]) -> str:
    """Return the lines of Python that load an exported MAE, and the option that starts a run from it.

    Args:
        format: Its format.
        files: Its files, from `export_mae`.
    """
    out = str(files[0].parent)
    lines = LOADING[format].format(out=out, file=str(files[0])).splitlines()
    code = "\n".join(f"    {line}" for line in lines)
    return f"load it with, where {INPUTS[format]}:\n{code}\ntrain with it: tats-gym train --init-mae {shlex.quote(out)}"
