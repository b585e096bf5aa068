"""Builders of the agents of our own; those of stock SB3 algorithms are in `tats_gym.agents.stock`."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.peers.adamae import AdaMAE, AdaMAEConfig
from tats_gym.agents.peers.everest import EverestConfig, EverestPolicy
from tats_gym.agents.peers.expected_errors import ExpectedErrorPolicy
from tats_gym.agents.peers.fixed import (
    BlockPolicy,
    ConstantPolicy,
    FixedMasks,
    FixedPolicy,
    FramePolicy,
    MotionPolicy,
    RandomPolicy,
    TubePolicy,
)
from tats_gym.agents.peers.green_noise import Green3DConfig, Green3DPolicy
from tats_gym.agents.peers.gumbel import GumbelConfig, GumbelTopK
from tats_gym.agents.peers.jepa import JEPAConfig, JEPAPolicy
from tats_gym.agents.peers.loss_predictor import LossPredictor, LossPredictorConfig
from tats_gym.agents.peers.running_cells import CellPolicy
from tats_gym.agents.requirements import with_settings
from tats_gym.agents.rollout_buffer import Baseline
from tats_gym.agents.tats import TATS
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.model.errors import errors_under
from tats_gym.train.optimizer import LearningRate
from tats_gym.train.precision import autocast


def build_tats(env: TokenSelectionVecEnv, config: PretrainConfig) -> TATS:
    """Make TATS as the run's settings say."""
    return _tats(env, config)


def build_group(env: TokenSelectionVecEnv, config: PretrainConfig) -> TATS:
    """Make TATS without a value network: the baseline of a mask is the mean reward of the clip's other masks (RLOO)."""
    return _compared(env, config, "group")


def build_grpo(env: TokenSelectionVecEnv, config: PretrainConfig) -> TATS:
    """Make GRPO, with two departures: no divergence from a reference policy, and TATS's entropy term."""
    return _compared(env, config, "grpo", credit="draw")


def build_dr_grpo(env: TokenSelectionVecEnv, config: PretrainConfig) -> TATS:
    """Make Dr. GRPO, whose advantages are not divided by their deviation, with the departures of `build_grpo`."""
    return _compared(env, config, "dr_grpo", credit="draw")


def _compared(env: TokenSelectionVecEnv, config: PretrainConfig, baseline: Baseline, **changes: Any) -> TATS:
    """Make TATS without a value network, whose baseline compares the masks of a clip."""
    tats = replace(config.tats, vf_coef=0.0, **changes)
    return _tats(env, replace(config, sampler=replace(config.sampler, critic="none"), tats=tats), baseline)


def _tats(env: TokenSelectionVecEnv, config: PretrainConfig, baseline: Baseline | None = None) -> TATS:
    return TATS(
        "TatsPolicy",
        env,
        config.tats,
        baseline=baseline,
        masks_per_clip=env.vector_env.config.masks_per_clip,
        warmup_timesteps=_warmup_timesteps(env, config),
        policy_kwargs={"sampler": config.sampler, "precision": config.precision},
        seed=config.seed,
        device=env.vector_env.device,
    )


def _steps_per_epoch(env: TokenSelectionVecEnv, config: PretrainConfig) -> int:
    return config.steps_per_epoch(len(env.vector_env.clip_buffer.stream), env.vector_env.config.shard[1])


def _warmup_timesteps(env: TokenSelectionVecEnv, config: PretrainConfig) -> int:
    return config.tats.warmup_epochs * _steps_per_epoch(env, config) * _batch_size(env)


def _batch_size(env: TokenSelectionVecEnv) -> int:
    """Return the number of masks in an environment step, over all processes."""
    return env.num_envs * env.vector_env.config.shard[1]


@with_settings(AdaMAEConfig)
def build_adamae(env: TokenSelectionVecEnv, config: PretrainConfig, settings: AdaMAEConfig) -> AdaMAE:
    """Make AdaMAE, whose sampler has the learning rate of the MAE at every step."""
    sinusoidal = config.own_mae is None and config.mae.pos_embed == "sinusoid"
    return AdaMAE(
        env,
        _mae_rate(env, config),
        config=settings,
        policy_kwargs={"precision": config.precision, "sinusoidal": sinusoidal},
        masks_per_clip=env.vector_env.config.masks_per_clip,
        seed=config.seed,
        device=env.vector_env.device,
    )


