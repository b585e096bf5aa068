"""Exports an encoder or a classifier under our names, with metadata for `EncoderSource.find`."""

from pathlib import Path

from tats_gym.encoders.find import EncoderSource, describe
from tats_gym.encoders.weight_files import write_safetensors


def write(source: EncoderSource, folder: Path) -> None:
    """Write encoder.safetensors, or classifier.safetensors."""
    weights = source.weights if source.head is None else source.weights | source.head.weights
    write_safetensors(folder / f"{source.part}.safetensors", weights, describe(source))
