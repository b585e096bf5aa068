"""The table of formats, and the writing of an encoder or a classifier in one of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from tats_gym.encoders.checksums import CHECKSUMS, write_checksums
from tats_gym.encoders.find import EncoderSource
from tats_gym.export import hf, onnx, safetensors, timm, torchexport, videomae
from tats_gym.files.atomic import folder_written_whole
from tats_gym.messages import check_choice
from tats_gym.model.videomae import MAEConfig

Format = Literal["hf", "videomae", "timm", "safetensors", "onnx", "torchexport"]
FORMATS: tuple[Format, ...] = get_args(Format)

WRITERS: dict[Format, Callable[[EncoderSource, Path], None]] = {
    "hf": hf.write,
    "videomae": videomae.write,
    "timm": timm.write,
    "safetensors": safetensors.write,
    "onnx": onnx.write,
    "torchexport": torchexport.write,
}
SINUSOID_ONLY = ("hf", "videomae", "mae-hf", "mae-videomae")
"""Formats without position embeddings: their libraries compute the fixed sinusoid."""
MEAN_POOL_ONLY: tuple[Format, ...] = ("hf", "videomae")
"""Formats whose classifiers read the mean of all tokens."""
ENCODER_ONLY: tuple[Format, ...] = ("timm",)
"""Formats that leave a classifier out."""


def export_encoder(source: EncoderSource, format: Format, out: Path) -> list[Path]:
    """Write an encoder, with its classifier if it has one, and SHA256SUMS into the folder `out`, atomically.

    hf: for transformers' VideoMAEModel and its heads, with a model card. videomae: a file for `--finetune` of the
    published VideoMAE. timm: weights for `tats_gym.export.timm.build`, without a classifier. safetensors: our layout.
    onnx and torchexport: a graph for serving, from uint8 clips (B, C, T, H, W) in [0, 255], for any B, to logits
    (B, classes) if there is a classifier, else to tokens (B, L, D), after the last norm if the source has it.

    Returns:
        The paths of the files, without SHA256SUMS.

    Raises:
        ValueError: If the format is unknown, or cannot hold the encoder's position embeddings or the classifier's pool.
        FileExistsError: If `out` exists and is not empty.
        ModuleNotFoundError: If onnx is not installed.
    """
    check_choice("format", format, FORMATS)
    check_pos_embed(source.config, format, FORMATS)
    if format in ENCODER_ONLY:
        source = replace(source, head=None)
    if format in MEAN_POOL_ONLY and source.head is not None and source.head.config.pool != "mean":
        raise ValueError(
            f"format {format} holds classifiers of pool 'mean' alone, but this one's is {source.head.config.pool!r}; "
            "--no-head leaves it out, safetensors, onnx and torchexport can hold it"
        )
    with folder_written_whole(out) as folder:
        WRITERS[format](source, folder)
        write_checksums(folder)
    return sorted(path for path in out.iterdir() if path.name != CHECKSUMS)


def check_pos_embed(config: MAEConfig, format: str, formats: Sequence[str]) -> None:
    """Check that a format can hold the position embeddings of an architecture.

    Args:
        config: The architecture.
        format: The format.
        formats: All formats for the same thing, of which the message names those that can.

    Raises:
        ValueError: If it cannot.
    """
    if format not in SINUSOID_ONLY or config.pos_embed == "sinusoid":
        return
    others = ", ".join(other for other in formats if other not in SINUSOID_ONLY)
    raise ValueError(
        f"format {format} holds the fixed sinusoid alone, but the encoder's embeddings are {config.pos_embed!r} "
        f"(learned, or interpolated from another geometry); these can hold it: {others}; a run with "
        "--mae.pos-embed sinusoid leaves in every format"
    )