def _mae_rate(env: TokenSelectionVecEnv, config: PretrainConfig) -> Callable[[float], float]:
    """Return the MAE's learning rate as SB3 asks for it, by the share of the training that is left."""
    optim, steps_per_epoch = config.mae_optim, _steps_per_epoch(env, config)
    rate = LearningRate(optim, batch_size=_batch_size(env), steps_per_epoch=steps_per_epoch)
    steps = optim.epochs * steps_per_epoch
    return lambda left: rate.at(max(0, round((1 - left) * steps) - 1) // optim.accumulate)


@with_settings(GumbelConfig)
def build_gumbel(env: TokenSelectionVecEnv, config: PretrainConfig, settings: GumbelConfig) -> GumbelTopK:
    """Make the sampler that follows the gradient of the MAE's error, with the network and the rates of TATS."""
    return GumbelTopK(
        env,
        config.tats,
        sampler=replace(config.sampler, critic="none"),
        settings=settings,
        masks_per_clip=env.vector_env.config.masks_per_clip,
        warmup_timesteps=_warmup_timesteps(env, config),
        policy_kwargs={"precision": config.precision},
        seed=config.seed,
        device=env.vector_env.device,
    )


@with_settings(LossPredictorConfig)
def build_loss_predictor(
    env: TokenSelectionVecEnv, config: PretrainConfig, settings: LossPredictorConfig
) -> LossPredictor:
    """Make Hard Patches Mining, whose predictor has the learning rate of the MAE at every step, as published."""
    return LossPredictor(
        env,
        _mae_rate(env, config),
        config=settings,
        policy_kwargs={"precision": config.precision, "sampler": config.sampler},
        masks_per_clip=env.vector_env.config.masks_per_clip,
        seed=config.seed,
        device=env.vector_env.device,
    )


def _fixed_masks(
    policy: type[FixedPolicy], env: TokenSelectionVecEnv, config: PretrainConfig, settings: Any = None
) -> FixedMasks:
    """Make a fixed policy, with settings of its own if it has some."""
    return FixedMasks(
        policy,
        env,
        n_steps=config.tats.n_steps,
        seed=config.seed,
        device=env.vector_env.device,
        policy_kwargs=None if settings is None else {"config": settings},
    )


def _fixed(policy: type[FixedPolicy]) -> Callable[[TokenSelectionVecEnv, PretrainConfig], FixedMasks]:
    return partial(_fixed_masks, policy)


build_random = _fixed(RandomPolicy)
build_random_ratio = _fixed(RandomPolicy)
build_tube = _fixed(TubePolicy)
build_frame = _fixed(FramePolicy)
build_block = _fixed(BlockPolicy)
build_cell = _fixed(CellPolicy)
build_motion = _fixed(MotionPolicy)
build_constant = _fixed(ConstantPolicy)


@with_settings(Green3DConfig)
def build_green3d(env: TokenSelectionVecEnv, config: PretrainConfig, settings: Green3DConfig) -> FixedMasks:
    """Make masks of green noise."""
    return _fixed_masks(Green3DPolicy, env, config, settings)


@with_settings(JEPAConfig)
def build_jepa(env: TokenSelectionVecEnv, config: PretrainConfig, settings: JEPAConfig) -> FixedMasks:
    """Make V-JEPA's masks."""
    return _fixed_masks(JEPAPolicy, env, config, settings)


@with_settings(EverestConfig)
def build_everest(env: TokenSelectionVecEnv, config: PretrainConfig, settings: EverestConfig) -> FixedMasks:
    """Make EVEREST's masks, by the embedding of the environment's MAE."""

    def embed(clips: Tensor) -> Tensor:
        mae = env.vector_env.mae
        with autocast("fp32", env.vector_env.device):  # in bf16, rounding would pass for change
            # The embedding of a black clip holds the positions and biases that all clips share.
            return mae.embed(clips) - mae.embed(torch.zeros_like(clips[:1]))

    agent = _fixed_masks(EverestPolicy, env, config, settings)
    assert isinstance(agent.policy, EverestPolicy)
    agent.policy.embed = embed
    return agent


def build_expected_error(env: TokenSelectionVecEnv, config: PretrainConfig) -> FixedMasks:
    """Make masks by the tokens' expected errors under the environment's MAE."""

    def errors(clips: Tensor, ids_keep: Tensor) -> Tensor:
        with torch.no_grad(), autocast(config.precision, env.vector_env.device):
            return errors_under(env.vector_env.mae, clips, ids_keep)[1]

    agent = _fixed_masks(ExpectedErrorPolicy, env, config)
    assert isinstance(agent.policy, ExpectedErrorPolicy)
    agent.policy.errors = errors
    return agent
