"""Names the MAEs that come with the package, and all names that stand for an MAE."""

from pathlib import Path

from tats_gym.model.videomae import MAE_PRESETS

SHIPPED = {name: Path(__file__).with_name(f"{name}_mae.safetensors") for name in ("demo", "frozen")}
"""Trained MAEs of the package, by name; the commands that made them are in docs/data.md and docs/frozen.md."""
MAE_NAMES = (*MAE_PRESETS, *SHIPPED)
"""Names that `MAESource.find` and `EncoderSource.find` take before paths."""
