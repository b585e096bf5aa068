"""Write what a run has learnt for use elsewhere: its encoder, or its sampler.

    python scripts/export_encoder.py runs/ssv2-tats-seed0-1 --format hf --out exported
Encoders may also come from an earlier export, a Hugging Face VideoMAE folder or a published VideoMAE file. What the
formats hold and how each is loaded: docs/export.md.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

from agents.command_line import exit_code
from agents.sampler_export import export_sampler
from tats_gym.encoder_sources import EncoderSource
from tats_gym.export import Format, export_encoder

LOADING = {
    "hf": 'VideoMAEForVideoClassification.from_pretrained("{out}", num_labels=...), or for features '
    'VideoMAEModel.from_pretrained("{out}", use_mean_pooling=False)',
    "videomae": "run_class_finetuning.py --finetune {file}",
    "timm": 'tats_gym.export.timm.build(EncoderSource.find("{out}"), num_classes=...)',
    "safetensors": 'EncoderSource.find("{out}").build()',
    "onnx": 'onnxruntime.InferenceSession("{file}").run(["tokens"], {{"clips": clips}})',
    "torchexport": 'torch.export.load("{file}").module()(clips)',
    "sampler": 'agents.sampler_export.load_sampler("{out}")(clips)',
}


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What to write where."""

    run: tyro.conf.Positional[Path]
    """A run's folder or checkpoint, or another encoder."""
    format: Format | Literal["sampler"]
    """hf: transformers. videomae: the published fine-tuning. timm. safetensors: this package. onnx, torchexport: for
    serving from raw clips. sampler: not the encoder but what chooses the tokens."""
    out: Path
    """Folder, new or empty."""


def main(arguments: list[str]) -> int:
    """Parse, write, and say how to load it."""
    return exit_code(lambda: _export(arguments), "give the same command again")


def _export(arguments: list[str]) -> None:
    config = tyro.cli(ExportConfig, args=arguments, prog="export_encoder.py", description=__doc__)
    if config.format == "sampler":
        files = export_sampler(config.run, config.out)
    else:
        files = export_encoder(EncoderSource.find(config.run), config.format, config.out)
    for file in files:
        print(f"{file.stat().st_size:>13,} bytes  {file}")
    print(f"load it with: {LOADING[config.format].format(out=config.out, file=files[0])}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
