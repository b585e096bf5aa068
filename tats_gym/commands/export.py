"""Export a run's encoder, classifier, sampler, whole MAE or masks for other programs.

    tats-gym export runs/ssv2-tats-seed0-1 --format hf --out exported

A fine-tuned run leaves with its classifier. The encoder may also come from an earlier export, a Hugging Face VideoMAE
folder or a published VideoMAE file.
docs/export.md lists the files of each format and the code that loads them.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import indent
from typing import Literal

import tyro

from tats_gym.agents import check_asked_for
from tats_gym.agents.trained.sampler_export import export_sampler, sampler_loading
from tats_gym.commands.line.exit_codes import exit_code
from tats_gym.commands.line.parsing import CommandLine
from tats_gym.datasets import Split
from tats_gym.encoders.find import EncoderSource
from tats_gym.export import Format, export_encoder
from tats_gym.export.loading import loading
from tats_gym.export.mae import MAEFormat, export_mae, mae_loading
from tats_gym.files.atomic import folder_written_whole
from tats_gym.settings.config_io import check_plain
from tats_gym.targets.table import own_target


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """The source, and the format and folder of the export."""

    run: tyro.conf.Positional[Path]
    """A run's folder or checkpoint, or another encoder."""
    format: Format | MAEFormat | Literal["sampler", "masks"]
    """hf: for transformers. videomae: for the published fine-tuning. timm: for timm. safetensors: for this package.
    onnx, torchexport: for serving from raw clips. sampler: the part of a TATS run that chooses the tokens.
    mae: encoder and decoder, for --init-mae of tats-gym train; mae-hf: for VideoMAEForPreTraining of transformers;
    mae-videomae: for the published pre-training. masks: visible tokens of each video's centre view."""
    out: Path
    """Folder of the export, new or empty."""
    head: bool = True
    """Export a fine-tuned source with its classifier; not with --format timm, which holds none."""
    half: bool = False
    """Round the weights to float16, with --format mae."""
    split: Split = "validation"
    """Part of the run's dataset whose clips are masked, with --format masks."""
    root: str | None = None
    """The dataset's folder, with --format masks; None takes the run's."""
    seed: int = 0
    """Seed of the draw for each clip, with --format masks."""
    agent: tuple[str, ...] = ()
    """Agents of your own, as module:function, that may be imported where the run has one, with --format masks."""
    own_mae: tuple[str, ...] = ()
    """MAEs of your own, likewise."""
    target: tuple[str, ...] = ()
    """Targets of your own, likewise."""

    def __post_init__(self) -> None:
        check_plain(self)
        kinds = {
            "half": "mae",
            "split": "masks",
            "root": "masks",
            "seed": "masks",
            "agent": "masks",
            "own_mae": "masks",
            "target": "masks",
        }
        for name, format in kinds.items():
            if getattr(self, name) != getattr(type(self), name) and self.format != format:
                raise ValueError(f"{name} is for format {format}, got {self.format}; leave it out")


def main(words: list[str], program: str = "tats-gym export") -> int:
    """Parse, export, and print the files and the code that loads them."""
    return exit_code(lambda: _export(words, program), "give the same command again")


def _export(words: list[str], program: str) -> None:
    config = CommandLine(words, program, __doc__).settings(ExportConfig)
    match config.format:
        case "sampler":
            files = export_sampler(config.run, config.out)
            how = sampler_loading(files[0])
        case "mae" | "mae-hf" | "mae-videomae":
            files = export_mae(config.run, config.format, config.out, half=config.half)
            how = mae_loading(config.format, files)
        case "masks":
            files = _export_masks(config)
            code = f"from tats_gym.hub import MaskSet\nmasks = MaskSet.from_pretrained({str(config.out)!r})"
            how = f"load them with:\n{indent(code, '    ')}"
        case _:
            source = EncoderSource.find(config.run)
            if not config.head:
                source = replace(source, head=None)
            files = export_encoder(source, config.format, config.out)
            how = loading(source, config.format, files)
    for file in files:
        print(f"{file.stat().st_size:>13,} bytes  {file}")
    print(how)


def _export_masks(config: ExportConfig) -> list[Path]:
    """Mask the clips of a part of a run's dataset, and write the set."""
    from tats_gym.agents.trained.load_run import SavedRun  # take seconds, which other formats do without
    from tats_gym.agents.trained.mask_sets import mask_set

    run = SavedRun.read(config.run)
    check_asked_for(run.config.agent, config.agent)
    check_asked_for(run.config.own_mae or "", config.own_mae, "own-mae")
    check_asked_for(own_target(run.config.target), config.target, "target")
    clips = replace(run.config.clips, split=config.split, root=config.root or run.config.clips.root)
    made = mask_set(run, clips, seed=config.seed)
    with folder_written_whole(config.out) as folder:
        made.save_pretrained(folder)
    return sorted(config.out.iterdir())
