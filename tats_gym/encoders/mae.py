"""Finds an MAE: by the name of a preset or of one that is shipped, in a run, or in a file of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from tats_gym.encoders.shipped import MAE_NAMES, SHIPPED
from tats_gym.encoders.weight_files import check_weights, read_safetensors, read_torch, refuse_own_mae
from tats_gym.files.atomic import absolute
from tats_gym.files.config_io import from_plain
from tats_gym.files.messages import did_you_mean
from tats_gym.model.videomae import MAE_PRESETS, MAEConfig, MaskedAutoencoder
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.runs.kinds import MAE, PRETRAINING, check_kind
from tats_gym.tokens import TokenGrid


@dataclass(frozen=True)
class MAESource:
    """An MAE's architecture, and its weights if it is a trained one."""

    config: MAEConfig
    weights: dict[str, Tensor] | None = None
    """Its state dict; None for new weights."""
    origin: str = "an MAE"
    """Source of the weights, for messages."""

    @classmethod
    def find(cls, name: str, setting: str = "mae") -> Self:
        """Look `name` up among presets and shipped MAEs, then on disk.

        Args:
            name: A preset, "demo" for the MAE of the demo clips that is shipped, a run's folder or checkpoint, or an
                exported MAE's folder or file.
            setting: The setting that gave the name, for messages.

        Raises:
            ValueError: If `name` is none of these.
            CheckpointError: If the file holds no MAE, or is damaged.
        """
        if name in MAE_PRESETS:
            return cls(MAE_PRESETS[name])
        path = SHIPPED.get(name) or Path(absolute(name))
        if not path.exists():
            raise ValueError(
                f"{setting} must be one of {', '.join(MAE_NAMES)}, or a path that exists; "
                f"got {name!r}{did_you_mean(name, MAE_NAMES)}"
            )
        check_kind(path, PRETRAINING, MAE)
        exported = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
        if len(exported) == 1 and exported[0].suffix == ".safetensors":
            return cls._from_file(exported[0], name)
        state = read_torch(path)
        refuse_own_mae(state, name)
        if "mae" not in state or "mae_config" not in state:
            raise CheckpointError(f"{name} holds no MAE (its parts: {', '.join(map(str, state))})")
        return cls.of_checkpoint(state, name)

    @classmethod
    def of_checkpoint(cls, state: dict[str, Any], origin: str) -> Self:
        """Return the MAE in a checkpoint of a pre-training run.

        Args:
            state: Content of the checkpoint.
            origin: Source of it, for messages.

        Raises:
            CheckpointError: If its description of the MAE is damaged.
        """
        return cls(_checked(state["mae_config"], origin), state["mae"], origin)

    @classmethod
    def _from_file(cls, path: Path, origin: str) -> Self:
        """Read an exported MAE."""
        file = read_safetensors(path)
        return cls(
            _checked(file.description.get("config"), str(path)),
            {name: value.float() for name, value in file.weights.items()},
            origin,
        )


def _checked(config: Any, origin: str) -> MAEConfig:
    """Build an MAE's settings from their recorded values.

    Raises:
        CheckpointError: If they are no valid settings.
    """
    try:
        return from_plain(MAEConfig, config, "mae")
    except (TypeError, ValueError) as err:
        raise CheckpointError(f"the MAE in {origin} has no valid description: {err}") from err


def build_mae(source: MAESource, grid: TokenGrid, *, seed: int, way_out: str = "") -> MaskedAutoencoder:
    """Build the MAE, initialised from `seed` where the source has no weights; the global random state is left alone.

    Args:
        source: Architecture, and weights.
        grid: Geometry.
        seed: Seed of new weights.
        way_out: Text for the message about weights that do not fit.

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
            raise CheckpointError(f"{source.origin}: {err}{way_out}") from err
        mae.load_state_dict(source.weights)
    return mae
