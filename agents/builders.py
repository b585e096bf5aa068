"""Builders of TATS, of its baselines without a value network, and of masks by rules without settings."""

from dataclasses import replace
from functools import partial
from typing import Any

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.peers.fixed import (
    BlockPolicy,
    ConstantPolicy,
    FramePolicy,
    MotionPolicy,
    RandomPolicy,
    TubePolicy,
    fixed_masks,
)
from tats_gym.agents.rollout_buffer import Baseline
from tats_gym.agents.schedule import warmup_timesteps
from tats_gym.agents.tats import TATS
from tats_gym.envs.sb3 import TokenSelectionVecEnv


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
    """Make Dr. GRPO, whose advantages are not divided by their std, with the departures of `build_grpo`."""
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
        warmup_timesteps=warmup_timesteps(env, config),
        policy_kwargs={"sampler": config.sampler, "precision": config.precision},
        seed=config.seed,
        device=env.vector_env.device,
    )


build_random = partial(fixed_masks, RandomPolicy)
build_random_ratio = partial(fixed_masks, RandomPolicy)
build_tube = partial(fixed_masks, TubePolicy)
build_frame = partial(fixed_masks, FramePolicy)
build_block = partial(fixed_masks, BlockPolicy)
build_motion = partial(fixed_masks, MotionPolicy)
build_constant = partial(fixed_masks, ConstantPolicy)
