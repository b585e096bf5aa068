"""Our own layout: the weights under our names, and in the metadata all that `EncoderSource.find` needs."""

from pathlib import Path

from safetensors.torch import save_file

from tats_gym.encoder_sources import EncoderSource, describe
from tats_gym.weight_files import DESCRIPTION


def write(source: EncoderSource, folder: Path) -> None:
    """Write encoder.safetensors."""
    save_file(source.weights, folder / "encoder.safetensors", {"format": "pt", DESCRIPTION: describe(source)})
