"""Builds sb3-contrib's TRPO, unmodified, with the sampler of TATS."""

from dataclasses import dataclass

from sb3_contrib import TRPO

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.policy import TatsPolicy
from tats_gym.agents.requirements import with_settings
from tats_gym.agents.stock.on_policy import normalised_batch_size, on_policy_settings
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals


@dataclass(frozen=True, kw_only=True)
class TRPOConfig:
    """TRPO's own settings."""

    target_kl_per_draw: float = 0.01
    """Trust region: bound of the KL divergence from one policy to the next, in nats for each of the K draws."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, target_kl_per_draw="(0, inf)")


@with_settings(TRPOConfig)
def build_trpo(env: TokenSelectionVecEnv, config: PretrainConfig, settings: TRPOConfig) -> TRPO:
    """Make TRPO; its trust region bounds the KL divergence of the whole mask.

    A non-finite gradient of its objective fails the line search (`train/is_line_search_success`), which leaves the
    actor unchanged. This is not an optimiser step and is not counted as one.
    """
    return TRPO(
        TatsPolicy,
        env,
        batch_size=normalised_batch_size(config),
        target_kl=settings.target_kl_per_draw * env.vector_env.grid.num_visible,
        **on_policy_settings(env, config),
    )
