"""Builds sb3-contrib's TRPO, unmodified, with the sampler of TATS."""

from sb3_contrib import TRPO

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.policy import TatsPolicy
from tats_gym.agents.stock.on_policy import normalised_batch_size, shared_settings
from tats_gym.envs.sb3 import TokenSelectionVecEnv

TARGET_KL_PER_DRAW = 0.01


def build_trpo(env: TokenSelectionVecEnv, config: PretrainConfig) -> TRPO:
    """Make TRPO; its trust region bounds the KL divergence of the whole mask, by a bound in nats for each draw.

    A non-finite gradient of its objective fails the line search (`train/is_line_search_success`), which leaves the
    actor unchanged. This is not an optimiser step and is not counted as one.
    """
    return TRPO(
        TatsPolicy,
        env,
        batch_size=normalised_batch_size(config),
        target_kl=TARGET_KL_PER_DRAW * env.vector_env.grid.num_visible,
        **shared_settings(env, config),
    )
