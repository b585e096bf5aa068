"""TRPO of sb3-contrib with the sampler of TATS."""

from sb3_contrib import TRPO
from torch.nn.attention import SDPBackend, sdpa_kernel

from agents.config import PretrainConfig
from agents.on_policy import normalised_batch_size, shared_settings
from agents.policy import TatsPolicy
from envs.sb3 import TokenSelectionVecEnv

TARGET_KL_PER_DRAW = 0.01


class TokenTRPO(TRPO):
    """TRPO, but for the attention that its second derivatives need: fused kernels have only first ones.

    A gradient of its objective that is not finite fails its line search (`train/is_line_search_success`), which leaves
    the actor as it was; it is no optimiser's step and not counted as one.
    """

    def train(self) -> None:
        """Update the policy within the trust region."""
        with sdpa_kernel(SDPBackend.MATH):
            super().train()


def build_trpo(env: TokenSelectionVecEnv, config: PretrainConfig) -> TRPO:
    """Make TRPO; its trust region is on the divergence of the whole mask, hundredths of a nat a draw."""
    return TokenTRPO(
        TatsPolicy,
        env,
        batch_size=normalised_batch_size(config),
        target_kl=TARGET_KL_PER_DRAW * env.vector_env.grid.num_visible,
        **shared_settings(env, config),
    )
