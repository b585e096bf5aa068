"""Names that settings had in older versions, whose runs, checkpoints and exports are still read."""

from collections.abc import Mapping
from typing import Any

RENAMED = {"epoch_clips": "epoch_masks"}
"""Older to present names in `PretrainConfig`."""
RENAMED_IN_SAMPLER = {"positions": "pos_embed", "position_std": "pos_embed_std"}
"""The same in `SamplerConfig`."""


def present_names(settings: Any) -> Any:
    """Return the settings of a run under the names of this version; values of a damaged file as they are."""
    present = _renamed(settings, RENAMED)
    if isinstance(present, dict) and "sampler" in present:
        present["sampler"] = present_sampler_names(present["sampler"])
    return present


def present_sampler_names(settings: Any) -> Any:
    """Return the settings of a sampler under the names of this version; values of a damaged file as they are."""
    return _renamed(settings, RENAMED_IN_SAMPLER)


def _renamed(settings: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(settings, Mapping):
        return settings
    return {names.get(name, name): value for name, value in settings.items()}
