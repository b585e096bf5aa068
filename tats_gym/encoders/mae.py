"""Finds an MAE: by a preset's name, or in a run's checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from tats_gym.encoders.weight_files import check_weights, read_torch
from tats_gym.files.atomic import absolute
from tats_gym.files.messages import did_you_mean
from tats_gym.model.videomae import MAE_PRESETS, MAEConfig, MaskedAutoencoder
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.runs.kinds import PRETRAINING, check_kind
from tats_gym.tokens import TokenGrid


@dataclass(frozen=True)
class MAESource:
    """An MAE's architecture, and its weights if it comes from a checkpoint."""

    config: MAEConfig
    weights: dict[str, Tensor] | None = None
    origin: str = "an MAE"
    """Source of the weights, for messages."""

    @classmethod
    def find(cls, name: str, setting: str = "mae") -> Self:
        """Look `name` up among the presets, then on disk (a run's folder or a checkpoint file).

        Args:
            name: A preset or a path.
            setting: The setting that gave the name, for messages.

        Raises:
            ValueError: If `name` is neither.
            CheckpointError: If the file is not a checkpoint of an MAE.
        """
        if name in MAE_PRESETS:
            return cls(MAE_PRESETS[name])
        path = Path(absolute(name))
        if not path.exists():
            raise ValueError(
                f"{setting} must be one of {', '.join(MAE_PRESETS)}, or a path that exists; "
                f"got {name!r}{did_you_mean(name, MAE_PRESETS)}"
            )
        check_kind(path, PRETRAINING)
        state = read_torch(path)
        if "mae" not in state or "mae_config" not in state:
            raise CheckpointError(f"{name} holds no MAE (its parts: {', '.join(map(str, state))})")
        return cls(MAEConfig(**state["mae_config"]), state["mae"], name)


def build_mae(source: MAESource, grid: TokenGrid, *, seed: int) -> MaskedAutoencoder:
    """Build the MAE, initialised from `seed` where the source has no weights; the global random state is left alone.

    Raises:
        CheckpointError: If the weights are of another geometry or architecture, or not finite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # weights are drawn on the CPU; torch.manual_seed seeds GPUs too
        mae = MaskedAutoencoder(source.config, grid)
    if source.weights is not None:
        wanted = mae.state_dict()
        try:
            check_weights(source.weights, wanted, hints=dict.fromkeys(wanted, f" for {grid}"))
        except CheckpointError as err:
            raise CheckpointError(f"{source.origin}: {err}") from err
        mae.load_state_dict(source.weights)
    return mae
