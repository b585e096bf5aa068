"""TRPO of sb3-contrib, unmodified, with the sampler of TATS."""

from sb3_contrib import TRPO

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.policy import TatsPolicy
from tats_gym.agents.stock.on_policy import normalised_batch_size, shared_settings
from tats_gym.envs.sb3 import TokenSelectionVecEnv

TARGET_KL_PER_DRAW = 0.01


def build_trpo(env: TokenSelectionVecEnv, config: PretrainConfig) -> TRPO:
    """Make TRPO; its trust region is on the divergence of the whole mask, hundredths of a nat a draw.

    A gradient of its objective that is not finite fails its line search (`train/is_line_search_success`), which leaves
    the actor as it was; it is no optimiser's step and not counted as one.
    """
    return TRPO(
        TatsPolicy,
        env,
        batch_size=normalised_batch_size(config),
        target_kl=TARGET_KL_PER_DRAW * env.vector_env.grid.num_visible,
        **shared_settings(env, config),
    )
