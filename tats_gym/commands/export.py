"""Export a run's encoder, sampler or whole MAE for other programs.

    tats-gym export runs/ssv2-tats-seed0-1 --format hf --out exported

The encoder may also come from an earlier export, a Hugging Face VideoMAE folder or a published VideoMAE file.
docs/export.md lists the files of each format and the code that loads them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from tats_gym.agents.sampler_export import export_sampler, sampler_loading
from tats_gym.commands.exit_codes import exit_code
from tats_gym.commands.parsing import CommandLine
from tats_gym.encoders.find import EncoderSource
from tats_gym.export import Format, export_encoder
from tats_gym.export.loading import loading
from tats_gym.export.mae import export_mae, mae_loading


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """The source, and the format and folder of the export."""

    run: tyro.conf.Positional[Path]
    """A run's folder or checkpoint, or another encoder."""
    format: Format | Literal["sampler", "mae"]
    """hf: for transformers. videomae: for the published fine-tuning. timm: for timm. safetensors: for this package.
    onnx, torchexport: for serving from raw clips. sampler: the part of a TATS run that chooses the tokens.
    mae: encoder and decoder, for --init-mae of tats-gym train."""
    out: Path
    """Folder of the export, new or empty."""
    half: bool = False
    """Round the weights to float16, with --format mae."""

    def __post_init__(self) -> None:
        if self.half and self.format != "mae":
            raise ValueError(f"half is for format mae, got {self.format}; leave it out")


def main(words: list[str], program: str = "tats-gym export") -> int:
    """Parse, export, and print the files and the code that loads them."""
    return exit_code(lambda: _export(words, program), "give the same command again")


def _export(words: list[str], program: str) -> None:
    config = CommandLine(words, program, __doc__).settings(ExportConfig)
    if config.format == "sampler":
        files = export_sampler(config.run, config.out)
        how = sampler_loading(files[0])
    elif config.format == "mae":
        files = export_mae(config.run, config.out, half=config.half)
        how = mae_loading(files[0])
    else:
        source = EncoderSource.find(config.run)
        files = export_encoder(source, config.format, config.out)
        how = loading(source, config.format, files)
    for file in files:
        print(f"{file.stat().st_size:>13,} bytes  {file}")
    print(how)
