"""Exports an encoder in our own layout: weights under our names, and metadata for `EncoderSource.find`."""

from pathlib import Path

from tats_gym.encoders.find import EncoderSource, describe
from tats_gym.encoders.weight_files import write_safetensors


def write(source: EncoderSource, folder: Path) -> None:
    """Write encoder.safetensors."""
    write_safetensors(folder / "encoder.safetensors", source.weights, describe(source))
