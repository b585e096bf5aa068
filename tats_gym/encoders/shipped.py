"""Names the MAEs that come with the package, and all names that stand for an MAE."""

from pathlib import Path

from tats_gym.model.videomae import MAE_PRESETS

SHIPPED = {"demo": Path(__file__).with_name("demo_mae.safetensors")}
"""Trained MAEs that come with the package, by name; docs/data.md has the commands that made them."""
MAE_NAMES = (*MAE_PRESETS, *SHIPPED)
"""Names that `MAESource.find` and `EncoderSource.find` take before paths."""
