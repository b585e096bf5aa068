"""Builds the environment of a pre-training run, and finds the weights from which its MAE starts."""

from dataclasses import asdict
from typing import Any

import gymnasium
from gymnasium.vector import VectorEnv

from tats_gym.agents.config import PretrainConfig
from tats_gym.encoders.mae import MAESource
from tats_gym.train.distributed import Ranks


def make_environment(config: PretrainConfig, ranks: Ranks) -> VectorEnv[Any, Any, Any]:
    """Build a run's vector environment, with this process's share of the clips."""
    settings: dict[str, Any] = {
        **asdict(config.clips),
        **asdict(config.grid),
        "reward": config.reward,
        "action": config.action,
        "masks_per_clip": config.masks_per_clip,
        "decode_ratio": config.decode_ratio,
        "shard": (ranks.rank, ranks.world_size),
        "device": str(ranks.device),
        "precision": config.precision,
    }
    return gymnasium.make_vec(config.env, num_envs=config.num_envs, **settings)


def mae_source(config: PretrainConfig, *, resumed: bool) -> MAESource:
    """Return the weights from which the MAE starts: those of `init_mae`, or new ones.

    Args:
        config: The run's settings.
        resumed: Whether a checkpoint replaces the weights; `init_mae` is then not read.

    Raises:
        ValueError: If `init_mae` has other sizes than the settings; the message has the options that agree with it.
    """
    if config.init_mae is None or resumed:
        return MAESource(config.mae)
    source = MAESource.find(config.init_mae, "--init-mae")
    if source.config != config.mae:
        own = asdict(source.config).items()
        flags = [f"--mae.{name.replace('_', '-')} {value}" for name, value in own if value != getattr(config.mae, name)]
        raise ValueError(
            f"--init-mae {config.init_mae} has other sizes than these settings; add {' '.join(flags)}, or start from "
            "scratch by --init-mae None"
        )
    return source
