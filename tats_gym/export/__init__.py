"""Writes an encoder in the layouts of other libraries."""

from tats_gym.export.writers import FORMATS, Format, export_encoder

__all__ = ["FORMATS", "Format", "export_encoder"]
