"""Write an encoder in the layouts of the libraries that it is used in next."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from tats_gym.encoders.checksums import CHECKSUMS, write_checksums
from tats_gym.encoders.find import EncoderSource
from tats_gym.export import hf, onnx, safetensors, timm, torchexport, videomae
from tats_gym.files.atomic import folder_written_whole
from tats_gym.files.messages import did_you_mean

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
SINUSOID_ONLY: tuple[Format, ...] = ("hf", "videomae")
"""These hold no positions: their libraries compute the fixed sinusoid."""


def export_encoder(source: EncoderSource, format: Format, out: Path) -> list[Path]:
    """Write an encoder into the folder `out`, whole or not at all, with SHA256SUMS beside; return its files.

    hf: VideoMAEModel and its heads of transformers, with a model card. videomae: a file for `--finetune` of the
    published VideoMAE. timm: weights for `tats_gym.export.timm.build`. safetensors: ours. onnx and torchexport: the
    whole encoder from uint8 clips (B, C, T, H, W) in [0, 255] to tokens (B, L, D), B at will, for serving; they end
    with the last norm where the source has it.

    Raises:
        ValueError: The format is unknown, or cannot hold this encoder's positions.
        FileExistsError: `out` is there and not empty.
        ModuleNotFoundError: onnx is not installed.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}; got {format!r}{did_you_mean(format, FORMATS)}")
    if format in SINUSOID_ONLY and source.config.pos_embed != "sinusoid":
        others = ", ".join(other for other in FORMATS if other not in SINUSOID_ONLY)
        raise ValueError(
            f"format {format} holds the fixed sinusoid alone, but the encoder's positions are "
            f"{source.config.pos_embed!r} (learned, or interpolated from another geometry); these can hold it: {others}"
        )
    with folder_written_whole(out) as folder:
        WRITERS[format](source, folder)
        write_checksums(folder)
    return sorted(path for path in out.iterdir() if path.name != CHECKSUMS)
