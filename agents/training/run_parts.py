"""Builds the environment and the MAE of a pre-training run."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.vector import VectorEnv

from tats_gym.agents.config import PretrainConfig
from tats_gym.encoders.description import parse_mae_config, read_state_dict
from tats_gym.encoders.mae import MAESource, build_mae
from tats_gym.encoders.weight_files import check_weights, read_torch
from tats_gym.model.protocol import MaskedModel, as_module, own_model
from tats_gym.model.target import PIXELS, Target
from tats_gym.model.videomae import MaskedAutoencoder
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.settings.paths import absolute
from tats_gym.targets.table import build_target
from tats_gym.train.distributed import Ranks


def make_environment(config: PretrainConfig, ranks: Ranks) -> VectorEnv[Any, Any, Any]:
    """Build a run's vector environment, with this process's share of the clips."""
    settings = config.env_settings | {"shard": (ranks.rank, ranks.world_size), "device": str(ranks.device)}
    return gymnasium.make_vec(config.env, num_envs=config.num_envs, **settings)


def make_mae(config: PretrainConfig, state: dict[str, Any] | None) -> tuple[PretrainConfig, MaskedModel]:
    """Build a run's MAE, with the weights of `init_mae`, or new ones.

    Args:
        config: The run's settings.
        state: Content of the checkpoint that the run resumes from, which replaces the weights; `init_mae` is then not
            read.

    Returns:
        The settings, with the sizes of the MAE that the run starts from, and the MAE.

    Raises:
        ValueError: If there is no MAE of the name `init_mae`, `own_mae` names no function, or the target does not fit.
        TypeError: If `own_mae` makes no model.
        CheckpointError: If the weights of `init_mae` do not fit, or the checkpoint's are of another target.
    """
    if config.own_mae is None:
        source = _source(config, state)
        target = build_target(config.target, config.grid, source.config)
        if state is not None:
            check_target(target, state, "the checkpoint")
        scratch = "; --init-mae None starts from scratch"
        mae = build_mae(source, config.grid, seed=config.seed, target=target, way_out=scratch)
        mae.encoder.recompute = mae.decoder.recompute = config.recompute
        return replace(config, mae=source.config), mae
    model = own_model(config.own_mae, config.grid, seed=config.seed, option="--own-mae")
    if not any(weights.requires_grad for weights in as_module(model).parameters()):
        raise ValueError(f"--own-mae {config.own_mae} must make a model with weights to train, got one without")
    if config.init_mae is not None and state is None:
        load_own_mae(model, read_torch(Path(absolute(config.init_mae))), f"--init-mae {config.init_mae}")
    return config, model


def load_own_mae(mae: MaskedModel, state: dict[str, Any], origin: str) -> None:
    """Load the weights that a run saved into an MAE of another package.

    Args:
        mae: The MAE.
        state: Content of the run's checkpoint.
        origin: Source of it, for messages.

    Raises:
        CheckpointError: If they do not fit.
    """
    if "own_mae" not in state:
        raise CheckpointError(f"{origin} is no run with --own-mae, whose MAE another package makes")
    try:
        weights = read_state_dict(state, "mae")
        check_weights(weights, as_module(mae).state_dict())
    except CheckpointError as err:
        raise CheckpointError(f"{origin}, of {state['own_mae']}: {err}") from err
    as_module(mae).load_state_dict(weights)


def check_target(target: Target, state: dict[str, Any], origin: str) -> None:
    """Check that a run's weights predict this target, so that a run never goes on beside another teacher.

    Args:
        target: The target.
        state: Content of the run's checkpoint; older ones predict pixels.
        origin: Source of it, for messages.

    Raises:
        CheckpointError: If they predict another one.
    """
    if (recorded := state.get("target", PIXELS)) != target.identity:
        raise CheckpointError(
            f"{origin} predicts the target {recorded!r}, got {target.identity!r}: name the --target that its run began "
            "with; of a teacher the weights must be the same, at any path"
        )


def mae_description(config: PretrainConfig, mae: MaskedModel) -> dict[str, Any]:
    """Return the entries of checkpoints that describe the MAE of the weights."""
    if config.own_mae is not None:
        return {"own_mae": config.own_mae}
    assert isinstance(mae, MaskedAutoencoder)
    return {"mae_config": asdict(config.mae), "target": mae.target.identity}


def _source(config: PretrainConfig, state: dict[str, Any] | None) -> MAESource:
    if config.init_mae is not None and state is None:
        return MAESource.find(config.init_mae, "--init-mae", decoder=config.mae)
    recorded = None if state is None else state.get("mae_config")
    if config.init_mae is None or recorded is None:
        return MAESource(config.mae)
    return MAESource(parse_mae_config(recorded, "the checkpoint"))
